#!/usr/bin/env perl
# There is no memory for what the input sizes: once, at each place where it is asked for, and
# for a while. The request that wants it is refused, and the server goes on.
# Usage: ./dev faults

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../t/lib";
use Faults;
use FaultyServer;
use TestServer qw(backends);

# What is smaller is not looked after.
my $LARGE = 32_768;

my $MOST_PLACES = 40;

my %OPTIONS = (
    'answered'      => { error_responses => 1 },
    'silent'        => {},
    'on_file_write' => { error_responses => 1, on_file_write => sub { } },
);
my @SCENARIOS = qw(page kept head form large_reply small large many chunked save reopen);

my $faults = Faults->new;

for my $backend ( backends() ) {
    for my $kind ( sort keys %OPTIONS ) {
        subtest "$kind, with $backend" => sub { try_all( $backend, $OPTIONS{$kind} ) };
    }
}

done_testing;

sub try_all {
    my ( $backend, $options ) = @_;
    my $server = FaultyServer->start( $backend, %{$options} );
    my %count;
    $server->begin_neighbour;
    for my $scenario (@SCENARIOS) {
        for my $place ( 0 .. $MOST_PLACES ) {
            $faults->set(
                memory => error => 'ENOMEM',
                least  => $LARGE,
                skip   => $place,
                times  => 1
            );
            my $outcome  = $server->run($scenario);
            my $injected = $faults->injected('memory');
            $faults->clear;
            $count{$outcome} += $injected;
            is_deeply [ wrongs( $server, $options, $injected, $outcome ) ], [],
              "$scenario, at place $place: $outcome";
            last if !$injected;
        }
    }
    $faults->set( memory => error => 'ENOMEM', least => $LARGE );
    my @outcomes = map { $server->run($_) } @SCENARIOS, @SCENARIOS;
    my $injected = $faults->injected('memory');
    $faults->clear;
    $count{$_}++ for @outcomes;
    is_deeply [ map { wrongs( $server, $options, 1, $_ ) } @outcomes ], [],
      "none for a while: @outcomes";

    is $server->end_neighbour, 'served', 'a neighbour';
    $server->run($_) eq 'served' or fail "$_ is served afterwards" for @SCENARIOS;
    note join q{, }, map { "$count{$_} $_" } sort keys %count;

    # Alone, a failure may be made up for: of a buffer, when another has just come back.
    my $refusal = $options->{error_responses} ? 'refused' : 'closed';
    cmp_ok $count{$refusal} || 0,   '>', 0,  "some was $refusal";
    cmp_ok $injected,               '>', 0,  'and some for a while';
    cmp_ok $server->rounds_at_rest, '<', 30, 'the loop rests';
    $server->server->stop;
    return;
}

# A listener that answers closes nothing without a word, but for a reply that it cannot make.
sub wrongs {
    my ( $server, $options, $injected, $outcome ) = @_;
    my $expected =
       !$injected                   ? qr/\Aserved\z/
      : $options->{error_responses} ? qr/\A(?:served|refused|closed)\z/
      :                               qr/\A(?:served|closed)\z/;
    return ( ( $outcome =~ $expected ? () : $outcome ), $server->wrongs );
}
