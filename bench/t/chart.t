# Bench::Chart: bars in proportion, with their labels and values, as well-formed SVG.
use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use Test::More;

use Bench::Chart qw(bars);

my $chart = bars(
    title => 'Small & large',
    unit  => 'µs; less is better',
    bars  => [
        { label => 'ours',    value => 10, text => '10.0', own => 1 },
        { label => '<other>', value => 40, text => '40.0' },
        { label => 'nothing', value => 0,  text => '0.0' },
    ]
);

my @bars = $chart =~ /<rect class="(own|bar)" [^>]* width="([\d.]+)"/g;
is scalar @bars, 6, 'three bars';
my ( $own, $own_length, $other, $other_length, undef, $no_length ) = @bars;
is_deeply [ $own, $other ], [qw(own bar)], 'the own one stands out';
cmp_ok abs( $other_length / $own_length - 4 ), '<', 0.01, 'lengths are in proportion';
cmp_ok $no_length,                             '>', 0,    'nothing is seen as well';

like $chart, qr{>&lt;other&gt;</text>}, 'labels are escaped';
like $chart, qr{<title>Small &amp; large: µs; less is better</title>},
  'a title for those who listen';
like $chart, qr{>10[.]0</text>},             'values are written';
like $chart, qr/prefers-color-scheme: dark/, 'dark pages have colours of their own';

my ($height) = $chart =~ /viewBox="0 0 \d+ (\d+)"/;
my @lowest = sort { $b <=> $a } $chart =~ /<rect class="(?:own|bar)" [^>]* y="(\d+)"/g;
cmp_ok $lowest[0] + 18, '<', $height, 'all bars are on the page';

my @open;
for my $tag ( $chart =~ /<([^<>]+)>/g ) {
    next if $tag =~ m{/\z};
    if ( $tag =~ m{\A/(\w+)} ) { is pop @open, $1, "$1 is closed" }
    else                       { push @open, $tag =~ /\A(\w+)/ }
}
is_deeply \@open, [], 'every element is closed';

done_testing;
