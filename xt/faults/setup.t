#!/usr/bin/env perl
# What a server needs to begin, to stop and start listening, and to go on in a forked child, is
# refused by the system: the application is told why, nothing is left of the attempt, and the
# next one succeeds. Usage: ./dev faults

use strict;
use warnings;

use FindBin;
use Errno ();
use IO::Socket::UNIX;
use Test::More;

use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../t/lib";
use Faults;
use TestServer qw(report request_bytes upload_bytes);

# Which calls fail with what while a server begins to listen there, and the words before the reason.
my $LISTEN = 'HTTP::Server::EV cannot listen on ADDRESS: ';
my $START  = 'HTTP::Server::EV cannot start: ';
my @ROWS   = (
    [ socket       => [qw(EMFILE ENFILE ENOMEM EACCES)],     $LISTEN ],
    [ bind         => [qw(EADDRINUSE EACCES EADDRNOTAVAIL)], $LISTEN ],
    [ listen       => [qw(EADDRINUSE EOPNOTSUPP)],           $LISTEN ],
    [ epoll_ctl    => [qw(ENOSPC ENOMEM)],                   "(?:$LISTEN|$START)" ],
    [ epoll_create => [qw(EMFILE ENFILE ENOMEM)],            $START ],
    [ eventfd      => [qw(EMFILE ENFILE ENOMEM ENODEV)],     $START ],
    [ getsockname  => [qw(ENOBUFS)],                         $LISTEN ],
    [ getsockopt   => [qw(ENOBUFS)],                         $LISTEN ],
    [ setsockopt   => [qw(ENOBUFS)],                         $LISTEN ],
    [ dup          => [qw(EMFILE)],                          q{} ],
);

# What may fail while a process claims and sweeps its temporary directory. It serves uploads all
# the same, and what was not swept is swept by the next process.
my @CLAIMING = (
    [ lock   => [qw(ENOLCK EINVAL EINTR)] ],
    [ stat   => [qw(EIO ENOMEM)] ],
    [ open   => [qw(EMFILE EACCES ENOMEM)] ],
    [ unlink => [qw(EACCES EIO)] ],
);

my $faults = Faults->new;

for my $address ( '127.0.0.1:0', 'unix:/SOCKET' ) {
    for my $row (@ROWS) {
        my ( $call, $errors, $words ) = @{$row};
        subtest "listen on $address, $call: @{$errors}" =>
          sub { try_listen( $address, $call, $_, $words ) for @{$errors} };
    }
}

subtest 'start says why a listener cannot go on, and can be called again' => sub {
    my $server =
      TestServer->start( sub { commands( $_[0], $_[0]->listen( \&answer ) ) } );
    $server->await('ready');
    is $server->request( GET => q{/} )->{body}, 'page', 'before';
    $server->tell('stop');
    $server->await('stop');
    $faults->set( epoll_ctl => error => 'ENOMEM', times => 1 );
    $server->tell('start');
    my ( $error, $stopped ) = $server->await('start');
    like $error, qr/\AHTTP::Server::EV cannot accept again: Cannot allocate memory /,
      'the reason';
    is $stopped,                       1, 'it is stopped';
    is $faults->injected('epoll_ctl'), 1, 'by that';
    $faults->clear;
    $server->tell('start');
    is_deeply [ $server->await('start') ], [ q{}, 0 ], 'then it starts';
    is $server->request( GET => q{/} )->{body}, 'page', 'and serves';
    $server->stop;
};

subtest 'A client waits while none can be accepted, and so does the server' => sub {
    for my $error (qw(EPERM ECONNABORTED)) {
        my $server =
          TestServer->start( sub { commands( $_[0], $_[0]->listen( \&answer ) ) } );
        $server->await('ready');
        $faults->set( accept => error => $error );
        my $client = $server->connect;
        $client->send( request_bytes( GET => q{/} ) );
        ok $server->await_stderr(qr/./), "$error: there is a warning";
        my $before = $faults->injected('accept');
        $server->tell('wait');
        $server->await('waited');
        cmp_ok $faults->injected('accept') - $before, '<', 20, 'it is tried now and then';
        $faults->clear;
        is $client->response->{body}, 'page', 'the client is served then';
        local $! = Errno->can($error)->();
        my $warning = "HTTP::Server::EV ERROR: Can`t accept connection: $!\n";
        $server->stop( stderr => qr/\A\Q$warning\E\z/ );
    }
};

for my $row (@CLAIMING) {
    my ( $call, $errors ) = @{$row};
    subtest "new, $call: @{$errors}" => sub { try_new( $call, $_ ) for @{$errors} };
    subtest "A worker's first file, $call: @{$errors}" =>
      sub { try_worker( $call, $_ ) for @{$errors} }
      if $call =~ /\A(?:lock|stat)\z/;
}

subtest 'A file is written without threads where none can be started' => sub {
    for my $call (qw(thread sigmask)) {
        my $server = TestServer->start( sub { serve_sizes( $_[0] ) }, backend => 'AIO' );
        $faults->set( $call, error => 'EAGAIN' );
        my $file = { name => 'f', file_name => 'f', content => 'x' x 5_000_000 };
        is $server->upload($file)->{body}, 5_000_000, "$call: the file";
        cmp_ok $faults->injected($call), '>', 0, 'it was tried';
        $faults->clear;
        is $server->upload($file)->{body}, 5_000_000, 'and another, with threads';
        ok $server->await_files(0), 'none is left';
        $server->stop;
    }
};

done_testing;

# Each place where the call is made fails in its turn, until the attempt succeeds.
sub try_listen {
    my ( $address, $call, $error, $words ) = @_;
    my $server = TestServer->start( sub { commands( $_[0] ) } );
    $address =~ s{/SOCKET}{$server->directory . '/socket'}e;
    $words   =~ s/ADDRESS/\Q$address/g;
    local $! = Errno->can($error)->();
    my $reason = "$!";
    my $count  = 0;
    $server->await('ready');

    while ( $count < 20 ) {
        my $before = $server->descriptors;
        $faults->set( $call, error => $error, skip => $count, times => 1 );
        $server->tell( listen => $address );
        my ($told) = $server->await('listen');
        my $injected = $faults->injected($call);
        $faults->clear;
        last if !$injected;
        $count++;

        # It listens all the same where that is an option that it can do without.
        last if $call eq 'setsockopt' && !$told;
        like $told, qr/\A$words.*\Q$reason\E/, "$error, place $count: $told";

        # By then the server itself may have been started, which it stays.
        my $most = $before + ( $call eq 'epoll_ctl' ? 2 : 0 );
        cmp_ok $server->descriptors, '<=', $most, 'no descriptor is left';
    }
    cmp_ok $count, '>', 0, "$count injected"
      if $call !~ /\A(?:getsockname|setsockopt)\z/ || $address !~ /unix/;
    my $port = $server->await('port');
    is ask( $port, $address ), 'page', 'it serves in the end';
    $server->stop;
    return;
}

# In a directory with a file of a process that was killed; each place in its turn.
sub try_new {
    my ( $call, $error ) = @_;
    my $count = 0;
    while ( $count < 10 ) {
        my $killed    = killed_with_a_file();
        my @directory = ( directory => $killed->directory );
        $faults->set( $call, error => $error, skip => $count, times => 1 );
        my $server =
          TestServer->start( sub { serve_sizes( $_[0] ); report('ready') }, @directory );
        $server->await('ready');
        my $injected = $faults->injected($call);
        $faults->clear;
        is upload_to($server), 10_000, "$error, place $count";
        $server->stop;
        my $next = TestServer->start( \&serve_sizes, @directory );
        is upload_to($next), 10_000, 'the next process';
        ok $next->await_files(0), 'no file is left then';
        $next->stop;
        last if !$injected;
        $count++;
    }
    cmp_ok $count, '>', 0, "$count injected";
    return;
}

sub killed_with_a_file {
    my $server = TestServer->start( \&serve_sizes );
    my $client = $server->connect;
    $client->send( substr upload_bytes( upload_of(500_000) ), 0, 300_000 );
    $server->await_files(1) or die 'No file is received';
    kill KILL => $server->pid;
    $server->ended( status => 'signal 9' );
    return $server;
}

# Each place in its turn, in a process that was forked by one that has claimed the directory.
sub try_worker {
    my ( $call, $error ) = @_;
    my $count = 0;
    while ( $count < 10 ) {
        my $server = TestServer->start(
            sub {
                serve_by_worker(
                    $_[0],
                    $call => error => $error,
                    skip  => $count,
                    times => 1
                );
            }
        );
        my ($worker) = $server->await('worker');
        is upload_to($server), 10_000, "$error, place $count";
        my $injected = $faults->injected($call);
        $faults->clear;
        is upload_to($server), 10_000, 'the next';
        ok $server->await_files(0), 'no file is left';
        kill TERM => $worker;
        $server->await('ended');
        $server->stop;
        last if !$injected;
        $count++;
    }
    cmp_ok $count, '>', 0, "$count injected";
    return;
}

sub upload_to { return $_[0]->upload( upload_of(10_000) )->{body} }

sub upload_of { return { name => 'f', file_name => 'f', content => 'x' x $_[0] } }

sub ask {
    my ( $port, $address ) = @_;
    my $client =
      $address =~ /\Aunix:(.*)/
      ? TestServer::Client->from_socket( IO::Socket::UNIX->new( Peer => $1 ) )
      : TestServer::Client->new($port);
    $client->send( request_bytes( GET => q{/} ) );
    return $client->last_response->{body};
}

# In the server's process.

sub commands {
    my ( $test, $listener ) = @_;

    # The loop goes on although nobody listens.
    my $idle = EV::timer( 1e6, 0, sub { } );
    my $timer;
    my %command = (
        idle   => sub { $idle },
        listen => sub {
            my ($address) = @_;
            my $made = eval { HTTP::Server::EV->listen( $address, \&answer ) };
            report( listen => $@ );
            report( port   => $made->{port} ) if $made;
        },
        stop => sub { $listener->stop; report('stop') },
        wait => sub {
            $timer = EV::timer( 0.5, 0, sub { report('waited') } );
        },
        start => sub {
            my $error = eval { $listener->start; 1 } ? q{} : $@;
            report( start => $error, $listener->{stopped} );
        },
    );
    report('ready');
    $test->on_command( sub { my ( $name, @rest ) = @_; $command{$name}->(@rest) } );
    return;
}

sub answer {
    my ($cgi) = @_;
    $cgi->header;
    $cgi->print('page');
    return;
}

# The worker sets the rule when it has forked.
sub serve_by_worker {
    my ( $test, @rule ) = @_;
    our $watcher;
    my $listener = serve_sizes($test);
    $listener->stop;
    defined( my $worker = fork ) or die "fork: $!";
    if ($worker) {
        $watcher = EV::child( $worker, 0, sub { report('ended') } );
        return;
    }
    ## no critic (RequireLocalizedPunctuationVars)
    $SIG{TERM} = 'DEFAULT';
    $faults->set(@rule);
    $listener->start;
    report( worker => $$ );
    return;
}

sub serve_sizes {
    my ($test) = @_;
    return $test->listen(
        sub {
            my ($cgi)  = @_;
            my ($file) = @{ $cgi->file('f') };
            $cgi->header;
            $cgi->print( -s $file->path );
        }
    );
}
