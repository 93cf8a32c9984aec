# The workloads: what they send is what they say, and what they measure of a small server is right.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use File::Temp;
use JSON::PP qw(decode_json);
use Test::More;

use Bench::Peer;
use Bench::Workload::Browser;
use Bench::Workload::Connections;
use Bench::Workload::Form;
use Bench::Workload::Hello;
use Bench::Workload::Json;
use Bench::Workload::LargeReply;
use Bench::Workload::LatencyUploads;
use Bench::Workload::Multipart;
use Bench::Workload::Workers;

my $directory = File::Temp->newdir;
my $target    = $ENV{CARGO_TARGET_DIR} || "$Bin/../target";

# Answers every request alike and keeps the connection, unless it is asked not to.
my $SERVER = <<'SCRIPT';
#!/usr/bin/env perl
# Starts a small server.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
my $socket = IO::Socket::INET->new( LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 100 ) or die $@;
my $select = IO::Select->new($socket);
my $body   = $ENV{BENCH_HANDLER} eq 'hello' ? "Hello world\n" : "Something else\n";
my $length = length $body;
while ( my @ready = $select->can_read ) {
    for my $handle (@ready) {
        if ( $handle == $socket ) { $select->add( scalar $socket->accept ); next }
        my $read  = sysread $handle, my $request, 65_536;
        my $close = !$read || $request =~ /^Connection: close/m;
        my $line  = $close ? "Connection: close\r\n" : '';
        syswrite $handle, "HTTP/1.1 200 OK\r\nContent-Length: $length\r\n$line\r\n$body" if $read;
        if ($close) { $select->remove($handle); close $handle }
    }
}
SCRIPT

sub workload {
    my $name = shift;
    return "Bench::Workload::$name"->new(
        client    => "$target/release/bench-client",
        directory => "$directory",
        rounds    => 1,
        script    => "$Bin/../wrk/request.lua",
        seconds   => 1,
        size      => 1024**2,
    );
}

sub peer {
    my @comments = @_;
    my $path     = "$directory/small.pl";
    open my $handle, '>', $path or die "$path: $!";
    print {$handle} $SERVER =~ s/(small server[.])/join "\n# ", $1, @comments/er;
    close $handle or die "$path: $!";
    chmod 0755, $path;
    return Bench::Peer->new($path);
}

subtest 'bodies are as long as they are said to be' => sub {
    is length workload('Form')->body, 1024,      'a form of 1 KiB';
    is length workload('Json')->body, 10 * 1024, '10 KiB';
    ok decode_json( workload('Json')->body ), 'of JSON';
    is length workload('LargeReply')->expected, 100 * 1024, 'a reply of 100 KiB';

    my $multipart  = workload('Multipart');
    my ($boundary) = { $multipart->headers }->{'Content-Type'} =~ /boundary=(.*)/;
    my @parts      = split /(?:\r\n)?--\Q$boundary\E(?:\r\n|--\r\n\z)/, $multipart->body;
    my @contents   = map { s/\A.*?\r\n\r\n//sr } @parts[ 1 .. $#parts ];
    my $file       = pop @contents;
    is length($file) . ' in a file, ' . length( join q{}, @contents ) . ' in fields',
      '20480 in a file, 105 in fields', 'a form with a file';
};

subtest 'a browser sends what browsers send' => sub {
    my $browser = workload('Browser');
    my %header  = $browser->headers;
    is scalar keys %header, 8, 'seven headers and the cookies, besides Host';
    is scalar( split /; /,   $header{Cookie} ),    3, 'three cookies';
    is scalar( split /[?&]/, $browser->path ) - 1, 3, 'three parameters';
};

subtest 'workers are compared with the same server' => sub {
    my @two = workload('Workers')->contestants( peer() );
    is_deeply [ map { [ $_->label, $_->workers, $_->base ] } @two ],
      [ [ 'small x 1', 1, 'small x 1' ], [ 'small x 2', 2, 'small x 1' ] ], 'one and two';
};

subtest 'who serves one connection at a time' => sub {
    my $peer = peer('bench-connections: 1');
    is workload('Hello')->connections($peer), 1, 'is sent requests on one';
    is workload('LatencyUploads')->contestants($peer)->workers, 12,
      'or has enough workers';
    is workload('LatencyUploads')->contestants( peer() )->workers, 1,
      'which others do not need';
};

SKIP: {
    skip 'there is no wrk', 1 if system('command -v wrk >/dev/null') != 0;
    subtest 'requests on connections that are kept' => sub { measures('Hello') };
}

SKIP: {
    skip 'the load client is not built', 1 if !-x "$target/release/bench-client";
    subtest 'requests on connections of their own' => sub { measures('Connections') };
}

sub measures {
    my $name     = shift;
    my $workload = workload($name);
    my $peer     = peer();
    $peer->start( directory => "$directory", handler => 'hello' );
    $workload->set_up($peer);
    is_deeply [ $peer->notes ], [], 'nothing to remark';
    my $figures = $workload->measure($peer);
    cmp_ok $figures->{units},                               '>', 0,   'requests';
    cmp_ok abs( $figures->{units} / $figures->{rate} - 1 ), '<', 0.5, 'in about a second';
    cmp_ok $figures->{p50}, '>',  0,               'they took their time';
    cmp_ok $figures->{p99}, '>=', $figures->{p50}, 'some more than others';
    $peer->stop;

    $peer->start( directory => "$directory", handler => 'other' );
    ok !eval { $workload->set_up($peer); 1 }, 'a wrong answer is an error';
    like $@, qr/\Aanswers wrongly: Something else/, 'that shows the answer';
    $peer->stop;
    return;
}

done_testing;
