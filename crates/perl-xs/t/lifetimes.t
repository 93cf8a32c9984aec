# What Perl frees while Rust works on it.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

subtest 'an argument freed by a callback' => sub {
    our @array = ( 'text' x 10 );
    is Example::apply( sub { undef @array; my @fill = ('other') x 100; $_[0] },
        $array[0] ), 'text' x 10, 'stays for the call';
    my $object = { key => 'value' };
    is Example::apply( sub { undef $object; $_[0]{key} }, $object ), undef,
      'a variable is still the variable';
};

subtest 'a callback that frees itself' => sub {
    my $held     = 'held';
    my $callback = sub { undef $_[0]; "$held" };
    is Example::apply( $callback, $callback ), 'held', 'goes on';
    our $closure = Example::Probe::self_freeing_closure();
    is $closure->(), 'still here', 'a closure of Rust too';
    is $closure,     undef,        'and is gone';
};

subtest 'a callback that moves the stack' => sub {
    my @many = Example::apply(
        sub {
            my @list = map {
                Example::apply( sub { @_ }, 1 .. 1000 )
            } 1 .. 50;
            ( scalar @list, @_ );
        },
        1 .. 20
    );
    is_deeply \@many, [ 50000, 1 .. 20 ], 'arguments and results are right';
};

subtest 'a signal handler may die in a callback' => sub {
    local $SIG{USR1} = sub { die "signal\n" };
    is Example::attempt( sub { kill USR1 => $$; 1 for 1 .. 10; 'no' } ),
      "caught: signal\n", 'caught';
};

done_testing;
