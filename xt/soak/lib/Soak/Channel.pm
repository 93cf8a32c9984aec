package Soak::Channel;

# The run's line to a process that it has started: one JSON array for each message, both
# ways, on a socket that is the standard input of the process.

use strict;
use warnings;

use IO::Select  ();
use JSON::PP    ();
use POSIX       qw(WNOHANG);
use Socket      qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Time::HiRes qw(sleep time);

my $JSON = JSON::PP->new->ascii->canonical->allow_nonref;

# Since perl 5.36 truth is told from 1, and told to JSON as such.
$JSON->boolean_values( q{}, 1 ) if $JSON->can('boolean_values');

# The process's end.
sub of_parent {
    my ($class) = @_;
    open my $handle, '+<&=', 0 or die "No standard input: $!";
    return $class->_new($handle);
}

# Starts a program, whose standard error is appended to a file.
sub start {
    my ( $class, $errors, @command ) = @_;
    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
      or die "socketpair: $!";
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        open STDIN,  '<&', $theirs or die "dup: $!";
        open STDERR, '>>', $errors or die "$errors: $!";
        exec { $command[0] } @command;
        die "exec: $!";
    }
    my $self = $class->_new($ours);
    $self->{pid} = $pid;
    return $self;
}

sub handle { return $_[0]{handle} }

sub pid { return $_[0]{pid} }

# The next message, waited for; the empty list if none comes in time, or none any more.
sub hear {
    my ( $self, $seconds ) = @_;
    until ( $self->{unread} =~ /\n/ ) {
        $self->_receive($seconds) or return;
    }
    return $self->_next;
}

# The messages that are there, without waiting.
sub heard {
    my ($self) = @_;
    while ( $self->_receive(0) ) { }
    my @messages;
    while ( $self->{unread} =~ /\n/ ) {
        push @messages, [ $self->_next ];
    }
    return @messages;
}

# Whether the other side has ended.
sub is_over { return $_[0]{is_over} }

sub tell {
    my ( $self, @message ) = @_;
    my $line = $JSON->encode( \@message ) . "\n";
    while ( length $line ) {
        my $count = syswrite $self->{handle}, $line;
        return 0 if !defined $count;
        substr $line, 0, $count, q{};
    }
    return 1;
}

# Waits for the end of the process; returns its status as waitpid gives it, undef if it had
# to be killed as it does not end in time.
sub ended {
    my ( $self, $seconds ) = @_;
    my $end = time + $seconds;
    while ( waitpid( $self->{pid}, WNOHANG ) == 0 ) {
        if ( time > $end ) {
            kill KILL => $self->{pid};
            waitpid $self->{pid}, 0;
            return;
        }
        sleep 0.01;
    }
    return $?;
}

sub _new {
    my ( $class, $handle ) = @_;
    return bless { handle => $handle, unread => q{} }, $class;
}

sub _next {
    my ($self) = @_;
    $self->{unread} =~ s/\A(.*)\n//;
    return @{ $JSON->decode($1) };
}

sub _receive {
    my ( $self, $seconds ) = @_;
    return 0 if $self->{is_over};
    IO::Select->new( $self->{handle} )->can_read($seconds) or return 0;
    my $count = sysread $self->{handle}, $self->{unread}, 65_536, length $self->{unread};
    $self->{is_over} = 1 if !$count;
    return $count;
}

1;
