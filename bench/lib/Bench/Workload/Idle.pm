# What a connection costs while nothing happens on it.
package Bench::Workload::Idle;

use strict;
use warnings;
use utf8;

use parent 'Bench::Workload';

use List::Util qw(max);

use Bench::Command qw(begin figures finish pinned read_line);

use constant {
    CONNECTIONS => 10_000,
    KIBIBYTE    => 1024,     # bytes

    # They have the server allocate what it needs once.
    FIRST_CONNECTIONS => 100,
};

sub chart {
    return {
        key   => 'per_connection',
        label => 'KiB of private memory per idle connection; less is better'
    };
}

sub columns {
    my $self = shift;
    return (
        {
            key     => 'per_connection',
            heading => 'KiB/connection',
            scale   => 1 / KIBIBYTE,
            digits  => 2,
            spread  => 1
        },
        $self->memory_columns
    );
}

sub description {
    my ( $all, $first ) = ( CONNECTIONS, FIRST_CONNECTIONS );
    return <<"TEXT";
$all connections are opened one after the other, sent the bare request once, and kept open. Counted is by how much the
private memory of the server has grown when all are open, after $first others have come and gone. What the
kernel keeps for a connection is the same for all servers, and is not in it.
TEXT
}

sub handler { return 'hello' }

sub measure {
    my ( $self, $peer ) = @_;

    finish( $self->_open( $peer, FIRST_CONNECTIONS ) );
    my $before  = $peer->process->private_memory;
    my $clients = $self->_open( $peer, CONNECTIONS );
    my $after   = $peer->process->private_memory;
    my $open    = figures( finish($clients) )->{open};
    die "has closed all but $open of the connections\n" if $open != CONNECTIONS;
    return {
        per_connection => ( $after - $before ) / CONNECTIONS,
        units          => CONNECTIONS
    };
}

sub name { return 'idle' }

# A server that has seen connections before has memory left from them.
sub prepare {
    my ( $self, $peer ) = @_;
    return $peer->restart;
}

sub rounds {
    my $self = shift;
    return max( 1, int( $self->SUPER::rounds / 2 ) );
}

sub title { return '10,000 idle connections' }

sub warms_up { return 0 }

sub _open {
    my ( $self, $peer, $count ) = @_;
    my $clients =
      begin( pinned( $self->{core}, $self->{client}, 'idle', $peer->address, $count ) );
    read_line($clients);
    return $clients;
}

1;
