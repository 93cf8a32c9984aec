package Conformance::Proxy;

# nginx as a reverse proxy before a server: one that keeps its connections to the server
# for further requests, marks each request it sends, and writes down which those are.

use strict;
use warnings;

use Carp     qw(croak);
use JSON::PP ();

use Nginx;

# JSON strings may hold any byte here, as nginx writes them so.
my $JSON = JSON::PP->new;

# Before the server on this port. `buffers`: nginx has the whole request before it sends
# it.
sub new {
    my ( $class, $server_port, %option ) = @_;
    my $buffers = $option{buffers} ? 'on' : 'off';
    my $nginx   = Nginx->start( sub { _configuration( $_[0], $server_port, $buffers ) } );
    return bless { nginx => $nginx }, $class;
}

sub port { return $_[0]{nginx}->port }

# Ends it. Returns what it has sent to the server: hashes of id, which is what the field
# X-Sent told the server, method, target, body (if it was buffered), and status, which is
# the server's answer.
sub stop {
    my ($self) = @_;
    my $nginx = $self->{nginx};
    $nginx->stop;
    open my $handle, '<:raw', $nginx->directory . '/access.log' or croak "access.log: $!";
    return grep { $_->{status} ne q{-} && length $_->{status} }
      map { $JSON->decode($_) } readline $handle;
}

# It keeps one connection to the server, which each request uses that comes when the one
# before is answered.
sub _configuration {
    my ( $address, $server_port, $buffers ) = @_;
    return <<"CONFIGURATION";
    log_format sent escape=json '{"id":"\$request_id","method":"\$request_method",'
        '"target":"\$request_uri","body":"\$request_body","status":"\$upstream_status"}';
    access_log access.log sent;
    lingering_close off;
    lingering_timeout 100ms;
    underscores_in_headers on;
    ignore_invalid_headers off;
    upstream server { server 127.0.0.1:$server_port; keepalive 1; }
    server {
        listen $address;
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Sent \$request_id;
            proxy_request_buffering $buffers;
            proxy_next_upstream off;
        }
    }
CONFIGURATION
}

1;
