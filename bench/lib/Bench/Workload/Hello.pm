# A bare request with a reply of twelve bytes, on connections that are kept.
package Bench::Workload::Hello;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

sub description {
    return <<'TEXT';
`GET /` with a `Host` line and nothing else, on 50 connections that are kept. The reply is twelve bytes of
`text/plain`, as in the workloads that follow.
TEXT
}

sub name { return 'hello' }

sub title { return 'Hello, on connections that are kept' }

1;
