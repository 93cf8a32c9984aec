#!/usr/bin/env perl
# A process forks while connections are kept: they stay its own, whatever the child does.

use strict;
use warnings;

use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer
  qw(backends kept_request_bytes multipart multipart_type report request_bytes);

my $GET    = kept_request_bytes( GET => '/' );
my $UPLOAD = kept_request_bytes(
    POST => '/',
    { 'Content-Type' => multipart_type() },
    multipart( { name => 'file', file_name => 'a', content => 'x' x 200_000 } )
);

# What the child does after the fork. It ends when it is told so by a signal.
my %CHILDREN = (
    'serves, too'                    => sub { },
    'has listeners that are stopped' => sub { HTTP::Server::EV->new->stop; hold_loop() },
    'does something else'            => sub {
        my $parent = getppid;
        sleep 1 while getppid == $parent;
        POSIX::_exit(0);
    },
);

for my $backend ( backends() ) {
    for my $what ( sort keys %CHILDREN ) {
        subtest "Beside a child that $what, with $backend" => sub {
            my $server = start( $CHILDREN{$what}, $backend );
            my @idle   = map { client( $server, $GET ) } 1 .. 3;
            is page($_), $server->pid, 'a connection that is kept' for @idle;
            my $upload = client( $server, $GET . substr $UPLOAD, 0, 100_000 );
            is page($upload), $server->pid, 'one with an upload under way';
            $server->await('on_multipart');
            my $flushed = client( $server, kept_request_bytes( GET => '/flushed' ) );
            $server->await('flushed');

            $server->tell('fork');
            my $child = $server->await('child');
            for my $client ( (@idle) x 5 ) {
                $client->send($GET);
                is page($client), $server->pid, 'the parent goes on with it';
            }
            $upload->send( substr $UPLOAD, 100_000 );
            is page($upload), $server->pid, 'and with the upload';
            $idle[0]->send( kept_request_bytes( GET => '/answer' ) );
            is page( $idle[0] ), $server->pid, 'and with what it has to do there';
            is page($flushed), 'begin ' . $server->pid, 'and with a reply that had begun';
            for my $client ( @idle, $upload, $flushed ) {
                $client->send( request_bytes( GET => '/' ) );
                is $client->last_response->{body}, $server->pid,
                  'the last one ends it for the client';
            }
            kill KILL => $child;
            $server->await('ended');
            ok $server->await_files(0), 'no file is left';
            $server->stop;
        };
    }
}

subtest 'An idle connection ends in time though a child holds it, too' => sub {
    my $server = start( $CHILDREN{'does something else'}, undef, keepalive => 0.5 );
    my $client = client( $server, $GET );
    is page($client), $server->pid, 'it is served';
    $server->tell('fork');
    my $child = $server->await('child');
    is $client->read_all, q{}, 'it is closed';
    kill KILL => $child;
    $server->await('ended');
    $server->stop;
};

subtest 'Requests behind one whose callback forks are served once, by the parent' => sub {
    my $server = start( $CHILDREN{'serves, too'} );
    my $client = client(
        $server, join q{},
        map { kept_request_bytes( GET => $_ ) } '/fork',
        ('/') x 20
    );
    my $child = $server->await('child');
    is page($client), $server->pid, 'a reply' for 1 .. 21;
    $client->send( request_bytes( GET => '/' ) );
    is $client->last_response->{body}, $server->pid, 'and no other one';
    kill KILL => $child;
    $server->await('ended');
    $server->stop;
};

done_testing;

sub start {
    my ( $child, $backend, %option ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            my ( @waiting, $watcher );
            my $fork = sub {
                defined( my $pid = fork ) or die "fork: $!";
                return $child->() if !$pid;
                $watcher = EV::child( $pid, 0, sub { report('ended'); undef $watcher } );
                report( child => $pid );
            };
            my %does = (
                '/answer'  => sub { $_->print($$) for splice @waiting },
                '/fork'    => $fork,
                '/flushed' => sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print('begin ');
                    $cgi->flush_wait( sub { push @waiting, $cgi; report('flushed') } );
                    return 1;
                },
            );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    my $path = $cgi->{headers}{SCRIPT_NAME};
                    return $does{$path}->($cgi) if $path eq '/flushed';
                    $does{$path}->($cgi)        if $does{$path};
                    $cgi->header;
                    $cgi->print($$);
                },
                { on_multipart => sub { report('on_multipart') }, %option }
            );

            # Only once: a child hears it, too.
            $server->on_command($fork);
        },
        backend => $backend
    );
}

# In a child that would end with its last watcher.
sub hold_loop {
    our $timer = EV::timer( 3600, 0, sub { } );
    return;
}

sub client {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client;
}

sub page {
    my ($client) = @_;
    return $client->response->{body};
}
