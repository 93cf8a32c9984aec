#!/usr/bin/env perl
# The option threading: each main callback runs in a Coro thread of its own.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes);

eval { require Coro; 1 } or plan skip_all => 'Coro is not installed';

my @PART = ( { name => 'file', file_name => 'a', content => "line\n" . 'x' x 100_000 } );

# In the child: what threads wait for.
my @parked;

subtest 'Callbacks that wait do not hold each other up, each with its own STDOUT' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            $cgi->header;
            print $cgi->{headers}{SCRIPT_NAME};
            report('parked');
            park();
            print " $cgi->{headers}{SCRIPT_NAME}";
        }
    );
    my @clients = map { $server->connect } 1 .. 5;
    for my $number ( 0 .. 4 ) {
        $clients[$number]->send( request_bytes( GET => "/$number" ) );
    }
    $server->await('parked') for @clients;
    $server->tell('go on');
    is_deeply [ map { $_->response->{body} } @clients ], [ map { "/$_ /$_" } 0 .. 4 ],
      'what a thread prints goes to its client';
    $server->stop;
};

subtest 'flush_wait without a callback parks the thread' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print( 'x' x 5_000_000 );
            report('waiting');
            $cgi->flush_wait;
            report('sent');
            $cgi->print('end');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('waiting');
    my $other = $server->connect;
    $other->send( request_bytes( GET => '/' ) );
    is_deeply [ $server->reports_until('waiting') ], [ ['waiting'] ], 'others are served';
    is length $client->response->{body}, 5_000_003, 'all is sent';
    $other->reset;
    $server->await('sent') for 1 .. 2;
    pass 'a thread whose client has gone is woken, too';
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "save and fh without a callback give their outcome, with $backend" => sub {
        my $server = start(
            sub {
                my ($cgi)     = @_;
                my ($file)    = @{ $cgi->file('file') };
                my $directory = our $DIRECTORY;
                report( fh     => scalar readline $file->fh );
                report( failed => $file->save('/dev/null/none') );
                report( saved => $file->save("$directory/saved"), -s "$directory/saved" );
                $cgi->header;
                $cgi->print('done');
            },
            backend => $backend
        );
        is $server->upload(@PART)->{body}, 'done',   'the request is answered';
        is $server->await('fh'),           "line\n", 'fh: the handle';
        is $server->await('failed'),       0,        'save: false';
        is_deeply [ $server->await('saved') ], [ 1, 100_005 ],
          'save: true, when it is done';
        $server->stop( stderr => qr{\A[^\n]*failed to move file[^\n]*\n\z} );
    };
}

subtest 'die and next in a thread' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print('begun');
            die "in a thread\n" if $cgi->{headers}{SCRIPT_NAME} eq '/die';
            eval { $cgi->next };
            $cgi->print('never');
        }
    );
    is $server->request( GET => $_ )->{body}, 'begun', $_ for qw(/die /next /die);
    $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: in a thread\n){2}\z/ );
};

# Not in a subtest, whose own destructors would complain in the child: exit in a thread
# leaves the main thread as it stands.
{
    my $server = start( sub { exit 5 } );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->ended( status => 5 );
}

subtest 'The other callbacks run in the loop, the main one in a thread' => sub {
    my $thread = sub { no warnings 'once'; return "$Coro::current" };
    my $server = start(
        sub { report( main => $thread->() ); $_[0]->header },
        on_multipart     => sub { report( hook => $thread->() ) },
        on_file_received => sub { report( hook => $thread->() ) },
    );
    $server->upload(@PART) for 1 .. 2;
    my @reports = ( $server->reports_until('main'), $server->reports_until('main') );
    my %hooks   = map { $_->[1] => 1 } grep { $_->[0] eq 'hook' } @reports;
    is keys %hooks, 1, 'on_multipart and on_file_received in one';
    is scalar( grep { $_->[0] eq 'main' && !$hooks{ $_->[1] } } @reports ), 2,
      'the main callback in another';
    $server->stop;
};

done_testing;

# Parks the running thread until `tell`.
sub park {
    my $rouse = Coro::rouse_cb();
    push @parked, $rouse;
    return Coro::rouse_wait($rouse);
}

# A server with this main callback, in threads, and these options.
sub start {
    my ( $callback, %options ) = @_;
    my $backend = delete $options{backend};
    return TestServer->start(
        sub {
            my ($server) = @_;
            require Coro::EV;
            our $DIRECTORY = $server->directory;
            $server->on_command( sub { $_->() for splice @parked } );
            $server->listen( $callback, { threading => 1, %options } );
        },
        backend => $backend
    );
}
