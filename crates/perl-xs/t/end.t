# The end of the interpreter.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

subtest 'values that outlive the interpreter are harmless' => sub {
    my $program =
'Example::Probe::keep_for_good($_, bless([], "Object"), {}, sub { $_ }, "text", Example::adder(1)) for [], {}';
    for my $level ( 0, 2 ) {
        local $ENV{PERL_DESTRUCT_LEVEL} = $level;
        is system( $^X, '-Mblib=t/example/blib', '-MExample', '-e', $program ), 0,
          "destruct level $level";
    }
};

subtest 'Rust data that goes with the interpreter may use it' => sub {
    my $program =
      'our $global = {}; Example::Probe::attach_guard($global, sub { print "too late" });'
      . 'our $object = bless {}, "Object"; Example::Probe::attach_guard($object, sub { print "object " })';
    for my $level ( 0, 2 ) {
        local $ENV{PERL_DESTRUCT_LEVEL} = $level;
        my $printed = qx{$^X -Mblib=t/example/blib -MExample -e '$program' 2>&1};
        is $printed, 'object ', "on an object, destruct level $level";
        is $?,       0,         'status';
    }
};

done_testing;
