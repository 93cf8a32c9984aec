#!/usr/bin/env perl
# listen: forms of address, what is wrong with its arguments; and the listener it returns:
# stop, start, timeouts, limits.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOMAXCONN sockaddr_in);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(multipart report request_bytes reserve_port upload_bytes);

subtest 'A port number listens on every IPv4 address' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = start_on($port);
    is page( IO::Socket::INET->new( PeerAddr => "127.0.0.$_", PeerPort => $port ) ),
      'page', "127.0.0.$_"
      for 1, 2;
    $server->stop;
};

subtest 'host:port listens on that address only' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = start_on("127.0.0.1:$port");
    is page( IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) ),
      'page',
      '127.0.0.1';
    ok !IO::Socket::INET->new( PeerAddr => '127.0.0.2', PeerPort => $port ),
      'not 127.0.0.2';
    $server->stop;

    my ( $other_port, $other_reservation ) = reserve_port();
    $server = start_on("localhost:$other_port");
    is page( IO::Socket::INET->new( PeerAddr => 'localhost', PeerPort => $other_port ) ),
      'page',
      'a host name';
    $server->stop;
};

subtest '[::1]:port is IPv6' => sub {
    eval { require IO::Socket::IP; 1 }
      or plan skip_all => 'IO::Socket::IP is not installed';
    my $reserved = IO::Socket::IP->new(
        LocalHost => '::1',
        LocalPort => 0,
        Type      => 1,
        ReuseAddr => 1
    ) or plan skip_all => "No IPv6 here: $@";
    my $port   = $reserved->sockport;
    my $server = start_on("[::1]:$port");
    is page( IO::Socket::IP->new( PeerHost => '::1', PeerPort => $port ) ), 'page', '::1';
    is $server->await('client'), '::1', 'REMOTE_ADDR';
    $server->stop;
};

subtest 'unix:/path is a socket in the file system' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $path = $server->directory . '/socket';

            # One that nobody listens on any more.
            IO::Socket::UNIX->new( Local => $path, Listen => 1 )->close;
            $server->new_server->listen( "unix:$path", \&answer );
            report('listening');
        }
    );
    $server->await('listening');
    my $path = $server->directory . '/socket';
    is page( IO::Socket::UNIX->new( Peer => $path ) ), 'page',
      'it replaces an abandoned one';
    is $server->await('client'), 'unix:', 'REMOTE_ADDR';
    $server->stop;
};

my %brought = (
    'a socket as the address'   => sub { return ( $_[0] ) },
    'a descriptor: { fd => N }' => sub { return ( { fd => fileno $_[0] } ) },
    'the option socket'         => sub { return ( 'any name', { socket => $_[0] } ) },
);
for my $form ( sort keys %brought ) {
    subtest "Bound already: $form" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my ( $address, $options ) = $brought{$form}->( $server->{socket} );
                $server->new_server->listen( $address, \&answer, $options || () );
                close delete $server->{socket};
                report( key => keys %HTTP::Server::EV::listeners );
            }
        );
        is page( $server->connect->socket ), 'page',
          'it serves, though the handle is closed';
        is $server->await('key'), 'any name', 'the name of the listener'
          if $form =~ /option/;
        $server->stop;
    };
}

subtest 'Two listeners, each with its callback' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( sub { $_[0]->header; $_[0]->print('first') } );
            HTTP::Server::EV->listen( "127.0.0.1:$port",
                sub { $_[0]->header; $_[0]->print('second') } );
            report('listening');
        }
    );
    $server->await('listening');
    is $server->request( GET => '/' )->{body}, 'first', 'the first';
    is page( IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) ),
      'second',
      'the second';
    $server->stop;
};

subtest 'What listen returns' => sub {
    my $server = TestServer->start(
        sub {
            my ($server)  = @_;
            my $options   = { timeout => 5, mine => 'my own' };
            my $listener  = $server->listen( \&answer, $options );
            my $is_stored = grep { $_ == $listener } values %HTTP::Server::EV::listeners;
            report(
                listener => ref $listener,
                $listener == $options ? 1 : 0, $is_stored,
                @{$listener}{qw(stopped timeout mine)},
                $listener->{cb} == \&answer ? 1 : 0
            );
            report(
                again => $server->new_server == HTTP::Server::EV->new( { other => 1 } )
                ? 1
                : 0
            );
        }
    );
    is_deeply [ $server->await('listener') ],
      [ 'HTTP::Server::EV::PortListener', 1, 1, 0, 5, 'my own', 1 ],
      'the hash of options, blessed, with its keys';
    is $server->await('again'), 1, 'new returns the one server';
    $server->stop;
};

subtest 'stop and start' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->listen( \&answer );
            my $copy     = $listener;
            $server->on_command(
                sub {
                    my ($method) = @_;
                    my @list = $copy->$method;
                    report( $method => $listener->{stopped}, scalar @list );
                }
            );
            my $other = IO::Socket::UNIX->new(
                Local  => $server->directory . '/other',
                Listen => 1
            );
            HTTP::Server::EV->listen( $other, \&answer );
        }
    );
    my $path = $server->directory . '/other';
    is $server->request( GET => '/' )->{body}, 'page', 'before';
    $server->await('client');

    $server->tell('stop');
    is_deeply [ $server->await('stop') ], [ 1, 0 ], 'stopped is 1';
    my $waiting = $server->connect;
    $waiting->send( request_bytes( GET => '/waiting' ) );
    is page( IO::Socket::UNIX->new( Peer => $path ) ), 'page', 'another listener goes on';
    is $server->await('client'), 'unix:', 'and only that one was served';

    $server->tell('start');
    is_deeply [ $server->await('start') ], [ 0, 0 ], 'stopped is 0';
    is $waiting->response->{body}, 'page', 'who has waited is served';
    $server->stop;
};

subtest 'EV::run returns when all listeners are stopped and all is done' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener;
            $listener = $server->listen( sub { $listener->stop; answer(@_) } );
        }
    );
    is $server->request( GET => '/' )->{body}, 'page', 'the last page is sent';
    $server->ended;
};

subtest 'timeout, header_timeout, write_timeout' => sub {
    my $server = start( { timeout => 0.5 } );
    my $client = $server->connect;
    $client->send('GET / HT');
    is $client->read_all, q{}, 'timeout: a client that is silent is given up';
    $server->stop;

    $server = start( { header_timeout => 0.5, error_responses => 1 } );
    $client = $server->connect;
    $client->send("GET / HTTP/1.1\r\n");
    is $client->response->{status}, 408,
      'header_timeout: with an answer, where they are on';
    $server->stop;

    $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->{buffer}{onerror} = sub { report('gone'); undef $cgi };
                    $cgi->print( 'x' x 50_000_000 );
                    $cgi->flush;
                },
                { write_timeout => 0.5 }
            );
        }
    );
    $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('gone');
    pass 'write_timeout: a client that takes nothing is given up';
    $server->stop;
};

# Requests of just this size, in what the limit counts.
my $FORM   = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my @LIMITS = (
    [ max_uri => 20, 414, sub { request_bytes( GET => q{/} . 'x' x ( $_[0] - 1 ) ) } ],
    [
        max_headers => 5,
        431,
        sub {
            head_of( map { "H$_" } 3 .. $_[0] );
        }
    ],
    [ max_header_line => 30, 431, sub { head_of( 'H' x ( $_[0] - 3 ) ) } ],
    [
        max_urlencoded_body => 10,
        413, sub { request_bytes( POST => q{/}, $FORM, 'x' x $_[0] ) }
    ],
    [ max_field_name  => 5, 413, sub { upload_bytes( field( 'n' x $_[0], q{} ) ) } ],
    [ max_field_value => 5, 413, sub { upload_bytes( field( 'n', 'x' x $_[0] ) ) } ],
    [ max_file_name => 5, 413, sub { upload_bytes( file( 'n' x $_[0], q{} ) ) } ],
    [ max_file_size => 5, 413, sub { upload_bytes( file( 'n',         'x' x $_[0] ) ) } ],
    [ max_files     => 2,   413, sub { upload_bytes( ( file( 'n', q{} ) ) x $_[0] ) } ],
    [ max_parts     => 2,   413, sub { upload_bytes( ( field( 'n', q{} ) ) x $_[0] ) } ],
    [ max_body_size => 500, 413, \&body_of ],
);
for my $limit (@LIMITS) {
    my ( $option, $maximum, $status, $request ) = @{$limit};
    subtest "$option: as much passes, more does not" => sub {
        my $server = start( { $option => $maximum, error_responses => 1 } );
        is response( $server, $request->($maximum) )->{body}, 'page', 'as much';
        is response( $server, $request->( $maximum + 1 ) )->{status}, $status,
          'more: with error_responses';
        ok $server->await_files(0), 'no file is left';
        $server->stop;

        $server = start( { $option => $maximum } );
        is response( $server, $request->( $maximum + 1 ) )->{status}, undef,
          'more: without a word else';
        $server->stop;
    };
}

subtest 'max_connections: one more is closed at once' => sub {
    my $server  = start( { max_connections => 2 } );
    my @clients = map { $server->connect } 1 .. 2;
    $_->send('GET ') for @clients;
    $_->drained for @clients;
    ok $server->connect->is_closed, 'the third';
    $_->send("/ HTTP/1.0\r\n\r\n") for @clients;
    is $_->response->{body}, 'page', 'the others are served' for @clients;
    is $server->request( GET => '/' )->{body}, 'page', 'and then there is room again';
    $server->stop;
};

subtest 'What is wrong with the arguments, at the line of the caller' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http     = $server->new_server;
            my $socket   = $server->{socket};
            my $port     = $server->port;
            my $code     = sub { };
            my $pipe     = do { pipe my $reader, my $writer or die; $reader };
            $http->listen( 'name', $code, { socket => $socket } );
            my @wrong = (
                [],
                [ 0, $code ],
                [ 'name', $code, { socket => $socket } ],
                [$socket],
                [ $socket,           'no code' ],
                [ $socket,           $code, 'no hash' ],
                [ $socket,           $code, { max_files     => -1 } ],
                [ $socket,           $code, { on_error      => 'no code' } ],
                [ $socket,           $code, { body_methods  => 'POST' } ],
                [ $socket,           $code, { write_timeout => 'soon' } ],
                [ 'name2',           $code, { socket        => 'none' } ],
                [ $pipe,             $code ],
                [ { fd => 999 },     $code ],
                [ "127.0.0.1:$port", $code ],
                [ 'nonsense',        $code ],
            );
            report( error => eval { $http->listen( @{$_} ); 1 } ? 'none' : $@ )
              for @wrong;
        }
    );
    my $here  = qr/ at \Q$0\E line \d+[.]\n\z/;
    my @error = (
        qr/\APort undefined!$here/,
        qr/\APort undefined!$here/,
        qr/\AYou can`t bind two listeners on one port!\n\z/,
        qr/\ANo callback!$here/,
        qr/\Alisten takes a code reference as its callback$here/,
        qr/\Alisten takes a hash reference of options$here/,
        qr/\AHTTP::Server::EV: max_files takes a whole number, 0 or more$here/,
        qr/\AHTTP::Server::EV: on_error takes a code reference$here/,
qr/\AHTTP::Server::EV: body_methods takes an array reference of method names$here/,
qr/\AHTTP::Server::EV: write_timeout takes a number of seconds, or 0 for none$here/,
        qr/\AHTTP::Server::EV: socket takes a listening socket handle$here/,
        qr/\AHTTP::Server::EV cannot listen on .*$here/,
        qr/\AHTTP::Server::EV cannot listen on .*$here/,
qr/\AHTTP::Server::EV cannot listen on 127[.]0[.]0[.]1:\d+: Address already in use.*$here/,
        qr/\AHTTP::Server::EV cannot listen on nonsense: .*$here/,
    );
    like $server->await('error'), $_, "$_" for @error;
    $server->stop;
};

subtest 'Callbacks and other options are read for each request' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->listen( \&answer );
            $server->on_command(
                sub {
                    $listener->{cb} = sub { $_[0]->header; $_[0]->print('another') };
                    $listener->{on_multipart} = sub { report('on_multipart') };
                    report('changed');
                }
            );
        }
    );
    is $server->request( GET => '/' )->{body}, 'page', 'before';
    $server->tell('change');
    $server->await('changed');
    is $server->upload( { name => 'a', content => 'b' } )->{body}, 'another', 'cb';
    $server->await('on_multipart');
    pass 'on_multipart';
    $server->stop;
};

subtest 'Limits may be given to new, for all listeners' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( max_uri => 10, error_responses => 1 );
            $server->listen( \&answer );
        }
    );
    is $server->request( GET => '/' )->{body},                   'page', 'as much';
    is $server->request( GET => '/longer-than-that' )->{status}, 414,    'more';
    $server->stop;
};

subtest 'One hash of options serves two addresses' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my %options  = ( timeout => 5 );
            my $first  = $server->listen( sub { answer_with( @_, 'first' ) }, \%options );
            my $second = $server->new_server->listen( "127.0.0.1:$port",
                sub { answer_with( @_, 'second' ) }, \%options );
            $server->on_command( sub { $first->stop; report('stopped') } );
            report( listening => $first == $second ? 1 : 0, $second->{timeout} );
        }
    );
    is_deeply [ $server->await('listening') ], [ 0, 5 ], 'each is a listener of its own';
    is $server->request( GET => q{/} )->{body}, 'first', 'one address';
    is page( IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) ),
      'second', 'the other address';
    $server->tell('stop');
    $server->await('stopped');
    is page( IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) ),
      'second', 'stopping one leaves the other alone';
    $server->stop;
};

subtest 'The listener tells its port and holds its socket' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->new_server->listen( '127.0.0.1:0', \&answer );
            report( port => $listener->{port} );
            report(
                socket => ( sockaddr_in( getsockname $listener->{socket} ) )[0],
                "$listener->{stopped}"
            );
        }
    );
    my $port = $server->await('port');
    is page( IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) ),
      'page', 'the port that the system chose';
    is_deeply [ $server->await('socket') ], [ $port, 0 ], 'socket and stopped';
    $server->stop;
};

subtest 'Limits of forms and cookies keep the rest in the last field' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    report( seen => $cgi->{get}, $cgi->{cookies} );
                    answer($cgi);
                },
                { max_urlencoded_fields => 2, max_cookies => 2 }
            );
        }
    );
    $server->request( GET => '/?a=1&b=2&c=3', { Cookie => 'd=4; e=5; f=6' } );
    is_deeply [ $server->await('seen') ],
      [ { a => 1, b => '2&c=3' }, { d => 4, e => '5; f=6' } ], 'two of each';
    $server->stop;
};

subtest 'A timeout of more than decades is none' => sub {
    my $server = start( { timeout => 1e19 } );
    is $server->request( GET => q{/} )->{body}, 'page', 'it serves';
    $server->stop;
};

subtest 'With error_responses a client is told, though on_error closes the request' =>
  sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                \&answer,
                {
                    error_responses => 1,
                    max_file_size   => 10,
                    on_error        => sub { $_[0]->close }
                }
            );
        }
    );
    is $server->upload( { name => 'file', file_name => 'f', content => 'x' x 100 } )
      ->{status},
      413, 'the answer';
    $server->stop;
  };

done_testing;

sub answer {
    my ($cgi) = @_;
    report( client => $cgi->{headers}{REMOTE_ADDR} );
    $cgi->header;
    $cgi->print('page');
    return;
}

sub body_of {
    my ($size) = @_;
    my $overhead = length multipart( field( 'n', q{} ) );
    return upload_bytes( field( 'n', 'x' x ( $size - $overhead ) ) );
}

sub field {
    my ( $name, $content ) = @_;
    return { name => $name, content => $content };
}

sub file {
    my ( $file_name, $content ) = @_;
    return { name => 'n', file_name => $file_name, content => $content };
}

# With Host and Connection besides.
sub head_of {
    my (@names) = @_;
    return request_bytes( GET => q{/}, { map { $_ => 1 } @names } );
}

sub answer_with {
    my ( $cgi, $text ) = @_;
    $cgi->header;
    $cgi->print($text);
    return;
}

sub page {
    my ($socket) = @_;
    return "no connection: $@" if !$socket;
    my $client = TestServer::Client->from_socket($socket);
    $client->send( request_bytes( GET => '/' ) );
    return $client->response->{body};
}

sub response {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client->response;
}

sub start {
    my ($options) = @_;
    return TestServer->start( sub { $_[0]->listen( \&answer, $options ) } );
}

# A server that listens on this address when this returns.
sub start_on {
    my ($address) = @_;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server->listen( $address, \&answer );
            report('listening');
        }
    );
    $server->await('listening');
    return $server;
}
