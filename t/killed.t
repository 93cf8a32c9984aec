#!/usr/bin/env perl
# Temporary files of a process that had no chance to remove them: the next one that uses the
# directory does, and takes none of anybody who lives.

use strict;
use warnings;

use Digest::SHA    qw(sha256_hex);
use File::Basename qw(basename dirname);
use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends eventually report upload_bytes);

# Some of it is written by threads, where there are any.
my $CONTENT = join q{,}, 1 .. 400_000;
my $UPLOAD =
  upload_bytes( { name => 'file', file_name => 'a.txt', content => $CONTENT } );
my $HALF = substr $UPLOAD, 0, length($UPLOAD) / 2;

# Each ends the process; then its status.
my %WAYS = (
    'kill 9'       => [ sub { kill KILL => $$ },          'signal 9' ],
    'a signal'     => [ sub { kill USR1 => $$ },          'signal ' . POSIX::SIGUSR1() ],
    'POSIX::_exit' => [ sub { POSIX::_exit(3) },          3 ],
    'exec'         => [ sub { exec $^X, '-e', 'exit 4' }, 4 ],
    'a crash (abort)' => [ sub { POSIX::abort() }, 'signal ' . POSIX::SIGABRT() ],
);

for my $backend ( backends() ) {
    for my $way ( sort keys %WAYS ) {
        subtest "$way in mid-upload, with $backend" => sub {
            my ( $end, $status ) = @{ $WAYS{$way} };
            my $server = receiver( $backend, $end );
            my $client = upload_half($server);
            ok $server->await_files(1), 'a file is being received';
            $server->tell('end');
            $server->ended( status => $status );
            is scalar( my @left = $server->files_left ), 1, 'nobody could remove it';

            my $next = TestServer->start(
                sub {
                    my ($server) = @_;
                    $server->new_server;
                    report( left => $server->files_left );
                    $server->listen( sub { } );
                },
                backend   => $backend,
                directory => $server->directory
            );
            is_deeply [ $next->await('left') ], [],
              'the next process has, before it listens';
            $next->stop;
        };
    }

    subtest "The files of others in the directory stay, with $backend" => sub {
        my $living   = receiver( $backend, sub { } );
        my $neighbor = upload_half($living);
        ok $living->await_files(1), 'a file is being received';
        my ($kept) = $living->files_left;
        for my $again ( 1 .. 3 ) {
            my $killed = receiver(
                $backend,
                sub { kill KILL => $$ },
                directory => $living->directory
            );
            my $client = upload_half($killed);
            ok $living->await_files(2), 'two are';
            $killed->tell('end');
            $killed->ended( status => 'signal 9' );
        }
        my $last = receiver( $backend, sub { }, directory => $living->directory );
        $last->await('ready');
        is_deeply [ $living->files_left ], [$kept], 'but those of the killed do not';
        $neighbor->send( substr $UPLOAD, length $HALF );
        is $neighbor->last_response->{body}, sha256_hex($CONTENT), 'and are whole';
        $_->stop for $living, $last;
    };

    subtest "A worker is killed, and another one takes its place, with $backend" => sub {
        my $server = master($backend);
        my $worker = $server->await('worker');
        my $client = upload_half($server);
        ok $server->await_files(1), 'a file is being received';
        kill KILL => $worker;
        $server->await('worker');
        is scalar( my @left = $server->files_left ), 1, 'nobody could remove it';
        my $next = $server->connect;
        $next->send($UPLOAD);
        is $next->last_response->{body}, sha256_hex($CONTENT), 'the next upload';
        ok $server->await_files(0), 'has it removed';
        $server->stop;
    };

    subtest "A child that the killed had forked lives on, with $backend" => sub {
        my $server = receiver( $backend, \&leave_a_child );
        my $client = upload_half($server);
        ok $server->await_files(1), 'a file is being received';
        $server->tell('end');
        my $child = $server->await('child');
        $server->ended( status => 'signal 9' );
        is left_by_next( $backend, $server ), 1, 'while it lives, the file stays';
        kill KILL => $child;
        ok eventually( sub { left_by_next( $backend, $server ) == 0 } ),
          'when that has ended, too, the file is removed';
    };
}

subtest 'The directory is replaced while files are received' => sub {
    my $server = receiver( undef, sub { } );
    my $path   = $server->tmp_path;
    my @first  = map { upload_half($server) } 1, 2;
    ok $server->await_files(2), 'files are being received';
    rename $path, "$path.moved" or die "rename: $!";
    mkdir $path or die "mkdir: $!";
    my $second = upload_half($server);
    ok $server->await_files(1), 'another one in another directory';

    for my $directory ( $path, "$path.moved" ) {
        my $killed = TestServer->start(
            sub {
                HTTP::Server::EV->new( { tmp_path => $directory } );
                kill KILL => $$;
            }
        );
        $killed->ended( status => 'signal 9' );
        is scalar( my @files = glob "$directory/*" ), $directory eq $path ? 1 : 2,
          'no other process removes them';
    }
    $second->send( substr $UPLOAD, length $HALF );
    is $second->last_response->{body}, sha256_hex($CONTENT), 'the file is whole';
    $_->close for @first;
    ok eventually( sub { !glob "$path.moved/*" } ),
      'the others are removed from where they are';
    ok $server->await_files(0), 'no file is left';
    $server->stop;
};

subtest 'Files that are no temporary ones stay' => sub {
    my $server = receiver( undef, sub { kill KILL => $$ } );
    my $client = upload_half($server);
    ok $server->await_files(1), 'a file is being received';
    $server->tell('end');
    $server->ended( status => 'signal 9' );
    my ($name) = $server->files_left;
    my $path   = $server->tmp_path;
    my %others = (
        'a file of another name' => 'x' x 50,
        'a name that is changed' => $name =~ tr/A-Za-z0-9/B-ZAb-za1-90/r,
        'a longer name'          => "${name}A",
        'a file that is hidden'  => ".$name",
    );

    for my $other ( values %others ) {
        open my $file, '>', "$path/$other" or die "open: $!";
        chmod oct 1600, $file;
    }
    for my $mode ( oct 644, oct 600 ) {
        chmod $mode, "$path/$name";
        is left_by_next( undef, $server ), 5, sprintf 'one of mode %#o, too', $mode;
    }
    chmod oct 1600, "$path/$name";
    is left_by_next( undef, $server ), 4, 'but not what was left';
};

for my $umask ( oct 22, oct 77, oct 177 ) {
    subtest
      sprintf( 'A saved file keeps its temporary name, with umask %03o', $umask ) => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                umask $umask;
                mkdir my $to = $server->directory . '/saved', oct 700;
                $server->listen( sub { save_in( $to, @_ ) } );
            }
        );
        $server->upload( { name => 'file', file_name => 'a.txt', content => 'text' } );
        my $saved = $server->await('saved');
        is(
            ( stat $saved )[2] & oct 7777,
            oct(666) & ~$umask,
            'it has the mode of saved files'
        );
        my $next =
          TestServer->start(
            sub { HTTP::Server::EV->new( { tmp_path => dirname($saved) } ) } );
        $next->ended;
        ok -e $saved, 'and stays where a server has temporary files';
        $server->stop;
      };
}

done_testing;

# A server that answers an upload with the digest of its file, and ends when it is told.
sub receiver {
    my ( $backend, $end, %option ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { $end->($server) } );
            $server->listen( \&answer_with_digest );
            report('ready');
        },
        backend => $backend,
        %option
    );
}

# Saves the file of the upload under its own name.
sub save_in {
    my ( $directory, $cgi ) = @_;
    my ($file) = @{ $cgi->file('file') };
    my $to = "$directory/" . basename( $file->path );
    $file->save( $to, sub { report( saved => $to ); $cgi->header } );
    return;
}

# A process that accepts nothing, and its worker, which it forks anew.
sub master {
    my ($backend) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            our ( $worker, $watcher, $listener );
            my $fork_worker = sub {
                my ($again) = @_;
                defined( $worker = fork ) or die "fork: $!";
                if ( !$worker ) {
                    undef $watcher;
                    ## no critic (RequireLocalizedPunctuationVars)
                    $SIG{TERM} = 'DEFAULT';
                    $listener->start if $listener;
                    report( worker => $$ );
                    return;
                }
                $watcher = EV::child( $worker, 0, sub { $again->($again) } );
                return;
            };
            $listener = $server->listen( \&answer_with_digest,
                { fork_hook => sub { $fork_worker->($fork_worker) } } );
            return if !$worker;
            $listener->stop;
            our $end = EV::signal( 'TERM',
                sub { undef $watcher; kill KILL => $worker; EV::break() } );
        },
        backend => $backend
    );
}

sub answer_with_digest {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('file') };
    $cgi->header;
    $cgi->print( Digest::SHA->new(256)->addfile( $file->path )->hexdigest );
    return;
}

# Has the descriptors of its parent until it is killed, or the test lets go of the server.
sub leave_a_child {
    my ($server) = @_;
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        1 while sysread $server->{commands}, my $byte, 1;
        POSIX::_exit(0);
    }
    report( child => $pid );
    kill KILL => $$;
    return;
}

# How many files are there when a process has prepared the directory.
sub left_by_next {
    my ( $backend, $server ) = @_;
    my $next = TestServer->start(
        sub { $_[0]->new_server },
        backend   => $backend,
        directory => $server->directory
    );
    $next->ended;
    return scalar( my @left = $server->files_left );
}

# A client that has sent half of the upload.
sub upload_half {
    my ($server) = @_;
    my $client = $server->connect;
    $client->send($HALF);
    return $client;
}
