package Soak::Refusals;

# Requests that no server may take, or that exceed what the impatient listener allows, and
# the status that each has to be refused with.

use strict;
use warnings;

use Exporter qw(import);

use Soak::Content  qw(bytes_of);
use Soak::Requests qw(any_of);

our @EXPORT_OK = qw(malformed narrow);

my $MULTIPART = 'Content-Type: multipart/form-data; boundary=b';
my $FORM      = 'Content-Type: application/x-www-form-urlencoded';

# For any listener: bytes, and the status.
my @MALFORMED = (
    [ "GET / HTTP/1.1\r\n\r\n",                                                    400 ],
    [ "GET\r\n\r\n",                                                               400 ],
    [ "G\@T@ / HTTP/1.1\r\nHost: soak\r\n\r\n",                                    400 ],
    [ "GET / HTTP/3.0\r\nHost: soak\r\n\r\n",                                      505 ],
    [ "GET / HTTP/1.1\r\nHost: soak\r\nHost: other\r\n\r\n",                       400 ],
    [ "GET / HTTP/1.1\r\nHost: soak\r\nA b: c\r\n\r\n",                            400 ],
    [ "GET / HTTP/1.1\r\nHost: soak\r\nA: \0\r\n\r\n",                             400 ],
    [ post( $FORM, 'Content-Length: 3', 'Content-Length: 4' ) . 'a=bc',            400 ],
    [ post( $FORM, 'Content-Length: -3' ) . 'a=b',                                 400 ],
    [ post( $FORM, 'Content-Length: 3', 'Transfer-Encoding: chunked' ) . 'a=b',    400 ],
    [ post( $FORM, 'Transfer-Encoding: gzip, chunked' ) . "0\r\n\r\n",             501 ],
    [ post( $FORM, 'Transfer-Encoding: chunked' ) . "zz\r\n",                      400 ],
    [ post( $FORM, 'Transfer-Encoding: chunked' ) . "3\r\na=bc\r\n",               400 ],
    [ post( $MULTIPART, 'Content-Length: 60' ) . part( 'name="a"', 'x' x 10, 60 ), 400 ],
);

# For the impatient listener.
my @NARROW = (
    [ "GET /@{[ 'x' x 600 ]} HTTP/1.1\r\nHost: soak\r\n\r\n",                       414 ],
    [ "GET / HTTP/1.1\r\nHost: soak\r\nX: @{[ 'x' x 1100 ]}\r\n\r\n",               431 ],
    [ "GET / HTTP/1.1\r\nHost: soak\r\n" . "X: x\r\n" x 21 . "\r\n",                431 ],
    [ post( $FORM, 'Content-Length: 5001' ) . 'x' x 5001,                           413 ],
    [ post( $MULTIPART, 'Content-Length: 100001' ),                                 413 ],
    [ post( $MULTIPART, 'Content-Length: 90000' ) . part( 'name="a"', 'x' x 1100 ), 413 ],
    [
        post( $MULTIPART, 'Content-Length: 90000' )
          . part( 'name="a"; filename="b"', 'x' x 30_000 ),
        413
    ],
    [
        post( $MULTIPART, 'Content-Length: 90000' )
          . part( 'name="a"; filename="b"', 'x' ) x 4,
        413
    ],
    [ post( $MULTIPART, 'Content-Length: 90000' ) . part( 'name="a"', 'x' ) x 7, 413 ],
    [ post($FORM),                                                               411 ],
    [ post('Content-Length: 3') . 'a=b',                                         415 ],
    [ post( $FORM, 'Content-Length: 30' ) . 'a=b',                               408 ],
    [
        post( $MULTIPART, 'Content-Length: 3000' )
          . part( 'name="a"; filename="b"', 'x' ),
        408
    ],
    [ "GET / HTTP/1.1\r\nHost: so", 408 ],
);

# A random one of them.
sub malformed { return @{ any_of( @MALFORMED, [ rubbish(), 400 ] ) } }

sub narrow { return @{ any_of(@NARROW) } }

sub part {
    my ( $disposition, $content, $length ) = @_;
    my $part = "--b\r\nContent-Disposition: form-data; $disposition\r\n\r\n$content\r\n";
    return defined $length ? substr $part, 0, $length : $part;
}

sub post {
    my (@lines) = @_;
    return join "\r\n", 'POST / HTTP/1.1', 'Host: soak', @lines, q{}, q{};
}

sub rubbish {
    my $bytes = bytes_of( int rand 1e6, 200 );
    $bytes =~ tr/\r\n/xx/;
    return "$bytes\r\n\r\n";
}

1;
