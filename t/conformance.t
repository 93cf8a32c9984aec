#!/usr/bin/env perl
# What a server of HTTP/1.1 must answer, and must not: the cases of t/conformance, or of
# the files that are named.

use strict;
use warnings;

use File::Basename qw(basename);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use Conformance qw(test_cases);
use Conformance::Cases;

# smuggling.t has those of smuggling.txt.
my @files = grep { !/smuggling/ } glob "$FindBin::Bin/conformance/*.txt";
@files = @ARGV if @ARGV;

for my $file (@files) {
    subtest basename( $file, '.txt' ) => sub {
        test_cases( Conformance::Cases::read_file($file) );
    };
}
done_testing;
