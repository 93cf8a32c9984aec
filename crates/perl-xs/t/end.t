# The end of the interpreter.

use strict;
use warnings;

use Config;
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

subtest 'whatever is done with values when the interpreter is gone is refused' => sub {
    my $program =
'our $variable = "text"; Example::Probe::use_when_gone($variable, {}, [], sub { print "called" })';
    my @expected = map { "$_ refused" } ('scalar') x 10, ('hash') x 2, ('array') x 2,
      qw(code interpreter functions separator);
    for my $level ( 0, 2 ) {
        local $ENV{PERL_DESTRUCT_LEVEL} = $level;
        my @printed = split /\n/,
          qx{$^X -Mblib=t/example/blib -MExample -e '$program' 2>&1};
        is_deeply \@printed, \@expected, "destruct level $level";
        is $?, 0, 'status';
    }
};

subtest 'so it is when a coroutine was left in the middle of Rust' => sub {
    plan skip_all => 'needs Coro' if !eval { require Coro };
    plan skip_all =>
      'Coro trips over an assertion of perl when it destroys any callback of C'
      if grep { $_ eq 'DEBUGGING' } Config::non_bincompat_options();
    my $program =
'use Coro; async { Example::apply( sub { Coro::schedule } ) }; cede; print "left\n";'
      . 'Example::Probe::use_when_gone("text", {}, [], sub { }); Example::Probe::keep_for_good({})';
    my $printed = qx{$^X -Mblib=t/example/blib -MExample -e '$program' 2>&1};
    like $printed,   qr/^left\nscalar refused\n/, 'used at the end';
    unlike $printed, qr/NOT/,                     'and refused';
    is $?, 0, 'status';
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
