#!/usr/bin/env perl
# A real browser, Chromium, sends files by the page of eg/upload.pl: with its script, and
# as a plain form where scripts are off.

use strict;
use warnings;
use utf8;

use Digest::SHA qw(sha256_hex);
use Encode      qw(encode);
use File::Temp  qw(tempdir);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(eventually reserve_port);
use TestServer::Browser;

my $files   = tempdir( CLEANUP => 1 );
my %CONTENT = (
    'plain.txt'             => "Plain\n",
    'with some spaces.txt'  => "Spaces\n",
    'Übergröße фото 写真.jpg' => "Unicode\n",
    'quo"te & <b>.txt'      => "Markup\n",
    'large.bin' => join( q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 800_000 ),
    'empty.bin' => q{},
);

# Browsers send a quote as %22; the server replaces what has no place in a file name.
my %NAME = map { $_ => s/"/%22/gr =~ s/[<>]/_/gr } keys %CONTENT;
write_file($_) for keys %CONTENT;

my $browser = TestServer::Browser->start
  or plan skip_all => 'chromedriver is not installed';

# It finds its browser by this name.
gethostbyname 'localhost' or plan skip_all => 'localhost is not known here';

subtest 'With the script of the page' => sub {
    my ( $server, $page ) = open_page();
    $page->command( 'element/' . $page->element('#file') . '/value',
        { text => join "\n", map { "$files/$_" } sort keys %CONTENT } );
    sees_all_files( $server, $page, map { $_ => $_ } keys %CONTENT );
    close_page( $server, $page );
};

subtest 'As a plain form, with scripts switched off' => sub {
    my ( $server, $page ) =
      open_page(
        prefs => { 'profile.managed_default_content_settings.javascript' => 2 } );
    $page->command( 'element/' . $page->element('#file') . '/value',
        { text => join "\n", map { "$files/$_" } sort keys %CONTENT } );
    $page->command( 'element/' . $page->element('button') . '/click', {} );
    sees_all_files( $server, $page, %NAME );
    close_page( $server, $page );
};

done_testing;

# In the page, by the names it shows them under, and on the disk.
sub sees_all_files {
    my ( $server, $page, %shown ) = @_;
    my @items;
    eventually(
        sub {
            @items = $page->elements('#files li.done, #files li.failed');
            return @items == keys %CONTENT;
        }
    ) or return fail 'the page lists the files';

    my %digest_of;
    for my $item (@items) {
        my $name = $page->text( $page->child( $item, 'h3' ) );
        $digest_of{$name} = $page->text( $page->child( $item, 'code' ) );
    }
    is_deeply \%digest_of,
      { map { $shown{$_} => sha256_hex( $CONTENT{$_} ) } keys %CONTENT },
      'the page lists each file with its SHA-256';
    for my $name ( sort keys %CONTENT ) {
        my $path   = encode( 'UTF-8', $server->directory . "/uploads/$NAME{$name}" );
        my $digest = -e $path ? Digest::SHA->new(256)->addfile($path)->hexdigest : undef;
        is $digest, sha256_hex( $CONTENT{$name} ), encode( 'UTF-8', "$name is saved" );
    }
    return;
}

# The example, and a browser that shows its page.
sub open_page {
    my (%option) = @_;
    my ( $port, $reservation ) = reserve_port();
    my $server = TestServer->start_script( $port, $^X, "$FindBin::Bin/../eg/upload.pl",
        '--port', $port );
    return ( $server, $browser->open_page( $server->url, %option ) );
}

sub close_page {
    my ( $server, $page ) = @_;
    $page->close;
    return $server->stop( stderr => qr/\Ahttp:[^\n]+\n\z/ );
}

sub write_file {
    my ($name) = @_;
    my $path = encode( 'UTF-8', "$files/$name" );
    open my $handle, '>:raw', $path or die "$path: $!";
    print {$handle} $CONTENT{$name};
    return close $handle;
}
