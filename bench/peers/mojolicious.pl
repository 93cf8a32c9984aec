#!/usr/bin/env perl
# Starts Mojolicious' own server, with the limit on the size of a request lifted.
# bench-version: perl -MMojolicious -e 'print "Mojolicious $Mojolicious::VERSION"'

use strict;
use warnings;

my ( $port, $directory );

BEGIN {
    ( $port, $directory ) = splice @ARGV, 0, 2;
    $ENV{MOJO_TMPDIR} = $directory;    ## no critic (RequireLocalizedPunctuationVars)
}

use Mojolicious::Lite;
use Mojo::Server::Daemon;

app->log->level('error');
app->max_request_size(0);

post '/upload' => sub {
    my $controller = shift;
    my @sizes      = map { $_->size } @{ $controller->req->uploads };
    return $controller->render( text => join "\n", @sizes );
};

Mojo::Server::Daemon->new(
    app                => app,
    listen             => ["http://127.0.0.1:$port"],
    silent             => 1,
    inactivity_timeout => 300,
)->run;
