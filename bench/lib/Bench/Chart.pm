# Draws horizontal bars as SVG that reads well on light and on dark pages.
package Bench::Chart;

use strict;
use warnings;
use utf8;

use Exporter   qw(import);
use List::Util qw(max);

our @EXPORT_OK = qw(bars);

# Lengths are in the units of the drawing.
use constant {
    BAR_HEIGHT   => 18,
    LABEL_WIDTH  => 200,
    MARGIN       => 16,
    ROW_HEIGHT   => 26,
    TITLE_HEIGHT => 58,
    VALUE_WIDTH  => 96,
    WIDTH        => 720,
};

# The second block is for readers who have asked for dark pages.
my $STYLE = <<'CSS';
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .unit, .value { fill: #59636e }
  .page { fill: #ffffff; stroke: #d1d9e0 }
  .bar { fill: #9aa4af }
  .own { fill: #0969da }
  .strong { font-weight: 600; fill: #1f2328 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .unit, .value { fill: #9198a1 }
    .strong { fill: #f0f6fc }
    .page { fill: #0d1117; stroke: #3d444d }
    .bar { fill: #656c76 }
    .own { fill: #4493f8 }
  }
CSS

# A chart: title => text, unit => what the lengths are, bars => list of hashes of label,
# value, text (the value as it is written), and own, true for what stands out.
sub bars {
    my %chart  = @_;
    my @bars   = @{ $chart{bars} };
    my $height = TITLE_HEIGHT + ROW_HEIGHT * @bars + MARGIN;
    my $title  = _escape( $chart{title} );
    my $unit   = _escape( $chart{unit} );
    my ( $right, $bottom ) = ( WIDTH - 1, $height - 1 );

    my @lines = (
        sprintf(
'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">',
            WIDTH, $height, WIDTH, $height
        ),
        "<title>$title: $unit</title>",
        "<style>\n$STYLE</style>",
        qq{<rect class="page" x="0.5" y="0.5" width="$right" height="$bottom" rx="6"/>},
        _text( 'title', MARGIN, 26, 'start', $title ),
        _text( 'unit',  MARGIN, 45, 'start', $unit ),
    );
    my $longest = max( 0, map { $_->{value} } @bars ) || 1;
    push @lines, _bar( $bars[$_], TITLE_HEIGHT + ROW_HEIGHT * $_, $longest )
      for 0 .. $#bars;
    return join "\n", @lines, "</svg>\n";
}

# A label to the left, the bar, and its value to the right of it.
sub _bar {
    my ( $bar, $top, $longest ) = @_;
    my $room     = WIDTH - LABEL_WIDTH - VALUE_WIDTH - MARGIN;
    my $length   = sprintf '%.1f', max( 1, $room * $bar->{value} / $longest );
    my $baseline = $top + 13.5;
    my $class    = $bar->{own} ? 'own'     : 'bar';
    my $strength = $bar->{own} ? ' strong' : q{};
    return (
        _text(
            "label$strength", LABEL_WIDTH - 10,
            $baseline,        'end',
            _escape( $bar->{label} )
        ),
        sprintf(
            '<rect class="%s" x="%d" y="%d" width="%s" height="%d" rx="2"/>',
            $class, LABEL_WIDTH, $top, $length, BAR_HEIGHT
        ),
        _text(
            "value$strength", LABEL_WIDTH + $length + 8,
            $baseline,        'start',
            _escape( $bar->{text} )
        ),
    );
}

sub _escape {
    my $text   = shift;
    my %entity = ( q{&} => '&amp;', q{<} => '&lt;', q{>} => '&gt;', q{"} => '&quot;' );
    $text =~ s/([&<>"])/$entity{$1}/g;
    return $text;
}

sub _text {
    my ( $class, $x, $y, $anchor, $text ) = @_;
    return qq{<text class="$class" x="$x" y="$y" text-anchor="$anchor">$text</text>};
}

1;
