package Conformance::Server;

# The server that the cases of t/conformance are for: its handler replies with what it
# saw, and keeps count of it.

use strict;
use warnings;

use Conformance::Cases qw(printable shortened);
use TestServer         qw(report);

# What paths make of the reply; any other is answered by the whole of it at once.
my %REPLY = (
    '/chunked'    => \&_in_two_pieces,
    '/later'      => \&_later,
    '/length'     => \&_with_length,
    '/close'      => \&_with_close,
    '/status/204' => \&_without_body,
    '/status/304' => \&_without_body,
);

my %seen;

# Returns the TestServer. What is replied has these fields: Saw (method, target and, if
# there is one, the body), Saw-Version and Saw-Port, the client's.
sub start {
    return TestServer->start( \&_listen );
}

# In the test: how often the handler saw what since this was last asked, with the field
# X-Sent before it, if there was one.
sub seen {
    my ($server) = @_;
    $server->tell('seen');
    return scalar $server->await('seen');
}

# In the test: waits until the server has gone round its loop so often that all it wanted
# to read of what was sent before is read.
sub let_read {
    my ($server) = @_;
    for ( 1 .. 4 ) {
        $server->tell('turn');
        $server->await('turn');
    }
    return;
}

sub _listen {
    my ($server) = @_;
    my %options = (
        body_methods    => [qw(POST PUT PATCH)],
        error_responses => 1,

        # Connections that are played side by side wait for each other.
        keepalive => $TestServer::DEADLINE,
    );
    $server->listen( \&_answer, \%options );
    $server->on_command(
        sub {
            my ($command) = @_;
            return report('turn') if $command ne 'seen';
            report( seen => {%seen} );
            %seen = ();
        }
    );
    return;
}

sub _answer {
    my ($cgi)   = @_;
    my $headers = $cgi->{headers};
    my $saw     = "$headers->{REQUEST_METHOD} $headers->{REQUEST_URI}";
    my $body    = $cgi->{REQUEST_BODY} // _fields( $cgi->{post} );
    $saw .= " $body" if length $body;
    $saw = shortened( printable($saw) );
    $seen{ join q{ }, $headers->{HTTP_X_SENT} // (), $saw }++;

    my ($path) = $headers->{REQUEST_URI} =~ /\A([^?]*)/;
    my %fields = (
        Saw           => $saw,
        'Saw-Version' => $headers->{SERVER_PROTOCOL},
        'Saw-Port'    => $headers->{REMOTE_PORT},
    );
    ( $REPLY{$path} || \&_at_once )->( $cgi, "$saw\n", %fields );
    return;
}

# What a body in parts has.
sub _fields {
    my ($post) = @_;
    return join q{&}, map { "$_=$post->{$_}" } sort keys %{ $post || {} };
}

sub _at_once {
    my ( $cgi, $body, %fields ) = @_;
    $cgi->header( \%fields );
    $cgi->print($body);
    return;
}

sub _in_two_pieces {
    my ( $cgi, $body, %fields ) = @_;
    $cgi->header( \%fields );
    $cgi->print( substr $body, 0, 3 );
    $cgi->flush;
    return _next_turn( sub { $cgi->print( substr $body, 3 ); undef $cgi } );
}

sub _later {
    my ( $cgi, @reply ) = @_;
    return _next_turn( sub { _at_once( $cgi, @reply ); undef $cgi } );
}

sub _with_length {
    my ( $cgi, $body, %fields ) = @_;
    return _at_once( $cgi, $body, %fields, 'Content-Length' => length $body );
}

sub _with_close {
    my ( $cgi, $body, %fields ) = @_;
    return _at_once( $cgi, $body, %fields, Connection => 'close' );
}

sub _without_body {
    my ( $cgi, $body, %fields ) = @_;
    my ($status) = $fields{Saw} =~ m{/status/(\d+)};
    $cgi->header( { %fields, STATUS => "$status Without Body" } );
    return;
}

# Calls back when the loop has gone round.
sub _next_turn {
    my ($callback) = @_;
    my $timer;
    $timer = EV::timer( 0, 0, sub { undef $timer; $callback->() } );
    return;
}

1;
