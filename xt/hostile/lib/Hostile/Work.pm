package Hostile::Work;

# Doubles what a request brings, twice, and compares the time that the server's processor spends
# on it.

use strict;
use warnings;

use File::Temp ();
use List::Util qw(min);

use Hostile::Target;

# Requests of each size, of which the cheapest counts.
my $TIMES = 3;

# What four times the input may cost at most, in relation, unless the entry says otherwise; quadratic
# time is sixteen. Others may use the machine, so what is more is measured so often.
my $MOST   = 8;
my $ROUNDS = 4;

# Less than this, in nanoseconds, tells nothing.
my $LEAST = 2e6;

# perform( \%entry, $is_full )
#
# The entry:
#   name, what   how it is called, and what is doubled
#   options      of `listen`
#   sizes        the smallest size, and with --full
#   request      a sub that makes the bytes of a request of this size
#   body         a sub that tells what the body of the reply has to be
#   most         see $MOST
#   prepare      a sub that is called with the target and a size, before it is measured, and
#                returns what is to be kept while it is
#
# Returns a hash: work (a list of size and milliseconds), growth, and the list of breaches.
sub perform {
    my ( $entry, $is_full ) = @_;
    my $target = Hostile::Target->start( $entry->{options} || {}, _in_memory() );
    my $least  = $entry->{sizes}[ $is_full ? 1 : 0 ];
    my $most   = $entry->{most} || $MOST;
    my %result = ( breaches => [], work => [] );
    _measure( $entry, $target, 1, \%result );
    my @sizes = map { $_ * $least } 1, 2, 4;
    my %work;

    for ( 1 .. $ROUNDS ) {
        for my $size (@sizes) {
            $work{$size} = min grep { defined } $work{$size},
              _measure( $entry, $target, $size, \%result );
        }
        $result{growth} = $work{ $sizes[2] } / ( $work{ $sizes[0] } || 1 );
        last if $result{growth} <= $most;
    }
    $result{work} = [ map { [ $_, $work{$_} ] } @sizes ];
    push @{ $result{breaches} }, sprintf 'four times the input costs %.1f times as much',
      $result{growth}
      if $result{growth} > $most && $work{ $sizes[2] } > $LEAST;
    push @{ $result{breaches} }, $target->stop;
    return \%result;
}

# Files are no matter of the disk here, which takes longer for a file where many were removed.
sub _in_memory {
    return -w '/dev/shm'
      ? ( directory => File::Temp->newdir( 'hostile-XXXXXXXX', DIR => '/dev/shm' ) )
      : ();
}

# Nanoseconds for one request of this size.
sub _measure {
    my ( $entry, $target, $size, $result ) = @_;
    my $prepare = $entry->{prepare};
    my @kept    = $prepare ? $prepare->( $target, $size ) : ();
    my $request = $entry->{request}->($size);
    my @pieces  = ref $request   ? @{$request}             : ($request);
    my $body    = $entry->{body} ? $entry->{body}->($size) : undef;
    my @times;
    for ( 1 .. $TIMES ) {
        my $before = $target->nanoseconds;
        my $client = $target->server->connect;
        for my $piece (@pieces) {
            $client->send($piece);
            $client->drained if @pieces > 1;
        }
        my $response = $client->response;
        push @times, $target->nanoseconds - $before;
        my $got = $response->{status} // 'nothing';
        next if $got eq '200' && ( !defined $body || $body eq $response->{body} );
        push @{ $result->{breaches} },
          "size $size: $got " . substr $response->{body} // q{}, 0, 60;
    }
    return min(@times);
}

1;
