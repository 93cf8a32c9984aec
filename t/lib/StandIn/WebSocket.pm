package StandIn::WebSocket;

# WebSockets (RFC 6455) as a module beside this server makes them: it looks at the headers
# by the names that clients send, answers by `header`, takes the socket over by
# `give_up_handle` in `flush_wait`, and from then on drives its descriptor itself.
#
#     StandIn::WebSocket->accept( $cgi, sub { my ( $socket, $opcode, $message ) = @_ } );

use strict;
use warnings;

use Digest::SHA  qw(sha1_base64);
use Errno        qw(EAGAIN);
use POSIX        ();
use Scalar::Util qw(weaken);

use EV;

use constant {
    CONTINUATION => 0,
    TEXT         => 1,
    BINARY       => 2,
    CLOSE        => 8,
    PING         => 9,
    PONG         => 10
};

# The sockets that are open: nobody else needs to hold them.
my %open;

# Answers the handshake; calls back with each message. `on_close` is called in the end.
sub accept {
    my ( $class, $cgi, $on_message, $on_close ) = @_;
    my $key = $cgi->{headers}{'Sec-WebSocket-Key'};
    if ( !defined $key ) {
        $cgi->header( { STATUS => '400 Bad Request' } );
        return $cgi->print('This is for WebSockets');
    }

    $cgi->header(
        {
            STATUS                 => '101 Switching Protocols',
            Upgrade                => 'websocket',
            Connection             => 'Upgrade',
            'Sec-WebSocket-Accept' =>
              sha1_base64("${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11") . q{=},
            'Content-Type' => undef,
        }
    );
    $cgi->{buffer}->flush_wait(
        sub {
            my $handle = $cgi->{buffer}->give_up_handle or return;
            undef $cgi;
            _begin(
                bless {
                    handle     => $handle,
                    on_message => $on_message,
                    on_close   => $on_close || sub { },
                    received   => q{},
                    to_send    => q{},
                    message    => q{},
                },
                $class
            );
        }
    );
    return;
}

sub send {
    my ( $self, $opcode, $payload ) = @_;
    my $length = length $payload;
    my $head   = pack 'C', 0x80 | $opcode;
    $head .=
        $length < 126    ? pack 'C',    $length
      : $length < 65_536 ? pack 'C n',  126, $length
      :                    pack 'C Q>', 127, $length;
    $self->{to_send} .= $head . $payload;
    $self->{watcher}->events( EV::READ | EV::WRITE ) if $self->{watcher};
    return;
}

# The closing handshake, from our side.
sub close {
    my ( $self, $code ) = @_;
    $self->send( CLOSE, pack 'n', $code ) if !$self->{closing}++;
    return;
}

# What came along with the head lies in the handle's buffer; the rest is read from the
# descriptor, as a library in C would.
sub _begin {
    my ($self) = @_;
    1 while read $self->{handle}, $self->{received}, 65_536, length $self->{received};
    my $fd = fileno $self->{handle};
    $open{$fd} = $self;
    weaken( my $weak = $self );
    $self->{watcher} =
      EV::io( $fd, EV::READ | EV::WRITE, sub { $weak->_serve( $_[1] ) } );
    return $self->_parse;
}

sub _serve {
    my ( $self, $events ) = @_;
    my $fd = fileno $self->{handle};
    if ( $events & EV::READ ) {
        my $count = POSIX::read( $fd, my $bytes, 65_536 );
        return $self->_end if defined $count ? $count == 0 : $! != EAGAIN;
        if ($count) {
            $self->{received} .= substr $bytes, 0, $count;
            $self->_parse;
        }
    }
    if ( length $self->{to_send} ) {
        my $count = POSIX::write( $fd, $self->{to_send}, length $self->{to_send} );
        return $self->_end if !defined $count && $! != EAGAIN;
        substr $self->{to_send}, 0, $count, q{} if $count;
    }
    if ( !length $self->{to_send} ) {
        return $self->_end if $self->{closed};
        $self->{watcher}->events(EV::READ);
    }
    return;
}

sub _parse {
    my ($self) = @_;
    while ( length $self->{received} >= 6 ) {
        my ( $first, $length ) = unpack 'C C', $self->{received};
        $length &= 0x7f;
        my $at = $length == 126 ? 4 : $length == 127 ? 10 : 2;
        return if length $self->{received} < $at + 4;
        $length = unpack 'x2 n',  $self->{received} if $length == 126;
        $length = unpack 'x2 Q>', $self->{received} if $length == 127;
        return if length $self->{received} < $at + 4 + $length;

        my $mask    = substr $self->{received}, $at, 4;
        my $payload = substr $self->{received}, $at + 4, $length;
        substr $self->{received}, 0, $at + 4 + $length, q{};
        $payload ^= substr $mask x ( $length / 4 + 1 ), 0, $length;
        $self->_take( $first & 0x0f, $first & 0x80, $payload );
    }
    return;
}

sub _take {
    my ( $self, $opcode, $is_final, $payload ) = @_;
    return $self->send( PONG, $payload ) if $opcode == PING;
    return                               if $opcode == PONG;
    if ( $opcode == CLOSE ) {
        $self->send( CLOSE, $payload ) if !$self->{closing}++;
        $self->{closed} = 1;
        return;
    }
    $self->{opcode} = $opcode if $opcode != CONTINUATION;
    $self->{message} .= $payload;
    return if !$is_final;
    my $message = $self->{message};
    $self->{message} = q{};
    return $self->{on_message}->( $self, $self->{opcode}, $message );
}

sub _end {
    my ($self) = @_;
    undef $self->{watcher};
    delete $open{ fileno $self->{handle} };
    return $self->{on_close}->();
}

1;
