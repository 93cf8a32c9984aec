package Conformance::Cases;

# Reads the files of t/conformance: requests as bytes, and what is to be answered. Their
# form is described in t/conformance/README.md.

use strict;
use warnings;

use Carp     qw(croak);
use Exporter qw(import);

our @EXPORT_OK = qw(printable shortened);

my %ESCAPED = ( r    => "\r", n    => "\n", t    => "\t", 0    => "\0", q{\\} => q{\\} );
my %ESCAPE  = ( "\r" => '\r', "\n" => '\n', "\t" => '\t', "\0" => '\0', q{\\} => '\\\\' );

# The cases of a file in their order. Each is a hash: name, sections (text), blocks (a
# list of those that are sent in one go), end.
#
# A block is a hash of bytes, cuts (the places where it may be cut), await (how many
# replies it is sent behind), and answers: a list of hashes with `one_of` (each of status,
# a pattern, and what the handler echoes), fields and lacks.
sub read_file {
    my ($path) = @_;
    open my $handle, '<', $path or croak "Cannot read $path: $!";
    my @cases;
    my $template;
    while ( my $line = readline $handle ) {
        chomp $line;
        next if $line =~ /\A(?:#|\s*\z)/;
        if ( $line =~ /\A--- (.+)/ ) {
            push @cases, _case( name => $1 );
            undef $template;
        }
        elsif ( $line =~ /\A[*]{3} (.+)/ ) {
            $template = { name => $1, lines => [] };
        }
        elsif ( $line =~ /\A[|] / ) {
            push @cases, _case_of_row( $template, $line );
        }
        elsif ($template) {
            push @{ $template->{lines} }, $line;
        }
        else {
            _take_line( $cases[-1], $line );
        }
    }
    for my $case (@cases) {
        croak "$path: $case->{name}: no end, or no section"
          if !$case->{end} || !$case->{sections};
    }
    return @cases;
}

# Bytes as the files have them: those that cannot be seen as escapes.
sub printable {
    my ($bytes) = @_;
    $bytes =~ s/([\r\n\t\0\\])/$ESCAPE{$1}/g;
    $bytes =~ s/([^ -~])/sprintf '\x%02x', ord $1/ge;
    return $bytes;
}

# What a handler saw, where that is long: how it begins, and its length.
sub shortened {
    my ($text) = @_;
    return $text if length $text <= 1000;
    return substr( $text, 0, 100 ) . '... ' . length $text;
}

sub _case {
    my (%case) = @_;
    return { %case, blocks => [] };
}

# "| name | bytes for the @ of the template | answer"
sub _case_of_row {
    my ( $template, $row ) = @_;
    my ( undef, $name, $bytes, $answer ) = map { s/\A +| +\z//gr } split /[|](?: |\z)/,
      $row, 4;
    my $case = _case( name => "$template->{name}: $name" );
    _take_line( $case, s/@/$bytes/r ) for @{ $template->{lines} };
    _take_line( $case, "=> $answer" );

    my @statuses = map  { $_->{status} } @{ $case->{blocks}[-1]{answers}[0]{one_of} };
    my $refused  = grep { /\A[45]/ } @statuses;
    $case->{end} =
      !$refused ? 'open' : $refused == @statuses ? 'closed' : 'open or closed';
    return $case;
}

sub _take_line {
    my ( $case, $line ) = @_;
    my $blocks = $case->{blocks};
    if ( !$case->{sections} ) {
        $line =~ /\A(?:RFC \d+ [\d.]+(?:, [\d.]+)*(?:; )?)+\z/
          or croak "$case->{name}: no section of an RFC: $line";
        $case->{sections} = $line;
    }
    elsif ( $case->{end} ) {
        croak "$case->{name}: behind the end: $line";
    }
    elsif ( $line =~ /\A=> (open|closed|open or closed|waits)\z/ ) {
        $case->{end} = $1;
    }
    elsif ( $line =~ /\A=> (.+)/ ) {
        my @one_of = map { _answer($_) } split / [|] /, $1;
        push @{ $blocks->[-1]{answers} },
          { one_of => \@one_of, fields => [], lacks => [] };
    }
    elsif ( $line =~ /\A   (with|without) (.+)/ && @{ $blocks->[-1]{answers} } ) {
        push @{ $blocks->[-1]{answers}[-1]{ $1 eq 'with' ? 'fields' : 'lacks' } }, $2;
    }
    else {
        push @{$blocks}, _block( @{$blocks} )
          if !@{$blocks} || @{ $blocks->[-1]{answers} };
        _take_bytes( $blocks->[-1], $line );
    }
    return;
}

# A block behind these.
sub _block {
    my (@before) = @_;
    my $await = map { @{ $_->{answers} } } @before;
    return { bytes => q{}, cuts => [], answers => [], await => $await };
}

# "200 GET /", "4xx", "nothing"
sub _answer {
    my ($text) = @_;
    my ( $status, $echo ) = $text =~ /\A([0-9][0-9x]{2}|nothing)(?: (.+))?\z/
      or croak "No answer: $text";
    return { status => $status =~ tr/x/./r } if !defined $echo;
    $echo =~ s/\{(.+?)\*(\d+)\}/$1 x $2/ge;
    return { status => $status, echo => shortened($echo) };
}

# A block may be cut before each byte, but for the inside of what is repeated.
sub _take_bytes {
    my ( $block, $line ) = @_;
    while ( $line =~ /\G(?:\{(.+?)\*(\d+)\}|(\\x[[:xdigit:]]{2}|\\?.))/gc ) {
        my $bytes = defined $1 ? _unescape($1) x $2 : _unescape($3);
        push @{ $block->{cuts} }, length $block->{bytes} if length $block->{bytes};
        $block->{bytes} .= $bytes;
    }
    return;
}

sub _unescape {
    my ($text) = @_;
    $text =~ s{\\(?:x([[:xdigit:]]{2})|(.))}
      { defined $1 ? chr hex $1 : $ESCAPED{$2} // croak "No escape: \\$2" }gex;
    return $text;
}

1;
