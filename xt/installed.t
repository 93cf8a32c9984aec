#!/usr/bin/env perl
# The module that is found in @INC loads, and serves the smallest application.

use strict;
use warnings;

use Cwd ();
use HTTP::Tiny;
use IO::Socket::INET;
use Test::More;

my $port = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1 )->sockport;
my $pid  = open my $server, '-|', "exec $^X eg/hello.pl $port 2>&1" or die "fork: $!";

require HTTP::Server::EV;
my $here = Cwd::getcwd();
unlike $INC{'HTTP/Server/EV.pm'}, qr/\A\Q$here\E/, 'it is the installed module';

is readline $server, "Listening on port $port\n", 'it listens';
my $answer = HTTP::Tiny->new->get("http://127.0.0.1:$port/");
is $answer->{status},  200,                   'it answers';
is $answer->{content}, "Hello, 127.0.0.1!\n", 'with what the callback has printed';

kill TERM => $pid;
done_testing;
