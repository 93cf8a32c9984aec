#!/usr/bin/env perl
# HTTP::Server::EV::MultipartFile: size, name, path, fh, save, close, and how long its
# temporary file lives, with both backends.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report);

my $CONTENT = "first line\n" . 'x' x 200_000;
my @PART    = ( { name => 'file', file_name => 'a.txt', content => $CONTENT } );

# Another file system, where there is one.
my $shared_memory =
  -d '/dev/shm' && -w _ ? tempdir( DIR => '/dev/shm', CLEANUP => 1 ) : undef;
my %destinations = ( 'the same file system' => tempdir( CLEANUP => 1 ) );
$destinations{'another file system'} = $shared_memory
  if $shared_memory
  && ( stat $shared_memory )[0] != ( stat $destinations{'the same file system'} )[0];

# In the child: files that outlive their requests.
my @kept;

for my $backend ( backends() ) {
    subtest "name, size, path, and the mode of the temporary file, with $backend" => sub {
        my $server = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                report(
                    file => $file->name,
                    $file->size, $file->path, ( stat $file->path )[2] & oct 7777,
                    $file->{parent_req} == $cgi ? 1 : 0
                );
            }
        );
        $server->upload(@PART);
        my ( $name, $size, $path, $mode, $is_parent ) = $server->await('file');
        is $name,                                    'a.txt',         'name';
        is $size,                                    length $CONTENT, 'size';
        is index( $path, $server->tmp_path . q{/} ), 0,               'path: in tmp_path';
        is $mode, oct 600, 'only its owner can read it';
        ok $is_parent, 'parent_req is the request';
        $server->stop;
    };

    for my $where ( sort keys %destinations ) {
        subtest "save to $where, with $backend" => sub {
            my $directory   = $destinations{$where};
            my $destination = "$directory/$backend";
            write_file( $destination, 'what was there before' );
            my $server = start(
                $backend,
                sub {
                    my ( $cgi, $file ) = @_;
                    my $temporary = $file->path;
                    my $returned  = $file->save(
                        $destination,
                        sub {
                            report(
                                saved => @_,
                                $file->path, $file->{moved}, -e $temporary ? 1 : 0
                            );
                            $file->save( "$destination.copy",
                                sub { report( copied => @_ ) } );
                        }
                    );
                    report( returned => $returned );
                }
            );
            $server->upload(@PART);
            is_deeply [ $server->await('saved') ], [ 1, $destination, 1, 0 ],
              'the file is moved: true, path, moved, no temporary file';
            is $server->await('copied'), 1, 'a second save copies it';
            is slurp($_), $CONTENT, "the bytes of $_"
              for $destination, "$destination.copy";
            ok $server->await_files(0), 'no temporary file is left';
            $server->stop;
            ok -e $destination, 'the saved file stays';
            unlink $destination, "$destination.copy";
        };
    }

    subtest "The mode of a saved file is what umask leaves of 0666, with $backend" =>
      sub {
        my $destination = tempdir( CLEANUP => 1 ) . '/saved';
        my $before      = umask 027;
        my $server      = start(
            $backend,
            sub {
                $_[1]->save( $destination, sub { report( saved => @_ ) } );
            }
        );
        umask $before;
        $server->upload(@PART);
        is $server->await('saved'), 1, 'it is saved';
        is( ( stat $destination )[2] & oct 7777, oct 640, 'its mode' );
        $server->stop;
      };

    subtest "save that fails changes nothing, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                my $temporary = $file->path;
                $file->save(
                    "$directory/none/file",
                    sub {
                        report(
                            failed => @_,
                            $file->path eq $temporary ? 1 : 0, $file->{moved}
                        );
                        $file->save( "$directory/file", sub { report( saved => @_ ) } );
                    }
                );
            }
        );
        $server->upload(@PART);
        is_deeply [ $server->await('failed') ], [ 0, 1, undef ],
          'false; path and moved as they were';
        is $server->await('saved'),  1,        'the next save succeeds';
        is slurp("$directory/file"), $CONTENT, 'with all bytes';
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr =>
qr{\AHTTP::Server::EV::IO::$backend[ ]failed[ ]to[ ]move[ ]file[ ]\S+[ ]to[ ]\Q$directory\E/none/file[ ]-[ ]No[ ]such[ ]file}x
        );
    };

    subtest "fh reads the file, close lets go, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                $file->fh(
                    sub {
                        my ($handle) = @_;
                        my $content = do { local $/ = undef; readline $handle };
                        report( read => length $content );
                        $file->fh( sub { report( same => $handle == $_[0] ? 1 : 0 ) } );
                        $file->close(
                            sub { report( closed => @_, exists $file->{fh} ? 1 : 0 ) } );
                        reopened( $file, "$directory/saved" );
                    }
                );
            }
        );
        $server->upload(@PART);
        is $server->await('read'), length $CONTENT, 'from the beginning';
        is $server->await('same'), 1,               'an open handle is given again';
        is_deeply [ $server->await('closed') ], [ 1, 0 ], 'close';
        is $server->await('saved'), "first line\n", 'after save: the saved file';
        $server->stop;
    };

    subtest "A temporary file lives as long as its object, with $backend" => sub {
        my $server = start( $backend, sub { push @kept, $_[1]; } );
        for my $count ( 1 .. 2 ) {
            $server->upload(@PART);
            ok $server->await_files($count), "after $count requests";
        }
        $server->tell('forget');
        ok $server->await_files(0), 'gone with the object';
        $server->stop;
    };

    subtest "A temporary file that is kept goes when the process ends, with $backend" =>
      sub {
        my $server = start( $backend, sub { push @kept, $_[1]; } );
        $server->upload(@PART);
        is scalar $server->files_left, 1, 'it is there';
        $server->stop;
        is_deeply [ $server->files_left ], [], 'and then not';
      };

    subtest "fh without a callback, with $backend" => sub {
        my $server = start(
            $backend,
            sub {
                my $handle = eval { $_[1]->fh };
                report( handle => $handle ? scalar readline $handle : undef, $@ );
            }
        );
        $server->upload(@PART);
        my ( $line, $error ) = $server->await('handle');
        is $line, "first line\n", 'it returns the handle' if $backend eq 'Blocking';
        like $error,
          qr/\AHTTP::Server::EV::IO::AIO->fh used without a callback.* at \Q$0\E/,
          'it dies at the line of the caller'
          if $backend eq 'AIO';
        $server->stop;
    };
}

subtest 'tmp_path is read for each file' => sub {
    my $elsewhere = tempdir( CLEANUP => 1 );
    my $server    = start(
        undef,
        sub {
            no warnings 'once';
            report( path => $_[1]->path );
            $HTTP::Server::EV::tmp_path = $elsewhere;
        }
    );
    $server->upload(@PART) for 1 .. 2;
    like $server->await('path'), qr{\A\Q@{[ $server->tmp_path ]}\E/}, 'the first';
    like $server->await('path'), qr{\A\Q$elsewhere\E/},               'the second';
    $server->stop;
};

subtest 'cleanup removes what a killed process has left' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            write_file( $server->tmp_path . "/old$_", 'x' ) for 1, ' with a space';
            mkdir $server->tmp_path . '/directory';
            report( removed => $server->new_server->cleanup );
            $server->listen( sub { } );
        }
    );
    is $server->await('removed'), 2, 'the number of files';
    is_deeply [ $server->files_left ], ['directory'], 'directories stay';
    $server->stop;
};

subtest 'cleanup_on_destroy: at the end of the program' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( cleanup_on_destroy => 1 );
            $server->listen( sub { $_[0]->header } );
            write_file( $server->tmp_path . '/old', 'x' );
            report('ready');
        }
    );
    $server->await('ready');
    is scalar $server->files_left, 1, 'while it runs';
    $server->stop;
    is_deeply [ $server->files_left ], [], 'after it';
};

done_testing;

# A server that hands each received file to the callback, before the main callback.
sub start {
    my ( $backend, $received ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { undef @kept } );
            $server->listen( sub { $_[0]->header }, { on_file_received => $received } );
        },
        backend => $backend
    );
}

# Saves the file and reports the first line of what `fh` gives then.
sub reopened {
    my ( $file, $destination ) = @_;
    return $file->save(
        $destination,
        sub {
            $file->fh( sub { report( saved => scalar readline $_[0] ) } );
        }
    );
}

sub slurp {
    my ($path) = @_;
    open my $handle, '<:raw', $path or return;
    local $/ = undef;
    return scalar readline $handle;
}

sub write_file {
    my ( $path, $content ) = @_;
    open my $handle, '>:raw', $path or die "$path: $!";
    print {$handle} $content;
    return close $handle;
}
