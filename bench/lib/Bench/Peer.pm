# One server to compare: a start script in bench/peers, and what its comments say about it.
package Bench::Peer;

use strict;
use warnings;

use Carp           qw(croak);
use File::Basename qw(dirname fileparse);
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
    my %comments = ( protocol => 'HTTP/1.1', without => {}, workers => 1 );
    _comment( \%comments, $_ ) for _comment_lines($script);
    return
      bless { %comments, label => $name, name => $name, script => $script },
      $class;
}

sub address { return '127.0.0.1:' . shift->{port} }

# The label of the variant that this one is compared with, or undef.
sub base { return shift->{base} }

# The command that builds what the script starts, or undef.
sub build_command { return shift->{build} }

# How many connections one worker serves at a time, or undef where that is no matter of workers.
sub connections { return shift->{connections} }

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

# What the row of the peer is called: its name, unless it is a variant.
sub label { return shift->{label} }

sub name { return shift->{name} }

# Remarks on how the peer took part.
sub notes { return @{ shift->{notes} || [] } }

sub add_note {
    my ( $self, $note ) = @_;
    push @{ $self->{notes} }, $note if !grep { $_ eq $note } $self->notes;
    return;
}

sub process { return shift->{process} }

# What the requests of the load name: HTTP/1.0 where a server would else close without saying so.
sub protocol { return shift->{protocol} }

sub purpose { return shift->{purpose} }

# Ends the server and starts it anew, for memory that nobody has used yet.
sub restart {
    my $self = shift;
    $self->stop;
    return $self->start( %{ $self->{start_options} } );
}

# Starts the server on a free port with a directory of its own and waits until it can be connected
# to: directory => where its own is made, core => number or undef, handler => what it has to serve.
# Dies with the reason, and the end of what the server said, if that does not happen.
sub start {
    my ( $self, %options ) = @_;

    $self->{start_options} = {%options};
    $self->{port}          = _free_port();
    $self->{directory}     = "$options{directory}/" . $self->{label} =~ s/\s/-/gr;
    -d $self->{directory}
      or mkdir $self->{directory}
      or croak "$self->{directory}: $!";
    $self->{log}     = "$self->{directory}.log";
    $self->{process} = Bench::Process->start(
        command     => [ @{$self}{qw(script port directory)} ],
        core        => $options{core},
        environment => {
            BENCH_HANDLER => $options{handler} // 'upload',
            BENCH_WORKERS => $self->{workers},
        },
        log => $self->{log},
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

# The same server, not started, to be shown in a row of its own: label => its name,
# workers => how many processes share the work.
sub variant {
    my ( $self, %changes ) = @_;
    my %settled = map { $_ => $self->{$_} } qw(
      build connections label name protocol purpose script version without workers workloads
    );
    return bless { %settled, %changes }, ref $self;
}

# One line that names the version, or the empty string.
sub version {
    my $self = shift;
    return q{} if !$self->{version};
    my $root   = dirname( $self->{script} ) . '/../..';
    my $output = qx{(cd '$root' && $self->{version}) 2>/dev/null};
    my ($line) = $output =~ /(\S.*)/;
    return defined $line ? $line : q{};
}

# Why the peer cannot take part in a workload, or undef.
sub without {
    my ( $self, $workload ) = @_;
    return $self->{without}{$workload};
}

# Whether the peer is there for this workload: its script may name those it is for.
sub is_for {
    my ( $self, $workload ) = @_;
    return !$self->{workloads} || $self->{workloads}{$workload};
}

sub workers { return shift->{workers} }

sub _comment {
    my ( $comments, $line )  = @_;
    my ( $key,      $value ) = $line =~ /^bench-(\w+):\s+(.*)/;
    if    ( !defined $key ) { $comments->{purpose} //= $line }
    elsif ( $key eq 'without' ) {
        my ( $names, $reason ) = $value =~ /^([^:]+):\s+(.*)/
          or croak "No reason: $line";
        $comments->{without}{$_} = $reason for split q{ }, $names;
    }
    elsif ( $key eq 'workloads' ) {
        $comments->{workloads} = { map { $_ => 1 } split q{ }, $value };
    }
    else { $comments->{$key} = $value }
    return;
}

# The comments that a script begins with, after the line that names the interpreter.
sub _comment_lines {
    my $script = shift;
    open my $handle, '<', $script or croak "$script: $!";
    my @lines;
    while ( my $line = <$handle> ) {
        last if $line !~ /^#/;
        push @lines, $1 if $line =~ /^#\s+(.*\S)/;
    }
    close $handle or croak "$script: $!";
    return @lines;
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
