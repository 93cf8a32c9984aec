# Perl threads: Rust data stays where it is, and nothing is freed twice.

use strict;
use warnings;

use Config;

BEGIN {
    if ( !$Config{useithreads} ) {
        print "1..0 # SKIP this perl has no threads\n";
        exit 0;
    }
}

use lib 't/example/blib/lib', 't/example/blib/arch';
use threads;
use Test::More;

use Example;

{

    package NotSkipped;
    our @ISA = 'Example::Counter';
    sub CLONE_SKIP { return 0 }
}

my $drops   = 0;
my $guarded = {};
Example::Probe::attach_guard( $guarded, sub { $drops++ } );
my $counter     = Example::Counter->new(7);
my $not_skipped = NotSkipped->new(8);
my $add         = Example::adder(2);
Example::Probe::hold( [1] );

my ($results) = threads->create(
    { context => 'list' },
    sub {
        my @results = (
            ref $counter,
            eval { Example::Counter::value($not_skipped) } // "$@",
            eval { $add->(1) }                             // "$@",
            Example::hello('thread'),
            Example::Counter->new(3)->value,
            Example::attempt( sub { die "in a thread\n" } ),
            eval { Example::Probe::panic('oh') } // "$@",
        );
        return \@results;
    }
)->join;

is $results->[0], 'SCALAR', 'an object with CLONE_SKIP is a reference to undef';
like $results->[1], qr/^Example::Counter::value: not an Example::Counter/,
  'one without has no data';
like $results->[2], qr/^A Rust closure does not work in another thread/,
  'a closure says so';
is $results->[3], 'Hello, thread!',        'functions work';
is $results->[4], 3,                       'new objects too';
is $results->[5], "caught: in a thread\n", 'exceptions too';
like $results->[6], qr/^Example: internal error: oh/, 'panics too';

is $drops,          0, 'nothing was dropped by the thread';
is $counter->value, 7, 'the object is whole here';
is $add->(1),       3, 'the closure works here';
undef $guarded;
is $drops, 1, 'dropped once';

my @threads = map {
    threads->create(
        sub {
            my @c = map { Example::Counter->new($_) } 1 .. 100;
            Example::apply( sub { $_->increment for @c } ) for 1 .. 20;
            $c[-1]->value;
        }
    )
} 1 .. 4;
is $_->join, 120, 'threads at the same time' for @threads;

threads->create(
    sub {
        threads->create( sub { Example::hello('inner') } )->join;
    }
)->join;
pass 'a thread of a thread';

subtest 'no interpreter gets a value of another' => sub {
    my $program = <<'END_OF_PROGRAM';
use threads;
our @errors;
Example::Probe::hold( ['a value'] );
sub CLONE {
    for my $way (qw(push_held return_held)) {
        no strict 'refs';
        eval { "Example::Probe::$way"->( [] ); 1 } and push @errors, "$way worked\n" or push @errors, $@;
    }
}
print threads->create( { context => 'list' }, sub { @errors } )->join;
END_OF_PROGRAM
    open my $output, '-|', $^X, '-Mblib=t/example/blib', '-MExample', '-e', $program
      or die "$^X: $!";
    my @printed = <$output>;
    close $output;
    is @printed, 2, 'two ways, while a thread is made';
    like $_, qr/^A value of another interpreter at /, 'refused' for @printed;
    is $?, 0, 'status';
};

subtest 'Rust data never goes to another thread' => sub {
    my $program = <<'END_OF_PROGRAM';
use threads;
$| = 1;
sub Object::DESTROY { print "found ", Example::Probe::attached_thread($_[0]), "\n" }
my $work = sub {
    our $kept = bless {}, 'Object';
    Example::Probe::attach_thread($kept);
    my $freed = bless {}, 'Object';
    Example::Probe::attach_thread($freed);
    return;
};
threads->create($work)->join;
print "joined\n";
threads->create($work)->join;
END_OF_PROGRAM
    open my $output, '-|', $^X, '-Mblib=t/example/blib', '-MExample', '-e', $program
      or die "$^X: $!";
    my @printed = <$output>;
    close $output;
    my @thread = ( "found here\n", "dropped here\n", "found none\n" );
    is_deeply \@printed, [ @thread, "joined\n", @thread ],
      'what is left when a thread is joined is neither found nor dropped';
    is $?, 0, 'status';
};

my $made_inside = Example::apply(
    sub {
        threads->create(
            sub {
                join ' ', map { ( caller $_ )[2] // () } 0 .. 3;
            }
        );
    }
);
like $made_inside->join, qr/^\d+( \d+)*$/, 'a thread made in a callback outlives it';

done_testing;
