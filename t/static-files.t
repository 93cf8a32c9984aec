#!/usr/bin/env perl
# Files are served by a module beside the server: to curl, to a raw client, to Chromium.

use strict;
use warnings;
use utf8;

use Digest::SHA qw(sha256_hex);
use Encode      qw(encode);
use File::Temp  qw(tempdir);
use FindBin;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(output_of request_bytes);
use TestServer::Browser;

my $LARGE = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 5_000_000;
my %FILES = (
    'empty.txt'           => q{},
    'byte.txt'            => 'x',
    'lines.txt'           => join( q{}, map { "line $_\n" } 1 .. 10_000 ),
    'large.bin'           => $LARGE,
    'no-suffix'           => "\0\1\2\xff\n",
    'with space+plus.txt' => 'space and plus',
    'percent%41.txt'      => 'percent',
    'фото.txt'            => 'unicode',
    'index.html'          =>
      '<!doctype html><title>Index</title><link rel=stylesheet href=sub/a.css>'
      . '<script src=a.js></script><img src=image.png><p>The index',
    'a.js'           => 'window.loaded = "by script";',
    'sub/a.css'      => 'p { color: rgb(1, 2, 3) }',
    'sub/index.html' => 'The index below',

    # The smallest there is: one transparent pixel.
    'image.png' => pack( 'H*',
            '89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4'
          . '890000000d49444154789c6360000000000500010d0a2db40000000049454e44'
          . 'ae426082' ),
);

my $directory = tempdir( CLEANUP => 1 );
mkdir "$directory/sub" or die "mkdir: $!";
for my $name ( keys %FILES ) {
    open my $handle, '>:raw', "$directory/" . encode( 'UTF-8', $name ) or die "$name: $!";
    print {$handle} $FILES{$name};
    close $handle or die "$name: $!";
}

# What is asked for => status, content.
my %TARGETS = (
    ( map { ( '/' . escaped($_) => [ 200, $FILES{$_} ] ) } keys %FILES ),
    '/'                         => [ 200, $FILES{'index.html'} ],
    '/?a=b'                     => [ 200, $FILES{'index.html'} ],
    '/sub/'                     => [ 200, $FILES{'sub/index.html'} ],
    '/sub'                      => [ 301, q{} ],
    '/byte.txt?query=/no.txt'   => [ 200, 'x' ],
    '/%62yte%2Etxt'             => [ 200, 'x' ],
    '/with%20space+plus.txt'    => [ 200, 'space and plus' ],
    '/with+space+plus.txt'      => [ 404, '404 Not Found' ],
    '/percent%41.txt'           => [ 404, '404 Not Found' ],
    '/none'                     => [ 404, '404 Not Found' ],
    '/none/'                    => [ 404, '404 Not Found' ],
    '/%2e%2e/%2e%2e/etc/passwd' => [ 403, '403 Forbidden' ],
    '/sub/..%2f..%2fetc/passwd' => [ 403, '403 Forbidden' ],
    '/../../etc/passwd'         => [ 403, '403 Forbidden' ],
    '/byte.txt%00.png'          => [ 403, '403 Forbidden' ],
);

my $server = TestServer->start(
    sub {
        my ($server) = @_;
        require StandIn::StaticFiles;
        my $files = StandIn::StaticFiles->new($directory);
        $server->listen( sub { $files->serve( $_[0] ) } );
    }
);

subtest 'A raw client' => sub {
    for my $target ( sort keys %TARGETS ) {
        my $response = $server->request( GET => $target );
        is $response->{status}, $TARGETS{$target}[0], $target;
        ok $response->{body} eq $TARGETS{$target}[1], 'the content';
        is $response->{headers}{'content-length'}, length $TARGETS{$target}[1],
          'its length'
          if $response->{status} != 301;
    }
};

subtest 'Types, also where none is given' => sub {
    my %types = (
        '/'          => 'text/html',
        '/byte.txt'  => 'text/plain; charset=utf-8',
        '/a.js'      => 'text/javascript',
        '/image.png' => 'image/png',
        '/no-suffix' => 'application/octet-stream',
        '/large.bin' => 'text/html',
    );
    for my $target ( sort keys %types ) {
        is $server->request( GET => $target )->{headers}{'content-type'}, $types{$target},
          $target;
    }
};

subtest 'HEAD' => sub {
    my $response = $server->request( HEAD => '/lines.txt' );
    is $response->{status},                    200,                        'the status';
    is $response->{headers}{'content-length'}, length $FILES{'lines.txt'}, 'the length';
    is $response->{body},                             q{}, 'and no content';
    is $server->request( HEAD => '/none' )->{status}, 404, 'where nothing is';
};

subtest 'Only what was modified' => sub {
    my $modified = $server->request( GET => '/byte.txt' )->{headers}{'last-modified'};
    my $response =
      $server->request( GET => '/byte.txt', { 'If-Modified-Since' => $modified } );
    is $response->{status}, 304, 'the status';
    is $response->{body},   q{}, 'and no content';
    is $server->request(
        GET => '/byte.txt',
        { 'If-Modified-Since' => 'Thu, 01 Jan 1970 00:00:00 GMT' }
    )->{status}, 200, 'and otherwise all of it';
};

subtest 'Many at once, and one that reads slowly' => sub {
    my $slow = $server->connect;
    $slow->send( request_bytes( GET => '/large.bin' ) );
    my @clients = map { $server->connect } 1 .. 50;
    $_->send( request_bytes( GET => '/lines.txt' ) ) for @clients;
    is scalar( grep { $_->response->{body} eq $FILES{'lines.txt'} } @clients ), 50,
      'small ones';
    ok $slow->response->{body} eq $LARGE, 'the large one';
};

subtest 'curl' => sub {
    my @curl = qw(curl --silent --show-error --noproxy * --path-as-is);
    output_of( 'curl', '--version' ) or plan skip_all => 'curl is not installed';
    for my $target ( sort keys %TARGETS ) {
        my $output =
          output_of( @curl, '--write-out', '%{http_code}', $server->url($target) );
        my $status = substr $output, -3, 3, q{};
        is $status, $TARGETS{$target}[0], $target;
        ok $output eq $TARGETS{$target}[1], 'the content';
    }
    is output_of( @curl, '--location', '--write-out', '%{num_redirects}',
        $server->url('/sub') ),
      'The index below1', 'a redirection is followed';
    like output_of( @curl, '--head', $server->url('/large.bin') ),
      qr/^Content-Length: 20000000\r$/m, 'HEAD';
    my @all = map { $server->url($_) } grep { $TARGETS{$_}[0] == 200 } sort keys %TARGETS;
    my $all = join q{},
      map { $TARGETS{$_}[1] } grep { $TARGETS{$_}[0] == 200 } sort keys %TARGETS;
    ok output_of( @curl, @all ) eq $all, 'all of them by one curl';
};

subtest 'Chromium' => sub {
    my $browser = TestServer::Browser->start
      or plan skip_all => 'chromedriver is not installed';
    my $page = $browser->open_page( $server->url );
    is $page->run('return window.loaded;'), 'by script', 'the script of the page';
    is $page->run('return getComputedStyle(document.querySelector("p")).color;'),
      'rgb(1, 2, 3)', 'its style sheet';
    is $page->run('return document.querySelector("img").naturalWidth;'), 1, 'its image';

    my @targets = grep { $TARGETS{$_}[0] == 200 } sort keys %TARGETS;
    my $targets = encode_json( \@targets );
    my $digests = decode_json $page->run(<<"JAVASCRIPT");
const digest = async target => {
    const response = await fetch(target);
    const hash = await crypto.subtle.digest('SHA-256', await response.arrayBuffer());
    return Array.from(new Uint8Array(hash), byte => byte.toString(16).padStart(2, '0')).join('');
};
return JSON.stringify(await Promise.all($targets.map(digest)));
JAVASCRIPT
    is_deeply $digests, [ map { sha256_hex( $TARGETS{$_}[1] ) } @targets ],
      'all files at once';
    is $page->run('return (await fetch("/none")).status;'), 404, 'where nothing is';
    $page->close;
};

$server->stop;

done_testing;

# As it stands in a URL.
sub escaped {
    my ($name) = @_;
    return encode( 'UTF-8', $name ) =~ s{([^\w./+-])}{sprintf '%%%02X', ord $1}ger;
}
