# Bench::Process: what a process and its children spend, and that all of them end.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use File::Temp;
use Test::More;
use Time::HiRes qw(sleep);

use Bench::Process;

my $log = File::Temp->new;

sub started {
    my $code = shift;
    return Bench::Process->start(
        command  => [ $^X, '-e', $code ],
        log      => "$log",
        patience => 0.3
    );
}

# Whether a process exists and is more than an entry nobody has waited for yet.
sub runs {
    my $pid = shift;
    open my $handle, '<', "/proc/$pid/stat" or return 0;
    my $stat = <$handle>;
    return defined $stat && $stat !~ /[)] Z/;
}

# Waits until a condition holds, for as long as the process runs.
sub wait_for {
    my ( $process, $condition ) = @_;
    until ( $condition->() ) {
        return 0 if !$process->is_running;
        sleep 0.01;
    }
    return 1;
}

my $SPIN = 'my $n = 0; 1 while times < 0.2 && ++$n;';

subtest 'counts the time of a running process' => sub {
    my $process = started("$SPIN sleep 600");
    ok wait_for( $process, sub { $process->cpu_seconds >= 0.2 } ), 'all of it';
    my ( $user, $system ) = $process->cpu_split;
    cmp_ok $user + $system,       '>', 0,       'user and system';
    cmp_ok $process->peak_memory, '>', 1024**2, 'peak memory in bytes';
    $process->stop;
};

subtest 'counts children, running and ended' => sub {
    my $process = started("fork or do { $SPIN sleep 600 }; sleep 600");
    ok wait_for( $process, sub { $process->cpu_seconds >= 0.2 } ), 'running';
    is scalar( $process->tree ), 2, 'two processes';
    $process->stop;

    $process = started("fork or do { $SPIN exit }; wait; sleep 600");
    ok wait_for( $process, sub { $process->tree == 1 && $process->cpu_seconds >= 0.19 } ),
      'ended';
    $process->stop;
};

subtest 'stop ends the whole tree' => sub {
    for my $case ( [ polite => q{} ], [ stubborn => '$SIG{TERM} = "IGNORE"; ' ] ) {
        my ( $name, $prepare ) = @{$case};
        my $process = started("$prepare fork; sleep 600");
        ok wait_for( $process, sub { $process->tree == 2 } ), "$name: two processes";
        my @pids = $process->tree;
        undef $process;
        sleep 0.01 while grep { runs($_) } @pids;
        pass "$name: none is left when the object is gone";
    }
};

subtest 'a command that cannot run' => sub {
    my $process = Bench::Process->start( command => ['/nonexistent'], log => "$log" );
    sleep 0.01 while $process->is_running;
    is $process->cpu_seconds, 0, 'spends nothing';
    is $process->peak_memory, 0, 'keeps nothing';
};

done_testing;
