package Death::Children;

# Processes that none outlives the one that has begun them, however that ends.

use strict;
use warnings;

use Carp         qw(croak);
use Exporter     qw(import);
use POSIX        ();
use Scalar::Util qw(weaken);

our @EXPORT_OK = qw(begin_child end_children is_dead wait_for_child);

# What asks the parent to end.
my @SIGNALS = qw(HUP INT TERM);

# Those not waited for; and the ends of pipes that are the parent's alone, so that a child
# sees the end of its parent.
my ( %children, @parents_ends );

# begin_child( $work, @ends ): in a process group of its own, which does not have these ends
# of pipes, nor those of other children. Returns its number.
sub begin_child {
    my ( $work, @ends ) = @_;
    defined( my $pid = fork ) or croak "fork: $!";
    if ( !$pid ) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for @SIGNALS;  ## no critic (RequireLocalizedPunctuationVars)
        close $_ for grep { defined } @parents_ends, @ends;
        %children = ();
        $work->();
        POSIX::_exit(255);
    }
    setpgrp $pid, $pid;
    $children{$pid} = 1;
    @parents_ends = grep { defined } @parents_ends;
    for my $end (@ends) {
        push @parents_ends, $end;
        weaken( $parents_ends[-1] );
    }
    return $pid;
}

# Its status, as waitpid gives it.
sub wait_for_child {
    my ($pid) = @_;
    waitpid $pid, 0;
    delete $children{$pid};
    return $?;
}

# Whether no process of the child's group holds anything any more, as files and locks. The
# system takes these from a killed one bit by bit, in any order.
sub is_dead {
    my ($pid) = @_;
    for my $process ( glob '/proc/[0-9]*' ) {
        open my $file, '<', "$process/stat" or next;
        my ($words) = ( readline($file) // q{} ) =~ /.*[)] (.*)/ or next;
        my ( $state, $group, $threads ) = ( split q{ }, $words )[ 0, 2, 17 ];
        return 0 if $group == $pid && ( $state ne 'Z' || $threads > 1 );
    }
    return 1;
}

# Kills all that are left, and the processes that they have forked.
sub end_children {
    local ( $?, $! );
    my @left = keys %children;
    kill KILL => map { ( -$_, $_ ) } @left;
    wait_for_child($_) for @left;
    return;
}

1;
