# bench/upload: a small run against the copier ends with its row, its figures and nothing left over.
use strict;
use warnings;

use FindBin qw($Bin);

use File::Temp;
use JSON::PP;
use Test::More;

my $directory = File::Temp->newdir;
my $json      = File::Temp->new;

my @command = (
    "$Bin/../upload",         qw(--no-install --size 8M --rounds 2),
    "--directory=$directory", "--json=$json"
);
my $output = qx{@command --only copier 2>&1};
is $?, 0, 'exit status' or diag $output;
like $output, qr/^\| copier\s+\|\s+\d+[.]\d+ \|.*\| +1[.]00 \| +- \|$/m,
  'a row, with the ratio to itself';
is_deeply [ glob "$directory/*" ], [], 'no file left';

my $result = decode_json( do { local $/; <$json> } );
my @rounds = @{ $result->{servers}{copier}{rounds} };
is scalar @rounds, 2, 'two rounds';
for my $round (@rounds) {
    cmp_ok $round->{cpu},   '>', 0, 'CPU seconds';
    cmp_ok $round->{speed}, '>', 0, 'MB/s';
    is $round->{counted}, 'body', 'every byte of the body was counted';
}

$output = qx{@command --only nonesuch 2>&1};
isnt $?, 0, 'an unknown server is an error';
like $output, qr/No such server: nonesuch/, 'and named';

done_testing;
