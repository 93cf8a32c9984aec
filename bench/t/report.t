# Bench::Report: medians, ratios and the table.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use Bench::Report qw(median ratio table);

is median( 3, 1, 20 ),   3,     'the middle of three';
is median( 4, 1, 2, 3 ), 2.5,   'the mean of the two in the middle';
is median(),             undef, 'nothing of nothing';

is ratio( [ 2, 30, 4 ], [ 1, 10, 2 ] ), 2, 'the median of the ratios of the rounds';
is ratio( [ undef, 30 ],    [ 1,     10 ] ), 3,     'rounds that both have';
is ratio( [ 2,     undef ], [ undef, 10 ] ), undef, 'no round in common';

is table( [qw(server CPU)], [ 'copier', '0.5' ], [ 'x', undef ] ),
  <<'TABLE', 'a table in Markdown';
| server | CPU |
| ------ | --: |
| copier | 0.5 |
| x      |   - |
TABLE

done_testing;
