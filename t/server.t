#!/usr/bin/env perl
# The server object: `new` and its options, the one object there is, the directory of
# temporary files, `cleanup`.

use strict;
use warnings;

use Cwd        qw(getcwd);
use File::Temp ();
use FindBin;
use Test::More;

use HTTP::Server::EV;

use lib "$FindBin::Bin/lib";
use TestServer qw(await_change backends output_of report request_bytes);

my $UPLOAD = { name => 'file', file_name => 'name', content => 'content' };

subtest 'The hash of options becomes the object' => sub {
    my $directory = File::Temp->newdir;
    my %options   = ( tmp_path => "$directory", mine => 'my own' );
    my $server    = fresh( \%options );
    is $server,                     \%options,          'the same hash';
    is ref $server,                 'HTTP::Server::EV', 'blessed';
    is $server->{mine},             'my own',           'a key that is nobody\'s';
    is $HTTP::Server::EV::instance, $server,            '$instance';
    is $HTTP::Server::EV::tmp_path, "$directory",       '$tmp_path';
    is $HTTP::Server::EV::backend,  undef,              '$backend';
    is fresh( { tmp_path => "$directory", backend => 7 } )->{backend}, 7, 'a backend';
    is $HTTP::Server::EV::backend,                                     7, '$backend';
};

subtest 'Later calls return the first object' => sub {
    my $directory = File::Temp->newdir;
    my $server    = fresh( { tmp_path => "$directory" } );
    my %other     = ( tmp_path => "$directory/other", backend => 1 );
    for my $again ( [], [ \%other ], ['no hash'] ) {
        is( HTTP::Server::EV->new( @{$again} ), $server, "new(@{$again})" );
    }
    is ref \%other,                 'HASH',       'the other hash is left alone';
    is $HTTP::Server::EV::tmp_path, "$directory", '$tmp_path';
    ok !-e "$directory/other", 'no directory is made';
};

subtest 'A subclass' => sub {
    my $directory = File::Temp->newdir;
    @Subclass::ISA = ('HTTP::Server::EV');
    undef $HTTP::Server::EV::instance;
    my $server = Subclass->new( { tmp_path => "$directory" } );
    is ref $server, 'Subclass', 'its objects are of the subclass';
    is( HTTP::Server::EV->new, $server, 'and are what new returns then' );
};

# [ tmp_path in a directory, the directory that is made ]
my @PATHS = (
    [ 'tmp',         'tmp' ],
    [ 'tmp/',        'tmp' ],
    [ './tmp',       'tmp' ],
    [ './tmp//',     'tmp' ],
    [ 'with spaces', 'with spaces' ],
    [ 'st*r[s]?',    'st*r[s]?' ],
    [ undef,         'upload_tmpfiles' ],
    [ q{},           'upload_tmpfiles' ],
    [ 0,             'upload_tmpfiles' ],
);
for my $backend ( backends() ) {
    for (@PATHS) {
        my ( $path, $made ) = @{$_};
        my $shown = defined $path ? "'$path'" : 'undef';
        subtest "tmp_path $shown, with $backend" => sub {
            my $server = serve_in( $backend, { tmp_path => $path } );
            my $kept   = $path || './upload_tmpfiles/';
            like $server->upload($UPLOAD)->{body}, qr{\A\Q$kept\E/[A-Za-z0-9]{50}\z},
              'files are named by it to the letter, a slash and their name';
            is $server->await('tmp_path'), $kept, '$tmp_path';
            my $directory = $server->directory . "/tmp/$made";
            ok -d $directory, "$made is made";
            is sprintf( '%o', ( stat $directory )[2] & oct 7777 ), '750',
              'with what umask leaves of 0777';
            is $server->await('there'), 1, 'the file is there';
            ok eventually_empty($directory), 'and goes';
            $server->stop;
        };
    }
}

subtest 'An absolute tmp_path, and one that is there' => sub {
    my $directory = File::Temp->newdir;
    fresh( { tmp_path => "$directory" } );
    ok -d "$directory", 'it is left';
};

subtest 'Modules that can no longer be found are not needed' => sub {
    my $directory = File::Temp->newdir;
    my $program =
        'use HTTP::Server::EV; @INC = ();'
      . 'HTTP::Server::EV->new( { tmp_path => shift } )->listen( "127.0.0.1:0", sub { } );'
      . 'print "listens"';
    is output_of( $^X, ( map { "-I$_" } @INC ), '-e', $program, "$directory" ), 'listens',
      'for the server';
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            @INC = ();    ## no critic (RequireLocalizedPunctuationVars)
            fresh( { tmp_path => $server->tmp_path } );
            my $path = $server->directory . '/saved';
            $server->listen(
                sub {
                    my ($cgi)  = @_;
                    my ($file) = @{ $cgi->file('file') };
                    my $text   = readline $file->{fh};
                    $cgi->header( { 'Content-Type' => 'text/plain' } );
                    $file->save( $path,
                        sub { $cgi->attach(*STDOUT); print "$text, saved: $_[0]" } );
                }
            );
        }
    );
    is $server->upload($UPLOAD)->{body}, 'content, saved: 1', 'a file is received';
    $server->stop;
};

subtest 'Only one level of tmp_path is made' => sub {
    my $directory = File::Temp->newdir;
    undef $HTTP::Server::EV::instance;
    my $path  = "$directory/a/b";
    my $made  = eval { HTTP::Server::EV->new( { tmp_path => $path } ) };
    my $error = $@;
    is $made, undef, 'new dies';
    like $error, qr/\ACan`t create dir for tmp files! at \Q$0\E line \d+[.]\n/,
      'and says what and where';
    like $error, qr/\n\Q$path\E: No such file or directory\n\z/, 'and why';
    ok !-e "$directory/a", 'nothing is made';
    is $HTTP::Server::EV::instance, undef, 'and there is no server';
    is fresh( { tmp_path => "$directory/a" } )->{tmp_path}, "$directory/a",
      'it can be called again';
};

subtest 'Options that are no hash' => sub {
    undef $HTTP::Server::EV::instance;
    for my $wrong ( 'text', [] ) {
        is eval { HTTP::Server::EV->new($wrong) }, undef, "new($wrong) dies";
        like $@,
qr/\AHTTP::Server::EV->new takes a hash reference of options at \Q$0\E line \d+[.]\n\z/,
          'and says so';
    }
};

subtest 'A tmp_path that is none' => sub {
    undef $HTTP::Server::EV::instance;
    my $directory = File::Temp->newdir( 'server-XXXXXXXX', TMPDIR => 1 );
    is eval { HTTP::Server::EV->new( { tmp_path => "$directory/a\0b" } ) }, undef,
      'new dies';
    like $@,
qr/\AHTTP::Server::EV: tmp_path takes a path, which has no NUL at \Q$0\E line \d+[.]\n\z/,
      'and says so';
    ok !-e "$directory/a", 'nothing is made';
};

# Beside each other in one directory; what is in `tmp` and plain goes.
my %FILES = (
    'tmp/plain'           => 'gone',
    'tmp/with a space'    => 'gone',
    'tmp/st*r'            => 'gone',
    "tmp/line\nfeed"      => 'gone',
    'tmp/.hidden'         => 'stays',
    'tmp/directory/plain' => 'stays',
    'tmp.txt'             => 'stays',
    'tmpfile'             => 'stays',
    'tmp2/plain'          => 'stays',
    'plain'               => 'stays',
);
for my $path ( 'tmp', 'tmp/', './tmp', './tmp/', '../here/tmp' ) {
    subtest "cleanup, with tmp_path $path" => sub {
        in_directory(
            sub {
                mkdir $_ for qw(tmp tmp/directory tmp2);
                for my $name ( keys %FILES ) {
                    open my $file, '>', $name or die "$name: $!";
                }
                is fresh( { tmp_path => $path } )->cleanup, 4, 'how many it has removed';
                is -e $_ ? 'stays' : 'gone', $FILES{$_}, s/\n/\\n/r for sort keys %FILES;
            }
        );
    };
}

subtest 'cleanup of a directory that has gone' => sub {
    in_directory(
        sub {
            my $server = fresh( { tmp_path => 'tmp' } );
            is $server->cleanup, 0, 'empty: none';
            rmdir 'tmp' or die "rmdir: $!";
            is_deeply [ $server->cleanup ], [], 'gone: nothing';
        }
    );
};

subtest 'cleanup removes a symbolic link, not what it leads to' => sub {
    in_directory(
        sub {
            my $server = fresh( { tmp_path => 'tmp' } );
            open my $file, '>', 'precious' or die "precious: $!";
            symlink '../precious', 'tmp/link' or die "symlink: $!";
            $server->cleanup;
            ok -e 'precious',  'the file';
            ok !-l 'tmp/link', 'the link';
        }
    );
};

for my $is_on ( 0, 1 ) {
    subtest "cleanup_on_destroy => $is_on" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                fresh( { tmp_path => $server->tmp_path, cleanup_on_destroy => $is_on } );
                open my $file, '>', $server->tmp_path . '/left' or die $!;
            }
        );
        $server->ended;
        is scalar $server->files_left, 1 - $is_on, 'files when the program has ended';
    };
}

subtest 'backend: the client is who the proxy says it is' => sub {
    for my $is_on ( 0, 1 ) {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                fresh( { tmp_path => $server->tmp_path, backend => $is_on } );
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        report( client => $cgi->{headers}{REMOTE_ADDR} );
                        $HTTP::Server::EV::backend ^= 1;
                    }
                );
            }
        );
        for ( $is_on, !$is_on ) {
            my $headers = { 'X-Real-IP' => 'anything: 192.0.2.1' };
            $server->request( GET => q{/}, $headers );
            is $server->await('client'), $_ ? 'anything: 192.0.2.1' : '127.0.0.1',
              $_ ? 'on' : 'off';
        }
        $server->request( GET => q{/} );
        is $server->await('client'), '127.0.0.1', 'without the header';
        $server->stop;
    }
};

done_testing;

# A server made in this process, which never listens.
sub fresh {
    my ($options) = @_;
    undef $HTTP::Server::EV::instance;
    return HTTP::Server::EV->new($options);
}

# Calls in a new directory, which is named `here`.
sub in_directory {
    my ($code)    = @_;
    my $before    = getcwd();
    my $directory = File::Temp->newdir;
    mkdir "$directory/here" or die "mkdir: $!";
    chdir "$directory/here" or die "chdir: $!";
    $code->();
    chdir $before or die "chdir: $!";
    return;
}

# A server whose working directory is that of the test's temporary files.
sub serve_in {
    my ( $backend, $options ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            chdir $server->tmp_path or die "chdir: $!";
            umask oct 27;
            fresh($options);
            report( tmp_path => $HTTP::Server::EV::tmp_path );
            $server->listen(
                sub {
                    my ($cgi)  = @_;
                    my ($file) = @{ $cgi->file('file') };
                    report( there => -e $file->path ? 1 : 0 );
                    $cgi->header;
                    $cgi->print( $file->path );
                }
            );
        },
        backend => $backend
    );
}

sub eventually_empty {
    my ($directory) = @_;
    return await_change(
        $directory,
        sub {
            opendir my $handle, $directory or return 0;
            return !grep { !/\A[.]/ } readdir $handle;
        }
    );
}
