#!/usr/bin/env perl
# A directory that is gone or cannot be written, a limit on the size of files, a full disk,
# no descriptor left: the upload is dropped, nothing is left, and the next one succeeds.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Temp  qw(tempdir);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

# A small disk can be had in a mount namespace of one's own; it goes with this process.
if ( $> == 0 && !$ENV{HAS_OWN_MOUNTS} && system('unshare -m true 2>/dev/null') == 0 ) {
    local $ENV{HAS_OWN_MOUNTS} = 1;
    exec 'unshare', '-m', $^X, ( map { "-I$_" } @INC ), $0 or die "exec: $!";
}

# Root may write everywhere: for it, somebody else.
my $NOBODY = $> || 65_534;

# A measuring library writes its file at the very end, where the user of the test may.
END { $> = $< }    ## no critic (RequireLocalizedPunctuationVars)

my $MEGABYTE = 1_048_576;
my $FILE     = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. $MEGABYTE;
my $SMALL    = 'x' x 10_000;

for my $backend ( backends() ) {
    subtest "A directory that cannot be used, with $backend" => sub {
        my $server    = start($backend);
        my $directory = $server->tmp_path;
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'before';
        my %ways = (
            'is gone'   => [ sub { }, sub { } ],
            'is a file' => [
                sub { open my $file, '>', $directory or die "$directory: $!" },
                sub { unlink $directory }
            ],
            'leads nowhere' => [
                sub { symlink "$directory/none", $directory or die "symlink: $!" },
                sub { unlink $directory }
            ],
        );
        for my $way ( sort keys %ways ) {
            my ( $spoil, $mend ) = @{ $ways{$way} };
            rmdir $directory or die "$directory: $!";
            $spoil->();
            is_deeply failure( $server, $SMALL ), [qw(on_multipart on_error)],
              "$way: on_error comes once, no callback of the file";
            $mend->();
            mkdir $directory or die "$directory: $!";
            is whole( $server, $SMALL ), sha256_hex($SMALL),
              'when it is back, the next upload succeeds';
        }
        ok $server->await_files(0), 'no file is left';
        $server->stop(
            stderr => warnings(
                'Not a directory',
                'No such file or directory',
                'Too many levels of symbolic links'
            )
        );
    };

    subtest "What clients and the operator are told, with $backend" => sub {
        my $server = start( $backend, error_responses => 1 );
        limit( $server, 'fsize', $MEGABYTE )
          or plan skip_all => 'prlimit does not work here';
        is $server->upload( part($FILE) )->{status}, 507, 'too large for the system'
          for 1 .. 3;
        is whole( $server, 'x' ), sha256_hex('x'),        'a smaller file is received';
        is $server->upload( part($FILE) )->{status}, 507, 'too large again';
        rename $server->tmp_path, $server->directory . '/elsewhere' or die "rename: $!";
        is $server->upload( part('x') )->{status}, 500, 'no directory' for 1 .. 3;
        rename $server->directory . '/elsewhere', $server->tmp_path or die "rename: $!";
        is whole( $server, 'x' ), sha256_hex('x'), 'it is back';
        rename $server->tmp_path, $server->directory . '/elsewhere' or die "rename: $!";
        is $server->upload( part('x') )->{status}, 500, 'no directory';
        $server->stop(
            stderr => warnings( ('File too large') x 2, 'No such file or directory' ) );
    };

    subtest "A relative path, of a program that goes elsewhere, with $backend" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                chdir $server->directory or die "chdir: $!";
                HTTP::Server::EV->new( { tmp_path => 'tmp' } )
                  ->listen( $server->{socket}, \&answer, { error_responses => 1 } );
                $server->on_command( sub { report( 'there', chdir $_[0] ) } );
            },
            backend => $backend
        );
        my $client = $server->connect;
        $client->send( substr upload_bytes( part($SMALL) ), 0, 5_000 );
        ok $server->await_files(1), 'a file is being received';
        $server->tell('/proc');
        ok $server->await('there'), 'the program goes elsewhere';
        $client->close;
        ok $server->await_files(0), 'what was begun is removed';
        is $server->upload( part($SMALL) )->{status}, 500, 'there is no such directory';
        $server->tell( $server->directory );
        ok $server->await('there'), 'it comes back';
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'and serves';
        $server->stop( stderr => warnings('No such file or directory') );
    };

    subtest "A directory that is read-only, with $backend" => sub {
        my $server = start( $backend, user => $NOBODY );
        chmod oct 711, $server->directory;
        chown $NOBODY, -1, $server->tmp_path;
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'before';
        chmod oct 500, $server->tmp_path;
        is_deeply failure( $server, $SMALL ), [qw(on_multipart on_error)], 'on_error';
        chmod oct 700, $server->tmp_path;
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'the next upload succeeds';
        $server->stop( stderr => warnings('Permission denied') );
    };

    subtest "A directory that becomes read-only meanwhile, with $backend" => sub {
        my $server = start( $backend, user => $NOBODY );
        chmod oct 711, $server->directory;
        chown $NOBODY, -1, $server->tmp_path;
        my $bytes   = upload_bytes( part($FILE) );
        my @clients = map { $server->connect } 1 .. 2;
        for my $client (@clients) {
            $client->send( substr $bytes, 0, 500_000 );
        }
        ok $server->await_files(2), 'two are being received';
        chmod oct 500, $server->tmp_path;
        is $server->upload( part($SMALL) )->{status}, undef, 'what comes meanwhile fails';
        $clients[0]->send( substr $bytes, 500_000 );
        is $clients[0]->response->{body}, sha256_hex($FILE), 'what was begun is whole';
        ok $server->await_files(2), 'no file can be removed';
        chmod oct 700, $server->tmp_path;
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'the next upload succeeds';
        ok $server->await_files(1), 'and its like removes what could not be removed';
        $clients[1]->send( substr $bytes, 500_000 );
        is $clients[1]->response->{body}, sha256_hex($FILE), 'the other is whole as well';
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr => warnings('Permission denied') );
    };

    subtest "A directory that is removed while a file is received, with $backend" => sub {
        my $server = start($backend);
        my $bytes  = upload_bytes( part($FILE) );
        my $client = $server->connect;
        $client->send( substr $bytes, 0, 500_000 );
        $client->drained or die 'The server does not read';
        my ($name) = $server->files_left;
        unlink $server->tmp_path . "/$name" or die "unlink: $!";
        rmdir $server->tmp_path             or die "rmdir: $!";
        $client->send( substr $bytes, 500_000 );
        is $client->response->{body}, 'gone', 'the main callback finds no file';
        mkdir $server->tmp_path;
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'the next upload succeeds';
        $server->stop;
    };

    subtest "A directory that has another place for a while, with $backend" => sub {
        my $server    = start($backend);
        my $directory = $server->tmp_path;
        my $bytes     = upload_bytes( part($FILE) );
        my $client    = $server->connect;
        $client->send( substr $bytes, 0, 500_000 );
        ok $server->await_files(1), 'a file is being received';
        rename $directory, "$directory-away" or die "rename: $!";
        open my $file, '>', $directory or die "$directory: $!";
        is $server->upload( part($SMALL) )->{status}, undef, 'what comes meanwhile fails';
        $client->send( substr $bytes, 500_000, 500_000 );
        $client->drained or die 'The server does not read';
        unlink $directory;
        rename "$directory-away", $directory or die "rename: $!";
        $client->send( substr $bytes, 1_000_000 );
        is $client->response->{body}, sha256_hex($FILE), 'what was begun before is whole';
        calls($server);
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'the next upload succeeds';
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr => warnings('Not a directory') );
    };

    # In what is written at once, at its edge, and in what threads may write.
    for my $limit ( 1_000, 300_000, $MEGABYTE, $MEGABYTE + 1, 2_500_000 ) {
        subtest "No file may be larger than $limit bytes, with $backend" => sub {
            my $server = start($backend);
            limit( $server, 'fsize', $limit )
              or plan skip_all => 'prlimit does not work here';
            my @calls = @{ failure( $server, $FILE ) };
            is_deeply [ grep { $_ ne 'on_file_write' } @calls ],
              [qw(on_multipart on_file_open on_error)], 'on_error comes once';
            ok $server->await_files(0), 'no file is left';
            is whole( $server, 'x' ), sha256_hex('x'), 'a smaller file is received';
            $server->stop( stderr => warnings('File too large') );
        };
    }

    subtest "save beyond what a file may have, with $backend" => sub {
        my $elsewhere = elsewhere() or plan skip_all => 'there is one file system only';
        my $kept      = tempdir( CLEANUP => 1 );
        my $server    = saving_server( $backend, "$elsewhere/file", "$kept/file" );
        my $upload    = $server->connect;
        my $bytes     = upload_bytes( part($FILE) );
        $upload->send( substr $bytes, 0, -1 );
        $server->await('received');
        limit( $server, 'fsize', 300_000 )
          or plan skip_all => 'prlimit does not work here';
        $upload->send( substr $bytes, -1 );
        is_deeply [ $server->await('full') ], [ 0, 1, undef ],
          'it fails; path and moved are as they were';
        is_deeply [ glob "$elsewhere/*" ], [], 'no half of it is there';
        is $server->await('kept'), 1, 'it is saved where it need not be copied';
        is -s "$kept/file",        length($FILE), 'whole';
        ok $server->await_files(0), 'no file is left';
        $server->stop(
            stderr => qr/\A[^\n]*failed to move file[^\n]*File too large[^\n]*\n\z/ );
    };

    subtest "The signal of a file that is too large is as it was, with $backend" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->listen( sub { report( signal => signal_of_large_file() ) },
                    { on_error => sub { report( signal => signal_of_large_file() ) } } );
            },
            backend => $backend
        );
        $server->request( GET => q{/} );
        my ($before) = $server->await('signal');
        cmp_ok $before, '>', 0, 'a program that is run ends by it';
        limit( $server, 'fsize', 300_000 )
          or plan skip_all => 'prlimit does not work here';
        $server->upload( part($FILE) );
        is $server->await('signal'), $before,
          'and does after an upload that was too large';
        $server->stop( stderr => warnings('File too large') );
    };

    subtest "No descriptor is left for a file, with $backend" => sub {
        my $server = start($backend);
        whole( $server, $FILE );
        my $client = $server->connect;
        $client->send('POST ');
        $client->drained              or die 'The server does not read';
        limit( $server, 'nofile', 1 ) or plan skip_all => 'prlimit does not work here';
        $client->send( substr upload_bytes( part($SMALL) ), length 'POST ' );
        is $client->read_all, q{}, 'the connection is closed';
        limit( $server, 'nofile', 1000 );
        is_deeply calls($server), [qw(on_multipart on_error)], 'on_error comes once';
        is whole( $server, $SMALL ), sha256_hex($SMALL), 'the next upload succeeds';
        $server->stop( stderr => warnings('Too many open files') );
    };

    subtest "A full disk, with $backend" => sub {
        my $disk   = small_disk(2) or plan skip_all => 'no file system can be mounted';
        my $server = start( $backend, directory => $disk );
        for ( 1 .. 2 ) {
            my @calls = @{ failure( $server, $FILE ) };
            is_deeply [ grep { $_ ne 'on_file_write' } @calls ],
              [qw(on_multipart on_file_open on_error)], 'on_error comes once';
            ok $server->await_files(0), 'no file is left';
        }
        my $fits = substr $FILE, 0, 1_500_000;
        is whole( $server, $fits ), sha256_hex($fits), 'a file that fits is received';
        $server->stop;
        system 'umount', $disk;
    };

    subtest "A disk that is full while others upload, with $backend" => sub {
        my $disk    = small_disk(9) or plan skip_all => 'no file system can be mounted';
        my $server  = start( $backend, directory => $disk );
        my $content = substr $FILE, 0, 1_500_000;
        my $bytes   = upload_bytes( part($content) );
        my @others  = map { $server->connect } 1 .. 2;
        for my $other (@others) {
            $other->send( substr $bytes, 0, 700_000 );
            $other->drained or die 'The server does not read';
        }
        is $server->upload( part( $FILE x 3 ) )->{status}, undef,
          'what does not fit fails';
        ok $server->await_files(2), 'its file is gone';
        for my $other (@others) {
            $other->send( substr $bytes, 700_000 );
            is $other->response->{body}, sha256_hex($content), 'the others are whole';
        }
        calls($server);

        open my $filler, '>', "$disk/filler" or die "$disk/filler: $!";
        $filler->autoflush(1);
        while ( print {$filler} $SMALL ) { }
        my @calls = @{ failure( $server, $content ) };
        is_deeply [ grep { $_ ne 'on_file_write' } @calls ],
          [qw(on_multipart on_file_open on_error)], 'nothing fits: on_error comes once';
        close $filler;
        unlink "$disk/filler" or die "unlink: $!";
        is whole( $server, $content ), sha256_hex($content), 'there is room again';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
        system 'umount', $disk;
    };

    subtest "save to a full disk, with $backend" => sub {
        my $disk   = small_disk(1) or plan skip_all => 'no file system can be mounted';
        my $keep   = tempdir( CLEANUP => 1 );
        my $server = saving_server( $backend, "$disk/file", "$keep/file" );
        $server->upload( part($FILE) );
        is_deeply [ $server->await('full') ], [ 0, 1, undef ],
          'it fails; path and moved are as they were';
        is_deeply [ glob "$disk/*" ], [], 'no half of it is there';
        is $server->await('kept'), 1,             'it is saved elsewhere';
        is -s "$keep/file",        length($FILE), 'whole';
        ok $server->await_files(0), 'no file is left';
        $server->stop(
            stderr => qr/\A[^\n]*failed to move file[^\n]*No space left[^\n]*\n\z/ );
        system 'umount', $disk;
    };
}

done_testing;

# The calls since the last time.
sub calls {
    my ($server) = @_;
    $server->request( GET => '/end' );
    my @reports = $server->reports_until('end');
    pop @reports;
    return [ map { $_->[0] } @reports ];
}

# The calls for an upload of this content, which has to fail.
sub failure {
    my ( $server, $content ) = @_;
    is $server->upload( part($content) )->{status}, undef, 'the upload is not answered';
    return calls($server);
}

# What is told of failures for these reasons, each once.
sub warnings {
    my @reasons = @_;
    my $text = join q{}, map { "HTTP::Server::EV cannot write in \\S+: $_\n" } @reasons;
    return qr/\A$text\z/;
}

# Sets one of the limits of setrlimit(2), by its name; returns whether that works here.
sub limit {
    my ( $server, $name, $limit ) = @_;
    return system( 'prlimit', '--pid', $server->pid, "--$name=$limit:" ) == 0;
}

sub part {
    my ($content) = @_;
    return { name => 'file', file_name => 'a.bin', content => $content };
}

# A file system that holds so many MiB.
sub small_disk {
    my ($megabytes) = @_;
    return if !$ENV{HAS_OWN_MOUNTS};
    my $directory = tempdir( CLEANUP => 1 );
    my @mount     = ( '-t', 'tmpfs', '-o', "size=${megabytes}m", 'tmpfs', $directory );
    return system( 'mount', @mount ) == 0 ? $directory : undef;
}

# A directory on another file system than that of temporary files.
sub elsewhere {
    my $directory = eval { tempdir( DIR => '/dev/shm', CLEANUP => 1 ) } or return;
    return ( stat $directory )[0] == ( stat tempdir( CLEANUP => 1 ) )[0]
      ? undef
      : $directory;
}

# By which signal a program ends that writes a file of a MiB, where less is allowed.
sub signal_of_large_file {
    my $status = system 'sh', '-c',
      'ulimit -f 500; exec dd if=/dev/zero of="$0" bs=1M count=1 2>/dev/null',
      File::Temp->new->filename;
    return $status & 127;
}

# A server that saves a file where it cannot be saved, and then elsewhere.
sub saving_server {
    my ( $backend, $impossible, $possible ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi)  = @_;
                    my ($file) = @{ $cgi->file('file') };
                    my $path   = $file->path;
                    $file->save(
                        $impossible,
                        sub {
                            report(
                                full => $_[0],
                                $file->path eq $path ? 1 : 0,
                                $file->{moved}
                            );
                            $file->save( $possible, sub { report( kept => @_ ) } );
                        }
                    );
                },
                { on_file_received => sub { report('received') } }
            );
        },
        backend => $backend
    );
}

# A server that reports each callback, and answers with the digest of the file.
sub start {
    my ( $backend, %option ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            ## no critic (RequireLocalizedPunctuationVars)
            $> = $option{user} if $option{user};
            my %options = map {
                my $name = $_;
                $name => sub { report($name) }
            } qw(on_multipart on_file_open on_file_write on_file_received on_error);
            $options{error_responses} = $option{error_responses};
            $server->listen( \&answer, \%options );
        },
        backend => $backend,
        %option
    );
}

sub answer {
    my ($cgi) = @_;
    return report('end') if $cgi->{headers}{REQUEST_URI} eq '/end';
    my ($file) = @{ $cgi->file('file') };
    $cgi->header;
    $cgi->print(
        -e $file->path
        ? Digest::SHA->new(256)->addfile( $file->path )->hexdigest
        : 'gone'
    );
    return;
}

# The answer to an upload of this content, when it is over.
sub whole {
    my ( $server, $content ) = @_;
    my $answer = $server->upload( part($content) )->{body};
    calls($server);
    return $answer;
}
