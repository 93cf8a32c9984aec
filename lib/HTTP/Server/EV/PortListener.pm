package HTTP::Server::EV::PortListener;

# One listening socket, and how its main callback is run.

use strict;
use warnings;

our $VERSION = '1.000';

sub CLONE_SKIP { return 1 }

# Called by the core with a complete request. The label is what
# `HTTP::Server::EV::CGI::next` jumps to, out of any depth of the callback.
sub _run_callback {
    my ( $callback, $cgi ) = @_;
    my $left_by_next = 1;
  NEXT_REQ: {
        eval { $callback->($cgi); 1 } or warn "ERROR IN CALLBACK: $@";
        $left_by_next = 0;
    }
    $cgi->close if $left_by_next;
    return;
}

# The same in a thread of its own, for listeners with `threading`.
sub _run_callback_in_thread {
    my ( $callback, $cgi ) = @_;
    require Coro;
    Coro::async( \&_run_callback, $callback, $cgi );
    return;
}

1;
