#!/usr/bin/env perl
# Percent escapes: HTTP::Server::EV::url_decode gives bytes, $cgi->urldecode text.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer;

use HTTP::Server::EV;

# What is no escape stays as it is.
my @ESCAPES = (
    [ 'a%20b'   => 'a b' ],
    [ '%41%5a'  => 'AZ' ],
    [ '%4a%4A'  => 'JJ' ],
    [ '%00'     => "\0" ],
    [ "\0"      => "\0" ],
    [ '%25'     => q{%} ],
    [ '%2541'   => '%41' ],
    [ q{+}      => q{+} ],
    [ '%2B'     => q{+} ],
    [ q{%}      => q{%} ],
    [ '%%'      => '%%' ],
    [ '%4'      => '%4' ],
    [ 'a%'      => 'a%' ],
    [ 'a%4'     => 'a%4' ],
    [ '%%41'    => '%A' ],
    [ '%4%41'   => '%4A' ],
    [ '%zz'     => '%zz' ],
    [ '%gg'     => '%gg' ],
    [ '%4g%g4'  => '%4g%g4' ],
    [ '% 41'    => '% 41' ],
    [ '%+1'     => '%+1' ],
    [ '%-1'     => '%-1' ],
    [ '%0x41'   => "%0x41" ],
    [ '%u0041'  => '%u0041' ],
    [ '%\x{31}' => '%\x{31}' ],
    [ '%4%'     => '%4%' ],
    [ 'plain'   => 'plain' ],
);

subtest 'url_decode' => sub {
    for my $case (@ESCAPES) {
        my ( $sent, $bytes ) = @{$case};
        is_deeply [ HTTP::Server::EV::url_decode($sent) ], [ $bytes, 1 ],
          printable($sent);
    }
};

subtest 'Every byte, in capital and small digits, and raw' => sub {
    for my $number ( 0 .. 0xff ) {
        my $expected = [ chr $number, $number < 0x80 ? 1 : 0 ];
        for my $sent (
            sprintf( '%%%02x', $number ),
            sprintf( '%%%02X', $number ),
            chr $number
          )
        {
            my $expected = $sent eq q{%} ? [ q{%}, 1 ] : $expected;
            is_deeply [ HTTP::Server::EV::url_decode($sent) ], $expected,
              printable($sent);
        }
    }
};

subtest 'Every pair behind a percent sign that is no escape stays' => sub {
    my @no_digits = grep { chr !~ /[0-9A-Fa-f]/ } 0 .. 0x7f;
    my @wrong;
    for my $byte ( map { chr } @no_digits ) {
        for my $sent ( "%${byte}1", "%1$byte", "%$byte$byte" ) {
            my ($bytes) = HTTP::Server::EV::url_decode($sent);
            push @wrong, printable($sent) if $bytes ne $sent;
        }
    }
    is_deeply \@wrong, [], 'all of them';
};

subtest 'Whether it is UTF-8' => sub {
    my %is_valid = (
        '%D1%8F'       => 1,
        '%d1%8f%20a'   => 1,
        '%ED%A0%80'    => 1,
        '%F4%90%80%80' => 1,
        '%FF'          => 0,
        '%D1'          => 0,
        '%C0%AF'       => 0,
        'a%D1%8F%FF'   => 0,
    );
    for my $sent ( sort keys %is_valid ) {
        my ( $bytes, $is_valid ) = HTTP::Server::EV::url_decode($sent);
        is $is_valid, $is_valid{$sent}, $sent;
        ok !utf8::is_utf8($bytes), 'and it is bytes';
    }
};

subtest 'Nothing' => sub {
    is_deeply [ HTTP::Server::EV::url_decode(q{}) ],   [ undef, 1 ], 'an empty string';
    is_deeply [ HTTP::Server::EV::url_decode(undef) ], [ undef, 1 ], 'undef';
};

subtest 'The argument stays as it is' => sub {
    my $sent = '%41%D1%8F';
    HTTP::Server::EV::url_decode($sent);
    is $sent, '%41%D1%8F', 'a string';
    is_deeply [ HTTP::Server::EV::url_decode(42) ], [ 42, 1 ], 'a number';
    is_deeply [ HTTP::Server::EV::url_decode("\x{44f}%41") ], [ "\xd1\x8fA", 1 ],
      'text, of which the bytes count';
};

subtest 'urldecode of a request' => sub {
    my @texts =
      ( ( map { $_->[0] } @ESCAPES ), '%D1%8F', '%FF', '%D1%8F%FF', q{}, undef );
    my $server = TestServer->looking(
        sub {
            my ($cgi)   = @_;
            my @decoded = map  { scalar $cgi->urldecode($_) } @texts;
            my @bytes   = grep { defined && !utf8::is_utf8($_) } @decoded;
            return [ scalar @bytes, @decoded ];
        }
    );
    is_deeply $server->seen( GET => q{/} ),
      [
        0, ( map { $_->[1] } @ESCAPES ),
        "\x{44f}", "\x{44f}", "\x{421}\x{40f}\x{44f}", undef, undef
      ],
      'text, and undef for nothing';
    $server->stop;
};

done_testing;

sub printable {
    my ($text) = @_;
    return q{'} . $text =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger . q{'};
}
