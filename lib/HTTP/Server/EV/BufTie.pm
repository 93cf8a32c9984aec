package HTTP::Server::EV::BufTie;

# Stands behind a handle given to `$cgi->attach` and sends what is printed there
# to the reply that the printing Coro thread attached; with no reply attached,
# to where the handle led before.

use strict;
use warnings;

use Carp         ();
use IO::Handle   ();
use Scalar::Util qw(refaddr);
use Symbol       ();

our $VERSION = '1.000';

# "$Coro::current" (the empty string without Coro) => Buffer
our %storage;

# Handles that are made local by name, and may be so by several threads at once.
my %STANDARD = (
    '*main::STDOUT' => { handle => \*STDOUT, descriptor => 1 },
    '*main::STDERR' => { handle => \*STDERR, descriptor => 2 },
);

# The same key => those of them that the thread has attached, by name
my %standard_handles;

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
    return $buffer->FILENO          if $buffer;
    return fileno $self->{original} if $self->{original};
    return;
}

sub PRINT {
    my ( $self, @list ) = @_;
    my $buffer = $storage{ _thread() };
    return $buffer->PRINT(@list)             if $buffer;
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
    return                       if !$self->{original};
    my ( $data, $length, $offset ) = @list;
    return syswrite $self->{original}, $data, $length // length $data, $offset // 0;
}

sub GETC { Carp::croak q{HTTP::Server::EV::BufTie doesn't support a GETC method} }

sub READ { Carp::croak q{HTTP::Server::EV::BufTie doesn't support a READ method} }

sub READLINE {
    Carp::croak q{HTTP::Server::EV::BufTie doesn't support a READLINE method};
}

# Ties the handle and routes what this thread prints to the buffer for as long as
# the guard it returns is kept.
sub _attach {
    my ( $class, $handle, $buffer ) = @_;
    _tie($handle);
    my $thread = _thread();
    $storage{$thread} = $buffer;
    my $standard = $STANDARD{ *{$handle} };
    $standard_handles{$thread}{ *{$handle} } = $standard->{handle} if $standard;
    return bless { thread => $thread, buffer => refaddr $buffer },
      'HTTP::Server::EV::BufTie::Guard';
}

# Called when a thread goes on: `local` knows nothing of threads, and another one
# may have put back a handle that is not tied.
sub _resume {
    my $handles = $standard_handles{ _thread() } or return;
    _tie($_) for values %{$handles};
    return;
}

# Ties the handle, unless it is ours already.
sub _tie {
    my ($handle) = @_;
    my $object = tied *{$handle};
    return if ref $object eq __PACKAGE__;
    my $original = $object ? _handle_of($object) : _duplicate($handle);
    tie *{$handle}, __PACKAGE__, $original;
    return;
}

# Of a standard handle that was made local there is nothing to duplicate but the
# descriptor behind it.
sub _duplicate {
    my ($handle)   = @_;
    my $standard   = $STANDARD{ *{$handle} };
    my $descriptor = fileno( *{$handle} )
      // ( $standard ? $standard->{descriptor} : undef );
    return                 if !defined $descriptor;
    return _moved($handle) if $descriptor < 0;

    my $source = defined fileno( *{$handle} ) ? *{$handle} : $descriptor;
    open my $original, '>&', $source or return;
    $original->autoflush(1);
    return $original;
}

# A handle without a descriptor, which writes to a string, cannot be duplicated: it is
# another one that is tied in its place.
sub _moved {
    my ($handle) = @_;
    open my $other, '>', \my $nothing or return;
    my $original = Symbol::gensym();
    *{$original} = *{$handle}{IO};
    *{$handle}   = *{$other}{IO};
    return $original;
}

# A handle tied to an object that stood behind the attached one.
sub _handle_of {
    my ($object) = @_;
    my $handle = Symbol::gensym();
    tie *{$handle}, 'HTTP::Server::EV::BufTie::Other', $object;
    return $handle;
}

sub _thread {
    no warnings 'once';
    return defined $Coro::current ? "$Coro::current" : q{};
}

package HTTP::Server::EV::BufTie::Other;

# Ties a handle to an object that exists already.

sub TIEHANDLE {
    my ( $class, $object ) = @_;
    return $object;
}

package HTTP::Server::EV::BufTie::Guard;

# Takes its own entry out of the routing table, never a later request's.

sub DESTROY {
    my ($self) = @_;
    my $current = $storage{ $self->{thread} };
    return if !$current || Scalar::Util::refaddr($current) != $self->{buffer};
    delete $storage{ $self->{thread} };
    delete $standard_handles{ $self->{thread} };
    return;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::BufTie - Behind a handle that is attached to replies

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;
        $cgi->attach(*STDOUT);
        $cgi->header;
        print 'To the client';
        print STDERR "To the terminal\n";
    });

    EV::run;

=head1 DESCRIPTION

L<HTTP::Server::EV::CGI/attach> ties a handle to this class, once. From then on C<print>,
C<printf>, C<say> and C<syswrite> on that handle go to the reply that is attached. With
L<Coro> each thread has its own reply, so that threads print to C<STDOUT> side by side.

Where no reply is attached, they go where the handle led before it was tied: to its file,
its string, or the object that your program had tied to it.

C<STDOUT> and C<STDERR> may be made C<local> before they are attached, also by several
threads at once. A thread whose scope ends puts back what it found, which may belong to
another thread; so these two are tied again where a thread goes on with them, and lead to
the standard output or error of the process where no reply is attached.

One attachment is known per thread. Where one thread answers several requests in turns,
what it prints goes to the reply that was attached last; call C<attach> again before you
go on with another one, or use C<< $cgi->print >>.

C<fileno> gives the descriptor of the reply, or of the handle as it was before. C<close>
and C<binmode> do nothing and return true. Reading dies with
C<HTTP::Server::EV::BufTie doesn't support a READLINE method>, likewise for C<READ> and
C<GETC>.

There are no methods to call.

=head1 VARIABLES

=head2 %HTTP::Server::EV::BufTie::storage

    my $buffer = $HTTP::Server::EV::BufTie::storage{"$Coro::current"};

The attached L<HTTP::Server::EV::Buffer> of each thread. The key is C<"$Coro::current">, and
the empty string where Coro is not loaded.

=head1 SEE ALSO

L<HTTP::Server::EV::CGI>, L<HTTP::Server::EV::Buffer>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
