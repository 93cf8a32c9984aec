#!/usr/bin/env perl
# The server inside EV's loop: what keeps the loop running, what is still sent when it
# ends, and that it rests while there is nothing to do.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

subtest 'The loop ends when every listener is stopped' => sub {
    my $server = TestServer->start(
        sub {
            my $test     = shift;
            my $listener = $test->listen( sub { } );
            $test->{stop} = EV::timer( 0.01, 0, sub { $listener->stop } );
        }
    );
    $server->ended;
};

subtest 'The loop goes on for a listener made in the last callback of others' => sub {
    my $server = TestServer->start(
        sub {
            my $test = shift;
            $test->new_server;
            $test->{late} = EV::timer(
                0.01, 0,
                sub {
                    $test->listen( sub { $_[0]->header; $_[0]->print('late') } );
                }
            );
        }
    );
    is $server->request( GET => q{/} )->{body}, 'late', 'it serves';
    $server->stop;
};

for my $way ( 'EV::break', 'exit' ) {
    subtest "A reply that is closed before $way still reaches the client" => sub {
        my $server = TestServer->start(
            sub {
                my $test = shift;
                $test->listen(
                    sub {
                        my $cgi = shift;
                        $cgi->header;
                        $cgi->print('bye');
                        $cgi->close;
                        exit 0 if $way eq 'exit';
                        EV::break( EV::BREAK_ALL() );
                    }
                );
            }
        );
        is $server->request( GET => q{/} )->{body}, 'bye', 'the reply';
        $server->ended;
    };
}

subtest 'What is printed in the prepare callback of another module is sent' => sub {
    my $server = TestServer->start(
        sub {
            my $test = shift;
            my @waiting;
            $test->{prepare} = EV::prepare(
                sub {
                    for my $cgi ( splice @waiting ) {
                        $cgi->print('prepared');
                        $cgi->close;
                    }
                }
            );
            $test->{prepare}->keepalive(0);
            $test->listen( sub { $_[0]->header; push @waiting, $_[0] } );
        }
    );
    is $server->request( GET => q{/} )->{body}, 'prepared', 'the reply' for 1 .. 3;
    $server->stop;
};

subtest 'A listening socket that is broken does not keep the loop busy' => sub {
    my $server = TestServer->start(
        sub {
            my $test     = shift;
            my $listener = $test->listen( sub { } );
            shutdown $test->{socket}, 2;
            $test->{start} = EV::timer(
                0.1, 0,
                sub {
                    my $before = EV::iteration();
                    $test->{end} = EV::timer( 0.2, 0,
                        sub { report( iterations => EV::iteration() - $before ) } );
                }
            );
        }
    );
    cmp_ok $server->await('iterations'), '<', 50, 'rounds of the loop in a while';
    $server->stop;
};

subtest 'A child that is forked in a callback does not hold the client' => sub {
    my $server = TestServer->start(
        sub {
            my $test = shift;
            pipe my $hold, $test->{release} or die "pipe: $!";
            $test->on_command( sub { close delete $test->{release} } );
            $test->listen(
                sub {
                    my $cgi = shift;
                    defined( my $child = fork ) or die "fork: $!";
                    if ( !$child ) {
                        close delete $test->{release};
                        sysread $hold, my $byte, 1;
                        require POSIX;
                        POSIX::_exit(0);
                    }
                    $cgi->header;
                    $cgi->print('parent');
                }
            );
        }
    );
    is $server->request( GET => q{/} )->{body}, 'parent',
      'the reply ends before the child';
    $server->tell('release');
    $server->stop;
};

done_testing;
