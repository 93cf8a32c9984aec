#!/usr/bin/env perl
# Uploads that are stopped for a while: what the clients, the clock and the disk do
# meanwhile; and stop, start and drop at other times than callback-actions.t has.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

my @HOOKS = qw(on_multipart on_file_open on_file_write on_file_received);

# Small enough for the buffers of the sockets: the client never has to wait.
my $FILE   = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 75_000;
my $DIGEST = sha256_hex($FILE);
my @PARTS  = (
    { name => 'before', content => 'text' },
    { name => 'file',   content => $FILE, file_name => 'a.bin' },
    { name => 'after',  content => 'more' },
);

# In the child: a request that a callback has kept, and whether one was ever stopped.
my ( $kept, $was_stopped );

for my $backend ( backends() ) {
    for my $hook (@HOOKS) {
        subtest "stop in $hook, start later, with $backend" => sub {
            my $server = start( $backend, $hook => \&stop_once );
            my $client = $server->connect;
            $client->send( upload_bytes(@PARTS) );
            is $server->await('stopped'), 1, 'stop returns 1';

            is $server->request( GET => '/' )->{body}, 'page',
              'others are served meanwhile';
            is_deeply [ $server->reports_until('main') ], [ [ main => 'GET' ] ],
              'the request stands still';
            $server->tell('start');
            is $server->await('start'), 1, 'start returns 1';
            is_deeply [ $server->reports_until('main') ], [ [ main => 'POST' ] ],
              'it goes on';
            is $client->response->{body}, $DIGEST, 'all of the file has come';
            ok $server->await_files(0), 'no file is left';
            $server->stop;
        };

        subtest "A request stopped in $hook has no timeout, with $backend" => sub {
            my $server = start(
                $backend,
                timeout => 0.5,
                $hook   => sub {
                    my ($cgi) = @_;
                    return if $was_stopped++;
                    $cgi->stop;
                    my $timer;
                    $timer =
                      EV::timer( 0.7, 0, sub { undef $timer; $cgi->start; undef $cgi } );
                }
            );
            is $server->upload(@PARTS)->{body}, $DIGEST, 'the upload is complete';
            $server->stop;
        };
    }

    subtest "A request that is stopped in every callback, with $backend" => sub {
        my $pause = sub {
            my ($cgi) = @_;
            $cgi->stop;
            my $timer;
            $timer = EV::timer( 0, 0, sub { undef $timer; $cgi->start; undef $cgi } );
        };
        my $server = start( $backend, map { $_ => $pause } @HOOKS );
        my @sizes  = ( 0, 1, 51_198, 2 * 51_198, 65_536, 2**20, 2**21, 0 );
        my @parts =
          map { { name => 'file', file_name => 'a', content => substr $FILE x 8, 0, $_ } }
          @sizes;
        is $server->upload(@parts)->{body},
          join( q{ }, map { sha256_hex( $_->{content} ) } @parts ),
          'files of all sizes are complete';
        is $server->upload( $_, { name => 'after', content => 'text' } )->{body},
          sha256_hex( $_->{content} ), length( $_->{content} ) . ' bytes alone'
          for @parts;
        $server->stop;
    };

    subtest "Other clients are served while many are stopped, with $backend" => sub {
        my @all;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->on_command( sub { $_->start for splice @all } );
                $server->listen(
                    \&answer,
                    {
                        on_file_open =>
                          sub { push @all, $_[0]; $_[0]->stop; report('open') }
                    }
                );
            },
            backend => $backend
        );
        my @clients = map { $server->connect } 1 .. 20;
        for my $client (@clients) {
            $client->send( upload_bytes(@PARTS) );
            $server->await('open');
        }
        is $server->request( GET => '/' )->{body}, 'page', 'another one';
        $server->tell('start');
        is_deeply [ map { $_->response->{body} } @clients ], [ ($DIGEST) x 20 ],
          'and each of them in the end';
        $server->stop;
    };
}

for my $backend ( backends() ) {
    subtest "stop, start and drop while the body comes, with $backend" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my $upload;
                $server->on_command(
                    sub {
                        my ($method) = @_;
                        report( $method => $upload->$method );
                        undef $upload if $method eq 'drop';
                    }
                );
                $server->listen(
                    sub { report( main => $_[0]{headers}{REQUEST_METHOD} ); answer(@_) },
                    {
                        on_multipart  => sub { ($upload) = @_ },
                        on_file_open  => sub { report('on_file_open') },
                        on_file_write => sub { report('on_file_write') },
                        on_error      => sub {
                            my ($cgi) = @_;
                            syswrite $cgi->fh, 'dropped';
                            report('on_error');
                        },
                    }
                );
            },
            backend => $backend
        );
        my $bytes  = upload_bytes(@PARTS);
        my $client = $server->connect;
        $client->send( substr $bytes, 0, 100_000 );
        $client->drained or die 'The server does not read';
        $server->await('on_file_open');
        for my $from ( 100_000, 200_000 ) {
            $server->tell('stop');
            is $server->await('stop'), 1, 'stop returns 1';
            $client->send( substr $bytes, $from, 100_000 );
            is $server->request( GET => '/' )->{body}, 'page', 'others are served';
            is_deeply [ $server->reports_until('main') ], [ [ main => 'GET' ] ],
              'nothing more of the file is reported';
            $server->tell('start');
            is $server->await('start'), 1, 'start returns 1';
            is_deeply [ ( $server->reports_until('on_file_write') )[0] ],
              [ ['on_file_write'] ], 'it goes on';
            $client->drained or die 'The server does not read';
        }
        $server->tell('drop');
        is $client->read_all, 'dropped', 'drop: on_error can reach the client';
        my @errors = grep { $_->[0] eq 'on_error' } $server->reports_until('on_error');
        $server->request( GET => '/' );
        push @errors, grep { $_->[0] eq 'on_error' } $server->reports_until('main');
        is @errors, 1, 'on_error is called once';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };

    subtest "What a stopped request's client does is noticed at start, with $backend" =>
      sub {
        my %vanish = (
            'closes'                => sub { $_[0]->close },
            'resets the connection' => sub { $_[0]->reset },
            'ends its sending side' => sub { $_[0]->shutdown },
        );
        for my $hook (@HOOKS) {
            for my $way ( sort keys %vanish ) {

                # A file that is complete, and half of another one.
                my $bytes = upload_bytes(
                    { name => 'file', content => 'x' x 20_000, file_name => 'a' },
                    @PARTS );
                my $server = start( $backend, $hook => \&stop_once );
                my $client = $server->connect;
                $client->send( substr $bytes, 0, 60_000 );
                $server->await('stopped');
                $vanish{$way}->($client);

                $server->request( GET => '/' ) for 1 .. 3;
                is_deeply [ map { $server->reports_until('main') } 1 .. 3 ],
                  [ ( [ main => 'GET' ] ) x 3 ], "in $hook it $way: unnoticed";
                $server->tell('start');
                $server->await('on_error');
                $server->request( GET => '/' );
                is_deeply [ $server->reports_until('main') ], [ [ main => 'GET' ] ],
                  'until start: on_error, once';
                ok $server->await_files(0), 'no file is left';
                $server->stop;
            }
        }
      };

    subtest "After start the timeout counts again, with $backend" => sub {
        my $server = start( $backend, timeout => 0.5, on_multipart => \&stop_once );
        my $client = $server->connect;
        $client->send( substr upload_bytes(@PARTS), 0, 1000 );
        $server->await('stopped');
        $server->tell('start');
        $server->await('on_error');
        is $client->read_all, q{}, 'the connection is closed';
        $server->stop;
    };
}

subtest 'On a request that is over they do nothing' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command(
                sub {
                    my @returned = ( $kept->stop, $kept->start, $kept->drop );
                    report( returned => @returned );
                }
            );
            $server->listen(
                sub { my ($cgi) = @_; $kept ||= $cgi; answer($cgi); $cgi->close },
                { on_file_open => sub { report('open') } } );
        }
    );
    $server->request( GET => '/' );

    # The next one has its place in the server's table.
    my $client = $server->connect;
    my $bytes  = upload_bytes(@PARTS);
    $client->send( substr $bytes, 0, 100_000 );
    $server->await('open');
    $server->tell('go');
    is_deeply [ $server->await('returned') ], [ 1, 1 ], 'the same results as ever';
    $client->send( substr $bytes, 100_000 );
    is $client->response->{body}, $DIGEST, 'and no other request is hit';
    $server->stop;
};

done_testing;

# A server with these options, which reports on_error and main, and does to the request
# that a callback has kept what the test tells.
sub start {
    my ( $backend, %options ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command(
                sub {
                    my ($method) = @_;
                    report( $method => $kept->$method );
                    undef $kept;
                }
            );
            $server->listen(
                sub { report( main => $_[0]{headers}{REQUEST_METHOD} ); answer(@_) },
                { on_error => sub { report('on_error') }, %options } );
        },
        backend => $backend
    );
}

sub stop_once {
    my ($cgi) = @_;
    return if $was_stopped++;
    $kept = $cgi;
    return report( stopped => $cgi->stop );
}

sub answer {
    my ($cgi) = @_;
    my @digests =
      map { Digest::SHA->new(256)->addfile( $_->path )->hexdigest }
      @{ $cgi->file('file') };
    $cgi->header;
    $cgi->print( @digests ? "@digests" : 'page' );
    return;
}
