#!/usr/bin/env perl
# Several kinds of system calls fail or fall short by chance while clients of all kinds are
# served: each gets what is documented, nothing is left, and all is well when nothing fails any
# more. FAULTS_ROUNDS sets how many rounds, FAULTS_SEED with which choices.
# Usage: ./dev faults [rounds]

use strict;
use warnings;

use FindBin;
use List::Util qw(shuffle sum);
use Test::More;

use lib "$FindBin::Bin/lib", "$FindBin::Bin/../soak/lib", "$FindBin::Bin/../../t/lib";
use Faults;
use FaultyServer;
use Soak::Resources qw(memory);
use TestServer      qw(backends);

my $ROUNDS = $ENV{FAULTS_ROUNDS} || 100;
my $SEED   = $ENV{FAULTS_SEED}   || time % 100_000;

my $CLIENTS = 4;

# In KiB.
my $MOST_GROWTH = 6_000;

# What each call may say, or how many bytes it may take.
my %FAULTS = (
    open            => [qw(ENOSPC EACCES EIO EMFILE ENFILE ENOMEM EROFS EINTR)],
    pwrite          => [ qw(ENOSPC EIO EDQUOT EFBIG EINTR), 1, 1_000 ],
    copy_file_range => [ qw(ENOSPC EIO EINVAL), 1_000 ],
    rename          => [qw(EACCES ENOSPC EIO EXDEV)],
    stat            => [qw(EIO ENOMEM)],
    fchmod          => [qw(EPERM EIO)],
    accept          => [qw(ECONNABORTED EPROTO EINTR EMFILE ENFILE ENOMEM EPERM)],
    recv            => [qw(ECONNRESET ETIMEDOUT ENOMEM EINTR)],
    send            => [ qw(ECONNRESET EPIPE ENOBUFS EINTR), 1, 1_000 ],
    epoll_create    => [qw(EMFILE ENFILE)],
    epoll_ctl       => [qw(ENOSPC ENOMEM)],
    epoll_wait      => [qw(EINTR EINVAL)],
    eventfd         => [qw(EMFILE ENFILE)],
    dup             => [qw(EMFILE ENFILE)],
    getrandom       => [ qw(EIO EINTR), 1 ],
    close           => [qw(EINTR EIO)],
    flush           => [qw(EDQUOT EIO)],
    memory          => ['ENOMEM'],
);
my %MORE = ( memory => { least => 32_768 } );

my $faults = Faults->new;
my ( %injected, %outcomes );

srand $SEED;
$faults->seed($SEED);
note "FAULTS_SEED=$SEED FAULTS_ROUNDS=$ROUNDS";

for my $backend ( backends() ) {
    my $server = FaultyServer->start($backend);
    my $before = memory_in_use($server);
    for my $round ( 1 .. $ROUNDS ) {
        my @wrongs = try_round($server);
        is_deeply \@wrongs, [], "round $round, with $backend" or diag explain \@wrongs;
    }
    my $grown = memory_in_use($server) - $before;
    cmp_ok $grown,                  '<', $MOST_GROWTH, "grown by $grown KiB";
    cmp_ok $server->rounds_at_rest, '<', 30,           'the loop rests';
    $server->stop;
    note "with $backend, grown by $grown KiB";
}
my $injected = sum map { $_ // 0 } values %injected;
cmp_ok $injected, '>=', $ROUNDS, "$injected injected";
note join q{, }, map { "$_ $injected{$_}" } grep { $injected{$_} } sort keys %FAULTS;
note join q{, }, map { "$outcomes{$_} $_" } sort keys %outcomes;

done_testing;

# In KiB, when all kinds of requests have been served some times without a failure.
sub memory_in_use {
    my ($server) = @_;
    for ( 1 .. 5 ) {
        $server->run($_) eq 'served'
          or fail "$_ is served"
          for sort keys %FaultyServer::SCENARIO;
    }
    return memory( $server->server->pid );
}

# What is wrong afterwards.
sub try_round {
    my ($server) = @_;
    my @calls = ( shuffle sort keys %FAULTS )[ 0 .. rand 4 ];
    $server->begin_neighbour;
    my %faults = map { $_ => set($_) } @calls;

    my @scenarios = ( shuffle sort keys %FaultyServer::SCENARIO )[ 1 .. $CLIENTS ];
    my %outcome   = map { $_ => $server->run($_) } @scenarios;
    $outcome{neighbour} = $server->end_neighbour;
    my %count = map { $_ => $faults->injected($_) } @calls;
    $injected{$_} += $count{$_} for @calls;
    $faults->clear;

    $outcomes{$_}++ for values %outcome;
    my $documented = sum( 0, values %count ) ? qr/\A(?!wrong)/ : qr/\Aserved\z/;
    my $is_broken  = grep { $_ !~ $documented } values %outcome;
    my @wrongs     = $server->wrongs;
    my $page       = $server->run('page');
    push @wrongs, "page afterwards: $page" if $page ne 'served';
    return if !@wrongs && !$is_broken;
    return ( @wrongs, \%faults, \%outcome );
}

sub set {
    my ($call) = @_;
    my @faults = @{ $FAULTS{$call} };
    my $fault  = $faults[ rand @faults ];
    my %rule   = (
        ( $fault =~ /\A\d/ ? 'most' : 'error' ) => $fault,
        chance                                  => 0.5**( 1 + int rand 6 ),
        %{ $MORE{$call} || {} },
    );

    # What falls short only ends some time.
    $rule{times} = 20 if $call eq 'send' && $rule{most};
    $faults->set( $call, %rule );
    return \%rule;
}
