#!/usr/bin/env perl
# Ends without cutting off a client: on INT or TERM it accepts nobody any more, lets those who are
# being served finish, and is gone with the last of them; at the second signal, at once.
# The port is the argument (8080). Try `curl localhost:8080/` and Ctrl-C meanwhile.

use strict;
use warnings;

use EV;
use HTTP::Server::EV;

my $port   = shift // 8080;
my $server = HTTP::Server::EV->new;

# A page that takes some seconds, and comes piece by piece.
$server->listen(
    $port,
    sub {
        my ($cgi) = @_;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        my $left = 5;
        my $timer;
        $timer = EV::timer(
            0, 1,
            sub {
                $cgi->print("$left\n");
                $cgi->flush;
                undef $timer if !$left--;
            }
        );
    }
);

my $signals = 0;
my $stop    = sub {
    return EV::break if $signals++;
    warn "Waiting for the last clients\n";
    $server->stop(
        sub {
            warn "All are served\n";
            EV::break;
        }
    );
};
my @signals = map { EV::signal( $_, $stop ) } qw(INT TERM);

warn "Listening on port $port\n";
EV::run;
