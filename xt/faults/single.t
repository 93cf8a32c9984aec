#!/usr/bin/env perl
# Each system call of the server fails in each way it can, at each place where a request of any
# kind makes it: that request alone gets what is documented, a neighbour's upload goes on, and
# nothing is left of it. Usage: ./dev faults

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../t/lib";
use Faults;
use FaultyServer;
use TestServer qw(backends);

my @UPLOADS = qw(small large many chunked);
my @ALL     = sort keys %FaultyServer::SCENARIO;

# Places beyond the tenth are tried in growing steps, up to here.
my $MOST_PLACES = 100;

# Where a file cannot be moved, and the system cannot copy it by itself.
my %OTHER_FILE_SYSTEM = ( rename => 'EXDEV', copy_file_range => 'EINVAL' );

# Which call, what it says (an errno, or how many bytes it takes at most), in which scenarios,
# and what these may come to. `with`: what fails once besides; `places`: how many calls pass
# before, if not each in its turn; `then`: what is done afterwards.
my @ROWS = (

    # What could not be removed is removed with the next file.
    (
        map { row( unlink => $_, \@UPLOADS, 'served', then => 'small' ) }
          qw(EACCES EROFS EIO)
    ),
    ( map { row( pwrite => $_, \@UPLOADS, 'closed' ) } qw(ENOSPC EIO EDQUOT EFBIG) ),
    row( pwrite => 'EINTR', \@UPLOADS, 'served' ),
    row( pwrite => 700,     \@UPLOADS, 'served' ),

    (
        map { row( open => $_, \@UPLOADS, 'closed' ) }
          qw(ENOSPC EACCES EROFS EIO ENOMEM ENOENT)
    ),

    # For want of a descriptor it is tried once more.
    ( map { row( open => $_, \@UPLOADS, 'served' ) } qw(EMFILE ENFILE EINTR) ),
    row( open => 'EMFILE', \@UPLOADS,  'closed', times => 2 ),
    row( open => 'EACCES', ['reopen'], 'told|closed' ),
    row( open => 'EACCES', ['save'],   'told|closed|served' ),

    # What cannot be claimed is received all the same.
    ( map { row( stat => $_, \@UPLOADS, 'served' ) } qw(EIO ENOMEM EACCES) ),
    row( stat => 'EIO', ['save'], 'told|served' ),

    row( getrandom => 'EIO',   \@UPLOADS, 'closed' ),
    row( getrandom => 'EINTR', \@UPLOADS, 'served' ),
    row( getrandom => 3,       \@UPLOADS, 'served' ),

    (
        map { row( recv => $_, \@ALL, 'closed|cut|served' ) }
          qw(ECONNRESET ETIMEDOUT ENOMEM)
    ),
    row( recv => 'EINTR', \@ALL, 'served' ),
    (
        map { row( send => $_, \@ALL, 'closed|cut' ) }
          qw(ECONNRESET EPIPE ENOBUFS ETIMEDOUT)
    ),
    row( send => 'EINTR', \@ALL,                      'served' ),
    row( send => 7,       [qw(page kept form small)], 'served' ),
    row( send => 4_000,   ['large_reply'],            'served' ),

    (
        map { row( accept => $_, [qw(page small)], 'served' ) }
          qw(ECONNABORTED EPROTO EPERM EINTR EHOSTUNREACH EMFILE ENFILE ENOMEM ENOBUFS EINVAL)
    ),
    ( map { row( shutdown => $_, \@ALL, 'served' ) } qw(ENOTCONN ENOBUFS) ),
    row( epoll_ctl    => 'ENOMEM', [qw(page small)], 'closed' ),
    row( epoll_ctl    => 'ENOSPC', [qw(page small)], 'closed' ),
    row( epoll_ctl    => 'ENOMEM', ['fork'],         'served|closed' ),
    row( epoll_wait   => 'EINTR',  \@ALL,            'served' ),
    row( epoll_wait   => 'EINVAL', [qw(page large)], 'served' ),
    row( epoll_create => 'EMFILE', ['fork'],         'served' ),
    row( eventfd      => 'ENFILE', ['fork'],         'served' ),
    ( map { row( dup => $_, ['handle'], 'told' ) } qw(EMFILE ENFILE) ),
    row( poll => 'ENOMEM', [qw(page kept)], 'served', with => { accept => 'EMFILE' } ),

    ( map { row( rename => $_, ['save'], 'told' ) } qw(EACCES ENOSPC EIO EROFS EPERM) ),
    row( rename => 'EXDEV', ['save'], 'served', times => 1 ),
    (
        map {
            row(
                copy_file_range => $_,
                ['save_one'], 'told', with => { rename => 'EXDEV' }
            )
        } qw(ENOSPC EIO EDQUOT)
    ),
    row(
        copy_file_range => 1_000,
        ['save_one'],
        'served',
        with => { rename => 'EXDEV' }
    ),

  # Where nothing without a name can be made or be given one, the copy has a name from the
  # beginning.
    (
        map { row( link => $_, ['save_one'], 'served', with => { rename => 'EXDEV' } ) }
          qw(EEXIST ENOENT EPERM ENOSPC EXDEV)
    ),
    row(
        link => 'EEXIST',
        ['save_one'], 'told',
        times => 2,
        with  => { rename => 'EXDEV' }
    ),
    row(
        open => 'EOPNOTSUPP',
        ['save_one'], 'closed|told|served',
        with => { rename => 'EXDEV' }
    ),
    (
        map {
            row(
                copy_file_range => $_,
                ['save_one'], 'told', with => { rename => 'EXDEV', link => 'EPERM' }
            )
        } qw(ENOSPC EIO)
    ),
    row(
        rename => 'EXDEV',
        ['save_one'],
        'told|served',
        times => 2,
        with  => { link => 'EPERM' }
    ),

    # It says so at once, or in the middle, which the standard library does not expect.
    row(
        sendfile => 'EINVAL',
        ['save_one'], 'served',
        with   => \%OTHER_FILE_SYSTEM,
        places => [0]
    ),
    (
        map {
            row(
                sendfile => 'EINVAL',
                ['save_one'], 'told',
                with   => { %OTHER_FILE_SYSTEM, %{$_} },
                places => [1]
            )
        } {},
        { link => 'EPERM' }
    ),
    (
        map {
            row(
                read => $_,
                ['save_one'], 'told|served',
                with => { %OTHER_FILE_SYSTEM, sendfile => 'EINVAL' }
            )
        } qw(EIO EINTR)
    ),
    row(
        read => 100,
        ['save_one'],
        'served',
        with => { %OTHER_FILE_SYSTEM, sendfile => 'EINVAL' }
    ),
    (
        map {
            row(
                write => $_,
                ['save_one'], 'told', with => { %OTHER_FILE_SYSTEM, sendfile => 'EINVAL' }
            )
        } qw(ENOSPC EIO)
    ),
    row(
        write => 100,
        ['save_one'],
        'served',
        with => { %OTHER_FILE_SYSTEM, sendfile => 'EINVAL' }
    ),
    ( map { row( fchmod => $_, ['save'], 'told|served' ) } qw(EPERM EROFS EIO) ),

    # A file that was written to is whole when it is closed, and not before.
    ( map { row( close => $_, \@ALL,     'served|closed' ) } qw(EINTR EIO) ),
    ( map { row( flush => $_, \@UPLOADS, 'closed' ) } qw(EDQUOT ENOSPC EIO EINTR) ),
    (
        map { row( flush => 'EDQUOT', ['save_one'], 'closed|told', with => $_ ) } (
            { rename => 'EXDEV' },
            { rename => 'EXDEV', link => 'EEXIST' },
            { rename => 'EXDEV', link => 'EPERM' }
        )
    ),
    row( dup => 'EMFILE', ['save_one'], 'told', with => { rename => 'EXDEV' } ),
);

my $faults = Faults->new;
my %injected;

for my $backend ( backends() ) {
    my $server = FaultyServer->start($backend);
    for my $row (@ROWS) {
        subtest "$row->{name}, with $backend" => sub { try_row( $server, $row ) };
    }
    cmp_ok $server->rounds_at_rest, '<', 30, 'the loop rests';
    $server->stop;
}

# Where directories cannot be locked, files have no mark by which a sweep would know them.
for my $backend ( backends() ) {
    subtest "A file system without locks and modes, with $backend" => sub {
        $faults->set( lock => error => 'EINVAL' );
        my $server = FaultyServer->start($backend);
        $faults->set( fchmod => error => 'EPERM' );
        is $server->run('save'), 'served', 'files are saved';
        cmp_ok $faults->injected('fchmod'), '>', 0, 'with a mode that cannot be set';
        $faults->clear;
        $server->stop;
    };
}
note "$_: $injected{$_} injected" for sort keys %injected;

done_testing;

sub row {
    my ( $call, $fault, $scenarios, $outcome, %more ) = @_;
    my $with   = delete $more{with} || {};
    my $places = delete $more{places};
    my $then   = delete $more{then};
    my %fault  = $fault =~ /\A\d/ ? ( most => $fault ) : ( error => $fault, times => 1 );
    my $name = join q{, }, "$call: $fault", map { "$_: $with->{$_}" } sort keys %{$with};
    return {
        name      => $name,
        call      => $call,
        fault     => { %fault, %more },
        with      => $with,
        then      => $then,
        places    => $places || places( \%fault ),
        scenarios => $scenarios,
        outcome   => qr/\A(?:$outcome)\z/
    };
}

sub try_row {
    my ( $server, $row ) = @_;
    $server->begin_neighbour;
    my $count = 0;
    for my $scenario ( @{ $row->{scenarios} } ) {
        for my $place ( @{ $row->{places} } ) {
            my $injected = try_place( $server, $row, $scenario, $place ) or last;
            $count += $injected;
        }
    }
    $injected{ $row->{call} } += $count;
    is $server->end_neighbour, 'served', 'a neighbour';
    cmp_ok $count, '>', 0, "$count injected";
    return;
}

# What falls short does so each time.
sub places {
    my ($fault) = @_;
    return [0] if !$fault->{times};
    return [ 0 .. 9, grep { $_ <= $MOST_PLACES } map { int 10 * 1.3**$_ } 1 .. 10 ];
}

# Returns how often it has failed.
sub try_place {
    my ( $server, $row, $scenario, $place ) = @_;
    $faults->set( $_, error => $row->{with}{$_}, times => 1 ) for keys %{ $row->{with} };
    $faults->set( $row->{call}, %{ $row->{fault} }, skip => $place );
    my $outcome  = $server->run($scenario);
    my $injected = $faults->injected( $row->{call} );
    $faults->clear;

    $server->run( $row->{then} ) if $row->{then};
    my $expected = $injected ? $row->{outcome} : qr/\Aserved\z/;
    my @wrongs   = $server->wrongs;
    push @wrongs, "outcome: $outcome" if $outcome !~ $expected;
    is_deeply \@wrongs, [], "$scenario, at place $place";
    $server->advance_neighbour(1_000);
    return $injected;
}
