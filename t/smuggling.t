#!/usr/bin/env perl
# Requests that state their length twice or badly, as t/conformance/smuggling.txt has them: a
# request never hides in another, neither here nor behind a proxy.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use Conformance qw(test_cases);
use Conformance::Cases;

my @CASES = Conformance::Cases::read_file("$FindBin::Bin/conformance/smuggling.txt");

subtest 'Each is refused, or read as RFC 9112 has it' => sub {
    test_cases(@CASES);
};

done_testing;
