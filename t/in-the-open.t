#!/usr/bin/env perl
# What docs/security.md has the reader set up runs as it stands there, but for its paths and
# times: deadlines for slow clients, and nginx before the server.

use strict;
use warnings;

use File::Temp ();
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(request_bytes reserve_port upload_bytes);
use Nginx;

my ( $DEADLINES, $BEHIND_PROXY ) = blocks('perl');
my ($NGINX) = blocks('nginx');

# More than the server takes, and less than nginx does.
my $LONG_TARGET = q{/} . 'x' x 6000;

my $PAGE = "Hello, 127.0.0.1!\n";

subtest 'Deadlines are none for who is in time' => sub {
    my $server = start_with_deadlines();
    is length $server->request( GET => q{/} )->{body}, 10_000_000, 'a reply';
    is
      length $server->upload( { name => 'file', file_name => 'f', content => 'x' } )
      ->{body}, 10_000_000, 'an upload';
    $server->stop( status => 'signal 15' );
};

subtest 'A deadline ends a slow upload' => sub {
    my $server = start_with_deadlines( 3600 => 0.1 );
    my $client = $server->connect;
    $client->send( substr upload_bytes( { name => 'file', content => 'x' } ), 0, -1 );
    is $client->read_all, q{}, 'it is dropped';
    $server->stop( status => 'signal 15' );
};

subtest 'A deadline ends a reply that is read slowly' => sub {
    my $server = start_with_deadlines( 600 => 0.1, '10_000_000' => 50_000_000 );
    my $idle   = $server->descriptors;
    my $client = $server->connect;
    $client->send( request_bytes( GET => q{/} ) );
    $client->read_until(qr/x/);
    ok $server->await_descriptors($idle), 'the connection is closed';
    cmp_ok length $client->read_all, '<', 50_000_000, 'before all of it was sent';
    $server->stop( status => 'signal 15' );
};

subtest 'Behind nginx' => sub {
    plan skip_all => 'nginx is not installed' if !Nginx::program();
    my ( $nginx, @servers ) = start_behind_nginx($BEHIND_PROXY);
    is $nginx->request( GET => q{/} )->{body},           $PAGE, 'a page';
    is $nginx->request( GET => $LONG_TARGET )->{status}, 414,   'an exceeded limit';
    is $nginx->request( GET => q{/} )->{body},           $PAGE, 'the others';
    is( ( stat $_->port )[2] & oct 777, oct 660, 'the rights on the socket' )
      for @servers;
    stop_all( $nginx, @servers );
};

subtest 'nginx goes on with servers that have closed a connection without a word' => sub {
    plan skip_all => 'nginx is not installed' if !Nginx::program();
    my ( $nginx, @servers ) =
      start_behind_nginx( replaced( $BEHIND_PROXY, 'error_responses => 1' => q{} ) );
    is $nginx->request( GET => $LONG_TARGET )->{status}, 502,   'an exceeded limit';
    is $nginx->request( GET => q{/} )->{body},           $PAGE, 'the others';
    stop_all( $nginx, @servers );
};

done_testing;

# The code of this language between fences, in order.
sub blocks {
    my ($language) = @_;
    open my $handle, '<', "$FindBin::Bin/../docs/security.md" or die "security.md: $!";
    local $/ = undef;
    return readline($handle) =~ /^```$language\n(.+?)^```/gms;
}

sub replaced {
    my ( $text, %replacement ) = @_;
    for my $old ( sort keys %replacement ) {
        $text =~ s/\b\Q$old\E(?!\w)/$replacement{$old}/g or die "There is no $old";
    }
    return $text;
}

sub start_with_deadlines {
    my (%replacement) = @_;
    my ( $port, $reservation ) = reserve_port();
    return TestServer->start_script( $port, $^X, '-e',
        replaced( $DEADLINES, 8080 => $port, %replacement ) );
}

# nginx, and two servers of this program.
sub start_behind_nginx {
    my ($program) = @_;
    my $directory = File::Temp->newdir( 'sockets-XXXXXXXX', TMPDIR => 1 );
    my $group     = getgrgid $(;
    my @servers   = map {
        TestServer->start_script( $_, $^X, '-e',
            replaced( $program =~ s{/run/application/socket}{$_}r, 'www-data' => $group )
        )
    } "$directory/1", "$directory/2";
    $_->{sockets} = $directory for @servers;

    my $nginx = Nginx->start(
        sub {
            configuration( $_[0], map { $_->port } @servers );
        }
    );
    return ( $nginx, @servers );
}

sub configuration {
    my ( $address, @sockets ) = @_;
    my $documented = $NGINX;
    $documented =~ s/^server \{\n\K/    listen $address;\n/m or die 'No server';
    $documented =~
      s{^( *server unix:)[^\s;]+(.*\n)}{join q{}, map { "$1$_$2" } @sockets}me
      or die 'No socket';
    return "access_log off;\n$documented";
}

sub stop_all {
    my ( $nginx, @servers ) = @_;
    $nginx->stop;
    $_->stop( status => 'signal 15' ) for @servers;
    return;
}
