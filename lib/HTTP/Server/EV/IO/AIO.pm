package HTTP::Server::EV::IO::AIO;

# The disk backend that keeps the loop free: files are written and moved by
# threads of the core, and callbacks come later, from the loop.

use strict;
use warnings;

use Carp ();

require HTTP::Server::EV::MultipartFile;

our $VERSION = '1.000';

sub close {
    my ( $file, $callback ) = @_;
    HTTP::Server::EV::MultipartFile::_check_callback( 'close', $callback );
    delete $file->{fh};
    HTTP::Server::EV::_defer( \&{$callback}, 1 ) if ref $callback;
    return 1;
}

# An open handle is handed over at once, as it needs no waiting.
sub fh {
    my ( $file, $callback ) = @_;
    HTTP::Server::EV::MultipartFile::_check_callback( 'fh', $callback );
    if ( !ref $callback && !_can_park($file) ) {
        Carp::croak 'HTTP::Server::EV::IO::AIO->fh used without a callback. Use '
          . 'Coro and enable threading for listener if you want blocking interface';
    }
    my $is_open = $file->{fh};
    my $handle  = $file->{fh} ||= $file->_open;
    return $handle              if !ref $callback;
    return $callback->($handle) if $is_open;
    HTTP::Server::EV::_defer( \&{$callback}, $handle );
    return;
}

sub save {
    my ( $file, $destination, $callback ) = @_;
    $file->_check_save( $destination, $callback );
    delete $file->{fh};
    my $rouse = !ref $callback && _can_park($file) ? Coro::rouse_cb() : undef;
    $callback = $rouse if $rouse;
    $file->_persist_later(
        $destination,
        sub {
            my $saved = $file->_finish_save( __PACKAGE__, $destination, @_ );
            $callback->($saved) if ref $callback;
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
    HTTP::Server::EV::MultipartFile::_use_backend( __PACKAGE__, 'threads' );
    return;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::IO::AIO - The disk backend that keeps the loop free

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;    # this backend is the default

    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;
        $cgi->header;
        $cgi->print('Thank you');
        $_->save('./' . time . '-' . $_->name) for @{ $cgi->file('upload') };
    });

    EV::run;

=head1 DESCRIPTION

Received files are written by threads of the compiled core, so that a slow disk does not
hold up other clients. A client that sends faster than the disk writes is held up by the
network: at most four pieces of an upload are in memory. L<HTTP::Server::EV::MultipartFile/save>
moves files on a thread as well, and callbacks come from the loop.

L<HTTP::Server::EV/new> takes this backend unless another one was chosen. The module
C<IO::AIO> is not needed; the name is kept for programs that have it.

=head2 Choosing it

    require HTTP::Server::EV::IO::AIO;
    HTTP::Server::EV::IO::AIO->_use_me;

It is in force at once, for the whole process and for files that begin after that.

=head1 METHODS

These become methods of L<HTTP::Server::EV::MultipartFile>. Below is what is particular
to this backend; that page has the rest.

=head2 close

    $file->close(sub { my ($closed) = @_ });

Returns 1 and calls back with 1, from the loop.

=head2 fh

    $file->fh(sub { my ($handle) = @_ });

Calls back from the loop, or at once if the handle is open already. Returns nothing, or
what the callback returned. Without a callback it returns the handle, but only for a file
whose request is still there and came by a listener with C<threading>, with Coro loaded;
else it dies with C<HTTP::Server::EV::IO::AIO-E<gt>fh used without a callback. Use Coro and
enable threading for listener if you want blocking interface>.

=head2 save

    $file->save('/srv/photos/1.jpg', sub { my ($saved) = @_ });

Returns 1 at once and calls back from the loop. Without a callback, and under the same
conditions as for L</fh>, it parks the current Coro thread and returns 1, or 0 for a
failure. It must not be called like that in C<on_*> callbacks, which do not run in a
thread of their own.

Dies with C<save takes the path of the file to be made>, or with C<save takes a code
reference as its callback>.

=head1 SEE ALSO

L<HTTP::Server::EV::MultipartFile>, L<HTTP::Server::EV::IO::Blocking>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
