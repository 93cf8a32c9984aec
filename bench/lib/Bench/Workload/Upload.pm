# The upload workload: one large file as multipart/form-data over one connection.
package Bench::Workload::Upload;

use strict;
use warnings;

use Carp qw(croak);

use constant {
    BLOCK_SIZE => 1024**2,    # bytes
    GIBIBYTE   => 1024**3,    # bytes
    MEGABYTE   => 1e6,        # bytes
};

# client => path of the load client, core => number or undef, size => bytes of the file.
sub new {
    my ( $class, %options ) = @_;
    return bless {%options}, $class;
}

# Uploads once. Returns { speed => MB/s, counted => what the server's count agreed with }.
sub measure {
    my ( $self, $peer ) = @_;

    my @command = ( $self->{client}, 'upload', $peer->address, $self->{size} );
    unshift @command, 'taskset', '--cpu-list', $self->{core} if defined $self->{core};
    my $line   = _output(@command);
    my %figure = $line =~ /(\w+)=(\S+)/g;
    return {
        speed   => $self->{size} / MEGABYTE / $figure{seconds},
        counted => $figure{counted}
    };
}

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

# GiB in one measurement.
sub units {
    my $self = shift;
    return $self->{size} / GIBIBYTE;
}

# The standard output of a command; dies with what it says on standard error if it fails.
sub _output {
    my @command = @_;
    pipe my $reader, my $writer or croak "pipe: $!";
    my $pid = fork;
    croak "fork: $!" if !defined $pid;
    if ( !$pid ) {
        open STDOUT, '>&', $writer
          and open STDERR, '>&', $writer
          and exec { $command[0] } @command;
        require POSIX;
        POSIX::_exit(127);
    }
    close $writer or croak "pipe: $!";
    my $output = do { local $/; <$reader> };
    waitpid $pid, 0;
    die defined $output && length $output ? $output : "$command[0] failed\n" if $?;
    return $output;
}

1;
