#!/usr/bin/env perl
# The charset of what a client sends: UTF-8 as Perl has it, or else cp1251, decided for
# each field of a query, a body, a cookie header and a multipart body.

use strict;
use warnings;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(request_bytes upload_bytes);

my $FORM = { 'Content-Type' => 'application/x-www-form-urlencoded' };

# Bytes => the code points of the text.
my @TEXTS = (
    [ 'ASCII'                     => 'az~',                      map { ord } qw(a z ~) ],
    [ 'two bytes'                 => "\xc3\xbc\xd1\x8f",         0xfc, 0x44f ],
    [ 'three bytes'               => "\xe2\x82\xac",             0x20ac ],
    [ 'four bytes'                => "\xf0\x9f\x98\x80",         0x1f600 ],
    [ 'the last of Unicode'       => "\xf4\x8f\xbf\xbf",         0x10ffff ],
    [ 'beyond Unicode'            => "\xf4\x90\x80\x80",         0x110000 ],
    [ 'five bytes'                => "\xf8\x88\x80\x80\x80",     0x20_0000 ],
    [ 'six bytes'                 => "\xfd\xbf\xbf\xbf\xbf\xbf", 0x7fff_ffff ],
    [ 'a surrogate'               => "\xed\xa0\x80",             0xd800 ],
    [ 'the last surrogate'        => "\xed\xbf\xbf",             0xdfff ],
    [ 'a noncharacter'            => "\xef\xbf\xbf",             0xffff ],
    [ 'a mark of the byte order'  => "\xef\xbb\xbfa",            0xfeff, ord 'a' ],
    [ 'cp1251'                    => "\xcf\xf0\xe8",             0x41f,  0x440, 0x438 ],
    [ 'no character of cp1251'    => "\x98",                     0xfffd ],
    [ 'a cut character'           => "\xd1\x8f\xd1",             0x421, 0x40f, 0x421 ],
    [ 'an overlong slash'         => "\xc0\xaf",                 0x410, 0x407 ],
    [ 'a continuation alone'      => "\x8f",                     0x40f ],
    [ 'UTF-8 with one wrong byte' => "\xd1\x8f\xff",             0x421, 0x40f, 0x44f ],
);

# The same for each byte from 0x80 on, where perl's own module knows it.
push @TEXTS,
  map { [ sprintf( 'the byte %02x', $_ ) => chr, ord Encode::decode( 'cp1251', chr ) ] }
  0x80 .. 0xff;

# Where a text may come: how it is sent, and where it is found. The surroundings are
# ASCII, so that nothing but the text decides.
my %PLACES = (
    'the value of a query' =>
      [ sub { request_bytes( GET => '/?a=' . $_[0] ) }, sub { $_[0]{get}{a} } ],
    'an escaped value of a query' =>
      [ sub { request_bytes( GET => '/?a=' . escape( $_[0] ) ) }, sub { $_[0]{get}{a} } ],
    'the name of a query' =>
      [ sub { request_bytes( GET => q{/?} . $_[0] ) }, sub { keys %{ $_[0]{get} } } ],
    'the value of a body' => [
        sub { request_bytes( POST => q{/}, $FORM, 'a=' . $_[0] ) },
        sub { $_[0]->post('a')->[0] }
    ],
    'an escaped name of a body' => [
        sub { request_bytes( POST => q{/}, $FORM, escape( $_[0] ) . '=' ) },
        sub { keys %{ $_[0]{post_a} } }
    ],
    'the value of a cookie' => [
        sub { request_bytes( GET => q{/}, { Cookie => 'a=' . $_[0] } ) },
        sub { $_[0]{cookies}{a} }
    ],
    'the name of a cookie' => [
        sub { request_bytes( GET => q{/}, { Cookie => escape( $_[0] ) . '=' } ) },
        sub { keys %{ $_[0]{cookies} } }
    ],
    'the value of a multipart field' => [
        sub { upload_bytes( { name => 'a', content => $_[0] } ) },
        sub { $_[0]->post('a')->[0] }
    ],
    'the name of a file' => [
        sub { upload_bytes( { name => 'a', file_name => $_[0], content => q{} } ) },
        sub { $_[0]->file('a')->[0]->name }
    ],
    'urldecode' => [
        sub { request_bytes( GET => q{/?} . escape( $_[0] ) ) },
        sub { $_[0]->urldecode( $_[0]{headers}{QUERY_STRING} ) }
    ],
);

for my $place ( sort keys %PLACES ) {
    my ( $request, $find ) = @{ $PLACES{$place} };
    subtest "In $place" => sub {
        my $server = TestServer->looking( sub { return described( $find->( $_[0] ) ) } );
        for my $case (@TEXTS) {
            my ( $what, $bytes, @code_points ) = @{$case};
            is_deeply $server->seen( $request->($bytes) ), [ 'text', @code_points ],
              $what;
        }
        $server->stop;
    };
}

subtest 'Each field is decided by itself, and name and value as one' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            return [
                map { [ described($_), described( $cgi->{post}{$_} ) ] }
                sort keys %{ $cgi->{post} }
            ];
        }
    );
    my @cases = (
        [ 'a=%D1%8F&b=%FF' => [ 'a',              "\x{44f}" ], [ 'b', "\x{44f}" ] ],
        [ '%D1%8F=%FF'     => [ "\x{421}\x{40f}", "\x{44f}" ] ],
        [ '%FF=%D1%8F'     => [ "\x{44f}",        "\x{421}\x{40f}" ] ],
        [ '%D1=%8F'        => [ "\x{421}",        "\x{40f}" ] ],
        [ "\xd1%8F=%FF"    => [ "\x{421}\x{40f}", "\x{44f}" ] ],
    );
    for my $case (@cases) {
        my ( $sent, @fields ) = @{$case};
        is_deeply $server->seen( POST => q{/}, $FORM, $sent ), [
            map {
                [
                    map {
                        [ 'text', map { ord } split // ]
                    } @{$_}
                ]
            } @fields
          ],
          $sent =~ s/\xd1/\\xd1/r;
    }
    $server->stop;
};

subtest 'Names of multipart fields stay bytes' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            return [ map { described($_) } ( keys %{ $cgi->{post} } ),
                keys %{ $cgi->{file} } ];
        }
    );
    for my $case (@TEXTS) {
        my ( $what, $bytes ) = @{$case};
        my $upload = upload_bytes( { name => $bytes, content => q{} },
            { name => $bytes, content => q{}, file_name => 'f' } );
        is_deeply $server->seen($upload),
          [ ( [ 'bytes', map { ord } split //, $bytes ] ) x 2 ],
          $what;
    }
    $server->stop;
};

done_testing;

# A string as JSON can carry it, whatever is in it: its kind and its code points.
sub described {
    my ($string) = @_;
    return [ utf8::is_utf8($string) ? 'text' : 'bytes', map { ord } split //, $string ];
}

sub escape {
    my ($bytes) = @_;
    return $bytes =~ s/(.)/sprintf '%%%02X', ord $1/gser;
}
