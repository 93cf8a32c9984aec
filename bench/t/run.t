# bench/run: small runs end with their rows, their figures, their page, and nothing left over.
use strict;
use warnings;

use FindBin qw($Bin);

use File::Temp;
use JSON::PP;
use Test::More;

my $directory = File::Temp->newdir;
my $json      = File::Temp->new;

my @command = (
    "$Bin/../run",         qw(--no-install --rounds 2 --size 8M),
    "--memory=$directory", "--json=$json"
);

sub measured {
    my @arguments = @_;
    my $output    = qx{@command @arguments 2>&1};
    is $?, 0, "exit status of @arguments" or diag $output;
    open my $handle, '<:raw', "$json" or die "$json: $!";
    local $/ = undef;
    return ( decode_json( readline $handle ), $output );
}

subtest 'an upload' => sub {
    my ( $run, $output ) = measured(qw(--only copier upload));
    like $output, qr/^\| copier\s+\|\s+\d+[.]\d+ \|.*\| +1[.]00 \|$/m,
      'a row, with the ratio to itself';
    is_deeply [ glob "$directory/*" ], [], 'no file left';

    my @rounds = @{ $run->{workloads}[0]{rows}[0]{rounds} };
    is scalar @rounds, 2, 'two rounds';
    for my $round (@rounds) {
        cmp_ok $round->{cpu},   '>', 0, 'CPU seconds';
        cmp_ok $round->{speed}, '>', 0, 'MB/s';
        is $round->{counted}, 'body', 'every byte of the body was counted';
    }

    my $again = qx{$Bin/../run --from $json};
    my ($section) = $again =~ /(## .*)/s;
    like $output, qr/\Q$section\E/, 'a saved run is shown as it was';
};

isnt system("@command --only nonesuch >/dev/null 2>&1"), 0,
  'an unknown server is an error';
like qx{@command --only nonesuch 2>&1}, qr/No such server: nonesuch/, 'and named';
like qx{@command nonesuch 2>&1}, qr/No such workload: nonesuch/,
  'as an unknown workload is';

done_testing;
