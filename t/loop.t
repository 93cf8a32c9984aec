#!/usr/bin/env perl
# The server inside EV's loop: what keeps the loop running, what is still sent when it
# ends, and that it rests while there is nothing to do.

use strict;
use warnings;

use File::Temp ();
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends output_of report request_bytes upload_bytes without_repeats);

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

# Without watchers of others: EV's own do not survive this.
for my $then ( 'nothing', 'EV::default_loop' ) {
    my $directory = File::Temp->newdir( 'loop-XXXXXXXX', TMPDIR => 1 );
    my $program   = <<"PROGRAM";
use EV;
use HTTP::Server::EV;
my \$server = HTTP::Server::EV->new( { tmp_path => '$directory' } );
my \$listener = \$server->listen( 'unix:$directory/socket', sub { } );
END { print "end" }
EV::default_destroy();
$then() if '$then' ne 'nothing';
PROGRAM
    for my $way ( q{}, '$listener->stop', 'undef $server', 'fork; wait' ) {
        is output_of( $^X, '-Ilib', '-e', "$program$way" ),
          $way =~ /fork/ ? 'endend' : 'end',
          "A program ends as it should after EV::default_destroy, $then, $way";
    }
}

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

subtest 'A broken listening socket is warned of, and keeps nobody busy' => sub {
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
    my $warning = "HTTP::Server::EV ERROR: Can`t accept connection: Invalid argument\n";
    $server->stop( stderr => qr/\A\Q$warning\E\z/ );
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

# What comes in which order; a file is written in more than one piece.
my @CALLS = (
    qw(on_multipart on_file_open on_file_write on_file_received),
    qw(on_file_open on_file_received main)
);
my $UPLOAD = upload_bytes(
    { name => 'file', content => 'x' x 1_200_000, file_name => 'a' },
    { name => 'file', content => q{},             file_name => 'empty' },
);

for my $backend ( backends() ) {
    for my $callback (qw(on_multipart on_file_open on_file_write on_file_received main)) {
        subtest "A loop within $callback serves the others, with $backend" => sub {
            my $server = looping( $backend, $callback );
            my $client = $server->connect;
            $client->send($UPLOAD);
            my @calls = $server->reports_until('loop');

            # Two others, each with a loop in the loop, and a whole upload.
            is $server->request( GET => '/' )->{body}, 'done', 'a page';
            my $nested = $server->connect;
            $nested->send( request_bytes( GET => '/nested' ) );
            is $nested->response->{body}, 'done', 'a page with a loop of its own';
            my $other = $server->connect;
            $other->send( $UPLOAD =~ s{/}{/other}r );
            is $other->response->{body}, 'done', 'an upload';

            $server->tell('break');
            is $client->response->{body}, 'done', 'this one goes on then';
            push @calls, $server->reports_until('end');
            my @own   = grep { !$_->[1] } @calls;
            my @names = map  { $_->[0] } @own;
            like "@names", qr/$callback loop after/,
              'none of its callbacks is called within';
            my @callbacks = grep { $_->[0] !~ /\A(?:loop|after|end)\z/ } @own;
            is_deeply [ map { $_->[0] } without_repeats(@callbacks) ],
              \@CALLS, 'each comes once';
            ok $server->await_files(0), 'no file is left';
            $server->stop;
        };
    }

    subtest "A loop within on_error serves the others, with $backend" => sub {
        my $server = looping( $backend, 'on_error' );
        my $client = $server->connect;
        $client->send( substr $UPLOAD, 0, 500_000 );
        $client->shutdown;
        $server->await('loop');
        is $server->request( GET => '/' )->{body}, 'done', 'a page';
        $server->tell('break');
        ok $client->is_closed, 'the connection is closed';
        my @reports = grep { !$_->[1] } $server->reports_until('end');
        is_deeply [ map { $_->[0] } @reports ], [ 'after', 'end' ], 'on_error comes once';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

subtest 'A request that is dropped in a loop within its callback' => sub {
    my $server = TestServer->start(
        sub {
            my $test = shift;
            my $upload;
            $test->on_command( sub { $upload->drop; undef $upload } );
            $test->listen(
                sub { },
                {
                    on_file_open => sub {
                        ($upload) = @_;
                        report('loop');
                        EV::run();
                        report('after');
                    },
                    on_file_write => sub { report('on_file_write') },
                    on_error      => sub { report('on_error'); EV::break() },
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send($UPLOAD);
    $server->await('loop');
    $server->tell('drop');
    ok $client->is_closed, 'is closed';
    is_deeply [ $server->reports_until('after') ], [ ['on_error'], ['after'] ],
      'on_error is called in that loop';
    ok $server->await_files(0), 'no file is left';
    $server->stop;
};

subtest 'Loops within the callbacks of two requests end in their order' => sub {
    my $server = TestServer->start(
        sub {
            my $test = shift;
            $test->on_command( sub { EV::break() } );
            $test->listen(
                sub {
                    my $cgi = shift;
                    report("begin $cgi->{headers}{REQUEST_URI}");
                    EV::run();
                    $cgi->header;
                    $cgi->print('done');
                    report("end $cgi->{headers}{REQUEST_URI}");
                }
            );
        }
    );
    my @clients = map { $server->connect } 1 .. 3;
    for my $number ( 0 .. 2 ) {
        $clients[$number]->send( request_bytes( GET => "/$number" ) );
        $server->await("begin /$number");
    }
    for my $number ( reverse 0 .. 2 ) {
        $server->tell('break');
        $server->await("end /$number");
        is $clients[$number]->response->{body}, 'done', "the one begun as number $number";
    }
    $server->stop;
};

done_testing;

# A server that runs a loop in the first callback of this name of each request for "/" with
# a body, until `break`, and in the main callback for "/nested".
sub looping {
    my ( $backend, $name ) = @_;
    return TestServer->start(
        sub {
            my $test    = shift;
            my $looped  = 0;
            my %options = map {
                my $callback = $_;
                $callback => sub {
                    my $cgi   = shift;
                    my $other = $cgi->{headers}{REQUEST_URI} ne '/'
                      || $cgi->{headers}{REQUEST_METHOD} ne 'POST';
                    report( $callback, $other ? 1 : () );
                    if ( !$other && $callback eq $name && !$looped++ ) {
                        report('loop');
                        EV::run();
                        report('after');
                        report('end') if $name eq 'on_error';
                    }
                    return if $callback ne 'main';
                    EV::run( EV::RUN_NOWAIT() )
                      if $cgi->{headers}{REQUEST_URI} eq '/nested';
                    $cgi->header;
                    $cgi->print('done');
                    report('end') if !$other;
                }
            } @CALLS, 'on_error';
            $test->on_command( sub { EV::break() } );
            $test->listen( delete $options{main}, \%options );
        },
        backend => $backend
    );
}
