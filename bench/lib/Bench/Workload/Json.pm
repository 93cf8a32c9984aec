# A JSON body of middle size, which the handler takes as it is.
package Bench::Workload::Json;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

use constant BODY_SIZE => 10 * 1024;    # bytes

sub body {
    my $items = join q{,}, map { qq({"id":$_,"title":"Book $_"}) } 1 .. 200;
    my $frame = qq({"items":[$items],"text":""});
    my $text  = 'x' x ( BODY_SIZE - length $frame );
    return $frame =~ s/""}\z/"$text"}/r;
}

sub description {
    return <<'TEXT';
A POST of 10 KiB of JSON. The handler answers with the length of the body.
TEXT
}

sub expected { return "10240 bytes\n" }

sub headers { return ( 'Content-Type' => 'application/json' ) }

sub method { return 'POST' }

sub name { return 'json' }

sub title { return 'A body of 10 KiB' }

1;
