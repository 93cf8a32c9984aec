#!/usr/bin/env perl
# exit in any callback ends the process as it does elsewhere: with its status, END blocks
# and destructors, and without a temporary file.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

# Some of it is written by threads, where there are any.
my $UPLOAD = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 1_500_000, file_name => 'a.txt' },
    { name => 'other', content => 'y',             file_name => 'b.txt' },
);

my $ACT = $UPLOAD =~ s{/}{/act}r;

my @CALLBACKS =
  qw(on_multipart on_file_open on_file_write on_file_received on_error main);

my %WAYS = (
    'exit'            => sub { exit 7 },
    'exit in an eval' => sub {
        eval { exit 7 };
        report('not reached');
    },
    'exit in a loop of EV within' => sub {
        my $timer = EV::timer( 0, 0, sub { exit 7 } );
        EV::run();
    },
    'exit in a destructor'         => sub { my $object = bless [], 'Exits'; return },
    'exit in a handler of __DIE__' => sub {
        local $SIG{__DIE__} = sub { exit 7 };
        die "a reason\n";
    },
    'exit in a handler of __WARN__ that an exception is told to' => sub {
        $SIG{__WARN__} = sub { exit 7 };    ## no critic (RequireLocalizedPunctuationVars)
        die "a reason\n";
    },
    'exit after drop' => sub { $_[0]->drop; exit 7 },
    'exit after stop' => sub { $_[0]->stop; exit 7 },
);

for my $backend ( backends() ) {
    for my $callback (@CALLBACKS) {
        subtest "In $callback, with $backend" => sub {
            for my $way ( sort keys %WAYS ) {
                my $server = start( $backend, $callback, $WAYS{$way} );

                # Another upload is half there.
                my $bystander = $server->connect;
                $bystander->send( substr $UPLOAD, 0, 1_000_000 );
                ok $server->await_files(1), $way;

                my $client = $server->connect;
                $client->send( $callback eq 'on_error' ? substr $ACT, 0, 500_000 : $ACT );
                $client->shutdown if $callback eq 'on_error';
                $server->ended( status => 7 );
                is_deeply [ $server->files_left ], [], 'no file is left';
            }
        };
    }

    # Callbacks that come later, or from another module.
    my %later = (
        'fh' => sub {
            $_[0]->fh( sub { exit 7 } );
        },
        'save' => sub {
            $_[0]->save( '/dev/null/x', sub { exit 7 } );
        },
        'close' => sub {
            $_[0]->close( sub { exit 7 } );
        },
    );
    for my $method ( sort keys %later ) {
        subtest "In the callback of a file's $method, with $backend" => sub {
            my $server = start( $backend, 'on_file_received',
                sub { my ( $cgi, $file ) = @_; $later{$method}->($file) } );
            my $client = $server->connect;
            $client->send($ACT);
            $server->ended(
                status => 7,
                $method eq 'save'
                ? ( stderr => qr/\A[^\n]*failed to move[^\n]*\n\z/ )
                : ()
            );
            is_deeply [ $server->files_left ], [], 'no file is left';
        };
    }
}

my %LATER = (
    'flush_wait' => sub {
        $_[0]->flush_wait( sub { exit 7 } );
    },
    'onerror' => sub {
        my ($cgi) = @_;
        $cgi->{buffer}{onerror} = sub { undef $cgi; exit 7 }
    },
    'a timer' => sub {
        my ($cgi) = @_;
        our $timer = EV::timer( 0, 0, sub { undef $cgi; exit 7 } );
    },
    'a destructor of what the request object has' =>
      sub { $_[0]{exits} = bless [], 'Exits' },
);

for my $place ( sort keys %LATER ) {
    subtest "In $place, after the main callback" => sub {
        my $server = start( undef, 'main', $LATER{$place} );
        my $client = $server->connect;
        $client->send("GET /act HTTP/1.0\r\n\r\n");
        if ( $place eq 'onerror' ) {
            $server->await('main');
            $client->close;
        }
        $server->ended( status => 7 );
    };
}

subtest 'END blocks and destructors run' => sub {
    my $server = start(
        undef, 'main',
        sub {
            ## no critic (ProhibitStringyEval)
            eval q{END { TestServer::report('END') } 1} or die $@;
            our $global = bless [], 'Reporting';
            exit 10;
        }
    );
    my $client = $server->connect;
    $client->send("GET /act HTTP/1.0\r\n\r\n");
    $server->await('END');
    $server->await('destroyed');
    $server->ended( status => 10 );
};

done_testing;

# A server that does this in the callback of that name, for the target /act.
sub start {
    my ( $backend, $name, $act ) = @_;
    my $callback = sub {
        my ($cgi) = @_;
        return if $cgi->{headers}{REQUEST_URI} ne '/act';
        report($name);
        $act->(@_);
    };
    return TestServer->start(
        sub {
            my ($server) = @_;
            my $main = $name eq 'main' ? $callback : sub { };
            $server->listen( $main, { $name => $callback } );
        },
        backend => $backend
    );
}

package Exits;
sub DESTROY { exit 7 }

package Reporting;
sub DESTROY { return TestServer::report('destroyed') }
