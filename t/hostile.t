#!/usr/bin/env perl
# Clients that vanish, send rubbish or nothing: the server lives on, calls on_error
# where it has to, and leaks neither files nor descriptors.

use strict;
use warnings;

use FindBin;
use Socket qw(PF_INET SOCK_STREAM);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends multipart report request_bytes upload_bytes);

my @PARTS = (
    { name => 'title', content => 'some text' },
    {
        name      => 'photo',
        content   => 'p' x 5_000,
        file_name => 'a.jpg',
        type      => 'image/jpeg'
    },
    { name => 'video', content => 'v' x 200_000, file_name => 'b.mpg' },
);
my $UPLOAD      = upload_bytes(@PARTS);
my $HEAD_LENGTH = index( $UPLOAD, "\r\n\r\n" ) + 4;

# Around every line end and in the middle of the files.
my @CUTS = grep { $_ < length $UPLOAD } do {
    my %cuts = map { $_ => 1 } 1, 100_000, 150_000, length($UPLOAD) - 1;
    while ( $UPLOAD =~ /\r\n/g ) {
        $cuts{ pos($UPLOAD) + $_ }++ for -2 .. 2;
    }
    sort { $a <=> $b } keys %cuts;
};

my %VANISH = (
    'closes'                => sub { $_[0]->close },
    'resets the connection' => sub { $_[0]->reset },
    'ends its sending side' => sub { $_[0]->shutdown },
    'is read, then resets'  => sub { $_[0]->drained and $_[0]->reset },
);

for my $backend ( backends() ) {
    for my $way ( sort keys %VANISH ) {
        subtest
          "A client in mid-upload $way, at @{[ scalar @CUTS ]} points, with $backend" =>
          sub {
            my $server      = start( backend => $backend );
            my $descriptors = settled_descriptors($server);
            my %expected;
            my @clients;
            for my $cut (@CUTS) {
                my $client = $server->connect;
                $client->send( target( $cut, substr $UPLOAD, 0, $cut ) );
                $VANISH{$way}->($client);
                push @clients, $client;
                $expected{"/$cut"}++ if $cut >= $HEAD_LENGTH;
            }
            is_deeply errors( $server, scalar keys %expected ), \%expected,
              'on_error is called once for each whose head was complete';

            is $server->request( GET => '/' )->{body}, 'done', 'others are served';
            undef @clients;
            ok $server->await_files(0),                  'no file is left';
            ok $server->await_descriptors($descriptors), 'nor a descriptor';
            $server->stop;
          };
    }
}

subtest 'A client that vanishes while its request is stopped is noticed at start' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $stopped;
            $server->on_command( sub { $stopped->start; undef $stopped } );
            $server->listen(
                \&answer,
                {
                    on_file_open =>
                      sub { ($stopped) = @_; $stopped->stop; report('stopped') },
                    on_error => sub { report('on_error') },
                }
            );
        }
    );
    my $descriptors = settled_descriptors($server);
    my $client      = $server->connect;
    $client->send( substr $UPLOAD, 0, $HEAD_LENGTH + 500 );
    $server->await('stopped');
    $client->reset;
    $server->tell('start');
    $server->await('on_error');
    ok $server->await_files(0),                  'no file is left';
    ok $server->await_descriptors($descriptors), 'nor a descriptor';
    $server->stop;
};

subtest 'A client that falls silent is given up after the timeout' => sub {
    for my $cut ( 1, $HEAD_LENGTH + 10, length($UPLOAD) - 1 ) {
        my $server      = start( timeout => 0.5 );
        my $descriptors = settled_descriptors($server);
        my $client      = $server->connect;
        $client->send( substr $UPLOAD, 0, $cut );
        is $client->read_all, q{}, "after $cut bytes: closed without a word";
        is_deeply errors( $server, 1 ), { q{/} => 1 }, 'on_error is called'
          if $cut > $HEAD_LENGTH;
        ok $server->await_files(0),                  'no file is left';
        ok $server->await_descriptors($descriptors), 'nor a descriptor';
        $server->stop;
    }
};

subtest 'A body of many parts does not keep others waiting' => sub {
    my $parts  = 500;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my ( $opened, $other ) = (0);
            my $address = $server->{socket}->sockname;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    report( "$cgi->{headers}{REQUEST_METHOD} after" => $opened );
                    $cgi->header;
                },
                {
                    # Another client comes while the first part is being handled.
                    on_file_open => sub {
                        return if $opened++;
                        socket $other, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
                        connect $other, $address or die "connect: $!\n";
                        syswrite $other, request_bytes( GET => '/' );
                    },
                }
            );
        }
    );
    my $client = $server->connect;
    $client->send(
        upload_bytes( ( { name => 'a', content => 'x', file_name => 'f' } ) x $parts ) );
    cmp_ok $server->await('GET after'), '<', $parts / 5, 'it is served in between';
    is $server->await('POST after'),     $parts, 'and the parts are all there';
    is $client->last_response->{status}, 200,    'and answered';
    $server->stop;
};

subtest 'A client that never reads a large reply, then vanishes' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print( 'x' x 1_000_000 ) for 1 .. 20;
                    report('printed');
                }
            );
        }
    );
    my $descriptors = settled_descriptors($server);
    for ( 1 .. 3 ) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/' ) );
        $server->await('printed');
        $client->reset;
    }
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    $server->stop;
};

subtest 'Rubbish never ends the server' => sub {
    my $server      = start();
    my $descriptors = settled_descriptors($server);

    # The same at each run: numbers of a linear congruential generator.
    my $number = 1;
    my $next =
      sub { $number = ( $number * 1_103_515_245 + 12_345 ) % 2**31; $number >> 8 };
    for ( 1 .. 100 ) {
        my $rubbish = join q{}, map { chr( $next->() % 256 ) } 1 .. 1 + $next->() % 2_000;
        my $client  = $server->connect;
        $client->send($rubbish);
        $client->shutdown;
        $client->is_closed or fail 'a connection stays open';
    }

    # Whole requests with some bytes changed.
    for ( 1 .. 200 ) {
        my $mangled = substr $UPLOAD, 0, $HEAD_LENGTH + 5_500;
        substr $mangled, $next->() % length $mangled, 1, chr( $next->() % 256 )
          for 1 .. 3;
        my $client = $server->connect;
        $client->send($mangled);
        $client->shutdown;
        $client->is_closed or fail 'a connection stays open';
    }
    is $server->request( GET => '/' )->{body}, 'done', 'it serves';
    ok $server->await_files(0),                  'no file is left';
    ok $server->await_descriptors($descriptors), 'nor a descriptor';
    $server->stop;
};

my %BROKEN_BODY = (
    'without the closing delimiter'   => sub { substr multipart(@PARTS), 0, -4 },
    'that ends within a file'         => sub { substr multipart(@PARTS), 0, 100_000 },
    'that ends in the head of a part' => sub { substr multipart(@PARTS), 0, 60 },
    'with an open quote'              => sub {
        multipart(
            { head => 'Content-Disposition: form-data; name="open', content => q{} } );
    },
);

for my $backend ( backends() ) {
    subtest
      "A multipart body that is broken though it is as long as announced, with $backend"
      => sub {
        my $server      = start( backend => $backend );
        my $descriptors = settled_descriptors($server);
        for my $name ( sort keys %BROKEN_BODY ) {
            my $type   = 'multipart/form-data; boundary=----TestServerBoundary7MA4YWxk';
            my $client = $server->connect;
            $client->send(
                request_bytes(
                    POST => '/',
                    { 'Content-Type' => $type }, $BROKEN_BODY{$name}->()
                )
            );
            unlike $client->read_all, qr/done/, "$name: no page";
            is_deeply errors( $server, 1 ), { q{/} => 1 }, 'on_error is called';
        }
        ok $server->await_files(0),                  'no file is left';
        ok $server->await_descriptors($descriptors), 'nor a descriptor';
        $server->stop;
      };
}

subtest 'Connections that say nothing do no harm' => sub {
    my $server      = start();
    my $descriptors = settled_descriptors($server);
    my @clients     = map { $server->connect } 1 .. 200;
    is $server->request( GET => '/' )->{body}, 'done', 'others are served';
    $_->close for @clients;
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    $server->stop;
};

done_testing;

sub start {
    my (%option) = @_;
    my $backend = delete $option{backend};
    return TestServer->start(
        sub {
            my ($server) = @_;
            $option{on_error} = sub { report( on_error => $_[0]{headers}{REQUEST_URI} ) };
            $server->listen( \&answer, \%option );
        },
        backend => $backend
    );
}

sub answer {
    my ($cgi) = @_;
    $cgi->header;
    $cgi->print('done');
    return;
}

# How often on_error was called for which target, once there were $count calls.
sub errors {
    my ( $server, $count ) = @_;
    my %errors;
    $errors{ $server->await('on_error') }++ for 1 .. $count;
    return \%errors;
}

# The number of descriptors once a first request has made all that the server keeps.
sub settled_descriptors {
    my ($server) = @_;
    $server->request( GET => '/' );
    return $server->descriptors;
}

# The beginning of a request, with a number for its target.
sub target {
    my ( $number, $bytes ) = @_;
    $bytes =~ s{\APOST /}{POST /$number};
    return $bytes;
}
