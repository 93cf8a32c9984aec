#!/usr/bin/env perl
# A process that may have no more memory, and clients that want it all: theirs are the requests
# that fail, the others are served, and so is everybody once there is memory again.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends multipart_type report request_bytes upload_bytes);

plan skip_all => 'valgrind has memory of its own' if $ENV{UNDER_VALGRIND};
plan skip_all => 'AddressSanitizer ends a process that is out of memory'
  if $ENV{UNDER_ASAN};

my $MEGABYTE = 1_048_576;

# What the process may take besides what it has, and what greedy clients want.
my $ROOM = 24 * $MEGABYTE;
my $WANT = 64 * $MEGABYTE;

my %LIMITS = map { $_ => 4 * $WANT }
  qw(max_field_value max_urlencoded_body max_header_size
  max_header_line);

my %GREEDY = (
    'a form' => [
        request_bytes(
            POST => q{/},
            {
                'Content-Type'   => 'application/x-www-form-urlencoded',
                'Content-Length' => $WANT
            }
        ),
        0
    ],
    'a form in chunks' => [
        request_bytes(
            POST => q{/},
            {
                'Content-Type'      => 'application/x-www-form-urlencoded',
                'Transfer-Encoding' => 'chunked'
            }
          )
          . sprintf( "%x\r\n", $WANT ),
        0
    ],
    'a field' => [
        request_bytes(
            POST => q{/},
            { 'Content-Type' => multipart_type(), 'Content-Length' => 2 * $WANT },
            (
                split /CONTENT/,
                substr upload_bytes( { name => 'field', content => 'CONTENT' } ), -200
            )[0] =~ s/\A.*?\r\n\r\n//sr
        ),
        1
    ],
    'a head' => [ "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 0 ],
);

for my $backend ( backends() ) {
    for my $answers ( 0, 1 ) {
        for my $kind ( sort keys %GREEDY ) {
            subtest "A client sends $kind, with $backend, error_responses => $answers" =>
              sub { try_greedy( $backend, $answers, @{ $GREEDY{$kind} } ) };
        }
    }
}

subtest 'A client reads nothing of a reply that has no end' => sub {
    my $server = start( {}, 'AIO' );
    limit($server) or plan skip_all => 'prlimit does not work here';
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/endless' ) );
    my ($printed) = $server->await('endless');
    cmp_ok $printed, '<', $WANT,
      "after $printed bytes, print says that nobody receives them";
    is page($server), 'page', 'others are served';
    $client->close;
    $server->stop;
};

done_testing;

sub try_greedy {
    my ( $backend, $answers, $bytes, $is_upload ) = @_;
    my $server = start( { error_responses => $answers, %LIMITS }, $backend );
    my $file   = { name => 'file', file_name => 'f', content => 'x' x ( 2 * $MEGABYTE ) };
    my $upload = upload_bytes($file);
    my $other  = $server->connect;
    $other->send( substr $upload, 0, $MEGABYTE );
    page($server);
    limit($server) or plan skip_all => 'prlimit does not work here';

    my $client = $server->connect;
    my $piece  = 'x' x $MEGABYTE;
    $client->send($bytes);
    my $sent = 0;
    while ( $sent < $WANT && $client->send($piece) ) {
        $sent += length $piece;
    }
    is $client->response->{status}, $answers ? 503 : undef, 'it is refused';
    $client->close;

    is page($server), 'page', 'others are served';
    $other->send( substr $upload, $MEGABYTE );
    is $other->response->{body}, sha256_hex( $file->{content} ), 'so is an upload';
    limit( $server, 'unlimited' );
    is $server->upload($file)->{body}, sha256_hex( $file->{content} ), 'and another';
    is_deeply [ $server->await('errors') ], [$is_upload], 'on_error is for uploads';
    ok $server->await_files(0), 'no file is left';
    $server->stop;
    return;
}

# Sets how much memory the process may address from now on; returns whether that works here.
sub limit {
    my ( $server, $limit ) = @_;
    my $pid = $server->pid;
    open my $status, '<', "/proc/$pid/statm" or return 0;
    my ($pages) = split q{ }, readline $status;
    $limit ||= $pages * 4096 + $ROOM;
    return system( 'prlimit', '--pid', $pid, "--as=$limit:" ) == 0;
}

sub page {
    my ($server) = @_;
    return $server->request( GET => q{/} )->{body};
}

sub start {
    my ( $options, $backend ) = @_;
    my $errors = 0;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( sub { answer( $_[0], \$errors ) },
                { %{$options}, on_error => sub { $errors++ } } );
        },
        backend => $backend
    );
}

sub answer {
    my ( $cgi, $errors ) = @_;
    return print_endlessly($cgi) if $cgi->{headers}{REQUEST_URI} eq '/endless';
    $cgi->header;
    my ($file) = @{ $cgi->file('file') };
    return $cgi->print('page') if !$file;
    $cgi->print( Digest::SHA->new(256)->addfile( $file->path )->hexdigest );
    return report( errors => ${$errors} ) if $cgi->{headers}{HTTP_CONNECTION};
}

sub print_endlessly {
    my ($cgi) = @_;
    $cgi->header;
    my $piece   = 'x' x 100_000;
    my $printed = 0;
    while ( $cgi->print($piece) ) {
        $printed += length $piece;
    }
    return report( endless => $printed );
}
