# Two processes of a server against one.
package Bench::Workload::Workers;

use strict;
use warnings;
use utf8;

use parent 'Bench::Workload::Load';

use List::Util qw(min);

# What the rows of two workers are compared with: the row of one.
sub base { return 'one' }

sub chart {
    return { key => 'rate', label => 'requests per second; more is better' };
}

sub contestants {
    my ( $self, $peer ) = @_;
    my $one   = $peer->name . ' x 1';
    my $two   = $peer->name . ' x 2';
    my @notes = ( base => $one );
    return ( $peer->variant( label => $one, @notes ),
        $peer->variant( label => $two, workers => 2, @notes ) );
}

sub description {
    return <<'TEXT';
Bare requests to one process and to two. Nothing is pinned to a core here: on a machine with two cores the load takes its
share of both, so two workers cannot answer twice as many requests. What they cost is in the CPU time per request.
TEXT
}

sub handler { return 'hello' }

sub measure {
    my ( $self, @arguments ) = @_;
    local $self->{core} = undef;
    return $self->SUPER::measure(@arguments);
}

sub name { return 'workers' }

sub references { return }

sub rounds {
    my $self = shift;
    return min( 3, $self->SUPER::rounds );
}

sub server_core { return }

sub title { return 'Two workers against one' }

1;
