#!/usr/bin/env perl
# What a Buffer says of itself: its status, and the replies that outlive it. Pipes whose
# reader is gone.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(eventually kept_request_bytes report request_bytes);

my $LARGE = 8 * 1024 * 1024;

# A server whose requests wait in $kept for commands.
sub start {
    my ($main) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            my %kept;
            $server->listen( sub { my ($cgi) = @_; $main->( $cgi, \%kept ) } );
            $server->on_command(
                sub {
                    my ($what) = @_;
                    my $buffer = $kept{cgi} ? $kept{cgi}{buffer} : undef;
                    report( status => $buffer->{status} ) if $what eq 'status';
                    report(
                        buffers =>
                          map { [ $_, $HTTP::Server::EV::Buffer::buffers{$_}{status} ] }
                          keys %HTTP::Server::EV::Buffer::buffers
                    ) if $what eq 'buffers';
                    delete $kept{cgi} if $what eq 'end';
                }
            );
        }
    );
}

sub ask {
    my ( $server, $what ) = @_;
    $server->tell($what);
    return $server->await($what);
}

subtest 'At rest, while flushing, and at rest again' => sub {
    my $server = start(
        sub {
            my ( $cgi, $kept ) = @_;
            $kept->{cgi} = $cgi;
            report( fresh => $cgi->{buffer}{status} );
            $cgi->header;
            $cgi->print( 'x' x $LARGE, 'end' );
            report( printed => $cgi->{buffer}{status} );
            $cgi->flush;
            report( flushing => $cgi->{buffer}{status} );
            $cgi->flush_wait( sub { report( flushed => $cgi->{buffer}{status} ) } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $server->await('fresh'),    undef, 'undef at first';
    is $server->await('printed'),  undef, 'printing does not change it';
    is $server->await('flushing'), 1,     '1 while output that was flushed waits';
    is ask( $server, 'status' ),   1,     'as long as the client does not take it';
    $client->read_until(qr/x{1000}end\r\n\z/);
    is $server->await('flushed'), 0, '0 when it is sent';
    $server->tell('end');
    ok $client->is_closed, 'the end';
    $server->stop;
};

subtest 'A flush with nothing to send' => sub {
    my $server = start(
        sub {
            my ( $cgi, $kept ) = @_;
            $cgi->{buffer}->flush;
            report( idle => $cgi->{buffer}{status} );
        }
    );
    $server->request( GET => '/' );
    is $server->await('idle'), undef, 'changes nothing';
    $server->stop;
};

subtest 'A client that is gone' => sub {
    my $server = start(
        sub {
            my ( $cgi, $kept ) = @_;
            $kept->{cgi} = $cgi;
            $cgi->{buffer}{onerror} = sub { report( gone => $cgi->{buffer}{status} ) };
            report('main');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('main');
    $client->reset;
    is $server->await('gone'),   -1, 'is -1, in onerror already';
    is ask( $server, 'status' ), -1, 'and stays so';
    $server->tell('end');
    $server->stop;
};

subtest 'A client that goes before the Buffer was asked for' => sub {
    my $server = start(
        sub {
            my ( $cgi, $kept ) = @_;
            $kept->{cgi} = $cgi;
            report('main');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('main');
    $client->reset;
    ok eventually( sub { ( ask( $server, 'status' ) // 0 ) == -1 } ), 'is -1 as well';
    $server->tell('end');
    $server->stop;
};

subtest 'Replies that outlive their Buffer' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            report( fd => $cgi->{fd} );
            $cgi->header;
            $cgi->print( 'x' x $LARGE );
        }
    );
    is_deeply [ ask( $server, 'buffers' ) ], [], 'none at first';
    my $slow = $server->connect;
    $slow->send( request_bytes( GET => '/' ) );
    my $descriptor = $server->await('fd');
    my @buffers;
    eventually( sub { @buffers = ask( $server, 'buffers' ) } );
    is_deeply \@buffers, [ [ $descriptor, 2 ] ], 'one that its client does not take';
    is length $slow->response->{body}, $LARGE, 'arrives';
    ok eventually( sub { !( @buffers = ask( $server, 'buffers' ) ) } ),
      'and is gone from there';

    my $broken = $server->connect;
    $broken->send( request_bytes( GET => '/' ) );
    $server->await('fd');
    eventually( sub { @buffers = ask( $server, 'buffers' ) } );
    is scalar @buffers, 1, 'one whose client';
    $broken->reset;
    ok eventually( sub { !( @buffers = ask( $server, 'buffers' ) ) } ),
      'goes away is gone too';
    $server->stop;
};

subtest 'Replies that outlive their Buffer, one after the other on a connection' => sub {
    my $server = start( sub { $_[0]->header; $_[0]->print( 'x' x $LARGE ) } );
    my $slow   = $server->connect;
    my @buffers;
    $slow->send( kept_request_bytes( GET => '/' ) x 3 );
    for my $reply ( 1 .. 3 ) {
        eventually( sub { @buffers = ask( $server, 'buffers' ) } );
        is_deeply [ map { $_->[1] } @buffers ], [2], "reply $reply is there";
        is length $slow->response->{body}, $LARGE, 'until it arrives';
    }
    ok eventually( sub { !( @buffers = ask( $server, 'buffers' ) ) } ), 'then none is';
    $server->stop;
};

subtest 'A pipe that nobody reads' => sub {
    for my $handler ( 'DEFAULT', 'IGNORE', 'a handler' ) {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->listen( sub { $_[0]->header; $_[0]->print('page') } );
                my $signals = 0;
                set_pipe_handler(
                    $handler eq 'a handler'
                    ? sub { $signals++ }
                    : $handler
                );
                pipe my $reader, my $writer or die "pipe: $!";
                my $buffer = HTTP::Server::EV::Buffer->new( { fh => $writer } );
                close $reader;
                close $writer;
                $buffer->print( 'x' x 100_000 );
                $buffer->flush_wait( sub { report( pipe => $buffer->{status}, $signals ) }
                );
            }
        );
        is_deeply [ $server->await('pipe') ], [ -1, 0 ], "no signal, with $handler";
        is $server->request( GET => '/' )->{body}, 'page', 'the process goes on';
        $server->stop;
    }
};

done_testing;

# For good: it is the child's.
sub set_pipe_handler {
    my ($handler) = @_;
    $SIG{PIPE} = $handler;    ## no critic (RequireLocalizedPunctuationVars)
    return;
}
