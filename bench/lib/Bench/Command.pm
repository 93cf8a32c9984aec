# Runs the programs that make the load, pinned to a core.
package Bench::Command;

use strict;
use warnings;

use Carp     qw(croak);
use Exporter qw(import);
use IPC::Open2;

our @EXPORT_OK = qw(begin figures finish output pinned prompt read_line);

# The command, to run on this core; as it is where no core is named.
sub pinned {
    my ( $core, @command ) = @_;
    return @command if !defined $core;
    return ( 'taskset', '--cpu-list', $core, @command );
}

# The figures of a line of key=value pairs.
sub figures {
    my $line = shift;
    return { $line =~ /(\w+)=(\S+)/g };
}

# What a command begins with that has to run at once when it wakes up, whoever else wants the
# core; nothing where that is not allowed.
sub prompt {
    my @chrt = qw(chrt --fifo 10);
    return @chrt if system("@chrt true 2>/dev/null") == 0;
    return;
}

# The standard output of a command; dies with what it says if it fails.
sub output {
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
    my $output = do { local $/ = undef; <$reader> };
    waitpid $pid, 0;
    die length( $output // q{} ) ? $output : "$command[0] failed\n" if $?;
    return $output;
}

# Starts a command that goes on until its standard input ends; returns it for the functions below.
sub begin {
    my @command = @_;
    my $pid     = open2( my $from, my $to, @command );
    return bless { from => $from, pid => $pid, to => $to }, __PACKAGE__;
}

# The next line a command prints, or dies.
sub read_line {
    my $command = shift;
    my $line    = readline $command->{from};
    die "the load client has ended\n" if !defined $line;
    return $line;
}

# Has a command end; returns the last line it prints.
sub finish {
    my $command = shift;
    close delete $command->{to} or croak "close: $!";
    my @lines = readline $command->{from};
    waitpid delete $command->{pid}, 0;
    die "the load client has failed\n" if $?;
    return $lines[-1] // q{};
}

sub DESTROY {
    my $self = shift;
    return if !$self->{pid};
    local ( $?, $!, $@ );
    kill TERM => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

1;
