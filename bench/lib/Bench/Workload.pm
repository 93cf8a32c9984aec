# What all workloads have in common: the base class of those in Bench/Workload.
package Bench::Workload;

use strict;
use warnings;
use utf8;

use constant MEBIBYTE => 1024**2;    # bytes

# client => path of the load client, core => number or undef, rounds => number,
# seconds => how long a measurement takes, directory => for files of the load,
# warm_up => whether there is a round before that is not counted,
# and what a workload has of its own.
sub new {
    my ( $class, %options ) = @_;
    return bless {%options}, $class;
}

# What the row that a row is compared with is called in the heading, where rows have one.
sub base { return }

# What the chart shows: the key of a column, and what is written under it.
sub chart {
    return { key => 'cpu', label => 'CPU µs per request; less is better' };
}

# The columns of the table, from left to right: the key of the figure, the heading, what
# it is multiplied by, the digits after the point, and for some the spread of the rounds.
sub columns {
    return (
        {
            key     => 'cpu',
            heading => 'CPU µs',
            scale   => 1e6,
            digits  => 2,
            spread  => 1
        },
        { key => 'user',   heading => 'user',   scale => 1e6, digits => 2 },
        { key => 'system', heading => 'system', scale => 1e6, digits => 2 },
        { key => 'rate',   heading => 'requests/s' },
        { key => 'p50',    heading => 'p50 ms', scale => 1e3, digits => 2 },
        { key => 'p99',    heading => 'p99 ms', scale => 1e3, digits => 2 },
        memory_columns(),
    );
}

# The rows a server has: one, unless a workload compares ways to start it.
sub contestants {
    my ( $self, $peer ) = @_;
    return $peer->variant;
}

# What the server has to serve, see the README on start scripts.
sub handler { return shift->name }

sub memory_columns {
    return (
        {
            key     => 'peak',
            heading => 'peak MiB',
            scale   => 1 / MEBIBYTE,
            digits  => 1
        },
        {
            key     => 'private',
            heading => 'private MiB',
            scale   => 1 / MEBIBYTE,
            digits  => 1
        },
    );
}

# Whether the files of the servers have to be on a disk.
sub needs_disk { return 0 }

# Why a server cannot take part, or undef.
sub obstacle {
    my ( $self, $peer ) = @_;
    return $peer->without( $self->name );
}

# Called before each measurement.
sub prepare { return }

# Those the others are compared with, by the figure of the chart.
sub references { return qw(nginx feersum feersum-native) }

sub rounds { return shift->{rounds} }

# Where the servers run, given the core that is theirs: undef for anywhere.
sub server_core {
    my ( $self, $core ) = @_;
    return $core;
}

# Called once, when the server has been started. Dies if it does not serve the workload.
sub set_up { return }

# Whether there is a round that is not counted.
sub warms_up { return shift->{warm_up} }

1;
