#!/usr/bin/env perl
# The server beside others in EV's loop: which loop it is, when EV::run returns, nested
# and other loops, loop_fork, and that watchers of others have their turn.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

subtest 'Only the default loop serves' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( \&answer );
            my $loop   = EV::Loop->new;
            my $rounds = 0;
            my $timer  = $loop->timer( 0, 0.01, sub { $loop->break if ++$rounds == 20 } );

            # A client is there already.
            $server->{client} = $server->connect;
            $server->{client}->send( request_bytes( GET => '/first' ) );
            $loop->run;
            report('another loop has run');
        }
    );
    is_deeply [ map { $_->[0] } $server->reports_until('request') ],
      [ 'another loop has run', 'request' ], 'a request waits for it';
    $server->stop;
};

# How the loop is run, until it returns.
my %RUNS = (
    'EV::run'                 => sub { EV::run() },
    'EV::run(EV::RUN_ONCE)'   => sub { EV::run( EV::RUN_ONCE() ) },
    'EV::run(EV::RUN_NOWAIT)' => sub { EV::run( EV::RUN_NOWAIT() ) },
    'EV::loop'                => sub { EV::loop() },
);
for my $name ( sort keys %RUNS ) {
    subtest "Served by $name" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $served = 0;
                $server->listen( sub { answer(@_); EV::break() if ++$served == 3 } );
                while ( $served < 3 ) { $RUNS{$name}->() }
            }
        );
        is $server->request( GET => "/$_" )->{body}, 'page', "request $_" for 1 .. 3;
        $server->stop;
    };
}

subtest 'EV::run returns at once when there is nothing to serve' => sub {
    for my $setup (
        sub { },
        sub { $_[0]->new_server },
        sub { $_[0]->listen( \&answer )->stop },
        sub {
            my $listener = $_[0]->listen( \&answer );
            $listener->$_ for qw(stop start stop);
        },
      )
    {
        my $server = TestServer->start($setup);
        $server->ended;
    }
};

subtest 'EV::run goes on for a connection whose listener has stopped' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my ( $listener, $timer );
            $listener = $server->listen(
                sub {
                    my ($cgi) = @_;
                    $listener->stop;
                    report('stopped');
                    $server->on_command( sub { answer($cgi); undef $cgi } );
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => q{/} ) );
    $server->await('stopped');
    $server->tell('answer');
    is $client->response->{body}, 'page', 'it is answered';
    $server->ended;
};

subtest 'loop_fork at any time, in a child or not' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            EV::default_loop()->loop_fork;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    EV::default_loop()->loop_fork;
                    if ( $cgi->{headers}{REQUEST_URI} eq '/fork' ) {
                        defined( my $child = fork ) or die "fork: $!";
                        if ( !$child ) {
                            EV::default_loop()->loop_fork;
                            $server->{end} = EV::timer( 0, 0, sub { exit 0 } );
                            return;
                        }
                        waitpid $child, 0;
                        report( child => $? );
                    }
                    answer($cgi);
                }
            );
        }
    );
    is $server->request( GET => $_ )->{body}, 'page', $_        for qw(/ /fork / /fork /);
    is $server->await('child'),               0,      'a child' for 1 .. 2;
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "Others have their turn while large files come in, with $backend" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                pipe my $reader, $server->{writer} or die "pipe: $!";
                syswrite $server->{writer}, 'x';
                my %turns    = map { $_ => 0 } qw(io idle timer prepare);
                my @watchers = (
                    EV::io( $reader, EV::READ(), sub { $turns{io}++ } ),
                    EV::timer( 0, 0.001, sub { $turns{timer}++ } ),
                    EV::prepare( sub { $turns{prepare}++ } ),
                );
                $server->listen(
                    sub {
                        report( turns => \%turns );
                        answer(@_);
                        @watchers = ();
                    },
                    { on_multipart => sub { $_ = 0 for values %turns } }
                );
            },
            backend => $backend
        );
        my $content = 'x' x ( 64 * 1024 * 1024 );
        is $server->upload( { name => 'f', file_name => 'f', content => $content } )
          ->{body},
          'page', '64 MiB';
        my $turns = $server->await('turns');
        cmp_ok $turns->{$_}, '>=', 4, "$_: $turns->{$_} turns" for qw(io timer prepare);
        $server->stop;
    };
}

done_testing;

sub answer {
    my ($cgi) = @_;
    report('request');
    $cgi->header;
    $cgi->print('page');
    return;
}
