package HTTP::Server::EV;

# The server: one per process. Prepares the directory of temporary files, loads
# the compiled core, and opens listeners.

use strict;
use warnings;

use Carp qw(croak);
use EV   ();
use XSLoader;

our $VERSION = '1.000';

our $tmp_path;
our $backend;
our $instance;
our %listeners;

XSLoader::load( __PACKAGE__, $VERSION );

require HTTP::Server::EV::BufTie;
require HTTP::Server::EV::Buffer;
require HTTP::Server::EV::CGI;
require HTTP::Server::EV::MultipartFile;
require HTTP::Server::EV::PortListener;

# Neither the server nor what it hands out can be shared between threads.
sub CLONE_SKIP { return 1 }

sub new {
    my ( $class, $options ) = @_;
    return $instance if $instance;
    croak 'HTTP::Server::EV->new takes a hash reference of options'
      if defined $options && ref $options ne 'HASH';

    my $self = bless $options || {}, $class;
    $self->{tmp_path} ||= './upload_tmpfiles/';
    _make_directory( $self->{tmp_path} );

    $tmp_path = $self->{tmp_path};
    $backend  = $self->{backend};
    _use_default_disk_backend();
    return $instance = $self;
}

sub cleanup {
    my ($self) = @_;
    my $directory = $self->{tmp_path};
    opendir my $handle, $directory or return;
    my @files = grep { -f } map {"$directory/$_"} readdir $handle;
    closedir $handle;
    return unlink @files;
}

sub DESTROY {
    my ($self) = @_;
    $self->cleanup if $self->{cleanup_on_destroy};
    return;
}

sub _make_directory {
    my ($directory) = @_;
    return if -d $directory || mkdir $directory;
    croak "Can`t create dir for tmp files! $directory: $!";
}

# An application may have chosen a backend before it made the server.
sub _use_default_disk_backend {
    return if HTTP::Server::EV::MultipartFile->can('save');
    require HTTP::Server::EV::IO::AIO;
    HTTP::Server::EV::IO::AIO->_use_me;
    return;
}

1;
