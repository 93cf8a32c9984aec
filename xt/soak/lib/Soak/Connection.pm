package Soak::Connection;

# A client's connection to any of the listeners, which may be slow, and counts.

use strict;
use warnings;

use IO::Select ();
use IO::Socket::INET;
use IO::Socket::IP;
use IO::Socket::UNIX;
use Socket      qw(SOCK_STREAM SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(sleep);

use parent qw(TestServer::Client);

# Of all connections.
our %count;

# By the address as Soak::Listeners tells it.
sub to {
    my ( $class, $address, %option ) = @_;
    my ($path) = $address =~ /\Aunix:(.*)/;
    my $socket =
      $path
      ? IO::Socket::UNIX->new( Type => SOCK_STREAM, Peer => $path )
      : IO::Socket::IP->new(
        PeerAddr => $address,
        $option{narrow} ? ( Sockopts => [ [ SOL_SOCKET, SO_RCVBUF, 4096 ] ] ) : ()
      );
    die "Cannot connect to $address: $@\n" if !$socket;
    $count{connections}++;
    return $class->from_socket($socket);
}

# Ends it in this way: close, reset, or shutdown, which leaves it open for replies.
sub leave {
    my ( $self, $way ) = @_;
    $count{"left by $way"}++;
    return $self->$way;
}

# Reads a little of what has come, with pauses, until so much is there.
sub read_slowly {
    my ( $self, $length ) = @_;
    while ( length $self->{received} < $length && !$self->{ended} ) {
        IO::Select->new( $self->{socket} )->can_read($TestServer::DEADLINE) or last;
        my $count = sysread $self->{socket}, $self->{received}, 1 + rand 20_000,
          length $self->{received};
        $self->{ended} = 1 if defined $count && !$count;
        sleep rand 0.004;
    }
    return;
}

sub send {
    my ( $self, $bytes ) = @_;
    $count{'bytes sent'} += length $bytes;
    return $self->SUPER::send($bytes);
}

# In pieces, with pauses.
sub send_slowly {
    my ( $self, $bytes ) = @_;
    my $pieces = 2 + rand 30;
    my $most   = 1 + 2 * length($bytes) / $pieces;
    while ( length $bytes ) {
        $self->send( substr $bytes, 0, 1 + rand $most, q{} ) or return 0;
        sleep rand 0.004;
    }
    return 1;
}

# Reads meanwhile: a server that cannot be rid of its replies takes no further requests.
# See RFC 9112, section 9.3.2.
sub _await_room {
    my ($self) = @_;
    my $socket = IO::Select->new( $self->{socket} );
    while ( !$self->{ended} ) {
        my ( $readable, $writable ) =
          IO::Select->select( $socket, $socket, undef, $TestServer::DEADLINE )
          or return 0;
        return 1 if @{$writable};
        $self->_receive;
    }
    return $self->SUPER::_await_room;
}

1;
