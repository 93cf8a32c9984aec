package Hostile::Attacks::Limits;

# Each limit of `listen` by many clients at a time: one less, as much as is allowed, one more,
# and far more.

use strict;
use warnings;

use TestServer qw(kept_request_bytes multipart multipart_type);

use Hostile::Bounds;
use Hostile::Target;

my %FORM = ( 'Content-Type' => 'application/x-www-form-urlencoded' );

# Requests that a refusal may cut off.
sub get { return kept_request_bytes( GET => @_ ) }

sub form { return kept_request_bytes( POST => '/form', \%FORM, $_[0] ) }

sub upload {
    return kept_request_bytes(
        POST => '/form',
        { 'Content-Type' => multipart_type() }, multipart(@_)
    );
}

sub in_chunks {
    my ($body) = @_;
    return kept_request_bytes(
        POST => '/form',
        { %FORM, 'Transfer-Encoding' => 'chunked' }
    ) . $body;
}

# The limit, its default or what is set, the status beyond it, and a request of that size.
my @LIMITS = (
    [ max_uri         => 4_099,  414, sub { get( q{/?} . 'x' x ( $_[0] - 2 ) ) } ],
    [ max_header_line => 16_384, 431, sub { get( q{/}, { X => 'x' x ( $_[0] - 3 ) } ) } ],
    [ max_header_size => 65_536, 431, \&_head ],
    [
        max_headers => 100,
        431,
        sub {
            get( q{/}, { map { ( "X$_" => 1 ) } 2 .. $_[0] } );
        }
    ],
    [ max_urlencoded_body => 102_400, 413, sub { form( 'x' x $_[0] ) } ],
    [
        max_field_name => 4_099,
        413, sub { upload( { name => 'x' x $_[0], content => 1 } ) }
    ],
    [
        max_file_name => 4_099,
        413, sub { upload( { name => 'f', file_name => 'x' x $_[0], content => 1 } ) }
    ],
    [
        max_field_value => 51_197,
        413, sub { upload( { name => 'f', content => 'x' x $_[0] } ) }
    ],
    [
        max_parts => 1_025,
        413, sub { upload( ( { name => 'f', content => 1 } ) x $_[0] ) }
    ],
    [
        max_files => 12,
        413,
        sub { upload( ( { name => 'f', file_name => 'f', content => 1 } ) x $_[0] ) }
    ],
    [
        max_file_size => 200_000,
        413,
        sub { upload( { name => 'f', file_name => 'f', content => 'x' x $_[0] } ) }
    ],
    [
        max_body_size => 1_000_000,
        413,
        sub {
            my @parts = map { { name => 'f', file_name => 'f', content => 'x' x $_ } }
              (150_000) x 6, 0;
            $parts[-1]{content} = 'x' x ( $_[0] - length multipart(@parts) );
            return upload(@parts);
        }
    ],
    [
        max_chunk_line => 4_096,
        413, sub { in_chunks( '1;' . 'x' x ( $_[0] - 2 ) . "\r\na\r\n0\r\n\r\n" ) }
    ],
);

# Trailers have the limits of heads.
my @TRAILERS = (
    [ max_header_line => 16_384, 431, sub { trailers( 'X:' . 'x' x ( $_[0] - 2 ) ) } ],
    [ max_headers     => 100,    431, sub { trailers( ('X: y') x $_[0] ) } ],
    [
        max_header_size => 65_536,
        431,
        sub {
            my @lines = ( 'X:' . 'x' x 9_998 ) x 6;
            my $left  = $_[0] - 6 * 10_002 - 2;
            return trailers( @lines, 'X:' . 'x' x ( $left - 4 ) );
        }
    ],
);

sub trailers {
    my (@lines) = @_;
    return in_chunks( join "\r\n", '1', 'a', '0', @lines, q{}, q{} );
}

# A head of this many bytes, of lines that are no longer than they may be.
sub _head {
    my ($size) = @_;
    my %lines;
    my $rest = $size - length get( q{/}, {} );
    for my $number ( 10 .. 99 ) {
        my $length = $rest > 16_100 ? 16_000 : $rest;
        $lines{"X$number"} = 'x' x ( $length - 7 );
        $rest -= $length;
        last if !$rest;
    }
    return get( q{/}, \%lines );
}

sub attacks {
    my %option = (
        error_responses => 1,
        max_files       => 12,
        max_file_size   => 200_000,
        max_body_size   => 1_000_000
    );
    my @scripts;
    for my $limit ( @LIMITS, @TRAILERS ) {
        my ( $name, $size, $status, $request ) = @{$limit};
        for
          my $is ( [ -1, '200' ], [ 0, '200' ], [ 1, $status ], [ 15 * $size, $status ] )
        {
            my ( $more, $gets ) = @{$is};
            next if $name eq 'max_header_line' && $more > 1;
            push @scripts,
              sub { return { pieces => [ $request->( $size + $more ) ], gets => $gets } };
        }
    }
    my $count = @scripts;
    return {
        name => 'limits',
        what => "each limit less one, as it is, more one, and 16 times: $count requests",
        options => \%option,
        clients => [ 4 * $count, 40 * $count ],
        client  => sub { $scripts[ $_[0] % $count ]->() },
        memory  =>
          sub { 4 * Hostile::Bounds::upload() + $_[0] * Hostile::Bounds::waiting() },
        keeps => \&Hostile::Bounds::kept_of_uploads,
    };
}

1;
