#!/usr/bin/env perl
# Starts Mojolicious' own server, with the limits on sizes lifted.
# bench-version: perl -MMojolicious -e 'print "Mojolicious $Mojolicious::VERSION"'

use strict;
use warnings;

my ( $port, $directory );

BEGIN {
    ( $port, $directory ) = splice @ARGV, 0, 2;
    ## no critic (RequireLocalizedPunctuationVars)
    $ENV{MOJO_MODE}   = 'production';
    $ENV{MOJO_TMPDIR} = $directory;
}

use FindBin qw($Bin);
use lib "$Bin/../apps/lib";

use Mojolicious::Lite;
use Mojo::Server::Daemon;
use Mojo::Server::Prefork;

use Application qw(compute handler_name large_reply);

my $LARGE = large_reply();

my %application = (
    hello => sub {
        my ($controller) = @_;
        $controller->render( text => "Hello world\n", format => 'txt' );
    },

    browser => sub {
        my ($controller) = @_;
        my $header       = $controller->req->headers->header('Upgrade-Insecure-Requests');
        my $item         = $controller->param('item');
        $controller->render( text => "$header $item\n", format => 'txt' );
    },

    form => sub {
        my ($controller) = @_;
        my $title = $controller->param('title');
        $controller->render( text => "$title\n", format => 'txt' );
    },

    json => sub {
        my ($controller) = @_;
        my $length = length $controller->req->body;
        $controller->render( text => "$length bytes\n", format => 'txt' );
    },

    large => sub {
        my ($controller) = @_;
        $controller->render( text => $LARGE, format => 'txt' );
    },

    multipart => sub {
        my ($controller) = @_;
        my $length = 0;
        $length += length $controller->param($_) for qw(title place comment);
        my $size = $controller->req->upload('file')->size;
        $controller->render( text => "$length + $size\n", format => 'txt' );
    },

    upload => sub {
        my ($controller) = @_;
        my @sizes = map { $_->size } @{ $controller->req->uploads };
        $controller->render( text => join( "\n", @sizes ), format => 'txt' );
    },

    compute => sub {
        my ($controller) = @_;
        compute();
        $controller->render( text => "Hello world\n", format => 'txt' );
    },
);

app->log->level('error');
app->max_request_size(0);

my $handler = handler_name();
any '/upload' => $application{upload};
any q{/}      => $application{ $handler eq 'mixed' ? 'hello' : $handler };

my %option = (
    app                => app,
    inactivity_timeout => 300,
    keep_alive_timeout => 300,
    listen             => ["http://127.0.0.1:$port"],
    max_clients        => 20_000,
    max_requests       => 1_000_000_000,
    silent             => 1,
);
my $workers = $ENV{BENCH_WORKERS} || 1;
if ( $workers == 1 ) {
    Mojo::Server::Daemon->new(%option)->run;
}
else {
    Mojo::Server::Prefork->new(
        %option,
        pid_file => "$directory/pid",
        spare    => 0,
        workers  => $workers
    )->run;
}
