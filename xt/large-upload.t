#!/usr/bin/env perl
# 4 GiB arrive with the right SHA-256 while the server's memory stays small and others are
# served at once, with both backends. Usage: prove -lv xt/large-upload.t
#
# LARGE_UPLOAD_BYTES sets another size; the temporary directory needs room for it.

use strict;
use warnings;

use Digest::SHA ();
use FindBin;
use List::Util qw(max);
use POSIX      ();
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::Bin/../t/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $SIZE        = $ENV{LARGE_UPLOAD_BYTES} || 4 * 2**30;
my $PIECE       = 2**20;
my $MOST_MEMORY = 40 * 1024;
my $LONGEST     = 0.050;

$TestServer::DEADLINE = 900;

for my $backend ( backends() ) {
    subtest "An upload of $SIZE bytes, with $backend" => sub {
        my @kept;
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                $server->on_command( sub { ( pop @kept )->print('done') } );
                $server->listen(
                    sub {
                        my ($cgi) = @_;
                        $cgi->header;
                        my ($file) = @{ $cgi->file('file') }
                          or return $cgi->print('page');
                        push @kept, $cgi;
                        report( received => $file->path, $file->size );
                    },
                    { on_multipart => sub { report('begun') } }
                );
            },
            backend => $backend
        );

        my $sender = sender($server);
        $server->await('begun');
        my ( $worst, $requests, $received ) = serve_others($server);
        my ( $path, $size ) = @{$received}[ 1, 2 ];
        my $sent = readline $sender;
        chomp $sent;

        is $size, $SIZE, 'the size';
        is( Digest::SHA->new(256)->addfile($path)->hexdigest, $sent, 'the SHA-256' );
        my $memory = peak_memory($server);
        cmp_ok $memory, '<', $MOST_MEMORY, "peak memory: $memory KiB";
        cmp_ok $worst, '<', $LONGEST, sprintf 'the slowest of %d other requests: %.1f ms',
          $requests, 1000 * $worst;
        $server->tell('answer');
        is scalar readline $sender, "done\n", 'the client is answered';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

done_testing;

# A process that sends the upload; it prints the SHA-256 of what it has sent, then the
# answer it gets.
sub sender {
    my ($server) = @_;
    my $pid      = open my $output, '-|' // die "fork: $!";
    return $output if $pid;

    my ( $before, $after ) = split /CONTENT/,
      upload_bytes( { name => 'file', file_name => 'large', content => 'CONTENT' } );
    my $length =
      length($after) + $SIZE + length($before) - index( $before, "\r\n\r\n" ) - 4;
    $before =~ s/^Content-Length: \d+/Content-Length: $length/m;

    my $client = $server->connect;
    my $digest = Digest::SHA->new(256);
    my $piece  = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. $PIECE / 4;
    $client->send($before);
    for ( my $left = $SIZE ; $left > 0 ; $left -= $PIECE ) {
        substr $piece, 0, 8, pack 'Q>', $left;
        my $bytes = $left < $PIECE ? substr $piece, 0, $left : $piece;
        $digest->add($bytes);
        $client->send($bytes) or die 'The server has closed the connection';
    }
    $client->send($after);
    STDOUT->autoflush(1);
    print $digest->hexdigest,        "\n";
    print $client->response->{body}, "\n";
    POSIX::_exit(0);
}

# Requests one after the other until the upload is there: the longest time that one took
# in seconds, their number, and the report of the upload.
sub serve_others {
    my ($server) = @_;
    my @took;
    while (1) {
        my $begun = time;
        my $page  = $server->request( GET => '/' )->{body};
        push @took, time - $begun;
        $page eq 'page'                    or die 'A request is not answered';
        my $report = report_there($server) or next;
        return ( max(@took), scalar @took, $report );
    }
    return;
}

# The next report if there is one.
sub report_there {
    my ($server) = @_;
    local $TestServer::DEADLINE = 0.005;
    return $server->next_report;
}

# The most memory that was resident at a time, in KiB: see proc(5).
sub peak_memory {
    my ($server) = @_;
    my $pid = $server->pid;
    open my $status, '<', "/proc/$pid/status" or die "/proc/$pid/status: $!";
    my ($kibibytes) = map { /\AVmHWM:\s+(\d+)/ } readline $status;
    return $kibibytes;
}
