#!/usr/bin/env perl
# Bodies of requests: which are received as forms and which are left to the application,
# and where they end.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(multipart report request_bytes upload_bytes);

my $FORM     = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $BOUNDARY = '----TestServerBoundary7MA4YWxk';
my $UPLOAD   = multipart( { name => 'a', content => 'one' } );

# Content-Type => how the body of a POST is received.
my @TYPES = (
    [ 'multipart/form-data'               => 'multipart' ],
    [ 'Multipart/Form-Data'               => 'multipart' ],
    [ 'MULTIPART/MIXED'                   => 'multipart' ],
    [ 'mulx'                              => 'multipart' ],
    [ 'MuL/'                              => 'multipart' ],
    [ 'application/x-www-form-urlencoded' => 'whole' ],
    [ 'text/plain'                        => 'whole' ],
    [ 'application/json'                  => 'whole' ],
    [ 'xmultipart/form-data'              => 'whole' ],
    [ 'mu'                                => 'whole' ],
    [ 'form-data/multipart'               => 'whole' ],
);

subtest 'A POST is multipart if its type begins with mul, in any case' => sub {
    my $server = start();
    for my $case (@TYPES) {
        my ( $type, $kind ) = @{$case};
        my $seen = $server->seen(
            POST => q{/},
            { 'Content-Type' => "$type; boundary=$BOUNDARY" }, $UPLOAD
        );
        my %expected = (
            multipart => { begun => 1,     body => undef,   a => ['one'] },
            whole     => { begun => undef, body => $UPLOAD, a => [] },
        );
        is_deeply $seen, $expected{$kind}, "$type: $kind";
    }
    is_deeply $server->seen( POST => q{/}, { 'Content-Type' => 'mul' }, 'a=1' ),
      { begun => undef, body => 'a=1', a => [1] }, 'mul alone: whole';
    $server->stop;
};

subtest 'Other methods have their callback when the head is there' => sub {
    my $server = start();
    for my $method (qw(GET HEAD PUT PATCH DELETE post Post OPTIONS X)) {
        my $client = $server->connect;
        my $type   = "multipart/form-data; boundary=$BOUNDARY";
        $client->send(
            request_bytes(
                $method => q{/},
                { 'Content-Type' => $type, 'Content-Length' => 10 }
            )
        );
        is_deeply scalar $server->await('seen'),
          { begun => undef, body => undef, a => [] }, $method;
    }
    $server->stop;
};

subtest 'A POST without length or without type is closed, with a word if wished' => sub {
    my $form  = "Content-Type: multipart/form-data; boundary=b\r\n";
    my @cases = (
        [ 'without length',           411, "Content-Type: text/plain\r\n" ],
        [ 'multipart without length', 411, $form ],
        [ 'without type',             415, "Content-Length: 3\r\n" ],
        [ 'without both',             411, q{} ],
    );
    for my $told ( 0, 1 ) {
        my $server =
          start( error_responses => $told, on_error => sub { report('on_error') } );
        for my $case (@cases) {
            my ( $what, $status, $lines ) = @{$case};
            my $client = $server->connect;
            $client->send("POST / HTTP/1.0\r\n$lines\r\n");
            my $answer = $client->read_all;
            like $answer, $told ? qr/\AHTTP\/1[.]1 $status / : qr/\A\z/, $what;
        }
        is_deeply $server->seen( POST => '/?last', $FORM, 'a=1' )->{a}, [1],
          'no callback was called, and the next good one is';
        $server->stop;
    }
};

subtest 'A body of no bytes is complete with the head' => sub {
    my $server = start();
    my $client = $server->connect;
    $client->send( request_bytes( POST => q{/}, { %{$FORM}, 'Content-Length' => 0 } ) );
    is_deeply scalar $server->await('seen'), { begun => undef, body => q{}, a => [] },
      'whole';
    is $client->response->{status}, 200, 'and it is answered';

    $client = $server->connect;
    my $type =
      { 'Content-Type' => 'multipart/form-data; boundary=b', 'Content-Length' => 0 };
    $client->send( request_bytes( POST => q{/}, $type ) );
    is_deeply scalar $server->await('seen'), { begun => 1, body => undef, a => [] },
      'multipart';
    is $client->response->{status}, 200, 'and it is answered';
    $server->stop;
};

subtest 'Forms of the length' => sub {
    my $server = start();
    for my $length ( '3', '003', '3, 3', '3,3', "3\r\nContent-Length: 3", " \t3\t " ) {
        my $bytes =
          "POST / HTTP/1.0\r\nContent-Type: x\r\nContent-Length:$length\r\n\r\na=1";
        is_deeply $server->seen($bytes), { begun => undef, body => 'a=1', a => [1] },
          'as ' . $length =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
    }
    $server->stop;
};

subtest 'REQUEST_BODY is the bytes that were sent' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            return [
                utf8::is_utf8( $cgi->{REQUEST_BODY} ) ? 'text' : 'bytes',
                $cgi->{REQUEST_BODY}
            ];
        }
    );
    my @bodies = (
        'a=1&b=%D1%8F+', join( q{}, map { chr } 0 .. 255 ),
        "\r\n\r\n", "\xd1\x8f", '0',
        "GET / HTTP/1.1\r\n\r\n",
        'x' x 50_000
    );
    for my $body (@bodies) {
        is_deeply $server->seen(
            POST => q{/},
            { 'Content-Type' => 'text/plain' },
            $body
          ),
          [ 'bytes', $body ], length($body) . ' bytes';
    }

    my $bytes = request_bytes( POST => q{/}, $FORM, "a=1\r\n\r\n&b=2" );
    my @wrong;
    for my $cut ( 1 .. length($bytes) - 1 ) {
        my $client = $server->connect;
        for my $piece ( substr( $bytes, 0, $cut ), substr $bytes, $cut ) {
            $client->send($piece);
            $client->drained or die 'The server does not read';
        }
        push @wrong, $cut if $server->await('seen')->[1] ne "a=1\r\n\r\n&b=2";
    }
    is_deeply \@wrong, [], 'in two pieces, cut at each place';

    my $client = $server->connect;
    for my $byte ( split //, $bytes ) {
        $client->send($byte);
        $client->drained or die 'The server does not read';
    }
    is $server->await('seen')->[1], "a=1\r\n\r\n&b=2", 'byte by byte';
    $server->stop;
};

subtest 'Bytes behind the body are nobody\'s, whenever they come' => sub {
    my @later;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { @later = () } );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print('page');
                    push @later, $cgi;
                    report( seen => $cgi->{REQUEST_BODY}, $cgi->post('a') );
                }
            );
        }
    );
    my %request = (
        urlencoded => request_bytes( POST => q{/}, $FORM, 'a=1' ),
        multipart  => upload_bytes( { name => 'a', content => 1 } ),
        GET        => request_bytes( GET => q{/} ),
    );
    for my $what ( sort keys %request ) {
        my $client = $server->connect;
        $client->send( $request{$what} . "\r\nsurplus" );
        my ( $body, $values ) = $server->await('seen');
        is $body, $what eq 'urlencoded' ? 'a=1' : undef, "$what: not in the body";
        is_deeply $values, $what eq 'GET' ? [] : [1], 'nor in the fields';
        $client->send( "more\r\n" x 100 );
        $server->tell('answer');
        is $client->response->{body}, 'page', 'the reply arrives whole';
    }
    $server->stop;
};

subtest 'The body of another method is read from fh' => sub {
    my %read = (
        read => sub {
            my ( $socket, $length ) = @_;
            my $body = q{};
            read $socket, $body, $length;
            return $body;
        },
        readline => sub {
            my ( $socket, $length ) = @_;
            my $body = q{};
            $body .= readline $socket while length $body < $length;
            return $body;
        },
        'read in pieces' => sub {
            my ( $socket, $length ) = @_;
            my $body = q{};
            while ( length $body < $length ) {
                read $socket, $body, 1 + length($body) % 7, length $body or last;
            }
            return $body;
        },
    );
    my $content = join( "\n", 1 .. 2_000 ) . "\n";
    for my $way ( sort keys %read ) {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        report('called');
                        my $socket = $cgi->fh;
                        $socket->blocking(1);
                        report( seen =>
                              $read{$way}->( $socket, $cgi->{headers}{CONTENT_LENGTH} ) );
                        $cgi->header;
                        $cgi->print('got it');
                    }
                );
            }
        );
        for my $method (qw(PUT DELETE GET)) {
            my $bytes = request_bytes( $method => q{/}, {}, $content );
            my $head  = index( $bytes, "\r\n\r\n" ) + 4;
            for my $cut ( $head, $head + 1, $head + 100, length $bytes ) {
                my $client = $server->connect;
                $client->send( substr $bytes, 0, $cut );
                $server->await('called');
                $client->send( substr $bytes, $cut );
                is $server->await('seen'), $content,
                    "$method, $way, after "
                  . ( $cut - $head )
                  . ' bytes that came with the head';
                is $client->response->{body}, 'got it', 'and the reply is sent';
            }
        }
        $server->stop;
    }
};

subtest 'sysread sees what is still in the socket, read the rest' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $waiting;
            $server->on_command(
                sub {
                    my $socket = $waiting->fh;
                    $socket->blocking(1);
                    sysread $socket, my $later, 5;
                    read $socket, my $sooner, 5;
                    report( seen => $sooner, $later );
                    undef $waiting;
                }
            );
            $server->listen( sub { ($waiting) = @_; report('called') } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( PUT => q{/}, { 'Content-Length' => 10 } ) . 'first' );
    $server->await('called');
    $client->send('later');
    $server->tell('read');
    is_deeply [ $server->await('seen') ], [ 'first', 'later' ], 'each';
    $server->stop;
};

subtest 'A large body is read by a watcher, as it comes' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi)  = @_;
                    my $left   = $cgi->{headers}{CONTENT_LENGTH};
                    my $socket = $cgi->fh;
                    my ( $sum, $watcher ) = (0);
                    my $take = sub {
                        while ( my $count = read $socket, my $piece, 65_536 ) {
                            $left -= $count;
                            $sum += unpack '%32C*', $piece;
                        }
                        return if $left > 0;
                        undef $watcher;
                        $cgi->header;
                        $cgi->print($sum);
                        undef $cgi;
                    };
                    $watcher = EV::io( $socket, EV::READ(), $take );
                    $take->();
                }
            );
        }
    );
    my $content = join q{}, map { pack 'N', $_ } 1 .. 500_000;
    is $server->request( PUT => q{/}, {}, $content )->{body}, unpack( '%32C*', $content ),
      'all of two megabytes';
    $server->stop;
};

my %body_methods_of = (
    listen => sub { $_[0]->listen( \&answer, hooks( body_methods => $_[1] ) ) },
    new    => sub {
        $_[0]->new_server( body_methods => $_[1] );
        $_[0]->listen( \&answer, hooks() );
    },
);
for my $where ( sort keys %body_methods_of ) {
    subtest "body_methods of $where names the methods whose bodies are received" => sub {
        my $server =
          TestServer->start(
            sub { $body_methods_of{$where}->( $_[0], [qw(POST PUT patch)] ) } );
        for my $method (qw(POST PUT patch)) {
            is_deeply $server->seen( $method => q{/}, $FORM, 'a=1' ),
              { begun => undef, body => 'a=1', a => [1] }, "$method: a form";
            my $upload =
              upload_bytes( { name => 'a', content => 'one' } ) =~ s/POST/$method/r;
            is_deeply $server->seen($upload), { begun => 1, body => undef, a => ['one'] },
              'and multipart';
        }
        for my $method (qw(PATCH put)) {
            is_deeply $server->seen( $method => q{/}, $FORM, 'a=1' ),
              { begun => undef, body => undef, a => [] }, "$method: not";
        }
        is_deeply $server->seen( PUT => q{/}, {}, 'a=1' )->{a}, [1],
          'a PUT needs no type';
        is $server->seen( PUT => q{/}, {} )->{body}, q{}, 'nor a length';
        $server->stop;
    };
}

subtest 'body_methods may leave out POST' => sub {
    my $server = start( body_methods => [] );
    is_deeply $server->seen( POST => q{/}, $FORM, 'a=1' ),
      { begun => undef, body => undef, a => [] },
      'none is received';
    is_deeply $server->seen("POST / HTTP/1.0\r\n\r\n"),
      { begun => undef, body => undef, a => [] },
      'and it needs neither length nor type';
    $server->stop;
};

subtest 'A Transfer-Encoding but chunked alone is refused, of whatever method' => sub {
    my $server = start();
    my @cases  = (
        [ 501, 'HTTP/1.1', 'transfer-encoding: gzip, chunked' ],
        [ 400, 'HTTP/1.1', 'Transfer-Encoding: identity' ],
        [ 400, 'HTTP/1.1', "Transfer-Encoding: chunked\r\nContent-Length: 3" ],
        [ 400, 'HTTP/1.0', 'Transfer-Encoding: chunked' ],
    );
    for my $method (qw(GET POST PUT)) {
        for my $case (@cases) {
            my ( $status, $version, $lines ) = @{$case};
            my $client = $server->connect;
            $client->send(
                "$method / $version\r\nHost: a\r\nContent-Type: x\r\n$lines\r\n\r\n");
            is $client->response->{status}, $status,
              "$method $version, $lines" =~ s/\r\n/, /r;
        }
    }
    $server->stop;
};

subtest 'Expect: 100-continue is told to go on before the body is sent' => sub {
    my $server = start();
    my %body   = ( urlencoded => 'a=1', multipart => $UPLOAD );
    my %type   = (
        urlencoded => $FORM->{'Content-Type'},
        multipart  => "multipart/form-data; boundary=$BOUNDARY"
    );
    for my $kind ( sort keys %body ) {
        my %header = (
            'Content-Type'   => $type{$kind},
            'Content-Length' => length $body{$kind},
            Expect           => '100-Continue'
        );
        my $client = $server->connect;
        $client->send( request_bytes( POST => q{/}, \%header ) );
        my $word = $client->read_until(qr/\r\n\r\n/);
        is $word, "HTTP/1.1 100 Continue\r\n\r\n", "$kind: it is told";
        $client->send( $body{$kind} );
        ok $server->await('seen')->{a}[0], 'and the request is complete';

        $client = $server->connect;
        $client->send( request_bytes( POST => q{/}, \%header, $body{$kind} ) );
        my $response = $client->response;
        is $response->{status}, 200, 'not, if the body comes at once';
        is_deeply $response->{interim}, [], 'but with the page alone';
        $server->await('seen');
    }
    $server->stop;
};

done_testing;

sub start {
    my (%option) = @_;
    return TestServer->start( sub { $_[0]->listen( \&answer, hooks(%option) ) } );
}

sub hooks {
    return { on_multipart => sub { $_[0]{begun} = 1 }, @_ };
}

sub answer {
    my ($cgi) = @_;
    report( seen =>
          { begun => $cgi->{begun}, body => $cgi->{REQUEST_BODY}, a => $cgi->post('a') }
    );
    $cgi->header;
    return;
}
