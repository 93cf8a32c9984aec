# Loads the example extension.

package Example;

use strict;
use warnings;

use XSLoader;

our $VERSION = '1.000';

XSLoader::load( 'Example', $VERSION );

# Rust data does not follow an object into a new thread.
sub Example::Counter::CLONE_SKIP { return 1 }

1;

__END__

=head1 NAME

Example - a Perl extension in Rust, on perl-xs

=head1 SYNOPSIS

    use Example;

    print Example::hello('world');              # Hello, world!

    my $counter = Example::Counter->new(40);
    $counter->increment for 1 .. 2;
    print $counter->value;                      # 42

    my @squares = Example::apply(sub { map { $_ * $_ } @_ }, 1 .. 3);

    my $add_two = Example::adder(2);
    print $add_two->(40);                       # 42

    print readline Example::handle("line\n");   # line

=head1 DESCRIPTION

F<src/lib.rs> is what an author would write, and shows one thing of each kind. F<src/probe.rs> has what the tests of perl-xs
need besides: every operation of the crate as a function, and code that misbehaves.

=cut
