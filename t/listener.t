#!/usr/bin/env perl
# `listen` and the listener it returns: its arguments, the order of what it does, the hash
# that becomes the object, `start` and `stop`.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes reserve_port upload_bytes);

my $ANY = '127.0.0.1:0';

subtest 'listen returns the hash of options, blessed and completed' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $options  = { timeout => 5, mine => 'my own' };
            my $listener = $server->listen( \&answer, $options );
            report(
                hash => $listener == $options ? 1 : 0,
                ref $listener,
                @{$listener}{qw(stopped timeout mine)},
                $listener->{cb} == \&answer ? 1 : 0
            );
            my ($key) = keys %HTTP::Server::EV::listeners;
            report(
                stored => $key eq "$server->{socket}" ? 1 : 0,
                $HTTP::Server::EV::listeners{$key} == $listener ? 1 : 0
            );
            report( bare => keys %{ HTTP::Server::EV->listen( $ANY, \&answer ) } );
        }
    );
    is_deeply [ $server->await('hash') ],
      [ 1, 'HTTP::Server::EV::PortListener', 0, 5, 'my own', 1 ], 'its keys';
    is_deeply [ $server->await('stored') ], [ 1, 1 ],
      'it is kept under the first argument as a string';
    is_deeply [ sort $server->await('bare') ], [qw(cb port ptr socket stopped)],
      'the keys of one without options';
    $server->stop;
};

subtest 'listen is a method of the class, of a subclass, and of the server' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            @Subclass::ISA = ('HTTP::Server::EV');
            my @listeners = (
                HTTP::Server::EV->listen( '127.0.0.1:0', \&answer ),
                Subclass->listen( '127.0.0.2:0', \&answer ),
                $server->new_server->listen( '127.0.0.3:0', \&answer ),
            );
            report( packages => map { ref } @listeners );
            report( ports    => map { $_->{port} } @listeners );
        }
    );
    is_deeply [ $server->await('packages') ], [ ('HTTP::Server::EV::PortListener') x 3 ],
      'what it returns is always of the same class';
    my @ports = $server->await('ports');
    is page( $ports[ $_ - 1 ], "127.0.0.$_" ), 'page', "127.0.0.$_" for 1 .. 3;
    $server->stop;
};

# [ arguments, made from the socket of the test; what is said ]
my $CODE  = sub { };
my @WRONG = (
    [ sub { $_[0] }, qr/\ANo callback!/ ],
    [ sub { return ( $_[0], undef ) }, qr/\ANo callback!/ ],
    [ sub { return ( $_[0], q{} ) },   qr/\ANo callback!/ ],
    [
        sub { return ( $_[0], 'main' ) },
        qr/\Alisten takes a code reference as its callback/
    ],
    [ sub { return ( $_[0], [] ) }, qr/\Alisten takes a code reference as its callback/ ],
    [
        sub { return ( $_[0], $CODE, 1 ) },
        qr/\Alisten takes a hash reference of options/
    ],
    [
        sub { return ( $_[0], $CODE, [] ) },
        qr/\Alisten takes a hash reference of options/
    ],
    [ sub { return ( undef, $CODE ) }, qr/\APort undefined!/ ],
);
subtest 'What is wrong with the arguments is said at the line of the caller' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            for (@WRONG) {
                my @arguments = $_->[0]->( $server->{socket} );
                report( error => eval { $http->listen(@arguments) } ? 'none' : $@ );
            }
            report( listeners => keys %HTTP::Server::EV::listeners );
        }
    );
    like $server->await('error'), qr/$_->[1] at \Q$0\E line \d+[.]\n\z/, $_->[1]
      for @WRONG;
    is_deeply [ $server->await('listeners') ], [], 'and there is no listener';
    $server->ended;
};

subtest 'The same first argument twice' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            $http->listen( $_->[0], @{$_}[ 1 .. $#{$_} ] )
              for [ $server->{socket}, \&answer ],
              [ 'name', \&answer, { socket => socket_to_listen() } ];
            for my $again ( $server->{socket}, 'name' ) {
                report(
                    error => eval { $http->listen( $again, \&answer ) }
                    ? 'none'
                    : $@
                );
            }
        }
    );
    is $server->await('error'), "You can`t bind two listeners on one port!\n", $_
      for 'a socket', 'a name';
    is $server->request( GET => q{/} )->{body}, 'page', 'the first one serves';
    $server->stop;
};

# What is there when fork_hook is called, and that a missing callback is noticed after
# binding and before fork_hook.
subtest 'listen binds, looks for the callback, and calls fork_hook' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http     = $server->new_server;
            my $used     = $server->{socket}->sockport;
            my %options  = ( fork_hook => sub { report('fork_hook') } );
            report( in_use => eval { $http->listen("127.0.0.1:$used") } ? 'none' : $@ );
            report(
                bound => eval { $http->listen( $ANY, undef, \%options ) }
                ? 'none'
                : $@
            );
            $options{fork_hook} = sub {
                my $port   = $options{port};
                my $client = IO::Socket::INET->new("127.0.0.1:$port");
                report(
                    fork_hook => scalar @_,
                    $client ? 1 : 0, scalar keys %HTTP::Server::EV::listeners
                );
                $client->send("GET / HTTP/1.0\r\n\r\n");
                $server->{client} = $client;
            };
            $http->listen( $ANY, sub { report('main callback'); answer(@_) }, \%options );
            report('listening');
        }
    );
    like $server->await('in_use'), qr/: Address already in use at /,
      'an address in use is noticed first';
    is_deeply [ map { $_->[0] } $server->reports_until('bound') ], ['bound'],
      'without a callback there is no fork_hook';
    is_deeply [ $server->await('fork_hook') ], [ 0, 1, 0 ],
      'fork_hook has no arguments, clients can connect, the listener is not there yet';
    is_deeply [ map { $_->[0] } $server->reports_until('main callback') ],
      [ 'listening', 'main callback' ], 'and then it serves';
    $server->stop;
};

subtest 'An exception in fork_hook leaves listen, which can be called again' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http     = $server->new_server;
            my $fails    = 1;
            my ( $port, $reservation ) = reserve_port();
            my %options = ( fork_hook => sub { die "not now\n" if $fails-- } );
            my @call    = ( "127.0.0.1:$port", \&answer, \%options );
            report( error     => eval { $http->listen(@call) } ? 'none' : $@ );
            report( listeners => keys %HTTP::Server::EV::listeners );
            report( port      => $http->listen(@call)->{port} );
        }
    );
    is $server->await('error'), "not now\n", 'the exception';
    is_deeply [ $server->await('listeners') ], [], 'there is no listener';
    is page( $server->await('port') ), 'page', 'the second time it listens';
    $server->stop;
};

subtest 'Two listeners, each with its callbacks and options' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $first = $server->listen( sub { answer_with( $_[0], 'first' ) },
                { on_multipart => sub { report('on_multipart of the first') } } );
            my $second = HTTP::Server::EV->listen(
                $ANY,
                sub { answer_with( $_[0], 'second' ) },
                {
                    on_multipart  => sub { report('on_multipart of the second') },
                    max_file_size => 10
                }
            );
            report( port => $second->{port} );
        }
    );
    my $port   = $server->await('port');
    my @file   = ( { name => 'f', file_name => 'f', content => 'x' x 11 } );
    my %served = (
        first  => $server->upload(@file)->{body},
        second => reply( $port, upload_bytes(@file) )->{body}
    );
    is_deeply \%served, { first => 'first', second => undef },
      'a file that is too large for one of them';
    $server->await("on_multipart of the $_") for qw(first second);
    is page($port), 'second', 'a page of the second';
    $server->stop;
};

# What becomes a listener may be used for others: as it is, or copied.
my %HASHES = (
    'the same hash'        => sub { $_[0] },
    'a copy of the hash'   => sub { return { %{ $_[0] } } },
    'a blessed copy of it' => sub { return bless { %{ $_[0] } }, ref $_[0] },
);
for my $name ( sort keys %HASHES ) {
    subtest "One hash of options serves two addresses: $name" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $http     = $server->new_server;
                my $first    = $http->listen(
                    $ANY,
                    sub { answer_with( $_[0], 'first' ) },
                    { timeout => 5 }
                );
                my $second = $http->listen(
                    '127.0.0.2:0',
                    sub { answer_with( $_[0], 'second' ) },
                    $HASHES{$name}->($first)
                );
                $server->on_command( sub { $first->stop; report('stopped') } );
                report(
                    listening => $first == $second ? 1 : 0,
                    $second->{timeout}, $first->{port}, $second->{port}
                );
            }
        );
        my ( $same, $timeout, @ports ) = $server->await('listening');
        is_deeply [ $same, $timeout ], [ 0, 5 ], 'each is a listener of its own';
        is page( $ports[0] ),              'first',  'one address';
        is page( $ports[1], '127.0.0.2' ), 'second', 'the other address';
        $server->tell('stop');
        $server->await('stopped');
        is page( $ports[1], '127.0.0.2' ), 'second',
          'stopping one leaves the other alone';
        $server->stop;
    };
}

subtest 'A listener serves, whoever holds its object' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            my @ports;
            push @ports, $http->listen( '127.0.0.1:0', \&answer )->{port};
            push @ports, $http->listen( '127.0.0.2:0', \&answer )->{port};
            delete $HTTP::Server::EV::listeners{'127.0.0.2:0'};
            {
                local %HTTP::Server::EV::listeners;
                push @ports, $http->listen( '127.0.0.3:0', \&answer )->{port};
            }
            report( ports => @ports );
            report( keys  => keys %HTTP::Server::EV::listeners );
        }
    );
    my @ports = $server->await('ports');
    is page( $ports[0] ), 'page', 'only %listeners does';
    is page( $ports[1], '127.0.0.2' ), 'page', 'it was deleted from there';
    is page( $ports[2], '127.0.0.3' ), 'page', 'that was localized';
    is_deeply [ $server->await('keys') ], ['127.0.0.1:0'], 'what %listeners tells';
    $server->stop;
};

my %HOLDERS = (
    'the object'         => sub { $_[0] },
    'a copied reference' => sub { my $copy = $_[0]; $copy },
    '%listeners'         => sub { $HTTP::Server::EV::listeners{ $_[1] } },
    'a copy of the hash' => sub { bless { %{ $_[0] } }, ref $_[0] },
    'an element'         => sub { my %mine = ( slot => $_[0] ); $mine{slot} },
    'parent_listener'    => sub { our $PARENT },
);
for my $holder ( sort keys %HOLDERS ) {
    subtest "stop and start, by $holder" => sub {
        our $PARENT;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $listener =
                  $server->listen( sub { $PARENT = $_[0]{parent_listener}; answer(@_) } );
                my $key = "$server->{socket}";
                $server->on_command(
                    sub {
                        my @methods = @_;
                        my @returned =
                          map { $HOLDERS{$holder}->( $listener, $key )->$_ } @methods;
                        report( done => $listener->{stopped}, @returned );
                    }
                );
                my $other = HTTP::Server::EV->listen( '127.0.0.2:0', \&answer );
                report( other => $other->{port} );
            }
        );
        my $other = $server->await('other');
        is $server->request( GET => q{/} )->{body}, 'page', 'before';
        $server->await('client');

        $server->tell( 'stop', 'stop' );
        is_deeply [ $server->await('done') ], [1], 'stopped is 1, and nothing returned';
        my $waiting = $server->connect;
        $waiting->send( request_bytes( GET => '/waiting' ) );
        is page( $other, '127.0.0.2' ), 'page',      'another listener goes on';
        is $server->await('client'),    '127.0.0.2', 'and only that one serves';

        $server->tell( 'start', 'start' );
        is_deeply [ $server->await('done') ], [0], 'stopped is 0, and nothing returned';
        is $waiting->response->{body}, 'page', 'who has waited is served';
        $server->await('client');

        $server->tell( 'stop', 'start', 'stop', 'start' );
        is_deeply [ $server->await('done') ], [0], 'several times';
        is $server->request( GET => q{/} )->{body}, 'page', 'it serves';
        $server->stop;
    };
}

for my $backend ( backends() ) {
    subtest "Requests that are there when the listener stops go on, with $backend" =>
      sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $listener;
                $listener = $server->listen(
                    sub {
                        my ($cgi) = @_;
                        $listener->stop if $cgi->{headers}{REQUEST_URI} eq '/stop';
                        my ($file) = @{ $cgi->file('f') };
                        answer_with( $cgi, $file ? $file->size : 'no file' );
                    },
                    { on_multipart => sub { report('on_multipart') } }
                );
            },
            backend => $backend
        );
        my $upload =
          upload_bytes( { name => 'f', file_name => 'f', content => 'x' x 3_000_000 } );
        my ( $uploading, $begun ) = map { $server->connect } 1 .. 2;
        $uploading->send( substr $upload, 0, 1_500_000 );
        $server->await('on_multipart');
        $begun->send('GET / HTTP/1.1');
        $begun->drained;

        is $server->request( GET => '/stop' )->{body}, 'no file',
          'the one whose callback stops it';
        my $late = $server->connect;
        $late->send( request_bytes( GET => '/late' ) );
        $uploading->send( substr $upload, 1_500_000 );
        is $uploading->response->{body}, 3_000_000, 'an upload';
        $begun->send("\r\nHost: a\r\n\r\n");
        is $begun->response->{body}, 'no file', 'a head that had begun';
        $server->ended;
        is $late->response->{status}, undef, 'nobody else; and then the loop ends';
      };
}

subtest 'A stopped listener stays stopped in a child that is forked' => sub {
    pipe my $gate, my $key or die "pipe: $!";
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->listen( sub { answer_with( $_[0], $$ ) } );
            my ( $watcher, $rounds, $on_start );
            $server->on_command(
                sub {
                    $listener->stop;
                    defined( my $child = fork ) or die "fork: $!";
                    $watcher = EV::child( $child, 0, sub { report('child ended') } );
                    if ($child) {
                        $on_start =
                          EV::io( $gate, EV::READ(),
                            sub { undef $on_start; $listener->start } );
                        return report( child => $child );
                    }

                    # Rounds of its loop, in which it could accept.
                    $watcher = EV::timer( 0, 0.01,
                        sub { report('child waits') if ++$rounds == 5 } );
                }
            );
        }
    );
    is $server->request( GET => q{/} )->{body}, $server->pid, 'before';
    $server->tell('fork');
    my $child   = $server->await('child');
    my @clients = map { $server->connect } 1 .. 10;
    $_->send( request_bytes( GET => q{/} ) ) for @clients;
    $server->await('child waits');
    syswrite $key, 'x';
    is_deeply [ map { $_->response->{body} } @clients ], [ ( $server->pid ) x 10 ],
      'the parent alone has started it';
    kill TERM => $child;
    $server->await('child ended');
    $server->stop;
};

subtest 'EV::run returns when all listeners are stopped and all is done' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener;
            $listener = $server->listen( sub { $listener->stop; answer(@_) } );
        }
    );
    is $server->request( GET => '/' )->{body}, 'page', 'the last page is sent';
    $server->ended;
};

subtest 'start and stop on something else' => sub {
    my $server = TestServer->start(
        sub {
            for my $method (qw(start stop)) {
                my $method = HTTP::Server::EV::PortListener->can($method);
                report( error => eval { $method->($_); 1 } ? 'none' : $@ )
                  for undef, 'text', {};
            }
        }
    );
    like $server->await('error'),
      qr/\Anot an HTTP::Server::EV::PortListener at \Q$0\E line \d+[.]\n\z/, 'it is said'
      for 1 .. 6;
    $server->ended;
};

done_testing;

sub answer {
    my ($cgi) = @_;
    my ( undef, $host ) = Socket::sockaddr_in( getsockname $cgi->fh );
    report( client => Socket::inet_ntoa($host) );
    return answer_with( $cgi, 'page' );
}

sub answer_with {
    my ( $cgi, $text ) = @_;
    $cgi->header;
    $cgi->print($text);
    return;
}

sub page {
    my ( $port, $host ) = @_;
    return reply( $port, request_bytes( GET => q{/} ), $host )->{body};
}

sub reply {
    my ( $port, $request, $host ) = @_;
    my $socket =
      IO::Socket::INET->new( PeerAddr => $host || '127.0.0.1', PeerPort => $port )
      or return { body => "no connection: $@" };
    my $client = TestServer::Client->from_socket($socket);
    $client->send($request);
    return $client->response;
}

sub socket_to_listen {
    return IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 5 );
}
