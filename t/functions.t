#!/usr/bin/env perl
# The functions below the objects: listening on a descriptor, and requests by their number.

use strict;
use warnings;

use FindBin;
use IO::Select;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes upload_bytes);

my @PARTS = ( { name => 'f', content => 'x' x 200_000, file_name => 'a.txt' } );

# A server that listens by function, and takes commands.
sub start {
    my ( $main, @more ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server;
            my $number =
              HTTP::Server::EV::listen_socket( fileno $server->{socket}, $main, @more );
            report( number => $number );

            # With nothing to listen for the loop would end.
            $server->{holds_loop} = EV::timer( 3600, 0, sub { } );
            $server->on_command(
                sub {
                    my ( $function, @arguments ) = @_;
                    no strict 'refs';    ## no critic (ProhibitNoStrict)
                    my @result = "HTTP::Server::EV::$function"->(@arguments);
                    report( done => scalar(@result), @result );
                }
            );
        }
    );
}

subtest 'listen_socket serves the socket of a descriptor' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print( 'page ', $cgi->get('a')->[0] );
        },
        sub { report('on_multipart') },
        sub { report('on_error') },
        0.2
    );
    like $server->await('number'), qr/\A[1-9]\d*\z/, 'it returns a number';
    is $server->request( GET => '/?a=1' )->{body}, 'page 1', 'the main callback';

    my $client = $server->connect;
    $client->send( substr upload_bytes(@PARTS), 0, 1000 );
    $server->await('on_multipart');
    ok 1, 'the second callback is on_multipart';
    $server->await('on_error');
    ok 1,                  'the third is on_error, here after the timeout';
    ok $client->is_closed, 'and that closes the connection';
    $server->stop;
};

subtest 'stop_listen and start_listen' => sub {
    my $server = start( sub { $_[0]->header; $_[0]->print('page') } );
    my $number = $server->await('number');
    $server->tell( stop_listen => $number );
    is $server->await('done'), 0, 'stop_listen returns nothing';

    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->tell( url_decode => 'a' );
    $server->await('done');
    ok !IO::Select->new( $client->socket )->can_read(0), 'a client waits';
    $server->tell( start_listen => $number );
    is $server->await('done'),    0,      'start_listen returns nothing';
    is $client->response->{body}, 'page', 'and is served';
    $server->stop;
};

subtest 'stop_req, start_req and drop_req take the number of a request' => sub {
    my $server = start(
        sub { report('main'); $_[0]->header },
        sub {
            my ($cgi) = @_;
            HTTP::Server::EV::stop_req( $cgi->{stack_pos} );
            report( stack_pos => $cgi->{stack_pos} );
        },
        sub { report('on_error') }
    );
    my $client = $server->connect;
    $client->send( upload_bytes(@PARTS) );
    my $number = $server->await('stack_pos');
    $server->tell( start_req => $number );
    is_deeply [ $server->await('done') ], [ 1, undef ], 'start_req returns undef';
    $server->await('main');
    is $client->response->{status}, 200, 'the request goes on';

    $client = $server->connect;
    $client->send( upload_bytes(@PARTS) );
    $server->tell( drop_req => $server->await('stack_pos') );
    $server->await('on_error');
    ok $client->is_closed, 'drop_req ends it';
    $server->stop;
};

subtest 'What names nothing does nothing' => sub {
    my $server = start( sub { $_[0]->header; $_[0]->print('page') } );
    $server->await('number');
    my @nothing =
      ( undef, q{}, 'text', -1, 0, 1, 99_999, 1e30, [], 65_537, 4_294_967_296 );
    my $kept = $server->connect;
    $kept->send("GET / HTTP/1.1\r\n");
    for my $function (qw(stop_req start_req drop_req stop_listen start_listen)) {
        for my $nothing (@nothing) {
            $server->tell( $function => $nothing );
            $server->await('done');
        }
        $server->tell($function);
        $server->await('done');
    }
    $kept->send("Host: localhost\r\n\r\n");
    is $kept->response->{body},                'page', 'a request that was open goes on';
    is $server->request( GET => '/' )->{body}, 'page', 'and new ones are served';
    $server->stop;
};

subtest 'A number of the past hits nobody' => sub {
    my $server = start(
        sub { $_[0]->header; $_[0]->print('page') },
        sub { report( stack_pos => $_[0]{stack_pos} ) }
    );
    $server->await('number');
    my %seen;
    for ( 1 .. 50 ) {
        is $server->upload(@PARTS)->{body}, 'page', 'a request that is over';
        my $past  = $server->await('stack_pos');
        my $other = $server->connect;
        my $bytes = upload_bytes(@PARTS);
        $other->send( substr $bytes, 0, 1000 );
        $seen{$_}++ for $past, $server->await('stack_pos');
        for my $function (qw(stop_req drop_req start_req)) {
            $server->tell( $function => $past );
            $server->await('done');
        }
        $other->send( substr $bytes, 1000 );
        is $other->response->{body}, 'page', 'another in its place goes on';
    }
    is scalar keys %seen, 100, 'each has a number of its own';
    $server->stop;
};

subtest 'A listener of its own has the number as well' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->listen( sub { $_[0]->header; $_[0]->print('page') } );
            HTTP::Server::EV::stop_listen( $listener->{ptr} );
            my $stopped = $listener->{stopped};
            HTTP::Server::EV::start_listen( $listener->{ptr} );
            report( stopped => $stopped, $listener->{stopped} );
        }
    );
    is_deeply [ $server->await('stopped') ], [ 1, 0 ], 'and knows that it was stopped';
    is $server->request( GET => '/' )->{body}, 'page', 'it serves';
    $server->stop;
};

done_testing;
