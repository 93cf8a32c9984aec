# Reading and changing scalars: plain, tied, overloaded, constant.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Scalar::Util qw(dualvar isweak);
use Test::More;

use Example;

BEGIN {
    no strict 'refs';
    *$_ = \&{"Example::Probe::$_"} for qw(is_defined is_true text bytes integer number looks_like_number);
}

{
    package Tied;
    sub TIESCALAR { my ($class, @values) = @_; return bless [@values], $class }
    sub FETCH { my ($self) = @_; die $self->[0] if ref $self->[0] eq 'Exception'; return shift @$self }
    sub STORE { my ($self, $value) = @_; die "no store\n" if $value eq 'die'; push @$self, $value; return }

    package Overloaded;
    use overload
        '""'     => sub { $_[0]{string} // die "no string\n" },
        '0+'     => sub { $_[0]{number} },
        bool     => sub { $_[0]{bool} },
        fallback => 1;
    sub new { my ($class, %self) = @_; return bless \%self, $class }
}

subtest 'plain values' => sub {
    ok !is_defined(undef), 'undef';
    ok is_defined($_), "defined: $_" for '', 0, 'x', \1, *STDIN;
    ok is_true($_),  'true' for 1, 'x', '0.0', 0.5, -1, [], *STDIN;
    ok !is_true($_), 'false' for undef, 0, '', '0', 0.0;
    is text('wörld'), 'wörld', 'text';
    is bytes('ö'), "\xc3\xb6", 'bytes are the internal ones';
    is bytes("\xf6"), "\xf6", 'whatever they are';
    is bytes($_), $_, "string of $_" for 42, -7, 0.5, 1e100, 18446744073709551615;
    is bytes(undef), '', 'undef is empty';
    is bytes(''), '', 'as is the empty string';
    like text([]), qr/^ARRAY\(0x/, 'a reference';
    is text(*STDIN), '*main::STDIN', 'a glob';
    is Example::Probe::joined(1, 'ö', "\xf6", undef, 0.5), "1\xc3\xb6\xf60.5", 'as print wants it';
};

subtest 'reading leaves the value as it was' => sub {
    require B;
    my $number = 42;
    my $before = B::svref_2object(\$number)->FLAGS;
    integer($number), number($number), is_true($number), text($number), looks_like_number($number);
    is B::svref_2object(\$number)->FLAGS & B::SVf_POK(), $before & B::SVf_POK(), 'a number gets no string';
};

subtest 'numbers' => sub {
    is integer($_), int $_, "integer: $_" for 0, 42, -42, '42', '-42', 1.9, -1.9, '1.9', 9223372036854775807, '9223372036854775807';
    is integer(18446744073709551615), 9223372036854775807, 'too large: the largest';
    is integer(1e30), 9223372036854775807, 'far too large';
    is integer(-1e30), '-9223372036854775808', 'far too small';
    is integer('NaN' + 0), 0, 'not a number';
    cmp_ok number($_), '==', $_, "number: $_" for 0.5, '0.5', 42, -1e100, 18446744073709551615;
    is integer(dualvar(5, 'five')), 5, 'dual';
    ok looks_like_number($_), "looks like one: $_" for 1, '1', '1.5e3', ' 1', 'Inf';
    ok !looks_like_number($_), 'looks like none' for 'x', '', '1x', undef;
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is integer('12abc'), 12, 'as far as it goes';
    like $warnings[0], qr/^Argument "12abc" isn't numeric/, 'with a warning';
    is_deeply [map {"$_"} (Example::Probe::numbers())[0 .. 5]],
        ['-9223372036854775808', '9223372036854775807', '18446744073709551615', '0.5', '1', ''], 'new ones';
};

subtest 'tied values are fetched once a reading' => sub {
    tie my $tied, 'Tied', 'text', 0, 1.5, undef, [1];
    is text($tied), 'text', 'text';
    ok !is_true($tied), 'truth';
    is number($tied), 1.5, 'number';
    ok !is_defined($tied), 'definedness';
    ok Example::Probe::is_array($tied), 'reference';
    Example::Probe::assign($tied, 'stored');
    is text($tied), 'stored', 'stored and fetched';
    is eval { Example::Probe::assign($tied, 'die'); 1 }, undef, 'an exception in STORE';
    is $@, "no store\n", 'comes through';
    tie my $dies, 'Tied', bless [], 'Exception';
    is eval { $_->($dies); 1 }, undef, 'an exception in FETCH' for \&text, \&integer, \&is_true, \&is_defined, \&bytes;
};

subtest 'overloaded objects are asked' => sub {
    my $object = Overloaded->new(string => 'ö', number => 7, bool => 0);
    is text($object), 'ö', 'string';
    is integer($object), 7, 'integer';
    is number($object), 7, 'number';
    ok !is_true($object), 'truth';
    is eval { text(Overloaded->new); 1 }, undef, 'an exception';
    is $@, "no string\n", 'comes through';
};

subtest 'constants cannot be assigned to' => sub {
    for my $constant (\1, \undef, \'text') {
        is eval { Example::Probe::assign($$constant, 2); 1 }, undef, 'dies';
        like $@, qr/^Modification of a read-only value attempted at \Q$0\E/, 'as in Perl';
    }
};

subtest 'assigning' => sub {
    my ($variable, $other) = (1, [2]);
    Example::Probe::assign($variable, $_), is $variable, $_, 'assigned' for 'text', 3, $other, undef, *STDIN;
};

subtest 'references and classes' => sub {
    sub Other::method { }
    my $object = bless {}, 'Overloaded';
    is Example::Probe::class($object), 'Overloaded', 'class';
    is Example::Probe::class({}), undef, 'none';
    ok Example::Probe::is_object($object) && !Example::Probe::is_object({}), 'object';
    ok Example::Probe::derived_from($object, 'Overloaded'), 'derived';
    ok !Example::Probe::derived_from($object, 'Other'), 'not derived';
    Example::Probe::set_isa('Overloaded', 'Other');
    ok Example::Probe::derived_from($object, 'Other'), 'now it is';
    ok Example::Probe::is_hash($object) && !Example::Probe::is_array($object), 'kinds';
    ok Example::Probe::is_code(sub { }), 'code';
    my $copy = $object;
    Example::Probe::weaken($copy) for 1, 2;
    ok isweak($copy), 'weak';
    is eval { Example::Probe::weaken('text'); 1 }, undef, 'only references';
    ok Example::Probe::same($object, $object), 'same';
    ok !Example::Probe::same($object, my $other = $object), 'not the same';
};

subtest 'a hash, array or sub is not a scalar' => sub {
    no strict 'refs';
    for my $container ({ key => 1 }, [1], sub ($;$) { 1 }) {
        for my $use (qw(referent assign_referent insert_referent push_referent die_referent call_with_referent)) {
            is eval { &{"Example::Probe::$use"}($container, sub { fail 'called' }); 1 }, undef, "$use of $container";
            like $@, qr/^A hash, array or sub where a scalar is wanted/, 'message';
        }
        is Example::Probe::referent_text($container), '', 'read as one it is empty';
    }
    is Example::Probe::referent(\'scalar'), 'scalar', 'a scalar is';
};

subtest 'methods' => sub {
    { package Class; sub new { my ($class, @values) = @_; return bless [@values], $class } sub at { $_[0][$_[1]] } }
    my $object = Example::Probe::call_method('Class', 'new', 5, 6);
    is Example::Probe::call_method($object, 'at', 1), 6, 'of class and object';
    is eval { Example::Probe::call_method($object, 'missing'); 1 }, undef, 'a missing one';
    like $@, qr/^Can't locate object method "missing" via package "Class" at \Q$0\E/, 'is an exception';
};

subtest 'bytes that are UTF-8 as Perl has it become text' => sub {
    is Example::Probe::perl_utf8("\xc3\xb6"), 'ö', 'text';
    is Example::Probe::perl_utf8("\xf6\xc3"), "\xf6\xc3", 'bytes';
};

subtest 'warnings' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    Example::Probe::warn("careful");
    is $warnings[0], "careful at $0 line @{[__LINE__ - 1]}.\n", 'with a line';
    local $SIG{__WARN__} = sub { die "handler\n" };
    is eval { Example::Probe::warn('careful'); 1 }, undef, 'a handler that dies';
    is $@, "handler\n", 'is an exception';
};

done_testing;
