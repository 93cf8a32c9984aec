#!/usr/bin/env perl
# Connections that carry one request after the other: what each of them sees, and when the
# connection ends.

use strict;
use warnings;

use FindBin;
use IO::Select   ();
use Scalar::Util qw(refaddr);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer
  qw(backends chunked kept_request_bytes multipart multipart_type report request_bytes);

my $FORM   = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $JSON   = { 'Content-Type' => 'application/json' };
my $UPLOAD = { 'Content-Type' => multipart_type() };
my @PARTS  = (
    { name => 'field', content   => 'of a part' },
    { name => 'file',  file_name => 'a.txt', content => 'the file' },
    { name => 'file',  file_name => 'b.bin', content => 'x' x 20_000 },
    { name => 'empty', file_name => 'c',     content => q{} },
);
my $FILES =
  { file => { 'a.txt' => 'the file', 'b.bin' => 'x' x 20_000 }, empty => { c => q{} } };

# [ what it is, its bytes, what the application sees besides what is there without ]
my @KINDS = (
    [ 'GET', kept_request_bytes( GET => '/a' ), { target => '/a' } ],
    [
        'GET with a query',
        kept_request_bytes( GET => '/a?b=c' ),
        { target => '/a?b=c', get => { b => 'c' } }
    ],
    [
        'GET with headers and cookies',
        kept_request_bytes( GET => '/', { 'X-Note' => 'note', Cookie => 'd=e' } ),
        { note => 'note', cookies => { d => 'e' } }
    ],
    [ 'GET with a body', kept_request_bytes( GET => '/', {}, 'nobody reads it' ), {} ],
    [ 'GET with a body in chunks', in_chunks( GET => {}, 'nobody reads it', 4 ),  {} ],
    [ 'HEAD',   kept_request_bytes( HEAD => '/' ),   { method => 'HEAD' } ],
    [ 'DELETE', kept_request_bytes( DELETE => '/' ), { method => 'DELETE' } ],
    [
        'urlencoded POST',
        kept_request_bytes( POST => '/', $FORM, 'f=g&h=i' ),
        { method => 'POST', body => 'f=g&h=i', post => { f => 'g', h => 'i' } }
    ],
    [
        'urlencoded POST in chunks',
        in_chunks( POST => $FORM, 'f=j', 1 ),
        { method => 'POST', body => 'f=j', post => { f => 'j' } }
    ],
    [
        'POST of JSON',
        kept_request_bytes( POST => '/', $JSON, '["k"]' ),
        { method => 'POST', body => '["k"]', post => { '["k"]' => undef } }
    ],
    [
        'empty POST',
        kept_request_bytes( POST => '/', $FORM, q{} ),
        { method => 'POST', body => q{}, post => {} }
    ],
    [
        'PUT',
        kept_request_bytes( PUT => '/', $FORM, 'l=m' ),
        { method => 'PUT', body => 'l=m', post => { l => 'm' } }
    ],
    [
        'multipart POST',
        kept_request_bytes( POST => '/', $UPLOAD, multipart(@PARTS) ),
        { method => 'POST', post => { field => 'of a part' }, files => $FILES }
    ],
    [
        'multipart POST in chunks',
        in_chunks( POST => $UPLOAD, multipart(@PARTS), 1000 ),
        { method => 'POST', post => { field => 'of a part' }, files => $FILES }
    ],
);

for my $backend ( backends() ) {
    subtest "Each kind of request follows each other one, with $backend" => sub {
        my $server = start( {}, $backend );
        my $client = $server->connect;
        my %port;
        for my $first (@KINDS) {
            for my $second (@KINDS) {
                my @wrong = grep { !is_served( $server, $client, $_, \%port ) } $first,
                  $second;
                is "@{[ map { $_->[0] } @wrong ]}", q{}, "$first->[0], then $second->[0]";
            }
        }
        is keys %port, 1, 'all came by one connection';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

subtest 'A body in chunks ends where it does, wherever it is cut' => sub {
    my $server = start();
    my $client = $server->connect;
    my @cases  = (
        [ in_chunks( POST => $FORM, 'a=bc&d=e', 3 ), { a => 'bc', d => 'e' } ],
        [
            in_chunks( POST => $UPLOAD, multipart( $PARTS[0] ), 50 ),
            { field => 'of a part' }
        ],
    );
    for my $case (@cases) {
        my ( $bytes, $post ) = @{$case};
        my ( $head, $body ) = split /(?<=\r\n\r\n)/, $bytes, 2;
        my @wrong;
        for my $cut ( 0 .. length $body ) {
            $client->send( $head . substr $body, 0, $cut );
            $client->drained or die 'The server does not read';
            $client->send( substr( $body, $cut ) . kept_request_bytes( GET => '/next' ) );
            my @seen = map { $server->await('seen') } 1 .. 2;
            $client->response for 1 .. 2;
            push @wrong, $cut
              if !eq_hash( $seen[0]{post}, $post ) || $seen[1]{target} ne '/next';
        }
        is_deeply \@wrong, [], length($body) . ' places';
    }
    $server->stop;
};

# [ bytes of a body that nobody reads, whether another request may follow ]
my @UNREAD =
  ( [ 0, 1 ], [ 1, 1 ], [ 65_535, 1 ], [ 65_536, 1 ], [ 65_537, 0 ], [ 500_000, 0 ] );
for my $case (@UNREAD) {
    my ( $size, $is_kept ) = @{$case};
    my $body = substr kept_request_bytes( GET => '/smuggled' ) x ( 1 + $size / 20 ), 0,
      $size;

    subtest "$size bytes that nobody reads" => sub {
        my $server = start();
        my $client = $server->connect;
        $client->send( kept_request_bytes( GET => '/first', {}, $body ) );
        my $first = $client->response;
        is $first->{status},              200,                        'it is answered';
        is $first->{headers}{connection}, $is_kept ? undef : 'close', 'Connection';
        follows( $client, $is_kept );

        $client = $server->connect;
        $client->send( in_chunks( GET => {}, $body, 1000 ) );
        is $client->response->{status}, 200, 'it is answered if it comes in chunks';
        follows( $client, $is_kept );

        $server->tell('done');
        my @targets = map { $_->[1]{target} }
          grep { $_->[0] eq 'seen' } $server->reports_until('done');
        is_deeply [ grep { $_ !~ m{\A/(?:first|next|)\z} } @targets ], [],
          'nothing of it is taken for a request';
        $server->stop;
    };
}

# [ version, header lines, whether the connection goes on, the reply's Connection ]
my @WISHES = (
    [ '1.1', q{},                                              1, undef ],
    [ '1.1', "Connection: keep-alive\r\n",                     1, undef ],
    [ '1.1', "Connection: closed, x-close\r\n",                1, undef ],
    [ '1.1', "Connection: close\r\n",                          0, 'close' ],
    [ '1.1', "connection:CLOSE\r\n",                           0, 'close' ],
    [ '1.1', "Connection: keep-alive , Close\r\n",             0, 'close' ],
    [ '1.1', "Connection: upgrade\r\nConnection: ,close,\r\n", 0, 'close' ],
    [ '1.0', q{},                                              0, 'close' ],
    [ '1.0', "Connection: keep-alive\r\n",                     1, 'keep-alive' ],
    [ '1.0', "CONNECTION: Keep-Alive\r\n",                     1, 'keep-alive' ],
    [ '1.0', "Connection: x, KEEP-ALIVE\r\n",                  1, 'keep-alive' ],
    [ '1.0', "Connection: keep-alive, close\r\n",              0, 'close' ],
    [ '1.0', "Connection: close\r\n",                          0, 'close' ],
);
subtest 'The version and Connection tell whether the connection goes on' => sub {
    my $server = start();
    for my $wish (@WISHES) {
        my ( $version, $lines, $is_kept, $said ) = @{$wish};
        my $client = $server->connect;
        $client->send("GET / HTTP/$version\r\nHost: a\r\n$lines\r\n");
        note "HTTP/$version $lines";
        my $response = $client->response;
        is $response->{status},              200,   'the status';
        is $response->{headers}{connection}, $said, 'the reply tells';
        follows( $client, $is_kept );
    }
    $server->stop;
};

subtest
  'Each request is an object of its own, and an old one does nothing to the next' => sub {
    my ( $old, $old_buffer );
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print("page of $cgi->{headers}{SCRIPT_NAME}");
                    if ($old) {
                        report( $_   => $cgi->{$_}, $old->{$_} ) for qw(stack_pos mine);
                        report( same => refaddr $cgi == refaddr $old ? 1 : 0 );
                        report(
                            old => eval { $old->print('more'); 1 }
                            ? 'prints'
                            : 'dies'
                        );
                        $old->stop;
                        $old->drop;
                        HTTP::Server::EV::stop_req( $old->{stack_pos} );
                        HTTP::Server::EV::drop_req( $old->{stack_pos} );
                    }
                    else {
                        $cgi->{mine} = 'mine';
                        $old = $cgi;
                        $cgi->close;
                    }
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/first' ) );
    is $client->response->{body}, 'page of /first', 'one is closed and kept';
    $client->send( kept_request_bytes( GET => '/second' ) );
    is $client->response->{body}, 'page of /second', 'the next one is not touched by it';
    my ( $new_number, $old_number ) = $server->await('stack_pos');
    isnt $new_number, $old_number, 'another stack_pos';
    is_deeply [ $server->await('mine') ], [ undef, 'mine' ], 'nothing is left over';
    is $server->await('same'), 0, 'another object';
    $server->await('old');
    $client->send( kept_request_bytes( GET => '/third' ) );
    is $client->response->{body}, 'page of /third', 'nor is the connection';
    $server->stop;
  };

subtest 'An idle connection is closed after keepalive seconds, without a word' => sub {
    my $server = start( { keepalive => 0.05, error_responses => 1 } );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    is $client->response->{status}, 200, 'it is served';
    $server->await('seen');
    is $client->read_all, q{}, 'it is closed';
    $server->tell('done');
    is_deeply [ map { $_->[0] } $server->reports_until('done') ], ['done'],
      'the application is told nothing';
    $server->stop;
};

subtest 'The time of a reply, and that of a request that has begun, is not idle time' =>
  sub {
    my @timers;
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    return $cgi->header if $cgi->{headers}{SCRIPT_NAME} ne '/slow';
                    push @timers, EV::timer( 0.3, 0, sub { $cgi->header; undef $cgi } );
                },
                { keepalive => 0.1 }
            );
        }
    );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/slow' ) );
    is $client->response->{status}, 200, 'a slow reply';
    my ( $request, $end ) = kept_request_bytes( GET => '/slow' ) =~ /\A(.)(.*)\z/s;
    $client->send($request);
    ok $client->drained, 'the next request begins';
    my $other = $server->connect;
    $other->send( kept_request_bytes( GET => '/' ) );
    is $other->response->{status}, 200, 'another client is served after that';
    is $other->read_all,           q{}, 'and idles for too long';
    $client->send($end);
    is $client->response->{status}, 200, 'the first one is still there';
    $server->stop;
  };

subtest 'A second request that does not come in full has timeout seconds' => sub {
    my $server = start( { timeout => 0.1, error_responses => 1 } );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) . 'GET /nex' );
    is $client->response->{status}, 200, 'the first one';
    is $client->response->{status}, 408, 'and the second one';
    ok $client->is_closed, 'is the last';
    $server->stop;
};

subtest 'The head of a second request has header_timeout seconds in all' => sub {
    my $server = start( { header_timeout => 0.3, error_responses => 1 } );
    my $client = $server->connect;
    $client->send( kept_request_bytes( GET => '/' ) );
    is $client->response->{status}, 200, 'the first one';
    $client->send('GET /');
    my $sent = 0;
    until ( IO::Select->new( $client->socket )->can_read(0.01) || $sent > 3000 ) {
        $sent += $client->send('x');
    }
    is $client->response->{status}, 408, 'and the second one, byte by byte';
    $server->stop;
};

subtest 'With keepalive 0 each connection carries one request' => sub {
    my $server = start( { keepalive => 0 } );
    for my $version (qw(1.1 1.0)) {
        my $client = $server->connect;
        $client->send(
            "GET /first HTTP/$version\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        is $client->last_response->{headers}{connection}, 'close', "HTTP/$version";
    }
    $server->stop;
};

# What new is given, what listen is given, whether the connection goes on.
my @PLACES =
  ( [ undef, undef, 1 ], [ 0, undef, 0 ], [ 0, 30, 1 ], [ 30, 0, 0 ], [ 0, 0.5, 1 ] );
subtest 'keepalive of new is the default of listen' => sub {
    for my $place (@PLACES) {
        my ( $of_new, $of_listen, $is_kept ) = @{$place};
        my $server = TestServer->start(
            sub {
                $_[0]->new_server( keepalive => $of_new );
                $_[0]->listen( \&tell, { keepalive => $of_listen } );
            }
        );
        my $client = $server->connect;
        $client->send( kept_request_bytes( GET => '/' ) );
        is $client->response->{headers}{connection}, $is_kept ? undef : 'close',
          join ', ', map { $_ // 'undef' } $of_new, $of_listen;
        $server->stop;
    }
};

subtest 'keepalive takes a number of seconds' => sub {
    my @wrong  = ( 'soon', q{}, -1, '1s', 1e9, '9**9**9', 'nan' );
    my $server = TestServer->start(
        sub {
            for my $wrong (@wrong) {
                eval { $_[0]->listen( \&tell, { keepalive => $wrong } ); 1 }
                  and report( error => 'none' );
                report( error => $@ );
            }
        }
    );
    like $server->await('error'),
      qr/\AHTTP::Server::EV: keepalive takes a number of seconds, or 0 for none at /,
      "'$_'"
      for @wrong;
    $server->ended;
};

done_testing;

# Whether the reply and what the application saw are those of this request.
sub is_served {
    my ( $server, $client, $kind, $port ) = @_;
    my ( $name, $bytes, $expected ) = @{$kind};
    my %expected = ( %{ empty() }, %{$expected} );
    $client->send($bytes);
    my $response = $client->response( to => $expected{method} );
    my $seen     = $server->await('seen');
    $port->{ delete $seen->{port} } = 1;
    my $body = $expected{method} eq 'HEAD' ? q{} : "page of $expected{target}";
    return
         $response->{status} == 200
      && $response->{body} eq $body
      && eq_hash( $seen, \%expected );
}

# What the application sees of a request for / that brings nothing.
sub empty {
    return {
        method  => 'GET',
        target  => '/',
        note    => undef,
        body    => undef,
        get     => {},
        post    => {},
        files   => {},
        cookies => {},
    };
}

sub follows {
    my ( $client, $is_kept ) = @_;
    if ( !$is_kept ) {
        is $client->read_all, q{}, 'the connection ends';
        return;
    }
    $client->send( kept_request_bytes( GET => '/next' ) );
    is $client->response->{body}, 'page of /next', 'the next request is served';
    return;
}

sub in_chunks {
    my ( $method, $headers, $body, $size ) = @_;
    return kept_request_bytes(
        $method => '/',
        { %{$headers}, 'Transfer-Encoding' => 'chunked' }
    ) . chunked( $body, $size );
}

sub start {
    my ( $option, $backend ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                \&tell,
                {
                    body_methods => [qw(POST PUT)],
                    on_error     => sub { report('on_error') },
                    %{ $option || {} }
                }
            );
            $server->on_command( sub { report(@_) } );
        },
        backend => $backend
    );
}

sub tell {
    my ($cgi) = @_;
    my %files;
    for my $name ( keys %{ $cgi->{file_a} || {} } ) {
        $files{$name}{ $_->name } = content( $_->path ) for @{ $cgi->file($name) };
    }
    report(
        seen => {
            port    => $cgi->{headers}{REMOTE_PORT},
            method  => $cgi->{headers}{REQUEST_METHOD},
            target  => $cgi->{headers}{REQUEST_URI},
            note    => $cgi->{headers}{'X-Note'},
            body    => $cgi->{REQUEST_BODY},
            get     => $cgi->{get}  || {},
            post    => $cgi->{post} || {},
            files   => \%files,
            cookies => $cgi->{cookies} || {},
        }
    );
    $cgi->header;
    $cgi->print("page of $cgi->{headers}{REQUEST_URI}");
    return;
}

sub content {
    my ($path) = @_;
    open my $handle, '<:raw', $path or die "$path: $!";
    local $/ = undef;
    return readline($handle) // q{};
}
