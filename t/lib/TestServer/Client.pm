package TestServer::Client;

# A connection to the server under test, with every byte and its time in the hands of
# the test. Nothing here waits longer than $TestServer::DEADLINE.

use strict;
use warnings;

use Carp       qw(croak);
use Errno      qw(EAGAIN ECONNRESET ENOENT EPIPE);
use IO::Select ();
use Socket     qw(AF_INET IPPROTO_TCP SOCK_RAW SOL_SOCKET SO_LINGER TCP_NODELAY);

use IO::Socket::INET;

# linux/netlink.h, linux/sock_diag.h
my ( $AF_NETLINK, $NETLINK_SOCK_DIAG, $SOCK_DIAG_BY_FAMILY, $NLMSG_ERROR ) =
  ( 16, 4, 20, 2 );

sub new {
    my ( $class, $port ) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $port,
        Timeout  => $TestServer::DEADLINE,
    ) or croak "Cannot connect to port $port: $@";
    return $class->from_socket($socket);
}

# The same on a connected socket of any kind.
sub from_socket {
    my ( $class, $socket ) = @_;
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1 if $socket->isa('IO::Socket::INET');
    $socket->blocking(0);
    return bless { socket => $socket, received => q{} }, $class;
}

sub close {
    my ($self) = @_;
    return CORE::close $self->{socket};
}

# Waits until the server's process has read all that was sent.
sub drained {
    my ($self) = @_;
    return TestServer::eventually( sub { !$self->_unread_by_server } );
}

# Whether the server has closed the connection, waiting for it; what it has sent
# before is kept for `response` and the like.
sub is_closed {
    my ($self) = @_;
    while ( $self->_receive ) { }
    return $self->{ended};
}

# All that the server sends until it closes.
sub read_all {
    my ($self) = @_;
    $self->is_closed or croak "The connection stays open after: $self->{received}";
    return $self->{received};
}

# All that the server has sent so far, as soon as it matches.
sub read_until {
    my ( $self, $pattern ) = @_;
    while ( $self->{received} !~ $pattern ) {
        $self->_receive or croak "No $pattern in: $self->{received}";
    }
    return $self->{received};
}

# Breaks the connection off: the server gets a reset instead of an end.
sub reset {
    my ($self) = @_;
    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    return CORE::close $self->{socket};
}

# The response, when the server has closed: a hash of status, headers (names in lower
# case, of equal ones the last) and body.
sub response {
    my ($self) = @_;
    my ( $head, $body ) = split /\r\n\r\n/, $self->read_all, 2;
    my ( $line, @lines ) = split /\r\n/, $head // q{};
    my ($status) = ( $line // q{} ) =~ m{\AHTTP/1\.[01] (\d{3})};
    return {
        status  => $status,
        headers => { map { _header($_) } @lines },
        body    => $body
    };
}

# Sends all of it; returns whether the server has taken it.
sub send {
    my ( $self, $bytes ) = @_;
    my $sent = 0;
    while ( $sent < length $bytes ) {
        my $count = syswrite $self->{socket}, $bytes, length($bytes) - $sent, $sent;
        if ( defined $count ) {
            $sent += $count;
        }
        elsif ( $! == EAGAIN ) {
            IO::Select->new( $self->{socket} )->can_write($TestServer::DEADLINE)
              or croak "The server takes nothing after $sent bytes";
        }
        else {
            return 0 if $! == EPIPE || $! == ECONNRESET;
            croak "Cannot send: $!";
        }
    }
    return 1;
}

# Ends the sending side only.
sub shutdown {
    my ($self) = @_;
    return CORE::shutdown $self->{socket}, 1;
}

sub socket { return $_[0]{socket} }

sub _header {
    my ($line) = @_;
    my ( $name, $value ) = split /:\s*/, $line, 2;
    return ( lc $name => $value );
}

# One read; returns whether there was something.
sub _receive {
    my ($self) = @_;
    return 0 if $self->{ended};
    IO::Select->new( $self->{socket} )->can_read($TestServer::DEADLINE) or return 0;
    my $count = sysread $self->{socket}, $self->{received}, 65_536,
      length $self->{received};
    return 1 if $count;
    return 1 if !defined $count && $! == EAGAIN;
    $self->{ended} = 1;
    return 0;
}

# The bytes that lie in the receive queue of the server's end: asked for this socket, as

# reading /proc/net/tcp takes the kernel milliseconds. See sock_diag(7).
sub _unread_by_server {
    my ($self) = @_;
    my $socket = $self->{socket};
    CORE::socket my $netlink, $AF_NETLINK, SOCK_RAW, $NETLINK_SOCK_DIAG
      or croak "netlink: $!";

    my $loopback = pack 'C4 x12', 127, 0, 0, 1;
    my $id =
        pack( 'n n', $socket->peerport, $socket->sockport )
      . $loopback
      . $loopback
      . pack( 'L L2', 0, (0xffff_ffff) x 2 );
    my $request = pack( 'C4 L', AF_INET, IPPROTO_TCP, 0, 0, 0xffff_ffff ) . $id;
    my $header  = pack 'L S2 L2', 16 + length $request, $SOCK_DIAG_BY_FAMILY, 1, 1, 0;
    syswrite $netlink, $header . $request or croak "netlink: $!";
    sysread $netlink, my $answer, 8192 or croak "netlink: $!";

    my ( $type, $detail ) = unpack 'x4 S x10 l', $answer;
    if ( $type == $NLMSG_ERROR ) {
        return 0 if -$detail == ENOENT;
        local $! = -$detail;
        croak "sock_diag: $!";
    }
    return unpack 'x16 x4 x48 x4 L', $answer;
}

1;
