# Turns the rounds of a workload into medians, spreads and ratios.
package Bench::Summary;

use strict;
use warnings;

use Exporter   qw(import);
use List::Util qw(first max min);

our @EXPORT_OK = qw(median ratio summarize);

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
    my @common =
      grep { defined $values->[$_] && $reference->[$_] } 0 .. $#{$values};
    return median( map { $values->[$_] / $reference->[$_] } @common );
}

# The rows of a workload's record, those that took part first, and the best first by what the
# chart shows, unless they are compared in pairs; each with: median, least, most (hashes by the columns' keys) and ratio (by the
# names of the references).
sub summarize {
    my $workload = shift;
    my $key      = $workload->{chart}{key};
    my @ran      = map { _summary( $workload, $_ ) }
      grep { !defined $_->{failure} } @{ $workload->{rows} };
    my @failed = grep { defined $_->{failure} } @{ $workload->{rows} };
    return ( @ran, @failed ) if defined $workload->{base};
    return ( ( sort { $a->{median}{$key} <=> $b->{median}{$key} } @ran ), @failed );
}

sub _summary {
    my ( $workload, $row ) = @_;

    my %summary = %{$row};
    for my $key ( map { $_->{key} } @{ $workload->{columns} } ) {
        my @values = grep { defined } _values( $row, $key );
        $summary{median}{$key} = median(@values);
        $summary{least}{$key}  = min(@values);
        $summary{most}{$key}   = max(@values);
    }
    my $key       = $workload->{chart}{key};
    my @values    = _values( $row, $key );
    my %reference = map { $_ => $_ } @{ $workload->{references} };
    $reference{ $workload->{base} } = $row->{base} if defined $workload->{base};
    for my $name ( keys %reference ) {
        my $reference = first { $_->{label} eq $reference{$name} } @{ $workload->{rows} };
        next if !$reference || defined $reference->{failure};
        my @theirs = _values( $reference, $key );
        $summary{ratio}{$name} = ratio( \@values, \@theirs );
    }
    return \%summary;
}

sub _values {
    my ( $row, $key ) = @_;
    return map { $_ && $_->{$key} } @{ $row->{rounds} };
}

1;
