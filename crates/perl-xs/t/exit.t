# exit in a callback ends the program at any depth, with its status, after Rust's destructors and with the END blocks.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

# What each program prints, and its exit status.
my @programs = (
    [ 'in a callback', 'Example::apply(sub { exit 3 }); say_it("no")', 3, 'END' ],
    [ 'status 0',      'Example::apply(sub { exit 0 }); say_it("no")', 0, 'END' ],
    [ 'status 1',      'Example::apply(sub { exit 1 }); say_it("no")', 1, 'END' ],
    [
        'in an eval in a callback',
        'eval { Example::apply(sub { eval { exit 4 }; say_it("no") }) }; say_it("no")',
        4, 'END'
    ],
    [
        'through four borders',
'Example::apply(sub { Example::apply(sub { exit 5 }); say_it("no") }); say_it("no")',
        5,
        'END'
    ],
    [ 'swallowed in Rust', 'say_it(Example::Probe::swallow(sub { exit 6 }))', 6, 'END' ],
    [
        'Perl code is refused while it waits',
'Example::Probe::swallow_then(sub { exit 7 }, sub { say_it("no") }); say_it("no")',
        7,
        'END'
    ],
    [
        'destructors run first',
'Example::Probe::with_guard(sub { say_it("no") }, sub { my $o = Object->new("object"); exit 8 })',
        8,
        'object END'
    ],
    [
        'an object that Rust holds is destroyed, calling Rust',
'Example::Probe::hold(Object->new("held")); Example::Probe::swallow(sub { Example::Probe::drop_held(); exit 9 })',
        9,
        'held END'
    ],
    [
        'in DESTROY',
'Example::Probe::hold(Exits::Destroyed->new); Example::Probe::drop_held(); say_it("no")',
        10,
        'END'
    ],
    [
        'in a tied variable',
        'tie my $t, "Exits::Tied"; Example::Probe::text($t); say_it("no")',
        11, 'END'
    ],
    [
        'in overloading',
        'Example::Probe::text(Exits::Overloaded->new); say_it("no")',
        12, 'END'
    ],
    [
        'in a warning handler',
        '$SIG{__WARN__} = sub { exit 13 }; Example::Probe::warn("w"); say_it("no")',
        13, 'END'
    ],
    [
        'in a sort',
        'my @s = sort { Example::apply(sub { exit 14 }) } 1, 2; say_it("no")',
        14, 'END'
    ],
    [ 'in BEGIN', 'BEGIN { Example::apply(sub { exit 15 }) } say_it("no")', 15, 'END' ],
    [
        'in a string eval',
        'eval q{Example::apply(sub { eval q{exit 16} })}; say_it("no")',
        16, 'END'
    ],
    [ 'in END', 'END { Example::apply(sub { exit 17 }); say_it("no") }', 17, 'END' ],
    [
        'in a closure of Rust',
        'Example::apply(Example::adder(1), Exits::Overloaded->new); say_it("no")',
        12, 'END'
    ],
    [
        'in a destructor of Rust data',
        '{ my $h = {}; Example::Probe::attach_guard($h, sub { exit 18 }) } say_it("no")',
        18,
        'END'
    ],
    [
        'at_exit, after END',
        'Example::Probe::at_exit(sub { say_it($_[0] || "hook") }) for 1, 2',
        0, 'END hook hook'
    ],
    [
        'in at_exit', 'Example::Probe::at_exit(sub { say_it("hook"); exit 20 })',
        20,           'END hook'
    ],
    [
        'local is undone',
'$x = "old"; Example::apply(sub { local $x = "new"; exit 21 }); END { say_it($x) }',
        21,
        'old END'
    ],
    [
        'die outside of all evals',
        'Example::apply(sub { die "died\n" }); say_it("no")',
        255, "END"
    ],
    [ '$? in END', 'END { $? = 22 } Example::apply(sub { exit 2 })', 22, 'END' ],
);

my $prelude = <<'PRELUDE';
use strict;
BEGIN { open STDERR, '>', '/dev/null' }
our ($x, @said);
# Destroyed last of all, it tells what was said.
our $coda;
BEGIN { $coda = bless [], 'Coda' }
sub Coda::DESTROY { local $?; print "@said" }
END { push @said, 'END' }
sub say_it { push @said, @_ }

package Object;
use Example;
sub new { my ($class, $name) = @_; return bless { name => $name }, $class }
sub DESTROY { my ($self) = @_; Example::apply(sub { main::say_it($self->{name}) }) }

package Exits::Destroyed;
sub new     { return bless {}, shift }
my $destroyed = 0;
sub DESTROY { exit 10 unless $destroyed++ }

package Exits::Tied;
sub TIESCALAR { return bless [], shift }
sub FETCH     { exit 11 }

package Exits::Overloaded;
use overload '""' => sub { exit 12 }, '0+' => sub { exit 12 }, fallback => 1;
sub new { return bless [], shift }

package main;
PRELUDE

for (@programs) {
    my ( $name, $program, $status, $output ) = @$_;
    open my $pipe, '-|', $^X, '-Mblib=t/example/blib', '-e', $prelude . $program
      or die "Cannot run $^X: $!";
    my $printed = do { local $/; readline $pipe };
    close $pipe;
    is $? & 127, 0,       "$name: no signal";
    is $? >> 8,  $status, "$name: status";
    is $printed, $output, "$name: what ran";
}

done_testing;
