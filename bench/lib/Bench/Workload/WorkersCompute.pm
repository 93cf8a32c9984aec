# Two processes of a server against one, where the work is done by the handler.
package Bench::Workload::WorkersCompute;

use strict;
use warnings;

use parent 'Bench::Workload::Workers';

sub description {
    return <<'TEXT';
The same with a handler that computes for a fraction of a millisecond, so that the load has little to do and two cores are nearly
all the servers'. Less than twice as many requests means that the work is not spread well, or that the cores were not free.
TEXT
}

sub handler { return 'compute' }

sub name { return 'workers-compute' }

sub title { return 'Two workers against one, with a handler that computes' }

1;
