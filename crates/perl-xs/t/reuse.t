# Objects and hashes that are used again where nobody kept anything of them.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Hash::Util;
use Scalar::Util 'weaken';
use Symbol ();
use Test::More;
use Tie::Hash;
use Tie::Scalar;

use Example;

sub Parent::new { }

my $ALL = 'scalar hash array weak lazy';

# What may outlive the use of an object.
our @kept;

# What is done with an object => the elements that are as they were made; nothing if it cannot
# be used again.
my @USES = (
    [ 'nothing'          => sub { },                                            $ALL ],
    [ 'reading a scalar' => sub { my $scalar = "$_[0]{scalar}" },               $ALL ],
    [ 'another number'   => sub { $_[0]{scalar} = 1.5 },                        $ALL ],
    [ 'a string'         => sub { $_[0]{scalar} = "\x{263a}" },                 $ALL ],
    [ 'undef'            => sub { undef $_[0]{scalar} },                        $ALL ],
    [ 'filled, emptied'  => sub { $_[0]{hash}{a} = 1; %{ $_[0]{hash} } = () },  $ALL ],
    [ 'other containers' => sub { $_[0]{hash} = {}; $_[0]{array} = [] },        $ALL ],
    [ 'local'            => sub { local $_[0]{scalar} = {} },                   $ALL ],
    [ 'blessed back'     => sub { bless $_[0], 'Other'; bless $_[0], 'Plain' }, $ALL ],

    [ 'a reference in it' => sub { $_[0]{scalar} = [] },         'hash array weak lazy' ],
    [ 'an alias'          => sub { push @kept, \$_[0]{scalar} }, 'hash array weak lazy' ],
    [
        'a tied scalar' => sub { tie $_[0]{scalar}, 'Tie::StdScalar' },
        'hash array weak lazy'
    ],
    [
        'a constant' => sub { Internals::SvREADONLY( $_[0]{scalar}, 1 ) },
        'hash array weak lazy'
    ],
    [
        'a blessed scalar' => sub { bless \$_[0]{scalar}, 'Plain' },
        'hash array weak lazy'
    ],
    [
        'a blessed reference' => sub { bless \$_[0]{hash}, 'Plain' },
        'scalar array weak lazy'
    ],
    [
        'a blessed weak reference' => sub { bless \$_[0]{weak}, 'Plain' },
        'scalar hash array lazy'
    ],
    [ 'a long string' => sub { $_[0]{scalar} = 'x' x 10_000 }, 'hash array weak lazy' ],
    [
        'a number after a long string' =>
          sub { $_[0]{scalar} = 'x' x 10_000; $_[0]{scalar} = 1 },
        'hash array weak lazy'
    ],
    [
        'a hash that was large' =>
          sub { my $hash = $_[0]{hash}; $hash->{$_} = 1 for 1 .. 100; %{$hash} = () },
        'scalar array weak lazy'
    ],
    [
        'an array that was large' => sub {
            my $array = $_[0]{array};
            push @{$array}, 1 .. 100;
            shift @{$array} for 1 .. 100;
        },
        'scalar hash weak lazy'
    ],
    [ 'a glob'        => sub { $_[0]{scalar} = *STDOUT }, 'hash array weak lazy' ],
    [ 'a position'    => sub { $_[0]{scalar} =~ /./g },   'hash array weak lazy' ],
    [ 'a filled hash' => sub { $_[0]{hash}{a} = 1 },      'scalar array weak lazy' ],
    [ 'a kept hash'   => sub { push @kept, $_[0]{hash} }, 'scalar array weak lazy' ],
    [
        'a walked hash' => sub { keys %{ $_[0]{hash} }; each %{ $_[0]{hash} } },
        'scalar array weak lazy'
    ],
    [ 'a blessed hash' => sub { bless $_[0]{hash}, 'Plain' }, 'scalar array weak lazy' ],
    [
        'a tied hash' => sub { tie %{ $_[0]{hash} }, 'Tie::StdHash' },
        'scalar array weak lazy'
    ],
    [
        'a weakly kept hash' => sub { weaken( $kept[0] = $_[0]{hash} ) },
        'scalar array weak lazy'
    ],
    [ 'a shared hash' => sub { $_[0]{array} = $_[0]{hash} }, 'scalar weak lazy' ],
    [ 'a filled array' => sub { $_[0]{array}[0] = 1 }, 'scalar hash weak lazy' ],
    [
        'a weakly kept array' => sub { weaken( $kept[0] = $_[0]{array} ) },
        'scalar hash weak lazy'
    ],
    [
        'a weak reference to something else' => sub { weaken( $_[0]{weak} = \@kept ) },
        'scalar hash array lazy'
    ],
    [
        'a strong reference' => sub { my $it = $_[0]{weak}; $_[0]{weak} = $it },
        'scalar hash array lazy'
    ],
    [ 'a lazy one read'     => sub { $_[0]{lazy}{a} },   'scalar hash array weak' ],
    [ 'a lazy one assigned' => sub { $_[0]{lazy} = {} }, 'scalar hash array weak' ],
    [ 'keys deleted' => sub { delete @{ $_[0] }{qw(scalar lazy)} }, 'hash array weak' ],

    [ 'kept'                 => sub { push @kept, $_[0] } ],
    [ 'kept by its variable' => sub { push @kept, \$_[0] } ],
    [ 'kept weakly'          => sub { weaken( $kept[0] = $_[0] ) } ],
    [ 'kept in itself'       => sub { $_[0]{hash}{itself} = $kept[0] = $_[0] } ],
    [
        'many keys, deleted' =>
          sub { $_[0]{$_} = 1 for 1 .. 100; delete @{ $_[0] }{ 1 .. 100 } }
    ],
    [ 'a further key' => sub { $_[0]{more} = 1 } ],
    [ 'another class' => sub { bless $_[0], 'Other' } ],
    [ 'walked'        => sub { keys %{ $_[0] }; each %{ $_[0] } } ],
    [ 'tied'          => sub { tie %{ $_[0] }, 'Tie::StdHash' } ],
    [ 'locked'        => sub { Hash::Util::lock_ref_keys( $_[0] ) } ],
    [
        'a key deleted when locked' => sub {
            Hash::Util::lock_ref_keys( $_[0] );
            delete $_[0]{scalar};
            Hash::Util::unlock_ref_keys( $_[0] );
        }
    ],
    [ 'data attached' => sub { Example::Probe::hash_attach( $_[0], 'data' ) } ],
);

subtest 'an object that nobody kept can be used again' => sub {
    for my $case (@USES) {
        my ( $name, $use, $intact ) = @$case;
        is Example::Probe::examined( $use, 'Plain' ), $intact, $name;
        delete $kept[0]{hash}{itself} if $name eq 'kept in itself';
        @kept = ();
    }
};

subtest 'not where a destructor is to be told of its end' => sub {
    my $examined = sub {
        Example::Probe::examined( sub { }, 'Plain' );
    };
    for my $destructor (
        qw(Plain::DESTROY Plain::AUTOLOAD Parent::DESTROY UNIVERSAL::DESTROY))
    {
        @Plain::ISA = 'Parent';
        is $examined->(), $ALL, 'at first';
        my $glob = Symbol::qualify_to_ref($destructor);
        *$glob = sub { };
        is $examined->(), undef, $destructor;
        undef *$glob;
        is $examined->(), $ALL, 'and without it';
    }
};

# What is done with a hash => whether it can be filled again.
my @FILLS = (
    [ 'nothing'                   => sub { },                                        1 ],
    [ 'reading'                   => sub { my %copy = %{ $_[0] }; 1 },               0 ],
    [ 'reading one'               => sub { my $value = $_[0]{one} },                 1 ],
    [ 'values assigned'           => sub { $_[0]{$_} = "\x{263a}" for qw(one two) }, 1 ],
    [ 'undefined'                 => sub { undef $_[0]{$_} for qw(one two) },        1 ],
    [ 'references'                => sub { $_[0]{one} = [] },                        0 ],
    [ 'a further key'             => sub { $_[0]{four} = 1 },                        0 ],
    [ 'a key deleted'             => sub { delete $_[0]{one} },                      0 ],
    [ 'one of two keys made anew' => sub { delete $_[0]{two}; $_[0]{two} = 1 },      0 ],
    [
        'a key made anew, and its value kept' => sub {
            push @kept, \delete $_[0]{three};
            $_[0]{three} = 1;
        },
        0
    ],
    [ 'kept'          => sub { push @kept, $_[0] },                0 ],
    [ 'kept weakly'   => sub { weaken( $kept[0] = $_[0] ) },       0 ],
    [ 'an alias'      => sub { push @kept, \$_[0]{two} },          0 ],
    [ 'blessed'       => sub { bless $_[0], 'Plain' },             0 ],
    [ 'tied'          => sub { tie %{ $_[0] }, 'Tie::StdHash' },   0 ],
    [ 'a tied value'  => sub { tie $_[0]{one}, 'Tie::StdScalar' }, 0 ],
    [ 'a string'      => sub { $_[0]{one} = 'x' x 5_000 },         1 ],
    [ 'a long string' => sub { $_[0]{one} = 'x' x 10_000 },        0 ],
    [
        'many keys, deleted' =>
          sub { $_[0]{$_} = 1 for 1 .. 2_000; delete @{ $_[0] }{ 1 .. 2_000 } },
        0
    ],
    [ 'a blessed value' => sub { bless \$_[0]{one}, 'Plain' },        0 ],
    [ 'locked'          => sub { Hash::Util::lock_hashref( $_[0] ) }, 0 ],
);

subtest 'a hash that nobody kept is filled again' => sub {
    for my $case (@FILLS) {
        my ( $name, $use, $is_filled ) = @$case;
        my @seen;
        my $see = sub {
            push @seen, join ',', map { $_[0]{$_} // 'undef' } qw(one two three);
            $use->( $_[0] ) if @seen == 1;
        };
        is !!Example::Probe::refilled( $see, 'one' ), !!$is_filled, $name;
        is_deeply \@seen, [ '1,2,2', $is_filled ? "10,\xe9,\xe9" : () ], 'its values';
        @kept = ();
    }
};

# Perl may put another key, and its value, where those were that it has freed.
subtest 'a hash with another key is not filled again' => sub {
    my $filled = 0;
    for ( 1 .. 1_000 ) {
        my ( $one, $other ) = map { random_key() } 1 .. 2;
        my $calls = 0;
        my $use   = sub {
            return if $calls++;
            delete $_[0]{$one};
            $_[0]{$other} = 1;
        };
        $filled++ if Example::Probe::refilled( $use, $one );
    }
    is $filled, 0, 'keys of the same length';
};

# One that no other hash has, and no constant.
sub random_key {
    return join q{}, map { chr( ord('a') + int rand 26 ) } 1 .. 12;
}

done_testing;
