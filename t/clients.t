#!/usr/bin/env perl
# Real clients post forms with awkward names: curl, Python's requests and urllib3,
# LWP, AnyEvent::HTTP.

use strict;
use warnings;
use utf8;

use Digest::SHA qw(sha256_hex);
use Encode      qw(encode);
use File::Temp  qw(tempdir);
use FindBin;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends output_of);

# What a file is called => what the server makes of it.
my %NAMES = (
    'plain.txt'              => 'plain.txt',
    'with some spaces.txt'   => 'with some spaces.txt',
    'Übergröße_фото_写真.jpg'  => 'Übergröße_фото_写真.jpg',
    'smile 😀.png'            => 'smile 😀.png',
    'semi;colon=&equals.txt' => 'semi;colon=&equals.txt',
    "apostrophe's.txt"       => "apostrophe's.txt",
    'percent%41.txt'         => 'percent%41.txt',
    'question?star*.txt'     => 'question_star_.txt',
    '.hidden'                => '.hidden',
    'no-suffix'              => 'no-suffix',
);

# Some clients escape the quote by percent, others by backslash: only the latter can be
# told from a name that is meant so.
my $QUOTED = 'quo"te.txt';

my $directory = tempdir( CLEANUP => 1 );
my %content   = (
    map( { $_ => "The content of $_\n" } keys %NAMES, $QUOTED ),
    'large.bin' => join( q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 700_000 ),
    'empty.bin' => q{},
);
write_file($_) for keys %content;

for my $backend ( backends() ) {
    my $server = TestServer->start(
        sub { $_[0]->listen( \&tell_what_came, { plus_as_space => 1 } ) },
        backend => $backend );
    subtest "curl, with $backend"           => sub { curl($server) };
    subtest "requests, with $backend"       => sub { python_requests($server) };
    subtest "urllib3, with $backend"        => sub { python_urllib3($server) };
    subtest "LWP, with $backend"            => sub { lwp($server) };
    subtest "AnyEvent::HTTP, with $backend" => sub { anyevent_http($server) };
    ok $server->await_files(0), "no file is left with $backend";
    $server->stop;
}

done_testing;

sub curl {
    my ($server) = @_;
    my @curl = qw(curl --silent --show-error --noproxy *);
    output_of( 'curl', '--version' ) or plan skip_all => 'curl is not installed';

    for my $name ( sort keys %NAMES ) {
        my $answer =
          decode_json output_of( @curl, '-F', 'note=some text', '-F', curl_file($name),
            $server->url );
        is_received( $answer, $name, $NAMES{$name} );
        is_deeply $answer->{fields}, { note => ['some text'] },
          'with the field beside it';
    }
    my $quoted = decode_json output_of( @curl, '-F', curl_file($QUOTED), $server->url );
    like $quoted->{files}[0]{name}, qr/\A(?:quo%22te|quo"te)[.]txt\z/, 'a quote';

    for my $path ( '../../etc/passwd', '/etc/passwd', 'C:\\Users\\me\\a.txt' ) {
        my $answer =
          decode_json output_of( @curl, '-F',
            'upload=@' . path('plain.txt') . ";filename=\"$path\"",
            $server->url );
        unlike $answer->{files}[0]{name}, qr{[/\\:]}, "no path is left of $path";
    }

    my $answer = decode_json output_of( @curl, '-F', curl_file('large.bin'),
        '-F', curl_file('empty.bin'), $server->url );
    is_received( $answer, 'large.bin', 'large.bin' );
    is $answer->{files}[1]{size}, 0, 'an empty file besides';

    my $fields = decode_json output_of( @curl, '--data-urlencode', 'text=ä & b=c+d',
        '--data', 'x=1', '--data', 'x=2', $server->url('/?q=%C3%A4') );
    is_deeply $fields->{fields}, { text => ['ä & b=c+d'], x => [ 1, 2 ] },
      'a urlencoded form';
    is_deeply $fields->{query}, { q => ['ä'] }, 'a query';
    return;
}

sub python_requests {
    my ($server) = @_;
    has_python('requests') or plan skip_all => "Python's requests is not installed";
    python_uploads( $server, <<'PYTHON' );
import json, sys, requests
session = requests.Session()
session.trust_env = False
url, *paths = sys.argv[1:]
for path in paths:
    with open(path, 'rb') as file:
        answer = session.post(url, data={'note': 'ä'}, files={'upload': file})
    answer.raise_for_status()
    print(json.dumps(answer.json()))
PYTHON
    return;
}

sub python_urllib3 {
    my ($server) = @_;
    has_python('urllib3') or plan skip_all => "Python's urllib3 is not installed";
    python_uploads( $server, <<'PYTHON' );
import json, os, sys, urllib3
pool = urllib3.PoolManager()
url, *paths = sys.argv[1:]
for path in paths:
    with open(path, 'rb') as file:
        fields = {'note': 'ä', 'upload': (os.path.basename(path), file.read())}
    answer = pool.request('POST', url, fields=fields)
    assert answer.status == 200
    print(json.dumps(json.loads(answer.data)))
PYTHON
    return;
}

sub lwp {
    my ($server) = @_;
    eval { require LWP::UserAgent; require HTTP::Request::Common; 1 }
      or plan skip_all => 'LWP is not installed';
    my $agent = LWP::UserAgent->new;

    for my $name ( sort( keys %NAMES ), $QUOTED, 'large.bin', 'empty.bin' ) {
        my $request = HTTP::Request::Common::POST(
            $server->url,
            Content_Type => 'form-data',
            Content      => [
                note   => encode( 'UTF-8', 'ä' ),
                upload => [ path($name), encode( 'UTF-8', $name ) ],
            ]
        );
        my $answer = $agent->request($request);
        is $answer->code, 200, 'the status';
        is_received( decode_json( $answer->content ), $name, $NAMES{$name} // $name );
    }

    # Files read while they are sent.
    no warnings 'once';
    local $HTTP::Request::Common::DYNAMIC_FILE_UPLOAD = 1;
    my $answer = $agent->request(
        HTTP::Request::Common::POST(
            $server->url,
            Content_Type => 'form-data',
            Content      => [ upload => [ path('large.bin') ] ]
        )
    );
    is_received( decode_json( $answer->content ), 'large.bin', 'large.bin' );
    return;
}

# In a process of its own: the servers of this test are forked without a loop.
sub anyevent_http {
    my ($server) = @_;
    eval { require AnyEvent::HTTP; 1 }
      or plan skip_all => 'AnyEvent::HTTP is not installed';

    my @names   = ( sort( keys %NAMES ), $QUOTED, 'large.bin' );
    my @answers = split /\n/,
      output_of( $^X, '-e', <<'PERL', $server->url, map { path($_) } @names );
use strict;
use warnings;
use AnyEvent;
use AnyEvent::HTTP;
$AnyEvent::HTTP::MAX_PER_HOST = 20;

my ( $url, @paths ) = @ARGV;
my @answers;
my $all = AnyEvent->condvar;
for my $number ( 0 .. $#paths ) {
    my ($name) = $paths[$number] =~ m{([^/]+)\z};
    $name =~ s/"/\\"/g;
    open my $file, '<:raw', $paths[$number] or die "$paths[$number]: $!";
    my $content = do { local $/; readline $file };
    my $body = "--sep\r\n"
      . qq{Content-Disposition: form-data; name="upload"; filename="$name"\r\n\r\n}
      . "$content\r\n--sep--\r\n";
    $all->begin;
    http_request
      POST    => $url,
      headers => { 'content-type' => 'multipart/form-data; boundary=sep' },
      body    => $body,
      sub {
        my ( $answer, $headers ) = @_;
        die "$headers->{Status} $headers->{Reason}" if $headers->{Status} != 200;
        $answers[$number] = $answer;
        $all->end;
      };
}
$all->recv;
print "$_\n" for @answers;
PERL
    is @answers, @names, 'all at once';
    for my $name (@names) {
        my $answer = shift @answers or last;
        is_received( decode_json($answer), $name, $NAMES{$name} // $name );
    }
    return;
}

sub python_uploads {
    my ( $server, $script ) = @_;
    my @names   = ( sort( keys %NAMES ), 'large.bin', 'empty.bin', $QUOTED );
    my @answers = split /\n/,
      output_of( 'python3', '-c', $script, $server->url, map { path($_) } @names );
    is @answers, @names, 'an answer to each upload';
    for my $name (@names) {
        my $answer = decode_json( shift @answers // 'null' ) or last;
        is_received( $answer, $name, $NAMES{$name} // $name =~ s/"/%22/gr );
        is_deeply $answer->{fields}, { note => ['ä'] }, 'with the field beside it';
    }
    return;
}

sub is_received {
    my ( $answer, $name, $expected_name ) = @_;
    my $file    = $answer->{files}[0];
    my $content = bytes_of($name);
    is $file->{name},   $expected_name,       encode( 'UTF-8', "the name $name" );
    is $file->{size},   length $content,      'its size';
    is $file->{sha256}, sha256_hex($content), 'its bytes';
    return;
}

# The main callback: fields and files as JSON.
sub tell_what_came {
    my ($cgi) = @_;
    my @files = map {
        {
            name   => $_->name,
            size   => $_->size,
            sha256 => Digest::SHA->new(256)->addfile( $_->path )->hexdigest,
        }
    } map { @{ $cgi->file($_) } } sort keys %{ $cgi->{file_a} };

    my $json = encode_json(
        { fields => $cgi->{post_a}, query => $cgi->{get_a}, files => \@files } );
    $cgi->header( { 'Content-Type' => 'application/json' } );
    $cgi->print($json);
    return;
}

sub bytes_of {
    my ($name) = @_;
    my $content = $content{$name};
    return utf8::is_utf8($content) ? encode( 'UTF-8', $content ) : $content;
}

# In curl's notation a name in quotes has its quotes and backslashes escaped.
sub curl_file {
    my ($name) = @_;
    my $path = path($name) =~ s/(["\\])/\\$1/gr;
    return qq{upload=\@"$path"};
}

sub has_python {
    my ($module) = @_;
    return defined output_of( 'python3', '-c', "import $module; print('there')" );
}

sub path {
    my ($name) = @_;
    return "$directory/" . encode( 'UTF-8', $name );
}

sub write_file {
    my ($name) = @_;
    open my $handle, '>:raw', path($name) or die "$name: $!";
    print {$handle} bytes_of($name);
    return close $handle;
}
