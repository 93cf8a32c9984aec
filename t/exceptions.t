#!/usr/bin/env perl
# exit in any callback ends the process as it does elsewhere; exceptions in callbacks that
# are none of a request's course. See callback-actions.t for those that are.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

my @HOOKS = qw(on_multipart on_file_open on_file_write on_file_received);
my @PARTS = (
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 100_000, file_name => 'a.txt' },
    { name => 'other', content => 'y',           file_name => 'b.txt' },
);

for my $backend ( backends() ) {
    for my $hook (@HOOKS) {
        subtest "exit in $hook ends the process, with $backend" => sub {
            my $server = start( $backend, $hook => sub { exit 7 } );
            my $client = $server->connect;
            $client->send( upload_bytes(@PARTS) );
            ok $client->is_closed, 'the connection is closed';
            $server->ended( status => 7 );
            is_deeply [ $server->files_left ], [], 'no file is left';
        };
    }

    subtest "exit in on_error, with $backend" => sub {
        my $server = start( $backend, on_error => sub { exit 8 } );
        my $client = $server->connect;
        $client->send( substr upload_bytes(@PARTS), 0, 50_000 );
        $client->shutdown;
        $server->ended( status => 8 );
        is_deeply [ $server->files_left ], [], 'no file is left';
    };

    subtest "die in the callbacks of save and fh, with $backend" => sub {
        my $server = start(
            $backend,
            on_file_received => sub {
                my ( $cgi, $file ) = @_;
                $file->fh( sub { report('fh'); die "in fh\n" } )
                  if $file->name eq 'a.txt';
                $file->save( '/dev/null/x', sub { report('save'); die "in save\n" } )
                  if $file->name eq 'b.txt';
            }
        );
        $server->upload(@PARTS);
        $server->await($_) for qw(fh save);
        is $server->request( GET => '/' )->{body}, 'page', 'the server goes on';
        $server->stop(
            stderr => qr/ERROR IN CALLBACK: in fh\n(?s:.*)ERROR IN CALLBACK: in save\n/ );
      }
      if $backend eq 'AIO';
}

subtest 'die in the main callback: what was printed is sent' => sub {
    my $server = start_main( sub { die "in main\n" } );
    is $server->request( GET => '/' )->{body}, 'begun', 'the beginning of the page';
    is $server->upload(@PARTS)->{body},        'begun', 'after an upload as well';
    ok $server->await_files(0), 'no file is left';
    $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: in main\n){2}\z/ );
};

subtest 'exit in the main callback' => sub {
    my $server = start_main( sub { exit 9 } );
    my $client = $server->connect;
    $client->send( upload_bytes(@PARTS) );
    $server->ended( status => 9 );
    is_deeply [ $server->files_left ], [], 'no file is left';
};

subtest 'exit runs END blocks and destructors' => sub {
    my $server = start_main(
        sub {
            ## no critic (ProhibitStringyEval)
            eval q{END { TestServer::report('END') } 1} or die $@;
            our $global = bless [], 'Reporting';
            exit 10;
        }
    );
    my $client = $server->connect;
    $client->send("GET / HTTP/1.0\r\n\r\n");
    $server->await('END');
    $server->await('destroyed');
    $server->ended( status => 10 );
};

subtest 'die in later callbacks: flush_wait and onerror' => sub {
    my $server = start_main(
        sub {
            my ($cgi) = @_;
            $cgi->{buffer}{onerror} =
              sub { report('onerror'); undef $cgi; die "in onerror\n" };
            $cgi->flush_wait( sub { report('sent'); die "in flush_wait\n" } );
        }
    );
    my $client = $server->connect;
    $client->send("GET / HTTP/1.0\r\n\r\n");
    $server->await('sent');
    $client->read_until(qr/begun/);
    $client->close;
    $server->await('onerror');
    $server->stop( stderr =>
          qr/\AERROR IN CALLBACK: in flush_wait\nERROR IN CALLBACK: in onerror\n\z/ );
};

done_testing;

# A server with one hook of the caller's, which reports on_error and main.
sub start {
    my ( $backend, %hooks ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub { $_[0]->header; $_[0]->print('page'); report('main') },
                { on_error => sub { report('on_error') }, %hooks }
            );
        },
        backend => $backend
    );
}

# A server whose main callback prints something, then calls the caller's.
sub start_main {
    my ($then) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( sub { $_[0]->header; $_[0]->print('begun'); $then->(@_) } );
        }
    );
}

package Reporting;
sub DESTROY { return TestServer::report('destroyed') }
