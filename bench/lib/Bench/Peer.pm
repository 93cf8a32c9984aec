# One server to compare: a start script in bench/peers, and what its comments say about it.
package Bench::Peer;

use strict;
use warnings;

use Carp           qw(croak);
use File::Basename qw(fileparse);
use IO::Socket::INET;
use Time::HiRes qw(sleep time);

use Bench::Process;

use constant {
    POLL_INTERVAL  => 0.02,    # seconds
    START_PATIENCE => 30,      # seconds
};

# Every executable script of a directory, by name.
sub discover {
    my ( $class, $directory ) = @_;
    my @scripts = grep { -f && -x _ } glob "$directory/*";
    return map { $class->new($_) } @scripts;
}

sub new {
    my ( $class, $script ) = @_;
    my ($name) = fileparse( $script, qr/[.][^.]+/ );

    open my $handle, '<', $script or croak "$script: $!";
    my ( %comments, $purpose );
    while ( my $line = <$handle> ) {
        last if $line !~ /^#/;
        if ( $line =~ /^#\s+bench-(build|version):\s+(.*\S)/ ) { $comments{$1} = $2 }
        elsif ( $line =~ /^#\s+(.*\S)/ && !defined $purpose ) { $purpose = $1 }
    }
    close $handle or croak "$script: $!";
    return bless { %comments, name => $name, purpose => $purpose, script => $script },
      $class;
}

sub address { return '127.0.0.1:' . shift->{port} }

# The command that builds what the script starts, or undef.
sub build_command { return shift->{build} }

sub directory { return shift->{directory} }

# Why the peer takes no part any more, or undef.
sub failure { return shift->{failure} }

# Takes the peer out of the run.
sub fail {
    my ( $self, $reason ) = @_;
    $self->{failure} = $reason;
    $self->stop;
    return;
}

sub name { return shift->{name} }

sub process { return shift->{process} }

sub purpose { return shift->{purpose} }

# Starts the server on a free port with a directory of its own and waits until it can be connected
# to. Dies with the reason, and the end of what the server said, if that does not happen.
sub start {
    my ( $self, %options ) = @_;

    $self->{port}      = _free_port();
    $self->{directory} = "$options{directory}/$self->{name}";
    mkdir $self->{directory} or croak "$self->{directory}: $!";
    $self->{log}     = "$options{directory}/$self->{name}.log";
    $self->{process} = Bench::Process->start(
        command => [ @{$self}{qw(script port directory)} ],
        core    => $options{core},
        log     => $self->{log},
    );

    my $deadline = time + START_PATIENCE;
    while ( $self->process->is_running ) {
        return if IO::Socket::INET->new( PeerAddr => $self->address );
        die 'cannot be connected to' . $self->_last_words if time > $deadline;
        sleep POLL_INTERVAL;
    }
    die 'does not start' . $self->_last_words;
}

sub stop {
    my $self = shift;
    $self->process->stop if $self->process;
    return;
}

# One line that names the version, or the empty string.
sub version {
    my $self = shift;
    return q{} if !$self->{version};
    my $output = qx{($self->{version}) 2>/dev/null};
    my ($line) = $output =~ /(\S.*)/;
    return defined $line ? $line : q{};
}

sub _free_port {
    my $socket = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1 )
      or croak "listen: $@";
    return $socket->sockport;
}

sub _last_words {
    my $self = shift;
    open my $handle, '<', $self->{log} or return "\n";
    my @lines = grep { /\S/ } <$handle>;
    return @lines ? ": $lines[-1]" : "\n";
}

1;
