package Death::Server;

# A server in a process group of its own, which is killed: it receives uploads, answers
# with the digests of their files, and keeps those that it is asked to.

use strict;
use warnings;

use Carp       qw(croak);
use IO::Select ();
use POSIX      ();

use Death::Children qw(begin_child is_dead wait_for_child);
use TestServer      qw(eventually);

# Death::Server->start(socket => ..., tmp_path => ..., kept => { target => directory },
#     errors => path, backend => 'AIO', workers => 2)
#
# Listens on the socket in that many workers; without any, by itself.
sub start {
    my ( $class, %option ) = @_;
    my $self = bless { %option, unread => q{} }, $class;
    pipe my $reports,      my $reports_to or croak "pipe: $!";
    pipe my $parents_life, my $life       or croak "pipe: $!";
    $self->{pid} = begin_child(
        sub {
            @{$self}{qw(reports_to parents_life)} = ( $reports_to, $parents_life );
            $self->_serve;
        },
        $reports,
        $life
    );
    @{$self}{qw(reports life)} = ( $reports, $life );
    $self->await('ready');
    return $self;
}

# The words behind the next report of this name.
sub await {
    my ( $self, $name ) = @_;
    while ( defined( my $line = $self->_next_line ) ) {
        my ( $its_name, @words ) = $self->_note($line);
        return @words if $its_name eq $name;
    }
    croak "The server has ended, or says no '$name'";
}

# Kills all its processes, and waits until they are dead.
sub kill_all {
    my ($self) = @_;
    kill KILL => -$self->{pid};
    eventually( sub { is_dead( $self->{pid} ) } ) or croak 'It does not die';
    return $self->_end_of_reports;
}

# Kills one worker, and waits until there is another one.
sub kill_worker {
    my ( $self, $worker ) = @_;
    kill KILL => $worker;
    my $ended = 0;
    ($ended) = $self->await('ended') while $ended != $worker;
    return;
}

# The process that the temporary file of this name is of, if that has told.
sub owner {
    my ( $self, $name ) = @_;
    my $reports = IO::Select->new( $self->{reports} );
    while ( $reports->can_read(0) && defined( my $line = $self->_next_line ) ) {
        $self->_note($line);
    }
    return $self->{owner}{ _tag($name) };
}

# Whether a process that was told to be an owner is known to be dead.
sub has_ended {
    my ( $self, $process ) = @_;
    return $self->{has_ended}{$process};
}

# Ends it as it would by itself; returns its exit status.
sub stop {
    my ($self) = @_;
    kill TERM => $self->{pid};
    return $self->_end_of_reports;
}

sub _end_of_reports {
    my ($self) = @_;
    while ( defined $self->_next_line ) { }
    return wait_for_child( $self->{pid} );
}

sub _next_line {
    my ($self) = @_;
    while ( $self->{unread} !~ /\n/ ) {
        IO::Select->new( $self->{reports} )->can_read($TestServer::DEADLINE)
          or croak 'The server is silent';
        sysread $self->{reports}, $self->{unread}, 65_536, length $self->{unread}
          or return;
    }
    $self->{unread} =~ s/\A(.*)\n//;
    return $1;
}

# Remembers what the line tells of the owners of files and their ends; returns its words.
sub _note {
    my ( $self, $line ) = @_;
    my ( $name, @words ) = split q{ }, $line;
    $self->{owner}{ $words[1] }     = $words[0] if $name eq 'owner';
    $self->{has_ended}{ $words[0] } = 1         if $name eq 'ended';
    return ( $name, @words );
}

# What tells the owner is the beginning of a name.
sub _tag { return substr $_[0], 0, 11 }

sub _report {
    my ( $self, @words ) = @_;
    syswrite $self->{reports_to}, "@words\n";
    return;
}

sub _serve {
    my ($self) = @_;
    open STDERR, q{>>}, $self->{errors} or POSIX::_exit(254);
    require EV;
    require HTTP::Server::EV;
    require HTTP::Server::EV::IO::AIO;
    require HTTP::Server::EV::IO::Blocking;
    "HTTP::Server::EV::IO::$self->{backend}"->_use_me;
    HTTP::Server::EV->new( { tmp_path => $self->{tmp_path} } );
    $self->_report('ready');
    $self->{end} = EV::signal( 'TERM', sub { $self->_end } );
    $self->{orphaned} =
      EV::io( $self->{parents_life}, EV::READ(), sub { POSIX::_exit(1) } );
    $self->{listener} = HTTP::Server::EV->listen(
        $self->{socket},
        sub { $self->_answer(@_) },
        {
            on_file_open => sub { $self->_tell_owner( $_[1]->path ) },
            fork_hook    => sub { $self->_fork_workers }
        }
    );
    $self->{listener}->stop if $self->{watchers};
    EV::run();
    exit 0;
}

sub _end {
    my ($self) = @_;
    kill TERM => keys %{ delete $self->{watchers} || {} };
    EV::break();
    return;
}

sub _fork_workers {
    my ($self) = @_;
    for ( 1 .. $self->{workers} ) {
        last if $self->_fork_worker;
    }
    return;
}

# Whether this is the worker.
sub _fork_worker {
    my ($self) = @_;
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        delete @{$self}{qw(watchers owner)};
        $self->{listener}->start if $self->{listener};
        return 1;
    }
    $self->{watchers}{$pid} = EV::child(
        $pid, 0,
        sub {
            return if !$self->{watchers};
            delete $self->{watchers}{$pid};
            $self->_report( ended => $pid );
            $self->_fork_worker;
        }
    );
    return 0;
}

sub _tell_owner {
    my ( $self, $path ) = @_;
    my ($name) = $path =~ m{([^/]+)\z};
    $self->_report( owner => $$, _tag($name) ) if !$self->{owner}{ _tag($name) }++;
    return;
}

# Where the target names a directory, the files are kept there, by their digests.
sub _answer {
    my ( $self, $cgi ) = @_;
    require Digest::SHA;
    my @files = @{ $cgi->file('file') };
    my @digests =
      map { Digest::SHA->new(256)->addfile( $_->path, 'b' )->hexdigest } @files;
    my $reply = sub {
        $cgi->header;
        $cgi->print("@digests");
        undef $cgi;
    };
    my $directory = $self->{kept}{ $cgi->{headers}{REQUEST_URI} };
    return $reply->() if !$directory;
    my $unsaved = @files;
    for my $index ( 0 .. $#files ) {
        $files[$index]->save(
            "$directory/$digests[$index]",
            sub {
                $digests[$index] = 'not saved' if !$_[0];
                $reply->()                     if --$unsaved == 0;
            }
        );
    }
    return;
}

1;
