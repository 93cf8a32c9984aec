# Handlers of signals that come while Rust runs wait until it has returned, whatever they do.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use POSIX ();
use Test::More;

my $handled = 0;

sub set {
    my ( $name, $handler, $flags ) = @_;
    my $number = POSIX->can("SIG$name")->();
    my $action = POSIX::SigAction->new( $handler, POSIX::SigSet->new, $flags || 0 );
    POSIX::sigaction( $number, $action ) or die "sigaction: $!";
}

# Before the extension is loaded.
BEGIN {
    set( HUP => sub { $handled++; die "early\n" } );
}
use Example;

# Sends this process signals while Rust runs; how often Rust has come to its end there.
sub get_signals {
    my ( $name, $times ) = @_;
    my $before = Example::Probe::finished();
    my $lived  = eval {
        Example::Probe::run(
            "i=0; while [ \$i -lt $times ]; do kill -$name $$; i=\$((i + 1)); done");
        1;
    };
    return ( $lived ? 'lived' : $@, Example::Probe::finished() - $before );
}

is_deeply [ get_signals( HUP => 1 ) ], [ "early\n", 1 ],
  'die, in a handler that was there before the extension';
is $handled, 1, 'which ran once';

set( USR1 => sub { $handled++; die "immediate\n" } );
is_deeply [ get_signals( USR1 => 1 ) ], [ "immediate\n", 1 ], 'die';
is $handled, 2, 'once';

set( USR1 => sub { $handled++; die "with information\n" }, POSIX->can('SA_SIGINFO')->() );
is_deeply [ get_signals( USR1 => 1 ) ], [ "with information\n", 1 ],
  'die, with SA_SIGINFO';
is $handled, 3, 'once';

set( USR1 => sub { $handled++; Example::Probe::run(':') } );
is_deeply [ get_signals( USR1 => 1 ) ], [ 'lived', 2 ], 'a call of the same function';
is $handled, 4, 'once';

$handled = 0;
is_deeply [ get_signals( USR1 => 300 ) ], [ 'lived', 2 ], '300 of them';
is $handled, 1, 'are one';

{
    local $SIG{USR2} = sub { $handled++ };
    is_deeply [ get_signals( USR2 => 300 ) ], [ 'lived', 1 ], '300 for a handler in %SIG';
    is $handled, 2, 'are one';
}

my @order;
set( USR1 => sub { push @order, 'handler' } );
Example::apply(
    sub {
        kill USR1 => $$;
        push @order, 'code';
    }
);
is_deeply \@order, [qw(handler code)],
  'Perl code that Rust calls is interrupted as any other is';

{
    local $ENV{PERL_SIGNALS} = 'unsafe';
    my $program = <<'PROGRAM';
$SIG{USR1} = sub { die "unsafe\n" };
eval { Example::Probe::run("kill -USR1 $$") };
print Example::Probe::finished(), " $@";
PROGRAM
    open my $output, '-|', $^X, map( { "-I$_" } @INC ), '-MExample', '-e', $program
      or die "fork: $!";
    is join( q{}, <$output> ), "1 unsafe\n", 'with PERL_SIGNALS=unsafe';
    close $output;
}

done_testing;
