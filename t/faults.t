#!/usr/bin/env perl
# Requests by which servers have been killed, hung or led astray, by the hundred and mixed
# with good ones: each gets what it deserves, and the good ones what they asked for.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use List::Util qw(shuffle);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $ROUNDS = $ENV{UNDER_VALGRIND} ? 1 : 10;
my $FIELD  = qq{Content-Disposition: form-data; name="a"\r\n\r\n};
my $FILE   = qq{Content-Disposition: form-data; name="f"; filename="f"\r\n\r\n};

# What each gets: a status; 'nothing', an end without a word; or 'open', nothing as long as
# the client is there. With 'on_error' that is called once.
my @BAD = (
    ( map { [ "Content-Length: $_", form($_), 400 ] } lengths() ),
    (
        map { [ "multipart, Content-Length: $_", body( "--B--\r\n", $_ ), 400 ] }
          lengths()
    ),
    [ 'two lengths', form("3\r\nContent-Length: 4"), 400 ],
    (
        map {
            [
                "multipart of $_ bytes", body( "--B\r\n${FIELD}1\r\n--B--\r\n", $_ ),
                'open',                  'on_error'
            ]
        } qw(3000000000 4294967299 9223372036854775807 18446744073709551615)
    ),
    (
        map { [ "form of $_ bytes", form($_), 'nothing' ] }
          qw(102401 2147483648 3000000000 4294967299 18446744073709551615)
    ),
    [ 'a form that waits for more', form(102_400), 'open' ],

    [ 'no boundary',           body( '--B--', undef, 'multipart/form-data' ),    400 ],
    [ 'a boundary of nothing', body( '--B--', undef, 'multipart/x; boundary=' ), 400 ],
    [ 'mulx',                  body( '--B--', undef, 'mulx' ),                   400 ],
    [
        'a long boundary',
        body( '--B--', undef, 'multipart/x; boundary=' . 'x' x 5_000 ), 400
    ],
    [ 'the boundary alone',    body('--B'),       200 ],
    [ 'half the boundary',     body(q{-}),        200 ],
    [ 'no line end behind it', body("--B$FIELD"), 200 ],
    [ 'a line end only',       body("--B\r\n"),   400, 'on_error' ],
    [
        'a delimiter in place of a head', body("--B\r\n--B\r\n--B--\r\n"), 400,
        'on_error'
    ],
    [ 'no head, no value',           body("--B\r\n\r\n--B--"),         400, 'on_error' ],
    [ 'no byte before the boundary', body("--B\r\n$FIELD--B--\r\n"),   400, 'on_error' ],
    [ 'one byte before it',          body("--B\r\n$FIELD\n--B--\r\n"), 400, 'on_error' ],
    [ 'an empty value',              body("--B\r\n$FIELD\r\n--B--\r\n"),    200 ],
    [ 'a value of one byte',         body("--B\r\n${FIELD}1\r\n--B--\r\n"), 200 ],
    [ 'an empty file',               body("--B\r\n$FILE\r\n--B--\r\n"),     200 ],
    [ 'no byte behind a file',       body("--B\r\n$FILE"),            400, 'on_error' ],
    [ 'an open quote', body(qq{--B\r\nX; name="a\r\n\r\n1\r\n--B--}), 400, 'on_error' ],
    [
        'an open file name',
        body(qq{--B\r\nX; name="a"; filename="f\r\n\r\n1\r\n--B--}),
        400, 'on_error'
    ],
    [
        'empty lines behind the end',
        body( "--B\r\n${FIELD}1\r\n--B--" . "\r\n" x 4 ), 200
    ],
    [
        'a megabyte behind the end',
        body( "--B\r\n${FIELD}1\r\n--B--" . "\r\n\r\n" x 250_000 ), 200
    ],
    [ 'seven files', body( "--B\r\n${FILE}x\r\n" x 7 . '--B--' ), 200 ],
    [
        'files and fields',
        body( "--B\r\n${FILE}x\r\n--B\r\n${FIELD}1\r\n" x 7 . '--B--' ), 200
    ],
    (
        map {
            [
                'a file name in a broken UTF-8: ' . unpack( 'H*', $_ ),
                upload_bytes( { name => 'f', file_name => $_, content => 'x' } ),
                200
            ]
        } malformed()
    ),
    (
        map {
            [
                'a value in a broken UTF-8: ' . unpack( 'H*', $_ ),
                upload_bytes( { name => $_, content => $_ } ),
                200
            ]
        } malformed()
    ),
    [
        'a NUL as the name of a file',
        upload_bytes( { name => "\0", file_name => "\0", content => "\0" } ),
        200
    ],
    [
        'a path as the name of a file',
        upload_bytes( { name => 'f', file_name => '../../../../tmp/x', content => 'x' } ),
        200
    ],
    [
        'a long name of a file',
        upload_bytes( { name => 'f', file_name => 'x' x 4_100, content => 'x' } ),
        'nothing',
        'on_error'
    ],
    [
        'a long name of a field',
        upload_bytes( { name => 'x' x 4_100, content => 'x' } ),
        'nothing',
        'on_error'
    ],
    [
        'a long value',
        upload_bytes( { name => 'a', content => 'x' x 51_198 } ),
        'nothing',
        'on_error'
    ],
    [
        'too many parts',
        upload_bytes( ( { name => 'a', content => q{} } ) x 1_026 ),
        'nothing',
        'on_error'
    ],

    [ 'colons in a value',      head( 'X-A: ' . 'a: ' x 1_300 ),                200 ],
    [ 'many of them',           head( map { "X-$_: " . 'a: ' x 100 } 1 .. 90 ), 200 ],
    [ 'headers without spaces', head( map { "X-$_:$_" } 1 .. 90 ),              200 ],
    [ 'names of one character', head( map { "$_: $_" } 'a' .. 'z' ),            200 ],
    [ 'empty values',           head( 'X-A: ' . 'x' x 4_000, 'X-B:', 'X-C: ' ), 200 ],
    [
        'names of the server\'s',
        head(
            'REMOTE_ADDR: x',
            'REQUEST_METHOD: POST',
            'REQUEST_URI: /y',
            'CONTENT_LENGTH: 99'
        ),
        200
    ],
    [ 'a long header line',    head( 'X-A: ' . 'x' x 17_000 ),                'nothing' ],
    [ 'a large head',          head( ( 'X-A: ' . 'x' x 10_000 ) x 7 ),        'nothing' ],
    [ 'many headers',          head( ('X-A: x') x 101 ),                      'nothing' ],
    [ 'a long target',         request_bytes( GET => q{/} . 'x' x 5_000 ),    'nothing' ],
    [ 'escapes that are none', request_bytes( GET => '/%?%zz=%&%4;%%=%%%' ),  200 ],
    [ 'equals signs',          request_bytes( GET => q{/?} . q{=} x 4_000 ),  200 ],
    [ 'separators',            request_bytes( GET => q{/?} . q{&;} x 2_000 ), 200 ],
    [ 'separators in cookies', head( 'Cookie: ' . '; ' x 5_000 . q{=} x 1_000 ), 200 ],
    [ 'empty lines only',      "\r\n" x 5,                                       400 ],
    [ 'NULs only',             "\0" x 20_000,                                    400 ],
    [ 'a method without end',  'A' x 20_000, 'nothing' ],
    [
        'an unknown transfer coding',
"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501
    ],
);

# Good ones, with the reply.
my $CONTENT = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 5_000;
my @GOOD    = (
    [ request_bytes( GET => '/?a=b%20c' ),                                        'b c' ],
    [ request_bytes( POST => q{/}, { 'Content-Type' => 'text/plain' }, 'a=b;c' ), 'b' ],
    [ request_bytes( POST => q{/}, { 'Content-Type' => 'text/plain' }, q{} ),     q{} ],
    [ "POST / HTTP/1.0\r\nContent-Type:x\r\nContent-Length:3\r\n\r\na=1",         1 ],
    [
        upload_bytes(
            { name => 'f', content => $CONTENT, file_name => 'f' },
            { name => 'a', content => 'beside' }
        ),
        'beside ' . sha256_hex($CONTENT)
    ],
);

for my $backend ( backends() ) {
    my $server = TestServer->start( \&listening, backend => $backend );
    get_page($server);
    my $descriptors = $server->descriptors;

    subtest "Each by itself, and then a good one, with $backend" => sub {
        for my $case (@BAD) {
            my ( $what, $bytes, $expected, $on_error ) = @{$case};
            my $client = $server->connect;
            $client->send($bytes);
            is outcome( $client, $expected ), $expected, $what;
            is_deeply $server->next_report, ['on_error'], 'on_error is called'
              if $on_error;
            get_page($server) eq 'b c' or fail 'the next one is not served';
        }
    };

    subtest "Many at a time between good ones, with $backend" => sub {
        my $on_error = grep { $_->[3] } @BAD;
        for my $round ( 1 .. $ROUNDS ) {
            my @clients;
            for my $case ( shuffle @BAD ) {
                push @clients, [ $server->connect, @{$case} ],
                  [ $server->connect, undef, @{ $GOOD[ @clients / 2 % @GOOD ] } ];
            }

            # All have begun before the first one ends.
            $_->[0]->send( substr $_->[2], 0, length( $_->[2] ) / 2 ) for @clients;
            $_->[0]->send( substr $_->[2], length( $_->[2] ) / 2 ) for @clients;

            my @wrong;
            for my $each (@clients) {
                my ( $client, $what, undef, $expected ) = @{$each};
                my $got =
                  defined $what
                  ? outcome( $client, $expected )
                  : $client->response->{body};
                push @wrong, ( $what // 'a good one' ) . ": $got" if $got ne $expected;
            }
            is_deeply \@wrong, [], "round $round: each gets what it deserves";
            is_deeply [ map { $server->next_report } 1 .. $on_error ],
              [ ( ['on_error'] ) x $on_error ],
              'and on_error is called for those that had begun';
        }
        $server->tell('mark');
        is_deeply $server->next_report, ['mark'], 'and for no other';
    };

    ok $server->await_files(0),                  "no file is left with $backend";
    ok $server->await_descriptors($descriptors), 'nor a descriptor';
    $server->stop;
}

subtest 'The handle of a dropped request is nobody else\'s' => sub {
    for my $backend ( backends() ) {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my @kept;
                $server->on_command( sub { undef @kept; report('closed') } );
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        $cgi->header;
                        $cgi->print('page');
                        report('waits');
                        $server->{later} = $cgi;
                    },
                    {
                        on_multipart => sub {
                            my ($cgi) = @_;
                            push @kept, [ $cgi, $cgi->fh ];
                            $cgi->drop;
                            report('dropped');
                        }
                    }
                );
            },
            backend => $backend
        );
        for ( 1 .. 20 ) {
            my $dropped = $server->connect;
            $dropped->send( upload_bytes( { name => 'a', content => 'x' } ) );
            $server->await('dropped');
            $dropped->is_closed;
            my $client = $server->connect;
            $client->send( request_bytes( GET => q{/} ) );
            $server->await('waits');
            $server->tell('close');
            $server->await('closed');
            my $next = $server->connect;
            $next->send( request_bytes( GET => q{/} ) );
            $server->await('waits');
            is $client->response->{body}, 'page',
              "another request is answered, with $backend";
        }
        $server->stop;
    }
};

for my $backend ( backends() ) {
    subtest "A file that cannot be written whole is nobody's, with $backend" => sub {
        my $room   = 3_000_000;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        $cgi->header;
                        $cgi->print( join q{,},
                            map { -s $_->path } @{ $cgi->file('f') } );
                    },
                    {
                        on_file_write => sub {
                            my ( $cgi, $file ) = @_;
                            report('too much') if $file->size > -s $file->path;
                        },
                        on_file_received => sub { report( received => $_[1]->name ) },
                        on_error         => sub { report('on_error') },
                    }
                );
                report('listening');
            },
            backend => $backend
        );
        $server->await('listening');
        system( 'prlimit', '--pid', $server->pid, "--fsize=$room:$room" ) == 0
          or plan skip_all => 'prlimit does not work here';

        my $fits = { name => 'f', file_name => 'fits', content => 'x' x $room };
        is $server->upload( $fits, $fits )->{body}, "$room,$room", 'files that just fit';
        is_deeply $server->next_report, [ received => 'fits' ], 'are received' for 1 .. 2;
        for my $size ( $room + 1, 10 * $room ) {
            my $large = { name => 'f', file_name => 'large', content => 'x' x $size };
            is $server->upload( $fits, $large )->{body}, undef, "$size bytes do not fit";
            is_deeply $server->next_report, [ received => 'fits' ],
              'the file before is received';
            is_deeply $server->next_report, ['on_error'], 'then on_error is called';
        }
        is $server->upload($fits)->{body}, $room, 'and the next upload is received';
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr =>
              qr/\A(?:HTTP::Server::EV cannot write in \S+: File too large\n){2}\z/ );
    };
}

subtest 'A client that sends a byte now and then is ended by the total limit' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( sub { }, { header_timeout => 0.5, error_responses => 1 } );
        }
    );
    my $client = $server->connect;
    my $select = IO::Select->new( $client->socket );
    $client->send("GET / HTTP/1.1\r\nX-A: ");
    while ( !$select->can_read(0.05) ) {
        $client->send('x') or last;
    }
    is $client->response->{status}, 408, 'though it was never silent for long';
    $server->stop;
};

done_testing;

# Answers with the value of `a` and the digest of the file; `/?a=b%20c` is for get_page.
sub listening {
    my ($server) = @_;
    $server->on_command( sub { report(@_) } );
    $server->listen(
        sub {
            my ($cgi)  = @_;
            my $text   = $cgi->param('a') // q{};
            my ($file) = @{ $cgi->file('f') };
            $text .= q{ } . Digest::SHA->new(256)->addfile( $file->path )->hexdigest
              if $file;
            utf8::encode($text) if utf8::is_utf8($text);
            $cgi->header;
            $cgi->print($text);
        },
        { on_error => sub { report('on_error') }, timeout => 600 }
    );
    return;
}

sub get_page {
    my ($server) = @_;
    return $server->request( GET => '/?a=b%20c' )->{body};
}

# What the client got. Of one that is to stay open, the end is the client's.
sub outcome {
    my ( $client, $expected ) = @_;
    if ( $expected eq 'open' ) {
        $client->drained or return 'not read';
        $client->shutdown;
        return $client->read_all eq q{} ? 'open' : 'answered';
    }
    return $client->response->{status} // 'nothing';
}

# Lengths that are none.
sub lengths {
    return (
        qw(-1 -2147483648 -9223372036854775808 +5 5x x5 0x10 1e3 1.5 18446744073709551616),
        '9' x 100, q{}, '5 5', '5,', '5, 6', "\xef\xbc\x95", "5\t6", q{"5"} );
}

# Bytes that begin like UTF-8.
sub malformed {
    return (
        "\xff",     "\xc3",     "a\xc3",    "\xe2\x82", "\xf0\x9f\x98",
        "\xc0\xaf", "\xfe\x80", "\x80\x80", "\xc3\x28", "\xff" x 4_000
    );
}

sub form {
    my ($length) = @_;
    return
      "POST / HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: $length\r\n\r\na=1";
}

# A multipart request with this body; its boundary is B.
sub body {
    my ( $body, $length, $type ) = @_;
    $length //= length $body;
    $type   //= 'multipart/form-data; boundary=B';
    return
      "POST / HTTP/1.0\r\nContent-Type: $type\r\nContent-Length: $length\r\n\r\n$body";
}

sub head {
    my (@lines) = @_;
    return join "\r\n", 'GET / HTTP/1.0', @lines, q{}, q{};
}
