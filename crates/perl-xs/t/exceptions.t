# Exceptions go both ways through any depth, and leave the caller's $@ alone.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

subtest 'from Rust: a message' => sub {
    eval { Example::Probe::croak('no newline') };
    is $@, "no newline at $0 line @{[__LINE__ - 1]}.\n", "the caller's file and line";
    eval { Example::Probe::croak("newline\n") };
    is $@, "newline\n", 'nothing added';
    eval { Example::Probe::croak("\x{263a}") };
    like $@, qr/^\x{263a} at /, 'text';
};

subtest "from Rust's own messages and errors" => sub {
    eval { Example::Probe::croak_string("text \x{263a}\n") };
    is $@, "text \x{263a}\n", 'a String';
    eval { Example::Probe::croak_literal() };
    is $@, "literal\n", 'a literal';
    eval { Example::Probe::croak_system() };
    like $@, qr/^No such file or directory \(os error 2\) at \Q$0\E/, "the system's";
};

subtest 'in Rust an error shows its message, and its kind to programmers' => sub {
    my ( $text, $kind, $bytes ) = Example::Probe::error_texts( sub { die "\xf6\n" } );
    is $text,  "\xf6\n", 'the message';
    is $bytes, "\xf6\n", 'its bytes';
    like $kind, qr/^Die\(Scalar\(0x[0-9a-f]+\)\)$/, 'the kind';
    is_deeply [ Example::Probe::error_texts( sub { 1 } ) ], [], 'none';
};

subtest 'from Rust: an object' => sub {
    my $object = bless {}, 'Exception';
    eval { Example::Probe::die($object) };
    is $@, $object, 'comes through';
};

subtest 'from a callback' => sub {
    eval {
        Example::apply( sub { die "string\n" } );
    };
    is $@, "string\n", 'a string';
    my $object = bless [], 'Exception';
    eval {
        Example::apply( sub { die $object } );
    };
    is $@,                                         $object,            'an object';
    is Example::attempt( sub { die "string\n" } ), "caught: string\n", 'caught in Rust';
};

subtest 'a false exception is one' => sub {

    package Exception::False {
        use overload bool => sub { die 'must not be asked' }, '""' => sub { '' };
    }
    is Example::attempt( sub { die bless {}, 'Exception::False' } ), 'caught: ',
      'an object';
    like Example::attempt( sub { die '' } ),     qr/^caught: Died at/, 'an empty string';
    like Example::attempt( sub { die 0 } ),      qr/^caught: 0 at/,    'zero';
    like Example::attempt( sub { die *STDIN } ), qr/^caught: \*main::STDIN/, 'a glob';
};

subtest 'through four borders' => sub {
    my @seen;
    my $inner = sub { push @seen, 'inner'; die "deep\n" };
    my $outer = sub { push @seen, 'outer'; Example::apply($inner); push @seen, 'never' };
    eval { Example::apply($outer) };
    is $@, "deep\n", 'the exception';
    is_deeply \@seen, [qw(outer inner)], 'the way';
};

subtest "the caller's \$\@ is its own" => sub {
    local $@ = 'before';
    Example::attempt(
        sub {
            eval { die 'inside' };
            1;
        }
    );
    is $@, 'before', 'after success';
    Example::attempt( sub { die "inside\n" } );
    is $@, 'before', 'after failure';
    Example::attempt(
        sub {
            is $@, '', 'empty in the callback';
            eval { die 'inner' };
            1;
        }
    );
    is $@, 'before', 'after an eval';
};

subtest '$SIG{__DIE__} is called as for an eval' => sub {
    my @seen;
    local $SIG{__DIE__} = sub { push @seen, @_, $^S };
    Example::attempt( sub { die "told\n" } );
    is_deeply \@seen, [ "told\n", 1 ], 'once, and knows that it will be caught';
    local $SIG{__DIE__} = sub { die "changed: @_" };
    is Example::attempt( sub { die "told\n" } ), "caught: changed: told\n",
      'it may change the exception';
};

subtest 'destructors run before the exception goes on' => sub {
    my @order;
    eval {
        Example::Probe::with_guard( sub { push @order, 'dropped' },
            sub { die "died\n" } );
    } or push @order, $@;
    is_deeply \@order, [ 'dropped', "died\n" ], 'order';
};

done_testing;
