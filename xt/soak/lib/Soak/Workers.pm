package Soak::Workers;

# Forked workers on listeners that the parent does not serve: some are killed, others are
# asked to stop gracefully; whoever ends is replaced.

use strict;
use warnings;

use EV;
use HTTP::Server::EV;
use POSIX ();

use Soak::Application ();
use Soak::Listeners   ();
use Soak::Replies     ();
use Soak::State       qw(after count);
use Soak::Uploads     ();

# So many serve each listener.
my $WORKERS = 2;

# By the name of the listener: how its workers end, and their processes. A signal that kills
# them is their status, too.
my %groups = (
    killed  => { ends_by => [qw(KILL TERM KILL INT)], processes => {} },
    retired => { ends_by => ['USR1'],                 processes => {} },
);

my $RETIRE = POSIX::SigSet->new(POSIX::SIGUSR1);

my %KILLS = map { $_ => 1 } POSIX::SIGKILL(), POSIX::SIGTERM(), POSIX::SIGINT();

# Only the parent can write there: its end is seen by the workers.
my ( $parents_end, $parents_life );

my ( $directory, $is_worker, $is_over, @watchers, @also_forget );

# Those that were killed; and those that have ended in no way that was meant.
my ( @killed, @failed );

# Opens the listeners and forks the first workers, in fork_hook; returns true in one of them.
sub open_all {
    ($directory) = @_;
    pipe $parents_end, $parents_life or die "pipe: $!";
    for my $name ( sort keys %groups ) {
        my $listener = Soak::Listeners::add(
            $name => Soak::Listeners::brought(),
            {
                fork_hook => sub {
                    for ( 1 .. $WORKERS ) {
                        return if fork_worker($name);
                    }
                }
            },
            { cuts => $name eq 'killed', pauses => 1 }
        );
        return 1 if $is_worker;
        $listener->stop;
    }
    Soak::Application::grants( end_worker => sub { end_one( $_[0]->get('name')->[0] ) } );
    return;
}

# What a worker lets go of when it is forked later.
sub also_forget {
    push @also_forget, @_;
    return;
}

sub is_worker { return $is_worker }

sub processes {
    return map { keys %{ $_->{processes} } } values %groups;
}

# For the run: the processes that were killed, and texts on those that have failed.
sub killed { return @killed }
sub failed { return @failed }

# Ends one, but only if none is missing: the others have to serve meanwhile.
sub end_one {
    my ($name)    = @_;
    my $group     = $groups{$name};
    my @processes = sort keys %{ $group->{processes} };
    return 'one is missing' if $is_worker || @processes < $WORKERS;
    my $by = $group->{ends_by}[ rand @{ $group->{ends_by} } ];
    count("workers ended by $by");
    kill $by => $processes[ rand @processes ];
    return $by;
}

# No more are forked, and all finish what they are at.
sub retire_all {
    $is_over = 1;
    kill USR1 => processes();
    return;
}

# In the middle of a nested loop, and with threads that are about to run, a worker would go
# on with what the parent is at.
sub replace {
    my ($name) = @_;
    return if $is_over;
    return after( 0.001, sub { replace($name) } )
      if Soak::Replies::is_nested() || $INC{'Coro.pm'} && Coro::nready();
    return if !fork_worker($name);
    Soak::Listeners::stop_others($name);
    Soak::Listeners::listener($name)->start;
    return;
}

# Returns true in the worker.
sub fork_worker {
    my ($name) = @_;
    count('workers forked');

    # One that is told to end before it knows how would be killed by that.
    POSIX::sigprocmask( POSIX::SIG_BLOCK, $RETIRE );
    defined( my $pid = fork ) or die "fork: $!";
    become_worker() if !$pid;
    POSIX::sigprocmask( POSIX::SIG_UNBLOCK, $RETIRE );
    return 1 if !$pid;
    my $processes = $groups{$name}{processes};
    $processes->{$pid} = EV::child(
        $pid, 0,
        sub {
            my ($watcher) = @_;
            delete $processes->{$pid};
            note_end( $name, $pid, $watcher->rstatus );
            replace($name);
        }
    );
    return 0;
}

sub note_end {
    my ( $name, $pid, $status ) = @_;
    return if $status == 0;
    if ( $name eq 'killed' && $KILLS{$status} ) {
        push @killed, $pid;
        return;
    }
    push @failed, "A worker of '$name' has ended with status $status";
    return;
}

# A worker that is killed may leave files: saved ones for ever, temporary ones until others
# use the directory.
sub become_worker {
    $is_worker = 1;
    Soak::State::forget();
    $_->() for @also_forget;
    %{ $_->{processes} } = () for values %groups;
    close $parents_life;
    @watchers = (
        EV::signal( 'USR1', \&retire ),
        EV::io( $parents_end, EV::READ(), sub { POSIX::_exit(1) } ),
    );
    $_->keepalive(0) for @watchers;
    $HTTP::Server::EV::tmp_path = "$directory/workers";
    Soak::Uploads::save_to("$directory/saved-by-workers");
    return;
}

# One that is told again would be killed by that, once its watcher has gone.
sub retire {
    POSIX::sigprocmask( POSIX::SIG_BLOCK, $RETIRE );
    HTTP::Server::EV->new->stop;
    return;
}

1;
