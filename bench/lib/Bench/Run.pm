# A whole run: each workload with its servers, and the record of what was measured.
package Bench::Run;

use strict;
use warnings;

use File::Temp;

use Bench::Harness;
use Bench::Machine qw(build);

# peers => [Bench::Peer...], workloads => [Bench::Workload...], root => the tree that is built,
# core => of the servers, or undef, memory, disk => directories for the servers' files.
sub new {
    my ( $class, %options ) = @_;
    return bless {%options}, $class;
}

# Runs everything. Returns what Bench::Report shows, for each workload:
# name, title, description, columns, chart, references, and a row for each server with its
# label, failure, notes, and the rounds as Bench::Harness has them.
sub run {
    my $self = shift;
    return [ map { $self->_run_workload($_) } @{ $self->{workloads} } ];
}

# Name, purpose and version of every server that is there for one of the workloads.
sub servers {
    my $self = shift;
    return [
        map { { name => $_->name, purpose => $_->purpose, version => $_->version } }
          grep {
            my $peer = $_;
            grep { $peer->is_for( $_->name ) } @{ $self->{workloads} }
          } @{ $self->{peers} }
    ];
}

sub _run_workload {
    my ( $self, $workload ) = @_;
    print {*STDERR} $workload->title, "\n";
    my $started = time;

    my @peers =
      map { $workload->contestants($_) }
      grep { $_->is_for( $workload->name ) } @{ $self->{peers} };
    my $base      = $workload->needs_disk ? $self->{disk} : $self->{memory};
    my $directory = File::Temp->newdir( 'bench-XXXXXX', DIR => $base );
    $self->_start( $_, $workload, "$directory" ) for @peers;
    my $rounds = Bench::Harness->new(
        peers    => [ grep { !$_->failure } @peers ],
        workload => $workload
    )->run;
    $_->stop for @peers;
    printf {*STDERR} "  %d s\n", time - $started;

    return {
        base        => scalar $workload->base,
        chart       => $workload->chart,
        columns     => [ $workload->columns ],
        description => $workload->description,
        name        => $workload->name,
        references  => [ $workload->references ],
        rows        => [ map { _row( $_, $rounds->{ $_->label } ) } @peers ],
        title       => $workload->title,
    };
}

sub _row {
    my ( $peer, $rounds ) = @_;
    return {
        base    => $peer->base,
        failure => $peer->failure,
        label   => $peer->label,
        name    => $peer->name,
        notes   => [ $peer->notes ],
        rounds  => $peer->failure ? [] : $rounds,
    };
}

sub _start {
    my ( $self, $peer, $workload, $directory ) = @_;
    my $obstacle = $workload->obstacle($peer);
    return $peer->fail($obstacle) if defined $obstacle;

    my $started = eval {
        build( $peer->build_command, $self->{root} ) if $peer->build_command;
        $peer->start(
            core      => scalar $workload->server_core( $self->{core} ),
            directory => $directory,
            handler   => $workload->handler,
        );
        1;
    };
    return if $started;
    my ($reason) = $@ =~ /(\S.*)/;
    return $peer->fail($reason);
}

1;
