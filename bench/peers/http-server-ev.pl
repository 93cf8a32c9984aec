#!/usr/bin/env perl
# Starts HTTP::Server::EV of this tree, as it is by default.
# bench-build: ./dev build
# bench-version: perl -Ilib -MHTTP::Server::EV -MEV -e 'print "HTTP::Server::EV $HTTP::Server::EV::VERSION, EV $EV::VERSION"'

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../../lib", "$Bin/../apps/lib";

use EV;
use HTTP::Server::EV;

use Application qw(compute handler_name large_reply);

my $LARGE = large_reply();

my %application = (
    hello => sub {
        my ($cgi) = @_;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print("Hello world\n");
    },

    browser => sub {
        my ($cgi) = @_;
        my $item = $cgi->param('item');
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print("$cgi->{headers}{'Upgrade-Insecure-Requests'} $item\n");
    },

    form => sub {
        my ($cgi) = @_;
        my $title = $cgi->param('title');
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print("$title\n");
    },

    json => sub {
        my ($cgi) = @_;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print( length( $cgi->{REQUEST_BODY} ) . " bytes\n" );
    },

    large => sub {
        my ($cgi) = @_;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print($LARGE);
    },

    multipart => sub {
        my ($cgi) = @_;
        my $length = 0;
        $length += length $cgi->param($_) for qw(title place comment);
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print("$length + $cgi->{file}{file}{size}\n");
    },

    upload => sub {
        my ($cgi) = @_;
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print( join "\n", map { $_->{size} } values %{ $cgi->{file} } );
    },

    compute => sub {
        my ($cgi) = @_;
        compute();
        $cgi->header( { 'Content-Type' => 'text/plain' } );
        $cgi->print("Hello world\n");
    },
);

$application{mixed} = sub {
    my ($cgi) = @_;
    my $name = $cgi->{headers}{SCRIPT_NAME} eq '/upload' ? 'upload' : 'hello';
    $application{$name}->($cgi);
};

my ( $port, $directory ) = @ARGV;
my $workers = $ENV{BENCH_WORKERS} || 1;

# The first of the workers is the one that listens.
sub fork_workers {
    for ( 2 .. $workers ) {
        my $pid = fork // die "fork: $!\n";
        return if !$pid;
    }
}

my $server = HTTP::Server::EV->new( { tmp_path => $directory } );
$server->listen(
    "127.0.0.1:$port",
    $application{ handler_name() },
    { fork_hook => \&fork_workers, keepalive => 60 }
);
EV::run;
