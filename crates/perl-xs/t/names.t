# Names of packages and subs are text.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

binmode Test::More->builder->$_, ':encoding(UTF-8)'
  for qw(output failure_output todo_output);

plan skip_all => 'this perl has no such names' if $] < 5.016;

# Beyond Latin-1, within it, and in ASCII: perl stores each in another way.
for my $package ( 'Größe::雪', 'Größe', 'Size' ) {
    subtest "the package $package" => sub {
        Example::Probe::define( $package, 'maß' );
        my $function = $package->can('maß');
        ok $function, 'a sub is defined in it';
        is $function && $function->(),              "${package}::maß", 'and works';
        is Example::Probe::code("${package}::maß"), $function,         'found';

        my $object = Example::Probe::new_of_class($package);
        is ref $object,                    $package, 'an object is made';
        is Example::Probe::class($object), $package, 'its class is known';
        ok Example::Probe::derived_from( $object,  $package ), 'it is of the class';
        ok Example::Probe::derived_from( $package, $package ), 'and so is the class';

        Example::Probe::set_isa( "Sub::$package", $package );
        my $derived = Example::Probe::new_of_class("Sub::$package");
        ok Example::Probe::derived_from( $derived, $package ),
          'an object of a subclass too';
        ok !Example::Probe::derived_from( $object, "Sub::$package" ),
          'not the other way round';
    };
}

done_testing;
