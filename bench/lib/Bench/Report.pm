# Shows what was measured as Markdown that reads well as it is: tables, and remarks under them.
package Bench::Report;

use strict;
use warnings;
use utf8;

use Exporter   qw(import);
use List::Util qw(max sum0);

use Bench::Summary qw(summarize);

our @EXPORT_OK = qw(figure overview remarks table workload_table);

# A figure as its column shows it.
sub figure {
    my ( $column, $value ) = @_;
    my $text;
    $text = sprintf '%.*f', $column->{digits} // 0, $value * ( $column->{scale} // 1 )
      if defined $value;
    return $text;
}

# The main figure of every server (a column) for each of the workloads (a row) that count
# the same thing, without those that are there for few of the workloads.
sub overview {
    my ( $key, @workloads ) = @_;
    my ( %figure, %times );
    my @shown = grep { $_->{chart}{key} eq $key } @workloads;
    for my $workload (@shown) {
        my ($column) = grep { $_->{key} eq $key } @{ $workload->{columns} };
        for my $row ( summarize($workload) ) {
            $times{ $row->{label} }++;
            next if defined $row->{failure};
            $figure{ $workload->{name} }{ $row->{label} } =
              figure( $column, $row->{median}{$key} );
        }
    }
    my @labels = sort grep { 2 * $times{$_} > @shown } keys %times;
    return table( [ 'workload', @labels ],
        map { [ $_->{name}, @{ $figure{ $_->{name} } || {} }{@labels} ] } @shown );
}

# Lines that say who did not take part in a workload and why, and what to know of the others.
sub remarks {
    my $workload = shift;
    my %labels;
    my @order;
    for my $row ( summarize($workload) ) {
        my @remarks =
          defined $row->{failure} ? $row->{failure} : @{ $row->{notes} };
        for my $remark (@remarks) {
            push @order,                $remark if !$labels{$remark};
            push @{ $labels{$remark} }, $row->{label};
        }
    }
    return map { '- ' . join( ', ', @{ $labels{$_} } ) . ": $_\n" } @order;
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

# The medians of a workload, the least and the most where a column has them, and how many
# times as much as each of the references it is.
sub workload_table {
    my $workload   = shift;
    my @columns    = @{ $workload->{columns} };
    my @rows       = summarize($workload);
    my @references = grep {
        my $name = $_;
        grep { $_->{ratio} && defined $_->{ratio}{$name} } @rows
    } grep { defined } @{ $workload->{references} }, $workload->{base};

    my @heading =
      ( 'server', map { ( $_->{heading}, $_->{spread} ? 'least–most' : () ) } @columns );
    return table(
        [ @heading, map { "x $_" } @references ],
        map { _cells( $_, \@columns, \@references ) } @rows
    );
}

sub _cells {
    my ( $row, $columns, $references ) = @_;
    my @cells = $row->{label};
    for my $column ( @{$columns} ) {
        my $key = $column->{key};
        push @cells, figure( $column, $row->{median}{$key} );
        next if !$column->{spread};
        my @ends = grep { defined }
          map { figure( $column, $row->{$_}{$key} ) } qw(least most);
        push @cells, @ends ? join '–', @ends : undef;
    }
    push @cells,
      map { defined $_ ? sprintf '%.2f', $_ : undef }
      @{ $row->{ratio} || {} }{ @{$references} };
    return \@cells;
}

sub _line {
    my ( $widths, $first, @figures ) = @_;
    my ( $first_width, @figure_widths ) = @{$widths};
    my @cells = sprintf '%-*s', $first_width, $first;
    push @cells, map { sprintf '%*s', $figure_widths[$_], $figures[$_] } 0 .. $#figures;
    return '| ' . join( ' | ', @cells ) . " |\n";
}

1;
