# How long small requests wait while large files are received on a disk that cannot keep up.
package Bench::Workload::LatencyDisk;

use strict;
use warnings;
use utf8;

use parent 'Bench::Workload::LatencyUploads';

use File::Temp;

use Bench::Command qw(begin figures finish pinned read_line);

use constant {
    FILE_SIZE => 512 * 1024**2,    # bytes
    MEGABYTE  => 1e6,              # bytes
};

sub columns {
    my $self    = shift;
    my @columns = $self->SUPER::columns;
    splice @columns, 5, 0, { key => 'disk', heading => 'disk MB/s' };
    return @columns;
}

sub description {
    return <<'TEXT';
The same with the files on a disk, which another process keeps busy besides: it writes 512 MiB over and over and has
every 4 MiB synchronized (`fdatasync`); that is the column of the disk's speed.
TEXT
}

sub measure {
    my ( $self, $peer ) = @_;

    my $directory = File::Temp->newdir( 'bench-disk-XXXXXX', DIR => $self->{disk} );
    my $writer    = begin(
        pinned(
            $self->{core}, $self->{client}, 'saturate', "$directory/file", FILE_SIZE
        )
    );
    read_line($writer);
    my $figures = $self->SUPER::measure($peer);
    my $written = figures( finish($writer) );
    return { %{$figures}, disk => $written->{bytes} / MEGABYTE / $written->{seconds} };
}

sub name { return 'latency-disk' }

sub needs_disk { return 1 }

sub title { return 'Small requests during four uploads to a saturated disk' }

1;
