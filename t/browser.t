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
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(eventually reserve_port);

# A key that stands for the reference to an element in WebDriver, section 12.
my $ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

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

my $driver = start_driver() or plan skip_all => 'chromedriver is not installed';
my $agent =
  HTTP::Tiny->new( timeout => $TestServer::DEADLINE, no_proxy => ['127.0.0.1'] );

subtest 'With the script of the page' => sub {
    my ( $server, $session ) = open_page();
    command(
        $session,
        'element/' . element( $session, '#file' ) . '/value',
        { text => join "\n", map { "$files/$_" } sort keys %CONTENT }
    );
    sees_all_files( $server, $session, map { $_ => $_ } keys %CONTENT );
    close_page( $server, $session );
};

subtest 'As a plain form, with scripts switched off' => sub {
    my ( $server, $session ) =
      open_page(
        prefs => { 'profile.managed_default_content_settings.javascript' => 2 } );
    command(
        $session,
        'element/' . element( $session, '#file' ) . '/value',
        { text => join "\n", map { "$files/$_" } sort keys %CONTENT }
    );
    command( $session, 'element/' . element( $session, 'button' ) . '/click', {} );
    sees_all_files( $server, $session, %NAME );
    close_page( $server, $session );
};

done_testing;

# In the page, by the names it shows them under, and on the disk.
sub sees_all_files {
    my ( $server, $session, %shown ) = @_;
    my @items;
    eventually(
        sub {
            @items = elements( $session, '#files li.done, #files li.failed' );
            return @items == keys %CONTENT;
        }
    ) or return fail 'the page lists the files';

    my %digest_of;
    for my $item (@items) {
        my $name = text( $session, children( $session, $item, 'h3' ) );
        $digest_of{$name} = text( $session, children( $session, $item, 'code' ) );
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

    my @arguments = (
        qw(--headless=new --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage),
        qw(--no-first-run --disable-background-networking --disable-component-update),
        qw(--disable-sync --no-proxy-server),
        '--user-data-dir=' . tempdir( CLEANUP => 1 ),
    );
    my $capabilities =
      { alwaysMatch => { 'goog:chromeOptions' => { args => \@arguments, %option } } };
    my $session =
      post( "$driver->{url}/session", { capabilities => $capabilities } )->{sessionId};
    command( $session, 'url', { url => $server->url } );
    return ( $server, $session );
}

sub close_page {
    my ( $server, $session ) = @_;
    $agent->delete("$driver->{url}/session/$session");
    return $server->stop( stderr => qr/\Ahttp:[^\n]+\n\z/ );
}

sub children {
    my ( $session, $element, $selector ) = @_;
    my $found = command( $session, "element/$element/element",
        { using => 'css selector', value => $selector } );
    return $found->{$ELEMENT};
}

sub element {
    my ( $session, $selector ) = @_;
    return ( elements( $session, $selector ) )[0];
}

sub elements {
    my ( $session, $selector ) = @_;
    my $found =
      command( $session, 'elements', { using => 'css selector', value => $selector } );
    return map { $_->{$ELEMENT} } @{$found};
}

sub text {
    my ( $session, $element ) = @_;
    my $response = $agent->get("$driver->{url}/session/$session/element/$element/text");
    return decode_json( $response->{content} )->{value};
}

sub command {
    my ( $session, $command, $parameters ) = @_;
    return post( "$driver->{url}/session/$session/$command", $parameters );
}

sub post {
    my ( $url, $parameters ) = @_;
    my $response = $agent->post( $url, { content => encode_json($parameters) } );
    $response->{success} or die "$url: $response->{status} $response->{content}";
    return decode_json( $response->{content} )->{value};
}

# A hash of pid and url; ended with the test.
sub start_driver {
    my ( $port, $reservation ) = reserve_port();
    my $pid = open my $output, '-|', 'chromedriver', "--port=$port" or return;
    while ( my $line = readline $output ) {
        next if $line !~ /started successfully/;
        return bless { pid => $pid, output => $output, url => "http://127.0.0.1:$port" },
          'Driver';
    }
    return;
}

sub write_file {
    my ($name) = @_;
    my $path = encode( 'UTF-8', "$files/$name" );
    open my $handle, '>:raw', $path or die "$path: $!";
    print {$handle} $CONTENT{$name};
    return close $handle;
}

package Driver;

sub DESTROY {
    my ($self) = @_;
    local ( $?, $! );
    kill TERM => $self->{pid};
    return close $self->{output};
}
