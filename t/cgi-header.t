#!/usr/bin/env perl
# The head of a reply: header and set_cookies, as clients read them.

use strict;
use warnings;
use utf8;

use Encode     qw(encode);
use File::Temp qw(tempdir);
use FindBin;
use Hash::Util qw(lock_hash);
use HTTP::Tiny;
use POSIX qw(ceil floor);
use Test::More;
use Tie::Hash;
use Time::HiRes ();

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

package Overloaded {
    use overload q{""} => sub { 'from the object' }, fallback => 1;
}

package Tied::Hash { use parent -norequire, 'Tie::StdHash' }

# What is given to header => the status line, and the lines of these fields in order.
my @DEFAULT = ( 'Server: Perl HTTP::Server::EV', 'Content-Type: text/html' );
my %HEADS   = (
    'nothing'       => [ [],      'HTTP/1.1 200 OK', @DEFAULT ],
    'undef'         => [ [undef], 'HTTP/1.1 200 OK', @DEFAULT ],
    'an empty hash' => [ [ {} ],  'HTTP/1.1 200 OK', @DEFAULT ],
    'a status'      =>
      [ [ { STATUS => '404 Not Found' } ], 'HTTP/1.1 404 Not Found', @DEFAULT ],
    'a code alone'          => [ [ { STATUS => 202 } ],     'HTTP/1.1 202 ', @DEFAULT ],
    'a code and a space'    => [ [ { STATUS => '202 ' } ],  'HTTP/1.1 202 ', @DEFAULT ],
    'a code and a line end' => [ [ { STATUS => "202\n" } ], 'HTTP/1.1 202 ', @DEFAULT ],
    'Server, Content-Type'  => [
        [ { Server => 'Mine/1', 'Content-Type' => 'image/png' } ],
        'HTTP/1.1 200 OK',
        'Server: Mine/1',
        'Content-Type: image/png'
    ],
    'false values stand for the defaults, once' => [
        [ { STATUS => 0, Server => q{}, 'Content-Type' => undef } ],
        'HTTP/1.1 200 OK', @DEFAULT
    ],
    'the defaults once, with all undef' => [
        [ { STATUS => undef, Server => undef, 'Content-Type' => undef } ],
        'HTTP/1.1 200 OK', @DEFAULT
    ],
    'names in another case are fields of their own' => [
        [ { 'content-type' => 'text/plain' } ],
        'HTTP/1.1 200 OK',
        @DEFAULT,
        'content-type: text/plain'
    ],
    'status in another case' =>
      [ [ { 'Status' => '500' } ], 'HTTP/1.1 200 OK', @DEFAULT, 'Status: 500' ],
    'other fields' => [
        [ { 'Location' => '/elsewhere?a=b#c' } ],
        'HTTP/1.1 200 OK',
        @DEFAULT,
        'Location: /elsewhere?a=b#c'
    ],
    'other fields, empty' =>
      [ [ { 'X-Empty' => q{} } ], 'HTTP/1.1 200 OK', @DEFAULT, 'X-Empty: ' ],
    'other fields, 0' =>
      [ [ { 'X-Zero' => 0 } ], 'HTTP/1.1 200 OK', @DEFAULT, 'X-Zero: 0' ],
    'other fields, undef' =>
      [ [ { 'X-Undef' => undef } ], 'HTTP/1.1 200 OK', @DEFAULT, 'X-Undef: ' ],
    'text as UTF-8' => [
        [ { 'X-Text' => 'я' } ],
        'HTTP/1.1 200 OK',
        @DEFAULT,
        'X-Text: ' . encode( 'UTF-8', 'я' )
    ],
    'bytes as they are' =>
      [ [ { 'X-Bytes' => "\xff" } ], 'HTTP/1.1 200 OK', @DEFAULT, "X-Bytes: \xff" ],
    'objects' => [
        [ { 'X-Object' => bless [], 'Overloaded' } ],
        'HTTP/1.1 200 OK',
        @DEFAULT, 'X-Object: from the object'
    ],
    'no line can be smuggled in by a value' => [
        [ { 'X-A' => "a\r\nX-Injected: 1\r\n\r\n<b>\0" } ],
        'HTTP/1.1 200 OK',
        @DEFAULT, 'X-A: aX-Injected: 1<b>'
    ],
    'nor by a name' => [
        [ { "X-B: b\r\nX-Injected\n\0" => 1 } ],
        'HTTP/1.1 200 OK',
        @DEFAULT, 'X-B: bX-Injected: 1'
    ],
    'nor by the known fields' => [
        [
            {
                STATUS         => "200 OK\r\nX-Injected: 1",
                Server         => "a\nX-Injected: 2",
                'Content-Type' => "b\rX-Injected: 3\0"
            }
        ],
        'HTTP/1.1 200 OKX-Injected: 1',
        'Server: aX-Injected: 2',
        'Content-Type: bX-Injected: 3'
    ],
);

# Added by the server itself where it likes; what the tables ask for is the rest.
my $FRAMING = qr/\A(?:Connection|Content-Length|Date|Keep-Alive|Transfer-Encoding):/i;

subtest 'header' => sub {
    my @names  = sort keys %HEADS;
    my $server = start(
        sub {
            my ($cgi)    = @_;
            my ($number) = $cgi->{headers}{SCRIPT_NAME} =~ /(\d+)/;
            my @given    = @{ $HEADS{ $names[$number] }[0] };
            my %before   = %{ $given[0] || {} };
            my $returned = $cgi->header(@given);
            $cgi->print('body');
            my %after = %{ $given[0] || {} };
            report( 'done', $returned ? 1 : 0, same( \%before, \%after ) );
        }
    );
    for my $number ( 0 .. $#names ) {
        my ( undef, @expected ) = @{ $HEADS{ $names[$number] } };
        my ( $body, @lines )    = lines( $server, "/$number" );
        is_deeply \@lines, \@expected, $names[$number];
        is $body, 'body', 'then the body';
        is_deeply [ $server->await('done') ], [ 1, 1 ],
          'true is returned, and the hash stays as it was';
    }
    $server->stop;
};

subtest 'header takes any kind of hash' => sub {

    tie my %tied, 'Tied::Hash';
    %tied = ( STATUS => '201 Created', 'X-A' => 1 );
    my %locked =
      ( STATUS => '202 Accepted', Server => 0, 'Content-Type' => 0, 'X-B' => 2 );
    lock_hash(%locked);
    my %kinds = (
        tied    => \%tied,
        locked  => \%locked,
        blessed => bless( { STATUS => '203 Other', 'X-C' => 3 }, 'Some::Class' ),
    );
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header( $kinds{ substr $cgi->{headers}{SCRIPT_NAME}, 1 } );
        }
    );
    my %expected = (
        tied    => [ 'HTTP/1.1 201 Created',  @DEFAULT, 'X-A: 1' ],
        locked  => [ 'HTTP/1.1 202 Accepted', @DEFAULT, 'X-B: 2' ],
        blessed => [ 'HTTP/1.1 203 Other',    @DEFAULT, 'X-C: 3' ],
    );
    for my $kind ( sort keys %kinds ) {
        my ( undef, @lines ) = lines( $server, "/$kind" );
        is_deeply \@lines, $expected{$kind}, $kind;
    }
    $server->stop;
};

subtest 'header with something else dies at the line of the caller' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            for my $given ( 'text', [ 'a', 'b' ], sub { } ) {
                eval { $cgi->header($given); 1 } and die "It did not die\n";
                report( error => $@ );
            }
            $cgi->header;
        }
    );
    is $server->request( GET => '/' )->{status}, 200, 'and nothing was printed';
    like $server->await('error'),
      qr/\Aheader takes a hash reference at \Q$0\E line \d+[.]\n\z/, 'the error'
      for 1 .. 3;
    $server->stop;
};

subtest 'header is printed at each call, the cookies too' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->set_cookies( { a => 1 } );
            $cgi->header( { STATUS         => '100 Continue' } );
            $cgi->header( { 'Content-Type' => 'text/plain' } );
            $cgi->print('body');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    my $response = $client->response;
    my ($first) = @{ $response->{interim} };
    is $first->{lines}[0], 'HTTP/1.1 100 Continue', 'the first';
    like $first->{headers}{'set-cookie'}, qr/\Aa=1;/, 'with the cookie';
    is $response->{lines}[0],                'HTTP/1.1 200 OK', 'the second';
    is $response->{headers}{'content-type'}, 'text/plain',      'with its type';
    like $response->{headers}{'set-cookie'}, qr/\Aa=1;/, 'and the cookie again';
    is $response->{body}, 'body', 'and the body after it';
    $server->stop;
};

subtest 'The order: status line, Server, cookies, Content-Type, the rest' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->set_cookies( { a => 1 }, 0 );
            $cgi->header( { 'X-Other' => 1 } );
        }
    );
    my ( undef, @lines ) = lines( $server, '/' );
    is_deeply [ map { /\A([^: ]+)/ } @lines ],
      [qw(HTTP/1.1 Server Set-Cookie Content-Type X-Other)], 'as it always was';
    $server->stop;
};

# name => value => the line up to the expiry.
my @COOKIES = (
    [ 'session',    'abc',               'session=abc' ],
    [ 'empty',      q{},                 'empty=' ],
    [ 'undef',      undef,               'undef=' ],
    [ 'zero',       0,                   'zero=0' ],
    [ 'raw',        'a=b&c%20 d"',       'raw=a=b&c%20 d"' ],
    [ 'text',       'я',                 'text=' . encode( 'UTF-8', 'я' ) ],
    [ 'имя',        'x',                 encode( 'UTF-8', 'имя' ) . '=x' ],
    [ 'byte',       "\xff",              "byte=\xff" ],
    [ 'lines',      "a\r\nX-Evil: b\0c", 'lines=aX-Evil: bc' ],
    [ "na\r\nme\0", 'x',                 'name=x' ],
);

subtest 'set_cookies: a line for each pair' => sub {
    my $server = start(
        sub {
            my ($cgi)    = @_;
            my ($number) = $cgi->{headers}{SCRIPT_NAME} =~ /(\d+)/;
            my ( $name, $value ) = @{ $COOKIES[$number] };
            my @returned = $cgi->set_cookies( { $name => $value } );
            $cgi->header;
            report( returned => scalar @returned );
        }
    );
    for my $number ( 0 .. $#COOKIES ) {
        my ( undef, @lines ) = lines( $server, "/$number" );
        my @cookies = grep { /\ASet-Cookie/ } @lines;
        is @cookies, 1, 'one line';
        my ( $pair, $rest ) = split /; path=/, $cookies[0];
        is $pair, "Set-Cookie: $COOKIES[$number][2]", 'the pair';
        like $rest, qr{\A/; expires=[^;]+;\z}, 'and the rest';
        is $server->await('returned'), 0, 'nothing is returned';
    }
    $server->stop;
};

subtest 'set_cookies: calls add up, in order' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->set_cookies( {} );
            $cgi->set_cookies( { a => 1 } );
            $cgi->set_cookies( { b => 2, c => 3 }, 10 );
            $cgi->set_cookies( { a => 4 } );
            $cgi->header;
        }
    );
    my ( undef, @lines ) = lines( $server, '/' );
    my @pairs = map { /\ASet-Cookie: (\w=\d);/ } @lines;
    is_deeply [ @pairs[ 0, 3 ], sort @pairs[ 1, 2 ] ], [qw(a=1 a=4 b=2 c=3)],
      'all of them';
    $server->stop;
};

# The time is taken by Time::HiRes: Perl's own lags some milliseconds behind the system's.
# The seconds a cookie is given => those it lives; undef: $cookies_lifetime.
my @LIFETIMES = (
    [ 3600,                 3600 ],
    [ 0,                    0 ],
    [ -1,                   -1 ],
    [ -86_400,              -86_400 ],
    [ 1.5,                  1.5 ],
    [ -0.5,                 -0.5 ],
    [ '60',                 60 ],
    [ 10 * 365.25 * 86_400, 10 * 365.25 * 86_400 ],
    [ undef,                2_678_400 ],
    [ undef,                77, 77 ],
    [ undef,                0,  0 ],
    [ 5,                    5,  77 ],
);

subtest 'set_cookies: lifetimes' => sub {
    my $server = start(
        sub {
            my ($cgi)    = @_;
            my ($number) = $cgi->{headers}{SCRIPT_NAME} =~ /(\d+)/;
            my ( $given, undef, $default ) = @{ $LIFETIMES[$number] };
            no warnings 'once';
            local $HTTP::Server::EV::CGI::cookies_lifetime = $default
              // $HTTP::Server::EV::CGI::cookies_lifetime;
            my $before = Time::HiRes::time();
            $cgi->set_cookies( { a => 1 }, defined $given ? $given : () );
            report( moment => map { int } $before, Time::HiRes::time() );
            $cgi->header;
        }
    );
    for my $number ( 0 .. $#LIFETIMES ) {
        my ( $given, $expected, $default ) = @{ $LIFETIMES[$number] };
        my ( undef, @lines ) = lines( $server, "/$number" );
        my ($expires) = join( "\n", @lines ) =~ /expires=([^;]*);$/m;
        my ( $before, $after ) = $server->await('moment');
        my %possible =
          map { date($_) => 1 } $before + floor($expected) .. $after + ceil($expected);
        ok $possible{$expires},
          sprintf '%s, default %s: %s', map { $_ // 'none' } $given, $default, $expires;
    }
    $server->stop;
};

subtest 'set_cookies: what it refuses, at the line of the caller' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            for my $given ( [], ['a'], [ { a => 1 }, 1e12 ], [ { a => 1 }, -1e12 ] ) {
                eval { $cgi->set_cookies( @{$given} ); 1 } and die "It did not die\n";
                report( error => $@ );
            }
            $cgi->header;
        }
    );
    my ( undef, @lines ) = lines( $server, '/' );
    is scalar( grep { /Cookie/ } @lines ), 0, 'no cookie is set';
    like $server->await('error'), $_
      for qr/ at \Q$0\E line \d+/,
      qr/\Aset_cookies takes a hash reference at \Q$0\E line \d+/,
      (qr/\Aset_cookies takes a lifetime .* at \Q$0\E line \d+/) x 2;
    $server->stop;
};

# What clients make of it.
my $SITE = sub {
    my ($cgi) = @_;
    my $path = $cgi->{headers}{SCRIPT_NAME};
    $cgi->set_cookies( { session => 'a=b', other => 7 } ) if $path eq '/set';
    $cgi->set_cookies( { session => q{} }, -1 )           if $path eq '/remove';
    $cgi->header(
        { STATUS => '404 Not Found', 'Content-Type' => 'text/plain', 'X-A' => 'b: c' } );
    my $cookies = $cgi->{cookies} || {};
    $cgi->print( join q{ }, map { "$_:$cookies->{$_}" } sort keys %{$cookies} );
};

subtest 'HTTP::Tiny reads it' => sub {
    my $server   = start($SITE);
    my $response = HTTP::Tiny->new->get( $server->url('/set') );
    is_deeply [ @{$response}{qw(status reason content)} ], [ 404, 'Not Found', q{} ],
      'status, reason, body';
    is_deeply [ @{ $response->{headers} }{qw(server content-type x-a)} ],
      [ 'Perl HTTP::Server::EV', 'text/plain', 'b: c' ], 'fields';
    is @{ $response->{headers}{'set-cookie'} }, 2, 'two cookies';
    $server->stop;
};

subtest 'curl keeps and forgets cookies' => sub {
    my $curl = sub {
        open my $output, '-|', qw(curl --silent --noproxy *), @_ or return;
        local $/ = undef;
        return readline $output;
    };
    $curl->('--version') or plan skip_all => 'curl is not installed';
    my $server = start($SITE);
    my $jar    = tempdir( CLEANUP => 1 ) . '/jar';
    my @jar    = ( '--cookie', $jar, '--cookie-jar', $jar );
    is $curl->( @jar, $server->url('/set') ),    q{},                   'none at first';
    is $curl->( @jar, $server->url('/a/b') ),    'other:7 session:a=b', 'then both';
    is $curl->( @jar, $server->url('/remove') ), 'other:7 session:a=b', 'still';
    is $curl->( @jar, $server->url('/') ),       'other:7',             'then one';
    $server->stop;
};

subtest 'LWP keeps and forgets cookies' => sub {
    eval { require LWP::UserAgent; require HTTP::Cookies; 1 }
      or plan skip_all => 'LWP is not installed';
    my $server = start($SITE);
    my $agent  = LWP::UserAgent->new( cookie_jar => {}, no_proxy => ['127.0.0.1'] );
    my $get    = sub { $agent->get( $server->url(@_) )->content };
    is $get->('/set'),    q{},                   'none at first';
    is $get->('/a/b'),    'other:7 session:a=b', 'then both';
    is $get->('/remove'), 'other:7 session:a=b', 'still';
    is $get->('/'),       'other:7',             'then one';
    $server->stop;
};

done_testing;

# As set_cookies writes it.
sub date {
    my ($seconds) = @_;
    my @time = gmtime $seconds;
    return sprintf '%s, %02d-%s-%d %02d:%02d:%02d GMT',
      (qw(Sun Mon Tue Wed Thu Fri Sat))[ $time[6] ],                     $time[3],
      (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $time[4] ], $time[5] + 1900,
      @time[ 2, 1, 0 ];
}

# The body, and the lines of the head that the application has made.
sub lines {
    my ( $server, $path ) = @_;
    my $client = $server->connect;
    $client->send( request_bytes( GET => $path ) );
    my $response = $client->response;
    return ( $response->{body}, grep { !/$FRAMING/ } @{ $response->{lines} } );
}

sub same {
    my ( $one, $other ) = @_;
    return 0 if join( q{,}, sort keys %{$one} ) ne join q{,}, sort keys %{$other};
    no warnings 'uninitialized';
    return ( grep { $one->{$_} ne $other->{$_} } keys %{$one} ) ? 0 : 1;
}

# A server with this main callback.
sub start {
    my ($callback) = @_;
    return TestServer->start( sub { $_[0]->listen($callback) } );
}
