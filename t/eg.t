#!/usr/bin/env perl
# The examples run, and do what their first lines say.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use JSON::PP qw(decode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(kept_request_bytes reserve_port upload_bytes);

my $EXAMPLES = "$FindBin::Bin/../eg";

subtest 'hello.pl: a page' => sub {
    my $server   = start('hello.pl');
    my $response = $server->request( GET => '/' );
    is $response->{status}, 200,                   'the status';
    is $response->{body},   "Hello, 127.0.0.1!\n", 'the page';
    $server->stop( status => 'signal 15', stderr => qr/\AListening on port \d+\n\z/ );
};

subtest 'graceful.pl: at a signal, clients are served to the end' => sub {
    my $server = start('graceful.pl');
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    $client->read_until(qr/5\n/);
    kill TERM => $server->pid;
    ok $server->await_stderr(qr/Waiting for the last clients/), 'it stops';
    is $client->response->{body}, join( q{}, map { "$_\n" } reverse 0 .. 5 ), 'the page';
    $server->ended( stderr => qr/\AListening.*\nWaiting.*\nAll are served\n\z/ );

    $server = start('graceful.pl');
    $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    $client->read_until(qr/5\n/);
    kill TERM => $server->pid;
    ok $server->await_stderr(qr/Waiting for the last clients/), 'it stops';
    kill TERM => $server->pid;
    $server->ended( stderr => qr/\AListening.*\nWaiting.*\n\z/ );
};

subtest 'callbacks.pl: every callback, in order' => sub {
    my $server   = start('callbacks.pl');
    my $response = $server->upload(
        { name => 'note', content => 'hello' },
        { name => 'file', content => 'x' x 100, file_name => 'a.txt' },
    );
    is $response->{body}, "field note: hello\nfile file: a.txt, 100 bytes\n", 'the page';
    my @called = $server->stderr =~ /^[\d.]+ (fork_hook|on_\w+|main callback)/mg;
    is_deeply \@called,
      [
        qw(fork_hook on_multipart on_file_open on_file_write on_file_received),
        'main callback'
      ],
      'what it has logged';

    my $client = $server->connect;
    $client->send( substr upload_bytes( { name => 'a', content => 'b' } ), 0, -10 );
    $client->shutdown;
    ok $server->await_stderr(qr/on_error POST/), 'on_error, too';
    kill INT => $server->pid;
    $server->ended( stderr => qr{http://127[.]0[.]0[.]1} );
    is_deeply [ glob $server->directory . '/upload_tmpfiles/*' ], [], 'no file is left';
};

subtest 'upload.pl: a page, files that are saved, and their SHA-256' => sub {
    my $server = start( 'upload.pl', '--port' );
    my $page   = $server->request( GET => '/' );
    is $page->{status}, 200, 'the page is there';
    like $page->{body},
      qr/<form method="post" action="[^"]*" enctype="multipart\/form-data">/,
      'with its form';
    is $server->request( GET => '/none' )->{status}, 404, 'there is no other one';
    is $server->request( PUT => '/' )->{status},     405, 'no other method';

    my @files = (
        { name => 'file', file_name => 'a.txt',    content => 'x' x 300_000 },
        { name => 'file', file_name => 'a.txt',    content => q{} },
        { name => 'file', file_name => '<i>&.txt', content => 'y' },
    );
    my $answer = decode_json( upload( $server, 'application/json', @files )->{body} );
    is_deeply [ map { [ @{$_}{qw(name size sha256)} ] } @{ $answer->{files} } ],
      [
        [ 'a.txt',    300_000, sha256_hex( 'x' x 300_000 ) ],
        [ 'a.txt',    0,       sha256_hex(q{}) ],
        [ '_i_&.txt', 1,       sha256_hex('y') ],
      ],
      'as JSON';
    opendir my $saved, $server->directory . '/uploads' or die "uploads: $!";
    is_deeply [ sort grep { !/\A[.]/ } readdir $saved ],
      [ sort 'a.txt', 'a (2).txt', '_i_&.txt' ], 'each has a name of its own';

    my $result = upload( $server, 'text/html', @files )->{body};
    like $result, qr/\Q@{[ sha256_hex('y') ]}\E/, 'as a page';
    like $result, qr/_i_&amp;[.]txt/,             'with names escaped';
    is upload( $server, 'text/html' )->{status}, 400, 'nothing chosen';

    is_deeply [ glob $server->directory . '/uploads/.receiving/*' ], [],
      'no file is left';
    $server->stop( stderr => qr/\Ahttp:[^\n]+\n\z/ );
};

done_testing;

sub start {
    my ( $example, @option )      = @_;
    my ( $port,    $reservation ) = reserve_port();
    return TestServer->start_script( $port, $^X, "$EXAMPLES/$example", @option, $port );
}

sub upload {
    my ( $server, $accept, @parts ) = @_;
    my $bytes = upload_bytes(@parts);
    $bytes =~ s/\r\n/\r\nAccept: $accept\r\n/;
    my $client = $server->connect;
    $client->send($bytes);
    return $client->response;
}
