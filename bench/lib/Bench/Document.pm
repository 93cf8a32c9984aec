# Writes the page that shows a run, and its charts beside it.
package Bench::Document;

use strict;
use warnings;
use utf8;

use Carp     qw(croak);
use Exporter qw(import);

use Bench::Chart   qw(bars);
use Bench::Report  qw(figure overview remarks table workload_table);
use Bench::Summary qw(summarize);

our @EXPORT_OK = qw(chart section servers_table write_document);

use constant OWN_NAME => qr/\Ahttp-server-ev\b/;

# The chart of a workload, or undef when no server took part.
sub chart {
    my $workload = shift;
    my $key      = $workload->{chart}{key};
    my ($column) = grep { $_->{key} eq $key } @{ $workload->{columns} };
    my @bars     = map {
        {
            label => $_->{label},
            own   => scalar $_->{name} =~ OWN_NAME,
            text  => figure( $column, $_->{median}{$key} ),
            value => $_->{median}{$key},
        }
    } grep { $_->{median} && defined $_->{median}{$key} } summarize($workload);
    return if !@bars;
    return bars(
        bars  => \@bars,
        title => $workload->{title},
        unit  => $workload->{chart}{label}
    );
}

# What the terminal and the page both show of a workload.
sub section {
    my ( $workload, @picture ) = @_;
    my @remarks = remarks($workload);
    return join "\n", "## $workload->{title}\n", $workload->{description},
      @picture,
      workload_table($workload),
      ( @remarks ? join( q{}, @remarks ) . "\n" : () );
}

sub servers_table {
    my $servers = shift;
    return join q{}, "| server | version | what it is |\n|---|---|---|\n", map {
        my $purpose = $_->{purpose} =~ s/\AStarts //r;
        "| $_->{name} | $_->{version} | $purpose |\n"
    } @{$servers};
}

# Writes $directory/benchmarks.md, and $directory/benchmarks/NAME.svg for each workload of a
# run: facts (lines), command, servers, and workloads as Bench::Run makes them.
sub write_document {
    my ( $directory, $run ) = @_;

    my $pictures = "$directory/benchmarks";
    -d $pictures or mkdir $pictures or croak "$pictures: $!";
    my @sections;
    for my $workload ( @{ $run->{workloads} } ) {
        my $chart = chart($workload);
        my @picture;
        if ( defined $chart ) {
            _write( "$pictures/$workload->{name}.svg", $chart );
            @picture = "![$workload->{title}](benchmarks/$workload->{name}.svg)\n";
        }
        push @sections, section( $workload, @picture );
    }
    return _write( "$directory/benchmarks.md", join "\n", _beginning($run), @sections );
}

sub _beginning {
    my $run       = shift;
    my @workloads = @{ $run->{workloads} };
    my $facts     = join q{}, map { "- $_\n" } @{ $run->{facts} };
    return (
        "# Benchmarks\n",
"What servers spend on the same work, measured in turns in one run on one machine.\n"
          . "[bench/README.md](../bench/README.md) tells how, and what each column means. Written by\n",
        "    $run->{command}\n",
        $facts,
        servers_table( $run->{servers} ),
        (
            ( grep { $_->{chart}{key} eq 'cpu' } @workloads )
            ? (
                "## Overview\n",
                "CPU µs per request; for uploads, CPU seconds per GiB.\n",
                overview( 'cpu', @workloads )
              )
            : ()
        ),
    );
}

sub _write {
    my ( $path, $text ) = @_;
    open my $handle, '>:encoding(UTF-8)', $path or croak "$path: $!";
    print {$handle} $text or croak "$path: $!";
    close $handle         or croak "$path: $!";
    return;
}

1;
