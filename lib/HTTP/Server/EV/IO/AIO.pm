package HTTP::Server::EV::IO::AIO;

# The disk backend that keeps the loop free: files are written and moved by
# threads of the core, and callbacks come later, from the loop.

use strict;
use warnings;

use Carp qw(croak);

require HTTP::Server::EV::MultipartFile;

our $VERSION = '1.000';

sub close {
    my ( $file, $callback ) = @_;
    delete $file->{fh};
    HTTP::Server::EV::_defer( $callback, 1 ) if $callback;
    return 1;
}

# An open handle is handed over at once, as it needs no waiting.
sub fh {
    my ( $file, $callback ) = @_;
    if ( !$callback && !_can_park($file) ) {
        croak 'HTTP::Server::EV::IO::AIO->fh used without a callback. Use '
          . 'Coro and enable threading for listener if you want blocking interface';
    }
    my $is_open = $file->{fh};
    my $handle  = $file->{fh} ||= $file->_open;
    return $handle                  if !$callback;
    return $callback->($handle) if $is_open;
    HTTP::Server::EV::_defer( $callback, $handle );
    return;
}

sub save {
    my ( $file, $destination, $callback ) = @_;
    delete $file->{fh};
    my $rouse = !$callback && _can_park($file) ? Coro::rouse_cb() : undef;
    $callback ||= $rouse;
    $file->_persist_later(
        $destination,
        sub {
            my $saved =
              $file->_finish_save( __PACKAGE__, $destination, @_ );
            $callback->($saved) if $callback;
        }
    );
    return $rouse ? ( Coro::rouse_wait($rouse) )[0] : 1;
}

sub _can_park {
    my ($file) = @_;
    my $request = $file->{parent_req} or return 0;
    return $INC{'Coro.pm'} && $request->{parent_listener}{threading};
}

sub _use_me {
    no warnings qw(once redefine);
    *HTTP::Server::EV::MultipartFile::close = \&close;
    *HTTP::Server::EV::MultipartFile::fh    = \&fh;
    *HTTP::Server::EV::MultipartFile::save  = \&save;
    HTTP::Server::EV::_set_writer('threads');
    return;
}

1;
