# As many requests as the server answers, on 50 connections by wrk: the base class of such workloads.
package Bench::Workload::Load;

use strict;
use warnings;

use parent 'Bench::Workload';

use Carp       qw(croak);
use HTTP::Tiny ();
use JSON::PP   qw(decode_json);
use List::Util qw(min pairs);

use Bench::Command qw(output pinned);

use constant {
    CONNECTIONS => 50,
    MICROSECOND => 1e-6,              # seconds
    REPLY       => "Hello world\n",
    TIMEOUT     => '10s',
};

# The header lines of the request besides Host and Content-Length, as a list of names and values.
sub headers { return }

# The whole request, but for what the methods above and below tell.
sub method { return 'GET' }

sub path { return q{/} }

sub body { return q{} }

sub protocol {
    my ( $self, $peer ) = @_;
    return $peer->protocol;
}

# What the server has to answer.
sub expected { return REPLY }

# Requests for some seconds. CPU time is per request.
sub measure {
    my ( $self, $peer ) = @_;

    my $output = output(
        pinned(
            $self->{core},
            'wrk',
            '--threads'     => 1,
            '--connections' => $self->connections($peer),
            '--duration'    => "$self->{seconds}s",
            '--timeout'     => TIMEOUT,
            '--script'      => $self->{script},
            'http://' . $peer->address . $self->path,
            q{--},
            $self->protocol($peer),
            $self->method,
            $self->_files
        )
    );
    my ($json)  = $output =~ /^(\{.*\})$/m or die "wrk: $output\n";
    my $figures = decode_json($json);
    my @errors  = grep { $figures->{$_} } qw(connect read write status timeout);
    die 'errors: ', join( q{, }, map { "$figures->{$_} $_" } @errors ), "\n"
      if @errors;
    die "no request was answered\n" if !$figures->{requests};

    return {
        p50   => $figures->{p50} * MICROSECOND,
        p99   => $figures->{p99} * MICROSECOND,
        rate  => $figures->{requests} / ( $figures->{microseconds} * MICROSECOND ),
        units => $figures->{requests},
    };
}

# How many connections the load has: no more than the workers serve.
sub connections {
    my ( $self, $peer ) = @_;
    return CONNECTIONS if !$peer->connections;
    return min( CONNECTIONS, $peer->connections * $peer->workers );
}

# Sees that the server answers what it has to, and whether it keeps the connection.
sub set_up {
    my ( $self, $peer ) = @_;

    my %header   = $self->headers;
    my $keeps    = lc( delete $header{Connection} // q{} ) ne 'close';
    my $response = HTTP::Tiny->new( keep_alive => $keeps )->request(
        $self->method,
        'http://' . $peer->address . $self->path,
        { headers => \%header, content => $self->body }
    );
    die "answers with status $response->{status}\n"
      if $response->{status} != 200;
    die 'answers wrongly: ', substr( $response->{content}, 0, 80 ), "\n"
      if $response->{content} ne $self->expected;

    my $closes   = lc( $response->{headers}{connection} // q{} ) eq 'close';
    my $protocol = $self->protocol($peer);
    $peer->add_note( 'connections: ' . $self->connections($peer) ) if $peer->connections;
    $peer->add_note('closes each connection')                      if $keeps && $closes;
    $peer->add_note("is sent $protocol") if $protocol ne 'HTTP/1.1';
    return;
}

# The paths of files with the header lines and the body.
sub _files {
    my $self = shift;
    return @{ $self->{files} } if $self->{files};
    my $lines = join q{}, map { "$_->[0]: $_->[1]\n" } pairs( $self->headers );
    return @{ $self->{files} =
          [ $self->_file( 'headers', $lines ), $self->_file( 'body', $self->body ) ] };
}

sub _file {
    my ( $self, $kind, $content ) = @_;
    my $path = "$self->{directory}/" . $self->name . ".$kind";
    open my $handle, '>:raw', $path or croak "$path: $!";
    print {$handle} $content or croak "$path: $!";
    close $handle            or croak "$path: $!";
    return $path;
}

1;
