# A request as browsers send it, of which the handler reads a header and a parameter.
package Bench::Workload::Browser;

use strict;
use warnings;

use parent 'Bench::Workload::Load';

sub description {
    return <<'TEXT';
The same with eight header lines of a browser, a `Cookie` line with three cookies, and three parameters in the query. The
handler reads one of the headers and one of the parameters, and answers with both.
TEXT
}

sub expected { return "1 book-1042\n" }

sub headers {
    return (
        'User-Agent' =>
          'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
        'Accept' =>
'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
        'Accept-Language'           => 'en-GB,en;q=0.7,uk;q=0.3',
        'Accept-Encoding'           => 'gzip, deflate',
        'Referer'                   => 'http://www.example.com/books?page=1',
        'Connection'                => 'keep-alive',
        'Upgrade-Insecure-Requests' => '1',
        'Cookie' => 'session=4f0c2a9e77d14b6f; language=en; seen=1042%2C1077%2C1101',
    );
}

sub name { return 'browser' }

sub path { return '/?item=book-1042&page=2&sort=price' }

sub title { return 'A request of a browser, on connections that are kept' }

1;
