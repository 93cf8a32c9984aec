#!/usr/bin/env perl
# Uploads made by chance: boundaries, parts that are full of what looks like a boundary,
# packets, and pauses. What arrives is what was sent. CHANCE is the seed (1), UPLOADS how
# many there are with each backend (100).

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes);

my $UPLOADS = $ENV{UPLOADS} || ( $ENV{UNDER_VALGRIND} ? 5 : 100 );
my $AT_ONCE = 5;

# Around the sizes of buffers, here and in the system.
my @SIZES   = ( 0, 1, 2,  100,   4_096, 51_197, 65_536, 2**20 - 100, 2**20, 2 * 2**20 );
my @PACKETS = ( 1, 2, 10, 1_000, 8_192, 65_536, 2**20, 4 * 2**20 );

# The same at each run: numbers of a linear congruential generator.
my $number = $ENV{CHANCE} || 1;

for my $backend ( backends() ) {
    subtest "With $backend" => sub {
        my $server = TestServer->start( \&listening, backend => $backend );
        my @wrong;
        for my $round ( 1 .. $UPLOADS / $AT_ONCE ) {
            my @uploads = map { upload( $server->connect ) } 1 .. $AT_ONCE;
            send_in_packets(@uploads);
            for my $upload (@uploads) {
                my $got = $upload->{client}->response->{body} // 'nothing';
                push @wrong, { round => $round, %{$upload} }
                  if $got ne $upload->{expected};
            }
        }
        is @wrong, 0, 'all of them arrive';
        diag "Round $_->{round}: $_->{expected}" for @wrong;
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

done_testing;

# Answers with the digests of all fields and files; some pieces make a pause.
sub listening {
    my ($server) = @_;
    my $pieces = 0;
    $server->listen(
        sub {
            my ($cgi)  = @_;
            my @fields = map { field_line($_) } @{ $cgi->post('field') };
            my @files  = map { file_line($_) } @{ $cgi->file('file') };
            $cgi->header;
            $cgi->print( join "\n", @fields, @files );
        },
        {
            on_file_write => sub {
                my ( $cgi, $file, $bytes ) = @_;
                $file->{digest} ||= Digest::SHA->new(256);
                $file->{digest}->add($bytes);
                return if ++$pieces % 10;
                $cgi->stop;
                my $timer;
                $timer = EV::timer( 0, 0, sub { undef $timer; $cgi->start } );
            }
        }
    );
    return;
}

sub field_line {
    my ($value) = @_;
    utf8::encode($value);
    return 'field ' . length($value) . q{ } . sha256_hex($value);
}

# Of what was written, and of what was reported by on_file_write.
sub file_line {
    my ($file)   = @_;
    my $digest   = Digest::SHA->new(256)->addfile( $file->path )->hexdigest;
    my $reported = $file->{digest} ? $file->{digest}->hexdigest : sha256_hex(q{});
    return join q{ }, 'file', $file->size, $digest, $reported;
}

# A request for this client, and what is expected to be answered.
sub upload {
    my ($client) = @_;
    my $boundary = join q{}, map { one_of( 'a' .. 'z', qw(- = _) ) } 0 .. chance(60);
    my $body     = one_of( q{}, q{}, "\r\n", "preamble\r\n" );
    my ( @fields, @files );
    for ( 1 .. chance(6) ) {
        if ( chance(2) ) {
            my $content = content( $boundary, one_of(@SIZES) + chance(10) );
            my $digest  = sha256_hex($content);
            push @files, join q{ }, 'file', length $content, $digest, $digest;
            $body .= part( $boundary, 'name="file"; filename="f"', $content );
        }
        else {
            my $content = content( $boundary, chance(1_000) );
            push @fields, 'field ' . length($content) . q{ } . sha256_hex($content);
            $body .= part( $boundary, 'name="field"', $content );
        }
    }
    $body .= "--$boundary--" . one_of( q{}, "\r\n", "\r\nepilogue\r\n\r\n" );
    my $type = qq{multipart/form-data; boundary="$boundary"};
    return {
        bytes    => request_bytes( POST => q{/}, { 'Content-Type' => $type }, $body ),
        boundary => $boundary,
        client   => $client,
        expected => join "\n",
        @fields,
        @files
    };
}

sub part {
    my ( $boundary, $names, $content ) = @_;
    return "--$boundary\r\nContent-Disposition: form-data; $names\r\n\r\n$content\r\n";
}

# At least so many bytes, with no delimiter among them, but much that begins like one.
sub content {
    my ( $boundary, $size ) = @_;
    my @pieces = (
        "\r\n--" . substr( $boundary, 0, -1 ),
        "\r\n--$boundary-.", "\r\n--${boundary}X", "--$boundary--", "\n--$boundary\r\n",
        "\r", "\n", "\r\n", '--', 'x'
    );
    while (1) {
        my $content = join q{}, map { one_of(@pieces) } 1 .. chance(50);
        $content .= 'z' x ( $size - length $content ) if length $content < $size;
        $content .= one_of( q{}, "\r", "\r\n", "\r\n-", "\r\n--" );
        return $content if "\r\n$content\r\n" !~ /\r\n--\Q$boundary\E(?:--|[ \t]*\r\n)/;
    }
}

# Packets of all of them, as they come; many end within a delimiter.
sub send_in_packets {
    my (@uploads) = @_;
    my %sent = map { $_ => 0 } 0 .. $#uploads;
    while ( my @open = sort keys %sent ) {
        my $which  = one_of(@open);
        my $upload = $uploads[$which];
        my $length = 1 + chance( one_of(@PACKETS) );
        my $next   = index $upload->{bytes}, "\r\n--$upload->{boundary}", $sent{$which};
        $length = 1 + $next - $sent{$which} + chance( 8 + length $upload->{boundary} )
          if $next >= 0 && chance(2);
        $upload->{client}->send( substr $upload->{bytes}, $sent{$which}, $length );
        $upload->{client}->drained if !chance(8);
        $sent{$which} += $length;
        delete $sent{$which} if $sent{$which} >= length $upload->{bytes};
    }
    return;
}

sub chance {
    my ($below) = @_;
    $number = ( $number * 1_103_515_245 + 12_345 ) % 2**31;
    return int( $number / 2**31 * $below );
}

sub one_of {
    my (@list) = @_;
    return $list[ chance( scalar @list ) ];
}
