package Faults;

# The test's end of the interposer: which calls of the server are to fail, and how many did.

use strict;
use warnings;

use Carp  qw(croak);
use Errno ();

# The layout of interposer.c: a header, and rules of this form, each with a total behind it.
my $HEADER = 64;
my $RULE   = 'Z16 l L Q Q L L Q Q';
my $TOTAL  = "x[$RULE] Q";
my $LENGTH = length pack $TOTAL, 0;

my $ALWAYS = 65_536;
my $EVER   = 2**62;

# The rules of this process and of those it forks.
sub new {
    my ($class) = @_;
    open my $control, '+<:raw', $ENV{FAULTS_CONTROL} // q{}
      or croak 'The interposer is not loaded: run ./dev faults';
    my $self = bless { control => $control, number => {} }, $class;
    my $size = -s $control;
    for my $number ( 0 .. ( $size - $HEADER ) / $LENGTH - 1 ) {
        my ($name) = unpack 'Z16', $self->_read($number);
        $self->{number}{$name} = $number;
    }
    return $self;
}

sub calls { return keys %{ $_[0]{number} } }

# Lets everything pass again.
sub clear {
    my ($self) = @_;
    $self->set( $_, error => 0 ) for $self->calls;
    return;
}

# How many calls of this kind have failed since it was set.
sub injected {
    my ( $self, $call ) = @_;
    return ( unpack $RULE, $self->_read( $self->_number($call) ) )[8];
}

# Kinds of calls of which none has failed by any rule.
sub never_injected {
    my ($self) = @_;
    return grep { !unpack $TOTAL, $self->_read( $self->_number($_) ) } sort $self->calls;
}

# From where the choice by chance begins.
sub seed {
    my ( $self, $seed ) = @_;
    return $self->_write( 0, pack 'Q', $seed * 2 + 1 );
}

# set( pwrite => error => 'ENOSPC', skip => 2, times => 1 )
#
# error: the name of the failure; most: instead, so many bytes are handed on; skip: calls
# that pass before; times: calls that fail then, all unless it is given; chance: the part of
# them that does; least: the smallest allocation that counts.
sub set {
    my ( $self, $call, %rule ) = @_;
    my $error = $rule{error} ? Errno->can( $rule{error} )->() : 0;
    my $bytes = pack $RULE, $call, $error, $rule{most} // 0, $rule{skip} // 0,
      $rule{times} // $EVER, int( $ALWAYS * ( $rule{chance} // 1 ) ), $rule{least} // 0,
      0, 0;
    return $self->_write( $HEADER + $LENGTH * $self->_number($call), $bytes );
}

sub _number {
    my ( $self, $call ) = @_;
    return $self->{number}{$call} // croak "No call '$call'";
}

sub _read {
    my ( $self, $number ) = @_;
    sysseek $self->{control}, $HEADER + $LENGTH * $number, 0 or croak "seek: $!";
    sysread $self->{control}, my $rule, $LENGTH or croak "read: $!";
    return $rule;
}

sub _write {
    my ( $self, $offset, $bytes ) = @_;
    sysseek $self->{control}, $offset, 0 or croak "seek: $!";
    syswrite $self->{control}, $bytes or croak "write: $!";
    return;
}

1;
