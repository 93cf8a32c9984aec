package Hostile::Attacks::Connections;

# Connections that come and go, or are too many.

use strict;
use warnings;

use Hostile::Bounds;
use Hostile::Target;

my $HEAD = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

# From many addresses, as each has some 28,000 ports that are free for a minute only.
sub from { return '127.0.0.' . ( 2 + $_[0] % 200 ) }

sub come_and_go {
    my ( $number, %script ) = @_;
    return { from => from($number), replies => 0, gets => 'nothing', %script };
}

sub attacks {
    return (
        {
            name => 'churn',
            what =>
'connections that close, reset, or end their side, at once or within a head',
            clients     => [ 3_000, 60_000 ],
            descriptors => 0.1,
            client      => sub {
                my ($number) = @_;
                my @pieces   = $number % 2 ? ( substr $HEAD, 0, $number % 20 ) : ();
                my $ends     = (qw(close reset shutdown))[ $number / 2 % 3 ];
                return come_and_go( $number, pieces => \@pieces, ends => $ends );
            },
            memory => sub { 1_000 * Hostile::Bounds::head() },
        },
        {
            name        => 'churn-requests',
            what        => 'requests whose clients close or reset without waiting',
            clients     => [ 2_000, 30_000 ],
            descriptors => 0.1,
            client      => sub {
                my ($number) = @_;
                my $ends = (qw(close reset))[ $number % 2 ];
                return come_and_go( $number, pieces => [$HEAD], ends => $ends );
            },
            memory => sub { 1_000 * Hostile::Bounds::request( max_header_size => 64 ) },
        },
        {
            name    => 'half-closed',
            what    => 'requests whose clients end their side, and wait',
            clients => [ 2_000, 10_000 ],
            client  => sub {
                return {
                    from   => from( $_[0] ),
                    pieces => [$HEAD],
                    ends   => 'shutdown',
                    gets   => '200'
                };
            },
            memory => sub { 1_000 * Hostile::Bounds::request( max_header_size => 64 ) },
        },
        {
            name    => 'urgent',
            what    => 'heads with an urgent byte in them, which is no part of them',
            clients => [ 500, 5_000 ],
            options => { timeout => 3 },
            client  => sub {
                return {
                    from   => from( $_[0] ),
                    pieces => [ $HEAD =~ /.{1,4}/gs ],
                    pace   => 0.1,
                    urgent => 1,
                    gets   => qr/^(?:nothing|400)$/
                };
            },
            memory => sub { $_[0] * Hostile::Bounds::head( max_header_size => 64 ) },
        },
        {
            name     => 'too-many',
            what     => 'connections that wait, more than max_connections',
            options  => { max_connections => 200, error_responses => 1, timeout => 3 },
            clients  => [ 2_000, 10_000 ],
            visitors => 0,
            client   => sub {
                return { from => from( $_[0] ), gets => qr/^(?:nothing|408|503)$/ };
            },
            memory => sub { 264 * Hostile::Bounds::head() },
        },
        {
            name => 'too-many-idle',
            what =>
              'connections that are kept, more than max_connections: they make room',
            options  => { max_connections => 200, error_responses => 1 },
            clients  => [ 600, 10_000 ],
            visitors => 0,
            client   => sub {
                return {
                    from    => from( $_[0] ),
                    pieces  => [$HEAD],
                    replies => 2,
                    gets    => qr/^(?:nothing|200|503)$/
                };
            },
            memory => sub { 264 * Hostile::Bounds::request() },
        },
    );
}

1;
