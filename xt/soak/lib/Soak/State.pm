package Soak::State;

# What the application holds on to: kept objects, timers and other watchers, and how many
# of its guarded objects live; and what it has counted.

use strict;
use warnings;

use EV;
use Exporter qw(import);

our @EXPORT_OK = qw(after between count guard keep let_go release watch);

# So many things are kept at a time, and for so many seconds at most.
my $KEPT    = 8;
my $SECONDS = 0.5;

# Objects of callers that live on, in the order they came; and watchers, by number.
my ( @kept, %watchers, $number );

# By kind: guards that have not been destroyed, and what has happened.
my ( %live, %count );

# Calls back later from the loop.
sub after {
    my ( $seconds, $callback ) = @_;
    my $key = ++$number;
    $watchers{$key} =
      EV::timer( $seconds, 0, sub { delete $watchers{$key}; $callback->() } );
    return;
}

# A random number of seconds up to that many.
sub between { return rand $_[0] }

sub count {
    my ( $what, $amount ) = @_;
    $count{$what} += $amount // 1;
    return;
}

# A guard to be put into an object of this kind: both go together.
sub guard {
    my ($kind) = @_;
    $live{$kind}++;
    return bless \$kind, __PACKAGE__ . '::Guard';
}

# Holds something for a while, or until others push it out.
sub keep {
    my ($object) = @_;
    push @kept, $object;
    shift @kept if @kept > $KEPT;
    after( between($SECONDS), \&release );
    return;
}

# Lets go of what was kept longest.
sub release {
    shift @kept;
    return;
}

# Lets go of all that is kept.
sub let_go {
    splice @kept;
    return;
}

# Has a watcher live until its own callback tells it to go: watch( sub ($done) { watcher } )
sub watch {
    my ($make) = @_;
    my $key = ++$number;
    $watchers{$key} = $make->( sub { delete $watchers{$key} } );
    return;
}

# In a forked child: what the parent goes on with is not the child's.
sub forget {
    splice @kept;
    %watchers = ();
    return;
}

# For the run: what is there now, all of which is to be gone when traffic rests.
sub held {
    return {
        kept     => scalar @kept,
        watchers => scalar keys %watchers,
        map { ( "live $_" => $live{$_} ) } keys %live
    };
}

sub counted { return \%count }

package Soak::State::Guard;

sub DESTROY {
    my ($self) = @_;
    $live{ ${$self} }--;
    return;
}

1;
