# A server under measurement: started on one core, accounted with all its children, stopped by pid.
package Bench::Process;

use strict;
use warnings;

use Carp        qw(croak);
use POSIX       qw(SIGKILL SIGTERM WNOHANG setsid);
use Time::HiRes qw(clock_gettime sleep time);

use constant {
    SCHEDULER_CLOCK => 2,       # CPUCLOCK_SCHED of the kernel's posix-timers.h
    POLL_INTERVAL   => 0.02,    # seconds
    STOP_PATIENCE   => 5,       # seconds
};

my $TICKS_PER_SECOND = POSIX::sysconf( POSIX::_SC_CLK_TCK() );

# Starts a command: command => [...], core => number or undef, log => path of its output,
# environment => { variables }, patience => seconds it may take to end when it is stopped.
sub start {
    my ( $class, %options ) = @_;

    my @command = @{ $options{command} };
    unshift @command, 'taskset', '--cpu-list', $options{core}
      if defined $options{core};

    my $pid = fork;
    croak "fork: $!"                                          if !defined $pid;
    _become( $options{log}, $options{environment}, @command ) if !$pid;
    return bless {
        pid      => $pid,
        owner    => $$,
        patience => $options{patience} || STOP_PATIENCE
      },
      $class;
}

# CPU seconds, user and system together, of every thread of every process of the tree, in
# nanosecond steps. Children that have ended are in it, in steps of a clock tick, once their parent
# has waited for them.
sub cpu_seconds {
    my $self = shift;

    my $seconds = 0;
    for my $pid ( $self->tree ) {
        my $stat = _stat($pid) or next;
        my $own  = clock_gettime( _cpu_clock($pid) );
        next if $own < 0;
        $seconds +=
          $own + ( $stat->{cutime} + $stat->{cstime} ) / $TICKS_PER_SECOND;
    }
    return $seconds;
}

# (user, system) CPU seconds of the tree, in steps of a clock tick.
sub cpu_split {
    my $self = shift;

    my ( $user, $system ) = ( 0, 0 );
    for my $stat ( grep { defined } map { _stat($_) } $self->tree ) {
        $user   += $stat->{utime} + $stat->{cutime};
        $system += $stat->{stime} + $stat->{cstime};
    }
    return map { $_ / $TICKS_PER_SECOND } $user, $system;
}

sub is_running {
    my $self = shift;
    return 0           if $self->{ended};
    $self->{ended} = 1 if waitpid( $self->{pid}, WNOHANG ) == $self->{pid};
    return !$self->{ended};
}

# Bytes: the greatest resident size each process of the tree has had, added up.
sub peak_memory {
    my $self = shift;

    my $bytes = 0;
    for my $pid ( $self->tree ) {
        my ($kibibytes) = _read("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
        $bytes += 1024 * ( $kibibytes || 0 );
    }
    return $bytes;
}

sub pid { return shift->{pid} }

# Bytes: the pages that each process of the tree has written to and shares with nobody, added up.
sub private_memory {
    my $self = shift;

    my $bytes = 0;
    for my $pid ( $self->tree ) {
        my ($kibibytes) =
          _read("/proc/$pid/smaps_rollup") =~ /^Private_Dirty:\s+(\d+) kB/m;
        $bytes += 1024 * ( $kibibytes || 0 );
    }
    return $bytes;
}

# Ends the whole tree, politely first.
sub stop {
    my $self = shift;
    return if $$ != $self->{owner} || $self->{stopped}++;

    my @pids = $self->tree;
    kill SIGTERM, @pids;
    my $deadline = time + $self->{patience};
    while ( time < $deadline ) {
        my $running = $self->is_running;
        return if !$running && !grep { _stat($_) } @pids;
        sleep POLL_INTERVAL;
    }
    kill SIGKILL, grep { _stat($_) } @pids;
    waitpid $self->{pid}, 0 if !$self->{ended};
    $self->{ended} = 1;
    return;
}

# The pids of the process and of all its descendants.
sub tree {
    my $self = shift;
    return if !$self->is_running;

    my %children;
    for my $directory ( glob '/proc/[0-9]*' ) {
        my ($pid) = $directory =~ /(\d+)\z/;
        my $stat = _stat($pid) or next;
        push @{ $children{ $stat->{ppid} } }, $pid;
    }
    my @found   = ( $self->{pid} );
    my @pending = @found;
    while ( defined( my $pid = shift @pending ) ) {
        my @next = @{ $children{$pid} || [] };
        push @found,   @next;
        push @pending, @next;
    }
    return @found;
}

sub DESTROY {
    my $self = shift;
    local ( $@, $!, $? );
    $self->stop;
    return;
}

# In the child: a session of its own, so that a Ctrl-C is the harness's to handle.
sub _become {
    my ( $log, $environment, @command ) = @_;
    setsid();
    local @ENV{ keys %{ $environment || {} } } = values %{ $environment || {} };
    open STDIN,  '<',  '/dev/null' or POSIX::_exit(126);
    open STDOUT, '>>', $log        or POSIX::_exit(126);
    open STDERR, '>&', \*STDOUT    or POSIX::_exit(126);
    { no warnings 'exec'; exec { $command[0] } @command }
    print {*STDERR} "$command[0]: $!\n";
    STDERR->flush;
    return POSIX::_exit(127);
}

# The clock id of a process's CPU time, as clock_getcpuclockid(3) makes it.
sub _cpu_clock {
    my $pid = shift;
    return -8 * ( $pid + 1 ) + SCHEDULER_CLOCK;
}

sub _read {
    my $path = shift;
    open my $handle, '<', $path or return q{};
    local $/;
    my $content = <$handle>;
    return defined $content ? $content : q{};
}

# proc_pid_stat(5); the name of the command may hold spaces and parentheses.
sub _stat {
    my $pid = shift;
    my ($fields) = _read("/proc/$pid/stat") =~ /\)\s+(.*)/ or return;
    my %stat;
    @stat{qw(state ppid utime stime cutime cstime)} =
      ( split q{ }, $fields )[ 0, 1, 11 .. 14 ];
    return $stat{state} eq 'Z' ? undef : \%stat;
}

1;
