package TestServer;

# Runs the server in a child process for a test: awaits what its callbacks report,
# counts its files and descriptors, talks to it, and sees that it ends well.

use strict;
use warnings;

use Carp          qw(croak);
use Config        qw(%Config);
use Encode        qw(encode);
use Exporter      qw(import);
use Fcntl         qw(O_DIRECTORY O_RDONLY);
use File::Temp    ();
use IO::Select    ();
use JSON::PP      ();
use POSIX         qw(SIGALRM SIG_BLOCK SIG_SETMASK WNOHANG);
use Socket        qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use File::Spec    ();
use Test::Builder ();
use Time::HiRes   ();

use IO::Socket::INET;
use IO::Socket::UNIX;

use TestServer::Client;

our @EXPORT_OK =
  qw(answer await_change backends chunked eventually kept_request_bytes multipart
  multipart_type output_of report request_bytes reserve_port upload_bytes without_repeats);

# How long to wait for something that has to happen, in seconds. Nothing is
# measured by it: it only ends a test that would hang.
our $DEADLINE = $ENV{TEST_DEADLINE} || 60;

# For programs that run elsewhere.
my @LIBRARIES = map { File::Spec->rel2abs($_) } grep { !ref } @INC;

# The signal of a change in a directory, which POSIX does not know.
my %SIGNAL;
@SIGNAL{ split q{ }, $Config{sig_name} } = split q{ }, $Config{sig_num};

my $BOUNDARY = '----TestServerBoundary7MA4YWxk';
my $JSON     = JSON::PP->new->ascii->canonical->allow_nonref;

# Since perl 5.36 truth is told from 1, and told to JSON as such.
$JSON->boolean_values( q{}, 1 ) if $JSON->can('boolean_values');

# In the child, where `report` writes to.
my $reports_to;

# A client's socket that the server has closed is an error to look at.
$SIG{PIPE} = 'IGNORE';    ## no critic (RequireLocalizedPunctuationVars)

# TestServer->start($setup, backend => 'Blocking', directory => '/dev/shm/x')
#
# Without a backend it is the one named by TEST_BACKEND, or the module's default. Calls $setup in the child, with this object, once the module is loaded; then the
# child runs the loop until `stop`. The parent goes on at once: clients that come
# early wait in the queue of the socket.
sub start {
    my ( $class, $setup, %option ) = @_;
    my $self = bless { %option, owner => $$, seen => [], unread => q{} }, $class;
    $self->{backend}   ||= $ENV{TEST_BACKEND};
    $self->{directory} ||= File::Temp->newdir( 'server-XXXXXXXX', TMPDIR => 1 );
    $self->{socket} = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1024 )
      or croak "Cannot listen: $@";
    $self->{port} = $self->{socket}->sockport;

    mkdir $self->tmp_path;

    pipe $self->{reports}, my $reports_to_parent or croak "pipe: $!";
    socketpair $self->{commands}, my $commands_in_child, AF_UNIX, SOCK_STREAM, PF_UNSPEC
      or croak "socketpair: $!";
    $self->{commands}->autoflush(1);

    defined( my $pid = fork ) or croak "fork: $!";
    if ( !$pid ) {
        ( $reports_to, $self->{commands} ) = ( $reports_to_parent, $commands_in_child );
        delete $self->{reports};
        _serve( $self, $setup );
    }
    delete( $self->{socket} )->close;
    $self->{pid} = $pid;
    return $self;
}

# TestServer->start_script($port, @command)
#
# Runs a program that listens on this port, or on the Unix socket of this path, in a
# directory of its own, and waits until it does. What it prints goes to its standard error. It has its temporary files where
# the examples have them.
sub start_script {
    my ( $class, $port, @command ) = @_;
    my $directory = File::Temp->newdir( 'server-XXXXXXXX', TMPDIR => 1 );
    my $self      = bless { owner => $$, port => $port, directory => $directory }, $class;
    $self->{tmp_path} = "$directory/upload_tmpfiles";

    defined( $self->{pid} = fork ) or croak "fork: $!";
    _exec( $directory, @command ) if !$self->{pid};

    # Nobody is told when a program begins to listen.
    eventually(
        sub {
            _connects($port) || waitpid( $self->{pid}, WNOHANG ) == $self->{pid};
        }
    ) or croak "@command does not listen";
    return $self;
}

# TestServer->looking($look, %options_of_listen)
#
# Reports, for `seen`, what $look makes of each request object.
sub looking {
    my ( $class, $look, %option ) = @_;
    return $class->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub { my ($cgi) = @_; report( seen => $look->($cgi) ); $cgi->header },
                \%option );
        }
    );
}

# In the child's $setup: makes the server with its directory of temporary files and
# listens on the socket of this test. Returns the listener.
sub listen {
    my ( $self, $callback, $options ) = @_;
    my $server = $self->new_server;
    return $server->listen( $self->{socket}, $callback, $options || {} );
}

# In the child's $setup: HTTP::Server::EV->new with the directory of this test.
sub new_server {
    my ( $self, %option ) = @_;
    return HTTP::Server::EV->new( { tmp_path => $self->tmp_path, %option } );
}

# In the child: calls back with the words of each `tell` in the parent.
sub on_command {
    my ( $self, $callback ) = @_;
    $self->{on_command} = $callback;
    return;
}

# Awaits the next report with this name; returns its values. Those that came before
# it count as read.
sub await {
    my ( $self, $name ) = @_;
    my @others;
    while ( my $report = $self->next_report ) {
        my ( $its_name, @values ) = @{$report};
        return wantarray ? @values : $values[0] if $its_name eq $name;
        push @others, $its_name;
    }
    croak "No report '$name'. There were: (@others). Standard error: " . $self->stderr;
}

# The number of descriptors the server has open.
sub descriptors {
    my ($self) = @_;
    opendir my $directory, "/proc/$self->{pid}/fd"
      or croak "No /proc/$self->{pid}/fd: $!";
    return scalar grep { !/\A\./ } readdir $directory;
}

# Waits until the server has ended by itself; tests its exit status, 0 unless another
# `status` is given, and its standard error, empty unless `stderr` is a pattern.
sub ended {
    my ( $self, %expected ) = @_;
    my $test = Test::Builder->new;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $status = $self->_exit_status;
    $test->is_eq( $status, $expected{status} // 0, 'the server ends as it should' );
    return $test->like( $self->stderr, $expected{stderr}, 'with the expected warnings' )
      if $expected{stderr};
    return $test->is_eq( $self->stderr, q{}, 'without a complaint' );
}

# A list of the temporary files that are there.
sub files_left {
    my ($self) = @_;
    opendir my $directory, $self->tmp_path or return;
    return grep { !/\A\.\.?\z/ } readdir $directory;
}

# Waits until there are as many temporary files; returns whether it came so.
sub await_files {
    my ( $self, $count ) = @_;
    return await_change( $self->tmp_path,
        sub { ( my @files = $self->files_left ) == $count } );
}

# Waits until the server's standard error matches; returns whether it came so.
sub await_stderr {
    my ( $self, $pattern ) = @_;
    return await_change( $self->directory, sub { $self->stderr =~ $pattern } );
}

# Waits until the server has no more descriptors than these, which may have been counted
# while a connection was still ending; returns whether it came so.
sub await_descriptors {
    my ( $self, $count ) = @_;
    return eventually( sub { $self->descriptors <= $count } );
}

# The next report as [name, values...], or nothing when the server has ended or is
# silent for too long.
sub next_report {
    my ($self) = @_;
    while ( $self->{unread} !~ /\n/ ) {
        IO::Select->new( $self->{reports} )->can_read($DEADLINE) or return;
        sysread $self->{reports}, $self->{unread}, 65_536, length $self->{unread}
          or return;
    }
    $self->{unread} =~ s/\A(.*)\n//;
    my $report = $JSON->decode($1);
    push @{ $self->{seen} }, $report;
    return $report;
}

# The most memory that was resident at a time, in KiB: see proc(5).
sub peak_memory {
    my ($self) = @_;
    open my $status, '<', "/proc/$self->{pid}/status"
      or croak "No /proc/$self->{pid}/status: $!";
    my ($kibibytes) = map { /\AVmHWM:\s+(\d+)/ } readline $status;
    return $kibibytes;
}

# All reports up to the next one with this name, and that one; each is
# [name, values...].
sub reports_until {
    my ( $self, $name ) = @_;
    my $from = @{ $self->{seen} };
    $self->await($name);
    return @{ $self->{seen} }[ $from .. $#{ $self->{seen} } ];
}

# What the server has written to its standard error.
sub stderr {
    my ($self) = @_;
    open my $handle, '<:raw', "$self->{directory}/stderr" or return q{};
    local $/ = undef;
    return scalar readline $handle;
}

# Ends the server by a signal it knows; tests what `ended` tests.
sub stop {
    my ( $self, %expected ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    kill TERM => $self->{pid};
    return $self->ended(%expected);
}

# Sends words to the child's `on_command`.
sub tell {
    my ( $self, @words ) = @_;
    return print { $self->{commands} } $JSON->encode( \@words ), "\n";
}

sub directory { return "$_[0]{directory}" }

sub tmp_path { return $_[0]{tmp_path} || "$_[0]{directory}/tmp" }

sub pid { return $_[0]{pid} }

sub port { return $_[0]{port} }

sub url {
    my ( $self, $path ) = @_;
    return "http://127.0.0.1:$self->{port}" . ( $path // q{/} );
}

# A new connection: a TestServer::Client.
sub connect {
    my ($self) = @_;
    return TestServer::Client->new( $self->{port} );
}

# One request on a connection of its own, see `request_bytes`; returns the response, as
# `response` of a TestServer::Client makes it; the server has to close then.
sub request {
    my ( $self, $method, @request ) = @_;
    my $client = $self->connect;
    $client->send( request_bytes( $method, @request ) );
    return $client->last_response( to => $method );
}

# The same for a multipart body of these parts, see `multipart`.
sub upload {
    my ( $self, @parts ) = @_;
    my $client = $self->connect;
    $client->send( upload_bytes(@parts) );
    return $client->last_response;
}

# A main callback for where it matters who has called: reports that, and replies.
sub answer {
    my ($cgi) = @_;
    report( client => $cgi->{headers}{REMOTE_ADDR} );
    $cgi->header;
    $cgi->print('page');
    return;
}

# The names of the disk backends, to run a test with each.
sub backends { return qw(AIO Blocking) }

# What `looking` has made of this request: the arguments of `request_bytes`, or bytes.
sub seen {
    my ( $self, @request ) = @_;
    my $client = $self->connect;
    my $bytes  = @request > 1 ? request_bytes(@request) : $request[0];
    $client->send($bytes);
    my ($method) = $bytes =~ /\A(\S+)/;
    my $status = $client->last_response( to => $method )->{status} // 'nothing';
    croak "The answer is $status" if $status ne '200';
    return scalar $self->await('seen');
}

# Calls at first and at each change in the directory until it is true; returns whether
# that came in time. The signals stay blocked but while it waits, so none is missed.
sub await_change {
    my ( $directory, $is_so ) = @_;
    my $is_late = 0;
    local $SIG{IO}   = sub { };
    local $SIG{ALRM} = sub { $is_late = 1 };
    my $before = POSIX::SigSet->new;
    POSIX::sigprocmask( SIG_BLOCK, POSIX::SigSet->new( $SIGNAL{IO}, SIGALRM ), $before );
    my $watch = _watch_directory($directory);
    alarm $DEADLINE;

    my $came = $is_so->();
    until ( $came || $is_late ) {
        POSIX::sigsuspend($before);
        $came = $is_so->();
    }
    alarm 0;
    close $watch;
    POSIX::sigprocmask( SIG_SETMASK, $before );
    return $came;
}

# Calls until it is true, with a pause that is only there to leave the processor to
# others; returns whether that came in time. For states that the system tells nobody of:
# what stands in /proc, in the queue of another's socket, in a page of a browser.
sub eventually {
    my ($is_so) = @_;
    my $end = Time::HiRes::time() + $DEADLINE;
    while ( Time::HiRes::time() < $end ) {
        return 1 if $is_so->();
        Time::HiRes::sleep(0.002);
    }
    return 0;
}

# A multipart body. A part is a hash with `name`, `content` and, for a file, `file_name`
# and `type`; or with `head`, the header lines as they are, and `content`.
sub multipart {
    my (@parts) = @_;
    return join q{}, ( map { "--$BOUNDARY\r\n" . _part($_) } @parts ),
      "--$BOUNDARY--\r\n";
}

# The Content-Type of such a body.
sub multipart_type { return "multipart/form-data; boundary=$BOUNDARY" }

# A body in chunks of this size. See RFC 9112, section 7.1.
sub chunked {
    my ( $body, $size ) = @_;
    my @pieces = unpack "(a$size)*", $body;
    return join q{}, ( map { sprintf "%x\r\n%s\r\n", length, $_ } @pieces ), "0\r\n\r\n";
}

# What a program prints, which is given text as UTF-8; undef unless it succeeds.
sub output_of {
    my @command = map { utf8::is_utf8($_) ? encode( 'UTF-8', $_ ) : $_ } @_;
    open my $output, '-|', @command or return;
    local $/ = undef;
    my $text = readline $output;
    return close $output ? $text // q{} : undef;
}

# A port for a program that cannot be handed a socket, and what keeps it from being
# given to somebody else: Linux lets a second socket listen where one is bound only.
sub reserve_port {
    my $socket = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        Proto     => 'tcp',
        ReuseAddr => 1
    ) or croak "Cannot bind: $@";
    return ( $socket->sockport, $socket );
}

# In the child: tells the parent, which reads it by `await` and the like. Values may be
# any text or undef. The pipe holds some 64 KiB: more than that must be read meanwhile.
sub report {
    my (@report) = @_;
    my $line = $JSON->encode( \@report ) . "\n";
    syswrite( $reports_to, $line ) == length $line or die "Cannot report: $!\n";
    return;
}

# request_bytes('POST', '/path', { Name => 'value' }, $body)
#
# A header that is undef is left out. The connection is to end with the reply.
sub request_bytes {
    my ( $method, $target, $headers, $body ) = @_;
    my %header = ( Host => 'localhost', Connection => 'close', %{ $headers || {} } );
    $header{'Content-Length'} //= length $body if defined $body;
    my $lines = join q{},
      map { "$_: $header{$_}\r\n" } grep { defined $header{$_} } sort keys %header;
    return "$method $target HTTP/1.1\r\n$lines\r\n" . ( $body // q{} );
}

# The same of a client that goes on with the connection.
sub kept_request_bytes {
    my ( $method, $target, $headers, $body ) = @_;
    return request_bytes( $method, $target, { Connection => undef, %{ $headers || {} } },
        $body );
}

# The bytes of a whole multipart request of these parts.
sub upload_bytes {
    my (@parts) = @_;
    return request_bytes( 'POST', q{/}, { 'Content-Type' => multipart_type() },
        multipart(@parts) );
}

# The reports, where many pieces of a file in a row count as one.
sub without_repeats {
    my (@reports) = @_;
    my $last = q{};
    return grep {
        my $is_repeated = $_->[0] eq 'on_file_write' && $last eq 'on_file_write';
        $last = $_->[0];
        !$is_repeated
    } @reports;
}

sub DESTROY {
    my ($self) = @_;
    return if !$self->{pid} || $$ != $self->{owner};
    local ( $?, $! );
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

# Until the handle is closed, each change in the directory is a SIGIO. See fcntl(2).
sub _watch_directory {
    my ($directory) = @_;
    sysopen my $handle, $directory, O_RDONLY | O_DIRECTORY
      or croak "Cannot watch $directory: $!";
    my $changes =
      Fcntl::DN_CREATE() | Fcntl::DN_DELETE() | Fcntl::DN_MODIFY() | Fcntl::DN_RENAME() |
      Fcntl::DN_MULTISHOT();
    fcntl $handle, Fcntl::F_NOTIFY(), $changes or croak "Cannot watch $directory: $!";
    return $handle;
}

sub _connects {
    my ($port) = @_;
    return $port =~ m{/}
      ? IO::Socket::UNIX->new( Peer     => $port )
      : IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port );
}

sub _exec {
    my ( $directory, @command ) = @_;
    local $SIG{PIPE}     = 'DEFAULT';
    local $ENV{PERL5LIB} = join q{:}, @LIBRARIES;
    open STDERR, '>',  "$directory/stderr" or exit 254;
    open STDOUT, '>&', \*STDERR            or exit 254;
    chdir $directory or exit 254;
    exec { $command[0] } @command;
    exit 253;
}

sub _exit_status {
    my ($self) = @_;
    local $SIG{ALRM} = sub { die "late\n" };
    alarm $DEADLINE;
    my $ended = eval { waitpid( $self->{pid}, 0 ) == $self->{pid} };
    alarm 0;
    return 'none: it does not end' if !$ended;
    delete $self->{pid};
    return $? & 127 ? 'signal ' . ( $? & 127 ) : $? >> 8;
}

sub _part {
    my ($part) = @_;
    my $head = $part->{head};
    if ( !defined $head ) {
        $head = qq{Content-Disposition: form-data; name="$part->{name}"};
        $head .= qq{; filename="$part->{file_name}"} if defined $part->{file_name};
        $head .= "\r\nContent-Type: $part->{type}"   if defined $part->{type};
    }
    return "$head\r\n\r\n$part->{content}\r\n";
}

# The child. It ends by `exit`, as an application does, so that what happens at the
# end of a process happens here too.
sub _serve {
    my ( $self, $setup ) = @_;
    ## no critic (RequireLocalizedPunctuationVars)
    $SIG{PIPE} = 'DEFAULT';
    open STDERR, '>', "$self->{directory}/stderr" or exit 254;
    STDERR->autoflush(1);

    my $served = eval {
        require EV;
        require HTTP::Server::EV;
        if ( my $backend = $self->{backend} ) {
            require HTTP::Server::EV::IO::AIO;
            require HTTP::Server::EV::IO::Blocking;
            "HTTP::Server::EV::IO::$backend"->_use_me;
        }
        my @watchers = _watch_parent($self);
        $setup->($self);
        EV::run();
        1;
    };
    print {*STDERR} $@ if !$served;
    exit( $served ? 0 : 255 );
}

# They do not keep the loop running: it ends as it would without them.
sub _watch_parent {
    my ($self)    = @_;
    my $terminate = EV::signal( 'TERM', sub { EV::break( EV::BREAK_ALL() ) } );
    my $command   = EV::io(
        $self->{commands},
        EV::READ(),
        sub {
            my $line = readline $self->{commands};

            # The test has ended, and left a process that the server has forked.
            POSIX::_exit(1) if !defined $line;
            $self->{on_command}->( @{ $JSON->decode($line) } );
        }
    );
    $_->keepalive(0) for $terminate, $command;
    return ( $terminate, $command );
}

1;
