#!/usr/bin/env perl
# How long a request object lives and what that does to its connection and files: kept,
# let go at each stage, and used when its request is long over.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $FILE   = 'x' x 100_000;
my $UPLOAD = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => $FILE, file_name => 'a' },
    { name => 'file',  content => q{},   file_name => 'b' },
);
my @CALLBACKS =
  qw(on_multipart on_file_open on_file_write on_file_received on_error main);

# In the child: what is kept.
my @kept;

# With a guard in each object, that reports when it goes.
my %ENDS = (
    'the main callback returns' => [ main          => sub { } ],
    'the main callback dies'    => [ main          => sub { die "in main\n" } ],
    'next'                      => [ main          => sub { $_[0]->next } ],
    'close'                     => [ main          => sub { $_[0]->close } ],
    'drop in the main callback' => [ main          => sub { $_[0]->drop } ],
    'drop in on_multipart'      => [ on_multipart  => sub { $_[0]->drop } ],
    'drop in on_file_write'     => [ on_file_write => sub { $_[0]->drop } ],
    'stop, start'               => [ on_file_open  => sub { $_[0]->stop; $_[0]->start } ],
    'on_file_received dies'     => [ on_file_received => sub { die "in a callback\n" } ],
    'close in on_file_open'     => [ on_file_open     => sub { $_[0]->close } ],
    'fh, then the end'          => [ main             => sub { $_[0]->fh } ],
    'attach, then the end'      => [ main             => sub { $_[0]->attach(*STDOUT) } ],
    'buffer, then the end'      => [ main => sub { print { $_[0]->buffer } 'x' } ],
    'fh of the file, then the end' => [
        main => sub {
            $_[0]->file('file')->[0]->fh( sub { } );
        }
    ],
    'flush_wait' => [
        main => sub {
            $_[0]->flush_wait( sub { } );
        }
    ],
    'give_up_handle' => [ main => sub { $_[0]{buffer}->give_up_handle } ],
);

for my $backend ( backends() ) {
    subtest "The object goes with its request, and the files with it, with $backend" =>
      sub {
        for my $end ( sort keys %ENDS ) {
            my ( $callback, $act ) = @{ $ENDS{$end} };
            my $server = start( $backend,
                $callback => sub { $_[0]{guard} = bless [], 'Guard'; $act->(@_) } );
            my $client = $server->connect;
            $client->send($UPLOAD);
            $server->await('freed');
            ok $client->is_closed,      "$end: freed and closed";
            ok $server->await_files(0), 'no file is left';
            $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: in [\w ]+\n)?\z/ );
        }
      };

    subtest "A client that vanishes lets the object go, with $backend" => sub {
        my $server =
          start( $backend, on_multipart => sub { $_[0]{guard} = bless [], 'Guard' } );
        my $client = $server->connect;
        $client->send( substr $UPLOAD, 0, 50_000 );
        $client->drained or die 'The server does not read';
        $client->reset;
        $server->await('freed');
        ok $server->await_files(0), 'and its file';
        $server->stop;
    };

    subtest "An object that is kept keeps its files, not its upload, with $backend" =>
      sub {
        my %left = ( on_multipart => 0, on_file_open => 1, on_file_received => 1 );
        for my $callback ( sort keys %left ) {
            my $server =
              start( $backend, $callback => sub { push @kept, $_[0]; $_[0]->drop } );
            my $client = $server->connect;
            $client->send($UPLOAD);
            ok $client->is_closed, "dropped in $callback: the connection is closed";
            is scalar( my @files = $server->files_left ), $left{$callback},
              'files that are left';
            $server->tell('forget');
            ok $server->await_files(0), 'and go with the object';
            $server->stop;
        }
      };

    subtest "Files that are deleted from the object, with $backend" => sub {
        for my $callback (qw(on_file_open on_file_write on_file_received)) {
            my $server = start(
                $backend,
                $callback => sub { delete @{ $_[0] }{qw(file file_a)} },
                main      => sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print( scalar @{ $cgi->file('file') } );
                    push @kept, $cgi;
                    $cgi->close;
                    report('main');
                }
            );
            my $client = $server->connect;
            $client->send($UPLOAD);

            # What comes to the object after the callback.
            my $is_later = $callback eq 'on_file_open' && $backend eq 'Blocking';
            my $expected = $callback eq 'on_file_write' || $is_later ? 1 : 0;
            is $client->response->{body}, $expected,
              "in $callback: those that came later are there";
            ok $server->await_files($expected), 'the others are gone already';
            $server->stop;
        }
    };

    subtest "A file that outlives its request, with $backend" => sub {
        my $server = start(
            $backend,
            on_file_received => sub { push @kept, $_[1] if !@kept },
            later            => sub {
                my ($file) = @kept;
                report(
                    file => $file->name,
                    $file->size, defined $file->{parent_req} ? 1 : 0
                );
                $file->fh(
                    sub {
                        my $content = do { local $/ = undef; readline $_[0] };
                        report( read => length $content );
                        $file->save( $file->path . '.saved',
                            sub { report( saved => @_ ) } );
                    }
                );
            }
        );
        my $client = $server->connect;
        $client->send($UPLOAD);
        $client->read_all;
        ok $server->await_files(1), 'it is left';
        $server->tell('later');
        is_deeply [ $server->await('file') ], [ 'a', 100_000, 0 ],
          'name, size; its request is gone';
        is $server->await('read'),  100_000, 'fh reads it';
        is $server->await('saved'), 1,       'save keeps it';
        $server->stop;
        is scalar( my @files = $server->files_left ), 1, 'for good';
    };
}

subtest 'A kept object is answered when the application likes' => sub {
    for my $request ( request_bytes( GET => '/' ), $UPLOAD ) {
        my $server = start(
            undef,
            timeout => 0.2,
            main    => sub {
                my ($cgi) = @_;
                my $timer;
                $timer = EV::timer(
                    0.6, 0,
                    sub {
                        undef $timer;
                        $cgi->header;
                        $cgi->print( 'late, ', scalar @{ $cgi->file('file') } );
                        undef $cgi;
                    }
                );
            }
        );
        my $client = $server->connect;
        $client->send($request);
        like $client->response->{body}, qr/\Alate, [02]\z/,
          'even after the timeout, which is for receiving';
        $server->stop;
    }
};

subtest 'A kept object keeps its reply open, until it goes' => sub {
    my $server = start(
        undef,
        main => sub {
            return if $_[0]{headers}{REQUEST_URI} ne '/';
            push @kept, @_;
            report('kept');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('kept');
    is $server->request( GET => '/other' )->{status}, undef, 'others come and go'
      for 1 .. 3;
    is sysread( $client->socket, my $bytes, 1 ), undef, 'nothing has come';
    $server->tell('forget');
    is $client->read_all, q{}, 'it is closed without a word';
    $server->stop;
};

subtest 'Handles of requests that are over never close a socket of another client' =>
  sub {
    for my $end (qw(drop close die)) {
        my $server = start(
            undef,
            on_multipart => sub {
                my ($cgi) = @_;
                push @kept, $cgi, $cgi->fh;
                report('kept');
                return $end eq 'die' ? die "at will\n" : $cgi->$end;
            },
            main => sub { $_[0]->header; $_[0]->print('done') }
        );
        for ( 1 .. 20 ) {
            my $client = $server->connect;
            $client->send($UPLOAD);
            ok $client->is_closed, "$end: closed" if $_ == 1 && $end ne 'close';
            $client->close;
            $server->await('kept');
        }

        # They have the numbers of those that were.
        my @others = map { $server->connect } 1 .. 60;
        $_->send('GET / HTTP/1.1') for @others;
        $_->drained or die 'The server does not read' for @others;
        $server->tell('forget');
        is $server->request( GET => '/' )->{body}, 'done', 'all handles are closed';
        $_->send("\r\nHost: a\r\nConnection: close\r\n\r\n") for @others;
        is_deeply [ map { $_->response->{body} } @others ], [ ('done') x @others ],
          'and no other client is hit';
        $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: at will\n)*\z/ );
    }
  };

subtest 'An object that is let go unanswered closes its connection' => sub {
    for my $main (
        sub { },
        sub { undef $_[0] },
        sub { my ($cgi) = @_; undef $cgi; undef $_[0] },
        sub { delete $_[0]{buffer} },
        sub { %{ $_[0] } = () },
      )
    {
        my $server = start( undef, main => $main );
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        is $client->read_all, q{}, 'without a word';
        $server->stop;
    }
};

# Of an object whose request is over: what each method returns or says.
my @OVER = (
    [ close      => [], q{} ],
    [ close      => [], q{} ],
    [ stop       => [], '1' ],
    [ start      => [], '1' ],
    [ drop       => [], q{} ],
    [ stop       => [], '1' ],
    [ drop       => [], q{} ],
    [ fd         => [], qr/\A\d+\z/ ],
    [ fh         => [], qr/\ACan`t get fh of closed socket! at \Q$0\E/ ],
    [ buffer     => [], qr/\ACan`t get buffered handle from closed socket! at \Q$0\E/ ],
    [ attach     => [ \*STDERR ], qr/\ACan`t attach closed socket! at \Q$0\E/ ],
    [ header     => [],           qr/\ACan`t print headers to closed socket! at \Q$0\E/ ],
    [ copy       => [ \*STDERR ], qr/\ACan`t attach socket handle at \Q$0\E/ ],
    [ print      => ['x'],        qr/\ACan`t print to closed socket! at \Q$0\E/ ],
    [ flush      => [],           qr/ at \Q$0\E line/ ],
    [ flush_wait => [ sub { } ],  qr/ at \Q$0\E line/ ],
    [ get        => ['a'],        qr/\AARRAY/ ],
    [ param      => ['a'],        '1' ],
    [ post       => ['a'],        qr/\AARRAY/ ],
    [ file       => ['a'],        qr/\AARRAY/ ],
    [ urldecode  => ['%41'],      'A' ],
    [ set_cookies => [ { a => 1 } ], q{} ],
    [ flush_timer => [],             qr/\A\d/ ],
);

subtest 'Methods of an object whose request is over' => sub {
    my $server = start(
        undef,
        main  => sub { my ($cgi) = @_; push @kept, $cgi; $cgi->header; $cgi->close },
        later => sub {
            for my $call (@OVER) {
                my ( $method, $arguments ) = @{$call};
                my $returned = eval { join q{,}, $kept[0]->$method( @{$arguments} ) };
                report( $method => $returned // $@ );
            }
        }
    );
    is $server->request( GET => '/?a=1' )->{status}, 200, 'its reply is sent';
    $server->tell('later');
    for my $call (@OVER) {
        my ( $method, undef, $expected ) = @{$call};
        my $got = $server->await($method);
        ref $expected ? like( $got, $expected, $method ) : is( $got, $expected, $method );
    }
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "Hundreds of such objects harm nobody who has their places, with $backend" =>
      sub {
        my $server = start(
            $backend,
            on_multipart => sub { report('begun') },
            main         => sub {
                my ($cgi) = @_;
                $cgi->header;
                $cgi->print('done');
                return if $cgi->{headers}{REQUEST_METHOD} eq 'POST';
                push @kept, $cgi;
                $cgi->close;
            },
            later => sub {
                for my $cgi (@kept) {
                    for my $call (@OVER) {
                        my ( $method, $arguments ) = @{$call};
                        eval { $cgi->$method( @{$arguments} ) };
                    }
                }
                splice @kept, 0, @kept / 2;
                report('called');
            }
        );

        # Many places, that are all free again.
        my @pages = map { $server->connect } 1 .. 50;
        for my $round ( 1 .. 6 ) {
            $_->send( request_bytes( GET => '/' ) ) for @pages;
            is_deeply [ map { $_->response->{body} } @pages ], [ ('done') x @pages ],
              'the pages are served';
            @pages = map { $server->connect } 1 .. 50 if $round < 6;
        }

        # Others in all stages of an upload, and waiting for a page.
        my @cuts     = map { int( $_ * length($UPLOAD) / 40 ) } 1 .. 39;
        my @uploads  = map { $server->connect } @cuts;
        my $silent   = $server->connect;
        my $complete = index( $UPLOAD, "\r\n\r\n" ) + 4;
        for my $number ( 0 .. $#cuts ) {
            $uploads[$number]->send( substr $UPLOAD, 0, $cuts[$number] );
        }
        $server->await('begun') for grep { $_ >= $complete } @cuts;

        for ( 1 .. 2 ) {
            $server->tell('later');
            $server->await('called');
        }
        for my $number ( 0 .. $#cuts ) {
            $uploads[$number]->send( substr $UPLOAD, $cuts[$number] );
        }
        is_deeply [ map { $_->response->{body} } @uploads ], [ ('done') x @uploads ],
          'the uploads are complete';
        $silent->send( request_bytes( GET => '/' ) );
        is $silent->response->{body}, 'done', 'and the one that waited';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
      };
}

done_testing;

# A server with these callbacks, `main` among them, and options; `forget` lets go of what is
# kept, `later` calls the callback of that name.
sub start {
    my ( $backend, %options ) = @_;
    my $main  = delete $options{main} || sub { };
    my $later = delete $options{later};
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { $_[0] eq 'forget' ? undef @kept : $later->() } );
            $server->listen( $main, \%options );
        },
        backend => $backend
    );
}

package Guard;
sub DESTROY { return TestServer::report('freed') }
