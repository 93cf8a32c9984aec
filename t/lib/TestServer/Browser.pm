package TestServer::Browser;

# Chromium for a test, by its driver: WebDriver, https://www.w3.org/TR/webdriver2/.

use strict;
use warnings;

use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);

use TestServer ();

# A key that stands for the reference to an element, section 12.
my $ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

# The driver; nothing where it is not installed. It ends with the object. A driver that
# could not take its port ends by itself.
sub start {
    my ($class) = @_;
    for ( 1 .. 5 ) {
        my ( $port, $reservation ) = TestServer::reserve_port();
        my $pid = open my $output, '-|', 'chromedriver', "--port=$port" or return;
        while ( my $line = readline $output ) {
            return $class->_new( $pid, $output, $port )
              if $line =~ /started successfully/;
        }
    }
    die "chromedriver does not start\n";
}

# A page in a browser of its own, see below; with these options of Chromium.
sub open_page {
    my ( $self, $url, %option ) = @_;
    my @arguments = (
        qw(--headless=new --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage),
        qw(--no-first-run --disable-background-networking --disable-component-update),
        qw(--disable-sync --no-proxy-server),
        '--user-data-dir=' . tempdir( CLEANUP => 1 ),
    );
    my $capabilities = {
        alwaysMatch => {
            'goog:chromeOptions' => { args   => \@arguments, %option },
            timeouts             => { script => 1000 * $TestServer::DEADLINE },
        }
    };
    my $session =
      $self->_post( "$self->{url}/session", { capabilities => $capabilities } );
    my $page =
      bless { browser => $self, url => "$self->{url}/session/$session->{sessionId}" },
      'TestServer::Browser::Page';
    $page->command( 'url', { url => $url } );
    return $page;
}

sub _new {
    my ( $class, $pid, $output, $port ) = @_;
    return bless {
        pid    => $pid,
        output => $output,
        url    => "http://127.0.0.1:$port",
        agent  => HTTP::Tiny->new(
            timeout  => 2 * $TestServer::DEADLINE,
            no_proxy => ['127.0.0.1']
        ),
    }, $class;
}

sub _post {
    my ( $self, $url, $parameters ) = @_;
    my $response = $self->{agent}->post( $url, { content => encode_json($parameters) } );
    $response->{success} or die "$url: $response->{status} $response->{content}";
    return decode_json( $response->{content} )->{value};
}

sub DESTROY {
    my ($self) = @_;
    local ( $?, $! );
    kill TERM => $self->{pid};
    return close $self->{output};
}

package TestServer::Browser::Page;

# Ends the browser.
sub close {
    my ($self) = @_;
    return $self->{browser}{agent}->delete( $self->{url} );
}

sub command {
    my ( $self, $command, $parameters ) = @_;
    return $self->{browser}->_post( "$self->{url}/$command", $parameters );
}

# The element that the selector finds first in this element.
sub child {
    my ( $self, $element, $selector ) = @_;
    my $found = $self->command( "element/$element/element",
        { using => 'css selector', value => $selector } );
    return $found->{$ELEMENT};
}

sub element {
    my ( $self, $selector ) = @_;
    return ( $self->elements($selector) )[0];
}

sub elements {
    my ( $self, $selector ) = @_;
    my $found =
      $self->command( 'elements', { using => 'css selector', value => $selector } );
    return map { $_->{$ELEMENT} } @{$found};
}

# Runs the body of an async function; its value.
sub run {
    my ( $self, $script ) = @_;
    my $wrapped =
        'const done = arguments[arguments.length - 1];'
      . "(async () => {$script})().then(done, error => done('' + error));";
    return $self->command( 'execute/async', { script => $wrapped, args => [] } );
}

sub text {
    my ( $self, $element ) = @_;
    my $response = $self->{browser}{agent}->get("$self->{url}/element/$element/text");
    return JSON::PP::decode_json( $response->{content} )->{value};
}

1;
