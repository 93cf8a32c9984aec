#!/usr/bin/env perl
# The example of the documentation runs as it stands there, but for its port.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(reserve_port);

subtest 'A port number, attach, header, print, EV::run' => sub {
    my $server = start_example(<<'EXAMPLE');
use EV;
use HTTP::Server::EV;

HTTP::Server::EV->new->listen(
    8080,
    sub {
        my ($cgi) = @_;
        $cgi->attach(*STDOUT);
        $cgi->header;
        print 'A page';
    }
);
EV::run;
EXAMPLE

    my $response = $server->request( GET => '/' );
    is $response->{status},                    200,         'the status';
    is $response->{headers}{'content-type'},   'text/html', 'the type';
    is $response->{body},                      'A page',    'the page';
    is $server->request( GET => '/' )->{body}, 'A page',    'and once more';
    $server->stop( status => 'signal 15' );
};

subtest 'The synopsis of HTTP::Server::EV' => sub {
    my $server = start_example( synopsis() );

    is $server->request( GET => '/' )->{body}, "Hello!\n", 'a page';
    my $response = $server->upload(
        { name => 'upload', file_name => 'a.txt', content => 'x' x 100_000 },
        { name => 'upload', file_name => 'b.txt', content => q{} },
    );
    is $response->{body}, "Hello!\na.txt: 100000 bytes\nb.txt: 0 bytes\n", 'an upload';
    ok $server->await_files(0), 'no file is left';
    $server->stop( status => 'signal 15' );
};

done_testing;

sub start_example {
    my ($source) = @_;
    my ( $port, $reservation ) = reserve_port();
    $source =~ s/\b8080\b/$port/ or die 'The example has no port 8080';
    return TestServer->start_script( $port, $^X, '-e', $source );
}

sub synopsis {
    open my $handle, '<', "$FindBin::Bin/../lib/HTTP/Server/EV.pm" or die "EV.pm: $!";
    local $/ = undef;
    my ($synopsis) = readline($handle) =~ /^=head1 SYNOPSIS\n+(.+?)^=head1/ms;
    $synopsis =~ s/^[ ]{4}//gm;
    return $synopsis;
}
