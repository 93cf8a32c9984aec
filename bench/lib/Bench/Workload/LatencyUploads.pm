# How long small requests wait while large files are received.
package Bench::Workload::LatencyUploads;

use strict;
use warnings;
use utf8;

use parent 'Bench::Workload';

use List::Util qw(min);

use Bench::Command qw(begin figures finish output pinned prompt read_line);

use constant {
    CONNECTIONS   => 8,
    LARGEST       => 256 * 1024**2,    # bytes
    MEGABYTE      => 1e6,              # bytes
    RATE          => 500,              # requests a second
    SECONDS_TIMES => 2,
    UPLOADS       => 4,
};

sub chart {
    return {
        key   => 'p99',
        label => '99th percentile of the wait in ms; less is better'
    };
}

sub columns {
    my $self = shift;
    return (
        { key => 'p50', heading => 'p50 ms', scale => 1e3, digits => 2 },
        {
            key     => 'p99',
            heading => 'p99 ms',
            scale   => 1e3,
            digits  => 2,
            spread  => 1
        },
        { key => 'max',   heading => 'max ms', scale => 1e3, digits => 1 },
        { key => 'lag',   heading => 'lag ms', scale => 1e3, digits => 2 },
        { key => 'speed', heading => 'uploads MB/s' },
        $self->memory_columns,
    );
}

# Who serves one connection at a time needs a process for each.
sub contestants {
    my ( $self, $peer ) = @_;
    return $peer->variant if !$peer->connections;
    return $peer->variant( workers => ( CONNECTIONS + UPLOADS ) / $peer->connections );
}

sub description {
    my $self = shift;
    my $size = $self->_size / 1024**2;
    return <<"TEXT";
@{[UPLOADS]} clients upload files of $size MiB all the time, as fast as the server takes them. Besides, @{[RATE]} bare
requests a second are sent on @{[CONNECTIONS]} connections. A wait is counted from the moment a request was due, so
that one that could not be sent in time, because the one before was not answered, counts that too (no coordinated
omission). How late the client itself was is the lag: its 99th percentile.
TEXT
}

sub handler { return 'mixed' }

sub measure {
    my ( $self, $peer ) = @_;

    my $uploads = begin(
        pinned(
            $self->{core},  qw(nice -n 19), $self->{client}, 'uploads',
            $peer->address, UPLOADS,        $self->_size
        )
    );
    read_line($uploads);
    my $waits = figures(
        output(
            pinned(
                $self->{core},  prompt(),        $self->{client}, 'paced',
                $peer->address, $peer->protocol, CONNECTIONS,     RATE,
                SECONDS_TIMES * $self->{seconds}
            )
        )
    );
    my $sent = figures( finish($uploads) );
    return {
        ( map { $_ => $waits->{$_} } qw(p50 p99 max lag) ),
        speed => $sent->{bytes} / MEGABYTE / $sent->{seconds},
        units => $waits->{requests},
    };
}

sub name { return 'latency-uploads' }

sub references { return }

sub rounds {
    my $self = shift;
    return min( 3, $self->SUPER::rounds );
}

sub set_up {
    my ( $self, $peer ) = @_;
    $peer->add_note( $peer->workers . ' workers' ) if $peer->workers > 1;
    return;
}

sub title { return 'Small requests during four uploads' }

sub _size {
    my $self = shift;
    return min( LARGEST, $self->{size} );
}

1;
