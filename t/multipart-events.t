#!/usr/bin/env perl
# The order in which a multipart request is reported, however its bytes arrive: in one
# packet, byte by byte, cut at each place, with the next request behind it.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

my @PARTS = (
    { name => 'a', content => 'one' },
    { name => 'f', content => "file\r\n--one", file_name => '1' },
    { name => 'f', content => q{},             file_name => '2' },
    { name => 'a', content => q{} },
    { name => 'g', content => '3', file_name => '3' },
    { name => 'b', content => 'two' },
);
my $BYTES = upload_bytes(@PARTS);
my $HEAD  = index( $BYTES, "\r\n\r\n" ) + 4;

# What is reported, with the fields and files that are known by then. Which files are
# known in on_file_open depends on the backend.
my @EVENTS = (
    'on_multipart: ',
    'on_file_open 1 0: a',
    "on_file_write 1 11 file\r\n--one: a f",
    'on_file_received 1 11: a f',
    'on_file_open 2 0: a',
    'on_file_received 2 0: a f f',
    'on_file_open 3 0: a a',
    'on_file_write 3 1 3: a a f f g',
    'on_file_received 3 1: a a f f g',
    'callback: a a b f f g',
);

for my $backend ( backends() ) {
    my $server = TestServer->start( \&listening, backend => $backend );

    subtest "In one packet, with $backend" => sub {
        for ( 1 .. 20 ) {
            my $client = $server->connect;
            $client->send($BYTES);
            is_deeply events($server), \@EVENTS, 'in the order of the body';
        }
    };

    subtest "With bytes behind it, with $backend" => sub {
        my $client = $server->connect;
        $client->send( $BYTES . $BYTES );
        is_deeply events($server), \@EVENTS, 'the same';
        is $client->response->{status}, 200, 'and it is answered';
        $server->request( GET => q{/} );
        is_deeply events($server), ['callback: '],
          'the next event is of the next request';
    };

    subtest "Byte by byte, with $backend" => sub {
        my $client = $server->connect;
        for my $byte ( split //, $BYTES ) {
            $client->send($byte);
            $client->drained or die 'The server does not read';
        }
        is_deeply events($server), \@EVENTS, 'the same';
    };

    subtest "In two pieces, cut at each place, with $backend" => sub {
        my @wrong;
        for my $cut ( 1 .. length($BYTES) - 1 ) {
            my $client = $server->connect;
            $client->send( substr $BYTES, 0, $cut );
            $client->drained or die 'The server does not read';
            $client->send( substr $BYTES, $cut );
            push @wrong, $cut if join( "\n", @{ events($server) } ) ne join "\n", @EVENTS;
        }
        is_deeply \@wrong, [], 'the same';
    };

    subtest "on_multipart comes before the body does, with $backend" => sub {
        my $client = $server->connect;
        $client->send( substr $BYTES, 0, $HEAD );
        is $server->await('event'), $EVENTS[0], 'with the head';
        $client->send( substr $BYTES, $HEAD );
        is_deeply events($server), [ @EVENTS[ 1 .. $#EVENTS ] ], 'the rest with the body';
    };

    subtest "Many at a time, with $backend" => sub {
        my @clients = map { $server->connect } 1 .. 30;
        for my $piece ( 0 .. 9 ) {
            my $length = int( length($BYTES) / 9 );
            $_->send( substr $BYTES, $piece * $length, $length ) for @clients;
        }
        my %of;
        while ( keys %of < @clients || grep { $_->[-1] !~ /\Acallback/ } values %of ) {
            my ( $event, $request ) = $server->await('event');
            push @{ $of{$request} }, $event;
        }
        for my $request ( sort keys %of ) {
            is_deeply $of{$request}, \@EVENTS, 'each in its order';
        }
    };

    ok $server->await_files(0), 'no file is left';
    $server->stop;
}

done_testing;

sub listening {
    my ($server) = @_;
    my $number   = 0;
    my $note     = sub {
        my ( $name, $cgi, $file, $data ) = @_;
        $cgi->{number} ||= ++$number;
        my @known = map {
            my $all = $cgi->{$_};
            map { ($_) x @{ $all->{$_} } } sort keys %{$all}
        } 'post_a', $name eq 'on_file_open' ? () : 'file_a';
        my @of_file = $file ? ( $file->name, $file->size ) : ();
        my $event   = join q{ }, $name, @of_file, $data // ();
        report( event => "$event: @known", $cgi->{number} );
    };

    # A small file may be written in several pieces: they count as one.
    my %data;
    $server->listen(
        sub { $note->( 'callback', @_ ); $_[0]->header },
        {
            on_multipart  => sub { $note->( 'on_multipart', @_ ) },
            on_file_open  => sub { $note->( 'on_file_open', @_ ) },
            on_file_write => sub {
                my ( $cgi, $file, $data ) = @_;
                $data{$file} .= $data;
                $note->( 'wrong size in on_file_write', $cgi, $file )
                  if $file->size != length $data{$file};
            },
            on_file_received => sub {
                my ( $cgi, $file ) = @_;
                my $all = delete $data{$file};
                $note->( 'on_file_write', $cgi, $file, $all ) if defined $all;
                $note->( 'on_file_received', $cgi, $file );
            },
        }
    );
    return;
}

# The events up to the next main callback.
sub events {
    my ($server) = @_;
    my @events;
    while ( !@events || $events[-1] !~ /\Acallback/ ) {
        push @events, scalar $server->await('event');
    }
    return \@events;
}
