#!/usr/bin/env perl
# $cgi->drop outside the callbacks of a body: in the main callback and later, with output
# pending, with handles of the socket given out, from callbacks of other requests.

use strict;
use warnings;

use FindBin;
use Symbol qw(gensym);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $UPLOAD =
  upload_bytes( { name => 'file', content => 'x' x 100_000, file_name => 'a' } );

my @CALLBACKS =
  qw(on_multipart on_file_open on_file_write on_file_received on_error main);

# What the main callback has done before it drops its request, which it keeps, and what
# the client gets of it.
my %BEFORE = (
    'nothing'       => [ sub { },                                     q{} ],
    'header, print' => [ sub { $_[0]->header; $_[0]->print('page') }, q{} ],
    'attach, print' =>
      [ sub { my ($cgi) = @_; $cgi->attach(*STDOUT); $cgi->header; print 'page' }, q{} ],
    'stop'           => [ sub { $_[0]->stop },                     q{} ],
    'fh'             => [ sub { $_[0]->print('page'); $_[0]->fh }, q{} ],
    'syswrite to fh' => [ sub { syswrite $_[0]->fh, 'direct' },    'direct' ],
    'syswrite to fh, which is kept' =>
      [ sub { our $kept = $_[0]->fh; syswrite $kept, 'direct' }, 'direct' ],
    'syswrite to a copy, which is kept' => [
        sub {
            my ($cgi) = @_;
            open my $copy, '<', '/dev/null' or die $!;
            $cgi->copy($copy);
            syswrite $copy, 'direct';
            our @kept;
            push @kept, $copy;
        },
        'direct'
    ],
    'buffer, print' => [ sub { print { $_[0]->buffer } 'page' }, q{} ],
);

for my $backend ( backends() ) {
    subtest "In the main callback, with $backend" => sub {
        for my $request ( request_bytes( GET => '/' ), $UPLOAD ) {
            for my $what ( sort keys %BEFORE ) {
                my ( $before, $received ) = @{ $BEFORE{$what} };
                my $server = start(
                    $backend,
                    sub {
                        my ($cgi) = @_;
                        our @requests;
                        push @requests, $cgi;
                        $before->($cgi);
                        my @list = $cgi->drop;
                        report( dropped => scalar @list, $cgi->print('more') );
                    }
                );
                my $client = $server->connect;
                $client->send($request);
                is $client->read_all, $received, "after $what: what the client gets";
                is_deeply [ $server->reports_until('dropped') ], [ [ dropped => 0 ] ],
                  'the empty list; print returns it from then on; no on_error';
                $server->stop;
            }
        }
    };
}

subtest 'Later, with output that the client does not take' => sub {
    my $server = start(
        undef,
        sub {
            my ($cgi) = @_;
            $cgi->{buffer}{onerror} = sub { report('onerror') };
            $cgi->print( 'x' x 20_000_000 );
            $cgi->flush_wait( sub { report('drained') } );
            our $timer = EV::timer( 0.05, 0, sub { $cgi->drop; report('dropped') } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is_deeply [ $server->reports_until('drained') ], [ ['dropped'], ['drained'] ],
      'flush_wait calls back then, and onerror is not called';
    cmp_ok length $client->read_all, '<', 20_000_000, 'the rest is not sent';
    $server->stop;
};

subtest 'There is no socket any more' => sub {
    my $server = start(
        undef,
        sub {
            my ($cgi) = @_;
            $cgi->drop;
            my @outcomes = map {
                eval { $_->(); 'no exception' }
                  || $@
            } sub { $cgi->fh }, sub { $cgi->copy( gensym() ) };
            report( outcomes => @outcomes );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, q{}, 'the client gets nothing';
    my ( $fh, $copy ) = $server->await('outcomes');
    like $fh,   qr/\ACan`t get fh of closed socket! at /, 'fh dies';
    like $copy, qr/\ACan`t attach socket handle at /,     'copy dies';
    $server->stop;
};

subtest 'In the callback of flush_wait' => sub {
    my $server = start(
        undef,
        sub {
            my ($cgi) = @_;
            $cgi->print('sent');
            $cgi->flush_wait( sub { $cgi->print('not sent'); $cgi->drop; undef $cgi } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'sent', 'what was sent before arrives';
    $server->stop;
};

subtest 'In onerror' => sub {
    my $server = start(
        undef,
        sub {
            my ($cgi) = @_;
            $cgi->{buffer}{onerror} =
              sub { $cgi->drop; report('onerror'); undef $cgi };
            report('kept');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('kept');
    $client->close;
    $server->await('onerror');
    $server->stop;
};

subtest 'An upload that on_error keeps, with its handle, is closed all the same' => sub {
    my %ends = (
        'drop'                   => [ $UPLOAD,                     sub { $_[0]->drop } ],
        'a client that shuts'    => [ substr( $UPLOAD, 0, 1_000 ), sub { } ],
        'an exception elsewhere' => [ $UPLOAD, sub { die "in on_multipart\n" } ],
    );
    for my $end ( sort keys %ends ) {
        my ( $bytes, $on_multipart ) = @{ $ends{$end} };
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my @kept;
                my $on_error = sub {
                    my ($cgi) = @_;
                    push @kept, $cgi, $cgi->fh;
                    syswrite $cgi->fh, 'direct';
                    $cgi->print('buffered');
                };
                $server->listen( sub { },
                    { on_multipart => $on_multipart, on_error => $on_error } );
            }
        );
        my $client = $server->connect;
        $client->send($bytes);
        $client->shutdown if $end =~ /client/;
        is $client->read_all, 'direct', $end;
        $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: in on_multipart\n)?\z/ );
    }
};

subtest 'Of another request, in any callback' => sub {
    for my $callback (@CALLBACKS) {
        my $first;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                my %options = map {
                    ( $_ => sub { } )
                } @CALLBACKS;
                $options{on_multipart} = sub { $first ||= $_[0] };
                $options{main}         = sub { $_[0]->header; $_[0]->print('done') };

                my $usual = $options{$callback};
                $options{$callback} = sub {
                    my ($cgi) = @_;
                    $usual->($cgi);
                    return if !$first || $cgi == $first;
                    $first->drop;
                    undef $first;
                };
                $server->listen( delete $options{main}, \%options );
            }
        );
        my $half         = substr $UPLOAD, 0, 50_000;
        my $first_client = $server->connect;
        $first_client->send($half);
        $first_client->drained or die 'The server does not read';

        my $client = $server->connect;
        $client->send( $callback eq 'on_error' ? $half : $UPLOAD );
        $client->shutdown if $callback eq 'on_error';
        is $first_client->read_all, q{}, "in $callback: the other is closed";
        is $client->response->{body}, $callback eq 'on_error' ? undef : 'done',
          'and this one goes on';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    }
};

done_testing;

# A server with this main callback, which reports on_error.
sub start {
    my ( $backend, $main ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( $main, { on_error => sub { report('on_error') } } );
        },
        backend => $backend
    );
}
