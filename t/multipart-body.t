#!/usr/bin/env perl
# The frame of a multipart body: the boundary in the Content-Type, what stands before the
# first part, between parts, and behind the last one.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes);

my $FIELD = qq{Content-Disposition: form-data; name="a"\r\n\r\n};
my $FILE  = qq{Content-Disposition: form-data; name="f"; filename="f"\r\n\r\n};
my %ONE   = ( a => ['one'] );

# Content-Type => the boundary, or undef if it is refused.
my @TYPES = (
    [ 'multipart/form-data; boundary=abc'                    => 'abc' ],
    [ 'multipart/form-data;boundary=abc'                     => 'abc' ],
    [ 'multipart/form-data; boundary="abc"'                  => 'abc' ],
    [ 'multipart/form-data; boundary="a b;c=d"'              => 'a b;c=d' ],
    [ 'multipart/form-data; boundary="a\\"b\\c"'             => 'a"bc' ],
    [ 'multipart/form-data; boundary=abc; charset=utf-8'     => 'abc' ],
    [ 'multipart/form-data; boundary=abc;charset=utf-8'      => 'abc' ],
    [ 'multipart/form-data; boundary="abc"; charset="utf-8"' => 'abc' ],
    [ 'multipart/form-data; charset=utf-8; boundary=abc'     => 'abc' ],
    [ 'multipart/form-data; x="; boundary=no"; boundary=abc' => 'abc' ],
    [ 'multipart/form-data; boundary=abc  '                  => 'abc' ],
    [ 'multipart/form-data; boundary = abc ; x'              => 'abc' ],
    [ 'multipart/form-data; BOUNDARY=aBc'                    => 'aBc' ],
    [
        'multipart/form-data; boundary=----=_Part_1/2:3?(4)+5,6.7' =>
          '----=_Part_1/2:3?(4)+5,6.7'
    ],
    [ 'multipart/form-data; boundary=a=b=c'          => 'a=b=c' ],
    [ 'multipart/form-data; boundary=' . 'x' x 70    => 'x' x 70 ],
    [ 'multipart/form-data; boundary=-'              => q{-} ],
    [ 'multipart/mixed; boundary=abc'                => 'abc' ],
    [ 'mulx;boundary=abc'                            => 'abc' ],
    [ "multipart/form-data; boundary=\xff\xe0"       => "\xff\xe0" ],
    [ 'multipart/form-data'                          => undef ],
    [ 'multipart/form-data; '                        => undef ],
    [ 'multipart/form-data; boundary'                => undef ],
    [ 'multipart/form-data; boundary='               => undef ],
    [ 'multipart/form-data; boundary=""'             => undef ],
    [ 'multipart/form-data; boundary="abc'           => undef ],
    [ 'multipart/form-data; xboundary=abc'           => undef ],
    [ 'multipart/form-data, boundary=abc'            => undef ],
    [ 'multipart/form-data; boundary=' . 'x' x 5_000 => undef ],
);

# The body, with the boundary B => its fields and files, or undef if it is refused.
my @BODIES = (
    [ 'one part'         => "--B\r\n${FIELD}one\r\n--B--\r\n", {%ONE} ],
    [ 'no last line end' => "--B\r\n${FIELD}one\r\n--B--",     {%ONE} ],
    [ 'no part'          => "--B--\r\n",                       {} ],
    [ 'nothing'          => q{},                               {} ],
    [
        'a preamble' => "This is a message\r\nof parts.\r\n--B\r\n${FIELD}one\r\n--B--",
        {%ONE}
    ],
    [ 'a line end before' => "\r\n--B\r\n${FIELD}one\r\n--B--", {%ONE} ],
    [
        'a preamble that mentions the delimiter' =>
          "x --B\r\n${FIELD}no\r\n--B\r\n${FIELD}one\r\n--B--",
        {%ONE}
    ],
    [ 'an epilogue' => "--B\r\n${FIELD}one\r\n--B--\r\nThat was it.\r\n",    {%ONE} ],
    [ 'an epilogue without line end' => "--B\r\n${FIELD}one\r\n--B--more",   {%ONE} ],
    [ 'empty lines behind' => "--B\r\n${FIELD}one\r\n--B--\r\n\r\n\r\n\r\n", {%ONE} ],
    [
        'a part behind the end' =>
          "--B\r\n${FIELD}one\r\n--B--\r\n--B\r\n${FIELD}two\r\n--B--\r\n",
        {%ONE}
    ],
    [
        'a large epilogue' => "--B\r\n${FIELD}one\r\n--B--\r\n" . "x\r\n\r\n" x 100_000,
        {%ONE}
    ],
    [
        'padding' => "--B \t \r\n${FIELD}one\r\n--B\t\r\n${FIELD}two\r\n--B--  \r\n",
        { a => [qw(one two)] }
    ],
    [ 'another boundary'          => "--C\r\n${FIELD}one\r\n--C--\r\n",       {} ],
    [ 'a longer boundary'         => "--BX\r\n${FIELD}one\r\n--BX--\r\n",     {} ],
    [ 'without the dashes'        => "B\r\n${FIELD}one\r\nB--\r\n",           {} ],
    [ 'line feeds alone'          => "--B\n${FIELD}one\n--B--\n" =~ s/\r//gr, {} ],
    [ 'text that is no multipart' => 'a=1&b=2',                               {} ],
    [
        'a line that continues behind the boundary' =>
          "--B\r\n${FIELD}x\r\n--BX\r\ny\r\n--B--",
        { a => ["x\r\n--BX\r\ny"] }
    ],
    [
        'the boundary within a line' => "--B\r\n${FIELD}x--B\r\ny--B--\r\n--B--",
        { a => ["x--B\r\ny--B--"] }
    ],
    [
        'the boundary behind a line feed' => "--B\r\n${FIELD}x\n--B--\ny\r\n--B--",
        { a => ["x\n--B--\ny"] }
    ],
    [
        'one dash behind the boundary' => "--B\r\n${FIELD}x\r\n--B-\r\ny\r\n--B--",
        { a => ["x\r\n--B-\r\ny"] }
    ],
    [ 'an empty value'        => "--B\r\n${FIELD}\r\n--B--",   { a => [q{}] } ],
    [ 'a value of a line end' => "--B\r\n$FIELD\r\n\r\n--B--", { a => ["\r\n"] } ],
    [
        'a delimiter at once behind the head' => "--B\r\n${FIELD}--B--\r\n--B--",
        { a => ['--B--'] }
    ],
    [
        'short values' =>
          "--B\r\n${FIELD}1\r\n--B\r\n$FIELD\r\n--B\r\n${FIELD}\n\r\n--B--",
        { a => [ 1, q{}, "\n" ] }
    ],
    [
        'a field behind a file' => "--B\r\n${FILE}hello\r\n--B\r\n${FIELD}1\r\n--B--",
        { f => ['hello'], a => [1] }
    ],
    [
        'a field between files' =>
          "--B\r\n${FILE}x\r\n--B\r\n${FIELD}1\r\n--B\r\n${FILE}\r\n--B--",
        { f => [ 'x', q{} ], a => [1] }
    ],
    [
        'ten files, then a field' => join( q{}, map { "--B\r\n$FILE$_\r\n" } 1 .. 10 )
          . "--B\r\n${FIELD}1\r\n--B--",
        { f => [ 1 .. 10 ], a => [1] }
    ],
    [ 'no end'                 => "--B\r\n${FIELD}one\r\n",        undef ],
    [ 'an end cut short'       => "--B\r\n${FIELD}one\r\n--B-",    undef ],
    [ 'a delimiter at the end' => "--B\r\n${FIELD}one\r\n--B\r\n", undef ],
    [ 'a head without end'     => qq{--B\r\nX: y\r\n},             undef ],
    [ 'a file without end'     => "--B\r\n${FILE}x",               undef ],
    [ 'an end within the head' => "--B\r\nX: y\r\n--B--\r\n",      undef ],
);

for my $backend ( backends() ) {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                \&answer,
                {
                    on_multipart => sub { report('on_multipart') },
                    on_error     => sub { report('on_error') }
                }
            );
        },
        backend => $backend
    );

    subtest "The boundary in the Content-Type, with $backend" => sub {
        for my $case (@TYPES) {
            my ( $type, $boundary ) = @{$case};
            my $body   = defined $boundary ? $boundary : 'abc';
            my $client = $server->connect;
            $client->send(
                request_bytes(
                    POST => q{/},
                    { 'Content-Type' => $type },
                    "--$body\r\n${FIELD}one\r\n--$body--"
                )
            );
            if ( !defined $boundary ) {
                is $client->response->{status}, 400, "$type is refused";
                next;
            }
            is $server->next_report->[0], 'on_multipart', $type;
            is_deeply $server->next_report, [ seen => {%ONE} ], 'and it is found';
        }
    };

    subtest "Bodies, with $backend" => sub {
        for my $case (@BODIES) {
            my ( $what, $body, $expected ) = @{$case};
            my $client = $server->connect;
            $client->send( whole($body) );
            my $status = $client->response->{status};
            is $server->next_report->[0], 'on_multipart', $what;
            if ($expected) {
                is_deeply $server->next_report, [ seen => $expected ],
                  'its fields and files';
                is $status, 200, 'are answered';
            }
            else {
                is $server->next_report->[0], 'on_error', 'calls on_error';
                is $status,                   400,        'and is refused';
            }
        }
        ok $server->await_files(0), 'no file is left';
    };

    # Those in one packet above come byte by byte, too.
    subtest "The same byte by byte, with $backend" => sub {
        for my $case ( grep { length $_->[1] < 1_000 } @BODIES ) {
            my ( $what, $body, $expected ) = @{$case};
            my $client = $server->connect;
            for my $byte ( split //, whole($body) ) {
                $client->send($byte);
                $client->drained or die 'The server does not read';
            }
            $client->response;
            my ( undef, $last ) = map { $server->next_report } 1, 2;
            is_deeply $last, $expected ? [ seen => $expected ] : ['on_error'], $what;
        }
        ok $server->await_files(0), 'no file is left';
    };
    $server->stop;
}

subtest 'Who answers a broken body with fh in on_error answers alone' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( \&answer,
                { on_error => sub { syswrite $_[0]->fh, 'own words'; } } );
        }
    );
    my $client = $server->connect;
    $client->send( whole("--B\r\n${FIELD}one") );
    is $client->read_all, 'own words', 'no other answer follows';
    $server->stop;
};

done_testing;

# Reports the values of fields and contents of files by name.
sub answer {
    my ($cgi) = @_;
    my %seen = %{ $cgi->{post_a} };
    for my $name ( keys %{ $cgi->{file_a} } ) {
        $seen{$name} = [ map { content($_) } @{ $cgi->file($name) } ];
    }
    report( seen => \%seen );
    $cgi->header;
    return;
}

sub content {
    my ($file) = @_;
    open my $handle, '<:raw', $file->path or die 'Cannot open ' . $file->path . ": $!";
    local $/ = undef;
    return readline($handle) // q{};
}

# A request with this body, whose boundary is B.
sub whole {
    my ($body) = @_;
    return request_bytes(
        POST => q{/},
        { 'Content-Type' => 'multipart/form-data; boundary=B' },
        $body
    );
}
