# A small multipart form with a file.
package Bench::Workload::Multipart;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

use constant {
    BOUNDARY  => '----------------------------benchForm7MA4YWxkTrZu0gW',
    FILE_SIZE => 20 * 1024,                                                # bytes
};

# 105 bytes in all.
my %FIELD = (
    comment =>
'Seen from the old lighthouse, in the last light of a day in the autumn of this year',
    place => 'Chornomorsk',
    title => 'The harbour',
);

sub body {
    my $fields = join q{}, map {
qq{--@{[BOUNDARY]}\r\nContent-Disposition: form-data; name="$_"\r\n\r\n$FIELD{$_}\r\n}
    } sort keys %FIELD;
    return
        $fields
      . "--@{[BOUNDARY]}\r\n"
      . qq{Content-Disposition: form-data; name="file"; filename="harbour.jpg"\r\n}
      . "Content-Type: image/jpeg\r\n\r\n"
      . _picture()
      . "\r\n--@{[BOUNDARY]}--\r\n";
}

sub description {
    return <<'TEXT';
A `multipart/form-data` POST of three short fields and a file of 20 KiB. The handler reads the fields and the size of the file;
the PSGI servers by Plack::Request.
TEXT
}

sub expected { return "105 + 20480\n" }

sub headers {
    return ( 'Content-Type' => 'multipart/form-data; boundary=' . BOUNDARY );
}

sub method { return 'POST' }

sub name { return 'multipart' }

sub references { return qw(starman feersum mojolicious) }

sub title { return 'A small form with a file' }

# Bytes as a picture has them, the same each time.
sub _picture {
    my ( $state, $bytes ) = ( 1, q{} );
    while ( length $bytes < FILE_SIZE ) {
        $state = ( $state * 1_103_515_245 + 12_345 ) % 2**31;
        $bytes .= chr( $state >> 16 & 255 );
    }
    return $bytes;
}

1;
