#!/usr/bin/env perl
# Names of fields and files: charsets, spaces, quotes, paths, and what becomes of them.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report);

# The bytes in filename="…" => the text of $file->name.
my @FILE_NAMES = (
    [ 'a.txt',                             'a.txt' ],
    [ 'with spaces  inside .txt',          'with spaces  inside .txt' ],
    [ encode( 'UTF-8', 'Größe 写真 😀.jpg' ), 'Größe 写真 😀.jpg' ],
    [ encode( 'cp1251', 'отчёт.doc' ),     'отчёт.doc' ],
    [ "caf\xe9",                           'cafй' ],
    [ 'say \\"hello\\".txt',               'say "hello".txt' ],
    [ 'percent%20%22.txt',                 'percent%20%22.txt' ],
    [ 'semi;colon.txt',                    'semi;colon.txt' ],
    [ q{apostrophe's.txt},                 q{apostrophe's.txt} ],
    [ '../../etc/passwd',                  '.._.._etc_passwd' ],
    [ '/etc/passwd',                       '_etc_passwd' ],
    [ 'C:\\Users\\me\\a.txt',              'C__Users_me_a.txt' ],
    [ 'a*b?c<d>e|f',                       'a_b_c_d_e_f' ],
    [ "tab\tseparated",                    'tab_separated' ],
    [ '.hidden',                           '.hidden' ],
    [ q{.},                                '_' ],
    [ q{..},                               '_' ],
    [ '...',                               '...' ],
    [ '-rf',                               '-rf' ],
    [ 'x' x 4099,                          'x' x 4099 ],
);

# The bytes in name="…" are the key, as bytes.
my @FIELD_NAMES = (
    'simple', 'with spaces', 'dotted.name[0][key]',
    encode( 'UTF-8',  'имя' ),
    encode( 'cp1251', 'имя' ),
    'plus+and%20percent', q{},
);

# The bytes of a value => its text.
my @VALUES = (
    [ q{}                                => q{} ],
    [ "two\r\nlines"                     => "two\r\nlines" ],
    [ encode( 'UTF-8', 'текст' )         => 'текст' ],
    [ encode( 'cp1251', 'текст' )        => 'текст' ],
    [ "\r\n"                             => "\r\n" ],
    [ '--'                               => '--' ],
    [ "------TestServerBoundary7MA4YWxk" => '------TestServerBoundary7MA4YWxk' ],
    [ 'a=b&c=d%20e+f'                    => 'a=b&c=d%20e+f' ],
);

my $server = TestServer->start(
    sub {
        my ($server) = @_;
        $server->listen(
            sub {
                my ($cgi) = @_;
                report(
                    seen => {
                        fields => $cgi->{post},
                        files  => {
                            map {
                                my $name = $_;
                                ( $name => [ map { $_->name } @{ $cgi->file($name) } ] )
                            } keys %{ $cgi->{file_a} }
                        },
                    }
                );
                $cgi->header;
            },
            { on_error => sub { report('on_error') } }
        );
    }
);

subtest 'Names of files' => sub {
    for my $case (@FILE_NAMES) {
        my ( $sent, $expected ) = @{$case};
        is_deeply received( { name => 'file', file_name => $sent, content => 'x' } )
          ->{files},
          { file => [$expected] }, printable($expected);
    }
};

subtest 'Names of fields, and of the fields of files' => sub {
    for my $name (@FIELD_NAMES) {
        is_deeply received(
            { name => $name, content => 'value' },
            { name => $name, content => 'x', file_name => 'a.txt' },
          ),
          { fields => { $name => 'value' }, files => { $name => ['a.txt'] } },
          printable($name);
    }
};

subtest 'Values of fields' => sub {
    for my $case (@VALUES) {
        my ( $sent, $expected ) = @{$case};
        is_deeply received( { name => 'field', content => $sent } )->{fields},
          { field => $expected }, printable($expected);
    }
};

subtest 'A field after a file, and many of each' => sub {
    my @parts = map {
        (
            { name => "file$_",  file_name => "$_.txt", content => "content $_" },
            { name => "field$_", content   => "value $_" }
        )
    } 1 .. 50;
    is_deeply received(@parts),
      {
        fields => { map { ( "field$_" => "value $_" ) } 1 .. 50 },
        files  => { map { ( "file$_"  => ["$_.txt"] ) } 1 .. 50 },
      },
      'none is lost or mixed up';
};

subtest 'Heads of parts as they may come' => sub {
    my %heads = (
        'filename before name' =>
          'Content-Disposition: form-data; filename="a.txt"; name="file"',
        'other header lines' => join "\r\n",
        'X-Before: 1',
        'Content-Disposition: form-data; name="file"; filename="a.txt"',
        'Content-Transfer-Encoding: binary',
    );
    for my $what ( sort keys %heads ) {
        is_deeply received( { head => $heads{$what}, content => 'x' } )->{files},
          { file => ['a.txt'] }, $what;
    }
    is_deeply received(
        {
            head    => 'Content-Disposition: form-data; name="file"; filename=""',
            content => q{}
        }
      ),
      { fields => { file => q{} }, files => {} }, 'an empty filename: a field';
};

$server->stop;
done_testing;

sub received {
    my (@parts) = @_;
    $server->upload(@parts);
    return scalar $server->await('seen');
}

sub printable {
    my ($text) = @_;
    my $short = length $text > 40 ? substr( $text, 0, 40 ) . '...' : $text;
    return "'" . ( $short =~ s/([^ -~])/sprintf '\\x{%x}', ord $1/ger ) . "'";
}
