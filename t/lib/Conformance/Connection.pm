package Conformance::Connection;

# A connection that costs little, of which a test has hundreds at once: it sends pieces,
# and keeps what it receives.

use strict;
use warnings;

use Carp       qw(croak);
use Errno      qw(EAGAIN);
use IO::Select ();
use Socket     qw(INADDR_LOOPBACK PF_INET SOCK_STREAM pack_sockaddr_in);

use IO::Socket::INET;

use TestServer;

# To this port of 127.0.0.1.
sub new {
    my ( $class, $port ) = @_;
    socket my $socket, PF_INET, SOCK_STREAM, 0 or croak "socket: $!";
    connect $socket, pack_sockaddr_in( $port, INADDR_LOOPBACK )
      or croak "Cannot connect to port $port: $!";
    my $client = TestServer::Client->from_socket( bless $socket, 'IO::Socket::INET' );
    return bless { client => $client, socket => $socket, received => q{}, ended => 0 },
      $class;
}

# Whether the server has ended the connection.
sub ended { return $_[0]{ended} }

# Whether the server has not read yet what was sent.
sub is_unread { return $_[0]{client}->unread_by_server > 0 }

# Takes what is there, without waiting.
sub poll {
    my ($self) = @_;
    while ( !$self->{ended} ) {
        my $count = sysread $self->{socket}, $self->{received}, 65_536,
          length $self->{received};
        next   if $count;
        return if !defined $count && $! == EAGAIN;
        $self->{ended} = 1;
    }
    return;
}

sub received { return $_[0]{received} }

# Sends bytes; whoever has ended the connection need not take them.
sub send {
    my ( $self, $bytes ) = @_;
    return $self->{client}->send($bytes);
}

# Ends the sending side.
sub shutdown {
    my ($self) = @_;
    return $self->{client}->shutdown;
}

# Waits for something more, or the end; returns whether that came in time.
sub wait {
    my ($self) = @_;
    IO::Select->new( $self->{socket} )->can_read($TestServer::DEADLINE) or return 0;
    $self->poll;
    return 1;
}

1;
