# Arrays: plain, tied, constant.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;
use Tie::Array;

use Example;

BEGIN {
    *array_clear  = \&Example::Probe::array_clear;
    *array_get    = \&Example::Probe::array_get;
    *array_len    = \&Example::Probe::array_len;
    *array_push   = \&Example::Probe::array_push;
    *array_set    = \&Example::Probe::array_set;
    *array_values = \&Example::Probe::array_values;
}

for my $case ( [ 'plain', sub { return [@_] } ],
    [ 'tied', sub { tie my @array, 'Tie::StdArray'; @array = @_; \@array } ] )
{
    my ( $name, $make ) = @$case;
    subtest "a $name array" => sub {
        my $array = $make->( 1, 2 );
        is array_get( $array, 1 ), 2,     'get';
        is array_get( $array, 2 ), undef, 'get nothing';
        array_push( $array, 3 );
        array_set( $array, 5, 6 );
        is_deeply [@$array], [ 1, 2, 3, undef, undef, 6 ], 'push and set';
        is array_len($array), 6, 'length';
        is_deeply [ array_values($array) ], [ 1, 2, 3, undef, undef, 6 ], 'values';
        ok !Example::Probe::array_is_empty($array), 'not empty';
        array_clear($array);
        is array_len($array), 0, 'clear';
        ok Example::Probe::array_is_empty($array), 'empty';
    };
}

subtest 'a constant array' => sub {
    my @array = 1;
    Internals::SvREADONLY( @array, 1 );
    is eval { array_push( \@array, 2 ); 1 }, undef, 'cannot be pushed to';
    like $@, qr/^Modification of a read-only value attempted at \Q$0\E/, 'as in Perl';
};

subtest 'data of Rust goes with the array and not with a copy' => sub {
    my $array = [1];
    is Example::Probe::array_attached($array), undef, 'none yet';
    Example::Probe::array_attach( $array, 'data' );
    is Example::Probe::array_attached($array),      'data', 'attached';
    is Example::Probe::array_attached( [@$array] ), undef,  'not to a copy';
};

done_testing;
