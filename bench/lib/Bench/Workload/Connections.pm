# A connection for each bare request.
package Bench::Workload::Connections;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

use Bench::Command qw(figures output pinned);

sub description {
    return <<'TEXT';
The bare request with `Connection: close`, each on a connection of its own, 50 at a time. The client reads until the server
closes.
TEXT
}

sub handler { return 'hello' }

sub headers { return ( Connection => 'close' ) }

# By the own client: `wrk` sees by the reply alone whether a connection ends.
sub measure {
    my ( $self, $peer ) = @_;
    my $figures = figures(
        output(
            pinned(
                $self->{core},             $self->{client},
                'connections',             $peer->address,
                $self->connections($peer), $self->{seconds}
            )
        )
    );
    return {
        p50   => $figures->{p50},
        p99   => $figures->{p99},
        rate  => $figures->{requests} / $figures->{seconds},
        units => $figures->{requests},
    };
}

sub name { return 'connections' }

# Who closes each connection anyway has nothing to tell here.
sub protocol { return 'HTTP/1.1' }

sub title { return 'Hello, on a new connection each' }

1;
