#!/usr/bin/env perl
# The program ends at any stage, in every way there is: with the status it has given, its END
# blocks where perl runs them, no complaint, and no temporary file; where nobody could remove
# these, the next process does.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Temp  qw(tempdir);
use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends output_of report upload_bytes);

my $HAS_CORO = eval { require Coro; require Coro::EV; 1 };
my $TEST     = $$;

# Where the server of a subtest keeps a file, also when perl has left all scopes.
my $kept_path;

# Some of it is written by threads, where there are any.
my $CONTENT = join q{,}, 1 .. 400_000;
my $UPLOAD  = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => $CONTENT, file_name => 'a.txt' },
    { name => 'other', content => 'y',      file_name => 'b.txt' },
);
my $ACT = $UPLOAD =~ s{/}{/act}r;
my $GET = "GET /act HTTP/1.0\r\n\r\n";

# How a process ends, its status, and whether perl has a chance to do something then.
my %WAYS = (
    'exit'         => { end => sub { exit 7 }, status => 7, orderly => 1 },
    'POSIX::_exit' => { end => sub { POSIX::_exit(7) },          status => 7 },
    'kill 9'       => { end => sub { kill KILL => $$ },          status => 'signal 9' },
    'exec'         => { end => sub { exec $^X, '-e', 'exit 9' }, status => 9 },
);

# What the listener is given, for stages that are callbacks of it. The other callbacks are
# there, too. `sent` is what a client sends for it to come; a stage that `saves` has a saved
# file by then, any other one may have.
my %STAGES = (
    'before listen'               => { before => sub { $_[0]->() } },
    'between listen and the loop' => { after  => sub { $_[0]->() } },
    'in fork_hook'                => { option => 'fork_hook' },
    (
        map { +"in $_" => { option => $_, sent => $ACT } }
          qw(on_multipart on_file_open on_file_write on_file_received)
    ),
    'in on_error'           => { option => 'on_error', sent => substr $ACT, 0, 900_000 },
    'in the main callback'  => { main   => sub { $_[1]->() }, sent => $ACT },
    'while files are saved' => { main   => \&save_and_end,    sent => $ACT },
    'in the callback of save' => {
        main => sub {
            my ( $cgi, $end ) = @_;
            my ($file) = @{ $cgi->file('file') };
            $file->save( kept(), sub { $cgi->header; $end->() } );
        },
        sent  => $ACT,
        saves => 1
    },
    'in the callback of flush_wait' => {
        main => sub { $_[0]->header; $_[0]->flush_wait( $_[1] ) },
        sent => $GET
    },
    'in onerror' => {
        main => sub {
            my ( $cgi, $end ) = @_;
            $cgi->{buffer}{onerror} = sub { undef $cgi; $end->() };
            report('main');
        },
        sent  => $GET,
        leave => 'main'
    },
    'in a timer' => {
        main => sub {
            my ( $cgi, $end ) = @_;
            our $timer = EV::timer( 0, 0, sub { $cgi->header; $end->() } );
        },
        sent => $ACT
    },
    'in a destructor' => {
        main => sub { $_[0]{ends} = bless { end => $_[1] }, 'Ends' },
        sent => $ACT
    },
    'in on_drained' => {
        option => 'on_drained',
        main   => sub { $_[0]{parent_listener}->stop; $_[0]->header },
        sent   => $GET,
        alone  => 1
    },
    'in the callback of stop' => {
        main  => sub { HTTP::Server::EV->new->stop( $_[1] ); $_[0]->header },
        sent  => $GET,
        alone => 1
    },
    $HAS_CORO
    ? (
        'in a thread of Coro' =>
          { options => { threading => 1 }, main => sub { $_[1]->() }, sent => $ACT },
        'in a thread of Coro that waits for a save' => {
            options => { threading => 1 },
            main    => sub {
                my ( $cgi, $end ) = @_;
                my ($file) = @{ $cgi->file('file') };
                $file->save( kept() );
                $end->();
            },
            sent  => $ACT,
            saves => 1
        }
      )
    : ()
);

for my $backend ( backends() ) {
    for my $stage ( sort keys %STAGES ) {
        for my $way ( sort keys %WAYS ) {
            subtest "$way $stage, with $backend" =>
              sub { dies( $stage, $way, $backend ) };
        }
    }
}

# Code of END blocks, as programs have it to tidy up, with the server, a request, its file and
# the listener.
my %END_BLOCKS = (
    'uses the request' => sub {
        my ( undef, $cgi ) = @_;
        eval { $cgi->header };
        eval { $cgi->print('END') };
        eval { $cgi->$_ } for qw(fh stop start copy drop close);
    },
    'uses the file' => sub {
        my ( undef, undef, $file ) = @_;
        local $SIG{__WARN__} = sub { };
        eval {
            $file->save( kept() . '.end', sub { } );
        };
        eval {
            $file->fh( sub { } );
        };
        eval { $file->$_ } for qw(path name size close);
        my $handle = $file->{fh};
    },
    'uses the server and the listener' => sub {
        my ( $server, undef, undef, $listener ) = @_;
        eval { $listener->$_ } for qw(stop start stop);
        eval {
            $server->stop( sub { } );
        };
        eval { $server->cleanup };
        eval {
            HTTP::Server::EV->listen( '127.0.0.1:0', sub { } );
        };
    },
    'runs the loop' => sub {
        my $timer = EV::timer( 0, 0, sub { EV::break() } );
        EV::run();
    },
    'forks' => sub {
        my $status = $?;
        defined( my $pid = fork ) or die "fork: $!";
        exit 3 if !$pid;
        waitpid $pid, 0;
        report( child => $? >> 8 );
        $? = $status;    ## no critic (RequireLocalizedPunctuationVars)
    },
    'runs a program' => sub { local $?; system $^X, '-e', '1' },
    'drops all'      => sub { @_ = () },
);

for my $backend ( backends() ) {
    for my $name ( sort keys %END_BLOCKS ) {
        for my $when ( 'before the module is used', 'after' ) {
            subtest "An END block that $name, made $when, with $backend" => sub {
                ends( $backend, $END_BLOCKS{$name}, $when );
            };
        }
    }
}

for my $backend ( backends() ) {
    subtest "A destructor that uses everything when all is destroyed, with $backend" =>
      sub {
        my $kept = ends( $backend, sub { our $last = bless [@_], 'Last' }, 'after' );
        ok -d "$kept/used at DESTRUCT", 'it has';
      };
}

subtest 'An END block that dies' => sub {
    my $server = ends_by( undef, sub { die "a reason\n" }, 'after' );
    $server->ended( status => 255, stderr => qr/\Aa reason\nEND failed--[^\n]+\n\z/ );
    is_deeply [ $server->files_left ], [], 'no file is left';
};

subtest 'An END block that changes the status' => sub {
    ## no critic (RequireLocalizedPunctuationVars)
    my $server = ends_by( undef, sub { $? = 11 }, 'after' );
    $server->ended( status => 11 );
    is_deeply [ $server->files_left ], [], 'no file is left';
};

subtest 'The program dies, outside of callbacks' => sub {
    my $directory = tempdir( CLEANUP => 1 );
    my @program   = (
        $^X,
        ( map { "-I$_" } grep { !ref } @INC ),
        '-MEV', '-MHTTP::Server::EV', '-e', <<'PERL', $directory
            my $server = HTTP::Server::EV->new({ tmp_path => shift });
            $server->listen('127.0.0.1:0', sub { });
            my $timer = EV::timer 0, 0, sub { EV::break };
            END { print "END $?" }
            EV::run;
            open STDERR, '>&', \*STDOUT;
            $! = 0;
            die "a reason\n";
PERL
    );
    open my $output, '-|', @program or die "perl: $!";
    my $text = join q{}, readline $output;
    close $output;
    is $? >> 8, 255,                 'its status';
    is $text,   "a reason\nEND 255", 'its END block runs, and nothing else is said';
};

done_testing;

# Runs at the end of a server that has given it something to do, and not of this test.
my $early;

END {
    $early->() if $early && $$ != $TEST;
}

# A server that ends in that way at that stage, while another upload is half there.
sub dies {
    my ( $stage_name, $way_name, $backend ) = @_;
    my ( $stage, $way ) = ( $STAGES{$stage_name}, $WAYS{$way_name} );
    my $kept = tempdir( CLEANUP => 1 );
    $kept_path = "$kept/file";
    my $server = TestServer->start( sub { serve( $_[0], $stage, $way->{end} ) },
        backend => $backend );

    my @clients;
    if ( $stage->{sent} && !$stage->{alone} ) {
        push @clients, $server->connect;
        $clients[0]->send( substr $UPLOAD, 0, 1_000_000 );
        ok $server->await_files(1), 'a file is being received';
    }
    if ( $stage->{sent} ) {
        push @clients, $server->connect;
        $clients[-1]->send( $stage->{sent} );
        $clients[-1]->shutdown if $stage_name eq 'in on_error';
    }
    if ( $stage->{leave} ) {
        $server->await( $stage->{leave} );
        $clients[-1]->close;
    }
    $server->await('END') if $way->{orderly};

    # Coro leaves the thread that this subtest runs in, which Test2 minds.
    $server->ended(
        status => $way->{status},
        $stage_name =~ /Coro/
        ? ( stderr => qr{\A(?:\t\(in cleanup\)[^\n]*/Test2/[^\n]*\n)*\z} )
        : ()
    );

    if ( !$way->{orderly} ) {
        ok scalar $server->files_left, 'nobody could remove the file' if @clients > 1;
        output_of(
            $^X, ( map { "-I$_" } grep { !ref } @INC ),
            '-MHTTP::Server::EV', '-e', 'HTTP::Server::EV->new({ tmp_path => shift })',
            $server->tmp_path
        );
    }
    is_deeply [ $server->files_left ], [], 'no file is left';
    my @saved = glob "$kept/*";
    my $count = $stage->{saves} // @saved;
    is_deeply [ map { digest($_) } @saved ], [ ( sha256_hex($CONTENT) ) x $count ],
      $stage->{saves} ? 'the file is saved' : 'what was saved is whole';
    return;
}

sub serve {
    my ( $server, $stage, $end ) = @_;
    ## no critic (ProhibitStringyEval)
    eval q{END { TestServer::report('END') } 1} or die $@;
    my $main     = $stage->{main} || sub { $_[0]->header };
    my $is_meant = sub { ( $_[0]{headers}{REQUEST_URI} // '/act' ) eq '/act' };
    my %options  = %{ $stage->{options} || {} };
    $options{$_} ||= sub { }
      for qw(on_multipart on_file_open on_file_write on_file_received on_error);
    if ( my $option = $stage->{option} ) {
        my $is_of_request = $option =~ /\Aon_(?!drained)/;
        $options{$option} = sub { $end->() if !$is_of_request || $is_meant->(@_) };
    }
    $server->new_server;
    $stage->{before}->($end) if $stage->{before};
    $server->listen( sub { $is_meant->(@_) && $main->( $_[0], $end ) }, \%options );
    $stage->{after}->($end) if $stage->{after};
    return;
}

sub save_and_end {
    my ( $cgi, $end ) = @_;
    my ($file) = @{ $cgi->file('file') };
    $file->save( kept(), sub { } );
    return $end->();
}

sub kept { return $kept_path }

sub digest {
    my ($path) = @_;
    return Digest::SHA->new(256)->addfile( $path, 'b' )->hexdigest;
}

# A server that has this END block and everything still open when it exits.
sub ends {
    my ( $backend, $block, $when ) = @_;
    my $kept = tempdir( CLEANUP => 1 );
    $kept_path = "$kept/file";
    my $server = ends_by( $backend, $block, $when );
    $server->await('END');
    $server->ended( status => 7 );
    is_deeply [ $server->files_left ], [], 'no file is left';
    is_deeply [ grep { digest($_) ne sha256_hex($CONTENT) } grep { -f } glob "$kept/*" ],
      [], 'what was saved is whole';
    return $kept;
}

sub ends_by {
    my ( $backend, $block, $when ) = @_;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            our @objects = $server->new_server;
            my $at_end = sub { report('END'); $block->(@objects) };
            if ( $when eq 'after' ) {
                our $late = $at_end;
                ## no critic (ProhibitStringyEval)
                eval q{END { our $late->() } 1} or die $@;
            }
            else {
                $early = $at_end;
            }
            my $listener;
            $listener = $server->listen(
                sub {
                    my ($cgi) = @_;
                    push @objects, $cgi, @{ $cgi->file('file') }, $listener;
                    $cgi->header;
                    $cgi->print('something');
                    exit 7;
                }
            );
        },
        backend => $backend
    );
    my $bystander = $server->connect;
    $bystander->send( substr $UPLOAD, 0, 1_000_000 );
    ok $server->await_files(1), 'a file is being received';
    my $client = $server->connect;
    $client->send($UPLOAD);
    $server->{clients} = [ $bystander, $client ];
    return $server;
}

package Ends;

sub DESTROY { return $_[0]{end}->() }

package Last;

# Perl destroys its objects in any order, so that these may be gone.
sub DESTROY {
    my ( $server, $cgi, $file, $listener ) = @{ $_[0] };
    local $SIG{__WARN__} = sub { };
    for my $method (qw(header fh stop start drop close)) {
        eval { $cgi->$method };
    }
    eval {
        $file->save( main::kept(), sub { } );
    };
    for my $method (qw(fh size path close)) {
        eval { $file->$method };
    }
    eval { $listener->$_ } for qw(stop start);
    eval { $server->$_ }   for qw(stop cleanup);
    mkdir main::kept() =~ s{[^/]+\z}{used at ${^GLOBAL_PHASE}}r;
    return;
}
