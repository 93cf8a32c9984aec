# A reply that does not fit into one packet.
package Bench::Workload::LargeReply;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

sub description {
    return <<'TEXT';
The bare request, answered with 100 KiB; by nginx from a file, by the others from memory.
TEXT
}

sub expected { return 'A line of text.' x 6826 . 'The last.' . "\n" }

sub handler { return 'large' }

sub name { return 'large-reply' }

sub title { return 'A reply of 100 KiB' }

1;
