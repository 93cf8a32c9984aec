#!/usr/bin/env perl
# The examples of the documentation run as they stand there, but for their port.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
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

subtest 'Ten lines, in the README' => sub {
    my ($hello) = readme_programs();
    my $server = start_example($hello);
    is $server->request( GET => '/?name=you' )->{body}, "Hello, you!\n", 'a page';
    $server->stop( status => 'signal 15' );
};

subtest 'An upload, in the README' => sub {
    my ( undef, $upload ) = readme_programs();
    my $server  = start_example($upload);
    my $content = 'x' x 100_000;
    my $sum     = sha256_hex($content);
    is $server->upload(
        { name => 'upload', file_name => 'a.txt',      content => $content },
        { name => 'upload', file_name => "b\e[2J.txt", content => q{} },
    )->{body}, "a.txt: 100000 bytes, $sum\nb\e[2J.txt: 0 bytes, empty\n", 'the answer';
    my $directory = $server->directory;
    ok TestServer::await_change(
        $directory, sub { -s "$directory/$sum" && -e "$directory/empty" }
      ),
      'the files are saved';
    $server->stop(
        status => 'signal 15',
        stderr =>
qr/\AUpload from 127[.]0[.]0[.]1\na[.]txt is complete\nb[?]\[2J[.]txt is complete\n\z/
    );
};

done_testing;

# The Perl code between fences, in order.
sub readme_programs {
    open my $handle, '<', "$FindBin::Bin/../README.md" or die "README.md: $!";
    local $/ = undef;
    return readline($handle) =~ /^```perl\n(.+?)^```/gms;
}

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
