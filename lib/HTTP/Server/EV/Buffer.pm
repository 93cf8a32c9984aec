package HTTP::Server::EV::Buffer;

# The output of one reply: what is printed waits here and is sent by the
# loop. It can stand behind a tied handle. Methods not found here are in the
# compiled core.

use strict;
use warnings;

use Carp         ();
use Scalar::Util qw(reftype);

our $VERSION = '1.000';

our $autoflush = 51_200;
our %buffers;

# An error in a call that comes by one of these is their caller's.
our @CARP_NOT = qw(HTTP::Server::EV::BufTie HTTP::Server::EV::CGI);

sub CLONE_SKIP { return 1 }

sub flush_wait {
    my ( $self, $callback ) = @_;
    if ($callback) {
        Carp::croak 'flush_wait takes a code reference'
          if ( reftype($callback) // q{} ) ne 'CODE';
        return $self->_flush_wait($callback);
    }
    return $self->flush if !$INC{'Coro.pm'};

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
    my $size = length $data;
    $length //= $size;
    $offset //= 0;
    Carp::croak 'Negative length'       if $length < 0;
    Carp::croak 'Offset outside string' if $offset > $size || $offset < -$size;

    my $piece = substr $data, $offset, $length;
    local ( $,, $\ );
    return $self->print($piece) ? length $piece : undef;
}

sub GETC { Carp::croak q{HTTP::Server::EV::Buffer doesn't support a GETC method} }

sub READ { Carp::croak q{HTTP::Server::EV::Buffer doesn't support a READ method} }

sub READLINE {
    Carp::croak q{HTTP::Server::EV::Buffer doesn't support a READLINE method};
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::Buffer - The output of one reply

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    # A page without end, which stops when the client has gone.
    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;
        $cgi->header({ 'Content-Type' => 'text/plain' });

        my $timer;
        $timer = EV::timer 0, 1, sub {
            $cgi->print(scalar localtime, "\n");
            $cgi->flush;
        };
        $cgi->{buffer}{onerror} = sub {
            undef $timer;
            $cgi->close;
        };
    });

    EV::run;

=head1 DESCRIPTION

What is printed to a Buffer waits in memory and is sent by the loop. Each reply has one,
C<< $cgi->{buffer} >>; the methods of L<HTTP::Server::EV::CGI> use it. A Buffer can also
be made for a socket of your own.

Sending begins when more than a threshold of bytes waits, and goes on until no more than
that is left. So small replies go out with one write, and large ones while they are
printed. The rest is sent by L</flush>, by L</flush_wait>, and when the Buffer is
destroyed, which ends the reply, and with it the connection where that has to end: see
L<HTTP::Server::EV/Connections>. For a socket of your own, it closes the socket.

The object is a plain hash:

=over

=item C<fd>

The number of the descriptor.

=item C<fh>

A handle, after L<HTTP::Server::EV::CGI/fh> or if it was given to L</new>.

=item C<flush>

The threshold in bytes. To set it, call L</flush>.

=item C<onerror>

Code that is called without arguments, once, from the loop, when the client has ended
its side of the connection or is gone. A client that has ended its sending side only can
still be answered. For replies it works from the main callback on, for GET and POST.

=item C<status>

C<undef> or 0 at rest; 1 from L</flush> or L</flush_wait> until all is sent; -1 if the
client is known to be gone.

=back

It can be tied to a handle, C<tie *HANDLE, $buffer>: C<print>, C<printf>, C<say> and
C<syswrite> then go to the Buffer, C<fileno> gives the descriptor, and C<close> and
C<binmode> do nothing. Reading dies with
C<HTTP::Server::EV::Buffer doesn't support a READLINE method>, likewise for C<READ> and
C<GETC>.

=head1 METHODS

=head2 flush

    $buffer->flush;
    $buffer->flush(16 * 1024);

Sends all there is. A number sets the threshold, in bytes, from now on; with 0, everything
is sent as soon as the client takes it. Returns nothing.

=head2 flush_wait

    $buffer->flush_wait(sub { warn 'All is sent' });

Sends all there is and calls back without arguments when that is done, or when it can
never be. It calls back once, and from the loop, not at once, even if there is nothing
to send. The Buffer is kept until then. Several callbacks may wait.

Without a callback it parks the current L<Coro> thread until then. Where Coro is not
loaded, it is the same as L</flush>. Returns nothing.

Dies with C<flush_wait takes a code reference>.

=head2 give_up_handle

    $cgi->flush_wait(sub {
        my $socket = $cgi->{buffer}->give_up_handle;
        $socket->syswrite('From here on it is mine');
    });

Hands the socket over to you, for another protocol: a non-blocking L<IO::Handle>. The
server is through with the connection and does not close it. Output that was not sent is
thrown away, so call it when nothing is left to send. The variable it is called on is set
to C<undef>.

Bytes that the client sent right behind the head of its request may have been read along
with that. C<read> on the handle gives them first; C<sysread> sees only what is still in the
socket, so a program that uses it lets C<read> empty the handle's buffer before.

Returns nothing if the connection is gone.

=head2 new

    my $buffer = HTTP::Server::EV::Buffer->new({
        fh      => $socket,
        flush   => 4096,
        onerror => sub { warn 'The other side has gone' },
    });

A Buffer for a socket, pipe or file of your own. The hash becomes the object.

=over

=item fd

The number of a descriptor, which becomes the Buffer's: it is closed with it. Needed if
there is no C<fh>.

=item fh

A handle. It stays yours: the Buffer works on a duplicate.

=item flush

The threshold in bytes; C<$HTTP::Server::EV::Buffer::autoflush> unless given.

=item onerror

See L</DESCRIPTION>.

=back

Dies with C<Cant create filehandle from fd!>, or with
C<HTTP::Server::EV::Buffer-E<gt>new takes a hash reference>.

=head2 print

    $buffer->print('Hello, ', $name, "!\n");

Appends the list, joined with C<$,> and followed by C<$\>. Text is sent as UTF-8, bytes
as they are. Returns true, or the empty list if the client has gone.

=head2 printf

    $buffer->printf("%d of %d\n", $done, $all);

Appends the formatted list. Returns what L</print> returns.

=head1 VARIABLES

=head2 $HTTP::Server::EV::Buffer::autoflush

    $HTTP::Server::EV::Buffer::autoflush = 16 * 1024;

The threshold of new Buffers, in bytes: 51200.

=head2 %HTTP::Server::EV::Buffer::buffers

    my $count = keys %HTTP::Server::EV::Buffer::buffers;

Replies whose Buffer has been destroyed and that their clients are still taking, by
the number of the descriptor. The values are Buffers of C<status> 2, on which nothing can
be printed. A reply that the client takes at once never gets here.

=head1 SEE ALSO

L<HTTP::Server::EV>, L<HTTP::Server::EV::CGI>, L<HTTP::Server::EV::BufTie>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
