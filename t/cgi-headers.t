#!/usr/bin/env perl
# $cgi->{headers}: the names under which a header is found, its value, and the keys that
# come from the server and that no header overwrites.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

my $FORM = 'application/x-www-form-urlencoded';

# Header lines => some keys.
my @HEADERS = (
    [
        'three names' => ['User-Agent: Test'],
        {
            'User-Agent'      => 'Test',
            'HTTP_USER-AGENT' => 'Test',
            'HTTP_USER_AGENT' => 'Test',
            'user-agent'      => undef,
            'USER-AGENT'      => undef,
        }
    ],
    [
        'the exact case that was sent' => ['x-lOWer-CASE: a'],
        {
            'x-lOWer-CASE'      => 'a',
            'X-Lower-Case'      => undef,
            'HTTP_X-LOWER-CASE' => 'a',
            'HTTP_X_LOWER_CASE' => 'a',
        }
    ],
    [
        'a name of one character' => [ 'A: b', 'C: d' ],
        { 'A' => 'b', HTTP_A => 'b', C => 'd', HTTP_C => 'd' }
    ],
    [
        'every character a name may have' => [q{!#$%&'*+-.^_`|~1aZ: b}],
        {
            q{!#$%&'*+-.^_`|~1aZ}      => 'b',
            q{HTTP_!#$%&'*+-.^_`|~1AZ} => 'b',
            q{HTTP_!#$%&'*+_.^_`|~1AZ} => 'b'
        }
    ],
    [ 'no space behind the colon' => ['X-A:b'],        { 'X-A' => 'b' } ],
    [ 'white space around'        => ["X-A: \t b \t"], { 'X-A' => 'b' } ],
    [ 'white space within'        => ["X-A: b \t c"],  { 'X-A' => "b \t c" } ],
    [
        'an empty value' => [ 'X-A:', 'X-B: ', 'X-C: c' ],
        {
            'X-A'      => q{},
            'HTTP_X-A' => q{},
            HTTP_X_A   => q{},
            'X-B'      => q{},
            'X-C'      => 'c'
        }
    ],
    [ 'colons in the value' => ['X-A: b: c : d:e: '],    { 'X-A' => 'b: c : d:e:' } ],
    [ 'many of them' => [ 'X-A: ' . 'b: ' x 500 . 'c' ], { 'X-A' => 'b: ' x 500 . 'c' } ],
    [ 'a colon first' => ['X-A: : b'],                   { 'X-A' => ': b' } ],
    [
        '8-bit bytes' => [ 'X-A: ' . join q{}, map { chr } 0x80 .. 0xff ],
        { 'X-A' => join q{}, map { chr } 0x80 .. 0xff }
    ],
    [ 'escapes are not decoded' => ['X-A: %41+"\\"'], { 'X-A' => '%41+"\\"' } ],
    [
        'of equal names the last' => [ 'X-A: 1', 'X-A: 2' ],
        { 'X-A' => 2, 'HTTP_X-A' => 2, HTTP_X_A => 2 }
    ],
    [
        'of names in different case each, and the last' =>
          [ 'X-A: 1', 'x-a: 2', 'X-a: 3', 'x-a: 4' ],
        { 'X-A' => 1, 'x-a' => 4, 'X-a' => 3, 'HTTP_X-A' => 4, HTTP_X_A => 4 }
    ],
    [
        'an empty last one counts too' => [ 'X-A: 1', 'X-A:' ],
        { 'X-A' => q{}, 'HTTP_X-A' => q{}, HTTP_X_A => q{} }
    ],
    [
        'dashes before underscores' => [ 'A-B: dash', 'A_B: under' ],
        { HTTP_A_B => 'dash', 'HTTP_A-B' => 'dash', 'A-B' => 'dash', 'A_B' => 'under' }
    ],
    [
        'in either order' => [ 'A_B: under', 'A-B: dash' ],
        { HTTP_A_B => 'dash', 'HTTP_A-B' => 'dash', 'A-B' => 'dash', 'A_B' => 'under' }
    ],
    [
        'dashes alone before both' => [ 'A-B-C: dash', 'A_B-C: both', 'A-B_C: both' ],
        {
            HTTP_A_B_C   => 'dash',
            'HTTP_A-B-C' => 'dash',
            'HTTP_A_B-C' => 'both',
            'A_B-C'      => 'both',
            'HTTP_A-B_C' => 'both'
        }
    ],
    [
        'of both the last' => [ 'A_B-C: 1', 'A-B_C: 2' ],
        { HTTP_A_B_C => 2, 'HTTP_A_B-C' => 1, 'HTTP_A-B_C' => 2 }
    ],
    [
        'underscores alone' => [ 'A_B: first', 'A_B: second' ],
        { HTTP_A_B => 'second', 'HTTP_A-B' => undef, 'A-B' => undef, 'A_B' => 'second' }
    ],
    [
        'several dashes' => ['X-Forwarded-For: 1.2.3.4, 5.6.7.8'],
        {
            'HTTP_X-FORWARDED-FOR' => '1.2.3.4, 5.6.7.8',
            HTTP_X_FORWARDED_FOR   => '1.2.3.4, 5.6.7.8',
            'HTTP_X_FORWARDED-FOR' => undef,
        }
    ],
    [
        'HTTP_ is not for clients' => [ 'HTTP_COOKIE: a=1', 'HTTP_X: y', 'HTTP_X-Y: z' ],
        {
            HTTP_COOKIE      => undef,
            HTTP_X           => undef,
            'HTTP_X-Y'       => undef,
            HTTP_HTTP_COOKIE => 'a=1',
            HTTP_HTTP_X      => 'y',
            'HTTP_HTTP_X-Y'  => 'z',
        }
    ],
    [
        'nor to replace a header' =>
          [ 'X-Y: true', 'HTTP_X-Y: false', 'HTTP_X_Y: false' ],
        { 'X-Y' => 'true', 'HTTP_X-Y' => 'true', HTTP_X_Y => 'true' }
    ],
    [
        'http_ in another case is a name' => ['http_x: y'],
        { http_x => 'y', HTTP_X => undef, HTTP_HTTP_X => 'y' }
    ],
);

# The keys of the server, with what they are for `GET /a?b`.
my %SERVER_KEYS = (
    REQUEST_METHOD    => 'GET',
    REQUEST_URI       => '/a?b',
    SCRIPT_NAME       => '/a',
    DOCUMENT_URI      => '/a',
    PATH_INFO         => '/a',
    QUERY_STRING      => 'b',
    CONTENT_TYPE      => undef,
    CONTENT_LENGTH    => undef,
    REMOTE_ADDR       => '127.0.0.1',
    SERVER_NAME       => 'a',
    SERVER_PROTOCOL   => 'HTTP/1.1',
    GATEWAY_INTERFACE => 'CGI/1.1',
);

# Host => SERVER_NAME.
my @HOSTS = (
    [ 'example.org'    => 'example.org' ],
    [ 'example.org:81' => 'example.org' ],
    [ 'example.org:'   => 'example.org' ],
    [ 'EXAMPLE.org'    => 'EXAMPLE.org' ],
    [ '127.0.0.1:80'   => '127.0.0.1' ],
    [ '[::1]'          => '[::1]' ],
    [ '[::1]:80'       => '[::1]' ],
    [ q{}              => q{} ],
);

# Header lines that are refused.
my @REFUSED = (
    [ 'no colon'                          => 'X-A' ],
    [ 'an empty name'                     => ': b' ],
    [ 'a space before the colon'          => 'X-A : b' ],
    [ 'a space in the name'               => 'X A: b' ],
    [ 'an 8-bit byte in the name'         => "X-\xc4: b" ],
    [ 'a folded line'                     => "X-A: b\r\n c" ],
    [ 'a line that begins by a tabulator' => "X-A: b\r\n\tc: d" ],
    [ 'a NUL in the value'                => "X-A: b\0c" ],
    [ 'a carriage return in it'           => "X-A: b\rc" ],
    [ 'a delete in it'                    => "X-A: b\x7fc" ],
    [ 'a second Host'                     => 'Host: a' ],
    [ 'a Host that is none'               => 'host: a b' ],
);

my $server = TestServer->looking( sub { return $_[0]{headers} } );

subtest 'Names and values' => sub {
    for my $case (@HEADERS) {
        my ( $what, $lines, $expected ) = @{$case};
        my $headers = $server->seen( head( @{$lines} ) );
        is_deeply {
            map { $_ => $headers->{$_} } keys %{$expected}
        }, $expected, $what;
    }
};

subtest 'A hundred headers' => sub {
    my $headers = $server->seen( head( map { "X-$_: $_" } 1 .. 98 ) );
    is_deeply [ @{$headers}{ map { "HTTP_X_$_" } 1 .. 98 } ], [ 1 .. 98 ],
      'all are there';
};

subtest 'What the server says of the request' => sub {
    my $headers = $server->seen( head() );
    for my $key ( sort keys %SERVER_KEYS ) {
        ok exists $headers->{$key}, "$key exists";
        is $headers->{$key}, $SERVER_KEYS{$key}, 'and is right';
    }
    is $headers->{SERVER_PORT}, $server->port, 'SERVER_PORT';

    my $client = $server->connect;
    my $port   = $client->socket->sockport;
    $client->send( head() );
    is $server->await('seen')->{REMOTE_PORT}, $port, 'REMOTE_PORT';
};

subtest 'No header overwrites it' => sub {
    my @keys  = ( keys %SERVER_KEYS, qw(SERVER_PORT REMOTE_PORT SERVER_SOFTWARE) );
    my $true  = $server->seen( head() );
    my $false = $server->seen( head( map { ( "$_: false", "$_: false" ) } @keys ) );
    for my $key ( sort grep { $_ ne 'REMOTE_PORT' } @keys ) {
        is $false->{$key},        $true->{$key}, $key;
        is $false->{"HTTP_$key"}, 'false',       'it has its own place';
    }
    isnt $false->{REMOTE_PORT}, 'false', 'REMOTE_PORT';
    is $server->seen( head('Remote_Addr: mine') )->{Remote_Addr}, 'mine',
      'another case is another name';
    for my $key (
        qw(REMOTE_USER AUTH_TYPE REMOTE_HOST DOCUMENT_ROOT SERVER_ADDR REQUEST_SCHEME))
    {
        my $headers = $server->seen( head("$key: mine") );
        ok !exists $headers->{$key}, "$key, which this server never says";
        is $headers->{"HTTP_$key"}, 'mine', 'it has its own place';
    }
};

subtest 'CONTENT_TYPE and CONTENT_LENGTH' => sub {
    my @cases = (
        [ 'as they are'   => "Content-Type: $FORM", 'Content-Length: 3', $FORM, 3 ],
        [ 'in other case' => "CONTENT-type:$FORM",  'content-LENGTH:3',  $FORM, 3 ],
        [
            'leading zeros' => "Content-Type: $FORM; charset=utf-8",
            'Content-Length: 003', "$FORM; charset=utf-8", '003'
        ],
    );
    for my $case (@cases) {
        my ( $what, $type, $length, @expected ) = @{$case};
        my $bytes = join "\r\n", 'POST / HTTP/1.0', $type, $length, q{}, 'a=1';
        is_deeply [ @{ $server->seen($bytes) }{qw(CONTENT_TYPE CONTENT_LENGTH)} ],
          \@expected, $what;
    }
    is_deeply [
        @{
            $server->seen(
                GET => q{/},
                { 'Content-Type' => 'text/x', 'Content-Length' => 0 }
            )
        }{qw(CONTENT_TYPE CONTENT_LENGTH)}
      ],
      [ 'text/x', 0 ], 'of a GET too';
};

subtest 'SERVER_NAME' => sub {
    for my $case (@HOSTS) {
        my ( $host, $name ) = @{$case};
        is $server->seen( GET => q{/}, { Host => $host } )->{SERVER_NAME}, $name,
          "Host: $host";
    }
    is $server->seen("GET / HTTP/1.0\r\n\r\n")->{SERVER_NAME}, '127.0.0.1',
      'without it the address';
    is $server->seen( GET => 'http://b:81/c', { Host => 'a' } )->{SERVER_NAME}, 'b',
      'a target that is a whole URI says it before Host does';
    is $server->seen( CONNECT => '[::1]:443', { Host => 'a' } )->{SERVER_NAME}, '[::1]',
      'so does the target of CONNECT';
};

subtest 'Header lines that are refused' => sub {
    for my $case (@REFUSED) {
        my ( $what, $line ) = @{$case};
        my $client = $server->connect;
        $client->send( head($line) );
        is $client->response->{status}, 400, $what;
    }
    my $client = $server->connect;
    $client->send("GET / HTTP/1.1\r\n\r\n");
    is $client->response->{status}, 400, 'no Host in HTTP/1.1';
};

$server->stop;

subtest 'All names of a header are one scalar, of bytes' => sub {
    my $server = TestServer->looking(
        sub {
            my ($headers) = map { $_->{headers} } @_;
            my @names     = qw(X-Some HTTP_X-SOME HTTP_X_SOME);
            my $is_text   = grep { utf8::is_utf8( $headers->{$_} ) } @names;
            $headers->{'X-Some'} .= ' and more';
            return [ $is_text, @{$headers}{@names} ];
        }
    );
    is_deeply $server->seen( head("X-Some: \xd1\x8f") ),
      [ 0, ("\xd1\x8f and more") x 3 ], 'a change is seen under all';
    $server->stop;
};

subtest 'Behind a proxy, with the option backend' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( backend => 1 );
            $server->on_command(
                sub {
                    no warnings 'once';
                    $HTTP::Server::EV::backend = $_[0];
                    report('set');
                }
            );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    report( seen => $cgi->{headers}{REMOTE_ADDR} );
                    $cgi->header;
                }
            );
        }
    );
    my @cases = (
        [ '192.0.2.7'   => 'X-Real-IP: 192.0.2.7' ],
        [ '192.0.2.7'   => 'x-real-ip:192.0.2.7' ],
        [ '192.0.2.8'   => 'X-Real-IP: 192.0.2.7', 'X-Real-IP: 192.0.2.8' ],
        [ 'not checked' => 'X-Real-IP: not checked' ],
        [ '127.0.0.1'   => 'X-Forwarded-For: 192.0.2.7' ],
        [ '127.0.0.1'   => 'X_Real_IP: 192.0.2.7' ],
        [ '127.0.0.1'   => 'HTTP_X_REAL_IP: 192.0.2.7' ],
        [ '127.0.0.1'   => 'REMOTE_ADDR: 192.0.2.7' ],
        ['127.0.0.1'],
    );
    for my $case (@cases) {
        my ( $address, @lines ) = @{$case};
        is $server->seen( head(@lines) ), $address, "@lines";
    }
    $server->tell(0);
    $server->await('set');
    is $server->seen( head('X-Real-IP: 192.0.2.7') ), '127.0.0.1',
      'the variable counts as it is at the time';
    $server->stop;

    $server = TestServer->looking( sub { return $_[0]{headers}{REMOTE_ADDR} } );
    is $server->seen( head('X-Real-IP: 192.0.2.7') ), '127.0.0.1', 'without the option';
    $server->stop;
};

done_testing;

# A request with these header lines besides.
sub head {
    my (@lines) = @_;
    return join "\r\n", 'GET /a?b HTTP/1.1', 'Host: a', 'Connection: close', @lines, q{},
      q{};
}
