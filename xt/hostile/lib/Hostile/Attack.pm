package Hostile::Attack;

# Performs one attack of the table against a server of its own, and says what came of it.

use strict;
use warnings;

use EV ();

use TestServer qw(eventually);

use Hostile::Bounds;
use Hostile::Client;
use Hostile::Target;
use Hostile::Visitors;

# Seconds of normal traffic before an attack, to compare with.
my $BEFORE = 0.3;

# Seconds that an attack may take, unless its entry says otherwise.
my $DEADLINE = 180;

# Connections that are being made at a time: less than what waits to be accepted.
my $MOST_CONNECTING = 200;

# perform( \%entry, $count )
#
# The entry:
#   name, what   how it is called, and what is done
#   options      of `listen`
#   clients      how many by default, and how many with --full
#   client       a sub that returns the script of the client of this number, see Hostile::Client
#   memory       a sub that returns how many bytes so many clients may cost
#   keeps        a sub that returns how much of it may stay besides what every attack may leave
#   visitors     0 where normal clients cannot be served meanwhile
#   again        bytes by which memory may differ when it is performed again
#   descriptors  how many each client takes, with its files, in the mean; 1 by default
#   reads_last   1 where those that do not read begin to once the server has closed them all
#
# It is performed again until a normal client was served meanwhile. Returns a hash: clients (of
# all rounds), growth (of memory, by the second one), outcomes, seconds (of the attack, and of the
# server's processor), memory (bound, peak, after), visits, and the list of breaches.
sub perform {
    my ( $entry, $count ) = @_;
    my $target = Hostile::Target->start( $entry->{options} || {} );
    my $visits = $entry->{visitors} // 1;
    my $visitors;
    $visitors = Hostile::Visitors->start( $target->port ) if $visits;
    _wait($BEFORE);

    my $descriptors = $target->descriptors;
    my $memory      = $target->memory;
    $target->forget_peak;
    my ( $began, $used ) = ( EV::time(), $target->seconds );
    $visitors->enter('under') if $visitors;

    my %result = ( clients => 0, outcomes => {}, breaches => [] );
    _attack( $entry, $count, $target, \%result );
    _attack_again( $entry, $count, $target, \%result ) if defined $entry->{again};
    my $deadline = $entry->{deadline} || $DEADLINE;
    _attack( $entry, $count, $target, \%result )
      until @{ $result{breaches} }
      || !$visitors
      || $visitors->have_visited
      || EV::time() - $began > $deadline;

    $result{seconds} = [ EV::time() - $began, $target->seconds - $used ];
    my $peak = $target->peak;
    if ($visitors) {
        $visitors->enter('after');
        ( $result{visits}, my @wrong ) = $visitors->end;
        push @{ $result{breaches} }, map { "a normal client: $_" } @wrong;
        push @{ $result{breaches} }, 'no normal client was served meanwhile'
          if !$result{visits}{under};
    }
    my $bound = Hostile::Bounds::shared() + $entry->{memory}->($count);
    my $keeps =
      Hostile::Bounds::kept() + ( $entry->{keeps} ? $entry->{keeps}->($count) : 0 );
    _check_memory( $target, \%result, $memory, $peak, $bound, $keeps );
    eventually( sub { $target->descriptors <= $descriptors } )
      or push @{ $result{breaches} }, 'descriptors stay open';
    $target->server->await_files(0)
      or push @{ $result{breaches} }, 'temporary files stay';
    push @{ $result{breaches} }, map { "the server: $_" } $target->stop;
    _shorten( $result{breaches} );
    return \%result;
}

sub _wait {
    my ($seconds) = @_;
    EV::now_update();
    my $timer = EV::timer( $seconds, 0, sub { EV::break() } );
    EV::run();
    return;
}

# The same once more, for which no more memory is taken.
sub _attack_again {
    my ( $entry, $count, $target, $result ) = @_;
    my $before = $target->memory;
    _attack( $entry, $count, $target, $result );
    $result->{growth} = $target->await_memory( $before + $entry->{again} ) - $before;
    return if $result->{growth} <= $entry->{again};
    push @{ $result->{breaches} },
      "memory grows by $result->{growth} bytes where the same comes again";
    return;
}

# Until all of the clients have ended.
sub _attack {
    my ( $entry, $count,      $target, $result )  = @_;
    my ( $begun, $connecting, $ended,  %clients ) = ( 0, 0, 0 );
    my $begin;
    my $on_connect = sub { $connecting--; $begin->() };
    my $on_end     = sub {
        my ($client) = @_;
        $on_connect->() if !$client->is_connected;
        $result->{outcomes}{ $client->outcome }++;
        push @{ $result->{breaches} }, $client->breach;
        delete $clients{$client};
        EV::break() if ++$ended == $count;
    };
    $begin = sub {
        while ( $begun < $count && $connecting < $MOST_CONNECTING ) {
            $connecting++;
            my $script = $entry->{client}->( $begun++, $count );
            my $client = Hostile::Client->new( $target->port,
                { %{$script}, on_connect => $on_connect, on_end => $on_end } );
            $clients{$client} = $client;
        }
    };
    my $late = EV::timer( $entry->{deadline} || $DEADLINE, 0, sub { EV::break() } );
    my $reading;
    $reading = EV::timer(
        1, 0.25,
        sub {
            return if $begun < $count || $connecting;
            return if $target->has_open( map { $_->port } values %clients );
            undef $reading;
            $_->read_on for values %clients;
        }
    ) if $entry->{reads_last};
    $begin->();
    EV::run();
    push @{ $result->{breaches} }, ( $count - $ended ) . ' clients wait still'
      if $ended < $count;
    $result->{clients} += $count;
    $_->end for values %clients;
    undef $begin;
    return;
}

# The same breach of many clients is told once.
sub _shorten {
    my ($breaches) = @_;
    my %count;
    $count{$_}++ for @{$breaches};
    @{$breaches} = map { $count{$_} > 1 ? "$_ ($count{$_} times)" : $_ } sort keys %count;
    return;
}

sub _check_memory {
    my ( $target, $result, $before, $peak, $bound, $keeps ) = @_;
    my $after = $target->await_memory( $before + $keeps );
    $result->{memory} = [ $bound, $peak - $before, $after - $before ];
    push @{ $result->{breaches} }, sprintf 'memory grows by %d bytes, more than %d',
      $peak - $before, $bound
      if $peak - $before > $bound;
    push @{ $result->{breaches} }, sprintf '%d bytes of memory stay', $after - $before
      if $after - $before > $keeps;
    return;
}

1;
