package HTTP::Server::EV::MultipartFile;

# One received file. `fh`, `save` and `close` come from the disk backend in use:
# HTTP::Server::EV::IO::AIO or HTTP::Server::EV::IO::Blocking.

use strict;
use warnings;

use Carp ();

our $VERSION = '1.000';

sub CLONE_SKIP { return 1 }

sub name { return $_[0]{name} }

sub path { return $_[0]{path} }

sub size { return $_[0]{size} }

# Has the files be handled by this backend from now on, and written in the way of
# that name. Both are the process's.
sub _use_backend {
    my ( $backend, $writer ) = @_;
    HTTP::Server::EV::_set_writer($writer);
    no warnings 'redefine';
    no strict 'refs';    ## no critic (ProhibitNoStrict)
    *{$_} = $backend->can($_) for qw(close fh save);
    return;
}

# These two complain at the line of the one who called the backend's method.

sub _check_save {
    my ( $file, $destination, $callback ) = @_;
    _check_callback( 'save', $callback );
    local $Carp::CarpLevel = $Carp::CarpLevel + 1;
    Carp::croak('save takes the path of the file to be made')
      if !defined $destination || !length $destination;
    return;
}

sub _check_callback {
    my ( $method, $callback ) = @_;
    return if ref $callback ? _is_code($callback) : !$callback;
    local $Carp::CarpLevel = $Carp::CarpLevel + 1;
    return Carp::croak("$method takes a code reference as its callback");
}

# Also an object that can be called as one; nothing else may be asked of it.
sub _is_code {
    my ($callback) = @_;
    local $@ = undef;
    return ref $callback && eval { \&{$callback} };
}

# What a backend does when the core is through with a save: the first one that
# succeeds moved the file, later ones copied it from there.
sub _finish_save {
    my ( $file, $backend, $destination, $saved, $error ) = @_;
    if ( !$saved ) {

        # A handler of `$SIG{__WARN__}` may die, and the callback is still to be called.
        eval {
            warn "$backend failed to move file $file->{path} to $destination"
              . " - $error \n";
        };
        return 0;
    }
    $file->{path}  = $destination if !$file->{moved};
    $file->{moved} = 1;
    return 1;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::MultipartFile - One received file

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;

        my ($file) = @{ $cgi->file('photo') };
        if (!$file) {
            $cgi->header({ STATUS => '400 Bad Request' });
            $cgi->print('Send a photo');
            return;
        }

        $file->save('./photo.jpg', sub {
            my ($saved) = @_;
            $cgi->header({ STATUS => $saved ? '200 OK' : '500 Internal Server Error' });
            $cgi->print($saved ? 'Thank you' : 'Sorry');
        });
    });

    EV::run;

=head1 DESCRIPTION

A file that a client has sent, or is sending. It lies in a temporary file, which only
the owner of the process can read and write. The temporary file is removed when
nothing holds the object any more, unless L</save> has kept it; so a file may outlive
its request.

L</close>, L</fh> and L</save> come from the disk backend in use, and differ a little:
see L<HTTP::Server::EV::IO::AIO>, the default, and L<HTTP::Server::EV::IO::Blocking>.

The object is a plain hash, to which you may add keys of your own. It has

=over

=item C<fh>

An open handle of the file, at its beginning when the file has been received. It is
opened when you first ask for it, and gone after L</close> and L</save>.

=item C<moved>

1 after L</save> has succeeded.

=item C<name>, C<path>, C<size>

See the methods.

=item C<parent_req>

The L<HTTP::Server::EV::CGI> it came with, as a weak reference.

=back

=head1 METHODS

=head2 close

    $file->close(sub { warn 'Closed' });

Lets go of the handle that L</fh> has opened. The callback may be left out. It is called
with 1, by C<IO::AIO> from the loop and by C<IO::Blocking> at once. Returns 1.

=head2 fh

    $file->fh(sub {
        my ($handle) = @_;
        return if !$handle;
        my $first_line = readline $handle;
    });

Opens the file for reading and calls back with a handle at its beginning, or with
C<undef>. As long as the handle is open, the next call gives the same one. After
L</save> it opens the file that was saved.

With C<IO::Blocking> the callback is called at once, and the handle is returned too. With
C<IO::AIO> the callback is called from the loop; at once if the handle is open already.
Without a callback, C<IO::AIO> returns the handle if the listener has C<threading> and
Coro is loaded, and else dies with C<HTTP::Server::EV::IO::AIO-E<gt>fh used without a
callback. Use Coro and enable threading for listener if you want blocking interface>.

=head2 name

    my $name = $file->name;

The name that the client gave to the file, as text. It is never empty and never has a
slash or backslash, so that it names a file in a directory: see
L<HTTP::Server::EV::CGI/Fields>. Two files may have the same name, and a name may begin
with a dot. It may have control characters, and others beyond ASCII: escape it in HTML, and write
C<< $file->name =~ s/[^ -~]/?/gr >> to a log or a terminal.

=head2 path

    my $path = $file->path;

Where the file is: the temporary file, and after L</save> the file that was saved.

=head2 save

    $file->save('/srv/photos/1.jpg', sub {
        my ($saved) = @_;
        warn $saved ? 'Saved' : 'Not saved';
    });

Keeps the file under this path. What is there is replaced. The first call that succeeds
moves the file: by renaming within a file system, else by copying. Later calls copy it
from there. The mode of the file becomes what your umask leaves of 0666, where the file
system has modes. A relative path begins in the working directory. Both umask and working
directory count as they are when you call it, whenever the work is done. The handle that
L</fh> has opened is let go of.

Nobody finds half of a file under this path, whenever the process is killed. Where the file
is copied and something is replaced, a whole copy may stay beside it, under a name of
50 letters and digits, if the process is killed between two calls of the system; on file
systems without C<O_TMPFILE> (see open(2)), such as NFS, also half a copy.

The callback may be left out. It is called with 1, or with 0 after a warning
C<PACKAGE failed to move file PATH to DESTINATION - REASON>; nothing has changed then,
and the next call may succeed.

With C<IO::Blocking> the callback is called at once, and its argument is returned too.
With C<IO::AIO> the work is done by a thread, and 1 is returned at once; but without a
callback, where the listener has C<threading> and Coro is loaded, the current Coro thread
is parked until then, and what is returned is the outcome.

Call it when the file is complete: in C<on_file_received> or later. Before, it fails. It
fails as well in a process that was forked while a thread was just saving this file.

Dies with C<save takes the path of the file to be made>, or with C<save takes a code
reference as its callback>.

=head2 size

    my $bytes = $file->size;

The size in bytes: of what was written so far in C<on_file_write>, of the whole file from
C<on_file_received> on.

=head1 SEE ALSO

L<HTTP::Server::EV>, L<HTTP::Server::EV::CGI>, L<HTTP::Server::EV::IO::AIO>,
L<HTTP::Server::EV::IO::Blocking>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
