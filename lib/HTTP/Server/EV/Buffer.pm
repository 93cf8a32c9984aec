package HTTP::Server::EV::Buffer;

# The output of one connection: what is printed waits here and is sent by the
# loop. It can stand behind a tied handle. Methods not found here are in the
# compiled core.

use strict;
use warnings;

use Carp qw(croak);

our $VERSION = '1.000';

our $autoflush = 51_200;
our %buffers;

sub CLONE_SKIP { return 1 }

sub flush_wait {
    my ( $self, $callback ) = @_;
    return $self->_flush_wait($callback) if $callback;
    return $self->flush                  if !$INC{'Coro.pm'};

    my $rouse = Coro::rouse_cb();
    $self->_flush_wait($rouse);
    Coro::rouse_wait($rouse);
    return;
}

sub printf {
    my ( $self, $format, @list ) = @_;
    local ( $,, $\ );
    return $self->print( sprintf $format, @list );
}

sub TIEHANDLE { return $_[0] }

sub BINMODE { return 1 }

sub CLOSE { return 1 }

sub EOF { return 1 }

sub FILENO { return $_[0]{fd} }

sub PRINTF {
    my ( $self, @list ) = @_;
    return $self->printf(@list);
}

sub WRITE {
    my ( $self, $data, $length, $offset ) = @_;
    $offset ||= 0;
    $length = length $data if !defined $length;
    my $piece = substr $data, $offset, $length;
    local ( $,, $\ );
    return $self->print($piece) ? length $piece : undef;
}

sub GETC { croak q{HTTP::Server::EV::Buffer doesn't support a GETC method} }

sub READ { croak q{HTTP::Server::EV::Buffer doesn't support a READ method} }

sub READLINE {
    croak q{HTTP::Server::EV::Buffer doesn't support a READLINE method};
}

1;
