#!/usr/bin/env perl
# Clients that go away at any stage: onerror tells it once, printing goes on in vain, and
# nothing is left behind.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends eventually report request_bytes upload_bytes);

my $FORM = { 'Content-Type' => 'application/x-www-form-urlencoded' };

my %REQUESTS = (
    GET               => request_bytes( GET  => '/' ),
    'POST, form'      => request_bytes( POST => '/', $FORM, 'a=b' ),
    'POST, multipart' =>
      upload_bytes( { name => 'a', file_name => 'b', content => 'x' x 1000 } ),
    HEAD   => request_bytes( HEAD   => '/' ),
    PUT    => request_bytes( PUT    => '/', {}, 'body' ),
    get    => request_bytes( get    => '/' ),
    DELETE => request_bytes( DELETE => '/' ),
);

# Which of them are watched for the end of the client.
my @WATCHED = ( 'GET', 'POST, form', 'POST, multipart' );

# How clients go.
my %WAYS = (
    reset    => sub { $_[0]->reset },
    close    => sub { $_[0]->close },
    shutdown => sub { $_[0]->shutdown },
);

# In the child: what is kept beyond a callback.
my @kept;

for my $way ( sort keys %WAYS ) {
    subtest "A client that goes by $way: onerror" => sub {
        my $server      = start( \&keep_and_watch );
        my $descriptors = base($server);
        for my $request ( sort keys %REQUESTS ) {
            my $client = $server->connect;
            $client->send( $REQUESTS{$request} );
            $server->await('callback');
            $WAYS{$way}->($client);
            if ( grep { $_ eq $request } @WATCHED ) {
                is $server->await('onerror'), 0,
                  "$request: it is called, without arguments";
            }

            # Two round trips later there has been no other one.
            ask($server) for 1 .. 2;
            $server->tell('let go');
            is_deeply [ grep { $_->[0] eq 'onerror' } $server->reports_until('gone') ],
              [],
              "$request: not once more";
        }
        ok $server->await_descriptors($descriptors), 'no descriptor is left';
        $server->stop;
    };
}

subtest 'Bytes behind the request are not the end of the client' => sub {
    my $server = start( \&keep_and_watch, sub { $_->print('reply') for splice @kept } );
    for my $request (@WATCHED) {
        my $client = $server->connect;
        $client->send("$REQUESTS{$request}\r\n");
        $server->await('callback');
        $client->send('more of it');
        ask($server) for 1 .. 2;
        $server->tell('let go');
        is $client->read_all, 'reply', "$request: it is answered";
    }
    $server->stop;
    is_deeply [ grep { $_->[0] eq 'onerror' } @{ $server->{seen} } ], [],
      'onerror is not called';
};

subtest 'onerror that dies is warned about; that closes, drops or prints is fine' => sub {
    my %cases = (
        dies   => sub { die "in onerror\n" },
        closes => sub { $_[0]->close },
        drops  => sub { $_[0]->drop },
        prints => sub { $_[0]->print('x'); $_[0]->flush },
        frees  => sub { @kept = () },
        waits  => sub {
            my ($cgi) = @_;
            $cgi->flush_wait( sub { report('sent') } );
        },
    );
    my $server = start(
        sub {
            my ($cgi) = @_;
            return if $cgi->{headers}{SCRIPT_NAME} eq '/other';
            push @kept, $cgi;
            my $case = $cases{ substr $cgi->{headers}{SCRIPT_NAME}, 1 };
            my $weak = $cgi;
            Scalar::Util::weaken($weak);
            $cgi->{buffer}{onerror} = sub { report('onerror'); $case->($weak) };
        }
    );
    my $descriptors = base($server);
    for my $case ( sort keys %cases ) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => "/$case" ) );
        $server->await('callback');
        $client->reset;
        $server->await('onerror');
        $server->await('sent') if $case eq 'waits';
        ask($server);
        $server->tell('let go');
        $server->await('gone');
        pass $case;
    }
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    is scalar( grep { $_->[0] eq 'onerror' } @{ $server->{seen} } ), keys %cases,
      'each was called once';
    $server->stop( stderr => qr/\AERROR IN CALLBACK: in onerror\n\z/ );
};

subtest 'What is done with a reply whose client has gone' => sub {
    my $server = start(
        \&keep_and_watch,
        sub {
            my $cgi    = shift @kept or return;
            my $handle = $cgi->buffer;
            my %count  = (
                print  => scalar( () = $cgi->print('x') ),
                buffer => scalar( () = $cgi->{buffer}->print('x') ),
                printf => scalar( () = $cgi->{buffer}->printf('x') ),
                header => scalar( () = $cgi->header ),
            );
            $cgi->print( 'x' x 1_000_000 ) for 1 .. 20;
            $cgi->flush;
            $cgi->flush_wait( sub { report('sent') } );
            report( counts => \%count, ( print {$handle} 'x' ) ? 1 : 0 );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    $client->reset;
    $server->await('onerror');
    $server->tell('print');
    my ( $count, $is_true ) = $server->await('counts');
    is_deeply $count, { print => 0, buffer => 0, printf => 0, header => 0 },
      'the empty list is returned';
    is $is_true, 0, 'false by a handle';
    $server->await('sent');
    pass 'flush_wait calls back';
    $server->stop;
};

subtest 'flush_wait calls back, once, when the client goes while it waits' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return $cgi->print('other') if $cgi->{headers}{SCRIPT_NAME} eq '/other';
            $cgi->print( 'x' x 20_000_000 );
            $cgi->flush_wait( sub { report( sent => $_ ) } ) for 1 .. 2;
            push @kept, $cgi;
        }
    );
    my $descriptors = base($server);
    for my $way (qw(close reset)) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        $client->read_until(qr/x/);
        $client->$way;
        $server->await('sent') for 1 .. 2;
        ask($server);
        $server->tell('let go');
        is_deeply [ $server->reports_until('gone') ], [ ['gone'] ], $way;
    }
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    $server->stop;
};

# The stages of a request, and what the client does up to there; each returns the client.
my @PARTS =
  ( map { { name => 'file', file_name => $_, content => 'x' x 300_000 } } 'a', 'b' );
my $UPLOAD = upload_bytes(@PARTS);
my %STAGES = (
    'before it sends anything' => sub { $_[0]->connect },
    'in the request line'      => sub { sent( $_[0], 'GET /' ) },
    'in the head'  => sub { sent( $_[0], "GET / HTTP/1.1\r\nHost: localhost\r\n" ) },
    'in a form'    => sub { sent( $_[0], substr $REQUESTS{'POST, form'}, 0, -1 ) },
    'in an upload' => sub { sent( $_[0], substr $UPLOAD,                 0, 400_000 ) },
    'at its last byte'  => sub { sent( $_[0], substr $UPLOAD, 0, -1 ) },
    'after the request' => sub {
        my $client = $_[0]->connect;
        $client->send( $REQUESTS{GET} );
        return $client;
    },
    'after an upload' => sub {
        my $client = $_[0]->connect;
        $client->send($UPLOAD);
        return $client;
    },
    'in the main callback' => sub {
        my ($server) = @_;
        my $client = sent( $server, request_bytes( GET => '/nested' ) );
        $server->await('nested');
        return $client;
    },
    'while its reply waits' => sub {
        my ($server) = @_;
        my $client = sent( $server, request_bytes( GET => '/kept' ) );
        $server->await('callback');
        return $client;
    },
    'while output is pending' => sub {
        my ($server) = @_;
        my $client = sent( $server, request_bytes( GET => '/long' ) );
        $client->read_until(qr/x/);
        return $client;
    },
    'while output is pending, kept' => sub {
        my ($server) = @_;
        my $client = sent( $server, request_bytes( GET => '/long-kept' ) );
        $client->read_until(qr/x/);
        return $client;
    },
    'after its reply' => sub {
        my ($server) = @_;
        my $client = sent( $server, request_bytes( GET => '/' ) );
        $client->is_closed;
        return $client;
    },
);

for my $backend ( backends() ) {
    for my $way ( sort keys %WAYS ) {
        subtest
          "A client that goes by $way at any stage leaves nothing, with $backend" => sub {
            my $server      = start( \&all_stages, undef, $backend );
            my $descriptors = base($server);
            for my $stage ( sort keys %STAGES ) {
                my $client = $STAGES{$stage}->($server);
                $WAYS{$way}->($client);
                is ask($server), 'other', "$stage: others are served";
                $server->tell('let go');
                $server->await('gone');
                $client->close;
            }
            ok $server->await_descriptors($descriptors), 'no descriptor is left';
            ok $server->await_files(0),                  'no file is left';
            ok eventually(
                sub { $server->tell('objects'); $server->await('objects') == 0 } ),
              'no request is left';
            my %times;
            $times{ $_->[1] }++ for grep { $_->[0] eq 'told' } @{ $server->{seen} };
            is scalar( grep { $_ > 1 } values %times ), 0,
              'onerror was called once at most';
            $server->stop;
          };
    }
}

done_testing;

# The main callback of the stages.
sub all_stages {
    my ($cgi) = @_;
    my $path = $cgi->{headers}{SCRIPT_NAME};
    return $cgi->print('other') if $path eq '/other';

    our $number++;
    my $this = $number;
    our $objects++;
    $cgi->{counter}         = bless [], 'Counter';
    $cgi->{buffer}{onerror} = sub { report( told => $this ) };
    $cgi->header;
    if ( $path eq '/nested' ) {
        report('nested');
        push @kept, $cgi;
        my $loop = EV::timer( 0.05, 0, sub { EV::break() } );
        EV::run();
        $cgi->print('x');
        $cgi->flush;
    }
    $cgi->print( 'x' x 20_000_000 ) if $path =~ /long/;
    push @kept, $cgi if $path =~ /kept/;
    return;
}

sub Counter::DESTROY { our $objects--; return }

# A request of another client, and its reply.
sub ask {
    my ($server) = @_;
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/other' ) );
    return $client->read_all;
}

# How many descriptors the server has open after a first request.
sub base {
    my ($server) = @_;
    ask($server);
    return $server->descriptors;
}

# A main callback whose request stays, and reports its onerror.
sub keep_and_watch {
    my ($cgi) = @_;
    return $cgi->print('other') if $cgi->{headers}{SCRIPT_NAME} eq '/other';
    push @kept, $cgi;
    $cgi->{buffer}{onerror} = sub { report( onerror => scalar @_ ) };
    return;
}

# A client that has sent this, and the server has read it.
sub sent {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    $client->drained;
    return $client;
}

# A server with this main callback, and a report after those that others may await. At
# `tell` it does this, or lets go of what is kept.
sub start {
    my ( $callback, $on_command, $backend ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            require Scalar::Util;
            $server->on_command(
                sub {
                    return report( objects => our $objects // 0 ) if $_[0] eq 'objects';
                    return $on_command->(@_)                      if $on_command;
                    @kept = ();
                    report('gone');
                }
            );
            $server->listen(
                sub {
                    my $is_other = $_[0]{headers}{SCRIPT_NAME} eq '/other';
                    $callback->(@_);
                    report('callback') if !$is_other;
                }
            );
        },
        backend => $backend
    );
}
