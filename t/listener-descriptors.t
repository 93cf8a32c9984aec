#!/usr/bin/env perl
# What a listener does while the process has no descriptor for another client.

use strict;
use warnings;

# A limit that is soon reached, for the server and the test alike.
BEGIN {
    if ( !$ENV{DESCRIPTORS_LIMITED} ) {
        local $ENV{DESCRIPTORS_LIMITED} = 1;
        exec '/bin/sh', '-c', 'ulimit -n 100 && exec "$@"', 'sh', $^X,
          ( map { "-I$_" } grep { !ref } @INC ), $0;
    }
}

use FindBin;
use IO::Socket::INET;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(kept_request_bytes report request_bytes);

my $WARNING =
    'HTTP::Server::EV ERROR: Can`t accept connection. Run out of open file '
  . 'descriptors! Listening stopped until one of the server connection will be closed!'
  . "\n";

my $REQUEST      = request_bytes( GET => q{/} );
my $KEPT_REQUEST = kept_request_bytes( GET => q{/} );

subtest 'Clients wait, with one warning, and each is served as another ends' => sub {
    my $server  = start( room => 2 );
    my @clients = map { client( $server, $REQUEST ) } 1 .. 8;
    $server->await('serving') for 1 .. 2;
    ok $server->await_stderr(qr/./), 'there is a warning';
    for ( 3 .. 8 ) {
        $server->tell('answer');
        $server->await('serving');
    }
    $server->tell( 'answer', 'answer' );
    is_deeply [ map { $_->response->{body} } @clients ], [ ('page') x 8 ],
      'all are served in the end';
    $server->stop( stderr => qr/\A\Q$WARNING\E\z/ );
};

subtest 'It comes back by itself when somebody else closes a descriptor' => sub {
    my $server = start( room => 0 );
    my $client = client( $server, $REQUEST );
    ok $server->await_stderr(qr/./), 'there is a warning';
    $server->tell( 'release', 'report' );
    $server->await('serving');
    $server->tell('answer');
    is $client->response->{body}, 'page', 'it is served, and the loop has gone on';
    $server->stop( stderr => qr/\A\Q$WARNING\E\z/ );
};

subtest 'It is quiet while it waits' => sub {
    my $server = start( room => 0 );
    my $client = client( $server, $REQUEST );
    ok $server->await_stderr(qr/./), 'there is a warning';
    $server->tell('count rounds');
    cmp_ok $server->await('rounds'), '<', 50, 'rounds of the loop in half a second';
    $server->tell( 'release', 'answer' );
    $server->await('serving');
    $server->tell('answer');
    is $client->response->{body}, 'page', 'and then it serves';
    $server->stop( stderr => qr/\A\Q$WARNING\E\z/ );
};

subtest 'Nobody is told of a shortage while nobody waits' => sub {
    my $server  = start( room => 2 );
    my @clients = map { client( $server, $REQUEST ) } 1 .. 2;
    $server->await('serving') for 1 .. 2;
    $server->tell( 'answer', 'answer' );
    is $_->response->{body}, 'page', 'as many as there is room for' for @clients;
    $server->stop;
};

subtest
  'Connections that wait for another request make room, those that have longest first' =>
  sub {
    my $server = start( room => 2 );
    my @idle;
    for ( 1 .. 2 ) {
        push @idle, client( $server, $KEPT_REQUEST );
        $server->await('serving');
        $server->tell('answer');
        is $idle[-1]->response->{body}, 'page', 'one is served, and stays';
    }
    my @clients;
    for ( 1 .. 2 ) {
        push @clients, client( $server, $REQUEST );
        $server->await('serving');
        is $idle[ $_ - 1 ]->read_all, q{}, 'it goes for a new client';
    }
    $server->tell( 'answer', 'answer' );
    is $_->response->{body}, 'page', 'a new client' for @clients;
    $server->stop;
  };

subtest 'The next shortage is told again' => sub {
    my $server = start( room => 1 );
    for my $shortage ( 1 .. 3 ) {
        my @clients = map { client( $server, $REQUEST ) } 1 .. 3;
        ok $server->await_stderr(qr/\A(?:\Q$WARNING\E){$shortage}\z/),
          "warning $shortage";
        for (@clients) {
            $server->await('serving');
            $server->tell('answer');
        }
        is $_->response->{body}, 'page', 'a client' for @clients;
    }
    $server->stop( stderr => qr/\A(?:\Q$WARNING\E){3}\z/ );
};

subtest 'Who was stopped meanwhile stays stopped' => sub {
    my $server = start( room => 1, other => 1 );
    my $other  = $server->await('other');
    my $first  = client( $server, $REQUEST );
    $server->await('serving');
    my $waiting = client( $server, $REQUEST );
    ok $server->await_stderr(qr/./), 'there is a warning';
    $server->tell( 'stop', 'answer', 'release' );
    is $first->response->{body}, 'page', 'one connection ends';
    my $to_other = TestServer::Client->new($other);
    $to_other->send($REQUEST);
    is_deeply [ $server->await('serving') ], [$other], 'another listener serves';
    $server->tell('answer');
    is $to_other->response->{body}, 'page', 'its client';
    $server->tell('start');
    is_deeply [ $server->await('serving') ], [ $server->port ],
      'and this one once started';
    $server->tell('answer');
    is $waiting->response->{body}, 'page', 'the client that has waited';
    $server->stop( stderr => qr/\A(?:\Q$WARNING\E){1,2}\z/ );
};

subtest 'A child that is forked in a shortage, and has closed something, serves' => sub {
    my $server = start( room => 0 );
    my $client = client( $server, $REQUEST );
    ok $server->await_stderr(qr/./), 'there is a warning';
    $server->tell('fork');
    my $child = $server->await('child');
    is $client->response->{body}, "page of $child", 'its reply';
    kill TERM => $child;
    $server->await('child ended');
    $server->stop( stderr => qr/\A\Q$WARNING\E\z/ );
};

subtest 'A pipe that nobody reads does no harm where no descriptor is left' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( sub { $_[0]->header } );
            $SIG{PIPE} = 'DEFAULT';    ## no critic (RequireLocalizedPunctuationVars)
            pipe my $reader, my $writer or die "pipe: $!";
            my $buffer = HTTP::Server::EV::Buffer->new( { fh => $writer } );
            close $reader;
            my @taken;
            while ( open my $handle, '<', '/dev/null' ) { push @taken, $handle }
            $buffer->print('x');
            $buffer->flush_wait( sub { @taken = (); report( pipe => $buffer->{status} ) }
            );
        }
    );
    is_deeply [ $server->await('pipe') ], [-1], 'no signal';
    $server->stop;
};

done_testing;

# A server with descriptors for so many clients, which answers when it is told to.
sub start {
    my (%option) = @_;
    return TestServer->start( sub { serve( $_[0], %option ) } );
}

sub serve {
    my ( $server, %option ) = @_;
    my ( @waiting, @held, $timer, $watcher, $is_child );
    my $main = sub {
        my ($cgi) = @_;
        return answer( $cgi, "page of $$" ) if $is_child;
        push @waiting, $cgi;
        report( serving => $cgi->{headers}{SERVER_PORT} );
    };
    my $listener = $server->listen($main);
    if ( $option{other} ) {
        my $other = HTTP::Server::EV->listen( '127.0.0.1:0', $main );
        report( other => $other->{port} );
    }

    my %command = (
        answer => sub { answer( shift @waiting ) if @waiting },
        start  => sub { $listener->start },
        stop   => sub { $listener->stop },
        report => sub { report('told') },

        # Nothing of the server's.
        release => sub { close pop @held },

        'count rounds' => sub {
            my $before = EV::iteration();
            $timer =
              EV::timer( 0.5, 0, sub { report( rounds => EV::iteration() - $before ) } );
        },
        fork => sub {
            defined( my $child = fork ) or die "fork: $!";
            if ($child) {
                $watcher = EV::child( $child, 0, sub { report('child ended') } );
                return report( child => $child );
            }
            $is_child = 1;
            close pop @held for 1 .. 5;
        },
    );
    $server->on_command( sub { $command{$_}->() for @_ } );

    while ( open my $handle, '<', '/dev/null' ) {
        push @held, $handle;
    }
    close pop @held for 1 .. $option{room};
    return;
}

sub answer {
    my ( $cgi, $text ) = @_;
    $cgi->header;
    $cgi->print( $text || 'page' );
    return;
}

sub client {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client;
}
