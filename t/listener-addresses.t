#!/usr/bin/env perl
# Where `listen` listens: every form of address, what the client's address is there, and
# what cannot be listened on.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX  ();
use Socket qw(SOMAXCONN SO_REUSEADDR SOL_SOCKET sockaddr_in);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(answer report request_bytes reserve_port);

my $CALLED_FROM;

my $HAS_IPV6 =
  eval { require IO::Socket::IP; IO::Socket::IP->new( LocalHost => '::1', Listen => 1 ) };

my @PORTS = (
    [ 'a number'          => sub { $_[0] + 0 } ],
    [ 'a numeric string'  => sub { "$_[0]" } ],
    [ 'a floating number' => sub { $_[0] * 1.0 } ],
    [ '0.0.0.0:port'      => sub { "0.0.0.0:$_[0]" } ],
);
for my $form (@PORTS) {
    my ( $name, $address_of ) = @{$form};
    subtest "$name listens on every IPv4 address" => sub {
        my ( $port, $reservation ) = reserve_port();
        my $server = start_on( $address_of->($port) );
        for my $host (qw(127.0.0.1 127.0.0.2)) {
            is page( connected( $host, $port ) ), 'page', $host;
            is $server->await('client'), '127.0.0.1', 'REMOTE_ADDR'
              if $host eq '127.0.0.1';
        }
        $server->stop;
    };
}

subtest 'host:port listens on that address only' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = start_on("127.0.0.1:$port");
    is page( connected( '127.0.0.1', $port ) ), 'page', '127.0.0.1';
    ok !connected( '127.0.0.2', $port ), 'not 127.0.0.2';
    $server->stop;
};

subtest 'A host name is looked up' => sub {
    plan skip_all => 'localhost is not known here' if !gethostbyname 'localhost';
    my ( $port, $reservation ) = reserve_port();
    my $server = start_on("localhost:$port");
    is page( connected( 'localhost', $port ) ), 'page', 'localhost';
    $server->stop;
};

subtest 'Port 0 of a host: the system chooses, and the key port tells' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->new_server->listen( '127.0.0.1:0', \&answer );
            my ($bound)  = sockaddr_in( getsockname $listener->{socket} );
            report( ports => $listener->{port}, $bound );
        }
    );
    my ( $port, $bound ) = $server->await('ports');
    is page( connected( '127.0.0.1', $port ) ), 'page', 'it serves there';
    is $bound, $port, 'the key socket is the listening socket';
    $server->stop;
};

for my $host (qw([::1] [::])) {
    subtest "$host:port is IPv6 alone" => sub {
        plan skip_all => 'No IPv6 here' if !$HAS_IPV6;
        my ( $port, $reservation ) = reserve_port();
        my $server = start_on("$host:$port");
        is page( IO::Socket::IP->new( PeerHost => '::1', PeerPort => $port ) ),
          'page', '::1';
        is $server->await('client'), '::1', 'REMOTE_ADDR';
        ok !connected( '127.0.0.1', $port ), 'not 127.0.0.1';
        $server->stop;
    };
}

subtest 'The socket is non-blocking, closed on exec, and bound with SO_REUSEADDR' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            require Fcntl;
            my $listener = $server->new_server->listen( '127.0.0.1:0', \&answer );
            my $socket   = $listener->{socket};
            report(
                flags => fcntl( $socket, Fcntl::F_GETFL(), 0 ) & Fcntl::O_NONBLOCK()
                ? 1
                : 0,
                fcntl( $socket, Fcntl::F_GETFD(), 0 ) & Fcntl::FD_CLOEXEC() ? 1 : 0,
                unpack 'i',
                getsockopt( $socket, SOL_SOCKET, SO_REUSEADDR )
            );
        }
    );
    is_deeply [ $server->await('flags') ], [ 1, 1, 1 ], 'the flags';
    $server->stop;
};

subtest 'As many clients can wait as the system grants' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->new_server->listen( $port, \&answer );
            $listener->stop;
            $server->{start} = EV::signal( 'USR1', sub { $listener->start } );
            report('listening');
        }
    );
    $server->await('listening');
    my $most = do {
        open my $file, '<', '/proc/sys/net/core/somaxconn' or die "somaxconn: $!";
        readline $file;
    };
    my $count   = $most < 500 ? $most : 500;
    my @clients = map { TestServer::Client->new($port) } 1 .. $count;
    $_->send("GET / HTTP/1.0\r\n\r\n") for @clients;
    kill USR1 => $server->pid;
    is scalar( grep { $_->response->{body} eq 'page' } @clients ), $count,
      'and all are served when the listener is started';
    $server->stop;
};

# What is at the path before.
my %AT_PATH = (
    'nothing'             => sub { },
    'an abandoned socket' =>
      sub { IO::Socket::UNIX->new( Local => $_[0], Listen => 1 )->close },
);
for my $before ( sort keys %AT_PATH ) {
    subtest "unix:/path, where there is $before" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $path = $server->directory . '/socket';
                $AT_PATH{$before}->($path);
                my $listener = $server->new_server->listen( "unix:$path", \&answer );
                report( listening => $listener->{port} );
            }
        );
        my $path = $server->directory . '/socket';
        is $server->await('listening'),                    "unix:$path", 'the key port';
        is page( IO::Socket::UNIX->new( Peer => $path ) ), 'page',       'it serves';
        is $server->await('client'),                       'unix:',      'REMOTE_ADDR';
        $server->stop;
        ok !-e $path, 'the name goes with the process';
    };
}

subtest 'A unix socket keeps its name when a child ends' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $path = $server->directory . '/socket';
            $server->new_server->listen( "unix:$path", \&answer );
            defined( my $child = fork ) or die "fork: $!";
            exit 0 if !$child;
            waitpid $child, 0;
            report( child => $? );
        }
    );
    is $server->await('child'), 0, 'it has ended';
    my $path = $server->directory . '/socket';
    is page( IO::Socket::UNIX->new( Peer => $path ) ), 'page', 'it serves';
    $server->stop;
};

my %BROUGHT = (
    'an IO::Socket::INET'       => [ \&ipv4, sub { $_[0] } ],
    'an IO::Socket::UNIX'       => [ \&unix, sub { $_[0] } ],
    'a glob reference'          => [ \&ipv4, sub { \*{ $_[0] } } ],
    'a glob'                    => [ \&ipv4, sub { *{ $_[0] } } ],
    'a blocking socket'         => [ \&ipv4, sub { $_[0]->blocking(1); $_[0] } ],
    '{ fd => N }'               => [ \&ipv4, sub { { fd => fileno $_[0] } } ],
    '{ fd => N } of a unix one' => [ \&unix, sub { { fd => fileno $_[0] } } ],
    'the option socket' => [ \&ipv4, sub { return ( 'a name', { socket => $_[0] } ) } ],
    'the option socket, with a number' =>
      [ \&ipv4, sub { return ( 8080, { socket => $_[0] } ) } ],
);
if ($HAS_IPV6) {
    $BROUGHT{'an IO::Socket::IP of IPv6'} = [ \&ipv6, sub { $_[0] } ];
    $BROUGHT{'an IO::Socket::IP of IPv4'} = [
        sub { IO::Socket::IP->new( LocalHost => '127.0.0.1', Listen => 5 ) },
        sub { $_[0] }
    ];
    $BROUGHT{'an IO::Socket::INET6'} = [
        sub {
            IO::Socket::INET6->new( LocalAddr => '::1', Listen => 5, Proto => 'tcp' );
        },
        sub { $_[0] }
      ]
      if eval { require IO::Socket::INET6; 1 };
}
for my $form ( sort keys %BROUGHT ) {
    my ( $make, $arguments_of ) = @{ $BROUGHT{$form} };
    subtest "A socket that is bound already: $form" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $socket   = $make->( $server->directory . '/socket' );
                my $name     = getsockname $socket;
                my ( $what, $options ) = $arguments_of->($socket);
                $server->new_server->listen( $what, \&answer, $options || () );
                report( key => grep { $_ eq "$what" } keys %HTTP::Server::EV::listeners );
                close $socket;
                report( name => unpack 'H*', $name );
            }
        );
        ok $server->await('key'), 'its name is the first argument as a string';
        my $name = pack 'H*', $server->await('name');
        is page( connected_to($name) ), 'page', 'it serves, though the handle is closed';
        $server->stop;
    };
}

subtest 'Sockets that nobody holds any more have names of their own' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            my @ports;
            for ( 1 .. 20 ) {
                push @ports, $http->listen( ipv4(), \&answer, {} )->{port};
                my $socket = ipv4();
                push @ports, $http->listen( $socket, \&answer )->{port};
                $socket = ipv4();
                push @ports, $http->listen( { fd => fileno $socket }, \&answer )->{port};
            }
            report( ports => @ports );
        }
    );
    my @ports = $server->await('ports');
    is page( connected( '127.0.0.1', $_ ) ), 'page', "port $_" for @ports;
    $server->stop;
};

subtest 'A hundred listeners' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            my @ports;
            for my $number ( 1 .. 100 ) {
                my $socket = ipv4();
                push @ports, $socket->sockport;
                $http->listen(
                    "name $number",
                    sub { $_[0]->header; $_[0]->print("page $number") },
                    { socket => $socket }
                );
            }
            report( ports => @ports );
        }
    );
    my @ports = $server->await('ports');
    is_deeply [ map { page( connected( '127.0.0.1', $_ ) ) } @ports ],
      [ map { "page $_" } 1 .. 100 ], 'each serves';
    $server->stop;
};

my $FORMS = qr/an address is PORT, HOST:PORT, \[IPv6\]:PORT or unix:PATH/;

# What has to be said after 'HTTP::Server::EV cannot listen on '.
my %IMPOSSIBLE = (
    'a port in use' =>
      [ sub { kept( ipv4() )->sockport }, qr/\d+: Address already in use/ ],
    'host:port in use' => [
        sub { '127.0.0.1:' . kept( ipv4() )->sockport },
        qr/127[.]0[.]0[.]1:\d+: Address already in use/
    ],
    'a port that is none' => [ sub { 65_536 },              qr/65536: $FORMS/ ],
    'a negative port'     => [ sub { -1 },                  qr/-1: $FORMS/ ],
    'a word'              => [ sub { 'nonsense' },          qr/nonsense: $FORMS/ ],
    'an address alone'    => [ sub { '127.0.0.1' },         qr/127[.]0[.]0[.]1: $FORMS/ ],
    'a port by name'      => [ sub { 'localhost:http' },    qr/localhost:http: $FORMS/ ],
    'a host that is none' => [ sub { 'host.invalid:8080' }, qr/host[.]invalid:8080: / ],
    'an address of others' => [
        sub { '192.0.2.1:8080' },
        qr/192[.]0[.]2[.]1:8080: Cannot assign requested address/
    ],
    'a path in no directory' => [
        sub { 'unix:/no/such/directory/socket' },
        qr{unix:/no/.*: No such file or directory}
    ],
    'a path that is too long' => [ sub { 'unix:/' . 'x' x 200 }, qr{unix:/x+: } ],
    'a file' => [ sub { "unix:$0" }, qr{unix:\Q$0\E: Address already in use} ],
    'a unix socket in use' => [
        sub {
            my $path = $_[0]->directory . '/used';
            kept( unix($path) );
            return "unix:$path";
        },
        qr{unix:.*/used: Address already in use}
    ],
    'a socket that does not listen' => [
        sub { IO::Socket::INET->new( Proto => 'tcp' ) },
        qr/.*: the socket is not listening/
    ],
    'a connected socket' => [
        sub {
            my $listening = ipv4();
            IO::Socket::INET->new(
                PeerAddr => '127.0.0.1',
                PeerPort => $listening->sockport
            );
        },
        qr/.*: the socket is not listening/
    ],
    'a datagram socket' => [
        sub { IO::Socket::INET->new( LocalAddr => '127.0.0.1', Proto => 'udp' ) },
        qr/.*: the socket is not listening/
    ],
    'a pipe' => [
        sub { pipe my $reader, my $writer or die; $reader },
        qr/.*: Socket operation on non-socket/
    ],
    'a file handle' => [
        sub { open my $handle, '<', $0 or die; $handle },
        qr/.*: Socket operation on non-socket/
    ],
    'a descriptor that is none' =>
      [ sub { { fd => 999 } }, qr/descriptor 999: Bad file descriptor/ ],
    'a descriptor of a file' => [
        sub {
            open my $file, '<', $0 or die;
            return { fd => fileno kept($file) };
        },
        qr/descriptor \d+: Socket operation on non-socket/
    ],
);

# The text as a whole.
my %WRONG = (
    'nothing'           => [ sub { undef }, qr/\APort undefined!/ ],
    'zero'              => [ sub { 0 },     qr/\APort undefined!/ ],
    'an empty string'   => [ sub { q{} },   qr/\APort undefined!/ ],
    'a hash without fd' =>
      [ sub { {} }, qr/\AHTTP::Server::EV: fd takes the number of a listening socket/ ],
    'a descriptor by name' => [
        sub { { fd => 'three' } },
        qr/\AHTTP::Server::EV: fd takes the number of a listening socket/
    ],
    'a socket as an option that is none' => [
        sub { return ( 'name', { socket => 'none' } ) },
        qr/\AHTTP::Server::EV: socket takes a listening socket handle/
    ],
    'a closed socket as an option' => [
        sub {
            my $socket = ipv4();
            close $socket;
            return ( 'name', { socket => $socket } );
        },
        qr/\AHTTP::Server::EV: socket takes a listening socket handle/
    ],
);
$WRONG{$_} =
  [ $IMPOSSIBLE{$_}[0], qr/\AHTTP::Server::EV cannot listen on $IMPOSSIBLE{$_}[1]/ ]
  for keys %IMPOSSIBLE;

subtest 'What cannot be listened on is said at the line of the caller' => sub {
    my @names  = sort keys %WRONG;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            for my $name (@names) {
                my ( $what, $options ) = $WRONG{$name}[0]->($server);
                my $listener = eval {
                    listen_here( $http, $what, sub { }, $options );
                };
                report( error => $listener ? 'none' : $@ );
            }
            report( listeners => keys %HTTP::Server::EV::listeners );
        }
    );
    for my $name (@names) {
        like $server->await('error'),
          qr/$WRONG{$name}[1].* at \Q$0\E line $CALLED_FROM[.]\n\z/s, $name;
    }
    is_deeply [ $server->await('listeners') ], [], 'and there is no listener';
    $server->ended;
};

subtest 'A closed handle cannot be listened on' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $socket = ipv4();
            close $socket;
            report(
                error => eval {
                    $server->new_server->listen( $socket, sub { } );
                    1;
                }
                ? 'none'
                : $@
            );
        }
    );
    like $server->await('error'),
qr/\AHTTP::Server::EV cannot listen on .*: no open handle at \Q$0\E line \d+[.]\n\z/,
      'it is said';
    $server->ended;
};

subtest 'A port for which the process has no right' => sub {
    my $unprivileged = do {
        open my $file, '<', '/proc/sys/net/ipv4/ip_unprivileged_port_start';
        $file ? readline $file : 1024;
    };
    plan skip_all => 'Every port is allowed' if $unprivileged < 2;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            POSIX::setuid(65_534) if !$>;
            my $error = eval {
                $http->listen( 1, sub { } );
                1;
            } ? 'none' : $@;
            report( error => $error );
        }
    );
    like $server->await('error'),
qr/\AHTTP::Server::EV cannot listen on 1: Permission denied at \Q$0\E line \d+[.]\n\z/,
      'it is said';
    $server->ended;
};

done_testing;

sub ipv4 {
    return IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => SOMAXCONN );
}

sub ipv6 {
    return IO::Socket::IP->new( LocalHost => '::1', Listen => SOMAXCONN );
}

# The line of the call is $CALLED_FROM.
sub listen_here {
    my ( $http, @arguments ) = @_;
    BEGIN { $CALLED_FROM = __LINE__ + 1 }
    return $http->listen(@arguments);
}

sub unix {
    my ($path) = @_;
    return IO::Socket::UNIX->new( Local => $path, Listen => SOMAXCONN );
}

# So that it stays open until the process ends.
sub kept {
    push our @kept, $_[0];
    return $_[0];
}

sub connected {
    my ( $host, $port ) = @_;
    return IO::Socket::INET->new( PeerAddr => $host, PeerPort => $port );
}

# To a socket with this address, as getsockname gives it.
sub connected_to {
    my ($name) = @_;
    my $family = unpack 'S', $name;
    socket my $socket, $family, Socket::SOCK_STREAM(), 0 or return;
    connect $socket, $name or return;
    return bless $socket, 'IO::Socket';
}

sub page {
    my ($socket) = @_;
    return "no connection: $@ $!" if !$socket;
    my $client = TestServer::Client->from_socket($socket);
    $client->send( request_bytes( GET => '/' ) );
    return $client->response->{body};
}

# A server that listens on this address when this returns.
sub start_on {
    my ($address) = @_;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->new_server->listen( $address, \&answer );
            report('listening');
        }
    );
    $server->await('listening');
    return $server;
}
