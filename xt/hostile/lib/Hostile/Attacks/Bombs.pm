package Hostile::Attacks::Bombs;

# Requests that are as large, as split up or as misleading as the limits allow.

use strict;
use warnings;

use TestServer qw(chunked kept_request_bytes);

use Hostile::Bounds;
use Hostile::Target;

my %FORM = ( 'Content-Type' => 'application/x-www-form-urlencoded' );

# So many of the longest boundary there is in RFC 2046, which is all one letter.
my $LONG = 'b' x 70;

sub get { return kept_request_bytes( GET => @_ ) }

sub form { return kept_request_bytes( POST => '/form', \%FORM, $_[0] ) }

sub upload {
    my ( $boundary, $body ) = @_;
    my %header = ( 'Content-Type' => "multipart/form-data; boundary=$boundary" );
    return kept_request_bytes( POST => '/form', \%header, $body );
}

sub in_chunks {
    my ($body) = @_;
    return kept_request_bytes(
        POST => '/form',
        { %FORM, 'Transfer-Encoding' => 'chunked' }
    ) . $body;
}

# A body of these parts, whose heads are given.
sub parts {
    my ( $boundary, @parts ) = @_;
    return join q{}, ( map { "--$boundary\r\n$_->[0]\r\n\r\n$_->[1]\r\n" } @parts ),
      "--$boundary--\r\n";
}

my $FIELD = 'Content-Disposition: form-data; name="a"';
my $FILE  = qq{$FIELD; filename="f"};

sub reply { return Hostile::Target->form_reply(@_) }

# The limits of what the parts bring, and the file a.bin of normal clients, so that the bound of
# memory is near to what they cost.
my %SHORT = ( max_field_name => 1, max_file_name => 5, max_field_value => 1 );
my %ONE   = ( %SHORT, max_parts => 1 );

# A file of data that is nearly the delimiter, in every way.
sub near_delimiters {
    my ($boundary) = @_;
    my $delimiter  = "\r\n--$boundary";
    my $length     = length $delimiter;
    my $data       = join q{},
      ( map { substr $delimiter, 0, $_ } 1 .. $length - 1 ),
      ( map { substr $delimiter, $_ } 1 .. $length - 1 ),
      ( map { my $near = $delimiter; substr $near, $_, 1, 'X'; $near } 0 .. $length - 1 ),
      "$delimiter-", "${delimiter}X", "$delimiter\n", "$delimiter \rX", "$delimiter  -";
    return $data x 50;
}

# Each is a name, what it is, how the request is made and of what, what comes of it, and options.
# The bytes are made by the clients: what is large here, the server would begin with.
sub bombs {
    my $near = near_delimiters($LONG);
    my @many = ( [ $FIELD, 1 ] ) x 100_000;
    return (
        [
            'header-bomb', '100 headers of 16 KiB',
            get => sub { headers( 98, 16_000 ) },
            431
        ],
        [
            'header-bomb-let',
            '98 headers of 16 KB, where they are allowed',
            get => sub { headers( 98, 16_000 ) },
            'page', { max_header_size => 2**21 }
        ],
        [
            'header-names',
            '5,000 names, where they are allowed',
            get => sub {
                return ( '/headers',
                    { map { ( sprintf( 'X%05d', $_ ) => 1 ) } 1 .. 5_000 } );
            },
            '5000 headers',
            { max_headers => 5_010, max_header_size => 2**20 }
        ],
        [
            'cookie-bomb',
            'cookies of 16 KB',
            get => sub {
                return ( '/cookies', { Cookie => join '; ', map { "a$_" } 1 .. 2_100 } );
            },
            '100 cookies'
        ],
        [
            'query-bomb',
            'a query of 4 KB of separators',
            get => sub { '/query?' . '&' x 4_080 },
            '1024 of 0, 2 names'
        ],
        [
            'escape-bomb',
            'a query of 4 KB of percent signs',
            get => sub { '/query?a=' . '%' x 4_080 },
            '1 of 4080, 1 names'
        ],
        [
            'form-bomb',
            'a form of 100 KB of escapes',
            form => sub { 'a=' . '%d0%b6' x 17_000 },
            reply( 1, 17_000, 0, 0 )
        ],
        [
            'parts',
            '100,000 parts, which are too many',
            upload => sub { return ( 'b', parts( 'b', @many ) ); },
            413,
            \%SHORT
        ],
        [
            'parts-let',
            '100,000 parts, where they are allowed',
            upload => sub { return ( 'b', parts( 'b', @many ) ); },
            reply( 100_000, 100_000, 0, 0 ),
            { %SHORT, max_parts => 100_000 }
        ],
        [
            'parts-empty',
            '1,025 parts without names and bytes',
            upload => sub { return ( 'b', parts( 'b', ( [ 'X: y', q{} ] ) x 1_025 ) ); },
            reply( 1_025, 0, 0, 0 ),
            \%SHORT
        ],
        [
            'near-delimiters-70',
            'a file of what is nearly a delimiter of 70 equal letters',
            upload => sub { return ( $LONG, parts( $LONG, [ $FILE, $near ] ) ); },
            reply( 0, 0, 1, length $near ),
            \%ONE
        ],
        [
            'around-parts',
            '8 MiB before the first part and behind the last',
            upload => sub {
                return ( 'b',
                        ( "-b\r\n" x 2**21 ) . "\r\n"
                      . parts( 'b', [ $FIELD, 1 ] )
                      . "\r\n--b" x 2**20 );
            },
            reply( 1, 1, 0, 0 ),
            \%ONE
        ],
        [
            'part-head-endless',
            'the head of a part that does not end',
            upload => sub { return ( 'b', "--b\r\n" . 'x' x 2**20 ); },
            413,
            \%ONE
        ],
        [
            'part-parameters',
            'a part with 1,000 parameters, and continuations of RFC 2231',
            upload => sub {
                return (
                    'b',
                    parts(
                        'b',
                        [
                            $FIELD
                              . join( q{},
                                map { "; p$_=$_; filename*$_*=UTF-8''x" } 1 .. 1_000 ),
                            1
                        ]
                    )
                );
            },
            reply( 1, 1, 0, 0 ),
            \%ONE
        ],
        [
            'chunks-million',
            'a million chunks of one byte',
            in_chunks => sub { chunked( 'a=' . 'x' x 999_998, 1 ) },
            reply( 1, 999_998, 0, 0 ),
            { max_urlencoded_body => 1_000_000 }
        ],
        [
            'chunk-extension-bomb',
            '2,000 chunks of a byte and 4 KiB of extensions',
            in_chunks => sub {
                join q{},
                  ( map { "1;$_\r\nx\r\n" } ( 'e' x 4_094 ) x 2_000 ), "0\r\n\r\n";
            },
            reply( 1, 0, 0, 0 )
        ],
        [
            'trailer-bomb',
            '100 trailers of 640 bytes',
            in_chunks =>
              sub { "3\r\na=1\r\n0\r\n" . ( 'X: ' . 'x' x 640 . "\r\n" ) x 100 . "\r\n" },
            reply( 1, 1, 0, 0 )
        ],
    );
}

sub headers {
    my ( $count, $length ) = @_;
    return ( q{/}, { map { ( "X$_" => 'x' x $length ) } 1 .. $count } );
}

# What a connection may cost that sends this.
my %BOUND = (
    get       => \&Hostile::Bounds::request,
    form      => \&Hostile::Bounds::form,
    in_chunks => \&Hostile::Bounds::form,
    upload    => \&Hostile::Bounds::upload,
);

my %REQUEST =
  ( get => \&get, form => \&form, in_chunks => \&in_chunks, upload => \&upload );

sub attacks {
    return map { attack( @{$_} ) } bombs();
}

sub attack {
    my ( $name, $what, $kind, $content, $gets, $options ) = @_;
    my $is_refused = $gets =~ /\A\d{3}\z/;
    my @reply      = $is_refused ? ( gets => $gets ) : ( gets => '200', body => $gets );
    my $script;

    # What may be kept of one round and not of another: a normal client's, or all that
    # uploads share.
    my $buffers = $kind eq 'upload' ? 17 : 2;
    return {
        name    => $name,
        what    => $what,
        options => { error_responses => 1, %{ $options || {} } },
        clients => $name eq 'parts-let' ? [ 4, 100 ] : [ 10, 100 ],
        client  => sub {
            $script ||= { pieces => [ $REQUEST{$kind}->( $content->() ) ], @reply };
        },
        memory => sub { $_[0] * $BOUND{$kind}->( %{ $options || {} } ) },
        again  => $buffers * Hostile::Bounds::MIB,

        # And of 100,000 variables at once.
        keeps => sub {
            return $_[0] * 16 * Hostile::Bounds::MIB if $name eq 'parts-let';
            return $kind eq 'upload' ? Hostile::Bounds::kept_of_uploads() : 0;
        },
    };
}

1;
