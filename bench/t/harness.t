# Bench::Harness: whose turn it is, what a failure does, and what a round is made of.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use File::Temp;
use Test::More;

use Bench::Harness;

my $directory = File::Temp->newdir;
my @turns;

# A peer that spends one CPU second, half of it in the kernel, on every measurement.
{

    package Local::Peer;

    sub new {
        my ( $class, $name ) = @_;
        return bless { name => $name, spent => 0 }, $class;
    }
    sub label     { return shift->{name} }
    sub directory { return "$directory" }
    sub fail      { my ( $self, $reason ) = @_; $self->{failure} = $reason; return }
    sub failure   { return shift->{failure} }
    sub name      { return shift->{name} }
    sub process   { return shift }

    sub cpu_seconds    { return shift->{spent} }
    sub peak_memory    { return 300 }
    sub private_memory { return 200 }
    sub cpu_split  { my $self = shift; return ( $self->{spent} / 2, $self->{spent} / 2 ) }
    sub is_running { return 1 }
}

{

    package Local::Workload;
    sub new     { my ( $class, $bad ) = @_; return bless { bad => $bad }, $class }
    sub prepare { return }
    sub rounds  { return 2 }

    sub set_up {
        my ( $self, $peer ) = @_;
        die "unfit\n" if $peer->name eq 'unfit';
        return;
    }
    sub warms_up { return 1 }

    sub measure {
        my ( $self, $peer ) = @_;
        push @turns, $peer->name;
        die "no answer\n" if $peer->name eq $self->{bad};
        $peer->{spent}++;
        return { speed => 7, units => 4 };
    }
}

sub outcome {
    my ( $bad, @names ) = @_;
    @turns = ();
    my @peers = map { Local::Peer->new($_) } @names;
    open my $quiet, '>', '/dev/null' or die $!;
    local *STDERR = $quiet;
    my $results = Bench::Harness->new(
        peers    => \@peers,
        workload => Local::Workload->new($bad)
    )->run;
    return ( $results, @peers );
}

subtest 'each round begins with another peer' => sub {
    my ($results) = outcome( q{}, qw(a b c) );
    is "@turns", 'a b c b c a c a b', 'turns';
    my $round = {
        cpu     => 0.25,
        user    => 0.125,
        system  => 0.125,
        peak    => 300,
        private => 200,
        speed   => 7,
        units   => 4
    };
    is_deeply $results->{a}, [ $round, $round ],
      'two rounds, per unit, without the warm-up';
};

subtest 'a peer that fails is left out from then on' => sub {
    my ( $results, @peers ) = outcome( 'a', qw(a b c) );
    is "@turns",           'a b c c b b c', 'turns of those that are left';
    is $peers[0]->failure, 'no answer',     'reason';
    ok !$results->{a}, 'no rounds';
};

subtest 'a peer that cannot be set up has no turn' => sub {
    my ( $results, @peers ) = outcome( q{}, qw(a unfit) );
    is "@turns",           'a a a', 'turns of the other';
    is $peers[1]->failure, 'unfit', 'reason';
};

done_testing;
