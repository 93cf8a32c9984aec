#!/usr/bin/env perl
# What the request object tells: its keys, fields, headers, cookies, and the methods
# that read them.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report upload_bytes);

my $URLENCODED = { 'Content-Type' => 'application/x-www-form-urlencoded' };

subtest 'The keys of the object' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return { map { $_ => ref $cgi->{$_} } keys %{$cgi} };
        }
    );
    my @always =
      qw(buffer fd file file_a headers parent_listener post post_a received stack_pos
      stdout_guard timer);

    is_deeply [ sort keys %{ seen( $server, GET => '/' ) } ], [ sort @always ],
      'of a GET';
    is_deeply [ sort keys %{ seen( $server, GET => '/?a=1', { Cookie => 'b=2' } ) } ],
      [ sort @always, qw(cookies get get_a) ], 'with a query and a cookie';
    my $keys = seen( $server, POST => '/', $URLENCODED, 'a=1' );
    is_deeply [ sort keys %{$keys} ], [ sort @always, 'REQUEST_BODY' ], 'of a POST';
    is $keys->{buffer},          'HTTP::Server::EV::Buffer',       'the buffer is one';
    is $keys->{parent_listener}, 'HTTP::Server::EV::PortListener', 'the listener is one';
    $server->stop;
};

subtest 'The values of the object' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return {
                is_own_socket => -S $cgi->fh && $cgi->fh->fileno ? 1 : 0,
                fd            => $cgi->fd == $cgi->{fd}          ? 1 : 0,
                received      => $cgi->{received},
                body          => $cgi->{REQUEST_BODY},
                port          => ref $cgi->{parent_listener}{cb},
                is_weak       => Scalar::Util::isweak( $cgi->{parent_listener} ) ? 1 : 0,
            };
        }
    );
    my $raw = "a=1&b=%D1%8F+\0\xff";
    is_deeply seen( $server, POST => '/', $URLENCODED, $raw ),
      {
        is_own_socket => 1,
        fd            => 1,
        received      => 1,
        body          => $raw,
        port          => 'CODE',
        is_weak       => 1,
      },
      'fd, received, REQUEST_BODY, parent_listener';
    is seen( $server, POST => '/', $URLENCODED, q{} )->{body}, q{}, 'an empty body';
    is seen( $server, POST => '/', { 'Content-Type' => 'text/xml' }, '<a/>' )->{body},
      '<a/>',
      'a body of another type';
    $server->stop;
};

subtest 'The query' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return {
                last  => $cgi->{get},
                all   => $cgi->{get_a},
                a     => $cgi->get('a'),
                none  => $cgi->get('none'),
                param => [ $cgi->param('a') ],
                one   => scalar $cgi->param('a'),
            };
        }
    );
    is_deeply seen( $server, GET => '/?a=1&b=2;a=3&a=' ),
      {
        last  => { a => q{},           b => 2 },
        all   => { a => [ 1, 3, q{} ], b => [2] },
        a     => [ 1, 3, q{} ],
        none  => [],
        param => [ 1, 3, q{} ],
        one   => q{},
      },
      'repeated names, & and ;';

    my %parsed = (
        'a=b=c'          => { a      => 'b=c' },
        'a=b%3Dc'        => { a      => 'b=c' },
        'a%3Db=c'        => { 'a=b'  => 'c' },
        'a=b%26c%3Bd'    => { a      => 'b&c;d' },
        'a'              => { a      => undef },
        '=x'             => { q{}    => 'x' },
        'a+b=c+d%2B'     => { 'a+b'  => 'c+d+' },
        'a=%zz%4'        => { a      => '%zz%4' },
        '%D1%8F=%C3%BC'  => { 'я'    => 'ü' },
        'cp=%FF%E0'      => { cp     => 'яа' },
        'a=0'            => { a      => 0 },
        'base64=YQ==&b=' => { base64 => 'YQ==', b => q{} },
    );
    for my $query ( sort keys %parsed ) {
        is_deeply seen( $server, GET => "/?$query" )->{last}, $parsed{$query}, $query;
    }
    $server->stop;
};

subtest 'The body of a form, and param' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return {
                last   => $cgi->{post},
                all    => $cgi->{post_a},
                tags   => $cgi->post('tag'),
                none   => $cgi->post('none'),
                params => [ $cgi->param('tag') ],
                one    => scalar $cgi->param('tag'),
                text   => scalar $cgi->param('text'),
            };
        }
    );
    my $body = 'tag=a&text=%D1%8F&tag=b';
    is_deeply seen( $server, POST => '/', $URLENCODED, $body ),
      {
        last   => { tag => 'b',          text => 'я' },
        all    => { tag => [ 'a', 'b' ], text => ['я'] },
        tags   => [ 'a', 'b' ],
        none   => [],
        params => [ 'a', 'b' ],
        one    => 'b',
        text   => 'я',
      },
      'urlencoded';
    my $seen = seen( $server, POST => '/?tag=query', $URLENCODED, $body );
    is_deeply [ @{$seen}{qw(params one text)} ], [ ['query'], 'query', 'я' ],
      'param: the query goes before the body';
    is seen( $server, POST => '/?tag=0', $URLENCODED, $body )->{one}, 0, 'even a 0 of it';

    my $client = $server->connect;
    $client->send(
        upload_bytes(
            map { { name => 'tag', content => $_ } } 'a',
            encode( 'UTF-8', 'б' )
        )
    );
    $client->read_all;
    is_deeply $server->await('seen')->{tags}, [ 'a', 'б' ], 'multipart';
    $server->stop;
};

subtest 'Multipart: names are bytes, values are text, files beside them' => sub {
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my ($name) = grep { /\Afile/ } keys %{ $cgi->{file} };
            return {
                names   => [ sort keys %{ $cgi->{post} } ],
                is_utf8 => [ map { utf8::is_utf8($_) ? 1 : 0 } keys %{ $cgi->{post} } ],
                values  => [ map { $cgi->{post}{$_} } sort keys %{ $cgi->{post} } ],
                files   => [ map { $_->name } @{ $cgi->file($name) } ],
                last    => $cgi->{file}{$name}->name,
                none    => $cgi->file('none'),
            };
        }
    );
    my $client = $server->connect;
    $client->send(
        upload_bytes(
            {
                name    => encode( 'UTF-8', 'имя' ),
                content => encode( 'UTF-8', 'значение' )
            },
            { name => 'file', file_name => 'a', content => 'x' },
            { name => 'file', file_name => 'b', content => 'y' },
        )
    );
    $client->read_all;
    is_deeply scalar $server->await('seen'),
      {
        names   => [ encode( 'UTF-8', 'имя' ) ],
        is_utf8 => [0],
        values  => ['значение'],
        files   => [ 'a', 'b' ],
        last    => 'b',
        none    => [],
      },
      'post, file, file_a';
    $server->stop;
};

subtest 'Headers and CGI variables' => sub {
    my $server  = start( sub { return $_[0]{headers} } );
    my $headers = seen(
        $server,
        GET => '/some%20path/%D1%8F?q=1?2',
        {
            'Host'         => 'example.org:81',
            'User-Agent'   => 'Test: one',
            'x-lower-CASE' => '  trimmed  ',
            'Empty'        => q{},
            'REMOTE_ADDR'  => '10.0.0.1',
        }
    );
    my %expected = (
        'User-Agent'        => 'Test: one',
        'HTTP_USER-AGENT'   => 'Test: one',
        'HTTP_USER_AGENT'   => 'Test: one',
        'x-lower-CASE'      => 'trimmed',
        'HTTP_X-LOWER-CASE' => 'trimmed',
        'Empty'             => q{},
        'REQUEST_METHOD'    => 'GET',
        'REQUEST_URI'       => '/some%20path/%D1%8F?q=1?2',
        'SCRIPT_NAME'       => '/some%20path/%D1%8F',
        'DOCUMENT_URI'      => '/some%20path/%D1%8F',
        'PATH_INFO'         => encode( 'UTF-8', '/some path/я' ),
        'QUERY_STRING'      => 'q=1?2',
        'REMOTE_ADDR'       => '127.0.0.1',
        'SERVER_PROTOCOL'   => 'HTTP/1.1',
        'SERVER_NAME'       => 'example.org',
        'SERVER_PORT'       => $server->port,
        'GATEWAY_INTERFACE' => 'CGI/1.1',
        'CONTENT_TYPE'      => undef,
        'CONTENT_LENGTH'    => undef,
    );
    is_deeply {
        map { $_ => $headers->{$_} } keys %expected
    }, \%expected, 'of a GET';
    like $headers->{REMOTE_PORT}, qr/\A\d+\z/, 'the port of the client';

    $headers = seen( $server, POST => '/', $URLENCODED, 'a=1' );
    is $headers->{CONTENT_TYPE},   'application/x-www-form-urlencoded', 'CONTENT_TYPE';
    is $headers->{CONTENT_LENGTH}, 3,                                   'CONTENT_LENGTH';
    is $headers->{QUERY_STRING},   undef,                               'no query: undef';
    is seen( $server, GET => '/?' )->{QUERY_STRING}, q{}, 'an empty query: empty';
    $server->stop;
};

subtest 'Cookies' => sub {
    my $server = start( sub { return $_[0]{cookies} } );
    is_deeply seen( $server, GET => '/', { Cookie => 'a=1; b=x%20y; t=YQ==; c' } ),
      { a => 1, b => 'x y', t => 'YQ==', c => undef }, 'several';
    is seen( $server, GET => '/' ), undef, 'none: no key';
    $server->stop;
};

subtest 'A proxy names the client, with the option backend' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( backend => 1 );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    report( seen => $cgi->{headers}{REMOTE_ADDR} );
                    $cgi->header;
                }
            );
        }
    );
    is seen( $server, GET => '/', { 'X-Real-IP' => '192.0.2.7' } ), '192.0.2.7',
      'by X-Real-IP';
    is seen( $server, GET => '/' ), '127.0.0.1', 'without it: the proxy itself';
    $server->stop;
};

subtest 'urldecode' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return [ map { scalar $cgi->urldecode($_) } 'a%20b',
                '%D1%8F', '%FF', '+', q{}, undef ];
        }
    );
    is_deeply seen( $server, GET => '/' ), [ 'a b', 'я', 'я', '+', undef, undef ],
      'UTF-8, cp1251, plus, nothing';
    $server->stop;
};

subtest 'start_timer and flush_timer' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $since_begin = $cgi->flush_timer;
            $cgi->{timer} -= 100;
            my $earlier = $cgi->flush_timer;
            $cgi->start_timer;
            return [ $since_begin >= 0, $earlier >= 100, $cgi->flush_timer < 100 ];
        }
    );
    is_deeply [ map { $_ ? 1 : 0 } @{ seen( $server, GET => '/' ) } ], [ 1, 1, 1 ],
      'the seconds since the beginning, or since start_timer';
    $server->stop;
};

subtest 'MAX_URLENCODED_FIELDS: what is beyond stays in the last field' => sub {
    my $server = TestServer->start(
        sub {
            no warnings 'once';
            $HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS = 2;
            $_[0]->listen( sub { report( seen => $_[0]{get} ); $_[0]->header } );
        }
    );
    is_deeply seen( $server, GET => '/?a=1&b=2&c=3' ), { a => 1, b => '2&c=3' },
      'two fields';
    $server->stop;
};

subtest 'plus_as_space' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    report( seen => { %{ $_[0]{get} }, %{ $_[0]{post} } } );
                    $_[0]->header;
                },
                { plus_as_space => 1 }
            );
        }
    );
    is_deeply seen( $server, POST => '/?a+b=1+2', $URLENCODED, 'c=d+e%2B' ),
      { 'a b' => '1 2', c => 'd e+' }, 'in the query and in the body';
    $server->stop;
};

subtest 'Other methods have a body when body_methods names them' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub { report( seen => $_[0]{post}, $_[0]{REQUEST_BODY} ); $_[0]->header },
                { body_methods => [qw(POST PUT)] }
            );
        }
    );
    $server->request( PUT => '/', $URLENCODED, 'a=1' );
    is_deeply [ $server->await('seen') ], [ { a => 1 }, 'a=1' ], 'PUT';
    $server->request( PATCH => '/', $URLENCODED, 'a=1' );
    is_deeply [ $server->await('seen') ], [ {}, undef ], 'but not PATCH';
    $server->stop;
};

subtest 'The body of another method is read from fh' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    my $socket = $cgi->fh;
                    $socket->blocking(1);
                    my $length = read $socket, my $body, $cgi->{headers}{CONTENT_LENGTH};
                    report( seen => $length, $body );
                    $cgi->header;
                    $cgi->print('got it');
                }
            );
        }
    );
    my $response = $server->request( PUT => '/', {}, 'the body' );
    is_deeply [ $server->await('seen') ], [ 8, 'the body' ],
      'all that came with the head';
    is $response->{body}, 'got it', 'and the reply is sent';
    $server->stop;
};

subtest 'Headers whose names differ in dashes and underscores only' => sub {
    my $server = start( sub { @{ $_[0]{headers} }{qw(HTTP_A_B HTTP_A-B A-B A_B)} } );
    my @cases  = (
        [ "A-B: dash\r\nA_B: under\r\n"   => [qw(dash dash dash under)] ],
        [ "A_B: under\r\nA-B: dash\r\n"   => [qw(dash dash dash under)] ],
        [ "A_B: first\r\nA_B: second\r\n" => [ 'second', undef, undef, 'second' ] ],
    );
    for my $case (@cases) {
        my ( $lines, $expected ) = @{$case};
        my $client = $server->connect;
        $client->send("GET / HTTP/1.1\r\nHost: a\r\n$lines\r\n");
        is_deeply [ $server->await('seen') ], $expected, $lines =~ s/\r\n/, /gr;
    }
    $server->stop;
};

subtest 'Looking for what was not sent makes no keys' => sub {
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my @looked = map { $cgi->$_('x') } qw(get post file param);
            return join q{,}, grep { exists $cgi->{$_} } qw(get get_a cookies);
        }
    );
    is seen( $server, GET => q{/} ), q{}, 'neither get, nor get_a, nor cookies';
    $server->stop;
};

done_testing;

# A server that reports, as `seen`, what the callback makes of the request.
sub start {
    my ($look) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            require Scalar::Util;
            $server->listen(
                sub { my ($cgi) = @_; report( seen => $look->($cgi) ); $cgi->header } );
        }
    );
}

sub seen {
    my ( $server, @request ) = @_;
    $server->request(@request);
    return scalar $server->await('seen');
}
