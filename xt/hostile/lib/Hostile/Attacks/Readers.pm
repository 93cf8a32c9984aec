package Hostile::Attacks::Readers;

# Clients that do not read what they have asked for, or read very little of it.

use strict;
use warnings;

use TestServer qw(chunked kept_request_bytes multipart multipart_type);

use Hostile::Bounds;
use Hostile::Target;

my $MIB = 2**20;

sub get {
    my ($path) = @_;
    return "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
}

# A small window: most of a reply stays with the server.
my %NEVER = ( reads => 0, room => 16_384 );

# In chunks, so that its end is not known before it has come.
sub upload {
    my $body = multipart( { name => 'f', file_name => 'f', content => 'x' x 2_000_000 } );
    my %header = ( 'Content-Type' => multipart_type(), 'Transfer-Encoding' => 'chunked' );
    return kept_request_bytes( POST => '/form', \%header ) . chunked( $body, 1_000 );
}

sub attacks {
    my $bytes;
    return (
        {
            name    => 'large-unread',
            what    => 'replies of 8 MiB that nobody reads, under write_timeout',
            options => { write_timeout => 3 },
            clients => [ 20, 100 ],
            client  => sub {
                return {
                    %NEVER,
                    pieces => [ get( '/large/' . 8 * $MIB ) ],
                    gets   => 'nothing'
                };
            },
            reads_last => 1,
            memory     => sub { $_[0] * Hostile::Bounds::reply( 8 * $MIB ) },
        },
        {
            name    => 'ahead-unread',
            what    => '10,000 requests sent ahead, no reply read, under write_timeout',
            options => { write_timeout => 3 },
            clients => [ 100, 500 ],
            client  => sub {
                return {
                    %NEVER,
                    pieces  => [ get('/large/65536') x 10_000 ],
                    replies => 20_000,
                    gets    => qr/^(?:nothing|200(?: x \d+)?)$/
                };
            },
            reads_last => 1,
            memory     => sub { $_[0] * Hostile::Bounds::reply(65_536) },
        },
        {
            name    => 'ahead-of-upload',
            what    => 'requests sent ahead, behind uploads in chunks, no reply read',
            options => { write_timeout => 3 },
            clients => [ 100, 500 ],
            client  => sub {
                $bytes //= upload() . get('/large/65536') x 25_000;
                return {
                    %NEVER,
                    pieces  => [$bytes],
                    replies => 25_001,
                    gets    => qr/^(?:nothing|200(?: x \d+)?)$/
                };
            },
            reads_last => 1,
            memory     => sub {
                $_[0] * ( Hostile::Bounds::reply(65_536) + Hostile::Bounds::MIB );
            },
            keeps => \&Hostile::Bounds::kept_of_uploads,
        },
        {
            name    => 'refused-unread',
            what    => 'requests that are refused, and more behind them, nothing read',
            options => { error_responses => 1, write_timeout => 3 },
            clients => [ 300, 3_000 ],
            client  => sub {
                return {
                    %NEVER,
                    pieces => [ "NONSENSE\r\n\r\n", ( 'x' x 65_536 ) x 16 ],
                    gets   => qr/^(?:nothing|400)$/
                };
            },
            reads_last => 1,
            memory     => sub { $_[0] * Hostile::Bounds::waiting() },
        },
        {
            name    => 'small-window',
            what    => 'replies of 256 KiB, taken through the smallest window',
            clients => [ 50, 300 ],
            client  => sub {
                return { pieces => [ get('/large/262144') ], room => 1, gets => '200' };
            },
            memory => sub { $_[0] * Hostile::Bounds::reply(262_144) },
        },
    );
}

1;
