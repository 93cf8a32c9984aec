package HTTP::Server::EV::IO::Blocking;

# The disk backend that does each operation at once, in the loop.

use strict;
use warnings;

require HTTP::Server::EV::MultipartFile;

our $VERSION = '1.000';

sub close {
    my ( $file, $callback ) = @_;
    delete $file->{fh};
    $callback->(1) if $callback;
    return 1;
}

sub fh {
    my ( $file, $callback ) = @_;
    my $handle = $file->{fh} ||= $file->_open;
    $callback->($handle) if $callback;
    return $handle;
}

sub save {
    my ( $file, $destination, $callback ) = @_;
    delete $file->{fh};
    my $saved = $file->_finish_save( __PACKAGE__, $destination,
        $file->_persist($destination) );
    $callback->($saved) if $callback;
    return $saved;
}

sub _use_me {
    no warnings qw(once redefine);
    *HTTP::Server::EV::MultipartFile::close = \&close;
    *HTTP::Server::EV::MultipartFile::fh    = \&fh;
    *HTTP::Server::EV::MultipartFile::save  = \&save;
    HTTP::Server::EV::_set_writer('inline');
    return;
}

1;
