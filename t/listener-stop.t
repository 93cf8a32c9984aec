#!/usr/bin/env perl
# A listener that is stopped, and a server: who is served to the end, who is let go, and
# when the application is told that all are.

use strict;
use warnings;

use FindBin;
use IO::Select ();
use IO::Socket::INET;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer
  qw(backends eventually kept_request_bytes multipart multipart_type report request_bytes);

my $GET    = kept_request_bytes( GET => '/' );
my $UPLOAD = kept_request_bytes(
    POST => '/',
    { 'Content-Type' => multipart_type() },
    multipart( { name => 'file', file_name => 'a', content => 'x' x 200_000 } )
);

subtest 'Connections that are at no request are closed at once, without a word' => sub {
    my $server = start();
    my $idle   = client( $server, $GET );
    is $idle->response->{body}, 'page 0', 'one has been served';
    my $fresh = $server->connect;
    ok served( $server, 'page 0' ),
      'another one has said nothing yet, and was accepted before a third';
    my $seen = @{ $server->{seen} };
    $server->tell('stop');
    $server->await('stop');
    is $idle->read_all,  q{}, 'the first one is closed';
    is $fresh->read_all, q{}, 'and so is the second one';
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "Requests that have begun are served, and told the end, with $backend" =>
      sub {
        my $server  = start( {}, $backend );
        my $reply   = waiting_client( $server, '/wait' );
        my $flushed = waiting_client( $server, '/flushed' );
        my $head    = client( $server, substr $GET,    0, 20 );
        my $upload  = client( $server, substr $UPLOAD, 0, 100_000 );
        ok $_->drained, 'a request is under way' for $head, $upload;
        $server->await('on_multipart');

        $server->tell('stop');
        $server->await('stop');
        $server->tell('answer');
        $head->send( substr $GET, 20 );
        $upload->send( substr $UPLOAD, 100_000 );
        for my $case (
            [ reply  => $reply,  'page 0' ],
            [ head   => $head,   'page 0' ],
            [ upload => $upload, 'page 200000' ]
          )
        {
            my ( $what, $client, $page ) = @{$case};
            my $response = $client->last_response;
            is $response->{body},                $page,   "$what: the page";
            is $response->{headers}{connection}, 'close', "$what: the end is told";
        }
        is $flushed->last_response->{body}, 'beginpage 0',
          'a reply that had begun is the last, too';
        is_deeply [ map { $_->[0] } $server->reports_until('stopped') ],
          [qw(on_drained stopped)],
          'then the application is told';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
      };
}

subtest 'Pipelined requests behind the one that is served are left to another server' =>
  sub {
    my $server = start();
    my $client = client( $server, kept_request_bytes( GET => '/wait' ) . $GET x 2 );
    $server->await('waiting');
    $server->tell('stop');
    $server->await('stop');
    $server->tell('answer');
    my $response = $client->last_response;
    is $response->{headers}{connection}, 'close', 'the reply says so';
    is_deeply [ map { $_->[0] } $server->reports_until('stopped') ],
      [qw(on_drained stopped)], 'none of them runs';
    $server->stop;
  };

subtest 'A request that has come and was not looked at yet is served' => sub {
    my $server = start();
    my $client = client( $server, $GET );
    is $client->response->{body}, 'page 0', 'one has been served';
    $server->tell('hold');
    $server->await('holding');
    $client->send($GET);
    $server->{hold}->();
    my $response = $client->last_response;
    is $response->{body},                'page 0', 'the next one is, too';
    is $response->{headers}{connection}, 'close',  'as the last';
    $server->await('stopped');
    $server->stop;
};

subtest 'A body that nobody reads is skipped before the connection is closed' => sub {
    my $server = start();
    my $body   = 'x' x 1000;
    my $client =
      client( $server, substr kept_request_bytes( GET => '/', {}, $body ), 0, -500 );
    my $response = $client->response;
    is $response->{body}, 'page 0', 'the reply';
    $server->tell('stop');
    $server->await('stop');
    ok $client->send( 'x' x 500 ), 'the rest is taken';
    is $client->read_all, q{}, 'then the connection ends';
    $server->await('stopped');
    $server->stop;
};

subtest
  'A client that is slow to read gets all of its reply, and one to what it sent ahead' =>
  sub {
    my $server = start();
    my $client = client( $server, kept_request_bytes( GET => '/large' ) . $GET );
    $client->read_until(qr/\r\n\r\n/);
    $server->tell('stop');
    $server->await('stop');
    is length $client->response->{body}, 10_000_000, 'the reply';
    my $response = $client->last_response;
    is $response->{body},                'page 0', 'the next one';
    is $response->{headers}{connection}, 'close',  'as the last';
    $server->await('stopped');
    $server->stop;
  };

subtest 'Clients that come meanwhile are served after start' => sub {
    my $server = start();
    $server->tell('stop');
    $server->await('stopped');
    my $client = client( $server, $GET );
    $server->tell('start');
    $server->await('start');
    my $response = $client->response;
    is $response->{body},                'page 0', 'the page';
    is $response->{headers}{connection}, undef,    'and may go on';
    $client->send($GET);
    is $client->response->{body}, 'page 0', 'with another one';
    $server->stop;
};

subtest 'on_drained and the callback come once, with the listener' => sub {
    my $server = start();
    for my $time ( 1 .. 3 ) {
        my $client = waiting_client( $server, '/wait' );
        $server->tell( 'stop', 'answer' );
        my @reports =
          grep { $_->[0] =~ /stopped|on_drained/ } $server->reports_until('stopped');
        is_deeply \@reports,
          [ [ on_drained => $server->port ], [ stopped => $server->port ] ], "time $time";
        is $client->last_response->{body}, 'page 0', 'after the reply';
        $server->tell( 'start', 'nothing' );
        is_deeply [ map { $_->[0] } $server->reports_until('nothing') ],
          [qw(start nothing)], 'not again';
    }
    $server->stop;
};

subtest 'start before the last connection is closed puts it off' => sub {
    my $server = start();
    my $client = waiting_client( $server, '/wait' );
    $server->tell( 'stop', 'start', 'answer' );
    is $client->response->{body}, 'page 0', 'the client is answered';
    $client->send($GET);
    is $client->response->{body}, 'page 0', 'and goes on';
    $client->close;
    ok served( $server, 'page 0' ), 'others are served';
    is_deeply [ grep { /stopped|on_drained/ } map { $_->[0] } @{ $server->{seen} } ], [],
      'nothing is told';
    $server->tell('stop');
    my @reports =
      grep { $_->[0] =~ /stopped|on_drained/ } $server->reports_until('stopped');
    is_deeply \@reports,
      [ [ on_drained => $server->port ], [ stopped => $server->port ] ],
      'but after the next stop';
    $server->stop;
};

subtest 'A listener without connections is told of from the loop' => sub {
    my $server = TestServer->start(
        sub {
            my $listener =
              $_[0]->listen( \&answer, { on_drained => sub { report('on_drained') } } );
            $listener->stop( sub { report('stopped') } );
            report('returned');
        }
    );
    is_deeply [ map { $_->[0] } $server->reports_until('stopped') ],
      [qw(returned on_drained stopped)], 'in this order';
    $server->ended;
};

subtest 'A listener that is stopped again tells again' => sub {
    my $server = start();
    for my $time ( 1 .. 3 ) {
        $server->tell('stop');
        my @reports = map { $_->[0] } $server->reports_until('stopped');
        is_deeply \@reports, [qw(stop on_drained stopped)], "time $time";
    }
    $server->tell( 'stop', 'stop', 'nothing' );
    my %count;
    $count{ $server->next_report->[0] }++ until ( $count{stopped} // 0 ) == 2;
    is $count{stop}, 2, 'each callback comes, also of two stops in a row';
    $server->tell('nothing');
    $count{ $_->[0] }++ for $server->reports_until('nothing');
    is $count{on_drained}, 1, 'and on_drained once for both';
    $server->stop;
};

subtest 'Callbacks that die are warned about' => sub {
    my $server = TestServer->start(
        sub {
            my $listener =
              $_[0]->listen( \&answer, { on_drained => sub { die "on_drained\n" } } );
            $listener->stop( sub { die "first\n" } );
            $listener->stop( sub { report('second') } );
        }
    );
    is_deeply [ $server->await('second') ], [], 'the others are called';
    $server->ended( stderr =>
qr/\A(?:ERROR IN CALLBACK: on_drained\n)+ERROR IN CALLBACK: first\n(?:ERROR IN CALLBACK: on_drained\n)?\z/
    );
};

subtest 'stop in the callback of a request makes its reply the last' => sub {
    my $server   = start();
    my $client   = client( $server, kept_request_bytes( GET => '/stop' ) . $GET );
    my $response = $client->last_response;
    is $response->{headers}{connection}, 'close', 'it says so';
    is_deeply [ map { $_->[0] } $server->reports_until('stopped') ],
      [qw(on_drained stopped)], 'and then all is done';
    $server->stop;
};

subtest '$server->stop stops all listeners, and calls back once' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            my @kept;
            my $hook  = { on_drained => sub { report( on_drained => $_[0]{port} ) } };
            my @ports = map {
                HTTP::Server::EV->listen(
                    "127.0.0.$_:0",
                    sub { push @kept, @_; report('kept') },
                    { %{$hook} }
                )->{port}
            } 1 .. 3;
            report( ports => @ports );
            $server->on_command(
                sub {
                    $http->stop( sub { report( stopped => scalar @_ ) } );
                    my $cgi = shift @kept;
                    answer($cgi);
                }
            );
        }
    );
    my ( $first, $second, $third ) = $server->await('ports');
    my $client = client_at( '127.0.0.1', $first );
    $client->send($GET);
    $server->await('kept');
    my $idle = client_at( '127.0.0.2', $second );
    $server->tell('stop');
    is $client->last_response->{body}, 'page 0', 'who is being served gets the reply';
    is $idle->read_all,                q{},      'who is not is let go';
    my @reports = $server->reports_until('stopped');
    is_deeply pop @reports, [ stopped => 0 ], 'the callback comes last';
    is_deeply [ sort map { $_->[1] } @reports ], [ sort $first, $second, $third ],
      'behind that of each listener';
    $server->ended;
};

subtest '$server->stop stops also listeners that are not in %listeners' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http     = $server->new_server;
            my $socket   = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 9 );
            HTTP::Server::EV::listen_socket( fileno $socket, \&answer );
            $server->listen( \&answer );
            delete @HTTP::Server::EV::listeners{ keys %HTTP::Server::EV::listeners };
            $http->stop( sub { report('stopped') } );
        }
    );
    is_deeply [ $server->await('stopped') ], [], 'it says so';

    # As long as one of them listened, EV::run would not return.
    $server->ended;
};

subtest '$server->stop without a listener, without a callback, with something else' =>
  sub {
    my $server = TestServer->start(
        sub {
            my $http = $_[0]->new_server;
            $http->stop;
            $http->stop( sub { report('stopped') } );
            for my $wrong ( 1, [], 'name' ) {
                eval { $http->stop($wrong); 1 } and die 'It lives';
                report( error => $@ );
            }
        }
    );
    like $server->await('error'), qr/\Astop takes a code reference at \Q$0\E line/,
      'what it takes'
      for 1 .. 3;
    $server->await('stopped');
    $server->ended;
  };

subtest 'After a signal the last client is served, and EV::run returns' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $signal;
            $signal = EV::signal(
                USR1 => sub {
                    report('signal');
                    HTTP::Server::EV->new->stop( sub { report('stopped') } );
                    undef $signal;
                }
            );
            $server->listen( \&do_it );
            $server->on_command( sub { answer_all() } );
        }
    );
    my $client = waiting_client( $server, '/wait' );
    my $idle   = $server->connect;
    kill USR1 => $server->pid;
    $server->await('signal');
    is $idle->read_all, q{}, 'an idle one is let go';
    $server->tell('answer');
    is $client->last_response->{body}, 'page 0', 'the reply';
    $server->await('stopped');
    $server->ended;
};

subtest 'A forked worker that stops leaves the others and their connections alone' =>
  sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my ( $worker, $watcher );
            my $listener = $server->listen(
                \&do_it,
                {
                    on_drained => sub { report( on_drained => $$ ) },
                    fork_hook  => sub { $worker = fork // die "fork: $!" }
                }
            );
            if ( !$worker ) {
                my $signal;
                $signal = EV::signal(
                    USR1 => sub {
                        $listener->stop( sub { report( stopped => $$ ); undef $signal } );
                    }
                );
                report( worker => $$ );
                return;
            }
            $watcher = EV::child( $worker, 0,
                sub { report( ended => $_[0]->rstatus ); undef $watcher } );
            $server->on_command( sub { $listener->stop; report( stop => $$ ) } );
        }
    );
    my $worker = $server->await('worker');

    # Until each process has one of these.
    my %client;
    eventually(
        sub {
            my $client = client( $server, kept_request_bytes( GET => '/pid' ) );
            $client{ $client->response->{body} } ||= $client;
            return keys %client == 2;
        }
    ) or return fail 'both processes serve';
    kill USR1 => $worker;
    is $client{$worker}->read_all, q{}, 'its connection is closed';
    my @reports = $server->reports_until('ended');
    is_deeply [ grep { $_->[0] =~ /drained|stopped/ } @reports ],
      [ [ on_drained => $worker ], [ stopped => $worker ] ],
      'the worker is told';
    is $reports[-1][1], 0, 'it ends by itself';
    my $parent = $client{ $server->pid };
    $parent->send( kept_request_bytes( GET => '/pid' ) );
    is $parent->response->{body}, $server->pid,
      'the connection of the other process goes on';
    $server->stop;
  };

# How many connections a listener may have, and what each of the clients that are there does.
subtest
  'Beyond max_connections those that idle are closed first, the longest ones at first' =>
  sub {
    my $server = start( { max_connections => 3 } );
    my @idle   = map { client( $server, $GET ) } 1 .. 2;
    is $_->response->{body}, 'page 0', 'one that idles' for @idle;
    my $busy = waiting_client( $server, '/wait' );
    my $new  = client( $server, $GET );
    is $new->response->{body}, 'page 0', 'a new client is served';
    is $idle[0]->read_all,     q{},      'for the one that has waited longest';
    my @busy = map { waiting_client( $server, '/wait' ) } 1 .. 2;
    is $_->read_all, q{}, 'then another one' for $idle[1], $new;
    my $refused = client( $server, $GET );
    is $refused->read_all, q{}, 'until nobody idles';
    $server->tell('answer');
    is $_->response->{body}, 'page 0', 'who is being served is' for $busy, @busy;
    $server->stop;
  };

done_testing;

# A server that does as the path of a request, and words of the test, tell.
sub start {
    my ( $option, $backend ) = @_;
    pipe my $gate, my $key or die "pipe: $!";
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            close $key;
            my $stopped = sub { report( stopped => $_[0]{port} ) };

            # The loop would end with the last connection.
            our $other    = EV::timer( 3600, 0, sub { } );
            our $listener = $server->listen(
                \&do_it,
                {
                    on_drained   => sub { report( on_drained => $_[0]{port} ) },
                    on_multipart => sub { report('on_multipart') },
                    on_stop      => $stopped,
                    %{ $option || {} }
                }
            );
            my %command = (
                answer  => \&answer_all,
                nothing => sub { report('nothing') },
                start   => sub { $listener->start;          report('start') },
                stop    => sub { $listener->stop($stopped); report('stop') },

                # Stops when the test has done something.
                hold => sub {
                    report('holding');
                    sysread $gate, my $byte, 1;
                    $listener->stop($stopped);
                },
            );
            $server->on_command( sub { $command{$_}->() for @_ } );
        },
        backend => $backend
    );
    $server->{hold} = sub { syswrite $key, 'x' };
    return $server;
}

# In the child.
my @waiting;

sub do_it {
    my ($cgi) = @_;
    my $path  = $cgi->{headers}{SCRIPT_NAME};
    my %does  = (
        '/wait'    => sub { push @waiting, $cgi; report('waiting') },
        '/flushed' => sub {
            $cgi->header;
            $cgi->print('begin');
            $cgi->flush_wait( sub { push @waiting, $cgi; report('waiting') } );
        },
        '/large' => sub { $cgi->header; $cgi->print( 'x' x 10_000_000 ) },
        '/pid'   => sub { $cgi->header; $cgi->print($$) },
        '/stop'  =>
          sub { our $listener; $listener->stop( $listener->{on_stop} ); answer($cgi) },
    );
    return ( $does{$path} || sub { answer($cgi) } )->();
}

sub answer_all {
    answer($_) for splice @waiting;
    return;
}

# The size of the file in the request, if any.
sub answer {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('file') };
    $cgi->header if ( $cgi->{headers}{SCRIPT_NAME} ne '/flushed' );
    $cgi->print( 'page ' . ( $file ? $file->size : 0 ) );
    return;
}

sub client {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client;
}

sub client_at {
    my ( $host, $port ) = @_;
    return TestServer::Client->from_socket(
        IO::Socket::INET->new( PeerAddr => $host, PeerPort => $port ) );
}

# One whose request is in the hands of the application.
sub waiting_client {
    my ( $server, $path ) = @_;
    my $client = client( $server, kept_request_bytes( GET => $path ) );
    $server->await('waiting');
    return $client;
}

sub served {
    my ( $server, $page ) = @_;
    return $server->request( GET => '/' )->{body} eq $page;
}
