#!/usr/bin/env perl
# The request line: what becomes of its method, target and version, and which lines are
# refused.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report);

my @KEYS = qw(REQUEST_METHOD REQUEST_URI SCRIPT_NAME DOCUMENT_URI PATH_INFO QUERY_STRING
  SERVER_PROTOCOL);

# Target => path, decoded path, query.
my @TARGETS = (
    [ q{/}                   => q{/},                   q{/},                   undef ],
    [ '/?'                   => q{/},                   q{/},                   q{} ],
    [ '/a?b=c'               => '/a',                   '/a',                   'b=c' ],
    [ '/a?b?c'               => '/a',                   '/a',                   'b?c' ],
    [ '/a??'                 => '/a',                   '/a',                   q{?} ],
    [ '/a%20b/%D1%8F?q=%20'  => '/a%20b/%D1%8F',        "/a b/\xd1\x8f",        'q=%20' ],
    [ '/%d1%8f'              => '/%d1%8f',              "/\xd1\x8f",            undef ],
    [ '/%FF'                 => '/%FF',                 "/\xff",                undef ],
    [ '/%3Fa?b'              => '/%3Fa',                '/?a',                  'b' ],
    [ '/%2Fa%252F'           => '/%2Fa%252F',           '//a%2F',               undef ],
    [ '/a%00b'               => '/a%00b',               "/a\0b",                undef ],
    [ '/%zz%4?%zz%'          => '/%zz%4',               '/%zz%4',               '%zz%' ],
    [ '/a+b'                 => '/a+b',                 '/a+b',                 undef ],
    [ "/\xff\xe0?\xe6"       => "/\xff\xe0",            "/\xff\xe0",            "\xe6" ],
    [ 'http://a:81/b?c'      => 'http://a:81/b',        'http://a:81/b',        'c' ],
    [ '/a#b?c'               => '/a#b',                 '/a#b',                 'c' ],
    [ 'http://a/b#c'         => 'http://a/b#c',         'http://a/b#c',         undef ],
    [ 'a+1.b-://c/d?e'       => 'a+1.b-://c/d',         'a+1.b-://c/d',         'e' ],
    [ 'ftp:///a'             => 'ftp:///a',             'ftp:///a',             undef ],
    [ '/../../etc//passwd/.' => '/../../etc//passwd/.', '/../../etc//passwd/.', undef ],
    [
        q{/"<>\\^`{|};,@&='$!~} => q{/"<>\\^`{|};,@&='$!~},
        q{/"<>\\^`{|};,@&='$!~}, undef
    ],
);

# Request line without its line end => status of the answer.
my @REFUSED = (
    [ 'no target'                     => 'GET',                        400 ],
    [ 'no version'                    => 'GET /',                      400 ],
    [ 'an empty method'               => ' / HTTP/1.1',                400 ],
    [ 'an empty target'               => 'GET  HTTP/1.1',              400 ],
    [ 'two spaces'                    => 'GET  / HTTP/1.1',            400 ],
    [ 'a space in the target'         => 'GET /a b HTTP/1.1',          400 ],
    [ 'a tabulator for a space'       => "GET\t/\tHTTP/1.1",           400 ],
    [ 'a method that is no token'     => 'G(T / HTTP/1.1',             400 ],
    [ 'a method with 8-bit bytes'     => "G\xc9T / HTTP/1.1",          400 ],
    [ 'a NUL in the target'           => "GET /\0 HTTP/1.1",           400 ],
    [ 'a control in the target'       => "GET /\1 HTTP/1.1",           400 ],
    [ 'a delete in the target'        => "GET /\x7f HTTP/1.1",         400 ],
    [ 'a URI without a host'          => 'GET http:///a HTTP/1.1',     400 ],
    [ 'a URI with a user'             => 'GET http://b@a/ HTTP/1.1',   400 ],
    [ 'a URI with a bad port'         => 'GET http://a:b/ HTTP/1.1',   400 ],
    [ 'a path without a slash'        => 'GET -private/key HTTP/1.1',  400 ],
    [ 'a path of dots'                => 'GET ../key HTTP/1.1',        400 ],
    [ 'a word for a target'           => 'GET foo HTTP/1.1',           400 ],
    [ 'a query alone'                 => 'GET ?b HTTP/1.1',            400 ],
    [ 'a host and port'               => 'GET a:443 HTTP/1.1',         400 ],
    [ 'a URI without an authority'    => 'GET urn:a HTTP/1.1',         400 ],
    [ 'a scheme that is none'         => 'GET 1a://b/ HTTP/1.1',       400 ],
    [ 'an asterisk'                   => 'GET * HTTP/1.1',             400 ],
    [ 'OPTIONS with more than that'   => 'OPTIONS */ HTTP/1.1',        400 ],
    [ 'CONNECT with an asterisk'      => 'CONNECT * HTTP/1.1',         400 ],
    [ 'CONNECT with a path'           => 'CONNECT / HTTP/1.1',         400 ],
    [ 'CONNECT without a port'        => 'CONNECT a HTTP/1.1',         400 ],
    [ 'a version in lower case'       => 'GET / http/1.1',             400 ],
    [ 'a version of another name'     => 'GET / HTTX/1.1',             400 ],
    [ 'a version without a dot'       => 'GET / HTTP/11',              400 ],
    [ 'a version of many digits'      => 'GET / HTTP/1.10',            400 ],
    [ 'text behind the version'       => 'GET / HTTP/1.1 x',           400 ],
    [ 'HTTP/0.9'                      => 'GET / HTTP/0.9',             505 ],
    [ 'HTTP/1.2'                      => 'GET / HTTP/1.2',             505 ],
    [ 'HTTP/2.0'                      => 'GET / HTTP/2.0',             505 ],
    [ 'control characters only'       => "\1\2\3\4",                   400 ],
    [ 'the start of a TLS connection' => "\x16\3\1\2\0\1\0\1\xfc\3\3", 400 ],
);

my $server = TestServer->looking( \&look );

subtest 'Targets stay as they were sent, and are taken apart' => sub {
    for my $case (@TARGETS) {
        my ( $target, $path, $decoded, $query ) = @{$case};
        is_deeply $server->seen( GET => $target ),
          [ 'GET', $target, $path, $path, $decoded, $query, 'HTTP/1.1' ],
          printable($target);
    }
};

is $server->seen("OPTIONS * HTTP/1.0\r\n\r\n")->[1], q{*}, 'OPTIONS with an asterisk';

subtest 'Methods are any token, in their case' => sub {
    for my $method ( qw(GET HEAD DELETE OPTIONS M-SEARCH get Post X),
        'A' x 300, q{!#$%&'*+-.^_`|~} )
    {
        is $server->seen( $method => q{/} )->[0], $method, $method;
    }
};

subtest 'Versions' => sub {
    is $server->seen("GET / HTTP/1.0\r\n\r\n")->[-1],  'HTTP/1.0', 'HTTP/1.0';
    is $server->seen( whole('GET / HTTP/1.1') )->[-1], 'HTTP/1.1', 'HTTP/1.1';
};

subtest 'Line ends' => sub {
    my $expected = [ 'GET', '/a', '/a', '/a', '/a', undef, 'HTTP/1.1' ];
    my $bytes    = whole('GET /a HTTP/1.1');
    is_deeply $server->seen("\r\n$bytes"), $expected,
      'an empty line before the request line';
    is_deeply $server->seen( $bytes =~ s/\r//gr ), $expected, 'line feeds alone';
};

subtest 'A head in two pieces, cut at each place, and byte by byte' => sub {
    my $bytes = "\r\n" . whole('GET /a?b HTTP/1.1');
    my @wrong;
    for my $cut ( 1 .. length($bytes) - 1 ) {
        my $client = $server->connect;
        for my $piece ( substr( $bytes, 0, $cut ), substr $bytes, $cut ) {
            $client->send($piece);
            $client->drained or die 'The server does not read';
        }
        push @wrong, $cut if $server->await('seen')->[1] ne '/a?b';
        $client->response->{status} == 200 or push @wrong, $cut;
    }
    is_deeply \@wrong, [], 'cut at each place';

    my $client = $server->connect;
    for my $byte ( split //, $bytes ) {
        $client->send($byte);
        $client->drained or die 'The server does not read';
    }
    is $server->await('seen')->[1], '/a?b', 'byte by byte';
};

subtest 'Lines that are refused, and never reach a callback' => sub {
    for my $case (@REFUSED) {
        my ( $what, $line, $status ) = @{$case};
        my $client = $server->connect;
        $client->send( whole($line) );
        is $client->response->{status}, $status, $what;
    }
    is $server->seen( GET => '/next' )->[1], '/next', 'the next good one does';
};

subtest 'What no method begins with is refused before more of it comes' => sub {
    for my $bytes ( "\x16\3\1\2", "\r\n\x16", "{", "\x80" ) {
        my $client = $server->connect;
        $client->send($bytes);
        is $client->response->{status}, 400, printable($bytes);
    }
};

$server->stop;
done_testing;

sub look {
    my ($cgi) = @_;
    for my $key (@KEYS) {
        my $value = $cgi->{headers}{$key};
        die "$key is text\n" if defined $value && utf8::is_utf8($value);
    }
    return [ @{ $cgi->{headers} }{@KEYS} ];
}

# A request head with this first line.
sub whole {
    my ($line) = @_;
    return "$line\r\nHost: a\r\nConnection: close\r\n\r\n";
}

sub printable {
    my ($text) = @_;
    return $text =~ s/([^ -~])/sprintf '\\x{%x}', ord $1/ger;
}
