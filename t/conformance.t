#!/usr/bin/env perl
# What a server of HTTP/1.1 must answer, and must not: the cases of t/conformance, or of
# the files that are named. TEST_SEED is the seed (1) for the order of those in a row.

use strict;
use warnings;

use File::Basename qw(basename);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use Conformance qw(test_cases);
use Conformance::Cases;
use Conformance::Rows qw(rows);

# smuggling.t has those of smuggling.txt.
my @files = grep { !/smuggling/ } glob "$FindBin::Bin/conformance/*.txt";
@files = @ARGV if @ARGV;

my @all;
for my $file (@files) {
    my @cases = Conformance::Cases::read_file($file);
    subtest basename( $file, '.txt' ) => sub { test_cases(@cases) };
    push @all, @cases;
}

subtest 'Many on one connection, sent ahead, cut by chance' => sub {
    my $seed = $ENV{TEST_SEED} || 1;
    srand $seed;
    test_cases( rows( 20, @all ) );
    diag "TEST_SEED=$seed" if !Test::More->builder->is_passing;
};
done_testing;
