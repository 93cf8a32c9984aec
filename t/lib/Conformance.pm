package Conformance;

# Plays the cases of t/conformance against a server: each in one piece, cut in two at each
# place, and byte by byte; and sees that what comes is what has to come.

use strict;
use warnings;

use Exporter   qw(import);
use List::Util qw(max);
use Test::More;

use Conformance::Cases    qw(printable);
use Conformance::Expected qw(wrong_with);
use Conformance::Replies  qw(replies);
use Conformance::Connection;
use Conformance::Server;

our @EXPORT_OK = qw(test_cases);

# So many connections at a time.
my $AT_ONCE = 250;

# Is sent right behind each case, in the same piece: it has to be answered where the
# connection stays open, and must not be where it does not.
my $NEXT = "GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";

# A test for each case.
sub test_cases {
    my (@cases) = @_;
    my $server  = Conformance::Server::start();
    my @plays   = map { _plays($_) } @cases;
    my %wrong;
    while ( my @batch = splice @plays, 0, $AT_ONCE ) {
        _play( $server, @batch );
        for my $play (@batch) {
            push @{ $wrong{ $play->{case}{name} } },
              map { "$play->{way}: $_" } _judge($play);
        }
        my @unseen = _unanswered( $server, @batch );
        push @{ $wrong{ $batch[0]{case}{name} } }, "with those behind it: @unseen"
          if @unseen;
    }
    for my $case (@cases) {
        my ( $first, @more ) = @{ $wrong{ $case->{name} } || [] };
        my $name = "$case->{name} ($case->{sections})";
        next if ok( !defined $first, $name );
        diag "$first\n", @more . ' more complaints';
    }
    return $server->stop;
}

# All ways to play a case: lists of pieces.
sub _plays {
    my ($case) = @_;
    my @blocks = _blocks($case);
    my @plays  = ( { way => 'in one piece', pieces => [ map { _cut($_) } @blocks ] } );
    for my $index ( 0 .. $#blocks ) {
        my @before = @blocks[ 0 .. $index - 1 ];
        my @behind = @blocks[ $index + 1 .. $#blocks ];
        for my $cut ( @{ $blocks[$index]{cuts} } ) {
            my @pieces = ( @before, _cut( $blocks[$index], $cut ), @behind );
            my $sent   = substr $blocks[$index]{bytes}, 0, $cut;
            my $way    = 'cut behind ' . printable( substr $sent, -20 );
            push @plays, { way => $way, pieces => \@pieces };
        }
    }
    my @pieces = map { _cut( $_, @{ $_->{cuts} } ) } @blocks;
    push @plays, { way => 'byte by byte', pieces => \@pieces };
    $_->{case} = $case for @plays;
    return @plays;
}

# The blocks of a case, with the next request behind them.
sub _blocks {
    my ($case) = @_;
    my @blocks = @{ $case->{blocks} };
    return @blocks if $case->{end} eq 'waits';
    my %last = %{ pop @blocks };
    $last{cuts} = [ @{ $last{cuts} }, length $last{bytes} ];
    $last{bytes} .= $NEXT;
    return ( @blocks, \%last );
}

# The pieces of a block. `await` is how many replies the first of them is sent behind.
sub _cut {
    my ( $block, @cuts ) = @_;
    my @places = ( 0, @cuts, length $block->{bytes} );
    my $await  = $block->{await};
    my @pieces;
    for my $index ( 1 .. $#places ) {
        my ( $from, $to ) = @places[ $index - 1, $index ];
        my $bytes = substr $block->{bytes}, $from, $to - $from;
        push @pieces, { bytes => $bytes, await => $index == 1 ? $await : 0 };
    }
    return @pieces;
}

# Plays them side by side. A piece is sent when the server has read the one before.
sub _play {
    my ( $server, @plays ) = @_;
    $_->{connection} = Conformance::Connection->new( $server->port ) for @plays;
    my $most = max map { scalar @{ $_->{pieces} } } @plays;
    for my $step ( 0 .. $most - 1 ) {
        my @going = grep { $step < @{ $_->{pieces} } } @plays;
        _await_reading( $server, map { $_->{connection} } @going ) if $step;
        _send( $_->{connection}, $_->{pieces}[$step] ) for @going;
    }
    _give_up( $server, grep { $_->{case}{end} eq 'waits' } @plays );
    for my $connection ( map { $_->{connection} } @plays ) {
        while ( !$connection->ended && $connection->wait ) { }
    }
    return;
}

sub _send {
    my ( $connection, $piece ) = @_;
    while ( replies( $connection->received ) < $piece->{await} && !$connection->ended ) {
        $connection->wait or last;
    }
    return $connection->send( $piece->{bytes} );
}

# Until all is read, or the server has left it unread though it went round its loop.
sub _await_reading {
    my ( $server, @connections ) = @_;
    for my $connection (@connections) {
        $connection->poll;
        next if $connection->ended || !$connection->is_unread;
        Conformance::Server::let_read($server);
    }
    return;
}

# Ends the sending side, once the server has had time to answer what it must wait with.
sub _give_up {
    my ( $server, @plays ) = @_;
    return if !@plays;
    _await_reading( $server, map { $_->{connection} } @plays );
    Conformance::Server::let_read($server);
    for my $play (@plays) {
        my $connection = $play->{connection};
        $connection->poll;
        my $expected = map { @{ $_->{answers} } } @{ $play->{case}{blocks} };
        $play->{early} =
          $connection->ended || replies( $connection->received ) > $expected;
        $connection->shutdown;
    }
    return;
}

# What is wrong with a play that is over.
sub _judge {
    my ($play)     = @_;
    my $connection = $play->{connection};
    my $received   = $connection->received;
    my @replies    = replies( $received, 1 );
    $play->{echoes} = [ grep { defined } map { $_->{echo} } @replies ];

    my @wrong = wrong_with( $play->{case}, @replies );
    push @wrong, 'not closed'      if !$connection->ended;
    push @wrong, 'it did not wait' if $play->{early};
    return map { "$_; received: " . printable($received) } @wrong;
}

# What the handler saw more often or less often than it was answered.
sub _unanswered {
    my ( $server, @plays ) = @_;
    my $seen = Conformance::Server::seen($server);
    for my $echo ( map { @{ $_->{echoes} } } @plays ) {
        $seen->{$echo}--;
    }
    return map { "the handler saw $_: $seen->{$_} times without an answer" }
      grep { $seen->{$_} } sort keys %{$seen};
}

1;
