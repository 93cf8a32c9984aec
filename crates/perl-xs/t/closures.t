# Rust closures as Perl subs.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

subtest 'a closure is a sub' => sub {
    my $add = Example::adder(2);
    is ref $add,                  'CODE', 'reference';
    is $add->(40),                42,     'called';
    is &$add(1),                  3,      'called again';
    is Example::apply( $add, 5 ), 7,      'called from Rust';
    is_deeply [ map { Example::adder($_)->(1) } 1 .. 3 ], [ 2, 3, 4 ],
      'each with a value of its own';
};

subtest 'its errors are exceptions' => sub {
    my $add = Example::adder(2);
    eval { $add->() };
    like $@,
      qr/^Usage: a Rust closure: argument 1 \(other number\) is missing at \Q$0\E line/,
      'usage';
    eval { $add->(9223372036854775807) };
    like $@, qr/^The sum is too large at \Q$0\E line/, 'its own';
};

subtest 'it can be kept where subs are kept' => sub {
    no warnings 'once';
    *main::add_three = Example::adder(3);
    is main::add_three(1), 4, 'in a glob';
    local $SIG{__WARN__} = Example::adder(1);
    ok 1, 'as a handler';
};

done_testing;
