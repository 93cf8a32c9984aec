# Bench::Report and Bench::Document: what a run looks like on the terminal and on its page.
use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use File::Temp;
use Test::More;

use Bench::Document qw(section write_document);
use Bench::Report   qw(overview remarks table workload_table);

binmode Test::More->builder->$_, ':encoding(UTF-8)' for qw(output failure_output);

is table( [qw(server CPU)], [ 'copier', '0.5' ], [ 'x', undef ] ),
  <<'TABLE', 'a table in Markdown';
| server | CPU |
| ------ | --: |
| copier | 0.5 |
| x      |   - |
TABLE

my $workload = {
    chart   => { key => 'cpu', label => 'µs' },
    columns => [
        { key => 'cpu',  heading => 'CPU µs', scale => 1e6, digits => 2, spread => 1 },
        { key => 'rate', heading => 'requests/s' },
    ],
    description => "Says what it is.\n",
    name        => 'hello',
    references  => [qw(nginx feersum)],
    rows        => [
        {
            label  => 'http-server-ev',
            name   => 'http-server-ev',
            notes  => [],
            rounds => [ map { { cpu => $_ * 1e-6, rate => 1000 } } 8, 6, 7 ]
        },
        {
            label   => 'feersum',
            name    => 'feersum',
            notes   => [],
            rounds  => [],
            failure => 'went away'
        },
        {
            label  => 'nginx',
            name   => 'nginx',
            notes  => ['closes'],
            rounds => [ map { { cpu => 1e-5, rate => 999.6 } } 1 .. 3 ]
        },
    ],
    title => 'Hello',
};

is workload_table($workload),
  <<'TABLE', 'medians, spread and the ratio to whoever took part';
| server         | CPU µs |  least–most | requests/s | x nginx |
| -------------- | -----: | ----------: | ---------: | ------: |
| http-server-ev |   7.00 |   6.00–8.00 |       1000 |    0.70 |
| nginx          |  10.00 | 10.00–10.00 |       1000 |    1.00 |
| feersum        |      - |           - |          - |       - |
TABLE

is join( q{}, remarks($workload) ), "- nginx: closes\n- feersum: went away\n", 'remarks';

my $upload = {
    %{$workload},
    name => 'upload',
    rows => [
        {
            label  => 'copier',
            name   => 'copier',
            notes  => [],
            rounds => [ { cpu => 1e-6 } ]
        },
        $workload->{rows}[0]
    ],
};
is overview( 'cpu', $workload, $upload ),
  <<'TABLE', 'the overview leaves out who is in one of two';
| workload | http-server-ev |
| -------- | -------------: |
| hello    |           7.00 |
| upload   |           7.00 |
TABLE

is overview( 'cpu', $workload ), <<'TABLE', 'the overview';
| workload | feersum | http-server-ev | nginx |
| -------- | ------: | -------------: | ----: |
| hello    |       - |           7.00 | 10.00 |
TABLE

subtest 'the page' => sub {
    my $directory = File::Temp->newdir;
    write_document(
        "$directory",
        {
            command => 'bench/run hello',
            facts   => ['Measured here.'],
            servers =>
              [ { name => 'nginx', version => '1.22', purpose => 'Starts nginx.' } ],
            workloads => [$workload],
        }
    );
    my $page = content("$directory/benchmarks.md");
    like $page, qr/^    bench\/run hello$/m,                  'the command';
    like $page, qr/^- Measured here[.]$/m,                    'the facts';
    like $page, qr/^\| nginx \| 1[.]22 \| nginx[.] \|$/m,     'the servers';
    like $page, qr/^!\[Hello\]\(benchmarks\/hello[.]svg\)$/m, 'the chart';
    ok index( $page, workload_table($workload) ) > 0, 'the table';
    my $chart = content("$directory/benchmarks/hello.svg");
    like $chart,   qr/class="own".*class="bar"/s, 'bars, the best first';
    unlike $chart, qr/feersum/,                   'none of those without figures';
};

sub content {
    my $path = shift;
    open my $handle, '<:encoding(UTF-8)', $path or die "$path: $!";
    local $/ = undef;
    return scalar readline $handle;
}

done_testing;
