package Nginx;

# nginx on a free port, with a configuration of its own.

use strict;
use warnings;

use Carp       qw(croak);
use File::Spec ();
use File::Temp ();

use TestServer qw(reserve_port);

# The path of nginx, or nothing.
sub program {
    my ($path) = grep { -x } map { "$_/nginx" } File::Spec->path, '/usr/sbin';
    return $path;
}

# One process, of whoever runs this. `$http` is called with the address to listen on, and
# returns what stands in the block `http`, where relative paths begin in `directory`.
sub start {
    my ( $class, $http )        = @_;
    my ( $port,  $reservation ) = reserve_port();
    my $self = bless {
        directory   => File::Temp->newdir( 'nginx-XXXXXXXX', TMPDIR => 1 ),
        reservation => $reservation,
    }, $class;

    my $directory = $self->{directory};
    open my $handle, '>', "$directory/nginx.conf" or croak "nginx.conf: $!";
    print {$handle} _configuration( $http->("127.0.0.1:$port") );
    close $handle or croak "nginx.conf: $!";
    $self->{process} = TestServer->start_script( $port, program(), '-p', $directory, '-c',
        "$directory/nginx.conf" );
    return $self;
}

sub directory { return $_[0]{directory} }

sub port { return $_[0]{process}->port }

# As TestServer's.
sub request {
    my ( $self, @request ) = @_;
    return $self->{process}->request(@request);
}

# Where it may not write the log that was built into it, it says so, and goes on.
sub stop {
    my ($self) = @_;
    return $self->{process}
      ->stop( stderr => qr/\A(?:nginx: \[alert\] could not open .*\n)?\z/ );
}

sub _configuration {
    my ($http) = @_;
    my $paths = join "\n",
      map { "    ${_}_temp_path $_;" } qw(client_body proxy fastcgi uwsgi scgi);
    return <<"CONFIGURATION";
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events { worker_connections 1024; }
http {
$paths
$http
}
CONFIGURATION
}

1;
