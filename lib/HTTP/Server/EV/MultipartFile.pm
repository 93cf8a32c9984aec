package HTTP::Server::EV::MultipartFile;

# One received file. `fh`, `save` and `close` come from the disk backend in use:
# HTTP::Server::EV::IO::AIO or HTTP::Server::EV::IO::Blocking.

use strict;
use warnings;

our $VERSION = '1.000';

sub CLONE_SKIP { return 1 }

sub name { return $_[0]{name} }

sub path { return $_[0]{path} }

sub size { return $_[0]{size} }

# What a backend does when the core is through with a save: the first one that
# succeeds moved the file, later ones copied it from there.
sub _finish_save {
    my ( $file, $backend, $destination, $saved, $error ) = @_;
    if ( !$saved ) {
        warn "$backend failed to move file $file->{path} to $destination"
          . " - $error \n";
        return 0;
    }
    $file->{path} = $destination if !$file->{moved};
    $file->{moved} = 1;
    return 1;
}

1;
