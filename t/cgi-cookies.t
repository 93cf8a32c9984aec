#!/usr/bin/env perl
# $cgi->{cookies}: how the Cookie header is split and decoded.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report);

# The header's value => the cookies.
my @COOKIES = (
    [ 'a=1'                          => { a => 1 } ],
    [ 'a=1; b=2'                     => { a => 1, b => 2 } ],
    [ 'a=1;b=2'                      => { a => '1;b=2' } ],
    [ 'a=1;  b=2'                    => { a => 1,    ' b' => 2 } ],
    [ 'a=1 ; b=2'                    => { a => '1 ', b    => 2 } ],
    [ "a=1;\tb=2"                    => { a => "1;\tb=2" } ],
    [ 'a=1, b=2'                     => { a => '1, b=2' } ],
    [ 'a=1&b=2'                      => { a => '1&b=2' } ],
    [ 'a=1;'                         => { a => '1;' } ],
    [ '; a=1'                        => { q{} => undef, a => 1 } ],
    [ 'a=1; ; b=2'                   => { a => 1, q{} => undef, b => 2 } ],
    [ 'a=1; a=2'                     => { a   => 2 } ],
    [ 'a=1; a=; b'                   => { a   => q{}, b => undef } ],
    [ 'a'                            => { a   => undef } ],
    [ '=a'                           => { q{} => 'a' } ],
    [ 'a=b=c'                        => { a   => 'b=c' } ],
    [ 'a=YQ==; b=YWI='               => { a   => 'YQ==', b     => 'YWI=' } ],
    [ 'a=b%3Dc; d%3De=f'             => { a   => 'b=c',  'd=e' => 'f' } ],
    [ 'a=b%3B%20c=d'                 => { a   => 'b; c=d' } ],
    [ 'a=x%20y+z%2B'                 => { a   => 'x y+z+' } ],
    [ 'a=%zz%4%'                     => { a   => '%zz%4%' } ],
    [ 'a=%00%0D%0A'                  => { a   => "\0\r\n" } ],
    [ 'a="quoted"'                   => { a   => '"quoted"' } ],
    [ '%D1%8F=%D1%8E'                => { 'я' => 'ю' } ],
    [ encode( 'UTF-8', 'я=ю' )       => { 'я' => 'ю' } ],
    [ encode( 'cp1251', 'я=ю' )      => { 'я' => 'ю' } ],
    [ 'a=%D1%8F; b=%FF; c=%D1%8F%FF' => { a          => 'я', b => 'я', c     => 'СЏя' } ],
    [ '$Version=1; a=b; $Path=/'     => { '$Version' => 1, a => 'b', '$Path' => q{/} } ],
    [ q{}                            => {} ],
);

my $server = TestServer->looking( sub { return $_[0]{cookies} || {} } );

subtest 'Names and values' => sub {
    for my $case (@COOKIES) {
        my ( $sent, $expected ) = @{$case};
        is_deeply $server->seen( GET => q{/}, { Cookie => $sent } ), $expected,
          $sent =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
    }
    is_deeply $server->seen( GET => q{/} ), {}, 'no header: none';
};

subtest 'The header in another case, of another method, and twice' => sub {
    is_deeply $server->seen( GET => q{/}, { 'COOKIE' => 'a=1' } ), { a => 1 }, 'COOKIE';
    is_deeply $server->seen( DELETE => q{/}, { 'cookie' => 'a=1' } ), { a => 1 },
      'of a DELETE';
    is_deeply $server->seen(
        POST => q{/},
        { 'Content-Type' => 'x', Cookie => 'a=1' },
        'a=2'
      ),
      { a => 1 }, 'of a POST';
    my $twice = "GET / HTTP/1.0\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n";
    is_deeply $server->seen($twice), { b => 2 }, 'the last one counts';
};

subtest 'A hundred cookies, and what is beyond them stays in the last one' => sub {
    my %hundred = map { ( "c$_" => $_ ) } 1 .. 99;
    for my $case ( [ 100 => '100' ], [ 101 => '100; c101=101' ] ) {
        my ( $count, $last ) = @{$case};
        is_deeply $server->seen( GET => q{/}, { Cookie => cookies($count) } ),
          { %hundred, c100 => $last }, "$count of them";
    }
};

$server->stop;

my %limit_by = (
    listen => sub { $_[0]->listen( \&answer, { max_cookies => $_[1] } ) },
    new => sub { $_[0]->new_server( max_cookies => $_[1] ); $_[0]->listen( \&answer ) },
);
for my $where ( sort keys %limit_by ) {
    subtest "Their number is limited by the option of $where" => sub {
        my $limited = TestServer->start( sub { $limit_by{$where}->( $_[0], 2 ) } );
        is_deeply $limited->seen( GET => q{/}, { Cookie => cookies(3) } ),
          { c1 => 1, c2 => '2; c3=3' }, 'to 2';
        $limited->stop;

        $limited = TestServer->start( sub { $limit_by{$where}->( $_[0], 0 ) } );
        is keys %{ $limited->seen( GET => q{/}, { Cookie => cookies(500) } ) }, 500,
          '0: any number';
        $limited->stop;
    };
}

subtest 'Names and values are text' => sub {
    my $text = TestServer->looking(
        sub {
            return [ grep { !utf8::is_utf8($_) } %{ $_[0]{cookies} } ];
        }
    );
    is_deeply $text->seen( GET => q{/}, { Cookie => 'a=b; %FF=%FF; c=' } ), [],
      'all have the flag';
    $text->stop;
};

done_testing;

sub answer {
    my ($cgi) = @_;
    report( seen => $cgi->{cookies} );
    $cgi->header;
    return;
}

sub cookies {
    my ($count) = @_;
    return join '; ', map { "c$_=$_" } 1 .. $count;
}
