#!/usr/bin/env perl
# Each limit on what a client may send: as much passes whole, one more ends the request,
# and nobody else's.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(multipart report request_bytes upload_bytes);

my $FORM = { 'Content-Type' => 'application/x-www-form-urlencoded' };

# For each limit: its option, its default (0: none), one to set, the status of the answer,
# whether the request has begun and so calls on_error; a request of just this size, and
# what the callback measures of it.
my @LIMITS = (
    {
        what    => 'the target',
        option  => 'max_uri',
        default => 4_099,
        set     => 20,
        status  => 414,
        request => sub { request_bytes( GET => q{/} . 'x' x ( $_[0] - 1 ) ) },
        measure => sub { length $_[0]{headers}{REQUEST_URI} },
    },
    {
        what    => 'the target with its query',
        option  => 'max_uri',
        default => 4_099,
        set     => 20,
        status  => 414,
        request => sub { request_bytes( GET => '/?a=' . 'x' x ( $_[0] - 4 ) ) },
        measure => sub { 4 + length $_[0]->param('a') },
    },
    {
        what    => 'a header line',
        option  => 'max_header_line',
        default => 16_384,
        set     => 30,
        status  => 431,
        request => sub { head( 'X-A: ' . 'x' x ( $_[0] - 5 ) ) },
        measure => sub { 5 + length $_[0]{headers}{'X-A'} },
    },
    {
        what    => 'a header line that is nearly all name',
        option  => 'max_header_line',
        default => 16_384,
        set     => 30,
        status  => 431,
        request => sub { head( 'x' x ( $_[0] - 1 ) . q{:} ) },
        measure => sub {
            1 + length( ( grep { /\Ax+\z/ } keys %{ $_[0]{headers} } )[0] );
        },
    },
    {
        what    => 'the method',
        option  => 'max_header_line',
        default => 16_384,
        set     => 30,
        status  => 431,
        request => sub { request_bytes( 'X' x $_[0], q{/} ) },
        measure => sub { length $_[0]{headers}{REQUEST_METHOD} },
    },
    {
        what    => 'the whole head',
        option  => 'max_header_size',
        default => 65_536,
        set     => 200,
        status  => 431,
        request => \&head_of_size,
        measure => sub { $_[0]{headers}{'X-Size'} },
    },
    {
        what    => 'header lines',
        option  => 'max_headers',
        default => 100,
        set     => 5,
        status  => 431,
        request => sub {
            head( map { "X-$_: $_" } 3 .. $_[0] );
        },
        measure => sub {
            2 + grep { /\AX-/ } keys %{ $_[0]{headers} };
        },
    },
    {
        what    => 'a body that is not multipart',
        option  => 'max_urlencoded_body',
        default => 102_400,
        set     => 10,
        status  => 413,
        request => sub { request_bytes( POST => q{/}, $FORM, 'x' x $_[0] ) },
        measure => sub { length $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'the head of a part',
        option  => 'max_header_size',
        default => 65_536,
        set     => 250,
        status  => 413,
        begun   => 1,
        request => sub {
            my $head = 'X; name="a"; x=';

            # It counts from the end of the boundary to the empty line.
            my $filler = 'x' x ( $_[0] - length "\r\n$head" );
            return upload_bytes( { head => $head . $filler, content => $_[0] } );
        },
        measure => sub { $_[0]->post('a')->[0] },
    },
    {
        what    => 'the name of a field',
        option  => 'max_field_name',
        default => 4_099,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub { upload_bytes( { name => 'n' x $_[0], content => q{} } ) },
        measure => sub { length( ( keys %{ $_[0]{post} } )[0] ) },
    },
    {
        what    => 'the name of the field of a file',
        option  => 'max_field_name',
        default => 4_099,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes( { name => 'n' x $_[0], content => q{}, file_name => 'f' } );
        },
        measure => sub { length( ( keys %{ $_[0]{file} } )[0] ) },
    },
    {
        what    => 'the name of a file',
        option  => 'max_file_name',
        default => 4_099,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes( { name => 'f', content => q{}, file_name => 'n' x $_[0] } );
        },
        measure => sub { length $_[0]->file('f')->[0]->name },
    },
    {
        what    => 'the value of a field',
        option  => 'max_field_value',
        default => 51_197,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub { upload_bytes( { name => 'a', content => 'x' x $_[0] } ) },
        measure => sub { length $_[0]->post('a')->[0] },
    },
    {
        what    => 'the value of a field behind files',
        option  => 'max_field_value',
        default => 51_197,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes( ( { name => 'f', content => 'content', file_name => 'f' } ) x 2,
                { name => 'a', content => 'x' x $_[0] } );
        },
        measure => sub { length $_[0]->post('a')->[0] },
    },
    {
        what    => 'parts that are fields',
        option  => 'max_parts',
        default => 1_025,
        set     => 2,
        status  => 413,
        begun   => 1,
        request => sub { upload_bytes( ( { name => 'a', content => q{} } ) x $_[0] ) },
        measure => sub { scalar @{ $_[0]->post('a') } },
    },
    {
        what    => 'parts, one of them a file',
        option  => 'max_parts',
        default => 1_025,
        set     => 2,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes(
                { name => 'f', content => 'x', file_name => 'f' },
                ( { name => 'a', content => 'x' } ) x ( $_[0] - 1 )
            );
        },
        measure => sub { @{ $_[0]->file('f') } + @{ $_[0]->post('a') } },
    },
    {
        what    => 'a file',
        option  => 'max_file_size',
        default => 0,
        set     => 5,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes( { name => 'f', content => 'x' x $_[0], file_name => 'f' } );
        },
        measure => sub { $_[0]->file('f')->[0]->size },
    },
    {
        what    => 'files',
        option  => 'max_files',
        default => 0,
        set     => 2,
        status  => 413,
        begun   => 1,
        request => sub {
            upload_bytes( ( { name => 'f', content => 'x', file_name => 'f' } ) x $_[0] );
        },
        measure => sub { scalar @{ $_[0]->file('f') } },
    },
    {
        what    => 'the body of a form',
        option  => 'max_body_size',
        default => 0,
        set     => 500,
        status  => 413,
        request => sub { request_bytes( POST => q{/}, $FORM, 'x' x $_[0] ) },
        measure => sub { length $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'a body in chunks',
        option  => 'max_body_size',
        default => 0,
        set     => 500,
        status  => 413,
        request => sub {
            chunked( map { ( 1 => 'x' ) } 1 .. $_[0] );
        },
        measure => sub { length $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'the line before a chunk',
        option  => 'max_chunk_line',
        default => 4_096,
        set     => 20,
        status  => 413,
        request => sub { chunked( sprintf( '%0*x', $_[0], length $_[0] ), $_[0] ) },
        measure => sub { $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'an extension of a chunk',
        option  => 'max_chunk_line',
        default => 4_096,
        set     => 20,
        status  => 413,
        request => sub {
            my $digit = length $_[0];
            chunked( "$digit;a=" . 'x' x ( $_[0] - 4 ), $_[0] );
        },
        measure => sub { $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'a trailer line',
        option  => 'max_header_line',
        default => 16_384,
        set     => 60,
        status  => 431,
        request => sub { chunked_before( $_[0], 'A: ' . 'x' x ( $_[0] - 3 ) ) },
        measure => sub { $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'trailer lines',
        option  => 'max_headers',
        default => 100,
        set     => 5,
        status  => 431,
        request => sub {
            chunked_before( $_[0], map { "A: $_" } 1 .. $_[0] );
        },
        measure => sub { $_[0]{REQUEST_BODY} },
    },
    {
        what    => 'the body of an upload',
        option  => 'max_body_size',
        default => 0,
        set     => 500,
        status  => 413,
        request => sub {
            my $frame =
              length multipart( { name => 'f', content => q{}, file_name => 'f' } );
            upload_bytes(
                { name => 'f', content => 'x' x ( $_[0] - $frame ), file_name => 'f' } );
        },
        measure => sub { $_[0]{headers}{CONTENT_LENGTH} },
    },
    {
        what    => 'the body of another method',
        option  => 'max_body_size',
        default => 0,
        set     => 500,
        status  => 413,
        request => sub { request_bytes( PUT => q{/}, {}, 'x' x $_[0] ) },
        measure => sub { $_[0]{headers}{CONTENT_LENGTH} },
    },
);

my %SET_BY = (
    'by default'                   => sub { return ( {},   {} ) },
    'by listen'                    => sub { return ( {},   {@_} ) },
    'by new'                       => sub { return ( {@_}, {} ) },
    'by listen, though not by new' =>
      sub { my ( $option, $value ) = @_; return ( { $option => 1 }, {@_} ) },
);

for my $limit (@LIMITS) {
    subtest "$limit->{option}: $limit->{what}" => sub {
        for my $where ( sort keys %SET_BY ) {
            my $maximum = $where eq 'by default' ? $limit->{default} : $limit->{set};
            next if !$maximum;
            for my $answers ( 0, 1 ) {
                my ( $of_new, $of_listen ) =
                  $SET_BY{$where}->( $limit->{option}, $maximum );
                $of_listen->{error_responses} = $answers;
                my $server = start( $limit->{measure}, $of_new, $of_listen );
                shows_limit( $server, $limit, $maximum, $answers, "$maximum $where" );
                $server->stop;
            }
        }
    };
}

subtest 'What is not limited by default is not limited' => sub {
    my $server = start(
        sub {
            return join q{ }, scalar @{ $_[0]->file('f') }, $_[0]->file('f')->[0]->size;
        }
    );
    my @files =
      map { { name => 'f', content => 'x' x 20_000, file_name => 'f' } } 1 .. 1_025;
    is $server->upload(@files)->{body}, '1025 20000', 'many files, a large body';
    is $server->upload( { name => 'f', content => 'x' x 30_000_000, file_name => 'f' } )
      ->{body},
      '1 30000000', 'a large file';
    $server->stop;
};

subtest 'A body is refused by its length, before it is sent' => sub {
    my $server = start( sub { }, {}, { max_body_size => 10**6, error_responses => 1 } );
    for my $type ( 'text/plain', 'multipart/form-data; boundary=b' ) {
        for my $length ( 10**6 + 1, 2**31, 2**32 + 3, 2**63, 2**64 - 1 ) {
            my $client = $server->connect;
            my $digits = sprintf '%u', $length;
            $client->send(
                request_bytes(
                    POST => q{/},
                    { 'Content-Type' => $type, 'Content-Length' => $digits }
                )
            );
            is $client->response->{status}, 413, "$digits bytes of $type";
        }
    }
    $server->stop;
};

subtest 'A client that sends too much still gets the answer' => sub {
    my $server = start( sub { }, {}, { max_field_value => 10, error_responses => 1 } );
    my $client = $server->connect;
    $client->send( upload_bytes( { name => 'a', content => 'x' x 5_000_000 } ) );
    is $client->response->{status}, 413, 'with megabytes behind the limit';
    $server->stop;
};

subtest 'An answer is a whole response' => sub {
    my $server = start( sub { }, {}, { max_uri => 5, error_responses => 1 } );
    for my $case (
        [ 414, 'GET /23456 HTTP/1.1' ],
        [ 400, 'GET /' ],
        [ 505, 'GET / HTTP/3.0' ]
      )
    {
        my ( $status, $line ) = @{$case};
        my $client = $server->connect;
        $client->send("$line\r\n\r\n");
        my $response = $client->response;
        is $response->{status},              $status, "$line: its status";
        is $response->{headers}{connection}, 'close', 'that the connection ends';
        like $response->{headers}{'content-type'}, qr{\Atext/plain}, 'its type';
        is $response->{headers}{'content-length'}, length $response->{body},
          'and its length';
        like $response->{body}, qr/\A$status \w/, 'with a word to the reader';
    }
    $server->stop;
};

subtest 'A client that falls silent' => sub {
    my $whole = upload_bytes( { name => 'f', content => 'x' x 100, file_name => 'f' } );
    my %sent  = (
        'within the head' => [ 'GET / HT', 0 ],
        'within a form'   =>
          [ request_bytes( POST => q{/}, { %{$FORM}, 'Content-Length' => 9 } ), 0 ],
        'within a file' => [ substr( $whole, 0, -50 ), 1 ],
    );
    for my $answers ( 0, 1 ) {
        my $server =
          start( sub { }, {}, { timeout => 0.3, error_responses => $answers } );
        for my $where ( sort keys %sent ) {
            my ( $bytes, $has_begun ) = @{ $sent{$where} };
            my $client = $server->connect;
            $client->send($bytes);
            is $client->response->{status}, $answers ? 408 : undef,
              "$where: " . ( $answers ? 'is told' : 'is closed without a word' );
            is_deeply $server->next_report, ['on_error'], 'on_error is called'
              if $has_begun;
        }
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    }
};

subtest 'One connection too many' => sub {
    for my $answers ( 0, 1 ) {
        my $server = start( sub { return 'page' },
            {}, { max_connections => 2, error_responses => $answers } );
        my @clients = map { $server->connect } 1 .. 2;
        $_->send('GET ') for @clients;
        $_->drained for @clients;
        is $server->connect->response->{status}, $answers ? 503 : undef,
          $answers ? 'is told' : 'is closed without a word';
        $_->send("/ HTTP/1.0\r\n\r\n") for @clients;
        is $_->response->{body}, 'page', 'the others are served' for @clients;
        $server->stop;
    }
};

done_testing;

# A server whose reply is what is measured; `/beside` is answered by its file's size.
sub start {
    my ( $measure, $of_new, $of_listen ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { report(@_) } );
            $server->new_server( %{ $of_new || {} } );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print( $measure->($cgi) // q{} );
                },
                { on_error => sub { report('on_error') }, %{ $of_listen || {} } }
            );
        }
    );
}

# One less and just as much pass whole; one more does not; who has begun before goes on.
sub shows_limit {
    my ( $server, $limit, $maximum, $answers, $what ) = @_;
    my $bytes  = $limit->{request}->($maximum);
    my $beside = $server->connect;
    $beside->send( substr $bytes, 0, -1 );

    for my $size ( $maximum - 1, $maximum ) {
        is response( $server, $limit, $size )->{body}, $size, "$what: $size passes";
    }
    my $response = response( $server, $limit, $maximum + 1 );
    is $response->{status}, $answers ? $limit->{status} : undef,
      $answers ? 'one more: an answer' : 'one more: without a word';
    if ( $limit->{begun} ) {
        is_deeply $server->next_report, ['on_error'], 'and on_error is called';
    }

    $server->tell('mark');
    is_deeply $server->next_report, ['mark'],
      $limit->{begun} ? 'only once' : 'on_error is not called';

    $beside->send( substr $bytes, -1 );
    is $beside->response->{body}, $maximum, 'another connection goes on';
    ok $server->await_files(0), 'no file is left';
    return;
}

sub response {
    my ( $server, $limit, $size ) = @_;
    my $client = $server->connect;
    $client->send( $limit->{request}->($size) );
    return $client->response;
}

# A request with these header lines besides two.
sub head {
    my (@lines) = @_;
    return join "\r\n", 'GET / HTTP/1.1', 'Host: a', 'Connection: close', @lines, q{},
      q{};
}

# A request whose head has this size, in lines that are far from their limit.
sub head_of_size {
    my ($size) = @_;
    my $left = $size - length head( "X-Size: $size", 'X-Fill: ' );
    my @lines;
    while ( $left > 1_000 ) {
        push @lines, 'X-A: ' . 'x' x ( 1_000 - 7 );
        $left -= 1_000;
    }
    return head( "X-Size: $size", @lines, 'X-Fill: ' . 'x' x $left );
}

# A form in these chunks: size and data in turn.
sub chunked {
    my (@chunks) = @_;
    my $body = q{};
    while ( my ( $size, $data ) = splice @chunks, 0, 2 ) {
        $body .= "$size\r\n$data\r\n";
    }
    return chunked_head() . "${body}0\r\n\r\n";
}

# A form of one chunk, and these trailer lines behind it.
sub chunked_before {
    my ( $data, @trailers ) = @_;
    my $size = length $data;
    return join "\r\n", chunked_head() . $size, $data, 0, @trailers, q{}, q{};
}

sub chunked_head {
    return request_bytes( POST => q{/}, { %{$FORM}, 'Transfer-Encoding' => 'chunked' } );
}
