#!/usr/bin/env perl
# Bodies of every awkward size, cut at every place, and byte by byte: what arrives is what
# was sent, with both backends.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

# Around the sizes of buffers, here and in the system.
my @SIZES = (
    0 .. 3, map { ( $_ - 1, $_, $_ + 1 ) } 4096,
    8192,   51_198, 65_536, 2**20, 4 * 2**20
);

# What looks like a delimiter and is none.
my $BOUNDARY  = '----TestServerBoundary7MA4YWxk';
my %DECEPTIVE = (
    'a delimiter within a line'    => "x--$BOUNDARY\r\ny",
    'a delimiter after LF only'    => "x\n--$BOUNDARY\r\ny",
    'a delimiter but for its end'  => "x\r\n--" . substr( $BOUNDARY, 0, -1 ) . "\r\ny",
    'line ends only'               => "\r\n" x 50,
    'the beginnings of delimiters' => "\r\n-\r\n--\r\n--"
      . substr( $BOUNDARY, 0, 5 ) . "\r",
    'carriage returns' => "\r" x 100,
    'every byte'       => join( q{}, map { chr } 0 .. 255 ),
);

for my $backend ( backends() ) {
    my $server =
      TestServer->start( sub { $_[0]->listen( \&answer ) }, backend => $backend );

    subtest "Sizes of files, with $backend" => sub {
        for my $size (@SIZES) {
            my $content = pattern($size);
            is upload( $server, $content ), expected($content), "$size bytes";
        }
    };

    subtest "Contents that look like a delimiter, with $backend" => sub {
        for my $what ( sort keys %DECEPTIVE ) {
            is upload( $server, $DECEPTIVE{$what} ), expected( $DECEPTIVE{$what} ), $what;
        }
    };

    my $content = "begin\r\n--$BOUNDARY-\r\n-- \r\nend\r";
    my $bytes   = upload_bytes( parts($content) );

    subtest "A body in two pieces, cut at each place, with $backend" => sub {
        my $head = index( $bytes, "\r\n\r\n" ) + 4;
        my @wrong;
        for my $cut ( $head .. length($bytes) - 1 ) {
            my $client = $server->connect;
            $client->send( substr $bytes, 0, $cut );
            $client->drained or die 'The server does not read';
            $client->send( substr $bytes, $cut );
            push @wrong, $cut if $client->response->{body} ne expected($content);
        }
        is_deeply \@wrong, [], 'what arrives is what was sent';
    };

    subtest "Byte by byte, with $backend" => sub {
        my $client = $server->connect;
        for my $byte ( split //, $bytes ) {
            $client->send($byte);
            $client->drained or die 'The server does not read';
        }
        is $client->response->{body}, expected($content), 'what arrives is what was sent';
    };

    subtest "Pieces of awkward sizes, with $backend" => sub {
        my $large = pattern(300_000);
        my $whole = upload_bytes( parts($large) );
        for my $size ( 997, 4096, 65_537 ) {
            my $client = $server->connect;
            for ( my $sent = 0 ; $sent < length $whole ; $sent += $size ) {
                $client->send( substr $whole, $sent, $size );
                $client->drained or die 'The server does not read';
            }
            is $client->response->{body}, expected($large), "$size bytes at a time";
        }
    };

    ok $server->await_files(0), "no file is left with $backend";
    $server->stop;
}

# Larger than what is written without threads.
for my $backend ( backends() ) {
    for my $hooked ( 0, 1 ) {
        my $name = $hooked ? 'on_file_write and on_file_received' : 'on_file_received';
        subtest "$name come when the bytes are in the file, with $backend" => sub {
            my $server = TestServer->start(
                sub {
                    my ($server) = @_;
                    my %hooks = ( on_file_received => \&report_received );
                    $hooks{on_file_write} = \&take_piece if $hooked;
                    $server->listen( \&answer, \%hooks );
                },
                backend => $backend
            );
            for my $size ( 1, 2**20 - 1, 2**20 + 1, 10_000_000 ) {
                my $content = pattern($size);
                is upload( $server, $content ), expected($content), "$size bytes arrive";
                my ( $complete, $digest, $early, $odd ) = $server->await('received');
                ok $complete, 'the file is complete by then';
                next if !$hooked;
                is $digest, sha256_hex($content), 'the pieces are the file';
                is $early,  0,                    'each is in the file';
                is $odd,    0,                    'each has 1 byte to 1 MiB';
            }
            $server->stop;
        };
    }
}

subtest 'Bytes after the body are no harm' => sub {
    my $server = TestServer->start( sub { $_[0]->listen( \&answer ) } );
    my $client = $server->connect;
    $client->send( upload_bytes( parts('x') ) . "\r\n" );
    is $client->response->{body}, expected('x'), 'an epilogue beyond Content-Length';
    $server->stop;
};

done_testing;

# Says what came, in one line.
sub answer {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('file') };
    my $digest = Digest::SHA->new(256)->addfile( $file->path )->hexdigest;
    my @fields = map { $cgi->post($_)->[0] } qw(before after);
    $cgi->header;
    $cgi->print( join q{ }, $file->size, $digest, @fields );
    return;
}

# Of each piece: whether the file has so much of it.
sub take_piece {
    my ( $cgi, $file, $bytes ) = @_;
    $cgi->{digest} ||= Digest::SHA->new(256);
    $cgi->{digest}->add($bytes);
    $cgi->{taken} += length $bytes;
    $cgi->{early}++ if $file->size != $cgi->{taken} || -s $file->path < $cgi->{taken};
    $cgi->{odd}++ if $bytes eq q{} || length $bytes > 2**20 || utf8::is_utf8($bytes);
    return;
}

sub report_received {
    my ( $cgi, $file ) = @_;
    my $digest = $cgi->{digest} && $cgi->{digest}->hexdigest;
    report(
        received => -s $file->path == $file->size ? 1 : 0,
        $digest, map { $cgi->{$_} || 0 } qw(early odd)
    );
    return;
}

sub expected {
    my ($content) = @_;
    return join q{ }, length $content, sha256_hex($content), qw(one two);
}

sub parts {
    my ($content) = @_;
    return (
        { name => 'before', content => 'one' },
        { name => 'file',   content => $content, file_name => 'f' },
        { name => 'after',  content => 'two' },
    );
}

sub pattern {
    my ($size) = @_;
    my $block  = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 1_000;
    return substr $block x ( $size / length($block) + 1 ), 0, $size;
}

sub upload {
    my ( $server, $content ) = @_;
    return $server->upload( parts($content) )->{body};
}
