# last, next, redo, goto and return cannot leave a callback through frames of C and Rust.

use strict;
use warnings;
no warnings 'exiting';

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

my $count;
my %jumps = (
    'last'         => sub { last },
    'next'         => sub { next },
    'redo'         => sub { redo },
    'last LABEL'   => sub { last LABEL },
    'next LABEL'   => sub { next LABEL },
    'goto LABEL'   => sub { goto LABEL },
    'goto BEYOND'  => sub { goto BEYOND },
    'goto dynamic' => sub { my $label = 'BEYOND'; goto $label },
);

for my $name ( sort keys %jumps ) {
    my @results;
  LABEL: for my $turn ( 1, 2 ) {
        push @results, Example::attempt( $jumps{$name} );
    }
  BEYOND:
    is scalar @results, 2, "$name: every turn is finished";
    like $results[0],
qr/^caught: (?:Can't "?\w+"? outside a loop block|Label not found|Can't find label \w+)/,
      "$name: it is an exception";
}

subtest 'return leaves the callback only' => sub {
    is Example::apply( sub { return 'early' if !@_; 'late' } ), 'early', 'value';
};

subtest 'goto &sub stays inside' => sub {
    my $other = sub { "other: @_" };
    is Example::apply( sub { @_ = ('arguments'); goto &$other } ), 'other: arguments',
      'to a Perl sub';
    is Example::apply( sub { goto &Example::hello }, 'you' ), 'Hello, you!',
      'to a Rust function';
};

subtest 'loops inside a callback work' => sub {
    my $sum = Example::apply(
        sub {
            my $sum = 0;
          LABEL: for ( 1 .. 10 ) {
                next LABEL if $_ % 2;
                last LABEL if $_ > 8;
                $sum += $_;
            }
            goto DONE if $sum;
            $sum = 'never';
          DONE: return $sum;
        }
    );
    is $sum, 20, 'with labels of the same name';
};

subtest 'caller and line numbers are those of the call' => sub {
    my ( $line, $file ) = Example::apply( sub { ( caller 0 )[ 2, 1 ] } );
    is $line, __LINE__ - 1, 'line';
    is $file, $0,           'file';
    my @frames = Example::apply(
        sub {
            map { ( caller $_ )[3] } 0 .. 2;
        }
    );
    is $frames[0], 'main::__ANON__', 'the callback';
    is $frames[1], '(eval)',         'an eval';
};

subtest 'sort and map around a callback' => sub {
    is_deeply [
        sort {
            Example::apply( sub { $_[0] <=> $_[1] }, $a, $b )
        } 3,
        1,
        2
      ],
      [ 1, 2, 3 ], 'sort';
    is_deeply [
        map {
            Example::apply( sub { $_[0] + 1 }, $_ )
        } 1 .. 3
      ],
      [ 2, 3, 4 ], 'map';
};

done_testing;
