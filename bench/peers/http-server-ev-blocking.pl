#!/usr/bin/env perl
# Starts HTTP::Server::EV of this tree with the backend that writes files in the loop.
# bench-build: ./dev build
# bench-version: perl -Ilib -MHTTP::Server::EV -MEV -e 'print "HTTP::Server::EV $HTTP::Server::EV::VERSION, EV $EV::VERSION"'
# bench-workloads: upload

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../../lib";

use EV;
use HTTP::Server::EV;
use HTTP::Server::EV::IO::Blocking;

my ( $port, $directory ) = @ARGV;

my $server = HTTP::Server::EV->new( { tmp_path => $directory } );
HTTP::Server::EV::IO::Blocking->_use_me;
$server->listen(
    "127.0.0.1:$port",
    sub {
        my $cgi = shift;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print( join "\n", map { $_->{size} } values %{ $cgi->{file} } );
    }
);
EV::run;
