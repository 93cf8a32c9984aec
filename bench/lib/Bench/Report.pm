# Turns the rounds of a run into medians, ratios and a table.
package Bench::Report;

use strict;
use warnings;

use Exporter   qw(import);
use List::Util qw(max);

our @EXPORT_OK = qw(median ratio table);

# The middle value, or the mean of the two in the middle; undef of nothing.
sub median {
    my @sorted = sort { $a <=> $b } @_;
    return if !@sorted;
    my $middle = int( @sorted / 2 );
    return @sorted % 2
      ? $sorted[$middle]
      : ( $sorted[ $middle - 1 ] + $sorted[$middle] ) / 2;
}

# How many times as much as the reference: the median of the rounds' ratios, so that what disturbs
# a whole round disturbs both sides of it. Undef where the two have no round in common.
sub ratio {
    my ( $values, $reference ) = @_;
    my @common = grep { defined $values->[$_] && $reference->[$_] } 0 .. $#{$values};
    return median( map { $values->[$_] / $reference->[$_] } @common );
}

# A Markdown table, aligned for reading as it is: the first column to the left, figures to the
# right. Rows are array references; undef is shown as a dash.
sub table {
    my ( $heading, @rows ) = @_;

    my @lines = map {
        [ map { defined $_ ? $_ : q{-} } @{$_} ]
    } $heading, @rows;
    my @widths = map {
        my $column = $_;
        max map { length $_->[$column] } @lines;
    } 0 .. $#{$heading};

    my @text = map { _line( \@widths, @{$_} ) } @lines;
    my @rule =
      ( q{-} x $widths[0], map { q{-} x ( $_ - 1 ) . q{:} } @widths[ 1 .. $#widths ] );
    splice @text, 1, 0, _line( \@widths, @rule );
    return join q{}, @text;
}

sub _line {
    my ( $widths, $first, @figures ) = @_;
    my ( $first_width, @figure_widths ) = @{$widths};
    my @cells = sprintf '%-*s', $first_width, $first;
    push @cells, map { sprintf '%*s', $figure_widths[$_], $figures[$_] } 0 .. $#figures;
    return '| ' . join( ' | ', @cells ) . " |\n";
}

1;
