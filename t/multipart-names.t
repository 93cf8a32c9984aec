#!/usr/bin/env perl
# Names of fields and files: charsets, spaces, quotes, paths, and what becomes of them.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(multipart report);

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

# What $cgi->{file} had in the last request.
my $last_files;

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
                        last => {
                            map { ( $_ => $cgi->{file}{$_}->name ) }
                              keys %{ $cgi->{file} }
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

subtest 'Every byte in the name of a file' => sub {
    for my $number ( 0 .. 0xff ) {
        my $sent     = 'a' . chr($number) . 'z';
        my $expected = cleaned($number);
        $expected = $number == ord q{"} ? 'a' : "a${expected}z";
        is_deeply received( { name => 'file', file_name => $sent, content => q{} } )
          ->{files},
          { file => [$expected] }, printable($sent);
    }
};

subtest 'Every byte as the name of a file' => sub {
    for my $number ( grep { chr !~ /["\\]/ } 0 .. 0xff ) {
        my $expected = cleaned($number);
        $expected = '_' if $expected eq q{} || $expected eq q{.};
        is_deeply received( { name => 'file', file_name => chr $number, content => q{} } )
          ->{files},
          { file => [$expected] }, printable( chr $number );
    }
};

subtest 'Every byte in the name of a field' => sub {
    for my $number ( 0 .. 0xff ) {
        my $sent     = 'a' . chr($number) . 'z';
        my $expected = $number == ord q{"} ? 'a' : $sent;
        is_deeply received( { name => $sent, content => 'value' } )->{fields},
          { $expected => 'value' }, printable($sent);
    }
};

subtest 'Every byte in the value of a field' => sub {
    for my $number ( 0 .. 0xff ) {
        my $expected =
          $number < 0x80 ? chr $number : Encode::decode( 'cp1251', chr $number );
        is_deeply received( { name => 'field', content => 'a' . chr($number) . 'z' } )
          ->{fields},
          { field => "a${expected}z" }, printable( chr $number );
    }
};

# The head of a part => the name of its field, and its file name if it is a file.
my $FORM  = 'Content-Disposition: form-data';
my @HEADS = (
    [ qq{$FORM; name="a"}                                          => 'a' ],
    [ qq{$FORM; name="a"; filename="f"}                            => 'a', 'f' ],
    [ qq{$FORM; filename="f"; name="a"}                            => 'a', 'f' ],
    [ qq{$FORM; filename="f";  name="a"}                           => 'a', 'f' ],
    [ qq{$FORM;filename="f"; name="a"}                             => 'a', 'f' ],
    [ qq{X-Before: 1\r\n$FORM; name="a"; filename="f"\r\nX: 2}     => 'a', 'f' ],
    [ qq{X: filename="f"\r\nY: name="a"}                           => 'a', 'f' ],
    [ qq{$FORM; name="a"\r\nContent-Type: text/plain; name="b"}    => 'a' ],
    [ qq{Content-Type: text/plain; name="b"\r\n$FORM; name="a"}    => 'b' ],
    [ qq{content-disposition: FORM-DATA; name="a"}                 => 'a' ],
    [ qq{$FORM; name="a"; name="b"}                                => 'a' ],
    [ qq{$FORM; name=""; name="b"; name="c"}                       => 'b' ],
    [ qq{$FORM; name="a"; filename=""; filename="f"; filename="g"} => 'a', 'f' ],
    [ qq{$FORM; name="a"; filename=""}                             => 'a' ],
    [ qq{$FORM; name="a"; filename*=UTF-8''f}                      => 'a' ],
    [ qq{$FORM; name="a"; filename*="f"}                           => 'a' ],
    [ qq{$FORM; name="a"; filename="f"; filename*=UTF-8''g}        => 'a', 'f' ],
    [ qq{$FORM; name=""}                                           => q{} ],
    [ $FORM                                                        => q{} ],
    [ 'X: y'                                                       => q{} ],
    [ qq{$FORM; filename="f"}                                      => q{}, 'f' ],
    [ qq{$FORM;name="a"}                                           => q{} ],
    [ qq{$FORM;\tname="a"}                                         => q{} ],
    [ qq{$FORM; Name="a"}                                          => q{} ],
    [ qq{$FORM; name ="a"}                                         => q{} ],
    [ qq{$FORM; name="a"; FileName="f"}                            => 'a' ],
    [ qq{$FORM; name="a"; xfilename="f"}                           => 'a', 'f' ],
    [ qq{$FORM; name="a\r\nb"}                                     => "a\r\nb" ],
    [ qq{$FORM; name="a;b=c"}                                      => 'a;b=c' ],
    [ qq{$FORM; name="a\\"b"; filename="c\\"d"}                    => 'a"b', 'c"d' ],
    [ qq{$FORM; name="\\""}                                        => q{"} ],
    [ qq{$FORM; name="a\\b\\"}                                     => undef ],
    [ qq{$FORM; name="\\a\\;"; filename="C:\\dir\\f"} => '\\a\\;', 'C__dir_f' ],
    [ qq{$FORM; name="a; filename=\\"f\\""}           => 'a; filename="f"' ],
    [ qq{$FORM; name="a" filename="f"}                => 'a', 'f' ],
    [ qq{$FORM; name="a}                              => undef ],
    [ qq{$FORM; name="a"; filename="f}                => undef ],
    [ qq{$FORM; name="a\r\nX: y}                      => undef ],
    [ qq{$FORM; name="a\\"}                           => undef ],
);

subtest 'Heads of parts' => sub {
    for my $case (@HEADS) {
        my ( $head, $name, $file_name ) = @{$case};
        my $part = { head => $head, content => 'x' };
        if ( !defined $name ) {
            is $server->upload( $part, $part )->{status}, 400,
              printable($head) . ' is refused';
            is $server->next_report->[0], 'on_error', 'and on_error called';
            next;
        }
        my %expected = ( fields => { $name => 'x' }, files => {} );
        %expected = ( fields => {}, files => { $name => [$file_name] } )
          if defined $file_name;
        is_deeply received($part), \%expected, printable($head);
    }

    my $bytes = multipart( { head => q{X}, content => 'x' } ) =~ s/\r\nX\r\n/\r\n/r;
    my $type  = 'multipart/form-data; boundary=----TestServerBoundary7MA4YWxk';
    $server->request( POST => q{/}, { 'Content-Type' => $type }, $bytes );
    is_deeply $server->await('seen')->{fields}, { q{} => 'x' }, 'no line at all';
};

subtest 'Several values of one name' => sub {
    my @parts = map {
        (
            { name => 'a', content => $_ },
            { name => 'a', content => q{}, file_name => "$_.txt" },
            { name => 'b', content => q{}, file_name => "$_" }
        )
    } 1 .. 3;
    my $seen = received(@parts);
    is_deeply $seen,
      {
        fields => { a => 3 },
        files  => { a => [ map { "$_.txt" } 1 .. 3 ], b => [ 1 .. 3 ] }
      },
      'the last one of a field, and all files in order';
    is_deeply $last_files, { a => '3.txt', b => 3 }, 'the last file of each';
};

$server->stop;
done_testing;

sub received {
    my (@parts) = @_;
    $server->upload(@parts);
    my $seen = $server->await('seen');
    $last_files = delete $seen->{last};
    return $seen;
}

# What becomes of the byte in the name of a file.
sub cleaned {
    my ($number) = @_;
    my $byte = chr $number;
    return q{} if $number == 0;
    return '_' if $byte =~ m{[\t\n\x0b\r*/:<>?\\|]};
    return $number < 0x80 ? $byte : Encode::decode( 'cp1251', $byte );
}

sub printable {
    my ($text) = @_;
    my $short = length $text > 40 ? substr( $text, 0, 40 ) . '...' : $text;
    return "'" . ( $short =~ s/([^ -~])/sprintf '\\x{%x}', ord $1/ger ) . "'";
}
