# A small urlencoded form.
package Bench::Workload::Form;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

use constant BODY_SIZE => 1024;    # bytes

sub body {
    my $fields =
      'title=Hello%20world&author=A.+Uthor&year=2024&language=en&publisher=Press&text=';
    return $fields . substr 'Some%20words%20' x BODY_SIZE, 0, BODY_SIZE - length $fields;
}

sub description {
    return <<'TEXT';
A POST of a urlencoded form of 1 KiB with six fields. The handler reads one of them, and answers with it.
TEXT
}

sub headers { return ( 'Content-Type' => 'application/x-www-form-urlencoded' ) }

sub method { return 'POST' }

sub name { return 'form' }

sub title { return 'A small form' }

1;
