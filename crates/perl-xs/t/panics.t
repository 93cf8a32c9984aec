# Panics are exceptions that name the module.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

# Nobody wants one here, whatever the caller's habit.
delete $ENV{RUST_BACKTRACE};

subtest 'a panic is an exception' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    my $line = __LINE__ + 1;
    eval { Example::Probe::panic('oh') };
    like $@,
      qr/^Example: internal error: oh at \S+probe\.rs:\d+ at \Q$0\E line $line\.$/,
      'in a function';
    eval { Example::Probe::panicking_closure()->() };
    like $@, qr/^Example: internal error: index out of bounds.* at \S+probe\.rs:\d+ at/,
      'in a closure';
    is_deeply \@warnings, [], 'no warnings';
};

subtest 'a panic prints nothing, unless a backtrace is wanted' => sub {
    my $run =
qq{$^X -Mblib=t/example/blib -MExample -e 'eval { Example::Probe::panic("oh") }; print "went on"' 2>&1};
    is scalar `$run`, 'went on', 'quiet';
    local $ENV{RUST_BACKTRACE} = 1;
    like scalar `$run`, qr/panicked at .*oh.*stack backtrace.*went on/s,
      'with RUST_BACKTRACE';
};

done_testing;
