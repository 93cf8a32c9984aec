#!/usr/bin/env perl
# Real clients send several requests by one connection: curl, Python's requests and urllib3,
# LWP, Chromium.

use strict;
use warnings;

use FindBin;
use JSON::PP qw(decode_json encode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(eventually output_of);
use TestServer::Browser;

# What each client sends, in this order: a target, and what is posted to it.
my @REQUESTS = (
    [ '/length',  q{} ],
    [ '/length',  'a=b' ],
    [ '/chunked', q{} ],
    [ '/chunked', 'c=d' ],
    [ '/empty',   q{} ],
    [ '/length',  'e=f' ],
);
my @ANSWERS = map { answer_to( @{$_} ) } @REQUESTS;

# They print an array of JSON: the bodies of the answers, then the client's ports.
my $PYTHON_REQUESTS = <<'PYTHON';
import json, sys, requests
session = requests.Session()
session.trust_env = False
bodies, ports = [], []
for target, posted in json.loads(sys.argv[2]):
    fields = dict([posted.split('=')]) if posted else None
    answer = session.request('POST' if posted else 'GET', sys.argv[1] + target, data=fields)
    bodies.append(answer.text)
    ports.append(answer.headers['X-Port'])
print(json.dumps([bodies, ports]))
PYTHON

my $PYTHON_URLLIB3 = <<'PYTHON';
import json, sys, urllib3
pool = urllib3.PoolManager()
bodies, ports = [], []
for target, posted in json.loads(sys.argv[2]):
    fields = dict([posted.split('=')]) if posted else None
    answer = (pool.request_encode_body('POST', sys.argv[1] + target, fields, encode_multipart=False)
              if posted else pool.request('GET', sys.argv[1] + target))
    bodies.append(answer.data.decode())
    ports.append(answer.headers['X-Port'])
print(json.dumps([bodies, ports]))
PYTHON

my $FETCH = <<'JAVASCRIPT';
(async () => {
    const bodies = [], ports = [];
    for (const [target, posted] of REQUESTS) {
        const options = posted ? { method: 'POST', body: new URLSearchParams(posted) } : {};
        const answer = await fetch(target, options);
        bodies.push(await answer.text());
        ports.push(answer.headers.get('X-Port'));
    }
    document.title = JSON.stringify([bodies, ports]);
})();
JAVASCRIPT

my $server = TestServer->start( sub { $_[0]->listen( \&answer ) } );

subtest curl => sub {
    output_of( 'curl', '--version' ) or plan skip_all => 'curl is not installed';
    my @curl = qw(curl --silent --show-error --noproxy *);
    for my $request (@REQUESTS) {
        my ( $target, $posted ) = @{$request};
        push @curl, ( '--data', $posted ) x !!$posted, '--write-out', '|%header{x-port} ',
          $server->url($target), '--next', '--silent', '--show-error', '--noproxy', q{*};
    }
    my $output = output_of( @curl[ 0 .. $#curl - 5 ] );
    my @parts  = map { [ split /[|]/, $_, 2 ] } split / /, $output;
    same_connection( [ map { $_->[0] } @parts ], [ map { $_->[1] } @parts ] );
};

subtest requests => sub {
    output_of( 'python3', '-c', 'import requests; print(1)' )
      or plan skip_all => 'requests is not installed';
    run_python($PYTHON_REQUESTS);
};

subtest urllib3 => sub {
    output_of( 'python3', '-c', 'import urllib3; print(1)' )
      or plan skip_all => 'urllib3 is not installed';
    run_python($PYTHON_URLLIB3);
};

subtest LWP => sub {
    eval { require LWP::UserAgent; 1 } or plan skip_all => 'LWP is not installed';
    my $agent = LWP::UserAgent->new( keep_alive => 1 );
    my @answers =
      map {
            $_->[1]
          ? $agent->post( $server->url( $_->[0] ), Content => $_->[1] )
          : $agent->get( $server->url( $_->[0] ) )
      } @REQUESTS;
    same_connection( [ map { $_->content } @answers ],
        [ map { $_->header('X-Port') } @answers ] );
};

subtest Chromium => sub {
    my $browser = TestServer::Browser->start
      or plan skip_all => 'chromedriver is not installed';
    my $page = $browser->open_page( $server->url('/page') );
    my $title;
    eventually( sub { ( $title = $page->run('return document.title') ) =~ /\A\[/ } );
    my ( $bodies, $ports ) = @{ decode_json($title) };
    is_deeply $bodies, \@ANSWERS, 'the answers';

    # It opens one more where it thinks it will need it.
    my %distinct = map { $_ => 1 } @{$ports};
    cmp_ok keys %distinct, '<=', @REQUESTS / 2, 'they share connections';
    $page->close;
};

$server->stop;

done_testing;

sub same_connection {
    my ( $bodies, $ports ) = @_;
    is_deeply $bodies, \@ANSWERS, 'the answers';
    my %distinct = map { $_ => 1 } @{$ports};
    is keys %distinct, 1, 'all came by one connection';
    return;
}

sub run_python {
    my ($script) = @_;
    my $output =
      output_of( 'python3', '-c', $script, $server->url(q{}), encode_json( \@REQUESTS ) );
    return same_connection( @{ decode_json($output) } );
}

sub answer_to {
    my ( $target, $posted ) = @_;
    return $target eq '/empty' ? q{} : "$target:$posted";
}

sub answer {
    my ($cgi)  = @_;
    my $target = $cgi->{headers}{SCRIPT_NAME};
    my %header = ( 'X-Port' => $cgi->{headers}{REMOTE_PORT} );
    if ( $target eq '/page' ) {
        $cgi->header( \%header );
        my $requests = encode_json( \@REQUESTS );
        return $cgi->print( '<script>', $FETCH =~ s/REQUESTS/$requests/r, '</script>' );
    }
    return $cgi->header( { %header, STATUS => '204 No Content' } ) if $target eq '/empty';
    $cgi->header( \%header );
    for my $piece ( $target, q{:}, $cgi->{REQUEST_BODY} // q{} ) {
        $cgi->print($piece);
        $cgi->flush if $target eq '/chunked';
    }
    return;
}
