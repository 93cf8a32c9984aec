#!/usr/bin/env perl
# Children that callbacks fork, in every way and from every callback, while uploads go on:
# the requests of the parent are served as if there were no child.

use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

# Large enough for the writer threads.
my $LARGE  = join q{}, map { pack 'N*', $_ .. $_ + 999 } map { $_ * 1000 } 1 .. 800;
my $SMALL  = 'small ' x 10_000;
my %DIGEST = ( large => sha1_hex($LARGE), small => sha1_hex($SMALL) );

# Lists the descriptors that it was started with, beyond the standard ones.
my $LIST_DESCRIPTORS = <<'PROGRAM';
opendir my $fds, "/proc/self/fd";
my %link = map { $_ => readlink "/proc/self/fd/$_" } readdir $fds;
print join ",", sort grep { /\d/ && $_ > 2 && $link{$_} !~ m{/fd\z} } keys %link;
PROGRAM
my @PROGRAM = ( $^X, '-e', $LIST_DESCRIPTORS );

# Each returns what the child has told; a program tells its descriptors.
my %WAYS = (
    'system' => sub {
        my ($server) = @_;
        my $path = $server->directory . '/told';
        system "'$^X' -e '$LIST_DESCRIPTORS' > $path";
        open my $file, '<', $path or die "$path: $!";
        return readline $file;
    },
    'backticks'   => sub { return scalar qx{'$^X' -e '$LIST_DESCRIPTORS'} },
    'a pipe open' => sub {
        open my $pipe, q{-|}, @PROGRAM or die "open: $!";
        return readline $pipe;
    },
    'a forking open and exit' => sub {
        my $pid = open my $pipe, q{-|};
        if ( !$pid ) {
            print 'from a child';
            exit 0;
        }
        return readline $pipe;
    },
    'fork and exec' => sub {
        told_by( sub { exec @PROGRAM } );
    },
    'fork and exit' => sub {
        told_by( sub { tell_parent(); exit 0 } );
    },
    'fork and POSIX::_exit' => sub {
        told_by( sub { tell_parent(); POSIX::_exit(0) } );
    },
    'fork and exec in a grandchild' => sub {
        told_by( sub { fork ? wait : exec @PROGRAM; POSIX::_exit(0) } );
    },
    'fork and kill' => sub {
        told_by( sub { tell_parent(); kill KILL => $$ } );
    },
);

my @PLACES = (
    'on_multipart',      'on_file_open', 'on_file_write', 'on_file_received',
    'the main callback', 'a timer'
);

for my $backend ( backends() ) {
    subtest "Children of each callback, with $backend" => sub {
        my $server   = TestServer->start( \&serve, backend => $backend );
        my $expected = $server->await('descriptors');

        my $large = upload_bytes( { name => 'f', file_name => 'f', content => $LARGE } );
        my $half  = length($large) / 2;
        my @clients = map { $server->connect } 1 .. 2;
        $_->send( substr $large, 0, $half ) for @clients;
        $_->drained for @clients;

        for my $place (@PLACES) {
            for my $way ( sort keys %WAYS ) {
                my $bytes =
                  upload_bytes( { name => 'f', file_name => 'f', content => $SMALL } );
                $bytes =~ s/\r\n/\r\nX-Place: $place\r\nX-Way: $way\r\n/;
                my $client = $server->connect;
                $client->send($bytes);
                is $client->response->{body}, $DIGEST{small}, "$place, $way: the reply";
                my $told = $server->await('told');

                # valgrind opens descriptors of its own.
                $told = $expected if $ENV{UNDER_VALGRIND} && $told =~ /\A[\d,]+\z/;
                is $told, $way =~ /exit|kill/
                  && $way !~ /grandchild/ ? 'from a child' : $expected,
                  'the child has run, once, and has no descriptor of the server';
            }
        }
        ok $server->await_files(2), 'of all files those two are left';
        $_->send( substr $large, $half ) for @clients;
        is $_->response->{body}, $DIGEST{large}, 'a large upload that took all that time'
          for @clients;
        ok $server->await_files(0), 'no file is left';
        $server->stop;
        my @more;
        while ( my $report = $server->next_report ) {
            push @more, $report->[0];
        }
        is_deeply \@more, [], 'and that is all';
    };

    subtest "A child that listens on its own, with $backend" => sub {
        my $server = TestServer->start( \&serve_by_child, backend => $backend );
        my $large  = upload_bytes( { name => 'f', file_name => 'f', content => $LARGE } );
        my $half   = length($large) / 2;
        my $client = $server->connect;
        $client->send( substr $large, 0, $half );
        $client->drained;

        is $server->request( GET => '/fork' )->{body}, 'forked', 'the request that forks';
        my ( $child, $port ) = $server->await('listening');
        for my $upload ( $large,
            upload_bytes( { name => 'f', file_name => 'f', content => $SMALL } ) )
        {
            my @clients = map { TestServer::Client->new($port) } 1 .. 3;
            $_->send($upload) for @clients;
            my $digest = $upload eq $large ? $DIGEST{large} : $DIGEST{small};
            is_deeply [ map { $_->response->{body} } @clients ],
              [ ("$child $digest") x 3 ],
              'uploads to the child';
        }
        $client->send( substr $large, $half );
        is $client->response->{body}, "@{[ $server->pid ]} $DIGEST{large}",
          'an upload to the parent that went on meanwhile';
        kill TERM => $child;
        $server->await('ended');
        is $server->request( GET => q{/} )->{body}, $server->pid . ' none',
          'the parent goes on';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };

    subtest "A child that dies within a callback, with $backend" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $watcher;
                my $fork = sub {
                    defined( my $pid = fork ) or die "fork: $!";
                    die "in the child\n" if !$pid;
                    $watcher = EV::child( $pid, 0, sub { report( ended => $pid ) } );
                    report( forked => $pid );
                };
                $server->listen( sub { $_[0]->header; $_[0]->print( digest( $_[0] ) ) },
                    { on_file_received => $fork } );
            },
            backend => $backend
        );
        is $server->upload( { name => 'f', file_name => 'f', content => $SMALL } )
          ->{body},
          $DIGEST{small}, 'the parent replies';
        my $child = $server->await('forked');
        ok $server->await_stderr(qr/./), 'the child warns';
        kill TERM => $child;
        is $server->await('ended'), $child, 'and is in its loop';
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr => qr/\AERROR IN CALLBACK: in the child\n\z/ );
    };
}

subtest 'A child that exits while a reply is half printed' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( cleanup_on_destroy => 1 );
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print('first half, ');
                    defined( my $child = fork ) or die "fork: $!";
                    exit 0 if !$child;
                    waitpid $child, 0;
                    report( child => $? );
                    $cgi->print( digest($cgi) );
                }
            );
        }
    );
    is $server->upload( { name => 'f', file_name => 'f', content => $SMALL } )->{body},
      "first half, $DIGEST{small}", 'the reply is sent once, and the file is whole';
    is $server->await('child'), 0, 'the child ends well';
    $server->stop;
};

subtest 'A child cannot touch the reply of its parent' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->attach(*STDOUT);
                    print 'of the parent';
                    defined( my $child = fork ) or die "fork: $!";
                    if ( !$child ) {
                        for my $method (qw(header drop stop start close)) {
                            eval { $cgi->print("of the child, before $method") };
                            eval { $cgi->$method };
                        }
                        exit 0;
                    }
                    waitpid $child, 0;
                    report( child => $? );
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send("GET / HTTP/1.0\r\n\r\n");
    is $client->read_all,       'of the parent', 'the reply';
    is $server->await('child'), 0,               'the child ends well';
    $server->stop;
};

# What a child does with a handle that was taken before it was forked.
my %ANSWERS = (
    'fh, and prints' => [
        sub { $_[0]->fh },
        sub { my ($handle) = @_; print {$handle} 'from a child'; close $handle }
    ],
    'copy, and runs a program' => [
        sub { my ($cgi) = @_; $cgi->copy(*CLIENT); return *CLIENT },
        sub {
            open STDOUT, '>&', $_[0] or die "dup: $!";
            exec 'echo', '-n', 'from a child';
        }
    ],
);
for my $way ( sort keys %ANSWERS ) {
    subtest "A child answers the client: by $way" => sub {
        pipe my $gate, my $key or die "pipe: $!";
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my ( $take, $answer ) = @{ $ANSWERS{$way} };
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        my $handle = $take->($cgi);
                        defined( my $child = fork ) or die "fork: $!";
                        if ( !$child ) {

                            sysread $gate, my $byte, 1;
                            $answer->($handle);
                            POSIX::_exit(0);
                        }
                        close $handle;
                        $server->{children}{$child} =
                          EV::child( $child, 0, sub { report('ended') } );
                        $server->{later} = EV::timer( 0, 0, sub { report('later') } );
                    }
                );
            }
        );
        for ( 1 .. 3 ) {
            my $client = $server->connect;
            $client->send("GET / HTTP/1.0\r\n\r\n");
            $server->await('later');
            syswrite $key, 'x';
            is $client->read_all, 'from a child', 'the reply, after the callback';
            $server->await('ended');
        }
        $server->stop;
    };
}

done_testing;

sub serve {
    my ($server) = @_;
    my $run = sub {
        my ( $place, $cgi ) = @_;
        return if ( $cgi->{headers}{'X-Place'} // q{} ) ne $place || $cgi->{has_run}++;
        my $told = $WAYS{ $cgi->{headers}{'X-Way'} }->($server);
        report( told => $told // q{} );
    };
    $server->listen(
        sub {
            my ($cgi) = @_;
            $run->( 'the main callback', $cgi );
            my $timer;
            $timer = EV::timer(
                0, 0,
                sub {
                    undef $timer;
                    $run->( 'a timer', $cgi );
                    $cgi->header;
                    $cgi->print( digest($cgi) );
                    undef $cgi;
                }
            );
        },
        {
            map {
                my $place = $_;
                $place => sub { $run->( $place, $_[0] ) }
            } grep { /\Aon_/ } @PLACES
        }
    );

    # What every child has, as the test was started with it.
    report( descriptors => $WAYS{backticks}->() // q{} );
    return;
}

sub serve_by_child {
    my ($server) = @_;
    my ( $listener, $watcher );
    my $main = sub {
        my ($cgi) = @_;
        $cgi->header;
        $cgi->print( "$$ ", digest($cgi) );
    };
    $listener = $server->listen(
        sub {
            my ($cgi) = @_;
            return $main->($cgi) if $cgi->{headers}{REQUEST_URI} ne '/fork';
            defined( my $pid = fork ) or die "fork: $!";
            if ( !$pid ) {
                $listener->stop;
                my $own = HTTP::Server::EV->listen( '127.0.0.1:0', $main );
                report( listening => $$, $own->{port} );
                return;
            }
            $watcher = EV::child( $pid, 0, sub { report('ended') } );
            $cgi->header;
            $cgi->print('forked');
        }
    );
    return;
}

sub digest {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('f') } or return 'none';
    open my $handle, '<:raw', $file->path or return "lost: $!";
    return Digest::SHA->new(1)->addfile($handle)->hexdigest;
}

# What a child has printed, to which STDOUT is a pipe.
sub told_by {
    my ($child) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        open STDOUT, '>&', $writer or die "dup: $!";
        $child->();
    }
    close $writer;
    my $told = readline $reader;
    waitpid $pid, 0;
    return $told;
}

sub tell_parent {
    syswrite STDOUT, 'from a child';
    return;
}
