#!/usr/bin/env perl
# What a reply becomes on the wire: how its end is told, what the server adds to its head,
# and whether the connection goes on.

use strict;
use warnings;

use FindBin;
use Test::More;
use Time::HiRes ();
use Time::Local qw(timegm);

use lib "$FindBin::Bin/lib";
use TestServer
  qw(backends chunked eventually kept_request_bytes multipart multipart_type report request_bytes);

# What the application does; the body; how HTTP/1.1 frames it, and HTTP/1.0; whether the
# connection goes on with each. The frames: `length`, `chunks`, `end` (of the connection),
# `none` (no body), `own` (as the application has it).
my @REPLIES = (
    {
        what => 'finished',
        does => sub { $_[0]->header; $_[0]->print('all of it') },
        body => 'all of it',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'empty',
        does => sub { $_[0]->header },
        body => q{},
        is   => [ length => 1, length => 1 ]
    },
    {
        what => 'finished after flush, in one callback',
        does => sub {
            $_[0]->header;
            $_[0]->flush;
            $_[0]->print('one');
            $_[0]->flush;
            $_[0]->print('two');
        },
        body => 'onetwo',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'finished later',
        does => sub {
            my ($cgi) = @_;
            in_turns( $cgi, sub { $cgi->header }, sub { $cgi->print('later') } );
        },
        body => 'later',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'larger than what a socket takes',
        does => sub { $_[0]->header; $_[0]->print( 'x' x 3_000_000 ) },
        body => 'x' x 3_000_000,
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'flushed in pieces',
        does => sub { in_pieces( $_[0], qw(one two three) ) },
        body => 'onetwothree',
        wire => "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n",
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'flushed after the head',
        does => sub { in_pieces( $_[0], q{}, q{} ) },
        body => q{},
        wire => "0\r\n\r\n",
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'flushed in pieces of which some are empty',
        does => sub { in_pieces( $_[0], 'one', q{}, 'two', q{} ) },
        body => 'onetwo',
        wire => "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'printed with flush(0)',
        does => sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->flush(0);
            in_turns( $cgi, sub { $cgi->print('one') }, sub { $cgi->print('two') } );
        },
        body => 'onetwo',
        wire => "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'printed beyond the threshold',
        does => sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print( 'x' x 60_000 );
            in_turns( $cgi, sub { $cgi->print('end') } );
        },
        body => 'x' x 60_000 . 'end',
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'printed after flush_wait',
        does => sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print('one');
            $cgi->flush_wait( sub { $cgi->print('two') } );
        },
        body => 'onetwo',
        is   => [ chunks => 1, end => 0 ],
    },
    {
        what => 'with its Content-Length',
        does => sub { $_[0]->header( { 'Content-Length' => 3 } ); $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'with its content-length, in pieces',
        does => sub { in_pieces( { 'content-length' => 6 }, $_[0], qw(abc def) ) },
        body => 'abcdef',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'longer than its Content-Length',
        does =>
          sub { $_[0]->header( { 'Content-Length' => 3 } ); $_[0]->print('abcdef') },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'longer than its Content-Length, in pieces',
        does => sub { in_pieces( { 'Content-Length' => 4 }, $_[0], qw(abc def ghi) ) },
        body => 'abcd',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'with a Transfer-Encoding of the application',
        does => sub {
            $_[0]->header( { 'Transfer-Encoding' => 'chunked' } );
            $_[0]->print("3\r\nabc\r\n0\r\n\r\n");
        },
        body => 'abc',
        is   => [ own => 0, own => 0 ],
    },
    {
        what => 'with Connection: close',
        does => sub { $_[0]->header( { Connection => 'close' } ); $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 0, length => 0 ],
    },
    {
        what => 'with Connection: Close among others, in pieces',
        does => sub { in_pieces( { connection => 'x, Close' }, $_[0], qw(abc) ) },
        body => 'abc',
        is   => [ chunks => 0, end => 0 ],
    },
    {
        what => 'with Connection: keep-alive',
        does =>
          sub { $_[0]->header( { Connection => 'keep-alive' } ); $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'of status 204',
        does =>
          sub { $_[0]->header( { STATUS => '204 No Content' } ); $_[0]->print('abc') },
        body => q{},
        is   => [ none => 1, none => 1 ],
    },
    {
        what => 'of status 304, in pieces',
        does => sub { in_pieces( { STATUS => '304 Not Modified' }, $_[0], qw(abc def) ) },
        body => q{},
        is   => [ none => 1, none => 1 ],
    },
    {
        what    => 'after an interim one',
        does    => sub { early_hints( $_[0] ); $_[0]->header; $_[0]->print('abc') },
        body    => 'abc',
        interim => 1,
        is      => [ length => 1, length => 1 ],
    },
    {
        what => 'after an interim one that is flushed',
        does => sub {
            my ($cgi) = @_;
            early_hints($cgi);
            $cgi->flush;
            in_turns( $cgi, sub { }, sub { $cgi->header; $cgi->print('abc') } );
        },
        body    => 'abc',
        interim => 1,
        is      => [ length => 1, length => 1 ],
    },
    {
        what => 'printed to the Buffer when the request is closed',
        does => sub {
            my ($cgi) = @_;
            my $buffer = $cgi->{buffer};
            $cgi->header;
            $cgi->close;
            $buffer->print('one');
            in_turns( undef, sub { $buffer->print('two') } );
        },
        body => 'onetwo',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'printed to an attached handle',
        does => sub {
            $_[0]->attach( local *STDOUT );
            $_[0]->header;
            print 'abc';
            printf '%d', 5;
        },
        body => 'abc5',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'printed to the handle of buffer',
        does => sub { my $handle = $_[0]->buffer; $_[0]->header; print {$handle} 'abc' },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'with a second head behind it',
        does => sub {
            $_[0]->header;
            $_[0]->print('abc');
            $_[0]->header( { STATUS => '500 Second' } );
        },
        body => qr{\AabcHTTP/1[.]1[ ]500[ ]Second\r\n.*\r\n\r\n\z}s,
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'whose callback dies',
        does => sub { $_[0]->header; $_[0]->print('abc'); die "late\n" },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'whose callback is left by next',
        does => sub { $_[0]->header; $_[0]->print('abc'); $_[0]->next },
        body => 'abc',
        is   => [ length => 1, length => 1 ],
    },
    {
        what => 'whose socket is taken by fd',
        does => sub { $_[0]->fd; $_[0]->header; $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 0, length => 0 ],
    },
    {
        what => 'whose socket is taken by fh',
        does => sub { $_[0]->fh; $_[0]->header; $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 0, length => 0 ],
    },
    {
        what => 'whose socket is taken by copy',
        does => sub { $_[0]->copy( local *STDERR ); $_[0]->header; $_[0]->print('abc') },
        body => 'abc',
        is   => [ length => 0, length => 0 ],
    },
    {
        what => 'whose socket is taken by fh after a piece of it',
        does => sub {
            my ($cgi) = @_;
            in_turns(
                $cgi,
                sub { $cgi->header; $cgi->flush },
                sub { $cgi->fh;     $cgi->print('abc') }
            );
        },
        body => 'abc',
        is   => [ chunks => 0, end => 0 ],
        late => 1,
    },
);
my %REPLY = map { $_->{what} => $_ } @REPLIES;

# How it is asked for: the version, a header line, whether the client goes on.
my @ASKED = (
    [ 'HTTP/1.1', q{},                          1 ],
    [ 'HTTP/1.1', "Connection: close\r\n",      0 ],
    [ 'HTTP/1.0', "Connection: keep-alive\r\n", 1 ],
    [ 'HTTP/1.0', q{},                          0 ],
);

for my $reply (@REPLIES) {
    subtest "A reply $reply->{what}" => sub {
        my $server = start();
        for my $method (qw(GET HEAD)) {
            is_framed( $server, $reply, $method, @{$_} ) for @ASKED;
        }
        my $complaint =
          $reply->{what} =~ /dies/ ? qr/\A(?:ERROR IN CALLBACK: late\n){8}\z/ : undef;
        $server->stop( $complaint ? ( stderr => $complaint ) : () );
    };
}

# What the application does; all that comes over the wire; then the connection ends.
my %RAW = (
    'printed without header' => [
        sub { $_[0]->print("HTTP/1.1 200 OK\r\n\r\nabc") }, "HTTP/1.1 200 OK\r\n\r\nabc"
    ],
    'that is no HTTP' => [
        sub {
            in_turns(
                $_[0],
                sub { $_[0]->print('abc'); $_[0]->flush },
                sub { $_[0]->print('def') }
            );
        },
        'abcdef'
    ],
    'with header behind something else' => [
        sub {
            $_[0]->print('abc');
            $_[0]->header( { STATUS => '204 X', Server => 'Y' } );
            $_[0]->print('def');
        },
        "abcHTTP/1.1 204 X\r\nServer: Y\r\nContent-Type: text/html\r\n\r\ndef"
    ],
    'of status 101' => [
        sub { switch ( $_[0] ); $_[0]->print("\0\1raw") },
"HTTP/1.1 101 Switching Protocols\r\nServer: Y\r\nContent-Type: text/html\r\n\r\n\0\1raw"
    ],
    'that is empty'                        => [ sub { },               q{} ],
    'that dies before anything is printed' => [ sub { die "early\n" }, q{} ],
    'that is dropped' => [ sub { $_[0]->header; $_[0]->print('abc'); $_[0]->drop }, q{} ],
    'written to a socket that was given up' => [
        sub { my $socket = $_[0]{buffer}->give_up_handle; syswrite $socket, 'abc' },
        'abc'
    ],
);
for my $what ( sort keys %RAW ) {
    subtest "A reply $what is sent to the letter, and ends with the connection" => sub {
        my ( undef, $bytes ) = @{ $RAW{$what} };
        my $server = start();
        for my $asked (@ASKED) {
            my ( $version, $line ) = @{$asked};
            my $client = $server->connect;
            $client->send( asking( 'GET', "raw $what", $version, $line ) );
            is $client->read_all, $bytes, "$version, $line";
        }
        my $complaint = qr/\A(?:ERROR IN CALLBACK: early\n){4}\z/;
        $server->stop( $what =~ /dies/ ? ( stderr => $complaint ) : () );
    };
}

# What the application does; the body as far as it comes.
my %CUT = (
    'shorter than its Content-Length' =>
      sub { $_[0]->header( { 'Content-Length' => 4 } ); $_[0]->print('abc') },
    'shorter than that in pieces' =>
      sub { in_pieces( { 'Content-Length' => 4 }, $_[0], qw(ab c) ) },
);
for my $what ( sort keys %CUT ) {
    subtest "A reply $what ends the connection" => sub {
        my $server = start();
        my $client = $server->connect;
        $client->send( asking( 'GET', "cut $what", 'HTTP/1.1', q{} ) );
        like $client->read_all, qr/\r\nContent-Length: 4\r\n.*\r\n\r\nabc\z/s,
          'the client sees that it is cut';
        $server->stop;
    };
}

subtest 'A length that is none is left as it is, and the connection ends' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    $_[0]->header( { 'Content-Length' => '3 bytes' } );
                    $_[0]->print('abc');
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    my $wire = $client->read_all;
    like $wire,   qr/\r\nContent-Length: 3 bytes\r\n/, 'the length';
    like $wire,   qr/\r\nConnection: close\r\n/,       'the end is told';
    unlike $wire, qr/Transfer-Encoding/,               'nothing is added';
    like $wire,   qr/\r\n\r\nabc\z/,                   'the body';
    $server->stop;
};

subtest 'An interim reply alone is followed by the end' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen( sub { early_hints( $_[0] ) } );
        }
    );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    like $client->read_all, qr{\AHTTP/1.1 103 .*\r\nLink: .*\r\n\r\n\z}s, 'no other one';
    $server->stop;
};

subtest 'Date is the time of the reply' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen( sub { $_[0]->header } );
        }
    );
    my $client = $server->connect;
    my %dates;
    my $is_new = sub {
        my $before = time;
        $client->send( kept_request_bytes( GET => '/' ) );
        my $date = $client->response->{headers}{date};
        my $time = time_of($date);
        if ( !$dates{$date}++ ) {
            is date_of($time), $date, 'as RFC 9110, section 5.6.7, has it';
            cmp_ok $time, '>=', $before - 1,
              'not earlier than the request, as far as seconds tell';
            cmp_ok $time, '<=', Time::HiRes::time(), 'nor later than the reply';
        }
        return keys %dates > 2;
    };
    ok eventually($is_new), 'it goes on with the clock';
    $server->stop;
};

subtest 'The Date of the application is the only one' => sub {
    my $date   = 'Sun, 06 Nov 1994 08:49:37 GMT';
    my $server = TestServer->start(
        sub {
            $_[0]->listen( sub { $_[0]->header( { date => $date } ) } );
        }
    );
    my $lines = $server->request( GET => '/' )->{lines};
    is_deeply [ grep { /\Adate:/i } @{$lines} ], ["date: $date"], 'it stays';
    $server->stop;
};

# Bytes => status
my %REFUSED = (
    "GET / HTTP/1.1\r\n\r\n"                                                => 400,
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n"                                     => 505,
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" => 501,
    "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"                        => 417,
    "GET /@{[ 'x' x 5000 ]} HTTP/1.1\r\nHost: a\r\n\r\n"                    => 414,
    "GET / HTTP/1.1\r\nHost: a\r\nX: @{[ 'x' x 20_000 ]}\r\n\r\n"           => 431,
    "POST / HTTP/1.1\r\nHost: a\r\n\r\n"                                    => 411,
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"              => 415,
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 999999\r\n\r\nxx"
      => 413,
    "GET / HTTP/1.1\r\nHost: a\r\n" => 408,
);
subtest 'A refusal is a whole reply, and the last one' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub { $_[0]->header; $_[0]->print('page') },
                { error_responses => 1, timeout => 0.3 }
            );
        }
    );
    for my $bytes ( sort keys %REFUSED ) {
        my $client = $server->connect;
        $client->send( kept_request_bytes( GET => '/' ) . $bytes );
        is $client->response->{body}, 'page', 'the request ahead of it is served';
        my $response = $client->response;
        my $headers  = $response->{headers};
        is $response->{status}, $REFUSED{$bytes}, substr( $bytes, 0, 60 ) =~ s/\r\n/, /gr;
        is $headers->{connection},                 'close',          'it tells the end';
        is date_of( time_of( $headers->{date} ) ), $headers->{date}, 'it has a Date';
        is $headers->{'content-length'}, length $response->{body},   'and a length';
    }
    $server->stop;
};

for my $backend ( backends() ) {
    subtest
      "A reply from on_multipart arrives though the upload still comes, with $backend" =>
      sub {
        my $server = TestServer->start(
            sub {
                $_[0]->listen(
                    sub { report('main callback') },
                    {
                        on_multipart => sub {
                            my ($cgi) = @_;
                            $cgi->header( { STATUS => '403 Forbidden' } );
                            $cgi->print('no');
                            $cgi->close;
                        },
                        on_error => sub { report('on_error') },
                    }
                );
            },
            backend => $backend
        );
        my $body =
          multipart( { name => 'file', file_name => 'a', content => 'x' x 3_000_000 } );
        my $client = $server->connect;
        $client->send(
            kept_request_bytes(
                POST => '/',
                { 'Content-Type' => multipart_type(), 'Content-Length' => length $body }
            )
        );
        $client->read_until(qr/no\z/);
        ok $client->send($body), 'all of the body is taken';
        my $response = $client->response;
        is $response->{status},              403,     'the status';
        is $response->{body},                'no',    'the body';
        is $response->{headers}{connection}, 'close', 'it tells the end';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
        is_deeply [ map { $_->[0] } @{ $server->{seen} } ], [], 'nothing else is called';
      };
}

done_testing;

sub is_framed {
    my ( $server, $reply, $method, $version, $line, $may_go_on ) = @_;
    my $is_new = $version eq 'HTTP/1.1';
    my ( $frame, $goes_on ) = @{ $reply->{is} }[ $is_new ? ( 0, 1 ) : ( 2, 3 ) ];
    my $client = $server->connect;
    $client->send( asking( $method, $reply->{what}, $version, $line ) );
    my $wire =
        $reply->{wire} && $method eq 'GET' && $is_new
      ? $client->read_until(qr/\r\n0\r\n\r\n\z/)
      : undef;
    my $response = $client->response( to => $method );
    my $headers  = $response->{headers};
    note "$method, $version, $line";

    if ( $method eq 'HEAD' ) {

        # Without a body its end is told in any case.
        $goes_on = $frame eq 'own' ? 1 : $reply->{is}[1];
        is $response->{body}, q{}, 'there is no body';
    }
    elsif ( ref $reply->{body} ) {
        like $response->{body}, $reply->{body}, 'the body';
    }
    else {
        ok $response->{body} eq $reply->{body}, 'the body';
    }
    if ( $method eq 'GET' ) {
        is_deeply [ map { exists $headers->{$_} ? 1 : 0 }
              qw(content-length transfer-encoding) ],
          [ $frame eq 'length' ? 1 : 0, $frame =~ /chunks|own/ ? 1 : 0 ],
          "the frame: $frame";
        is $headers->{'content-length'}, length $response->{body}, 'the length'
          if $frame eq 'length';
    }
    like $wire, qr/\r\n\r\n\Q$reply->{wire}\E\z/, 'the chunks' if $wire;
    is scalar( grep { /\ADate: / } @{ $response->{lines} } ), 1, 'one Date';
    is scalar @{ $response->{interim} }, $is_new && $reply->{interim} ? 1 : 0,
      'interim replies';
    return goes_on( $client, $headers, $is_new ) if $goes_on && $may_go_on;

    like $headers->{connection}, qr/\bclose\b/i, 'Connection' if !$reply->{late};
    is $client->read_all, q{}, 'the connection ends';
    return;
}

sub goes_on {
    my ( $client, $headers, $is_new ) = @_;
    my $said = lc( $headers->{connection} // 'nothing' );
    like $said, $is_new ? qr/\A(?:nothing|keep-alive)\z/ : qr/\Akeep-alive\z/,
      'Connection';
    $client->send( kept_request_bytes( GET => '/next' ) );
    is $client->response->{body}, 'next', 'the next request is served';
    return;
}

sub asking {
    my ( $method, $what, $version, $line ) = @_;
    return "$method /x $version\r\nHost: a\r\nX-Reply: $what\r\n$line\r\n";
}

sub start {
    return TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    my $what = $cgi->{headers}{'X-Reply'};
                    return next_page($cgi) if !defined $what;
                    my $does =
                        $what =~ /\Araw (.*)/ ? $RAW{$1}[0]
                      : $what =~ /\Acut (.*)/ ? $CUT{$1}
                      :                         $REPLY{$what}{does};
                    return $does->($cgi);
                }
            );
        }
    );
}

sub next_page {
    my ($cgi) = @_;
    $cgi->header;
    $cgi->print('next');
    return;
}

# Each with the request, one after the other, with the loop in between, which sends.
sub in_turns {
    my ( $cgi, @codes ) = @_;
    my $code = shift @codes or return;
    my $timer;
    $timer = EV::timer(
        0.01, 0,
        sub {
            undef $timer;
            $code->($cgi);
            in_turns( $cgi, @codes );
        }
    );
    return;
}

sub in_pieces {
    my $fields = ref $_[0] eq 'HASH' ? shift : {};
    my ( $cgi, @pieces ) = @_;
    $cgi->header($fields);
    $cgi->flush;
    return in_turns(
        $cgi,
        map {
            my $piece = $_;
            sub { $_[0]->print($piece); $_[0]->flush }
        } @pieces
    );
}

sub early_hints {
    my ($cgi) = @_;
    return $cgi->header( { STATUS => '103 Early Hints', Link => '</a>; rel=preload' } );
}

sub switch {
    my ($cgi) = @_;
    return $cgi->header( { STATUS => '101 Switching Protocols', Server => 'Y' } );
}

# RFC 9110, section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT".
sub date_of {
    my ($time) = @_;
    my ( $weekday, $month, $day, $clock, $year ) = split q{ }, scalar gmtime $time;
    return sprintf '%s, %02d %s %d %s GMT', $weekday, $day, $month, $year, $clock;
}

sub time_of {
    my ($date) = @_;
    my ( undef, $day, $name, $year, @clock ) = split /[ :]+/, $date;
    my $month = index( 'JanFebMarAprMayJunJulAugSepOctNovDec', $name ) / 3;
    return timegm( @clock[ 2, 1, 0 ], $day, $month, $year );
}
