#!/usr/bin/env perl
# HTTP::Server::EV::MultipartFile: size, name, path, fh, save, close, and how long its
# temporary file lives, with both backends.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Scalar::Util qw(isweak);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report);

# More than is ever written without the threads.
my $LARGE = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 600_000;

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
        is $mode & oct 777, oct 600, 'only its owner can read it';
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

    for my $where ( sort keys %destinations ) {
        subtest
          "What counts for save to $where is as it is at the call, with $backend" => sub {
            my $directory = tempdir( DIR => $destinations{$where} );
            mkdir "$directory/saved" or die "mkdir: $!";
            my $server =
              TestServer->start( sub { save_and_go_elsewhere( $_[0], $directory ) },
                backend => $backend );
            for my $umask ( oct 77, oct 7 ) {
                my $name = sprintf 'saved/%o', $umask;
                $server->tell( $name, $umask );
                $server->await('ready');
                $server->upload(@PART);
                is $server->await('saved'),   1, "$name is saved where it is meant";
                is slurp("$directory/$name"), $CONTENT, 'all of it';
                is(
                    ( stat "$directory/$name" )[2] & oct 7777,
                    oct(666) & ~$umask,
                    sprintf 'as umask %03o leaves it', $umask
                );
            }
            ok $server->await_files(0), 'no temporary file is left';
            $server->stop;
          };
    }

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

for my $backend ( backends() ) {
    subtest "The keys and the path of a file, with $backend" => sub {
        my $server = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                report(
                    file => ref $file,
                    join( q{,}, sort grep { $_ ne 'fh' } keys %{$file} ),
                    isweak( $file->{parent_req} ) ? 1 : 0,
                    $file->path,
                    "$file->{name} $file->{size} $file->{path}" eq
                      join( q{ }, $file->name, $file->size, $file->path ) ? 1 : 0
                );
            }
        );
        $server->upload( (@PART) x 200 );
        my $directory = $server->tmp_path;
        my %paths;
        for ( 1 .. 200 ) {
            my ( $class, $keys, $is_weak, $path, $is_same ) = $server->await('file');
            is "$class $keys $is_weak $is_same",
              'HTTP::Server::EV::MultipartFile name,parent_req,path,size 1 1',
              'class, keys, parent_req is weak, the methods give the keys'
              if !%paths;
            $paths{$path}++;
        }
        is scalar( grep { m{\A\Q$directory\E/[A-Za-z0-9]{50}\z} } keys %paths ), 200,
          'tmp_path, a slash, 50 letters and digits; no two files have the same';
        $server->stop;
    };

    subtest "An object that can be called, and nothing else, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                my $callable = sub {
                    my ($name) = @_;
                    return bless [ sub { report( $name => $_[0] ? 1 : 0 ) } ], 'Callable';
                };
                $file->fh( $callable->('fh') );
                $file->close( $callable->('close') );
                $file->save( "$directory/saved", $callable->('saved') );
            }
        );
        $server->upload(@PART);
        is_deeply [ sort map { "@{$_}" } $server->reports_until('saved') ],
          [ 'close 1', 'fh 1', 'saved 1' ], 'is called back';
        $server->stop;
    };

    subtest "Every callback of save, fh and close comes once, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                my $counted = sub {
                    my ($name) = @_;
                    return sub { report( $name => scalar @_, $_[0] ? 1 : 0 ) };
                };
                $file->fh( $counted->('fh') );
                $file->fh( $counted->('fh again') );
                $file->close( $counted->('close') );
                $file->close( $counted->('close again') );
                $file->save( "$directory/none/x", $counted->('save that fails') );
                $file->save( "$directory/1",      $counted->('save') );
                $file->save( "$directory/2",      $counted->('save again') );
                $file->save($directory);
                $file->save( "$directory/1", $counted->('save onto itself') );
                $file->fh( $counted->('fh in the meantime') );
                $file->save(
                    "$directory/3",
                    sub {
                        $file->save( "$directory/1", $counted->('save there again') );
                        $file->save( "$directory/4",
                            sub { report( end => $file->path, -e $file->path ) } );
                    }
                );
            }
        );
        $server->upload(@PART);
        my @reports = sort { $a->[0] cmp $b->[0] } $server->reports_until('end');
        is_deeply \@reports,
          [
            [ 'close',              1,              1 ],
            [ 'close again',        1,              1 ],
            [ 'end',                "$directory/1", 1 ],
            [ 'fh',                 1,              1 ],
            [ 'fh again',           1,              1 ],
            [ 'fh in the meantime', 1,              1 ],
            [ 'save',               1,              1 ],
            [ 'save again',         1,              1 ],
            [ 'save onto itself',   1,              1 ],
            [ 'save that fails',    1,              0 ],
            [ 'save there again',   1,              1 ],
          ],
          'with one argument';
        is slurp("$directory/$_"), $CONTENT, "the bytes of $_" for 1 .. 4;
        is_deeply [ sort map { s{.*/}{}r } glob "$directory/*" ], [ 1 .. 4 ],
          'nothing else is there';
        ok $server->await_files(0), 'no temporary file is left';
        my $failed = qr/HTTP::Server::EV::IO::$backend failed to move file [^\n]+ \n/;
        $server->stop( stderr => qr/\A$failed$failed\z/ );
    };

    subtest "When callbacks come, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                $file->close if exists $file->{fh};
                my @calls = (
                    [ 'fh',            sub { $file->fh(@_) } ],
                    [ 'fh of an open', sub { $file->fh(@_) } ],
                    [ 'save',          sub { $file->save( "$directory/$backend", @_ ) } ],
                    [ 'close',         sub { $file->close(@_) } ],
                );
                my $next;
                $next = sub {
                    my ( $name, $call ) = @{ shift @calls || return report('end') };
                    my $is_within = 1;
                    my $timer;
                    $call->(
                        sub {
                            report( $name => $is_within );
                            $timer = EV::timer( 0, 0, sub { undef $timer; $next->() } );
                        }
                    );
                    $is_within = 0;
                };
                $next->();
            }
        );
        $server->upload(@PART);
        my $at_once = $backend eq 'Blocking' ? 1 : 0;
        is_deeply [ $server->reports_until('end') ],
          [
            [ 'fh',            $at_once ],
            [ 'fh of an open', 1 ],
            [ 'save',          $at_once ],
            [ 'close',         $at_once ],
            ['end'],
          ],
          'within the method, or from the loop; an open handle is given at once';
        $server->stop;
    };

    subtest "save without a callback, of a file that nobody keeps, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start( $backend,
            sub { report( returned => $_[1]->save("$directory/$_") ) for 1 .. 3 } );
        is $server->upload(@PART)->{status}, 200, 'the request is answered';
        is_deeply [ map { $server->await('returned') } 1 .. 3 ], [ 1, 1, 1 ],
          'save returns 1';
        ok $server->await_files(0), 'the temporary file goes';
        $server->stop;
        is slurp("$directory/$_"), $CONTENT, "the bytes of $_" for 1 .. 3;
    };

    subtest "save that fails, with a handler of __WARN__ that dies, with $backend" =>
      sub {
        my $server = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                ## no critic (RequireLocalizedPunctuationVars)
                $SIG{__WARN__} = sub { report( warned => @_ ); die "in __WARN__\n" };
                $file->save( '/dev/null/x', sub { report( failed => @_ ) } );
            }
        );
        is $server->upload(@PART)->{status}, 200, 'the request is answered';
        like $server->await('warned'), qr{failed to move file \S+ to /dev/null/x - },
          'the warning';
        is $server->await('failed'), 0, 'the callback comes all the same';
        $server->stop;
      };

    subtest "save before the file is complete fails, with $backend" => sub {
        for my $callback (qw(on_file_open on_file_write)) {
            my $directory = tempdir( CLEANUP => 1 );
            my $tries     = 0;
            my $server    = TestServer->start(
                sub {
                    my ($server) = @_;
                    $server->listen(
                        sub {
                            my ($cgi) = @_;
                            $cgi->file('file')->[0]
                              ->save( "$directory/file", sub { report( saved => @_ ) } );
                            $cgi->header;
                        },
                        {
                            $callback => sub {
                                my ( $cgi, $file ) = @_;
                                return if $tries++;
                                $file->save( "$directory/early",
                                    sub { report( early => @_ ) } );
                            }
                        }
                    );
                },
                backend => $backend
            );
            $server->upload(@PART);
            is $server->await('early'), 0, "in $callback";
            is $server->await('saved'), 1, 'and succeeds in the main callback';
            is_deeply [ glob "$directory/*" ], ["$directory/file"], 'as it says';
            is slurp("$directory/file"), $CONTENT, 'with all bytes';
            $server->stop( stderr => qr/\A[^\n]+ still being received \n\z/ );
        }
    };

    subtest "Wrong arguments, with $backend" => sub {
        my @wrong = (
            [ save => [],                 'save takes the path of the file to be made' ],
            [ save => [q{}],              'save takes the path of the file to be made' ],
            [ save => [ '/x', 'a word' ], 'save takes a code reference as its callback' ],
            [ save => [ '/x', [] ],       'save takes a code reference as its callback' ],
            [ fh   => ['a word'],         'fh takes a code reference as its callback' ],
            [ close => [ {} ], 'close takes a code reference as its callback' ],
        );
        my $server = start(
            $backend,
            sub {
                for my $case (@wrong) {
                    my ( $method, $arguments ) = @{$case};
                    eval { $_[1]->$method( @{$arguments} ); 1 } or report( died => $@ );
                }
            }
        );
        $server->upload(@PART);
        is $server->await('died') =~ s/ line \d+\.?\n\z//r, "$_->[2] at $0",
          'it dies at the line of the caller'
          for @wrong;
        $server->stop;
    };

    subtest "A file that somebody else has removed, with $backend" => sub {
        my $directory = tempdir( CLEANUP => 1 );
        my $server    = start(
            $backend,
            sub {
                my ( $cgi, $file ) = @_;
                $file->close;
                unlink $file->path or die "unlink: $!";
                $file->fh( sub { report( fh => scalar @_, $_[0] ) } );
                $file->save( "$directory/x", sub { report( saved => @_ ) } );
            }
        );
        is $server->upload(@PART)->{status}, 200, 'the request is answered';
        is_deeply [ $server->await('fh') ], [ 1, undef ], 'fh has no handle';
        is $server->await('saved'), 0, 'save fails';
        is_deeply [ glob "$directory/*" ], [], 'and leaves nothing';
        $server->stop(
            stderr => qr/\A[^\n]*failed to move file[^\n]*No such file[^\n]*\n\z/ );
    };

    subtest "An open file at exit, with $backend" => sub {
        my $server = start(
            $backend,
            sub {
                push @kept, $_[1];
                $_[1]->fh( sub { push @kept, @_; report('open') } );
            }
        );
        $server->upload(@PART);
        $server->await('open');
        $server->stop;
        is_deeply [ $server->files_left ], [], 'it is removed, and the exit status is 0';
    };
}

subtest 'The backend may be changed between requests, and within' => sub {
    my $directory = tempdir( CLEANUP => 1 );
    my $turn      = 0;
    my $change    = sub {
        my $backend = ( backends() )[ ++$turn % 2 ];
        "HTTP::Server::EV::IO::$backend"->_use_me;
    };
    for my $callback (qw(on_multipart on_file_open on_file_write on_file_received main)) {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my %options = (
                    $callback     => $change,
                    main          => sub { },
                    on_file_write => sub {
                        my ( $cgi, $file, $bytes ) = @_;
                        $file->{bytes} .= $bytes;
                        $change->() if $callback eq 'on_file_write';
                    }
                );
                my $main = delete $options{main};
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        $main->();
                        $cgi->header;
                        my $number = 0;
                        for my $file ( @{ $cgi->file('file') } ) {
                            my $path = "$directory/" . $number++;
                            $file->save(
                                $path,
                                sub {
                                    report(
                                        saved => $_[0],
                                        $file->{bytes} eq slurp($path) ? 1 : 0
                                    );
                                    undef $cgi;
                                }
                            );
                        }
                    },
                    \%options
                );
            },
            backend => 'AIO'
        );
        for my $request ( 1 .. 3 ) {
            my @parts =
              map { { name => 'file', file_name => "f$_", content => $LARGE } } 1 .. 3;
            is $server->upload(@parts)->{status}, 200, "in $callback, request $request";
            is_deeply [ map { $server->await('saved') } 1 .. 3 ], [ ( 1, 1 ) x 3 ],
              'the files are complete, and saved';
        }
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    }
};

subtest 'tmp_path is read for each file, and taken as it is' => sub {
    my $elsewhere = tempdir( CLEANUP => 1 );
    my @paths     = ( $elsewhere, "$elsewhere/", "$elsewhere/.//", q{.} );
    my $server    = TestServer->start(
        sub {
            my ($server) = @_;
            chdir $server->tmp_path or die "chdir: $!";
            my @next = @paths;
            $server->listen(
                sub { $_[0]->header },
                {
                    on_file_open => sub {
                        no warnings 'once';
                        report( path => $_[1]->path, -e $_[1]->path );
                        $HTTP::Server::EV::tmp_path = shift @next if @next;
                    }
                }
            );
        }
    );
    $server->upload( (@PART) x ( 1 + @paths ) );
    for my $directory ( $server->tmp_path, @paths ) {
        my ( $path, $is_there ) = $server->await('path');
        like $path, qr{\A\Q$directory\E/\w{50}\z}, "$directory, a slash and the name";
        ok $is_there, 'is the file';
    }
    ok $server->await_files(0), 'all go with the request';
    is_deeply [ glob "$elsewhere/*" ], [], 'from wherever they are';
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

# Temporary files and saved ones have relative paths here; while a file is saved, the process has
# another umask and working directory.
sub save_and_go_elsewhere {
    my ( $server, $directory ) = @_;
    my ( $path, $umask );
    my $received = sub {
        my ( $cgi, $file ) = @_;
        umask $umask;
        $file->save( $path, sub { report( saved => @_ ) } );
        umask oct 27;
        chdir q{/} or die "chdir: $!";
    };
    my $prepare = sub {
        ( $path, $umask ) = @_;
        chdir $directory or die "chdir: $!";
        report('ready');
    };
    symlink $server->tmp_path, "$directory/tmp" or die "symlink: $!";
    $server->listen( sub { $_[0]->header }, { on_file_received => $received } );
    $server->on_command($prepare);
    $HTTP::Server::EV::tmp_path = './tmp';
    return;
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

package Callable;

use overload '&{}' => sub { $_[0][0] };
