# References, classes, methods, and what is no scalar.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Scalar::Util 'isweak';
use Test::More;

use Example;

subtest 'references and classes' => sub {
    sub Other::method { }
    my $object = bless {}, 'Some';
    is Example::Probe::class($object), 'Some', 'class';
    is Example::Probe::class( {} ),    undef,  'none';
    ok Example::Probe::is_object($object) && !Example::Probe::is_object( {} ), 'object';
    ok Example::Probe::derived_from( $object,  'Some' ),  'derived';
    ok !Example::Probe::derived_from( $object, 'Other' ), 'not derived';
    Example::Probe::set_isa( 'Some', 'Other' );
    ok Example::Probe::derived_from( $object, 'Other' ), 'now it is';
    ok Example::Probe::is_hash($object) && !Example::Probe::is_array($object), 'kinds';
    ok Example::Probe::is_code( sub { } ),                                     'code';
    my $copy = $object;
    Example::Probe::weaken($copy) for 1, 2;
    ok isweak($copy), 'weak';
    is eval { Example::Probe::weaken('text'); 1 }, undef, 'only references';
    ok Example::Probe::same( $object,  $object ),             'same';
    ok !Example::Probe::same( $object, my $other = $object ), 'not the same';
};

subtest 'what is a reference' => sub {
    ok Example::Probe::is_reference($_), "$_" for \1, [], {}, sub { }, bless [], 'Some';
    ok !Example::Probe::is_reference($_), 'none' for undef, 0, 'ARRAY(0x1)', *STDIN;
};

subtest 'a hash, array or sub is not a scalar' => sub {
    for my $container ( { key => 1 }, [1], sub ($;$) { 1 } ) {
        for my $use (
            qw(referent assign_referent insert_referent push_referent die_referent call_with_referent)
          )
        {
            is eval {
                Example::Probe->can($use)->( $container, sub { fail 'called' } );
                1;
            }, undef, "$use of $container";
            like $@, qr/^A hash, array or sub where a scalar is wanted/, 'message';
        }
        is Example::Probe::referent_text($container), '', 'read as one it is empty';
    }
    is Example::Probe::referent( \'scalar' ), 'scalar', 'a scalar is';
};

subtest 'methods' => sub {
    {

        package Class;
        sub new { my ( $class, @values ) = @_; return bless [@values], $class }
        sub at  { $_[0][ $_[1] ] }
    }
    my $object = Example::Probe::call_method( 'Class', 'new', 5, 6 );
    is Example::Probe::call_method( $object, 'at', 1 ), 6, 'of class and object';
    is eval { Example::Probe::call_method( $object, 'missing' ); 1 }, undef,
      'a missing one';
    like $@, qr/^Can't locate object method "missing" via package "Class" at \Q$0\E/,
      'is an exception';
};

subtest 'warnings' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    Example::Probe::warn("careful");
    is $warnings[0], "careful at $0 line @{[__LINE__ - 1]}.\n", 'with a line';
    local $SIG{__WARN__} = sub { die "handler\n" };
    is eval { Example::Probe::warn('careful'); 1 }, undef,       'a handler that dies';
    is $@,                                          "handler\n", 'is an exception';
};

done_testing;
