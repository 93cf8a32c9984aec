#!/usr/bin/env perl
# The harness decodes responses as a client does, however their end is told.

use strict;
use warnings;

use FindBin;
use IO::Socket::UNIX;
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer;

my $CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
my $LENGTH  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
my $TO_END  = "HTTP/1.1 200 OK\r\n\r\n";

# What a server says before it closes => status, body, and what is left behind the response.
my %RESPONSES = (
    'a length'           => [ "${LENGTH}1234\n",        200, "1234\n",     q{} ],
    'a length, and more' => [ "${LENGTH}12345HTTP/1.1", 200, 12_345,       'HTTP/1.1' ],
    'no length'          => [ "${TO_END}a\r\n\r\nb",    200, "a\r\n\r\nb", q{} ],
    'nothing but a head' => [ $TO_END,                  200, q{},          q{} ],
    'chunks'             => [
        "${CHUNKED}3\r\na\r\n\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200,
        "a\r\n0123456789",                                          q{}
    ],
    'chunks, and trailers' =>
      [ "${CHUNKED}1\r\na\r\n000\r\nA: b\r\n\r\nmore", 200, 'a', 'more' ],
    'no chunk'           => [ "${CHUNKED}0\r\n\r\n",  200, q{}, q{} ],
    'no content, by 204' => [ "HTTP/1.1 204\r\n\r\n", 204, q{}, q{} ],
    'no content, by 304' =>
      [ "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nmore", 304, q{}, 'more' ],
    'another protocol'  => [ "HTTP/1.1 101 To\r\n\r\nmore", 101, q{}, 'more' ],
    'a word in between' =>
      [ "HTTP/1.1 100 On\r\n\r\n$LENGTH" . 'after', 200, 'after', q{} ],
    'nothing'        => [ q{},   undef, undef, q{} ],
    'something else' => [ 'raw', undef, undef, 'raw' ],
);

# What is no response.
my %BROKEN = (
    'half a head'         => "HTTP/1.1 200 OK\r\nA: b\r\n",
    'less than a length'  => "${LENGTH}1234",
    'half a chunk'        => "${CHUNKED}5\r\n1234",
    'no last chunk'       => "${CHUNKED}1\r\na\r\n",
    'no size of a chunk'  => "${CHUNKED}x\r\n\r\n0\r\n\r\n",
    'a chunk too long'    => "${CHUNKED}1\r\nab\r\n0\r\n\r\n",
    'more behind the end' =>
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nab",
);

subtest 'Responses' => sub {
    for my $name ( sort keys %RESPONSES ) {
        my ( $bytes, @expected ) = @{ $RESPONSES{$name} };
        my $client   = client_of($bytes);
        my $response = $client->response;
        is_deeply [ @{$response}{qw(status body)}, $client->read_all ], \@expected, $name;
    }
};

subtest 'The end of a response is seen while the connection is open' => sub {
    for my $end ( "${LENGTH}12345", "${CHUNKED}0\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n" ) {
        my ( $client, $server ) = client_of( $end x 2 );
        is $client->response->{status}, $client->response->{status}, 'two of them';
    }
};

subtest 'A response to HEAD has no body' => sub {
    my $client = client_of( $LENGTH x 2 );
    is $client->response( to => 'HEAD' )->{body}, q{}, 'one' for 1 .. 2;
};

subtest 'The head' => sub {
    my @lines = ( 'HTTP/1.1 200 OK', 'A: b: c', 'Two: 1', 'Two: 2' );
    my $response =
      client_of( join "\r\n", 'HTTP/1.1 103 Hints', q{}, @lines, q{}, q{} )->response;
    is_deeply $response->{lines}, \@lines, 'as it came';
    is_deeply $response->{headers}, { a => 'b: c', two => 2 }, 'by names';
    is_deeply [ map { $_->{status} } @{ $response->{interim} } ], [103],
      'what came before it';
};

subtest 'What is cut off or malformed is no response' => sub {
    for my $name ( sort keys %BROKEN ) {
        ok !eval { client_of( $BROKEN{$name} )->response }, $name;
    }
    ok !eval { client_of("${LENGTH}12345more")->last_response },
      'nor the last one before others';
};

done_testing;

# A client to which a server has sent this. The server closes unless it is asked for.
sub client_of {
    my ($bytes) = @_;
    my ( $mine, $server ) =
      IO::Socket::UNIX->socketpair( AF_UNIX, SOCK_STREAM, PF_UNSPEC )
      or die "socketpair: $!";
    $server->syswrite($bytes) if length $bytes;
    my $client = TestServer::Client->from_socket($mine);
    return wantarray ? ( $client, $server ) : $client;
}
