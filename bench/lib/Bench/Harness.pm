# Runs a workload against every peer in turn, round by round, and collects what each round cost.
package Bench::Harness;

use strict;
use warnings;

use File::Find  qw(find);
use Time::HiRes qw(sleep time);

use constant {
    QUIET_CPU_SECONDS => 0.001,        # per QUIET_INTERVAL: what an idle server may use
    QUIET_INTERVAL    => 0.05,         # seconds
    QUIET_PATIENCE    => 15,           # seconds
    QUIET_BYTES       => 64 * 1024,    # logs and the like that may have grown
};

# peers => [Bench::Peer...], all started; workload => Bench::Workload.
sub new {
    my ( $class, %options ) = @_;
    return bless {%options}, $class;
}

# Sets up every peer, and has it work once without counting that; then the rounds, each beginning
# with another of the peers that are left. Returns a hash of the peers' labels to lists of rounds; a
# peer that fails is taken out, and the rounds it missed are undef. A round: cpu, user, system
# (seconds per unit of work), peak, private (bytes), and what the workload measured.
sub run {
    my $self = shift;

    my $workload = $self->{workload};
    my $rounds   = $workload->rounds;
    _attempt( $_, sub { $workload->set_up($_); 1 } ) for @{ $self->{peers} };
    my %results;
    for my $round ( ( $workload->warms_up ? 0 : 1 ) .. $rounds ) {
        _note( $round ? "  Round $round of $rounds:" : '  Warming up:' );
        for my $peer ( $self->_order($round) ) {
            _note( q{ } . $peer->label );
            my $measured = _attempt( $peer, sub { $self->_measure($peer) } );
            $results{ $peer->label }[ $round - 1 ] = $measured
              if $round && $measured;
        }
        _note("\n");
    }
    return \%results;
}

# What the code returns; takes the peer out if the code dies.
sub _attempt {
    my ( $peer, $code ) = @_;
    my $result = eval { $code->() };
    $peer->fail( _one_line($@) ) if !$result;
    return $result;
}

sub _measure {
    my ( $self, $peer ) = @_;

    $self->{workload}->prepare($peer);
    my $process = $peer->process;
    my $stored  = _stored_bytes( $peer->directory );
    my @before  = ( $process->cpu_seconds, $process->cpu_split );
    my $figures = $self->{workload}->measure($peer);
    _settle( $peer, $stored );
    die "the server ended\n" if !$process->is_running;
    my @after = ( $process->cpu_seconds, $process->cpu_split );

    my @spent =
      map { ( $after[$_] - $before[$_] ) / $figures->{units} } 0 .. $#after;
    return {
        cpu     => $spent[0],
        user    => $spent[1],
        system  => $spent[2],
        peak    => $process->peak_memory,
        private => $process->private_memory,
        %{$figures},
    };
}

sub _note {
    my $text = shift;
    return print {*STDERR} $text;
}

sub _one_line {
    my ($line) = shift =~ /(\S.*)/;
    return defined $line ? $line : 'failed';
}

sub _order {
    my ( $self, $round ) = @_;
    my @peers = grep { !$_->failure } @{ $self->{peers} };
    return if !@peers;
    my $first = $round % @peers;
    return @peers[ $first .. $#peers, 0 .. $first - 1 ];
}

# A reply may be out before the work is over: files are removed, memory is given back. That is part
# of the cost, and must not fall into the next peer's time.
sub _settle {
    my ( $peer, $stored ) = @_;

    my $deadline = time + QUIET_PATIENCE;
    my $before   = $peer->process->cpu_seconds;
    while ( time < $deadline ) {
        sleep QUIET_INTERVAL;
        my $now   = $peer->process->cpu_seconds;
        my $quiet = $now - $before < QUIET_CPU_SECONDS;
        return
          if $quiet
          && _stored_bytes( $peer->directory ) <= $stored + QUIET_BYTES;
        $before = $now;
    }
    die "does not come to rest, or leaves files behind\n";
}

sub _stored_bytes {
    my $directory = shift;
    my $bytes     = 0;
    find(
        {
            no_chdir => 1,
            wanted   => sub { $bytes += -s _ || 0 if lstat && -f _ }
        },
        $directory
    );
    return $bytes;
}

1;
