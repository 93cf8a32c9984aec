package Hostile::Attacks::Pipelines;

# Floods of requests that are sent ahead.

use strict;
use warnings;

use Hostile::Bounds;
use Hostile::Target;

my $GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
my $POST =
  "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
  . "Content-Length: 3\r\n\r\na=1";
my $CHUNKED =
  $POST =~
s/Content-Length: 3\r\n\r\na=1/Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n/r;

# So many at once.
sub flood {
    my ( $request, $count, $body ) = @_;
    my $most   = 1_000;
    my @pieces = ( $request x $most ) x ( $count / $most );
    return {
        pieces  => \@pieces,
        replies => $count,
        body    => $body,
        gets    => "200 x $count"
    };
}

sub attacks {
    my $form = Hostile::Target->form_reply( 1, 1, 0, 0 );
    return (
        {
            name    => 'flood-read',
            what    => '20,000 requests ahead each, replies read',
            clients => [ 3, 10 ],
            client  => sub { flood( $GET, 20_000, Hostile::Target->plain_reply ) },
            memory  => sub { $_[0] * Hostile::Bounds::request() },
        },
        {
            name    => 'flood-hundred',
            what    => '100,000 requests ahead, replies read',
            clients => [ 1, 1 ],
            client  => sub { flood( $GET, 100_000, Hostile::Target->plain_reply ) },
            memory  => sub { $_[0] * Hostile::Bounds::request() },
        },
        {
            name    => 'flood-forms',
            what    => '10,000 forms ahead each, with lengths and in chunks',
            clients => [ 4, 10 ],
            client  => sub { flood( $_[0] % 2 ? $POST : $CHUNKED, 10_000, $form ) },
            memory  => sub { $_[0] * Hostile::Bounds::request() },
        },
    );
}

1;
