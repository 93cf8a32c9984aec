#!/usr/bin/env perl
# Applications of AnyEvent beside the server, in the same loop: timers, condition variables,
# AnyEvent::HTTP, AnyEvent::Handle.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

# In another process, as it would load its loop into this one.
sub has {
    my ($module) = @_;
    open my $output, '-|', $^X, '-e', "print eval { require $module } ? 1 : 0"
      or return 0;
    return readline $output;
}

has('AnyEvent') or plan skip_all => 'AnyEvent is not installed';

# In the child: what is kept beyond a callback.
my @kept;

subtest 'AnyEvent takes the loop of the server' => sub {
    my $server = start( sub { $_[0]->print( AnyEvent::detect() ) } );
    is got( $server, '/' ), 'AnyEvent::Impl::EV', 'its name';
    $server->stop;
};

# What is printed in the end => how it comes about.
my %CALLBACKS = (
    'a timer' => sub {
        my ($cgi) = @_;
        my $timer;
        $timer = AnyEvent->timer(
            after => 0.01,
            cb    => sub { undef $timer; $cgi->print('a timer'); undef $cgi }
        );
    },
    'a timer that repeats' => sub {
        my ($cgi) = @_;
        my @words = qw(that repeats);
        $cgi->print('a timer');
        my $timer;
        $timer = AnyEvent->timer(
            after    => 0,
            interval => 0.001,
            cb       => sub {
                return $cgi->print( q{ } . shift @words ) if @words;
                undef $timer;
                undef $cgi;
            }
        );
    },
    'postpone' => sub {
        my ($cgi) = @_;
        AnyEvent::postpone( sub { $cgi->print('postpone'); undef $cgi } );
    },
    'idle' => sub {
        my ($cgi) = @_;
        my $idle;
        $idle =
          AnyEvent->idle( cb => sub { undef $idle; $cgi->print('idle'); undef $cgi } );
    },
    'a condition variable' => sub {
        my ($cgi) = @_;
        my $variable = AnyEvent->condvar;
        $variable->cb( sub { $cgi->print( 'a ', $_[0]->recv ); undef $cgi } );
        my $timer;
        $timer = AnyEvent->timer(
            after => 0.01,
            cb    => sub { undef $timer; $variable->send('condition variable') }
        );
    },
    'recv in the callback' => sub {
        my ($cgi)    = @_;
        my $variable = AnyEvent->condvar;
        my $timer    = AnyEvent->timer(
            after => 0.01,
            cb    => sub { $variable->send('in the callback') }
        );
        $cgi->print( 'recv ', $variable->recv );
    },
    'flush_wait with a condition variable' => sub {
        my ($cgi) = @_;
        $cgi->print('flush_wait ');
        my $variable = AnyEvent->condvar;
        $cgi->flush_wait( sub { $variable->send } );
        $variable->cb( sub { $cgi->print('with a condition variable'); undef $cgi } );
    },
    'a child process' => sub {
        my ($cgi) = @_;
        defined( my $pid = fork ) or die "fork: $!";
        POSIX::_exit(3) if !$pid;
        my $child;
        $child = AnyEvent->child(
            pid => $pid,
            cb  => sub {
                undef $child;
                $cgi->print( $_[1] >> 8 == 3 ? 'a child process' : "status $_[1]" );
                undef $cgi;
            }
        );
    },
);

subtest 'Callbacks of AnyEvent answer requests' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $name = $cgi->{headers}{'X-Name'};
            $cgi->header;
            $CALLBACKS{$name}->($cgi);
        }
    );
    my @names   = sort keys %CALLBACKS;
    my @clients = map { $server->connect } @names;
    for my $number ( 0 .. $#names ) {
        $clients[$number]
          ->send( request_bytes( GET => '/', { 'X-Name' => $names[$number] } ) );
    }
    is $clients[$_]->response->{body}, $names[$_], $names[$_] for 0 .. $#names;
    $server->stop;
};

# Several times, as it matters what of the loop's round is left when the nested one begins.
subtest 'recv in a main callback, with other requests coming in' => sub {
    for ( 1 .. 10 ) {
        my $waiting;
        my $server = start(
            sub {
                my ($cgi) = @_;
                if ( $cgi->{headers}{SCRIPT_NAME} eq '/send' ) {
                    $waiting->send('from another request');
                    return $cgi->print('sent');
                }
                $waiting = AnyEvent->condvar;
                report('waiting');
                $cgi->print( $waiting->recv );
            }
        );
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        $server->await('waiting');
        is got( $server, '/send' ), 'sent',                 'the other one';
        is $client->read_all,       'from another request', 'the one that waited';
        $server->stop;
    }
};

subtest 'A condition variable is the main loop' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            require AnyEvent;
            my $end = AnyEvent->condvar;
            $server->on_command( sub { $end->send } );
            $server->listen( sub { $_[0]->header; $_[0]->print('page') } );
            $end->recv;
            report('left');
        }
    );
    is $server->request( GET => '/' )->{body}, 'page', 'it serves';
    is $server->upload( { name => 'a', file_name => 'b', content => 'x' x 1_000_000 } )
      ->{body}, 'page', 'uploads, too';
    $server->tell('end');
    $server->await('left');
    $server->stop;
};

subtest 'AnyEvent::HTTP asks the server itself' => sub {
    has('AnyEvent::HTTP') or plan skip_all => 'AnyEvent::HTTP is not installed';
    my $server = start(
        sub {
            my ($cgi) = @_;
            my ( undef, $path, $count ) = split m{/}, $cgi->{headers}{SCRIPT_NAME};
            require AnyEvent::HTTP;
            no warnings 'once';
            $AnyEvent::HTTP::MAX_PER_HOST = 50;
            if ( $path eq 'leaf' ) {
                $cgi->header;
                return $cgi->print( "leaf $count ", $cgi->{REQUEST_BODY} // q{} );
            }
            my @answers;
            my $all = AnyEvent->condvar;
            for my $number ( 1 .. $count ) {
                $all->begin;
                AnyEvent::HTTP::http_request(
                    ( $number % 2 ? 'GET' : 'POST' ) => our $URL . "/leaf/$number",
                    body                             => $number % 2 ? undef : 'a=b',
                    headers                          => {
                        'content-type' => 'application/x-www-form-urlencoded',
                        'connection'   => 'close'
                    },
                    proxy => undef,
                    sub { $answers[$number] = "$_[1]{Status} $_[0]"; $all->end }
                );
            }
            $all->cb(
                sub {
                    $cgi->header;
                    $cgi->print( join "\n", @answers[ 1 .. $count ] );
                    undef $cgi;
                }
            );
        }
    );
    my $expected = sub {
        join "\n", map { "200 leaf $_ " . ( $_ % 2 ? q{} : 'a=b' ) } 1 .. $_[0];
    };
    is $server->request( GET => "/branch/$_" )->{body}, $expected->($_), "$_ at once"
      for 1, 2, 40;
    $server->stop;
};

subtest 'AnyEvent::Handle on what give_up_handle gives' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            require AnyEvent::Handle;
            $cgi->print('welcome ');
            $cgi->flush_wait(
                sub {
                    my $handle;
                    $handle = AnyEvent::Handle->new(
                        fh       => $cgi->{buffer}->give_up_handle,
                        on_error => sub { report( error => $_[2] ); $_[0]->destroy },
                        on_eof   => sub { report('eof');            undef $handle },
                    );
                    undef $cgi;
                    my $read;
                    $read = sub {
                        my ( $self, $line ) = @_;
                        return $self->push_write( 'x' x 5_000_000 . "\n" )
                          if $line eq 'much';
                        $self->push_write("<$line>\n");
                        return $self->push_shutdown if $line eq 'end';
                    };
                    $handle->on_read( sub { $_[0]->push_read( line => $read ) } );
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $client->read_until(qr/welcome /);
    $client->send("one\ntwo\n");
    like $client->read_until(qr/<two>\n/), qr/welcome <one>\n<two>\n\z/, 'lines';
    $client->send("much\nend\n");
    my $all = $client->read_all;
    is length $all, length("welcome <one>\n<two>\n<end>\n") + 5_000_001, 'much';
    like $all, qr/x\n<end>\n\z/, 'then the end';
    $client->close;
    $server->await('eof');
    $server->stop;
};

done_testing;

# The reply to a request for this path.
sub got {
    my ( $server, $path ) = @_;
    my $client = $server->connect;
    $client->send( request_bytes( GET => $path ) );
    return $client->read_all;
}

# A server with this main callback, in a process that has AnyEvent.
sub start {
    my ($callback) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            require AnyEvent;
            require POSIX;
            our $URL = 'http://127.0.0.1:' . $server->{socket}->sockport;
            $server->listen($callback);
        }
    );
}
