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
    return TestServer::eventually( sub { !$self->unread_by_server } );
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

# The next response, decoded: a hash of status, headers (names in lower case, of equal ones
# the last), body, lines (the head as it came), and interim (the 1xx heads before it). Its
# end is told by Content-Length, chunks or the end of the connection; bytes behind it are
# kept. Without a status where the server closes without a word, or says something else.
#
# response( to => 'HEAD' ) for a request whose response has no body.
sub response {
    my ( $self, %option ) = @_;
    my @interim;
    my $response = $self->_response_head;
    while ( ( $response->{status} // 0 ) =~ /\A1(?!01)/ ) {
        push @interim, $response;
        $response = $self->_response_head;
    }
    $response->{interim} = \@interim;
    return $response if !$response->{status};

    my $is_empty = $response->{status} =~ /\A(?:1..|204|304)\z/;
    $response->{body} =
      $is_empty || ( $option{to} // q{} ) eq 'HEAD'
      ? q{}
      : $self->_response_body( $response->{headers} );
    $self->_expect_end if ( $response->{headers}{connection} // q{} ) =~ /\bclose\b/i;
    return $response;
}

# The same where it has to be the last one on the connection.
sub last_response {
    my ( $self, %option ) = @_;
    my $response = $self->response(%option);
    $self->_expect_end if $response->{status};
    return $response;
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
            $self->_await_room or croak "The server takes nothing after $sent bytes";
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

# The bytes that lie in the receive queue of the server's end: asked for this socket, as
# reading /proc/net/tcp takes the kernel milliseconds. See sock_diag(7).
sub unread_by_server {
    my ($self) = @_;
    my $socket = $self->{socket};
    my $port   = $socket->peerport // return 0;
    CORE::socket my $netlink, $AF_NETLINK, SOCK_RAW, $NETLINK_SOCK_DIAG
      or croak "netlink: $!";

    my $loopback = pack 'C4 x12', 127, 0, 0, 1;
    my $id =
        pack( 'n n', $port, $socket->sockport )
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

# Whether more can be sent, waiting for it; a subclass may read meanwhile.
sub _await_room {
    my ($self) = @_;
    return scalar IO::Select->new( $self->{socket} )->can_write($TestServer::DEADLINE);
}

# A body in chunks, without the trailers. See RFC 9112, section 7.1.
sub _chunks {
    my ($self) = @_;
    my $body = q{};
    while ( my $size = hex $self->_take_line(qr/\A([[:xdigit:]]+)(?:;.*)?\z/) ) {
        $body .= $self->_take($size);
        $self->_take_line(qr/\A()\z/);
    }
    while ( length $self->_take_line(qr/\A(.*)\z/) ) { }
    return $body;
}

sub _expect_end {
    my ($self) = @_;
    length $self->read_all and croak "Bytes behind the response: $self->{received}";
    return;
}

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

# The body that these headers announce.
sub _response_body {
    my ( $self, $headers ) = @_;
    return $self->_chunks if ( $headers->{'transfer-encoding'} // q{} ) =~ /\bchunked\z/i;
    my $length = $headers->{'content-length'};
    return $self->_take($length) if defined $length;
    return $self->_take( length $self->read_all );
}

# The head of a response without what follows; an empty one where there is none.
sub _response_head {
    my ($self) = @_;
    while ( $self->{received} !~ /\r\n\r\n/ && $self->_receive ) { }
    my ($status) = $self->{received} =~ m{\AHTTP/1[.][01] ([0-9]{3})\b};
    if ( !$status ) {
        $self->read_all;
        return { headers => {} };
    }
    my @lines;
    while ( length( my $line = $self->_take_line(qr/\A(.*)\z/) ) ) {
        push @lines, $line;
    }
    return {
        status  => $status,
        lines   => \@lines,
        headers => { map { _header($_) } @lines[ 1 .. $#lines ] },
    };
}

# This many bytes of what the server sends.
sub _take {
    my ( $self, $count ) = @_;
    while ( length $self->{received} < $count ) {
        $self->_receive or croak "Cut off before $count bytes: $self->{received}";
    }
    return substr $self->{received}, 0, $count, q{};
}

# What the pattern captures in the next line, which has to match, without its CRLF.
sub _take_line {
    my ( $self, $pattern ) = @_;
    while ( index( $self->{received}, "\r\n" ) < 0 ) {
        $self->_receive or croak "Cut off within a line: $self->{received}";
    }
    my $line = $self->_take( 2 + index $self->{received}, "\r\n" );
    $line =~ s/\r\n\z//;
    my ($captured) = $line =~ $pattern or croak "Not $pattern: $line";
    return $captured;
}

1;
