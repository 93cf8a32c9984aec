# Rust data on Perl values: found, type-checked, dropped once, and never copied.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use B;
use Scalar::Util 'weaken';
use Storable 'dclone';
use Test::More;

use Example;

subtest 'an object holds its data' => sub {
    my $counter = Example::Counter->new(40);
    $counter->increment for 1 .. 2;
    is $counter->value, 42,                 'value';
    is ref $counter,    'Example::Counter', 'class';
    my $other = Example::Counter->new;
    is $other->value, 0, 'another one has its own';
    my $copy = $counter;
    $copy->increment;
    is $counter->value, 43, 'a copy of the reference is the same object';
};

subtest 'a subclass works' => sub {
    @Sub::Counter::ISA = 'Example::Counter';
    is( Sub::Counter->new(7)->value, 7, 'value' );
};

subtest 'a class that was looked up makes objects' => sub {
    my $hash = {};
    Example::Probe::bless_into( $hash, 'Some::Class' );
    is ref $hash, 'Some::Class', 'blessed';
    Example::Probe::bless_into( $hash, 'Some::Other' );
    is ref $hash, 'Some::Other', 'and blessed again';
    Internals::SvREADONLY( %{$hash}, 1 );
    is eval { Example::Probe::bless_into( $hash, 'Some::Class' ); 1 }, undef,
      'a constant is refused';
};

subtest 'what is not a counter is refused' => sub {
    for my $wrong ( {}, [], 'text', undef, bless( {}, 'Example::Counter' ), sub { } ) {
        is eval { Example::Counter::value($wrong); 1 }, undef, 'refused';
        like $@, qr/^Example::Counter::value: not an Example::Counter at \Q$0\E/,
          'message';
    }
    my $guarded = {};
    Example::Probe::attach_guard( $guarded, sub { } );
    is eval { Example::Counter::value($guarded); 1 }, undef, 'data of another type';
};

subtest 'the hash does not look magical' => sub {
    my $counter = Example::Counter->new;
    is B::svref_2object($counter)->FLAGS & ( B::SVs_GMG | B::SVs_SMG | B::SVs_RMG ), 0,
      'flags';
    $counter->{key} = 'value';
    is_deeply { %$counter }, { key => 'value' }, 'and is a hash like others';
};

subtest 'copies carry nothing' => sub {
    my $clone = dclone( Example::Counter->new(5) );
    is eval { $clone->value; 1 }, undef, 'a deep one';
    my $shallow = bless { %{ Example::Counter->new(5) } }, 'Example::Counter';
    is eval { $shallow->value; 1 }, undef, 'a shallow one';
};

subtest 'data is dropped with its value, once' => sub {
    my $drops = 0;
    my $drop  = sub { $drops++ };
    for my $value (
        {}, [], \my $scalar,
        do { no warnings 'once'; \*GLOB }
      )
    {
        my $before = $drops;
        Example::Probe::attach_guard( $value, $drop );
        is $drops, $before, 'not yet';
        next if ref $value eq 'GLOB' || ref $value eq 'SCALAR';
        $value = undef;
        is $drops, $before + 1, 'now';
    }
    my $value = {};
    $drops = 0;
    Example::Probe::attach_guard( $value, $drop ) for 1, 2;
    is $drops, 1, 'new data replaces what was there';
    $value = undef;
    is $drops, 2, 'and goes itself';
};

subtest 'data on a variable goes at the end of its scope' => sub {
    my $drops = 0;
    for my $turn ( 1 .. 3 ) {
        my ( $scalar, @array, %hash ) = $turn;
        Example::Probe::attach_guard( $_, sub { $drops++ } )
          for \$scalar, \@array, \%hash;
        is $drops, 3 * ( $turn - 1 ), "turn $turn";
        %hash = ( key => 'value' );
        is Example::Probe::hash_get( \%hash, 'key' ), 'value',
          'it is a variable like others';
    }
    is $drops, 9, 'all';
    {
        my $code = sub { $drops };
        Example::Probe::attach_guard( $code, sub { $drops++ } )
    }
    is $drops, 10, 'a sub';
};

subtest 'local copies no data' => sub {
    our %global = ( key => 1 );
    my $drops = 0;
    Example::Probe::attach_guard( \%global, sub { $drops++ } );
    { local %global = ( other => 2 ); is $drops, 0, 'inside' }
    is $drops, 0, 'after';
    { local $global{key} = 3 }
    is $global{key}, 1, 'elements';
};

subtest 'constants take none' => sub {
    is eval {
        Example::Probe::attach_guard( \undef, sub { } );
        1;
    }, undef, 'undef';
    like $@, qr/^Cannot attach data to a constant at /, 'message';
};

subtest 'an object may be freed by what it calls' => sub {
    my $object = { code => sub { } };
    Example::Probe::attach_guard( $object, sub { } );
    my $weak = $object;
    weaken($weak);
    is Example::Probe::with_guard( sub { }, sub { undef $object; 'went on' } ),
      'went on', 'result';
    is $weak, undef, 'it is gone';
};

done_testing;
