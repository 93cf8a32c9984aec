#!/usr/bin/env perl
# The smallest application: one page, on the port given as argument (8080).

use strict;
use warnings;

use EV;
use HTTP::Server::EV;

my $port   = shift // 8080;
my $server = HTTP::Server::EV->new;

$server->listen(
    $port,
    sub {
        my ($cgi) = @_;
        $cgi->attach(*STDOUT);
        $cgi->header;
        print "Hello, $cgi->{headers}{REMOTE_ADDR}!\n";
    }
);

warn "Listening on port $port\n";
EV::run;
