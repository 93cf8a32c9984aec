package Hostile::Attacks::Slow;

# Clients that send little and slowly, or nothing at all.

use strict;
use warnings;

use Hostile::Bounds;
use Hostile::Target;

my $HEAD = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

my $FORM = "POST /form HTTP/1.1\r\nHost: a\r\n"
  . "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\n";

my $CHUNKED = "POST /form HTTP/1.1\r\nHost: a\r\n"
  . "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";

my $PART = qq{Content-Disposition: form-data; name="f"; filename="f"\r\n\r\n};
my $UPLOAD =
    "POST /form HTTP/1.1\r\nHost: a\r\n"
  . "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: "
  . length( "--b\r\n$PART" . "12345\r\n--b--\r\n" )
  . "\r\n\r\n--b\r\n$PART";

# Seconds between two bytes: more where there are more clients.
sub pace { return $_[0] >= 5_000 ? 3 : 0.3 }

# What so small an upload may cost.
my $SMALL_UPLOAD = Hostile::Bounds::request( max_header_size => 256, max_headers => 4 );

sub slowly {
    my ( $number, $count, $at_once, $bytes, %script ) = @_;
    my @pieces = ( $at_once, split //, $bytes );
    shift @pieces if $at_once eq q{};
    return { pieces => \@pieces, pace => pace($count), gets => '200', %script };
}

sub attacks {
    return (
        {
            name    => 'slow-heads',
            what    => 'heads, a byte at a time',
            clients => [ 1_000, 10_000 ],
            client  => sub { slowly( @_, substr( $HEAD, 0, 20 ), substr $HEAD, 20 ) },
            memory  => sub { $_[0] * Hostile::Bounds::head( max_header_size => 64 ) },
        },
        {
            name        => 'slow-bodies',
            what        => 'forms, chunks and files, a byte at a time',
            clients     => [ 999, 9_999 ],
            descriptors => 4 / 3,
            client      => sub {
                my ($number) = @_;
                return slowly( @_, $FORM, 'a=12345',
                    body => Hostile::Target->form_reply( 1, 5, 0, 0 ) )
                  if $number % 3 == 0;
                return slowly(
                    @_, $CHUNKED,
                    "2\r\na=\r\n1\r\n1\r\n0\r\n\r\n",
                    body => Hostile::Target->form_reply( 1, 1, 0, 0 )
                ) if $number % 3 == 1;
                return slowly( @_, $UPLOAD, "12345\r\n--b--\r\n",
                    body => Hostile::Target->form_reply( 0, 0, 1, 5 ) );
            },
            memory => sub { $_[0] * $SMALL_UPLOAD },
        },
        {
            name    => 'timed-heads',
            what    => 'heads that go on for ever, under header_timeout',
            options => { header_timeout => 3, error_responses => 1 },
            clients => [ 1_000, 10_000 ],
            client  =>
              sub { slowly( @_, q{}, $HEAD . 'x' x 1_000, gets => '408', pace => 1 ) },
            memory => sub { $_[0] * Hostile::Bounds::head( max_header_size => 1_024 ) },
        },
        {
            name    => 'silent',
            what    => 'connections without a word, under timeout',
            options => { timeout => 3 },
            clients => [ 1_000, 10_000 ],
            client  => sub { { gets => 'nothing' } },
            memory  => sub { $_[0] * Hostile::Bounds::head( max_header_size => 0 ) },
        },
        {
            name    => 'idle',
            what    => 'connections that are kept after a request, under keepalive',
            options => { keepalive => 3 },
            clients => [ 1_000, 10_000 ],
            client  => sub { { pieces => [$HEAD], replies => 2, gets => '200' } },
            memory  => sub { $_[0] * Hostile::Bounds::head( max_header_size => 64 ) },
        },
        {
            name        => 'stalled-bodies',
            what        => 'bodies that stop half way, under timeout',
            options     => { timeout => 3, error_responses => 1 },
            clients     => [ 500, 9_999 ],
            descriptors => 4 / 3,
            client      => sub {
                my ($number) = @_;
                my @bodies = ( $FORM . 'a=1', $CHUNKED . "5\r\na=", $UPLOAD . '12' );
                return { pieces => [ $bodies[ $number % 3 ] ], gets => '408' };
            },
            memory => sub { $_[0] * $SMALL_UPLOAD },
        },
    );
}

1;
