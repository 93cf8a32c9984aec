#!/usr/bin/env perl
# The socket in the application's own hands: give_up_handle, copy, fh.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Errno       qw(EAGAIN);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

# In the child: what is kept beyond a callback.
my @kept;

subtest 'give_up_handle: data in both directions, driven by EV' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            echo( $cgi->{buffer}->give_up_handle, q{} );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('callback');
    for my $message ( 'a', "line\r\n", "\0\xff", 'x' x 70_000 ) {
        $client->send("$message.");
        is $client->read_until(qr/[.]\z/), "$message.", length($message) . ' bytes';
        $client->{received} = q{};
    }

    my $data = join q{}, map { pack 'N', $_ } 1 .. 500_000;
    is echoed( $client, $data ), sha256_hex($data), '2 MB while 2 MB come';
    $client->shutdown;
    ok $client->is_closed, 'the application closes it';
    $server->stop;
};

# How give_up_handle comes to be called: with the request, and what takes the handle.
my %MOMENTS = (
    'in the main callback' => sub { $_[1]->( $_[0]{buffer}->give_up_handle ) },
    'in flush_wait'        => sub {
        my ( $cgi, $taken ) = @_;
        $cgi->flush_wait( sub { $taken->( $cgi->{buffer}->give_up_handle ) } );
    },
    'in flush_wait, with output before it' => sub {
        my ( $cgi, $taken ) = @_;
        $cgi->print( '-' x 300_000 );
        $cgi->{buffer}->flush_wait( sub { $taken->( $cgi->{buffer}->give_up_handle ) } );
    },
    'in a timer' => sub {
        my ( $cgi, $taken ) = @_;
        my $timer;
        $timer = EV::timer( 0, 0,
            sub { undef $timer; $taken->( $cgi->{buffer}->give_up_handle ) } );
    },
    'after flush, with everything sent' => sub {
        my ( $cgi, $taken ) = @_;
        $cgi->print('-');
        $cgi->flush;
        my $timer;
        $timer = EV::timer( 0.05, 0,
            sub { undef $timer; $taken->( $cgi->{buffer}->give_up_handle ) } );
    },
    'with output that was not sent: it is dropped' => sub {
        my ( $cgi, $taken ) = @_;
        $cgi->print('never');
        $taken->( $cgi->{buffer}->give_up_handle );
    },
    'by a variable of its own' => sub {
        my ( $cgi, $taken ) = @_;
        my $buffer = delete $cgi->{buffer};
        my $handle = $buffer->give_up_handle;
        $cgi->{buffer} = $buffer;
        $taken->($handle);
    },
);

for my $method (qw(GET POST PUT)) {
    for my $moment ( sort keys %MOMENTS ) {
        subtest "give_up_handle $moment, after a $method" => sub {
            my $server = start(
                sub {
                    my ($cgi) = @_;
                    $MOMENTS{$moment}->(
                        $cgi,
                        sub {
                            my ($handle) = @_;
                            report(
                                handle => ref $handle,
                                $handle->blocking          ? 1 : 0,
                                defined $cgi->{buffer}     ? 1 : 0,
                                -S $handle                 ? 1 : 0,
                                fileno $handle == $cgi->fd ? 1 : 0,
                            );
                            undef $cgi;
                            echo( $handle, 'mine,' );
                        }
                    );
                }
            );
            my @body =
              $method eq 'POST'
              ? ( { 'Content-Type' => 'application/x-www-form-urlencoded' }, 'a=b' )
              : ();
            my $client = $server->connect;
            $client->send( request_bytes( $method => '/', @body ) );
            is_deeply [ $server->await('handle') ], [ 'IO::Handle', 0, 0, 1, 1 ],
              'a non-blocking IO::Handle of the socket; the variable is undef';
            $client->send('theirs.');
            like $client->read_until(qr/[.]/), qr/\A-*mine,theirs[.]\z/, 'it speaks';
            $client->shutdown;
            ok $client->is_closed, 'the connection ends with the handle';
            $server->stop;
        };
    }
}

subtest 'give_up_handle: what came along with the head is read first' => sub {
    my %readers = (
        'read' => sub {
            my ($handle) = @_;
            read $handle, my $bytes, 5;
            return $bytes;
        },
        'getc' => sub {
            join q{}, map { getc $_[0] } 1 .. 5;
        },
        'readline'            => sub { local $/ = 'Y'; readline $_[0] },
        'readline, in pieces' => sub {
            local $/ = \2;
            join q{}, map { scalar readline $_[0] } 1 .. 3;
        },
    );
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my $case   = $readers{ $cgi->{headers}{'X-Case'} };
            my $handle = $cgi->{buffer}->give_up_handle;
            report( early => $case->($handle) );
            echo( $handle, q{} );
        }
    );
    for my $case ( sort keys %readers ) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => q{/}, { 'X-Case' => $case } ) . 'EARLY' );
        is $server->await('early'), 'EARLY', $case;
        $client->send('late');
        is $client->read_until(qr/late/), 'late', 'then comes the rest';
        $client->close;
    }
    $server->stop;
};

subtest 'give_up_handle: no time-out touches the connection' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            echo( $cgi->{buffer}->give_up_handle, q{} );
            my $timer;
            $timer = EV::timer( 0.5, 0, sub { undef $timer; report('later') } );
        },
        timeout        => 0.05,
        header_timeout => 0.05,
        write_timeout  => 0.05
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('later');
    $client->send('still there');
    is $client->read_until(qr/there/), 'still there', 'of the listener';
    $client->close;
    $server->stop;
};

subtest 'give_up_handle: the request is over, and its descriptor nobody else\'s' => sub {
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my $socket = $cgi->{buffer}->give_up_handle;
            my $fileno = fileno $socket;
            my @calls  = (
                $cgi->drop,
                $cgi->stop  && 'stop',
                $cgi->start && 'start',
                ( eval { $cgi->fh;    1 } || $@ =~ /(closed socket)/ ),
                ( eval { $cgi->print; 1 } || $@ =~ /(closed socket)/ ),
            );
            $cgi->close;
            undef $cgi;
            $_[0] = undef;
            push @kept, $socket;
            open my $file, '<', '/dev/null' or die "open: $!";
            report( calls => \@calls, fileno $file == $fileno ? 1 : 0 );
            $socket->syswrite('open');
        },
        on_command => sub { undef @kept }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    my ( $calls, $is_reused ) = $server->await('calls');
    is_deeply $calls, [ 'stop', 'start', 'closed socket', 'closed socket' ],
      'its methods know';
    is $is_reused,                    0,      'the number is not free';
    is $client->read_until(qr/open/), 'open', 'the socket works';
    $server->tell('close');
    ok $client->is_closed, 'until its handle goes';
    $server->stop;
};

subtest 'give_up_handle of a client that has gone' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            return if $cgi->{headers}{SCRIPT_NAME} eq '/first';
            push @kept, $cgi;
            $cgi->{buffer}{onerror} = sub {
                my $handle = $cgi->{buffer}->give_up_handle;
                my $count  = $handle && sysread $handle, my $bytes, 1;
                report( handle => $count // 'undef' );
                undef $cgi;
            };
        },
        on_command => sub { undef @kept }
    );
    $server->request( GET => '/first' );
    my $descriptors = $server->descriptors;
    for my $way (qw(close reset)) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        $server->await('callback');
        $client->$way;
        $server->await('handle');
        pass $way;
        $server->tell('let go');
    }
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    $server->stop;
};

subtest 'copy: a handle of the socket, of any kind of glob' => sub {
    my %globs = (
        'a glob'           => sub { $_[0]->copy(*SOCKET);   \*SOCKET },
        'a reference'      => sub { $_[0]->copy( \*OTHER ); \*OTHER },
        'a lexical handle' => sub {
            open my $handle, '<', '/dev/null' or die "open: $!";
            $_[0]->copy($handle);
            return $handle;
        },
        'an IO::Handle' =>
          sub { my $handle = IO::Handle->new; $_[0]->copy($handle); $handle },
    );
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $handle = $globs{ $cgi->{headers}{'X-Case'} }->($cgi);
            report( handle => -S $handle ? 1 : 0, fileno $handle != $cgi->fd ? 1 : 0 );
            $cgi->print('by the buffer, ');
            $cgi->flush_wait(
                sub { syswrite $handle, 'by the handle'; close $handle; undef $cgi } );
        }
    );
    for my $case ( sort keys %globs ) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/', { 'X-Case' => $case } ) );
        is $client->read_all, 'by the buffer, by the handle', $case;
        is_deeply [ $server->await('handle') ], [ 1, 1 ],
          'a socket, with a descriptor of its own';
    }
    $server->stop;
};

subtest 'copy: what it refuses, at the line of the caller' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            eval { $cgi->copy( [] ); 1 } and die "It did not die\n";
            report( error => $@ );
            $cgi->close;
            eval { $cgi->copy(*SOCKET); 1 } and die "It did not die\n";
            report( error => $@ );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $client->is_closed;
    like $server->await('error'), qr/\ACan`t attach socket handle at \Q$0\E line/, $_
      for 'what is no handle', 'after close';
    $server->stop;
};

# Bodies that are left to the application: the pieces they come in.
my $BODY   = join q{}, map { "line $_\n" } 1 .. 2_000;
my %PIECES = (
    'with the head'      => ["HEAD$BODY"],
    'after the head'     => [ 'HEAD', $BODY ],
    'half with the head' => [ 'HEAD' . substr( $BODY, 0, 9_000 ), substr $BODY, 9_000 ],
    'its first byte with the head' => [ 'HEAD' . substr( $BODY, 0, 1 ), substr $BODY, 1 ],
    'its last byte alone' => [ 'HEAD' . substr( $BODY, 0, -1 ), substr $BODY, -1 ],
);

# How they are read: each is called when there may be more, and appends to it.
my %READERS = (
    read     => sub { my ($handle) = @_; read $handle, $_[1], 4_096, length $_[1] },
    readline => sub {
        my ($handle) = @_;
        while ( defined( my $line = readline $handle ) ) { $_[1] .= $line }
    },
    'sysread, once the buffer is empty' => sub {
        my ($handle) = @_;
        sysread $handle, $_[1], 4_096, length $_[1];
    },
);

for my $reader ( sort keys %READERS ) {
    subtest "fh: a body is read by $reader" => sub {
        my $server = start(
            sub {
                my ($cgi)  = @_;
                my $handle = $cgi->fh;
                my $length = $cgi->{headers}{CONTENT_LENGTH};
                my $body   = q{};
                read_buffered( $handle, $body );
                my $watcher;
                my $read = sub {
                    $READERS{$reader}->( $handle, $body ) if length $body < $length;
                    return                                if length $body < $length;
                    undef $watcher;
                    $cgi->header;
                    $cgi->print( sha256_hex($body) );
                    undef $cgi;
                };
                $watcher = EV::io( $handle, EV::READ(), $read );
                $watcher->feed_event( EV::READ() );
            }
        );
        for my $case ( sort keys %PIECES ) {
            my $client = $server->connect;
            for my $piece ( @{ $PIECES{$case} } ) {
                $client->send( $piece =~
s/\AHEAD/request_bytes( PUT => '\/', { 'Content-Length' => length $BODY } )/er
                );
                $client->drained;
            }
            is $client->response->{body}, sha256_hex($BODY), $case;
        }
        $server->stop;
    };
}

subtest 'fh: 10 MB are read by a watcher' => sub {
    my $server = start( \&digest_body );
    my $body   = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 2_500_000;
    for my $method (qw(PUT PATCH OPTIONS)) {
        my $client = $server->connect;
        $client->send( request_bytes( $method => '/', {}, $body ) );
        is $client->response->{body}, sha256_hex($body), $method;
    }
    $server->stop;
};

subtest 'fh: of a finished POST it has nothing to read' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $count = sysread $cgi->fh, my $bytes, 10;
            report( read => $count, $! == EAGAIN ? 1 : 0 );
            $cgi->fh->syswrite('raw');
        }
    );
    my $client = $server->connect;
    $client->send(
        request_bytes(
            POST => '/',
            { 'Content-Type' => 'application/x-www-form-urlencoded' }, 'a=b'
        )
    );
    is $client->read_all, 'raw', 'but is written to';
    is_deeply [ $server->await('read') ], [ undef, 1 ], 'EAGAIN';
    $server->stop;
};

done_testing;

# A main callback that answers with the digest of a body it reads as it comes.
sub digest_body {
    my ($cgi)  = @_;
    my $handle = $cgi->fh;
    my $left   = $cgi->{headers}{CONTENT_LENGTH};
    my $digest = Digest::SHA->new(256);
    my $early  = q{};
    read_buffered( $handle, $early );
    $digest->add($early);
    $left -= length $early;

    my $watcher;
    my $read = sub {
        my $count = $left && sysread $handle, my $bytes, 65_536;
        return               if !defined $count;
        $digest->add($bytes) if $count;
        $left -= $count;
        return if $left > 0;
        undef $watcher;
        $cgi->header;
        $cgi->print( $digest->hexdigest );
        undef $cgi;
    };
    $watcher = EV::io( $handle, EV::READ(), $read );
    $watcher->feed_event( EV::READ() );
    return;
}

# Sends back what comes, after a greeting, until the client ends; then closes.
sub echo {
    my ( $handle, $pending ) = @_;
    my $has_ended = 0;
    my $watcher;
    my $serve = sub {
        my $count = $has_ended ? 0 : sysread $handle, $pending, 65_536, length $pending;
        $has_ended ||= defined $count && !$count;
        if ( length $pending ) {
            my $written = syswrite $handle, $pending;
            substr $pending, 0, $written, q{} if $written;
        }
        $watcher->events(
            ( $has_ended ? 0 : EV::READ() ) | ( length $pending ? EV::WRITE() : 0 ) );
        undef $watcher if $has_ended && !length $pending;
    };
    $watcher = EV::io( $handle, EV::READ() | EV::WRITE(), $serve );
    return;
}

# Sends data, and reads what is sent back at the same time: its digest.
sub echoed {
    my ( $client, $data ) = @_;
    my $selected = IO::Select->new( $client->socket );
    my ( $sent, $back ) = ( 0, q{} );
    while ( length $back < length $data ) {
        my ( $readable, $writable ) =
          IO::Select->select( $selected, $sent < length $data ? $selected : undef,
            undef, $TestServer::DEADLINE )
          or last;
        if ( @{$writable} ) {
            $sent += syswrite( $client->socket, $data, 65_536, $sent ) // 0;
        }
        if ( @{$readable} ) {
            sysread $client->socket, $back, 65_536, length $back or last;
        }
    }
    return sha256_hex($back);
}

# Appends what lies in the handle's own buffer, for it is not in the socket, and all that
# has come besides: then the buffer is empty.
sub read_buffered {
    my ($handle) = @_;
    1 while read $handle, $_[1], 65_536, length $_[1];
    return;
}

# A server whose main callback this is, with a report after it, and these options.
sub start {
    my ( $callback, %options ) = @_;
    my $on_command = delete $options{on_command};
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command($on_command) if $on_command;
            $server->listen( sub { $callback->(@_); report('callback') }, \%options );
        }
    );
}
