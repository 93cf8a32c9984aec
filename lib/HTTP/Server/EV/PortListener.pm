package HTTP::Server::EV::PortListener;

# One listening socket, and how its main callback is run.

use strict;
use warnings;

our $VERSION = '1.000';

# The threads that run a main callback, as "$Coro::current" names them.
my %is_thread;

sub CLONE_SKIP { return 1 }

# Called by the core with the main callback and a complete request, which stays in @_ for
# the callback. The label is what `HTTP::Server::EV::CGI::next` jumps to, out of any depth
# of the callback: then this returns true, and the caller closes. Whoever calls sees to
# exceptions.
sub _run_callback {
    &{ +shift };
    return;
  NEXT_REQ:
    return 1;
}

# The same in a thread of its own, for listeners with `threading`.
sub _run_callback_in_thread {
    my ( $callback, $cgi ) = @_;
    require Coro;

    # Without it nobody runs a thread while EV's loop does.
    require Coro::EV;
    my $running = { cgi => $cgi };
    my $thread  = Coro::async( \&_run_thread, $callback, $running );
    my $name    = "$thread";
    $is_thread{$name} = 1;

    # A thread that is cancelled never comes to its end, and neither would the reply: what
    # was in the hands of the thread may be left over.
    $thread->on_destroy(
        sub {
            delete $is_thread{$name};
            my $unfinished = delete $running->{cgi} or return;
            $unfinished->_finish;
            $unfinished->close;
        }
    );
    return;
}

# The body of that thread.
sub _run_thread {
    my ( $callback, $running ) = @_;
    Coro::on_enter( \&HTTP::Server::EV::BufTie::_resume );
    eval {
        my $cgi = $running->{cgi};
        $cgi->close if _run_callback( $callback, $cgi );
        1;
    } or _warn_of($@);
    delete $running->{cgi};
    return;
}

# Whether this is one of those threads.
sub _is_in_thread {
    no warnings 'once';
    return $Coro::current && $is_thread{"$Coro::current"};
}

# The exception's own string, and a handler of `$SIG{__WARN__}`, may die in their turn.
sub _warn_of {
    my ($exception) = @_;
    my $text        = eval { "$exception" } // q{};
    eval { warn "ERROR IN CALLBACK: $text" };
    return;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::PortListener - One listening socket

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    my $listener = HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;
        $cgi->header;
        $cgi->print('Hello!');
    });

    # No new clients for the next ten seconds.
    $listener->stop;
    my $timer = EV::timer 10, 0, sub { $listener->start };

    EV::run;

=head1 DESCRIPTION

What L<HTTP::Server::EV/listen> returns. The object is the hash of options that was given
to it; L<HTTP::Server::EV/OPTIONS> and L<HTTP::Server::EV/CALLBACKS> describe them.
C<threading> and the callbacks are read for each request, so that they may be changed later;
but C<on_file_write> has to be there from the beginning. All other options are read once, by
C<listen>.

A listener lives as long as the process, whether you keep the object or not, and whether it
is in C<%HTTP::Server::EV::listeners> or not. To be rid of one, call L</stop>.

The hash may be the options of another C<listen> as well, as it is or copied: each call makes
a listener of its own.

Besides the options the hash has these keys:

=over

=item C<cb>

The main callback. It may be changed.

=item C<port>

The number of the port. For a socket in the file system, the first argument of C<listen>.

=item C<ptr>

A number that names the listener for the functions in L<HTTP::Server::EV/FUNCTIONS>.

=item C<socket>

A handle of the listening socket: the one that the option C<socket> gave, or one that
C<listen> has made.

=item C<stopped>

1 if the listener is stopped, else 0. To be read only.

=back

=head1 METHODS

=head2 start

    $listener->start;

Accepts connections again. Returns nothing.

Dies with C<not an HTTP::Server::EV::PortListener> if it is called on something else.

=head2 stop

    $listener->stop;
    $listener->stop(sub { warn 'All clients are served' });

Accepts no more connections until L</start>. Clients that connect meanwhile wait in the queue
of the socket. Connections that are at no request are closed; the others finish the
request they are at, whose reply is then their last. When no connection is left,
L<HTTP::Server::EV/on_drained> and the callback are called, from the loop, with the listener; not
before that if the listener is started again. Returns nothing.

A client may take as long for its last request and reply as the listener's timeouts let it:
L<HTTP::Server::EV/header_timeout>, which is off unless set, bounds what one that sends byte by
byte can hold up.

C<EV::run> returns when all listeners are stopped, no connection is left, and nothing
else is watched: that is a way to end a program without cutting off a client.

Dies with C<not an HTTP::Server::EV::PortListener> if it is called on something else, and with
C<stop takes a code reference>.

=head1 SEE ALSO

L<HTTP::Server::EV>, L<HTTP::Server::EV::CGI>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
