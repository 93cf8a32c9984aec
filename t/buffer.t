#!/usr/bin/env perl
# HTTP::Server::EV::Buffer: its threshold, its end, onerror, give_up_handle, and Buffers on
# sockets of one's own.

use strict;
use warnings;

use File::Temp qw(tempfile);
use FindBin;
use POSIX ();
use IO::Socket::UNIX;
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

# In the child: what is kept beyond a callback.
my @kept;

subtest 'What is printed waits until it exceeds the threshold' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->{buffer}->flush(10);
            $cgi->print('1234567890');
        },
        sub { $kept[0]->print( $_[0] ) }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );

    # A request that comes and is answered later shows that nothing was sent before.
    my $other = $server->connect;
    $other->send( request_bytes( GET => '/' ) );
    $server->await('callback') for 1 .. 2;
    $server->tell('X');
    is $client->read_until(qr/0/), '1234567890', 'then as much as that is sent';
    $server->stop;
};

subtest 'The threshold of new Buffers is $autoflush' => sub {
    my $server = TestServer->start(
        sub {
            no warnings 'once';
            $HTTP::Server::EV::Buffer::autoflush = 123;
            $_[0]
              ->listen( sub { report( flush => $_[0]{buffer}{flush} ); $_[0]->header } );
        }
    );
    $server->request( GET => '/' );
    is $server->await('flush'), 123, 'as it is set';
    $server->stop;
};

subtest 'A large reply arrives whole, whatever the client does' => sub {
    my $server = start(
        sub { my ($cgi) = @_; $cgi->header; $cgi->print( 'x' x 10_000 ) for 1 .. 2_000 }
    );
    is length $server->request( GET => '/' )->{body}, 20_000_000,
      'printed in many pieces';

    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $client->shutdown;
    is length $client->response->{body}, 20_000_000,
      'to a client that ended its sending side';
    $server->stop;
};

subtest 'onerror: once, when the client has gone' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->{buffer}{onerror} = sub { report( onerror => scalar @_ ) };
        },
        sub {
            my @printed = $kept[0]->print('x');
            report( printed => scalar @printed, $kept[0]{buffer}{status} );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    $client->reset;
    is $server->await('onerror'), 0, 'without arguments';
    $server->tell('print');
    is_deeply [ $server->await('printed') ], [ 0, -1 ],
      'print returns the empty list, status is -1';
    is_deeply [ grep { $_->[0] eq 'onerror' } @{ $server->{seen} } ],
      [ [ onerror => 0 ] ],
      'it was called once';
    $server->stop;
};

subtest 'onerror is called for a client that ended its sending side; it is answered' =>
  sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->{buffer}{onerror} =
              sub { $cgi->print('still'); report('onerror'); undef $cgi };
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    $client->shutdown;
    $server->await('onerror');
    is $client->response->{body}, 'still', 'what is printed even then arrives';
    $server->stop;
  };

subtest 'flush_wait: several callbacks, in order, and nested' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $again = sub { report( sent => 'nested' ); undef $cgi };
            $cgi->{buffer}->flush_wait( sub { report( sent => 1 ) } );
            $cgi->{buffer}
              ->flush_wait( sub { report( sent => 2 ); $cgi->flush_wait($again) } );
            report( sent => 0 );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    ok $client->is_closed, 'the reply ends after the last one';
    is_deeply [ map { scalar $server->await('sent') } 1 .. 4 ], [ 0, 1, 2, 'nested' ],
      'the order';
    $server->stop;
};

subtest 'give_up_handle hands the socket over' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->print('by the buffer, ');
            $cgi->flush_wait(
                sub {
                    my $socket = $cgi->{buffer}->give_up_handle;
                    report(
                        handle => ref $socket,
                        defined $cgi->{buffer} ? 1 : 0, $socket->blocking ? 1 : 0,
                        -S $socket ? 1 : 0
                    );
                    $socket->syswrite('by the handle');
                    push @kept, $socket;
                    undef $cgi;
                }
            );
        },
        sub { undef @kept }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_until(qr/handle/), 'by the buffer, by the handle', 'in order';
    is_deeply [ $server->await('handle') ], [ 'IO::Handle', 0, 0, 1 ],
      'an IO::Handle; the variable is undef; it does not block';
    $server->tell('close');
    ok $client->is_closed, 'the connection lives as long as the handle';
    $server->stop;
};

subtest 'A Buffer that is kept when its request has gone' => sub {
    my $server = start( sub { push @kept, $_[0]{buffer} },
        sub { $kept[0]->print('later'); undef @kept } );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    $server->tell('print');
    is $client->read_all, 'later', 'holds the connection open';
    $server->stop;
};

for my $what (qw(fd fh)) {
    subtest "A Buffer of one's own, made with $what" => sub {
        socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC
          or die "socketpair: $!";
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->new_server;
                close $mine;
                my $buffer = HTTP::Server::EV::Buffer->new(
                    {
                        flush   => 0,
                        onerror => sub { report('onerror'); undef @kept },
                        $what eq 'fh'
                        ? ( fh => $its )
                        : ( fd => POSIX::dup( fileno $its ) ),
                    }
                );
                close $its;
                push @kept, $buffer;
                $buffer->print( 'x' x 1_000_000, 'end' );
                report( buffer => ref $buffer, $buffer->{flush} );
            }
        );
        close $its;
        is_deeply [ $server->await('buffer') ], [ 'HTTP::Server::EV::Buffer', 0 ],
          'the object and its keys';
        my $client =
          TestServer::Client->from_socket( IO::Socket::UNIX->new_from_fd( $mine, '+<' ) );
        is length $client->read_until(qr/end/), 1_000_003, 'what is printed arrives';
        close $mine;
        $client->close;
        $server->await('onerror');
        pass 'onerror tells that the other side has gone';
        $server->ended;
    };
}

subtest 'A Buffer of a file that may not grow so large' => sub {
    my ( $file, $path ) = tempfile( UNLINK => 1 );
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server;
            system( 'prlimit', '--pid', $$, '--fsize=1000:' ) == 0
              or return report( limited => 0 );
            push @kept, HTTP::Server::EV::Buffer->new(
                {
                    fh      => $file,
                    flush   => 0,
                    onerror => sub { report('onerror'); undef @kept }
                }
            );
            $kept[0]->print( 'x' x 5_000 );
            report( limited => 1 );
        }
    );
    my ($is_limited) = $server->await('limited');
    $is_limited or plan skip_all => 'prlimit does not work here';
    $server->await('onerror');
    is -s $path, 1_000, 'onerror tells that the rest does not fit';
    $server->ended;
};

subtest 'Buffer->new without a descriptor that is open' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server;
            for my $options ( { fd => 9_999 }, {}, { fd => -1 } ) {
                eval { HTTP::Server::EV::Buffer->new($options) };
                report( error => $@ );
            }
        }
    );
    like $server->await('error'), qr/\ACant create filehandle from fd! at \Q$0\E line/,
      'dies at the line of the caller'
      for 1 .. 3;
    $server->ended;
};

subtest 'Behind a tied handle' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $buffer = $cgi->{buffer};
            tie *HANDLE, $buffer;
            my @returned = (
                ( print HANDLE 'print,' ),
                ( printf HANDLE '%03d,', 7 ),
                ( syswrite HANDLE, 'xsyswrite.x', 9, 1 ),
                ( binmode HANDLE ),
                ( close HANDLE ),
                fileno HANDLE,
            );
            my @errors;
            my $character;
            eval { $character = readline HANDLE; 1 } or push @errors, $@;
            eval { $character = getc HANDLE;     1 } or push @errors, $@;
            eval { sysread HANDLE, $character, 1; 1 } or push @errors, $@;
            undef $buffer;
            { no warnings "untie"; untie *HANDLE }
            report( returned => @returned );
            report( errors   => @errors );
            report( fd       => $cgi->fd );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'print,007,syswrite.', 'print, printf, syswrite';
    my @returned = $server->await('returned');
    my @errors   = $server->await('errors');
    is_deeply \@returned, [ 1, 1, 9, 1, 1, scalar $server->await('fd') ],
      'what they return';
    like $errors[$_],
qr/\AHTTP::Server::EV::Buffer doesn't support a @{[ (qw(READLINE GETC READ))[$_] ]} method at \Q$0\E/,
      'reading dies'
      for 0 .. 2;
    $server->stop;
};

subtest 'give_up_handle: what came along with the head is read from the handle' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $handle = $cgi->{buffer}->give_up_handle;
            read $handle, my $early, 5;
            report( early => $early, defined $cgi->{buffer} ? 1 : 0 );
            $handle->syswrite('mine');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => q{/} ) . 'EARLY' );
    is_deeply [ $server->await('early') ], [ 'EARLY', 0 ], 'the bytes behind the head';
    is $client->read_all, 'mine', 'and the socket is the application\'s';
    $server->stop;
};

subtest 'new: what is no descriptor is refused, and closes nothing' => sub {
    my $server = start(
        sub {
            for my $fd ( 'abc', -1, 99_999, undef ) {
                my $made = eval { HTTP::Server::EV::Buffer->new( { fd => $fd } ) };
                report( error => $@ );
            }
            report( stdin => defined fileno STDIN ? 1 : 0 );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => q{/} ) );
    like $server->await('error'),
      qr/\ACant create filehandle from fd! at \Q$0\E line \d+/,
      'an error at the caller\'s line'
      for 1 .. 4;
    is $server->await('stdin'), 1, 'descriptor 0 is still there';
    $server->stop;
};

subtest 'new: the descriptor of a request stays the request\'s' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $buffer = HTTP::Server::EV::Buffer->new( { fd => $cgi->fd } );
            undef $buffer;
            open my $file, '<', '/dev/null' or die "open: $!";
            report( taken => fileno($file) == $cgi->fd ? 1 : 0 );
            $cgi->header;
            $cgi->print('page');
        }
    );
    is $server->request( GET => q{/} )->{body}, 'page', 'it is answered';
    is $server->await('taken'),                 0,      'nobody else has got the number';
    $server->stop;
};

subtest 'new: a subclass makes objects of its own' => sub {
    my $server = start(
        sub {
            pipe my $reader, my $writer or die "pipe: $!";
            @Derived::Buffer::ISA = ('HTTP::Server::EV::Buffer');
            my $buffer = Derived::Buffer->new( { fd => fileno($writer), fh => $writer } );
            report( class => ref $buffer );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => q{/} ) );
    is $server->await('class'), 'Derived::Buffer', 'the class';
    $server->stop;
};

done_testing;

# A server whose main callback this is, with a report after it; and what to do at `tell`.
sub start {
    my ( $callback, $on_command ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command($on_command) if $on_command;
            $server->listen( sub { $callback->(@_); report('callback') } );
        }
    );
}
