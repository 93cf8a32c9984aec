#!/usr/bin/env perl
# Processes that are forked in fork_hook share the work; a fork within a callback does no
# harm to the requests there are.

use strict;
use warnings;

use Fcntl      qw(O_NONBLOCK O_WRONLY);
use File::Spec ();
use File::Temp qw(tempdir);
use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends eventually report upload_bytes);

# Another file system than that of temporary files, where there is one.
my $SHARED_MEMORY =
  -d '/dev/shm' && -w _ && ( stat _ )[0] != ( stat File::Spec->tmpdir )[0]
  ? '/dev/shm'
  : undef;

my @PART = ( { name => 'file', file_name => 'a', content => 'x' x 100_000 } );

for my $backend ( backends() ) {
    subtest "Three processes share a listener, with $backend" => sub {
        pipe my $gate, my $key or die "pipe: $!";
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                our @watchers;
                $server->listen(
                    sub {
                        my ($cgi)  = @_;
                        my ($file) = @{ $cgi->file('file') };
                        report( serving => $$, $file->path );

                        # Until the test lets it go, this process serves nobody else.
                        sysread $gate, my $byte, 1;
                        $cgi->header;
                        $cgi->print( "$$ ", -s $file->path );
                    },
                    {
                        fork_hook => sub {
                            for ( 1 .. 2 ) {
                                defined( my $pid = fork ) or die "fork: $!";
                                return if !$pid;
                                push @watchers,
                                  EV::child( $pid, 0,
                                    sub { report( ended => $_[0]->rstatus ) } );
                            }
                        }
                    }
                );
            },
            backend => $backend
        );

        my ( @clients, %paths );
        for ( 1 .. 3 ) {
            push @clients, $server->connect;
            $clients[-1]->send( upload_bytes(@PART) );
            my ( $pid, $path ) = $server->await('serving');
            $paths{$pid} = $path;
        }
        is keys %paths, 3, 'each process serves one of three clients';
        my %distinct = reverse %paths;
        is keys %distinct, 3, 'their files have different names';
        syswrite $key, 'xxx';
        is_deeply [ sort map { $_->response->{body} } @clients ],
          [ sort map { "$_ 100000" } keys %paths ], 'all are answered';
        ok $server->await_files(0), 'no file is left';

        for my $pid ( grep { $_ != $server->pid } keys %paths ) {
            kill TERM => $pid;
            is $server->await('ended'), 0, 'a child ends well';
        }
        syswrite $key, 'x';
        like $server->upload(@PART)->{body}, qr/\A@{[ $server->pid ]} /,
          'the parent goes on';
        $server->stop;
    };

    subtest "A child that a callback forks, and that exits, with $backend" => sub {
        my $server = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                defined( my $pid = fork ) or die "fork: $!";
                exit 3 if !$pid;
                waitpid $pid, 0;
                report( child => $? >> 8, -s $file->path );
            }
        );
        is $server->upload(@PART)->{body}, 'done', 'the request is answered once';
        is_deeply [ $server->await('child') ], [ 3, 100_000 ],
          'the child has ended, and has left the file there';
        is $server->upload(@PART)->{body}, 'done', 'and the next one';
        $server->stop;
    };

    subtest "A child that a callback forks, and that goes on, with $backend" => sub {
        my $watcher;
        my $server = start(
            $backend,
            sub {
                return if $watcher;
                defined( my $pid = fork ) or die "fork: $!";
                $watcher =
                  EV::child( $pid, 0, sub { report( ended => $_[0]->rstatus ) } );
                report( child => $pid ) if $pid;
            }
        );
        my $client = $server->connect;
        $client->send('GET ');
        $client->drained or die 'The server does not read';
        is $server->upload(@PART)->{body}, 'done', 'the request is answered once';
        my $pid = $server->await('child');
      SKIP: {
            skip 'no /proc/net/tcp', 2 if !-r '/proc/net/tcp';
            ok connections_held( $server, $server->pid ), 'the parent has its client';
            ok eventually( sub { !connections_held( $server, $pid ) } ),
              'the child has let go of it';
        }
        is $server->upload(@PART)->{body}, 'done', 'others are served' for 1 .. 20;
        kill TERM => $pid;
        is $server->await('ended'),        0,      'the child ends well';
        is $server->upload(@PART)->{body}, 'done', 'the parent goes on';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

# The file is a FIFO by then, so that who copies it waits until the test has written to it.
subtest 'A child of a process that is saving a file can save none of it, and ends' =>
  sub {
    my $elsewhere = tempdir( DIR => $SHARED_MEMORY, CLEANUP => 1 );
    my $server    = start(
        'AIO',
        sub {
            my ( $cgi, $file ) = @_;
            my $path = $file->path;
            unlink $path;
            POSIX::mkfifo( $path, oct 600 ) or die "mkfifo: $!";
            $file->save( "$elsewhere/parents", sub { report( parent => @_ ) } );
            my $fifo;
            eventually( sub { sysopen $fifo, $path, O_WRONLY | O_NONBLOCK } )
              or die "Nobody reads $path";
            defined( my $pid = fork ) or die "fork: $!";

            if ( !$pid ) {
                close $fifo;
                $file->save( "$elsewhere/childs", sub { report( child => @_ ); exit 3 } );
                return;
            }
            our $watcher = EV::child( $pid, 0,
                sub { report( ended => $_[0]->rstatus >> 8 ); close $fifo } );
        }
    );
    $server->upload(@PART);
    is $server->await('child'),  0, 'it fails, where the data may be on its way';
    is $server->await('ended'),  3, 'the child ends';
    is $server->await('parent'), 1, 'the parent saves it';
    is_deeply [ glob "$elsewhere/*" ], ["$elsewhere/parents"], 'and nobody else';
    $server->stop( stderr =>
          qr{\A[^\n]*failed[ ]to[ ]move[^\n]*/childs[ ]-[ ]the[ ]file[^\n]*forked[ ]?\n\z}
    );
  }
  if $SHARED_MEMORY;

subtest 'A child without a free descriptor leaves the server to its parent' => sub {
    plan skip_all => 'prlimit is not there' if !qx{prlimit --core};
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener;
            $listener = $server->listen(
                sub {
                    my ($cgi) = @_;
                    defined( my $child = fork ) or die "fork: $!";
                    if ( !$child ) {
                        system 'prlimit', '--pid', $$, '--nofile=3:3';
                        $listener->stop;
                        POSIX::_exit(0);
                    }
                    waitpid $child, 0;
                    report( child => $? );
                    $cgi->header;
                    $cgi->print('done');
                }
            );
        }
    );
    for ( 1 .. 2 ) {
        is $server->request( GET => '/' )->{body}, 'done', 'the parent serves';
        is $server->await('child'),                0,      'the child goes on without';
    }
    $server->stop( stderr =>
          qr/\A(?:HTTP::Server::EV cannot serve after fork: Too many open files.*\n){2}\z/
    );
};

subtest 'A client of a request that is dropped does not wait for a child' => sub {
    pipe my $gate, my $key or die "pipe: $!";
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub { },
                {
                    on_multipart => sub {
                        my ($cgi) = @_;
                        defined( my $pid = fork ) or die "fork: $!";
                        if ( !$pid ) {
                            close $key;
                            sysread $gate, my $byte, 1;
                            POSIX::_exit(0);
                        }
                        $cgi->drop;
                    }
                }
            );
        }
    );
    my $client = $server->connect;
    my %part   = ( name => 'file', file_name => 'a', content => 'x' x 30_000_000 );
    ok !$client->send( upload_bytes( \%part ) ), 'it is cut off while it sends';
    syswrite $key, 'x';
    $server->stop;
};

# A socket that is shut down tells nobody of new room in it: a full one has to be reset.
subtest 'nor does one whose sending has come to a halt, after the child has ended' =>
  sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $kept;
            $server->listen(
                sub { $kept->drop; $_[0]->header; $_[0]->print('dropped') },
                {
                    on_multipart => sub {
                        ($kept) = @_;
                        $kept->stop;
                        defined( my $pid = fork ) or die "fork: $!";
                        POSIX::_exit(0) if !$pid;
                        waitpid $pid, 0;
                    }
                }
            );
        }
    );
    my $client = $server->connect;
    my %part   = ( name => 'file', file_name => 'a', content => 'x' x 30_000_000 );
    my $bytes  = upload_bytes( \%part );
    my $sent   = send_until_halt( $client, $bytes );
    is $server->request( GET => q{/} )->{body}, 'dropped', 'a request is dropped';
    ok !$client->send( substr $bytes, $sent ), 'and its client is cut off';
    $server->stop;
  };

subtest 'cleanup_on_destroy is not for children' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( cleanup_on_destroy => 1 );
            $server->listen(
                sub {
                    my ($cgi)  = @_;
                    my ($file) = @{ $cgi->file('file') };
                    defined( my $child = fork ) or die "fork: $!";
                    exit 0 if !$child;
                    waitpid $child, 0;
                    report( there => -s $file->path );
                    $cgi->header;
                }
            );
        }
    );
    $server->upload(@PART);
    is $server->await('there'), 100_000, 'the file is there when a child has ended';
    $server->stop;
    ok !$server->files_left, 'and gone when the parent has';
};

done_testing;

# A server that hands each received file to the callback.
sub start {
    my ( $backend, $received ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub { $_[0]->header; $_[0]->print('done') },
                { on_file_received => $received }
            );
        },
        backend => $backend
    );
}

# Sends until the connection takes no more; returns how much it has taken.
sub send_until_halt {
    my ( $client, $bytes ) = @_;
    my $sent = 0;
    while ( my $count = syswrite $client->socket, $bytes, length($bytes) - $sent, $sent )
    {
        $sent += $count;
    }
    return $sent;
}

# How many connections of the server's clients this process has open. See proc(5).
sub connections_held {
    my ( $server, $pid ) = @_;
    my $port = sprintf '%04X', $server->port;
    open my $sockets, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";
    my @established = grep { $_->[1] =~ /:$port\z/ && $_->[3] eq '01' }
      map { [split] } readline $sockets;
    my %inodes = map { $_->[9] => 1 } @established;
    my @links  = map { readlink($_) // q{} } glob "/proc/$pid/fd/*";
    return scalar grep { /\Asocket:\[(\d+)\]\z/ && $inodes{$1} } @links;
}
