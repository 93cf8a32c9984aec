# One large file as multipart/form-data over one connection.
package Bench::Workload::Upload;

use strict;
use warnings;
use utf8;

use parent 'Bench::Workload';

use Carp       qw(croak);
use List::Util qw(min);

use Bench::Command qw(figures output pinned);

use constant {
    BLOCK_SIZE  => 1024**2,    # bytes
    GIBIBYTE    => 1024**3,    # bytes
    MEGABYTE    => 1e6,        # bytes
    MOST_ROUNDS => 3,
};

sub chart {
    return { key => 'cpu', label => 'CPU seconds per GiB; less is better' };
}

sub columns {
    my $self = shift;
    return (
        { key => 'cpu',    heading => 'CPU s/GiB', digits => 3, spread => 1 },
        { key => 'user',   heading => 'user',      digits => 2 },
        { key => 'system', heading => 'system',    digits => 2 },
        { key => 'speed',  heading => 'MB/s' },
        $self->memory_columns,
    );
}

sub description {
    my $self = shift;
    my $size = $self->{size} / BLOCK_SIZE;
    return <<"TEXT";
One `multipart/form-data` POST with a short field and a file of $size MiB of pseudo-random bytes. The server stores the file,
answers with its size, and removes it; nginx stores the body as it came, and `copier` copies the bytes from the socket to a
file without looking at them. MB/s counts from before connecting until the answer is read.
TEXT
}

# Uploads once. Returns the speed in MB/s, and what the server's count agreed with.
sub measure {
    my ( $self, $peer ) = @_;

    my $figures = figures(
        output(
            pinned(
                $self->{core},  $self->{client}, 'upload',
                $peer->address, $self->{size}
            )
        )
    );
    return {
        counted => $figures->{counted},
        speed   => $self->{size} / MEGABYTE / $figures->{seconds},
        units   => $self->{size} / GIBIBYTE,
    };
}

sub name { return 'upload' }

# Touches as many pages of the file system as a peer uses that stores body and file: the first touch
# of a page costs more than all that is compared here, and what the peer before did to the machine's
# memory is to be the same for all.
sub prepare {
    my ( $self, $peer ) = @_;

    my $path  = $peer->directory . '/pages';
    my $block = 'x' x BLOCK_SIZE;
    open my $handle, '>:raw', $path or croak "$path: $!";
    for ( 1 .. 2 * $self->{size} / BLOCK_SIZE ) {
        syswrite( $handle, $block ) == BLOCK_SIZE or croak "$path: $!";
    }
    close $handle or croak "$path: $!";
    unlink $path  or croak "$path: $!";
    return;
}

sub references { return qw(copier mojolicious) }

sub rounds {
    my $self = shift;
    return min( MOST_ROUNDS, $self->SUPER::rounds );
}

sub title { return 'A large upload' }

1;
