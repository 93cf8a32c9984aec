#!/usr/bin/env perl
# The option threading: each main callback runs in a Coro thread of its own.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes reserve_port upload_bytes);

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

subtest 'A program that loads Coro alone, as programs for earlier releases do' => sub {
    plan skip_all => 'Coro::EV is loaded already' if $INC{'Coro/EV.pm'};
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    Coro::cede();
                    $cgi->print('from a thread');
                },
                { threading => 1 }
            );
        }
    );
    is $server->request( GET => '/' )->{body}, 'from a thread', 'the reply';
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

subtest 'next leaves a thread that goes on in a loop of another callback' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print('begun');
            report('parked');
            park();
            $cgi->next;
        },
        beside => sub {
            my ($server) = @_;
            my $socket = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 5 )
              or die "Cannot listen: $@";
            my $run = sub {
                my ($cgi) = @_;
                rouse_all();
                EV::run( EV::RUN_NOWAIT() ) for 1 .. 3;
                $cgi->header;
                $cgi->print('after the loop');
            };
            $server->listen( $socket, $run );
            report( port => $socket->sockport );
        }
    );
    my $port   = $server->await('port');
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('parked');
    my $other = TestServer::Client->new($port);
    $other->send( request_bytes( GET => '/' ) );
    is $other->response->{body},  'after the loop', 'the callback that runs the loop';
    is $client->response->{body}, 'begun',          'the thread';
    $server->stop;
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

# How 50 threads print side by side, each to its own client.
my %PRINTERS = (
    'attach(*STDOUT)' => sub {
        my ($cgi) = @_;
        $cgi->attach(*STDOUT);
        $cgi->header;
        for my $number ( 1 .. 20 ) {
            print "$cgi->{headers}{SCRIPT_NAME}:$number ";
            Coro::cede();
        }
        printf '%s', 'end';
    },
    'attach(local *STDOUT)' => sub {
        my ($cgi) = @_;
        local *STDOUT;
        $cgi->attach(*STDOUT);
        $cgi->header;
        for my $number ( 1 .. 20 ) {
            print "$cgi->{headers}{SCRIPT_NAME}:$number ";
            Coro::cede();
        }
        print 'end';
    },
    'attach( local *STDOUT ) in one statement' => sub {
        my ($cgi) = @_;
        $cgi->attach( local *STDOUT );
        $cgi->header;
        for my $number ( 1 .. 20 ) {
            print "$cgi->{headers}{SCRIPT_NAME}:$number ";
            Coro::cede();
        }
        print 'end';
    },
    'the object' => sub {
        my ($cgi) = @_;
        $cgi->header;
        for my $number ( 1 .. 20 ) {
            $cgi->print("$cgi->{headers}{SCRIPT_NAME}:$number ");
            Coro::cede();
        }
        $cgi->print('end');
    },
    'its own handle' => sub {
        my ($cgi) = @_;
        $cgi->header;
        my $handle = $cgi->buffer;
        for my $number ( 1 .. 20 ) {
            print {$handle} "$cgi->{headers}{SCRIPT_NAME}:$number ";
            Coro::cede();
        }
        print {$handle} 'end';
    },
);

for my $printer ( sort keys %PRINTERS ) {
    subtest "50 threads print at once by $printer" => sub {
        my $server  = start( $PRINTERS{$printer} );
        my @clients = map { $server->connect } 1 .. 50;
        $clients[$_]->send( request_bytes( GET => "/$_" ) ) for 0 .. 49;
        my @bodies   = map { $_->response->{body} } @clients;
        my @expected = map {
            my $path = "/$_";
            join q{}, ( map { "$path:$_ " } 1 .. 20 ), 'end'
        } 0 .. 49;
        is_deeply \@bodies, \@expected, 'each client gets what is its own';
        $server->stop;
    };
}

subtest 'What the main thread prints goes to none of them' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            print 'thread ';
            report('parked');
            park();
            print 'again';
        },
        on_command => sub {
            print "main\n";
            report('printed');
            rouse_all();
        },
        stdout => 1
    );
    my @clients = map { $server->connect } 1 .. 2;
    $_->send( request_bytes( GET => '/' ) ) for @clients;
    $server->await('parked') for @clients;
    $server->tell('print');
    is $_->read_all, 'thread again', 'a reply' for @clients;
    open my $file, '<', $server->directory . '/stdout' or die "stdout: $!";
    is readline $file, "main\n", 'the file';
    $server->stop;
};

# Where threads are parked.
my $semaphore;
my %PARKINGS = (
    park       => sub { park() },
    flush_wait => sub { $_[0]->print( 'x' x 20_000_000 );       $_[0]->flush_wait },
    semaphore  => sub { $semaphore ||= Coro::Semaphore->new(0); $semaphore->down },
    timer      => sub { Coro::EV::timer_once(1_000) },
    io         => sub { Coro::EV::timed_io_once( $_[0]->fh, EV::READ() ) },
);

# How a parked thread is ended from outside, and while it waits for what. Coro itself
# crashes when it cancels a thread in many another place.
my %ENDINGS = (
    'throw' => {
        end       => sub { $_[0]->throw("thrown\n"); $_[0]->ready },
        waits_for => [ sort keys %PARKINGS ],
        complaint => qr/\A(?:ERROR IN CALLBACK: thrown\n){5}\z/,
    },
    'cancel'      => { end => sub { $_[0]->cancel },      waits_for => ['flush_wait'] },
    'safe_cancel' => { end => sub { $_[0]->safe_cancel }, waits_for => ['flush_wait'] },
);

for my $name ( sort keys %ENDINGS ) {
    my $ending = $ENDINGS{$name};
    subtest "A parked thread that is ended by $name ends its request" => sub {
        my $thread;
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $path  = substr $cgi->{headers}{SCRIPT_NAME}, 1;
                $cgi->attach(*STDOUT);
                return $cgi->print('other') if $path eq 'other';
                $thread = $Coro::current;
                report('parked');
                $PARKINGS{$path}->($cgi);
                print 'never';
            },
            on_command => sub { $ending->{end}->($thread); undef $thread }
        );
        my $ask = sub {
            my $client = $server->connect;
            $client->send( request_bytes( GET => '/other' ) );
            return $client->read_all;
        };
        $ask->();
        my $descriptors = $server->descriptors;
        for my $parking ( @{ $ending->{waits_for} } ) {
            my $client = $server->connect;
            $client->send( request_bytes( GET => "/$parking" ) );
            $server->await('parked');
            is $ask->(), 'other', 'another client is served';
            $server->tell('end');
            is length $client->read_all, $parking eq 'flush_wait' ? 20_000_000 : 0,
              "$parking: what was printed before is sent";
        }
        is $ask->(), 'other', 'the server goes on';
        ok $server->await_descriptors($descriptors), 'no descriptor is left';
        $server->stop( stderr => $ending->{complaint} // qr/\A\z/ );
    };
}

subtest 'Threads that never end hold up nobody, nor the end of the process' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return $cgi->print('other') if $cgi->{headers}{SCRIPT_NAME} eq '/other';
            $cgi->attach(*STDOUT);
            print 'x';
            report('parked');
            Coro::schedule();
        }
    );
    my @clients = map { $server->connect } 1 .. 5;
    $_->send( request_bytes( GET => '/' ) ) for @clients;
    $server->await('parked') for @clients;
    my $other = $server->connect;
    $other->send( request_bytes( GET => '/other' ) );
    is $other->read_all, 'other', 'another client';
    $server->stop;
};

subtest 'A semaphore and a channel between requests' => sub {
    my ( $semaphore, $channel, @order );
    my $server = start(
        sub {
            my ($cgi) = @_;
            $semaphore ||= Coro::Semaphore->new(1);
            $channel   ||= Coro::Channel->new;
            my $path = $cgi->{headers}{SCRIPT_NAME};
            $cgi->header;
            if ( $path eq '/give' ) {
                $channel->put("gift $_") for 1 .. 3;
                return $cgi->print('given');
            }
            my $guard = $semaphore->guard;
            report('taking');
            $cgi->print( join q{, }, map { $channel->get } 1 .. 1 );
        }
    );
    my @clients = map { $server->connect } 1 .. 3;
    $_->send( request_bytes( GET => '/take' ) ) for @clients;
    $server->await('taking');
    is $server->request( GET => '/give' )->{body}, 'given', 'one gives';
    is_deeply [ sort map { $_->response->{body} } @clients ],
      [ map { "gift $_" } 1 .. 3 ],
      'the others take, one after the other';
    $server->stop;
};

# How a thread sleeps, and waits for what is to be read.
my %WAITING = (
    'Coro::EV' => sub {
        Coro::EV::timer_once(0.01);
        report('waiting');
        Coro::EV::timed_io_once( $_[0], EV::READ() );
    },
    'Coro::AnyEvent' => sub {
        require Coro::AnyEvent;
        Coro::AnyEvent::sleep(0.01);
        report('waiting');
        Coro::AnyEvent::readable( $_[0] );
    },
    'Coro::Handle' => sub {
        require Coro::Handle;
        report('waiting');
        Coro::Handle::unblock( $_[0] )->readable;
    },
);

for my $way ( sort keys %WAITING ) {
    subtest "Threads sleep and wait for sockets by $way" => sub {
        plan skip_all => 'AnyEvent is not installed'
          if $way ne 'Coro::EV' && !has_anyevent();
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $socket = $cgi->fh;
                $WAITING{$way}->($socket);
                sysread $socket, my $bytes, 10;
                $cgi->header;
                $cgi->print("read $bytes");
            }
        );
        my @clients = map { $server->connect } 1 .. 10;
        $_->send( request_bytes( PUT => '/', { 'Content-Length' => 4 } ) ) for @clients;
        $server->await('waiting')                                          for @clients;
        $_->send('body')                                                   for @clients;
        is_deeply [ map { $_->response->{body} } @clients ], [ ('read body') x 10 ],
          '10 at once';
        $server->stop;
    };
}

subtest 'A listener without threading beside one with it' => sub {
    my ( $port, $reservation ) = reserve_port();
    my $server = start(
        sub {
            my ($cgi) = @_;
            report( thread => "$Coro::current" );
            report('parked');
            park();
            $cgi->print('threaded');
        },
        beside => sub {
            my ($http) = @_;
            $http->listen(
                "127.0.0.1:$port",
                sub {
                    report( plain => "$Coro::current", "$Coro::main" );
                    $_[0]->print('plain');
                }
            );
            report( mine => "$Coro::main" );
        }
    );
    my $threaded = $server->connect;
    $threaded->send( request_bytes( GET => '/' ) );
    my $thread = $server->await('thread');
    $server->await('parked');
    for my $number ( 1 .. 2 ) {
        my $client = TestServer::Client->new($port);
        $client->send( request_bytes( GET => '/' ) );
        is $client->read_all, 'plain', 'it is served while the thread is parked';
        isnt scalar $server->await('plain'), $thread, 'outside of the thread';
    }
    $server->tell('go on');
    is $threaded->read_all, 'threaded', 'the thread goes on';
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "Files of a thread, saved, copied, read by many at once, with $backend" =>
      sub {
        my $server = start(
            sub {
                my ($cgi)   = @_;
                my ($file)  = @{ $cgi->file('file') };
                my $name    = our_name( $file->name );
                my @outcome = map { $file->save("$name-$_") } 1 .. 3;
                my $content = do { local $/ = undef; readline $file->fh };
                $cgi->header;
                $cgi->print( "@outcome ", length $content,
                    q{ }, join q{ }, map { -s "$name-$_" } 1 .. 3 );
            },
            backend => $backend
        );
        my @clients = map { $server->connect } 1 .. 10;
        for my $number ( 0 .. 9 ) {
            $clients[$number]->send(
                upload_bytes(
                    {
                        name      => 'file',
                        file_name => "f$number",
                        content   => 'x' x ( 1_000_000 + $number )
                    }
                )
            );
        }
        is_deeply [ map { $_->response->{body} } @clients ],
          [ map { join q{ }, 1, 1, 1, ( 1_000_000 + $_ ) x 4 } 0 .. 9 ],
          'each thread gets its own outcome';
        ok $server->await_files(0), 'no temporary file is left';
        $server->stop;
      };
}

subtest 'An upload to a thread that is parked with the one before' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            report('parked');
            park();
            $cgi->header;
            $cgi->print( map { $_->name, '=', $_->size, q{ } } @{ $cgi->file('file') } );
        }
    );
    my @clients = map { $server->connect } 1 .. 3;
    for my $client (@clients) {
        $client->send( upload_bytes(@PART) );
        $server->await('parked');
    }
    $server->tell('go on');
    is $_->response->{body}, 'a=100005 ', 'each has its file' for @clients;
    $server->stop;
};

subtest 'What threads have attached is seen in %storage under their names' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            no warnings 'once';
            my $storage = \%HTTP::Server::EV::BufTie::storage;
            $cgi->attach(*STDOUT);
            report('parked');
            park();
            my $is_mine = $storage->{"$Coro::current"} == $cgi->{buffer} ? 1 : 0;
            $cgi->close;
            report( storage => $is_mine, exists $storage->{"$Coro::current"} ? 1 : 0 );
        }
    );
    my @clients = map { $server->connect } 1 .. 3;
    $_->send( request_bytes( GET => '/' ) ) for @clients;
    $server->await('parked') for @clients;
    $server->tell('go on');
    is_deeply [ $server->await('storage') ], [ 1, 0 ], 'until close' for @clients;
    $server->stop;
};

done_testing;

# In another process, as it would load its loop into this one.
sub has_anyevent {
    open my $output, '-|', $^X, '-e', 'print eval { require AnyEvent } ? 1 : 0'
      or return 0;
    return readline $output;
}

# Parks the running thread until `tell`.
sub park {
    my $rouse = Coro::rouse_cb();
    push @parked, $rouse;
    return Coro::rouse_wait($rouse);
}

# A path for a file of the application.
sub our_name {
    my ($name) = @_;
    return our $DIRECTORY . "/$name";
}

# Wakes all parked threads.
sub rouse_all {
    $_->() for splice @parked;
    return;
}

# A server with this main callback, in threads, and these options.
sub start {
    my ( $callback, %options ) = @_;
    my ( $backend, $on_command, $beside, $stdout ) =
      delete @options{qw(backend on_command beside stdout)};
    return TestServer->start(
        sub {
            my ($server) = @_;
            require Coro::EV;
            our $DIRECTORY = $server->directory;
            require Coro::Channel;
            require Coro::Semaphore;
            open STDOUT, '>', "$DIRECTORY/stdout" or die "stdout: $!" if $stdout;
            $server->on_command( $on_command || \&rouse_all );
            $server->listen( $callback, { threading => 1, %options } );
            $beside->( $server->new_server ) if $beside;
        },
        backend => $backend
    );
}
