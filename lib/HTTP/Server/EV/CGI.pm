package HTTP::Server::EV::CGI;

# One request and its reply: a plain hash with the request's data, and methods
# that answer it. Methods not found here are in the compiled core.

use strict;
use warnings;

use Carp qw(croak);
use EV         ();
use IO::Handle ();
use Symbol qw(gensym);

our $VERSION = '1.000';

our $cookies_lifetime      = 2_678_400;
our $MAX_URLENCODED_FIELDS = 1024;

sub CLONE_SKIP { return 1 }

sub attach {
    my ( $self, $handle ) = @_;
    my $buffer = $self->{buffer} or croak 'Can`t attach closed socket!';
    push @{ $self->{stdout_guard} ||= [] },
      HTTP::Server::EV::BufTie->_attach( $handle, $buffer );
    return;
}

sub buffer {
    my ($self) = @_;
    my $buffer = $self->{buffer}
      or croak 'Can`t get buffered handle from closed socket!';
    return $self->{buf_fh} if $self->{buf_fh};

    my $handle = gensym;
    tie *{$handle}, $buffer;
    return $self->{buf_fh} = $handle;
}

sub close {
    my ($self) = @_;
    delete @{$self}{qw(buffer buf_fh)};
    $self->{stdout_guard} = [];
    return;
}

sub file {
    my ( $self, $name ) = @_;
    return $self->{file_a}{$name} || [];
}

sub flush {
    my ( $self, @threshold ) = @_;
    return $self->{buffer}->flush(@threshold);
}

sub flush_timer {
    my ($self) = @_;
    return EV::now - $self->{timer};
}

sub flush_wait {
    my ( $self, @callback ) = @_;
    return $self->{buffer}->flush_wait(@callback);
}

sub get {
    my ( $self, $name ) = @_;
    return $self->{get_a}{$name} || [];
}

# Leaves the main callback from any depth and ends the reply with what was
# printed; while the request is still being received it drops the request.
sub next {
    my ($self) = @_;
    return $self->drop if !$self->{received};
    no warnings 'exiting';
    next NEXT_REQ;
}

sub param {
    my ( $self, $name ) = @_;
    my $values = $self->{get_a}{$name} || $self->{post_a}{$name} || [];
    return wantarray ? @{$values} : $values->[-1];
}

sub post {
    my ( $self, $name ) = @_;
    return $self->{post_a}{$name} || [];
}

sub start_timer {
    my ($self) = @_;
    return $self->{timer} = EV::now;
}

1;
