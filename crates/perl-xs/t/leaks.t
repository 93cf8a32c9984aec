# Ten thousand of each leave nothing behind.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

# Values are counted where this module is installed, memory where the system tells of it.
my $counts_values = eval { require Test::LeakTrace; 1 };

my $object = Example::Counter->new;
my %hash   = ( key => 'value', '☃' => 2 );
my @array  = 1 .. 3;
tie my $tied, 'Tied';
{

    package Tied;
    sub TIESCALAR { return bless [], shift }
    sub FETCH     { {} }
    sub STORE     { }
}
{

    package Destroyed;
    sub new     { return bless {}, shift }
    sub DESTROY { my $x = Example::hello('x') }
}

my %works = (
    'text'      => sub { Example::hello('world') },
    'objects'   => sub { Example::Counter->new(1)->increment },
    'methods'   => sub { $object->increment },
    'callbacks' => sub {
        Example::apply( sub { @_ }, 1 .. 3 );
        my $s = Example::apply( sub { @_ }, 1 );
        my @l = Example::apply( sub { @_ }, 1 .. 20 );
    },
    'exceptions' => sub {
        eval {
            Example::apply( sub { die { code => 1 } } );
        }
    },
    'caught ones' => sub {
        Example::attempt( sub { die "died\n" } );
    },
    'croaks' => sub {
        eval { Example::Probe::croak('message') }
    },
    'usage' => sub {
        eval { Example::hello() }
    },
    'panics' => sub {
        eval { Example::Probe::panic('oh') }
    },
    'closures' => sub { Example::adder(1)->(2) },
    'handles'  => sub { my $handle = Example::handle("line\n"); readline $handle },
    'hash'     => sub {
        my $h = Example::Probe::hash_of_copies( \%hash );
        Example::Probe::hash_insert( $h, 'a', $_ ) for 1, 2;
        Example::Probe::hash_remove( $h, 'a' );
    },
    'array' => sub {
        my @l = Example::Probe::array_values( \@array );
        Example::Probe::array_push( \@l, 1 );
        Example::Probe::array_set( \@l, 0, 1 );
    },
    'tied' => sub {
        Example::Probe::text($tied);
        Example::Probe::is_hash($tied);
        Example::Probe::assign( $tied, 1 );
    },
    'variables' => sub {
        Example::Probe::variable('main::known');
        Example::Probe::code('Example::hello');
    },
    'methods of Perl' => sub { Example::Probe::call_method( 'Destroyed', 'new' ) },
    'destroyed'       =>
      sub { Example::Probe::hold( Destroyed->new ); Example::Probe::drop_held() },
    'attached' => sub {
        my $h = {};
        Example::Probe::attach_guard( $h, sub { } );
    },
    'filled again' => sub {
        Example::Probe::refilled( sub { },                   'one' );
        Example::Probe::refilled( sub { delete $_[0]{one} }, 'one' );
    },
    'warnings' => sub {
        local $SIG{__WARN__} = sub { };
        Example::Probe::warn('w');
    },
    'refused' => sub {
        eval { Example::Probe::assign( ${ \1 }, 2 ) };
        eval { Example::Probe::unread( 'x', 'x' ) }
    },
);

# Memory in pages. AddressSanitizer lets nothing be used again for a while.
sub pages {
    return 0 if $ENV{UNDER_ASAN};
    open my $file, '<', '/proc/self/statm' or return 0;
    return ( split ' ', readline $file )[1];
}

for my $name ( sort keys %works ) {
    my $work = $works{$name};
    $work->() for 1 .. 200;
    cmp_ok Test::LeakTrace::leaked_count( sub { $work->() for 1 .. 10 } ), '<', 10,
      "$name: values"
      if $counts_values;
    my $before = pages();
    $work->() for 1 .. 10_000;
    cmp_ok pages() - $before, '<', 64, "$name: memory";
}

done_testing;
