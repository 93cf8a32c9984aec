#!/usr/bin/env perl
# Exceptions in callbacks besides those of a request's course, which callback-actions.t
# has.

use strict;
use warnings;

use FindBin;
use Hash::Util ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

my @PARTS = (
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 100_000, file_name => 'a.txt' },
    { name => 'other', content => 'y',           file_name => 'b.txt' },
);

for my $backend ( backends() ) {
    subtest "die in the callbacks of save and fh, with $backend" => sub {
        my $server = start(
            $backend,
            on_file_received => sub {
                my ( $cgi, $file ) = @_;
                $file->close;
                $file->fh( sub { report('fh'); die "in fh\n" } )
                  if $file->name eq 'a.txt';
                $file->save( '/dev/null/x', sub { report('save'); die "in save\n" } )
                  if $file->name eq 'b.txt';
            }
        );
        is $server->upload(@PARTS)->{body}, 'page', 'the request is served';
        $server->await($_) for qw(fh save);
        is $server->request( GET => '/' )->{body}, 'page', 'the server goes on';
        $server->stop(
            stderr => qr/ERROR IN CALLBACK: in fh\n(?s:.*)ERROR IN CALLBACK: in save\n/ );
      }
      if $backend eq 'AIO';
}

subtest
  'With Blocking, die in the callbacks of save and fh is one where they are called' =>
  sub {
    my $server = start(
        'Blocking',
        on_file_received => sub {
            my ( $cgi, $file ) = @_;
            eval {
                $file->fh( sub { die "in fh\n" } );
            };
            report( fh => $@ );
            $file->save( '/dev/null/x', sub { die "in save\n" } );
        }
    );
    is $server->upload(@PARTS)->{status}, undef,     'the request is dropped';
    is $server->await('fh'),              "in fh\n", 'an eval around fh catches it';
    is_deeply [ map { $_->[0] } $server->reports_until('on_error') ], ['on_error'],
      'on_error';
    ok $server->await_files(0), 'no file is left';
    $server->stop(
        stderr => qr/\A[^\n]*failed to move file[^\n]*\nERROR IN CALLBACK: in save\n\z/ );
  };

subtest 'die in the main callback: what was printed is sent' => sub {
    my $server = start_main( sub { die "in main\n" } );
    is $server->request( GET => '/' )->{body}, 'begun', 'the beginning of the page';
    is $server->upload(@PARTS)->{body},        'begun', 'after an upload as well';
    ok $server->await_files(0), 'no file is left';
    $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: in main\n){2}\z/ );
};

subtest 'die in a thread, and in the handler of __WARN__' => sub {
    plan skip_all => 'needs Coro::EV' if !eval { require Coro::EV };
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            require Coro::EV;
            $server->listen(
                sub {
                    $_[0]->header;
                    $_[0]->print('begun');
                    ## no critic (RequireLocalizedPunctuationVars)
                    $SIG{__WARN__} =
                      sub { report( warning => @_ ); die "in __WARN__\n" };
                    die "in a thread\n";
                },
                { threading => 1 }
            );
        }
    );
    for ( 1 .. 2 ) {
        is $server->request( GET => '/' )->{body}, 'begun', 'what was printed is sent';
        is $server->await('warning'), "ERROR IN CALLBACK: in a thread\n", 'a warning';
    }
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "A request object that is locked, with $backend" => sub {
        my $server = start(
            $backend,
            on_file_received => sub { Hash::Util::lock_hashref( $_[0] ) },
            on_error         => sub { report('on_error') }
        );
        for ( 1 .. 3 ) {
            is $server->upload( $PARTS[1] )->{status}, undef, 'it cannot be completed';
            $server->await('on_error');
        }
        ok $server->await_files(0), 'no file is left';
        $server->stop( stderr =>
              qr/\A(?:ERROR IN CALLBACK: Attempt to access disallowed key[^\n]*\n){3}\z/
        );
    };
}

subtest 'An upload to a server without new' => sub {
    my $server = TestServer->start(
        sub {
            my ($test) = @_;
            HTTP::Server::EV->listen(
                $test->{socket},
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print( $cgi->post('field')->[0] // 'nothing' );
                },
                { on_error => sub { report('on_error') } }
            );
        }
    );
    is $server->upload( $PARTS[0] )->{body},   'text', 'a field is received';
    is $server->upload( $PARTS[1] )->{status}, undef,  'there is no place for a file';
    $server->await('on_error');
    $server->stop( stderr =>
          qr/\AERROR IN CALLBACK: HTTP::Server::EV->new was not called[^\n]*\n\z/ );
};

subtest 'An upload to a server without new, with a directory set by hand' => sub {
    my $server = TestServer->start(
        sub {
            my ($test) = @_;
            no warnings 'once';
            $HTTP::Server::EV::tmp_path = $test->tmp_path;
            my $path = $test->directory . '/saved';
            HTTP::Server::EV->listen(
                $test->{socket},
                sub {
                    my ($cgi)  = @_;
                    my ($file) = @{ $cgi->file('file') };
                    $file->save( $path, sub { report( saved => $_[0], -s $path ) } );
                    $cgi->header;
                },
            );
        }
    );
    $server->upload( $PARTS[1] );
    is_deeply [ $server->await('saved') ], [ 1, length $PARTS[1]{content} ],
      'a file is received and saved';
    $server->stop;
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
