# Plain scalars: reading, making, assigning.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use B;
use Scalar::Util 'dualvar';
use Test::More;

use Example;

BEGIN {
    *is_defined        = \&Example::Probe::is_defined;
    *is_true           = \&Example::Probe::is_true;
    *text              = \&Example::Probe::text;
    *bytes             = \&Example::Probe::bytes;
    *integer           = \&Example::Probe::integer;
    *number            = \&Example::Probe::number;
    *looks_like_number = \&Example::Probe::looks_like_number;
}

subtest 'plain values' => sub {
    ok !is_defined(undef), 'undef';
    ok is_defined($_),     "defined: $_" for '', 0, 'x', \1, *STDIN;
    ok is_true($_),        'true'  for 1,     'x', '0.0', 0.5, -1, [], *STDIN;
    ok !is_true($_),       'false' for undef, 0,   '',    '0', 0.0;
    is text('wörld'), 'wörld',    'text';
    is bytes('ö'),    "\xc3\xb6", 'bytes are the internal ones';
    is bytes("\xf6"), "\xf6",     'whatever they are';
    is bytes($_),     $_, "string of $_" for 42, -7, 0.5, 1e100, 18446744073709551615;
    is bytes(undef),  '', 'undef is empty';
    is bytes(''),     '', 'as is the empty string';
    like text( [] ), qr/^ARRAY\(0x/, 'a reference';
    is text(*STDIN), '*main::STDIN', 'a glob';
    is Example::Probe::joined( 1, 'ö', "\xf6", undef, 0.5 ), "1\xc3\xb6\xf60.5",
      'as print wants it';
};

# Before 5.36 a number that has been read as a string is one, too, for Perl itself.
subtest 'reading leaves the value as Perl itself leaves it' => sub {
    my ( $number, $same ) = ( 42, 42 );
    $_->($number) for \&integer, \&number, \&is_true, \&looks_like_number;
    ok !( B::svref_2object( \$number )->FLAGS & B::SVf_POK() ), 'a number gets no string';
    text($number);
    my $read = "$same";
    is B::svref_2object( \$number )->FLAGS & B::SVf_POK(),
      B::svref_2object( \$same )->FLAGS & B::SVf_POK(), 'unless it is read as one';
};

subtest 'numbers' => sub {
    is integer($_), int $_, "integer: $_"
      for 0, 42, -42, '42', '-42', 1.9, -1.9, '1.9', 9223372036854775807,
      '9223372036854775807';
    is integer(18446744073709551615), 9223372036854775807,    'too large: the largest';
    is integer(1e30),                 9223372036854775807,    'far too large';
    is integer(-1e30),                '-9223372036854775808', 'far too small';
    is integer( 'NaN' + 0 ),          0,                      'not a number';
    cmp_ok number($_), '==', $_, "number: $_"
      for 0.5, '0.5', 42, -1e100, 18446744073709551615;
    is integer( dualvar( 5, 'five' ) ), 5, 'dual';
    ok looks_like_number($_), "looks like one: $_" for 1, '1', '1.5e3', ' 1', 'Inf';
    ok !looks_like_number($_), 'looks like none' for 'x', '', '1x', undef;
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is integer('12abc'), 12, 'as far as it goes';
    like $warnings[0], qr/^Argument "12abc" isn't numeric/, 'with a warning';
    is_deeply [ map { "$_" } ( Example::Probe::numbers() )[ 0 .. 5 ] ],
      [
        '-9223372036854775808', '9223372036854775807',
        '18446744073709551615', '0.5',
        '1',                    ''
      ],
      'new ones';
};

subtest 'assigning' => sub {
    my ( $variable, $other ) = ( 1, [2] );
    for my $value ( 'text', 3, $other, undef, *STDIN ) {
        Example::Probe::assign( $variable, $value );
        is $variable, $value, 'assigned';
    }
};

subtest 'bytes that are UTF-8 as Perl has it become text' => sub {
    is Example::Probe::perl_utf8("\xc3\xb6"), 'ö',        'text';
    is Example::Probe::perl_utf8("\xf6\xc3"), "\xf6\xc3", 'bytes';
};

subtest 'a variable that was looked up once is read as it is by then' => sub {
    our $kept = 'first';
    my $read = Example::Probe::kept_variable('main::kept');
    is $read->(), 'first', 'as it was';
    $kept = 'assigned';
    is $read->(), 'assigned', 'assigned';
    {
        local $kept = 'local';
        is $read->(), 'local', 'local';
    }
    is $read->(), 'assigned', 'local no more';
    *kept  = \my $alias;
    $alias = 'alias';
    is $read->(),                                          'alias', 'an alias';
    is Example::Probe::kept_variable('main::new_one')->(), undef,   'made if need be';
};

done_testing;
