package Hostile::Client;

# One hostile connection in EV's loop: sends what it is told to, as fast as it is told to,
# reads or does not, and says what came of it.

use strict;
use warnings;

use Carp   qw(croak);
use EV     ();
use Errno  qw(EAGAIN EINPROGRESS EINTR);
use Socket qw(AF_INET IPPROTO_TCP MSG_OOB SOCK_NONBLOCK SOCK_STREAM SOL_SOCKET SO_ERROR
  SO_LINGER SO_RCVBUF SO_REUSEADDR TCP_NODELAY inet_aton pack_sockaddr_in unpack_sockaddr_in);

my $LARGEST_WRITE = 256 * 1024;
my $LARGEST_READ  = 1024 * 1024;

# Hostile::Client->new( $port, \%script )
#
# The script:
#   on_connect   called when it is connected
#   on_end       called with it when it has ended, never before `new` returns
#   pieces       list of byte strings, or a sub that returns the next one, or nothing at the end
#   pace         seconds between two pieces; without it, as fast as the server takes them
#   urgent       the pieces are sent as urgent data
#   reads        whether it reads; 1 by default
#   reads_after  it begins to read so many seconds after it has sent all that was taken
#   room         bytes of its receive buffer, as a client that takes little
#   replies      how many replies it waits for before it closes; 1 by default, 0 for none
#   ends         what it does when all is sent: 'close', 'reset', 'shutdown'; else it waits
#   lasts        seconds after which it closes, whatever has come
#   body         what the body of each reply of status 200 has to be
#   from         the address it comes from; 127.0.0.1 by default
#   gets         what has to come of it, as `outcome` has it: text or a pattern
sub new {
    my ( $class, $port, $script ) = @_;
    my $self = bless {
        reads   => 1,
        replies => 1,
        %{$script},
        unsent   => q{},
        received => q{},
        counts   => [],
        wrong    => undef,
    }, $class;
    my $pieces = $self->{pieces} || [];
    if ( ref $pieces eq 'ARRAY' ) {
        my $next = 0;
        $self->{pieces} = sub { return $pieces->[ $next++ ] };
    }
    $self->_connect($port);
    return $self;
}

# What has come: '200', '200 x 5', '200 x 5, 413', 'nothing' where the server has closed
# without a word, and what was wrong with it.
sub outcome {
    my ($self) = @_;
    return $self->{wrong} if $self->{wrong};
    my @counts = map { $_->[1] > 1 ? "$_->[0] x $_->[1]" : $_->[0] } @{ $self->{counts} };
    return @counts ? join q{, }, @counts : 'nothing';
}

# What has come, where that is not what it has to get; else nothing.
sub breach {
    my ($self) = @_;
    my ( $outcome, $gets ) = ( $self->outcome, $self->{gets} );
    return if ref $gets ? $outcome =~ $gets : $outcome eq $gets;
    return "a client gets '$outcome', not '$gets'";
}

sub is_connected { return $_[0]{connected} }

# Its own port, while it has one.
sub port {
    my ($self) = @_;
    my $socket = $self->{socket} or return 0;
    return ( unpack_sockaddr_in( getsockname $socket ) )[0];
}

# Ends it, if it goes on still.
sub end {
    my ($self) = @_;
    my $on_end = delete $self->{on_end} or return;
    delete @{$self}{qw(reading writing pacing lasting waiting)};
    close delete $self->{socket} if $self->{socket};
    $on_end->($self);
    return;
}

sub _connect {
    my ( $self, $port ) = @_;
    socket my $socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 or croak "socket: $!";
    setsockopt $socket, SOL_SOCKET,  SO_RCVBUF,   $self->{room} if $self->{room};
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    if ( $self->{from} ) {
        setsockopt $socket, SOL_SOCKET, SO_REUSEADDR, 1;
        bind $socket, pack_sockaddr_in( 0, inet_aton( $self->{from} ) )
          or croak "bind $self->{from}: $!";
    }
    $self->{socket} = $socket;
    connect $socket, pack_sockaddr_in( $port, inet_aton('127.0.0.1') )
      or $! == EINPROGRESS
      or croak "connect: $!";
    $self->{writing} = EV::io( $socket, EV::WRITE(), sub { $self->_connected } );
    return;
}

sub _connected {
    my ($self) = @_;
    my $error  = unpack 'i', getsockopt $self->{socket}, SOL_SOCKET, SO_ERROR;
    if ($error) {
        local $! = $error;
        $self->{wrong} = "not connected: $!";
        return $self->end;
    }
    $self->{connected} = 1;
    $self->{on_connect}->();
    $self->{reading} = EV::io( $self->{socket}, EV::READ(), sub { $self->_read } )
      if $self->{reads} && !$self->{reads_after};
    if ( my $seconds = $self->{lasts} ) {
        $self->{lasting} = EV::timer( $seconds, 0, sub { $self->end } );
    }
    if ( my $pace = $self->{pace} ) {
        undef $self->{writing};
        $self->{pacing} = EV::timer( rand $pace, $pace, sub { $self->_send_piece } );
        return;
    }
    $self->{writing}->cb( sub { $self->_write } );
    return $self->_write;
}

sub _send_piece {
    my ($self) = @_;
    my $piece = $self->{pieces}->();
    if ( !defined $piece ) {
        delete $self->{pacing};
        return $self->_all_sent;
    }
    my $sent = send $self->{socket}, $piece, $self->{urgent} ? MSG_OOB : 0;
    return                        if $sent;
    return $self->_server_is_gone if $! != EAGAIN;
    return;
}

sub _write {
    my ($self) = @_;
    if ( !length $self->{unsent} ) {
        my $piece = $self->{pieces}->();
        return $self->_all_sent if !defined $piece;
        $self->{unsent} = $piece;
        $self->{offset} = 0;
    }
    my $left = length( $self->{unsent} ) - $self->{offset};
    my $most = $left < $LARGEST_WRITE ? $left : $LARGEST_WRITE;
    my $sent = syswrite $self->{socket}, $self->{unsent}, $most, $self->{offset};
    if ( !defined $sent ) {
        return if $! == EAGAIN || $! == EINTR;
        return $self->_server_is_gone;
    }
    $self->{offset} += $sent;
    $self->{unsent} = q{} if $self->{offset} == length $self->{unsent};
    return;
}

# Who sends no more may read still.
sub _server_is_gone {
    my ($self) = @_;
    delete @{$self}{qw(writing pacing)};
    return $self->end if !$self->{reads};
    return $self->_read;
}

sub _all_sent {
    my ($self) = @_;
    delete $self->{writing};
    my $ends = $self->{ends} // q{};
    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0
      if $ends eq 'reset';
    return $self->end if $ends eq 'reset' || $ends eq 'close';
    shutdown $self->{socket}, 1 if $ends eq 'shutdown';
    return $self->end if !$self->{replies} && !$self->{lasts} && $ends ne 'shutdown';
    return;
}

# Reads from now on, what has been left lying as well.
sub read_on {
    my ($self) = @_;
    return if !$self->{socket} || $self->{reading};
    $self->{reads}   = 1;
    $self->{reading} = EV::io( $self->{socket}, EV::READ(), sub { $self->_read } );
    return;
}

sub _read {
    my ($self) = @_;
    my $count  = sysread $self->{socket}, $self->{received}, $LARGEST_READ,
      length $self->{received};
    return            if !defined $count && ( $! == EAGAIN || $! == EINTR );
    return $self->end if !$count;
    $self->_take_replies;
    return $self->end if $self->{wrong};
    my $come = 0;
    $come += $_->[1] for @{ $self->{counts} };
    return $self->end if $self->{replies} && $come >= $self->{replies};
    return;
}

# Each complete reply is counted and forgotten.
sub _take_replies {
    my ($self) = @_;
    my $from = 0;
    while ( ( my $end = index $self->{received}, "\r\n\r\n", $from ) >= 0 ) {
        my $head     = substr $self->{received}, $from, $end - $from;
        my ($status) = $head =~ m{\AHTTP/1\.1 (\d{3})};
        my ($length) = $head =~ /^Content-Length: (\d+)/mi;
        if ( !$status || !defined $length ) {
            $self->{wrong} = 'a reply that was not expected: ' . substr $head, 0, 80;
            return;
        }
        last if length( $self->{received} ) < $end + 4 + $length;
        my $body = substr $self->{received}, $end + 4, $length;
        $self->_count( $status, $body );
        $from = $end + 4 + $length;
    }
    substr $self->{received}, 0, $from, q{};
    return;
}

sub _count {
    my ( $self, $status, $body ) = @_;
    if ( $status eq '200' && defined $self->{body} && $body ne $self->{body} ) {
        $self->{wrong} = 'another body than expected: ' . substr $body, 0, 80;
        return;
    }
    my $last = $self->{counts}[-1];
    return $last->[1]++ if $last && $last->[0] eq $status;
    push @{ $self->{counts} }, [ $status, 1 ];
    return;
}

1;
