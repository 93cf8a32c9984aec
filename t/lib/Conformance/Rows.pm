package Conformance::Rows;

# Makes cases of many cases that leave the connection open, one behind the other as chance
# has it: nothing of one request may show in the next.

use strict;
use warnings;

use Exporter   qw(import);
use List::Util qw(shuffle);

our @EXPORT_OK = qw(rows);

# How many cases a row has, and at how many places it is cut.
my ( $CASES, $CUTS ) = ( 30, 20 );

# Above this, a case is left out: there are enough small ones.
my $MOST_BYTES = 5_000;

# So many rows of these cases.
sub rows {
    my ( $count, @cases ) = @_;
    my @fit = grep { _fits($_) } @cases;
    return map { _row( $_, ( shuffle @fit )[ 0 .. $CASES - 1 ] ) } 1 .. $count;
}

# Two empty lines in a row would not be ignored.
sub _fits {
    my ($case)  = @_;
    my @blocks  = @{ $case->{blocks} };
    my $answers = $blocks[0]{answers};
    return
         $case->{end} eq 'open'
      && @blocks == 1
      && length $blocks[0]{bytes} <= $MOST_BYTES
      && $blocks[0]{bytes} !~ /\A\r/
      && !grep { $_->{status} eq 'nothing' } map { @{ $_->{one_of} } } @{$answers};
}

sub _row {
    my ( $number, @cases ) = @_;
    my @blocks = map { $_->{blocks}[0] } @cases;
    my $bytes  = join q{}, map { $_->{bytes} } @blocks;
    my %places = map { 1 + int rand( length($bytes) - 1 ) => 1 } 1 .. $CUTS;
    my $block  = {
        bytes   => $bytes,
        cuts    => [ sort { $a <=> $b } keys %places ],
        await   => 0,
        answers => [ map { @{ $_->{answers} } } @blocks ],
    };
    return {
        name     => "row $number",
        sections => 'RFC 9112 9.3.2',
        blocks   => [$block],
        end      => 'open',
    };
}

1;
