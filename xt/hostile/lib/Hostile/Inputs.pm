package Hostile::Inputs;

# What a request can bring much of, for Hostile::Work to double.

use strict;
use warnings;

use TestServer qw(chunked kept_request_bytes multipart multipart_type);

use Hostile::Target;

# No limit is in the way.
my %LIMITS = (
    max_urlencoded_fields => 0,
    max_cookies           => 0,
    map { ( "max_$_" => 2**40 ) }
      qw(
      uri header_line header_size headers field_name file_name field_value parts
      urlencoded_body chunk_line
      )
);

# Perl's own hashes cost up to eleven times as much where they outgrow the processor's caches.
my $HASH_MOST = 12;

my %FORM = ( 'Content-Type' => 'application/x-www-form-urlencoded' );

sub get {
    my ( $path, %header ) = @_;
    return kept_request_bytes( GET => $path, \%header );
}

sub form {
    my ($body) = @_;
    return kept_request_bytes( POST => '/form', \%FORM, $body );
}

sub in_chunks {
    my ( $type, $body ) = @_;
    my %header = (
        'Content-Type'      => $type,
        'Transfer-Encoding' => 'chunked',
        'Content-Length'    => undef
    );
    return kept_request_bytes( POST => '/form', \%header ) . $body;
}

sub upload {
    my (@parts) = @_;
    return kept_request_bytes(
        POST => '/form',
        { 'Content-Type' => multipart_type() }, multipart(@parts)
    );
}

sub form_reply { return Hostile::Target->form_reply(@_) }

# A head of lines that are different and of equal length.
sub lines {
    my ( $count, $name ) = @_;
    return map { sprintf( $name, $_ ) => 'v' } 1 .. $count;
}

sub in_pieces {
    my ( $bytes, $length ) = @_;
    return [ unpack "(a$length)*", $bytes ];
}

sub inputs {
    my @inputs = (
        {
            name    => 'header-lines',
            what    => 'header lines',
            sizes   => [ 2_000, 20_000 ],
            request => sub { get( '/headers', lines( $_[0], 'X%07d' ) ) },
            body    => sub { "$_[0] headers" },
        },
        {
            name    => 'header-dashes',
            what    => 'header lines with dashes, and as many with underscores',
            sizes   => [ 2_000, 10_000 ],
            request => sub {
                get( '/headers', lines( $_[0], 'X-%07d' ), lines( $_[0], 'X_%07d' ) );
            },
            body => sub { "$_[0] headers" },
        },
        {
            name    => 'header-line',
            what    => 'bytes of one header line',
            sizes   => [ 2_000_000, 20_000_000 ],
            request => sub { get( '/headers', X => 'x' x $_[0] ) },
            body    => sub { '1 headers' },
        },
        {
            name    => 'head-pieces',
            what    => 'pieces of 64 bytes that a head comes in',
            sizes   => [ 1_000, 4_000 ],
            request =>
              sub { in_pieces( get( '/headers', X => 'x' x ( 64 * $_[0] ) ), 64 ) },
            body => sub { '1 headers' },
        },
        {
            name    => 'query-fields',
            what    => 'fields of a query',
            sizes   => [ 40_000, 100_000 ],
            most    => $HASH_MOST,
            request => sub {
                get( '/query?' . join '&', map { "a$_=1" } 1 .. $_[0] );
            },
            body => sub { "$_[0] of $_[0], $_[0] names" },
        },
        {
            name    => 'query-same',
            what    => 'fields of one name in a query',
            sizes   => [ 10_000, 100_000 ],
            request => sub { get( '/query?' . join '&', ('a=1') x $_[0] ) },
            body    => sub { "$_[0] of $_[0], 1 names" },
        },
        {
            name    => 'query-escapes',
            what    => 'percent escapes in a query',
            sizes   => [ 200_000, 2_000_000 ],
            request => sub { get( '/query?a=' . '%41' x $_[0] ) },
            body    => sub { "1 of $_[0], 1 names" },
        },
        {
            name    => 'query-separators',
            what    => 'separators alone, in a query that is split without limit',
            sizes   => [ 500_000, 2_000_000 ],
            request => sub { get( '/query?' . '&;' x $_[0] ) },
            body    => sub { '0 of 0, 0 names' },
        },
        {
            name    => 'form-fields',
            what    => 'fields of a form',
            sizes   => [ 40_000, 100_000 ],
            most    => $HASH_MOST,
            request => sub {
                form( join '&', map { "a$_=1" } 1 .. $_[0] );
            },
            body => sub { form_reply( $_[0], $_[0], 0, 0 ) },
        },
        {
            name    => 'cookies',
            what    => 'cookies',
            sizes   => [ 10_000, 100_000 ],
            request => sub {
                get( '/cookies', Cookie => join '; ', map { "a$_=1" } 1 .. $_[0] );
            },
            body => sub { "$_[0] cookies" },
        },
        {
            name    => 'parts',
            what    => 'fields of a multipart body',
            sizes   => [ 2_000, 25_000 ],
            request => sub {
                upload( map { { name => "a$_", content => 1 } } 1 .. $_[0] );
            },
            body => sub { form_reply( $_[0], $_[0], 0, 0 ) },
        },
        {
            name    => 'parts-same',
            what    => 'fields of one name in a multipart body',
            sizes   => [ 2_000, 25_000 ],
            request => sub {
                upload( map { { name => 'a', content => 1 } } 1 .. $_[0] );
            },
            body => sub { form_reply( $_[0], $_[0], 0, 0 ) },
        },
        {
            name    => 'files',
            what    => 'files of a multipart body',
            sizes   => [ 200, 1_000 ],
            request => sub {
                upload( map { { name => 'a', content => 1, file_name => 'f' } }
                      1 .. $_[0] );
            },
            body => sub { form_reply( 0, 0, $_[0], $_[0] ) },
        },
        {
            name    => 'part-head',
            what    => 'parameters in the head of a part',
            sizes   => [ 10_000, 100_000 ],
            request => sub {
                my $head = 'X: y; name="a"' . '; name="b"' x $_[0];
                upload( { head => $head, content => 1 } );
            },
            body => sub { form_reply( 1, 1, 0, 0 ) },
        },
        {
            name    => 'part-head-pieces',
            what    => 'pieces of 64 bytes that the head of a part comes in',
            sizes   => [ 1_000, 4_000 ],
            request => sub {
                my $head = 'X: y; name="a"; x="' . 'x' x ( 64 * $_[0] ) . q{"};
                in_pieces( upload( { head => $head, content => 1 } ), 64 );
            },
            body => sub { form_reply( 1, 1, 0, 0 ) },
        },
        {
            name    => 'field-pieces',
            what    => 'pieces of 64 bytes that a field comes in',
            sizes   => [ 1_000, 4_000 ],
            request => sub {
                in_pieces( upload( { name => 'a', content => 'x' x ( 64 * $_[0] ) } ),
                    64 );
            },
            body => sub { form_reply( 1, 64 * $_[0], 0, 0 ) },
        },
        {
            name    => 'form-pieces',
            what    => 'pieces of 64 bytes that a form comes in',
            sizes   => [ 1_000, 4_000 ],
            request => sub { in_pieces( form( 'a=' . 'x' x ( 64 * $_[0] ) ), 64 ) },
            body    => sub { form_reply( 1, 64 * $_[0], 0, 0 ) },
        },
        {
            name    => 'near-delimiters',
            what    => 'lines of a file that are nearly delimiters',
            sizes   => [ 20_000, 200_000 ],
            request => sub {
                my ($boundary) = multipart_type() =~ /boundary=(.*)/;
                my $content =
                  ( "\r\n--$boundary" . "x" . "\r\n--" . substr $boundary, 0, -1 ) x
                  $_[0];
                upload( { name => 'a', content => $content, file_name => 'f' } );
            },
        },
        {
            name    => 'chunks',
            what    => 'chunks of one byte',
            sizes   => [ 100_000, 250_000 ],
            request => sub {
                in_chunks( $FORM{'Content-Type'}, chunked( 'a=' . 'x' x $_[0], 1 ) );
            },
            body => sub { form_reply( 1, $_[0], 0, 0 ) },
        },
        {
            name    => 'chunk-extensions',
            what    => 'bytes of extensions of a chunk',
            sizes   => [ 500_000, 5_000_000 ],
            request => sub {
                my $line = '3' . ';x=y' x ( $_[0] / 4 );
                in_chunks( $FORM{'Content-Type'}, "$line\r\na=1\r\n0\r\n\r\n" );
            },
            body => sub { form_reply( 1, 1, 0, 0 ) },
        },
        {
            name    => 'trailers',
            what    => 'trailer lines',
            sizes   => [ 50_000, 500_000 ],
            request => sub {
                in_chunks( $FORM{'Content-Type'},
                    "3\r\na=1\r\n0\r\n" . "X: y\r\n" x $_[0] . "\r\n" );
            },
            body => sub { form_reply( 1, 1, 0, 0 ) },
        },
        {
            name    => 'prints',
            what    => 'prints of one byte',
            sizes   => [ 50_000, 500_000 ],
            request => sub { get("/pieces/$_[0]") },
            body    => sub { 'x' x $_[0] },
        },
        {
            name    => 'waits',
            what    => 'prints, each with a flush_wait',
            sizes   => [ 5_000, 50_000 ],
            request => sub { get("/waits/$_[0]") },
            body    => sub { 'x' x $_[0] },
        },
    );
    $_->{options} ||= {%LIMITS} for @inputs;
    return @inputs;
}

1;
