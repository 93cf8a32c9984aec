#!/usr/bin/env perl
# 4 GiB arrive with the right SHA-256 while the server's memory stays small and others are
# served at once, with both backends. Usage: prove -lv xt/large-upload.t
#
# LARGE_UPLOAD_BYTES sets another size; the temporary directory needs room for it.

use strict;
use warnings;

use Digest::SHA ();
use FindBin;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::Bin/../t/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $SIZE        = $ENV{LARGE_UPLOAD_BYTES} || 4 * 2**30;
my $PIECE       = 2**20;
my $MOST_MEMORY = 40 * 1024;
my $LONGEST     = 0.050;

# One request in a thousand may take longer, since the machine itself makes some wait: an
# idle server in another process, asked in turn, shows how long.
my $EXCEPTIONS = 1 / 1000;

$TestServer::DEADLINE = 900;

for my $backend ( backends() ) {
    subtest "An upload of $SIZE bytes, with $backend" => sub {
        my @kept;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->on_command( sub { ( pop @kept )->print('done') } );
                $server->listen(
                    sub {
                        my ($cgi)  = @_;
                        my ($file) = @{ $cgi->file('file') } or return page($cgi);
                        $cgi->header;
                        push @kept, $cgi;
                        report( received => $file->path, $file->size );
                    },
                    { on_multipart => sub { report('begun') } }
                );
            },
            backend => $backend
        );

        my $idle   = TestServer->start( sub { $_[0]->listen( \&page ) } );
        my $sender = sender($server);
        $server->await('begun');
        my ( $took, $idle_took, $received ) = serve_others( $server, $idle );
        my ( $path, $size ) = @{$received}[ 1, 2 ];
        my $sent = readline $sender;
        chomp $sent;

        is $size, $SIZE, 'the size';
        is( Digest::SHA->new(256)->addfile($path)->hexdigest, $sent, 'the SHA-256' );
        my $memory = $server->peak_memory;
        cmp_ok $memory, '<', $MOST_MEMORY, "peak memory: $memory KiB";
        my $slowest = $took->[ @{$took} * $EXCEPTIONS ];
        cmp_ok $slowest, '<', $LONGEST, sprintf 'other requests: %.1f ms',
          1000 * $slowest;
        diag sprintf '%s: the slowest of %d other requests took %.1f ms, of the idle'
          . ' server %.1f ms', $backend, scalar @{$took},
          map { 1000 * $_->[0] } $took, $idle_took;
        $server->tell('answer');
        is scalar readline $sender, "done\n", 'the client is answered';
        ok $server->await_files(0), 'no file is left';
        $_->stop for $server, $idle;
    };
}

done_testing;

# A process that sends the upload; it prints the SHA-256 of what it has sent, then the
# answer it gets.
sub sender {
    my ($server) = @_;
    my $pid      = open my $output, '-|' // die "fork: $!";
    return $output if $pid;

    my ( $before, $after ) = split /CONTENT/,
      upload_bytes( { name => 'file', file_name => 'large', content => 'CONTENT' } );
    my $length =
      length($after) + $SIZE + length($before) - index( $before, "\r\n\r\n" ) - 4;
    $before =~ s/^Content-Length: \d+/Content-Length: $length/m;

    my $client = $server->connect;
    my $digest = Digest::SHA->new(256);
    my $piece  = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. $PIECE / 4;
    $client->send($before);
    for ( my $left = $SIZE ; $left > 0 ; $left -= $PIECE ) {
        substr $piece, 0, 8, pack 'Q>', $left;
        my $bytes = $left < $PIECE ? substr $piece, 0, $left : $piece;
        $digest->add($bytes);
        $client->send($bytes) or die 'The server has closed the connection';
    }
    $client->send($after);
    STDOUT->autoflush(1);
    print $digest->hexdigest,        "\n";
    print $client->response->{body}, "\n";
    POSIX::_exit(0);
}

sub page {
    my ($cgi) = @_;
    $cgi->header;
    $cgi->print('page');
    return;
}

# Requests to both servers in turn until the upload is there: how long they took in
# seconds, the longest first, of the one and of the other; and the report of the upload.
sub serve_others {
    my @servers = @_;
    my @took    = map { [] } @servers;
    while (1) {
        push @{ $took[$_] }, time_of_request( $servers[$_] ) for 0 .. $#servers;
        my $report = report_there( $servers[0] ) or next;
        return (
            (
                map {
                    [ sort { $b <=> $a } @{$_} ]
                } @took
            ),
            $report
        );
    }
    return;
}

sub time_of_request {
    my ($server) = @_;
    my $begun = time;
    $server->request( GET => '/' )->{body} eq 'page' or die 'A request is not answered';
    return time - $begun;
}

# The next report if there is one.
sub report_there {
    my ($server) = @_;
    local $TestServer::DEADLINE = 0.005;
    return $server->next_report;
}
