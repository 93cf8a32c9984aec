package HTTP::Server::EV::BufTie;

# Stands behind a handle given to `$cgi->attach` and sends what is printed there
# to the reply that the printing Coro thread attached; with no reply attached,
# to where the handle led before.

use strict;
use warnings;

use Carp         qw(croak);
use Scalar::Util qw(refaddr);

our $VERSION = '1.000';

# "$Coro::current" (the empty string without Coro) => Buffer
our %storage;

sub CLONE_SKIP { return 1 }

sub TIEHANDLE {
    my ( $class, $original ) = @_;
    return bless { original => $original }, $class;
}

sub BINMODE { return 1 }

sub CLOSE { return 1 }

sub EOF { return 1 }

sub FILENO {
    my ($self) = @_;
    my $buffer = $storage{ _thread() };
    return $buffer->FILENO             if $buffer;
    return fileno $self->{original} if $self->{original};
    return;
}

sub PRINT {
    my ( $self, @list ) = @_;
    my $buffer = $storage{ _thread() };
    return $buffer->PRINT(@list)              if $buffer;
    return print { $self->{original} } @list if $self->{original};
    return;
}

sub PRINTF {
    my ( $self, $format, @list ) = @_;
    my $text = sprintf $format, @list;
    local ( $,, $\ );
    return $self->PRINT($text);
}

sub WRITE {
    my ( $self, @list ) = @_;
    my $buffer = $storage{ _thread() };
    return $buffer->WRITE(@list) if $buffer;
    return if !$self->{original};
    my ( $data, $length, $offset ) = @list;
    return syswrite $self->{original}, $data, $length // length $data,
      $offset // 0;
}

sub GETC { croak q{HTTP::Server::EV::BufTie doesn't support a GETC method} }

sub READ { croak q{HTTP::Server::EV::BufTie doesn't support a READ method} }

sub READLINE {
    croak q{HTTP::Server::EV::BufTie doesn't support a READLINE method};
}

# Ties the handle, unless it is ours already, and routes what this thread
# prints to the buffer for as long as the guard it returns is kept.
sub _attach {
    my ( $class, $handle, $buffer ) = @_;
    if ( !_is_ours( tied *{$handle} ) ) {
        my $original = _duplicate($handle);
        tie *{$handle}, $class, $original;
    }
    my $thread = _thread();
    $storage{$thread} = $buffer;
    return bless { thread => $thread, buffer => refaddr $buffer },
      'HTTP::Server::EV::BufTie::Guard';
}

sub _duplicate {
    my ($handle) = @_;
    return if !defined fileno *{$handle};
    open my $original, '>&', *{$handle} or return;
    my $selected = select $original;
    $| = 1;
    select $selected;
    return $original;
}

sub _is_ours {
    my ($object) = @_;
    return ref $object eq __PACKAGE__;
}

sub _thread {
    no warnings 'once';
    return defined $Coro::current ? "$Coro::current" : q{};
}

package HTTP::Server::EV::BufTie::Guard;

# Takes its own entry out of the routing table, never a later request's.

sub DESTROY {
    my ($self) = @_;
    my $current = $storage{ $self->{thread} };
    return if !$current || Scalar::Util::refaddr($current) != $self->{buffer};
    delete $storage{ $self->{thread} };
    return;
}

1;
