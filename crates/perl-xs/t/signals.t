# Handlers of signals that come while Rust runs wait until it has returned, whatever they do.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Config;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

# Seconds for what happens at once, or else never.
my $PATIENCE = 10;

my $handled = 0;

sub set {
    my ( $name, $handler, $flags ) = @_;
    my $number = POSIX->can("SIG$name")->();
    my $action = POSIX::SigAction->new( $handler, POSIX::SigSet->new, $flags || 0 );
    POSIX::sigaction( $number, $action ) or die "sigaction: $!";
}

# Before the extension is loaded.
BEGIN {
    set( HUP => sub { $handled++; die "early\n" } );
}
use Example;

# Sends this process signals while Rust runs; how often Rust has come to its end there.
sub get_signals {
    my ( $name, $times ) = @_;
    my $before = Example::Probe::finished();
    my $lived  = eval {
        Example::Probe::run(
            "i=0; while [ \$i -lt $times ]; do kill -$name $$; i=\$((i + 1)); done");
        1;
    };
    return ( $lived ? 'lived' : $@, Example::Probe::finished() - $before );
}

is_deeply [ get_signals( HUP => 1 ) ], [ "early\n", 1 ],
  'die, in a handler that was there before the extension';
is $handled, 1, 'which ran once';

set( USR1 => sub { $handled++; die "immediate\n" } );
is_deeply [ get_signals( USR1 => 1 ) ], [ "immediate\n", 1 ], 'die';
is $handled, 2, 'once';

set( USR1 => sub { $handled++; die "with information\n" }, POSIX->can('SA_SIGINFO')->() );
is_deeply [ get_signals( USR1 => 1 ) ], [ "with information\n", 1 ],
  'die, with SA_SIGINFO';
is $handled, 3, 'once';

set( USR1 => sub { $handled++; Example::Probe::run(':') } );
is_deeply [ get_signals( USR1 => 1 ) ], [ 'lived', 2 ], 'a call of the same function';
is $handled, 4, 'once';

$handled = 0;
is_deeply [ get_signals( USR1 => 300 ) ], [ 'lived', 2 ], '300 of them';
is $handled, 1, 'are one';

{
    local $SIG{USR2} = sub { $handled++ };
    is_deeply [ get_signals( USR2 => 300 ) ], [ 'lived', 1 ], '300 for a handler in %SIG';
    is $handled, 2, 'are one';
}

my @order;
set( USR1 => sub { push @order, 'handler' } );
Example::apply(
    sub {
        kill USR1 => $$;
        push @order, 'code';
    }
);
is_deeply \@order, [qw(handler code)],
  'Perl code that Rust calls is interrupted as any other is';

{
    local $ENV{PERL_SIGNALS} = 'unsafe';
    my $program = <<'PROGRAM';
$SIG{USR1} = sub { die "unsafe\n" };
eval { Example::Probe::run("kill -USR1 $$") };
print Example::Probe::finished(), " $@";
PROGRAM
    open my $output, '-|', $^X, map( { "-I$_" } @INC ), '-MExample', '-e', $program
      or die "fork: $!";
    is join( q{}, <$output> ), "1 unsafe\n", 'with PERL_SIGNALS=unsafe';
    close $output;
}

@order = ();
set( USR1 => sub { push @order, 'first'; die "first\n" } );
set( USR2 => sub { push @order, 'second' } );
my $lived = eval { Example::Probe::run("kill -USR1 $$; kill -USR2 $$"); 1 };
ok !$lived, 'a handler dies';
sleep $PATIENCE if @order < 2;
is_deeply \@order, [qw(first second)], 'and holds up no other';

# What ends a read that only an immediate handler can end.
sub ended_by {
    pipe my $reader, my $writer or die "pipe: $!";
    set( USR1 => sub { syswrite $writer, 'the handler' }, POSIX::SA_RESTART() );
    my $parent = $$;
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        sleep 0.001 until is_asleep($parent);
        kill USR1 => $parent;
        sleep $PATIENCE;
        syswrite $writer, 'the end of patience';
        POSIX::_exit(0);
    }
    sysread $reader, my $ended_by, 100;
    kill KILL => $pid;
    waitpid $pid, 0;
    return $ended_by;
}

# See proc(5).
sub is_asleep {
    my ($pid) = @_;
    open my $status, '<', "/proc/$pid/stat" or return 1;
    return readline($status) =~ /\) S /;
}

is ended_by(), 'the handler', 'Perl code that waits is interrupted';
SKIP: {
    skip 'Coro does not know what a perl for debugging keeps for each thread', 2
      if grep { $_ eq 'DEBUGGING' } Config::non_bincompat_options();
    skip 'Coro is not there', 2 if !eval { require Coro };
    my $other = Coro::async(
        sub {
            Example::apply( sub { Coro::cede() } );
        }
    );
    Example::apply( sub { Coro::cede() } );
    $other->join;
    is ended_by(), 'the handler', 'when threads of Coro were in Rust by turns, too';

    my $cancelled = Coro::async(
        sub {
            Example::apply( sub { Coro::schedule() } );
        }
    );
    Coro::cede();
    $cancelled->cancel;
    my $ended_by;
    Coro::async( sub { $ended_by = ended_by() } )->join;
    is $ended_by, 'the handler', 'and when one was cancelled there';
}

SKIP: {
    skip 'this perl has no threads', 1 if !$Config{useithreads};
    my $program = <<'PROGRAM';
use threads;
use POSIX qw(SIG_BLOCK SIG_UNBLOCK SIGUSR1);
alarm shift;
$SIG{USR1} = sub { };
my $signals = POSIX::SigSet->new(SIGUSR1);
POSIX::sigprocmask( SIG_BLOCK, $signals );
for ( 1 .. 40 ) {
    pipe my $reader, my $writer;
    my $thread = threads->create(
        sub {
            syswrite $writer, 'x';
            POSIX::sigprocmask( SIG_UNBLOCK, $signals );
            my @memory;
            @memory = map { 'x' x ( 2000 + 7 * $_ ) } 1 .. 200 for 1 .. 100;
        }
    );
    sysread $reader, my $byte, 1;
    select undef, undef, undef, 0.002 + rand 0.01;
    kill USR1 => $$;
    $thread->join;
}
print 'ended';
PROGRAM
    open my $output, '-|', $^X, map( { "-I$_" } @INC ), '-MExample', '-e', $program,
      6 * $PATIENCE
      or die "fork: $!";
    is join( q{}, <$output> ), 'ended',
      'Threads that have not been in Rust are interrupted while they allocate memory';
    close $output;
}

done_testing;
