# Bench::Summary: medians, spreads, ratios, and the order of the rows.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use Bench::Summary qw(median ratio summarize);

is median( 3, 1, 20 ),   3,     'the middle of three';
is median( 4, 1, 2, 3 ), 2.5,   'the mean of the two in the middle';
is median(),             undef, 'nothing of nothing';

is ratio( [ 2, 30, 4 ], [ 1, 10, 2 ] ), 2, 'the median of the ratios of the rounds';
is ratio( [ undef, 30 ],    [ 1,     10 ] ), 3,     'rounds that both have';
is ratio( [ 2,     undef ], [ undef, 10 ] ), undef, 'no round in common';

my $workload = {
    chart      => { key => 'cpu' },
    columns    => [ { key => 'cpu' }, { key => 'rate' } ],
    references => [qw(slow absent broken)],
    rows       => [
        { label => 'slow',   rounds => [ map { { cpu => $_, rate => 1 } } 8, 10, 60 ] },
        { label => 'broken', rounds => [], failure => 'does not start' },
        { label => 'quick',  rounds => [ undef, { cpu => 5 }, { cpu => 6, rate => 4 } ] },
    ],
};
my @rows = summarize($workload);
is_deeply [ map { $_->{label} } @rows ], [qw(quick slow broken)],
  'the best first, those that failed last';
is_deeply $rows[1]{median}, { cpu => 10, rate => 1 }, 'medians of all columns';
is_deeply [ $rows[1]{least}{cpu}, $rows[1]{most}{cpu} ], [ 8, 60 ], 'least and most';
is_deeply $rows[0]{median}, { cpu => 5.5, rate => 4 },
  'of the rounds and figures there are';
is_deeply $rows[0]{ratio}, { slow => 0.3 }, 'ratios to the references that took part';
is $rows[2]{median}, undef, 'no figures of those that failed';

$workload = {
    base       => 'one',
    chart      => { key => 'rate' },
    columns    => [ { key => 'rate' } ],
    references => [],
    rows       => [
        {
            label  => 'b x 1',
            base   => 'b x 1',
            rounds => [ { rate => 10 }, { rate => 12 } ]
        },
        {
            label  => 'b x 2',
            base   => 'b x 1',
            rounds => [ { rate => 19 }, { rate => 24 } ]
        },
        { label => 'a x 2', base => 'a x 1', rounds => [ { rate => 5 } ] },
    ],
};
@rows = summarize($workload);
is_deeply [ map { $_->{label} } @rows ], [ 'b x 1', 'b x 2', 'a x 2' ],
  'pairs stay together';
is_deeply [ map { $_->{ratio}{one} } @rows ], [ 1, 1.95, undef ], 'and are compared';

done_testing;
