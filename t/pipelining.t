#!/usr/bin/env perl
# Requests that are sent before the one ahead of them is answered.

use strict;
use warnings;

use FindBin;
use IO::Select ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer
  qw(eventually backends chunked kept_request_bytes multipart multipart_type report request_bytes);

my $FORM   = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $UPLOAD = { 'Content-Type' => multipart_type() };
my $FILE   = 'the content ' x 5000;

# [ method, bytes of the request with this number, what the page tells of it ]
my @KINDS = (
    [ GET  => sub { kept_request_bytes( GET  => "/$_[0]" ) },          sub { q{} } ],
    [ HEAD => sub { kept_request_bytes( HEAD => "/$_[0]" ) },          sub { } ],
    [ GET  => sub { kept_request_bytes( GET  => "/$_[0]", {}, 'x' ) }, sub { q{} } ],
    [
        POST => sub { kept_request_bytes( POST => "/$_[0]", $FORM, "a=$_[0]" ) },
        sub { "a=$_[0]" }
    ],
    [ POST => sub { in_chunks( "/$_[0]", $FORM, "a=$_[0]" ) }, sub { "a=$_[0]" } ],
    [
        POST => sub {
            kept_request_bytes( POST => "/$_[0]", $UPLOAD, upload_of( $_[0] ) );
        },
        sub { "a=$_[0] file " . length $FILE }
    ],
    [
        POST => sub { in_chunks( "/$_[0]", $UPLOAD, upload_of( $_[0] ) ) },
        sub { "a=$_[0] file " . length $FILE }
    ],
);

for my $backend ( backends() ) {
    subtest "A hundred requests in one write are answered in order, with $backend" =>
      sub {
        my $server   = start( \&page, {}, $backend );
        my $client   = $server->connect;
        my @requests = map { [ $_, $KINDS[ $_ % @KINDS ] ] } 1 .. 100;
        $client->send( join q{}, map { $_->[1][1]->( $_->[0] ) } @requests );
        my @wrong;
        for my $request (@requests) {
            my ( $number, $kind ) = @{$request};
            my ( $method, $bytes, $told ) = @{$kind};
            my $response = $client->response( to => $method );
            my $body     = $method eq 'HEAD' ? q{} : "/$number " . $told->($number);
            push @wrong, $number
              if $response->{status} != 200 || $response->{body} ne $body;
        }
        is_deeply \@wrong, [], 'each reply is that to its request';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
      };
}

subtest 'Requests that are cut anywhere are the same requests' => sub {
    my $server = start( \&page );
    my $bytes  = join q{}, kept_request_bytes( GET => '/1' ),
      kept_request_bytes( POST => '/2', $FORM, 'a=2' ), in_chunks( '/3', $FORM, 'a=3' ),
      kept_request_bytes( GET => '/4' );
    my $client = $server->connect;
    my @wrong;
    for my $cut ( 1 .. length($bytes) - 1 ) {
        $client->send( substr $bytes, 0, $cut );
        $client->drained or die 'The server does not read';
        $client->send( substr $bytes, $cut );
        my $bodies = join q{,}, map { $client->response->{body} } 1 .. 4;
        push @wrong, $cut if $bodies ne '/1 ,/2 a=2,/3 a=3,/4 ';
    }
    is_deeply \@wrong, [], length($bytes) . ' places';
    $server->stop;
};

subtest 'An empty line between requests is no request' => sub {
    my $server = start( \&page );
    my $client = $server->connect;
    $client->send( join "\r\n", map { kept_request_bytes( GET => "/$_" ) } 1 .. 3 );
    is $client->response->{body}, "/$_ ", "reply $_" for 1 .. 3;
    $server->stop;
};

subtest 'Replies come in the order of the requests, whoever is ready first' => sub {
    my ( @waiting, @timers );
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my $number = substr $cgi->{headers}{SCRIPT_NAME}, 1;
            report( begin => $number );
            my $answer = sub {
                report( end => $number );
                page($cgi);
                undef $cgi;
            };
            push @timers, EV::timer( $number == 1 ? 0.1 : 0, 0, $answer );
        }
    );
    my $client = $server->connect;
    $client->send( join q{}, map { kept_request_bytes( GET => "/$_" ) } 1 .. 3 );
    is $client->response->{body}, "/$_ ", "reply $_" for 1 .. 3;
    is_deeply [ map { $server->next_report } 1 .. 6 ],
      [ map { ( [ begin => $_ ], [ end => $_ ] ) } 1 .. 3 ],
      'one is served after the other';
    $server->stop;
};

subtest 'Coro threads of two connections finish in any order, those of one in turn' =>
  sub {
    eval { require Coro; 1 } or plan skip_all => 'Coro is not installed';
    my $server = TestServer->start(
        sub {
            require Coro::EV;
            require Coro::Timer;
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->attach( local *STDOUT );
                    $cgi->header;
                    print $cgi->{headers}{SCRIPT_NAME};
                    Coro::Timer::sleep(0.05) if $cgi->{headers}{SCRIPT_NAME} =~ /slow/;
                    print q{ };
                    $cgi->flush_wait;
                    print 'end';
                },
                { threading => 1 }
            );
        }
    );
    my @clients = map { $server->connect } 1 .. 3;
    my @targets = map { ( "/slow$_", "/fast$_" ) } 1 .. 5;
    $_->send( join q{}, map { kept_request_bytes( GET => $_ ) } @targets ) for @clients;
    for my $client (@clients) {
        is_deeply [ map { $client->response->{body} } @targets ],
          [ map { "$_ end" } @targets ],
          'the replies of a connection';
    }
    $server->stop;
  };

subtest 'What a client sends and then ends is answered all the same' => sub {
    my $server = start( \&page );
    my $client = $server->connect;
    $client->send( join q{}, map { kept_request_bytes( GET => "/$_" ) } 1 .. 20 );
    $client->shutdown;
    is_deeply [ map { $client->response->{body} } 1 .. 20 ], [ map { "/$_ " } 1 .. 20 ],
      'all replies';
    is $client->read_all, q{}, 'then the connection ends';
    $server->stop;
};

# What the second of three requests does => [ bytes of it; its reply's body, if any; what
# standard error says ]
my %ENDS = (
    'is to be the last'          => [ request_bytes( GET => '/2' ),            '/2 ' ],
    'has a reply to be the last' => [ kept_request_bytes( GET => '/close' ),   'last' ],
    'is of HTTP/1.0'             => [ "GET /2 HTTP/1.0\r\n\r\n",               '/2 ' ],
    'is dropped'                 => [ kept_request_bytes( GET => '/drop' ),    undef ],
    'has no reply'               => [ kept_request_bytes( GET => '/silence' ), undef ],
    'has a raw reply'            => [ kept_request_bytes( GET => '/raw' ),     'raw' ],
    'dies before its header'     => [
        kept_request_bytes( GET => '/die-early' ),
        undef,
        qr/\AERROR IN CALLBACK: early\n\z/
    ],
    'gives its socket away'    => [ kept_request_bytes( GET => '/give' ), 'given' ],
    'has its handle taken'     => [ kept_request_bytes( GET => '/fh' ),   'taken' ],
    'is malformed'             => [ "GET /2 HTTP/1.1\r\n\r\n", "400 Bad Request\n" ],
    'is of an unknown version' =>
      [ "GET /2 HTTP/3.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported\n" ],
);
my %DOES = (
    '/close' => sub { $_[0]->header( { Connection => 'close' } ); $_[0]->print('last') },
    '/drop'  => sub { $_[0]->header; $_[0]->print('lost'); $_[0]->drop },
    '/silence'   => sub { },
    '/raw'       => sub { $_[0]->print("HTTP/1.1 200 OK\r\n\r\nraw") },
    '/die-early' => sub { die "early\n" },
    '/die-late'  => sub { page( $_[0] ); die "late\n" },
    '/next'      => sub { page( $_[0] ); $_[0]->next },
    '/give'      => sub {
        my $socket = $_[0]{buffer}->give_up_handle;
        syswrite $socket, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngiven";
    },
    '/fh' => sub { $_[0]->fh; $_[0]->header; $_[0]->print('taken') },
);
for my $what ( sort keys %ENDS ) {
    subtest "After a request that $what none is served" => sub {
        my ( $second, $body, $complaint ) = @{ $ENDS{$what} };
        my $server = start( \&do_and_report );
        my $client = $server->connect;
        $client->send( kept_request_bytes( GET => '/1' )
              . $second
              . kept_request_bytes( GET => '/3' ) );
        is $client->response->{body}, '/1 ', 'the first one is answered';
        my $response = $client->response;
        is $response->{body}, $body, 'the second one';
        ok $client->is_closed,                        'the connection ends';
        ok !( grep { $_ eq '/3' } targets($server) ), 'the third one never runs';
        $server->stop( $complaint ? ( stderr => $complaint ) : () );
    };
}

my %GOES_ON = (
    'dies after its header' => [ '/die-late', qr/\AERROR IN CALLBACK: late\n\z/ ],
    'is left by next'       => ['/next'],
);
for my $what ( sort keys %GOES_ON ) {
    subtest "After a request that $what the next one is served" => sub {
        my ( $target, $complaint ) = @{ $GOES_ON{$what} };
        my $server = start( \&do_and_report );
        my $client = $server->connect;
        $client->send( join q{}, map { kept_request_bytes( GET => $_ ) } '/1',
            $target, '/3' );
        is $client->response->{body}, "$_ ", $_ for '/1', $target, '/3';
        is_deeply [ targets($server) ], [ '/1', $target, '/3' ], 'each has run once';
        $server->stop( $complaint ? ( stderr => $complaint ) : () );
    };
}

subtest 'Replies ahead of an exit arrive' => sub {
    my $server = start(
        sub { my ($cgi) = @_; exit 3 if $cgi->{headers}{SCRIPT_NAME} eq '/2'; page($cgi) }
    );
    my $client = $server->connect;
    $client->send( join q{}, map { kept_request_bytes( GET => "/$_" ) } 1 .. 3 );
    is $client->response->{body}, '/1 ', 'the first one';
    ok $client->is_closed, 'then the connection ends';
    $server->ended( status => 3 );
};

subtest 'An upload that is dropped ends the connection, and its files go' => sub {
    my $server = start( \&do_and_report,
        { on_file_open => sub { $_[0]->drop }, on_error => sub { report('on_error') } } );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/1' )
          . kept_request_bytes( POST => '/2', $UPLOAD, upload_of(2) )
          . kept_request_bytes( GET  => '/3' ) );
    is $client->response->{body}, '/1 ', 'the first one is answered';
    ok $client->is_closed, 'then the connection ends';
    $server->await('on_error');
    ok $server->await_files(0), 'no file is left';
    is_deeply [ targets($server) ], ['/1'], 'the third one never runs';
    $server->stop;
};

subtest 'A client that reads no reply is not read from, and holds up nobody' => sub {
    my $size   = 100_000;
    my $served = 0;
    my $server = start(
        sub {
            my ($cgi) = @_;
            ++$served if $cgi->{headers}{SCRIPT_NAME} eq '/large';
            $cgi->header;
            $cgi->print(
                $cgi->{headers}{SCRIPT_NAME} eq '/served' ? $served : 'x' x $size );
        },
        { write_timeout => 0 }
    );
    my $request = kept_request_bytes( GET => '/large', { 'X-Padding' => 'x' x 1000 } );
    my $client  = $server->connect;
    my $sent    = send_until_stuck( $client, $request );
    my $before  = $server->peak_memory;
    cmp_ok $sent, '<', 20_000, 'it can send no more';

    # A slow server may be at those that were sent last.
    my @others;
    ok eventually(
        sub {
            @others = map { served( $server, '/served' ) } 1 .. 20;
            $others[-1] == $others[0];
        }
      ),
      'no more of its requests run';
    cmp_ok $others[-1], '<', 1000, 'and few have run';
    cmp_ok $server->peak_memory, '<', $before + 4096, 'nor does it take memory'
      if !$ENV{UNDER_VALGRIND};

    is length $client->response->{body}, $size, 'it may read' for 1 .. 50;
    cmp_ok served( $server, '/served' ), '>', $others[-1], 'and then is served on';
    $client->reset;
    $server->stop;
};

subtest 'write_timeout ends the connection of a client that reads no reply' => sub {
    my $server =
      start( sub { my ($cgi) = @_; $cgi->header; $cgi->print( 'x' x 100_000 ) },
        { write_timeout => 0.2 } );
    my $request = kept_request_bytes( GET => '/', { 'X-Padding' => 'x' x 1000 } );
    my $client  = $server->connect;
    $client->send($request);
    is $client->response->{status}, 200, 'it is served';
    my $with_client = $server->descriptors;
    my $sent        = send_until_stuck( $client, $request );
    ok $server->await_descriptors( $with_client - 1 ), 'the server closes it';
    ok $client->is_closed,                             'the client sees that';
    my $replies = () = $client->{received} =~ m{^HTTP/1}mg;
    cmp_ok $replies, '<', $sent, 'with few of the replies';
    $server->stop;
};

done_testing;

sub start {
    my ( $callback, $option, $backend ) = @_;
    return TestServer->start( sub { $_[0]->listen( $callback, $option || {} ) },
        backend => $backend );
}

# The page of a request: its path, what was posted, and the size of the file.
sub page {
    my ($cgi)  = @_;
    my $posted = $cgi->param('a');
    my $page   = "$cgi->{headers}{SCRIPT_NAME} ";
    $page .= "a=$posted" if defined $posted;
    $page .= ' file ' . $_->size for @{ $cgi->file('file') };
    $cgi->header;
    $cgi->print($page);
    return;
}

sub do_and_report {
    my ($cgi) = @_;
    my $target = $cgi->{headers}{SCRIPT_NAME};
    report( target => $target );
    return ( $DOES{$target} || \&page )->($cgi);
}

# Those that have run; the server goes on.
sub targets {
    my ($server) = @_;
    $server->request( GET => '/end' );
    my @targets = map { $_->[1] } grep { $_->[0] eq 'target' } @{ $server->{seen} };
    while ( my ( $name, $target ) = @{ $server->next_report } ) {
        last if $target eq '/end';
        push @targets, $target;
    }
    return @targets;
}

sub upload_of {
    my ($number) = @_;
    return multipart( { name => 'a', content => $number },
        { name => 'file', file_name => 'name', content => $FILE } );
}

sub in_chunks {
    my ( $target, $headers, $body ) = @_;
    my %headers = ( %{$headers}, 'Transfer-Encoding' => 'chunked' );
    return kept_request_bytes( POST => $target, \%headers ) . chunked( $body, 7 );
}

# The page of a request on a connection of its own.
sub served {
    my ( $server, $target ) = @_;
    return $server->request( GET => $target )->{body};
}

# Sends the request again and again until the server takes nothing more for a while;
# returns how often.
sub send_until_stuck {
    my ( $client, $request ) = @_;
    my $sent = 0;
    while ( IO::Select->new( $client->socket )->can_write(1) ) {
        my $count = syswrite $client->socket, $request x 100;
        last if !defined $count;
        $sent += $count;
    }
    return $sent / length $request;
}
