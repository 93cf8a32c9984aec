package Conformance::Proxy;

# nginx as a reverse proxy before a server: one that keeps its connections to the server
# for further requests, marks each request it sends, and writes down which those are.

use strict;
use warnings;

use Carp       qw(croak);
use File::Spec ();
use File::Temp ();
use JSON::PP   ();

use TestServer qw(reserve_port);

# JSON strings may hold any byte here, as nginx writes them so.
my $JSON = JSON::PP->new;

# The path of nginx, or nothing.
sub program {
    my ($path) = grep { -x } map { "$_/nginx" } File::Spec->path, '/usr/sbin';
    return $path;
}

# Before the server on this port. `buffers`: nginx has the whole request before it sends
# it.
sub new {
    my ( $class, $server_port, %option ) = @_;
    my ( $port, $reservation ) = reserve_port();
    my $self = bless {
        directory   => File::Temp->newdir( 'nginx-XXXXXXXX', TMPDIR => 1 ),
        port        => $port,
        reservation => $reservation,
    }, $class;

    my $directory = $self->{directory};
    my $buffers   = $option{buffers} ? 'on' : 'off';
    open my $handle, '>', "$directory/nginx.conf" or croak "nginx.conf: $!";
    print {$handle} _configuration( $directory, $port, $server_port, $buffers );
    close $handle or croak "nginx.conf: $!";
    $self->{process} = TestServer->start_script( $port, program(), '-p', $directory, '-c',
        "$directory/nginx.conf" );
    return $self;
}

sub port { return $_[0]{port} }

# Ends it. Returns what it has sent to the server: hashes of id, which is what the field
# X-Sent told the server, method, target, body (if it was buffered), and status, which is
# the server's answer.
sub stop {
    my ($self) = @_;

    # Where it may not write the log that was built into it, it says so, and goes on.
    $self->{process}->stop( stderr => qr/\A(?:nginx: \[alert\] could not open .*\n)?\z/ );
    open my $handle, '<:raw', "$self->{directory}/access.log" or croak "access.log: $!";
    return grep { $_->{status} ne q{-} && length $_->{status} }
      map { $JSON->decode($_) } readline $handle;
}

# One process, of whoever runs this. It keeps one connection to the server, which each
# request uses that comes when the one before is answered.
sub _configuration {
    my ( $directory, $port, $server_port, $buffers ) = @_;
    my $paths = join q{ },
      map { "${_}_temp_path $directory/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    return <<"CONFIGURATION";
daemon off;
master_process off;
pid $directory/nginx.pid;
error_log $directory/error.log;
events { worker_connections 1024; }
http {
    $paths
    log_format sent escape=json '{"id":"\$request_id","method":"\$request_method",'
        '"target":"\$request_uri","body":"\$request_body","status":"\$upstream_status"}';
    access_log $directory/access.log sent;
    lingering_close off;
    lingering_timeout 100ms;
    underscores_in_headers on;
    ignore_invalid_headers off;
    upstream server { server 127.0.0.1:$server_port; keepalive 1; }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Sent \$request_id;
            proxy_request_buffering $buffers;
            proxy_next_upstream off;
        }
    }
}
CONFIGURATION
}

1;
