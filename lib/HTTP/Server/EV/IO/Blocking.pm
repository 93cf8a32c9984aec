package HTTP::Server::EV::IO::Blocking;

# The disk backend that does each operation at once, in the loop.

use strict;
use warnings;

require HTTP::Server::EV::MultipartFile;

our $VERSION = '1.000';

sub close {
    my ( $file, $callback ) = @_;
    HTTP::Server::EV::MultipartFile::_check_callback( 'close', $callback );
    delete $file->{fh};
    $callback->(1) if ref $callback;
    return 1;
}

sub fh {
    my ( $file, $callback ) = @_;
    HTTP::Server::EV::MultipartFile::_check_callback( 'fh', $callback );
    my $handle = $file->{fh} ||= $file->_open;
    $callback->($handle) if ref $callback;
    return $handle;
}

sub save {
    my ( $file, $destination, $callback ) = @_;
    $file->_check_save( $destination, $callback );
    delete $file->{fh};
    my $saved =
      $file->_finish_save( __PACKAGE__, $destination, $file->_persist($destination) );
    $callback->($saved) if ref $callback;
    return $saved;
}

sub _use_me {
    HTTP::Server::EV::MultipartFile::_use_backend( __PACKAGE__, 'inline' );
    return;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::IO::Blocking - The disk backend that does each operation at once

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;
    use HTTP::Server::EV::IO::Blocking;

    HTTP::Server::EV::IO::Blocking->_use_me;

    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;
        my @files = @{ $cgi->file('upload') };
        my $saved = grep { $_->save('./' . time . '-' . $_->name) } @files;
        $cgi->header;
        $cgi->print("$saved saved");
    });

    EV::run;

=head1 DESCRIPTION

Received files are written by the loop itself, and L<HTTP::Server::EV::MultipartFile/save>
returns when the work is done. This is simple, and costs the least CPU time where the disk
is fast or the directory is in memory. While the disk is slow, all clients wait: then
L<HTTP::Server::EV::IO::AIO> is better.

=head2 Choosing it

    require HTTP::Server::EV::IO::Blocking;
    HTTP::Server::EV::IO::Blocking->_use_me;

L<HTTP::Server::EV> must be loaded. It is in force at once, for the whole process and for
files that begin after that. Call it before or after L<HTTP::Server::EV/new>.

=head1 METHODS

These become methods of L<HTTP::Server::EV::MultipartFile>. Below is what is particular
to this backend; that page has the rest. Callbacks may be left out and are called before
the method returns.

=head2 close

    $file->close;

Returns 1.

=head2 fh

    my $handle = $file->fh;

Returns the handle, or C<undef>.

=head2 save

    $file->save('/srv/photos/1.jpg') or warn 'Not saved';

Returns 1, or 0 for a failure. Across file systems the file is copied, and the loop stands
still meanwhile.

Dies with C<save takes the path of the file to be made>, or with C<save takes a code
reference as its callback>.

=head1 SEE ALSO

L<HTTP::Server::EV::MultipartFile>, L<HTTP::Server::EV::IO::AIO>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
