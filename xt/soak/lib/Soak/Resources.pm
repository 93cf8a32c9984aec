package Soak::Resources;

# What a process holds, as the system tells it: see proc(5).

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(children descriptors files_below memory threads);

# The processes that it has forked and not waited for.
sub children {
    my ($pid) = @_;
    my @children;
    for my $process ( _entries('/proc') ) {
        next if $process !~ /\A[0-9]+\z/;
        my $parent = _field( "/proc/$process/status", 'PPid' ) // next;
        push @children, $process if $parent == $pid;
    }
    return @children;
}

# What each descriptor is of: a name without the number that tells sockets apart.
sub descriptors {
    my ($pid)  = @_;
    my @links  = map { readlink "/proc/$pid/fd/$_" } _entries("/proc/$pid/fd");
    my @sorted = sort map { s/:\[[0-9]+\]\z//r } grep { defined } @links;
    return @sorted;
}

# Paths of the files in a directory and in those within it.
sub files_below {
    my ($directory) = @_;
    return
      map { -d "$directory/$_" ? files_below("$directory/$_") : "$directory/$_" }
      _entries($directory);
}

# Memory of its own, in KiB, without what is mapped of files.
sub memory {
    my ($pid) = @_;
    return ( _field( "/proc/$pid/status", 'RssAnon' ) // 0 ) + 0;
}

sub threads {
    my ($pid) = @_;
    return scalar _entries("/proc/$pid/task");
}

sub _entries {
    my ($directory) = @_;
    opendir my $handle, $directory or return;
    my @entries = grep { !/\A[.]/ } readdir $handle;
    return @entries;
}

sub _field {
    my ( $path, $name ) = @_;
    open my $file, '<', $path or return;
    my ($number) = map { /\A\Q$name\E:\s+(\d+)/ } readline $file;
    return $number;
}

1;
