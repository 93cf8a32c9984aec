# What is freed while Rust works on it, and what DESTROY does then.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

{
    package Object;
    sub new { my ($class, $code) = @_; return bless { code => $code }, $class }
    sub DESTROY { my ($self) = @_; $self->{code}->() }
}

subtest 'an argument freed by a callback' => sub {
    our @array = ('text' x 10);
    is Example::apply(sub { undef @array; my @fill = ('other') x 100; $_[0] }, $array[0]), 'text' x 10, 'stays for the call';
    my $object = { key => 'value' };
    is Example::apply(sub { undef $object; $_[0]{key} }, $object), undef, 'a variable is still the variable';
};

subtest 'a callback that frees itself' => sub {
    my $held     = 'held';
    my $callback = sub { undef $_[0]; "$held" };
    is Example::apply($callback, $callback), 'held', 'goes on';
    our $closure = Example::Probe::self_freeing_closure();
    is $closure->(), 'still here', 'a closure of Rust too';
    is $closure, undef, 'and is gone';
};

subtest 'a callback that moves the stack' => sub {
    my @many = Example::apply(sub { my @list = map { Example::apply(sub {@_}, 1 .. 1000) } 1 .. 50; (scalar @list, @_) }, 1 .. 20);
    is_deeply \@many, [50000, 1 .. 20], 'arguments and results are right';
};

subtest 'the last reference may be held in Rust' => sub {
    my $destroyed = 0;
    Example::Probe::hold(Object->new(sub { $destroyed++ }));
    is $destroyed, 0, 'held';
    Example::Probe::drop_held();
    is $destroyed, 1, 'dropped';
};

subtest 'DESTROY may die' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    local $@ = 'before';
    Example::Probe::hold(Object->new(sub { die "in DESTROY\n" }));
    Example::Probe::drop_held();
    is scalar @warnings, 1, 'one warning';
    like $warnings[0], qr/^\t\(in cleanup\) in DESTROY$/m, 'with its message';
    is $@, 'before', '$@';
    local $SIG{__WARN__} = sub { die 'in the handler' };
    open local *STDERR, '>', \my $printed;
    Example::Probe::hold(Object->new(sub { die "in DESTROY\n" }));
    ok eval { Example::Probe::drop_held(); 1 }, 'even in the warning handler';
};

subtest 'DESTROY may use Rust' => sub {
    my @seen;
    Example::Probe::hold(Object->new(sub { Example::apply(sub { push @seen, Example::hello('D') }) }));
    Example::Probe::hold(Object->new(sub { Example::Probe::drop_held(); push @seen, 'nested' }));
    Example::Probe::drop_held();
    is_deeply \@seen, ['Hello, D!', 'nested'], 'as always';
};

subtest 'a replaced value in a hash is destroyed' => sub {
    my $destroyed = 0;
    my $value     = 1;
    my %hash      = (key => Object->new(sub { $destroyed++; Example::hello('x') }));
    Example::Probe::hash_insert(\%hash, 'key', $value);
    is $destroyed, 1, 'replaced';
    delete $hash{key};
    $hash{key} = Object->new(sub { $destroyed++; %hash = () });
    Example::Probe::hash_remove(\%hash, 'key');
    is $destroyed, 2, 'removed';
    $hash{key} = Object->new(sub { $destroyed++; $hash{new} = 1 });
    Example::Probe::hash_clear(\%hash);
    is $destroyed, 3, 'cleared';
};

subtest 'a panic in a destructor is a warning' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    { my $value = 'text'; Example::Probe::attach_panic($value) }
    is scalar @warnings, 1, 'one';
    like $warnings[0], qr/^\t\(in cleanup\) Example: internal error: dropped at \S+probe\.rs:\d+ at \Q$0\E/, 'message';
};

subtest 'a signal handler may die in a callback' => sub {
    local $SIG{USR1} = sub { die "signal\n" };
    is Example::attempt(sub { kill USR1 => $$; 1 for 1 .. 10; 'no' }), "caught: signal\n", 'caught';
};

subtest 'values that outlive the interpreter are harmless' => sub {
    my $program = 'Example::Probe::keep_for_good($_, bless([], "Object"), {}, sub { $_ }, "text", Example::adder(1)) for [], {}';
    for my $level (0, 2) {
        local $ENV{PERL_DESTRUCT_LEVEL} = $level;
        is system($^X, '-Mblib=t/example/blib', '-MExample', '-e', $program), 0, "destruct level $level";
    }
};

subtest 'Rust data that goes with the interpreter may use it' => sub {
    my $program = 'our $global = {}; Example::Probe::attach_guard($global, sub { print "too late" });'
        . 'our $object = bless {}, "Object"; Example::Probe::attach_guard($object, sub { print "object " })';
    for my $level (0, 2) {
        local $ENV{PERL_DESTRUCT_LEVEL} = $level;
        my $printed = qx{$^X -Mblib=t/example/blib -MExample -e '$program' 2>&1};
        is $printed, 'object ', "on an object, destruct level $level";
        is $?, 0, 'status';
    }
};

done_testing;
