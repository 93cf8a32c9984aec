#!/usr/bin/env perl
# When a reply is sent: threshold, flush, flush_wait; to clients that read slowly, and to
# those that have ended their sending side.

use strict;
use warnings;

use FindBin;
use Socket qw(MSG_DONTWAIT MSG_PEEK);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

# In the child: what is kept beyond a callback.
my @kept;

# The threshold => how many bytes are printed => how many of them are sent: no more than
# a socket takes at once, since what it leaves may be less than the threshold.
my @THRESHOLDS = (
    [ undef,     51_199,    0 ],
    [ undef,     51_200,    0 ],
    [ undef,     51_201,    51_200 ],
    [ 10,        10,        0 ],
    [ 10,        11,        10 ],
    [ 10,        35,        30 ],
    [ 1,         1,         0 ],
    [ 1,         2,         1 ],
    [ 0,         1,         1 ],
    [ 0,         1_000,     1_000 ],
    [ 1_000_000, 1_000_000, 0 ],
    [ 20_000,    20_001,    20_000 ],
    [ 20_000,    40_000,    20_000 ],
    [ 20_000,    40_001,    40_000 ],
);

subtest 'What is printed is sent when it exceeds the threshold' => sub {
    for my $autoflush ( 0, 1 ) {
        for my $case (@THRESHOLDS) {
            my ( $threshold, $printed, $sent ) = @{$case};
            no warnings 'once';
            my $server = start(
                sub {
                    my ($cgi) = @_;
                    return $cgi->print('other')
                      if $cgi->{headers}{SCRIPT_NAME} eq '/other';
                    push @kept, $cgi;
                    $cgi->{buffer}->flush($threshold)
                      if defined $threshold && !$autoflush;
                    $cgi->print( 'x' x int $printed / 2 );
                    $cgi->print( 'x' x ( $printed - int $printed / 2 ) );
                },
                sub { undef @kept },
                sub {
                    $HTTP::Server::EV::Buffer::autoflush = $threshold
                      if defined $threshold && $autoflush;
                }
            );
            my $client = $server->connect;
            $client->send( request_bytes( GET => '/' ) );
            $server->await('callback');
            my $name = sprintf '%s, by %s: %d of %d bytes go', $threshold // 'default',
              $autoflush ? '$autoflush' : 'flush', $sent, $printed;
            my $pattern = sprintf '\A(?:x{1000}){%d}x{%d}', int $sent / 1000,
              $sent % 1000;
            is length $client->read_until(qr/$pattern/), $sent, $name;

            # Asked later, it is answered later.
            ask( $server, '/other' );
            ok !has_come($client), 'and no more';
            $server->tell('end');
            is length $client->read_all, $printed, 'all of it in the end';
            $server->stop;
        }
    }
};

subtest 'flush sends what waits, and may change the threshold' => sub {
    my @steps = (
        sub { $_[0]->print('a');   $_[0]->flush },
        sub { $_[0]->print('b');   $_[0]{buffer}->flush },
        sub { $_[0]->flush(0);     $_[0]->print('c') },
        sub { $_[0]->flush('2');   $_[0]->print('def') },
        sub { $_[0]->flush(undef); $_[0]->print('g'); $_[0]->print('hi') },
        sub { $_[0]->print('k'); $_[0]{buffer}->flush(9) },
        sub { $_[0]->flush for 1 .. 3; $_[0]->print('last') },
    );
    my $server = start( sub { push @kept, $_[0] },
        sub { ( shift @steps )->( $kept[0] ); undef @kept if !@steps } );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    for my $expected (qw(a ab abc abcde abcdefghi abcdefghik abcdefghiklast)) {
        $server->tell('next');
        is $client->read_until(qr/\Q$expected\E/), $expected, "sent by now: $expected";
    }
    $client->is_closed;
    $server->stop;
};

subtest 'flush returns nothing' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my @returned = (
                $cgi->flush, $cgi->flush(5),
                $cgi->{buffer}->flush,
                $cgi->flush_wait( sub { } )
            );
            report( returned => scalar @returned );
        }
    );
    ask( $server, '/' );
    is $server->await('returned'), 0, 'by any way';
    $server->stop;
};

subtest 'A timer prints on, and each piece comes as it is flushed' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my ( $number, $timer ) = (0);
            $timer = EV::timer(
                0, 0.001,
                sub {
                    $cgi->print( ++$number, "\n" );
                    $cgi->flush;
                    undef $timer if $number == 50;
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, join( q{}, map { "$_\n" } 1 .. 50 ), 'all 50';
    $server->stop;
};

# flush_wait: what the callback and the one who asks do => the reports in order. Each is
# given the request and `done`, which lets the request go.
my %WAITS = (
    'with nothing to send: from the loop' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->flush_wait( sub { report( step => 'sent', scalar @_ ); $done->() } );
            report( step => 'asked' );
        },
        [ 'asked', 'sent 0' ],
        q{}
    ],
    'with much to send' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print( 'x' x 3_000_000 );
            $cgi->flush_wait( sub { report( step => 'sent', scalar @_ ); $done->() } );
            report( step => 'asked' );
        },
        [ 'asked', 'sent 0' ],
        'x' x 3_000_000
    ],
    'several, in order, each once' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print('x');
            for my $number ( 1 .. 5 ) {
                $cgi->flush_wait( sub { report( step => $number ) } );
            }
            $cgi->flush_wait($done);
        },
        [ 1 .. 5 ],
        'x'
    ],
    'nested, with more to send each time' => [
        sub {
            my ( $cgi,    $done )  = @_;
            my ( $number, $again ) = (0);
            $again = sub {
                report( step => ++$number );
                $cgi->print( $number x 100_000 );
                return $cgi->flush_wait($again) if $number < 9;
                undef $again;
                $done->();
            };
            $cgi->flush_wait($again);
        },
        [ 1 .. 9 ],
        join q{},
        map { $_ x 100_000 } 1 .. 9
    ],
    'a dying callback is called once, and the next one too' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print('x');
            $cgi->flush_wait( sub { report( step => 1 ); die "in flush_wait\n" } );
            $cgi->flush_wait( sub { report( step => 2 ); $done->() } );
        },
        [ 1, 2 ],
        'x',
        qr/\AERROR IN CALLBACK: in flush_wait\n\z/
    ],
    'then close: the callback comes all the same' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print( 'x' x 1_000_000 );
            $cgi->flush_wait( sub { report( step => 'sent' ) } );
            $cgi->close;
            $done->();
        },
        ['sent'],
        'x' x 1_000_000
    ],
    'with the last reference to the request in the callback' => [
        sub {
            my ( $cgi, $done ) = @_;
            $done->();
            $cgi->print( 'x' x 1_000_000 );
            $cgi->flush_wait(
                sub { report( step => 'sent' ); $cgi->print('end'); undef $cgi } );
        },
        ['sent'],
        'x' x 1_000_000 . 'end'
    ],
    'close in the callback' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print('x');
            $cgi->flush_wait(
                sub { $cgi->print('y'); $cgi->close; report( step => 'closed' ) } );
            $cgi->flush_wait($done);
        },
        ['closed'],
        'xy'
    ],
    'drop in the callback' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->print('x');
            $cgi->flush_wait(
                sub { $cgi->print('y'); $cgi->drop; report( step => 'dropped' ) } );
            $cgi->flush_wait( sub { report( step => 2 ); $done->() } );
        },
        [ 'dropped', 2 ],
        'x'
    ],
    'a nested loop in the callback' => [
        sub {
            my ( $cgi, $done ) = @_;
            $cgi->flush_wait(
                sub {
                    my $timer = EV::timer( 0, 0, sub { EV::break() } );
                    EV::run();
                    report( step => 1 );
                }
            );
            $cgi->flush_wait( sub { report( step => 2 ); $done->() } );
        },
        [ 1, 2 ],
        q{}
    ],
);

for my $name ( sort keys %WAITS ) {
    subtest "flush_wait $name" => sub {
        my ( $ask, $steps, $reply, $stderr ) = @{ $WAITS{$name} };
        my $server = start(
            sub {
                my ($cgi) = @_;
                push @kept, $cgi;
                $ask->( $cgi, sub { report('done'); undef @kept } );
            }
        );
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        is $client->read_all, $reply, 'the reply';
        $server->await('done');
        is_deeply [ steps( $server, scalar @{$steps} ) ], $steps, 'the calls';
        $server->stop( $stderr ? ( stderr => $stderr ) : () );
    };
}

subtest 'flush_wait with nothing to send calls back, whatever is printed behind it' =>
  sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->flush_wait( sub { report( called => 'once' ); $cgi->close } );
                    $cgi->header;
                    $cgi->print('printed later');
                }
            );
        }
    );
    is $server->request( GET => q{/} )->{body}, 'printed later', 'the reply';
    is $server->await('called'),                'once',          'the callback';
    $server->stop;
  };

subtest 'flush_wait without a callback, where Coro is not loaded, is flush' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->print('sent');
            $cgi->flush_wait;
            $cgi->{buffer}->flush_wait(undef);
        },
        sub { undef @kept }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_until(qr/sent/), 'sent', 'it sends';
    $server->tell('end');
    ok $client->is_closed, 'and the reply ends with the request';
    $server->stop;
};

subtest 'flush_wait with something else dies at the line of the caller' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            for my $to ( $cgi, $cgi->{buffer} ) {
                eval { $to->flush_wait('text'); 1 } and die "It did not die\n";
                report( error => $@ );
            }
        }
    );
    ask( $server, '/' );
    like $server->await('error'),
      qr/\Aflush_wait takes a code reference at \Q$0\E line \d+[.]\n\z/, 'the error'
      for 1 .. 2;
    $server->stop;
};

subtest
  'A client that reads 1 KiB at a time holds up nobody, and costs what it was sent' =>
  sub {
    my $size   = 20_000_000;
    my $server = start(
        sub {
            my ($cgi) = @_;
            return $cgi->print('other') if $cgi->{headers}{SCRIPT_NAME} eq '/other';
            $cgi->print( 'x' x 100_000 ) for 1 .. $size / 100_000;
        }
    );
    ask( $server, '/other' );
    my $before = $server->peak_memory;
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback') for 1 .. 2;

    my ( $received, $others, $selected ) = ( 0, 0, IO::Select->new( $client->socket ) );
    while ( $selected->can_read($TestServer::DEADLINE) ) {
        my $count = sysread $client->socket, my $piece, 1024;
        last if defined $count && !$count;
        $received += $count // 0;
        if ( $received / 2_000_000 > $others ) {
            $others++;
            ask( $server, '/other' ) eq 'other' or last;
        }
    }
    is $received, $size, 'it gets all';
    is $others,   10,    'and others are answered meanwhile';
    cmp_ok $server->peak_memory - $before, '<', 3 * $size / 1024,
      'the memory is in proportion to the reply'
      if !$ENV{UNDER_ASAN};
    $server->stop;
  };

subtest 'flush_wait calls back, once, when the client takes nothing for too long' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { undef @kept; report('gone') } );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    push @kept, $cgi;
                    $cgi->{buffer}{onerror} = sub { report('onerror') };
                    $cgi->print( 'x' x 20_000_000 );
                    $cgi->flush_wait(
                        sub { report( sent => scalar( () = $cgi->print('x') ) ) } );
                },
                { write_timeout => 0.1 }
            );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $server->await('sent'), 0, 'and nothing can be printed any more';
    $server->tell('let go');
    $server->await('gone');
    my %count;
    $count{ $_->[0] }++ for @{ $server->{seen} };
    is_deeply \%count, { sent => 1, onerror => 1, gone => 1 }, 'onerror is called, too';
    $server->stop;
};

# Requests of clients that end their sending side at once.
my %HALF_CLOSED = (
    GET                => request_bytes( GET => '/' ),
    'HTTP/1.0'         => "GET / HTTP/1.0\r\n\r\n",
    HEAD               => request_bytes( HEAD => '/' ),
    'POST, urlencoded' => request_bytes(
        POST => '/',
        { 'Content-Type' => 'application/x-www-form-urlencoded' }, 'a=b'
    ),
    'POST, multipart' => TestServer::upload_bytes(
        { name => 'a', file_name => 'b', content => 'x' x 100_000 }
    ),
    PUT => request_bytes( PUT => '/', {}, 'body' ),
);

# When they are answered.
my %ANSWERS = (
    'at once'      => sub { my ($cgi) = @_; $cgi->print( 'x' x 2_000_000, 'end' ) },
    'from a timer' => sub {
        my ($cgi) = @_;
        my $timer;
        $timer = EV::timer( 0.01, 0,
            sub { undef $timer; $cgi->print( 'x' x 2_000_000, 'end' ); undef $cgi } );
    },
    'in pieces, by flush_wait' => sub {
        my ($cgi) = @_;
        my ( $number, $again ) = (0);
        $again = sub {
            $cgi->print( 'x' x 200_000 );
            return $cgi->flush_wait($again) if ++$number < 10;
            $cgi->print('end');
            undef $cgi;
            undef $again;
        };
        $again->();
    },
);

for my $when ( sort keys %ANSWERS ) {
    subtest "Clients that half-close are answered $when" => sub {
        my $server = start( $ANSWERS{$when} );
        for my $method ( sort keys %HALF_CLOSED ) {
            my $client = $server->connect;
            $client->send( $HALF_CLOSED{$method} );
            $client->shutdown;
            my $reply = $client->read_all;
            ok $reply eq 'x' x 2_000_000 . 'end', $method;
        }
        $server->stop;
    };
}

done_testing;

# The reply to a request of a client of its own.
sub ask {
    my ( $server, $path ) = @_;
    my $client = $server->connect;
    $client->send( request_bytes( GET => $path ) );
    return $client->read_all;
}

# Whether something lies in the client's socket.
sub has_come {
    my ($client) = @_;
    my $is_there = defined recv $client->socket, my $byte, 1, MSG_PEEK | MSG_DONTWAIT;
    return $is_there;
}

# A server whose main callback this is, with a report after it; what to do at `tell`, and
# what at the beginning.
sub start {
    my ( $callback, $on_command, $begin ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $begin->()                       if $begin;
            $server->on_command($on_command) if $on_command;
            $server->listen( sub { $callback->(@_); report('callback') } );
        }
    );
}

# What was reported as steps, once there are so many.
sub steps {
    my ( $server, $count ) = @_;
    my $steps = sub {
        grep { $_->[0] eq 'step' } @{ $server->{seen} };
    };
    $server->await('step') while $steps->() < $count;
    return map { join q{ }, @{$_}[ 1 .. $#{$_} ] } $steps->();
}
