package HTTP::Server::EV;

# The server: one per process. Prepares the directory of temporary files, loads
# the compiled core, and opens listeners.

use strict;
use warnings;

use Carp         ();
use EV           ();
use Scalar::Util qw(reftype);
use XSLoader;

our $VERSION = '1.000';

our $tmp_path;
our $backend;
our $instance;
our %listeners;

XSLoader::load( __PACKAGE__, $VERSION );

require HTTP::Server::EV::BufTie;
require HTTP::Server::EV::Buffer;
require HTTP::Server::EV::CGI;
require HTTP::Server::EV::IO::AIO;
require HTTP::Server::EV::MultipartFile;
require HTTP::Server::EV::PortListener;

# Neither the server nor what it hands out can be shared between threads.
sub CLONE_SKIP { return 1 }

sub new {
    my ( $class, $options ) = @_;
    return $instance if $instance;
    Carp::croak 'HTTP::Server::EV->new takes a hash reference of options'
      if defined $options && ref $options ne 'HASH';
    Carp::croak 'HTTP::Server::EV: tmp_path takes a path, which has no NUL'
      if $options && ( $options->{tmp_path} // q{} ) =~ /\0/;

    _check_defaults($options) if $options;

    my $self = bless $options || {}, $class;
    $self->{tmp_path} ||= './upload_tmpfiles/';
    $self->{_process} = $$;
    _make_directory( $self->{tmp_path} );

    $tmp_path = $self->{tmp_path};
    $backend  = $self->{backend};
    _use_default_disk_backend();
    _prepare_directory();
    return $instance = $self;
}

sub cleanup {
    my ($self) = @_;
    my $directory = $self->{tmp_path};
    opendir my $handle, $directory or return;
    my @files = grep { -f } map { "$directory/$_" } grep { !/\A[.]/ } readdir $handle;
    closedir $handle;
    return unlink @files;
}

sub stop {
    my ( $self, $callback ) = @_;
    Carp::croak 'stop takes a code reference'
      if defined $callback && ( reftype($callback) // q{} ) ne 'CODE';

    # Not those of %listeners, which has not all of them.
    my @waiting = _listeners();
    my $stopped = sub {
        pop @waiting;
        $callback->() if $callback && !@waiting;
        return;
    };
    $_->stop($stopped) for my @listeners = @waiting;
    _defer($callback) if $callback && !@listeners;
    return;
}

# The files are those of the process that made the server, not of its children.
sub DESTROY {
    my ($self) = @_;
    $self->cleanup if $self->{cleanup_on_destroy} && $self->{_process} == $$;
    return;
}

# Of the listeners: said here, at the caller's line, and not by each `listen`.
sub _check_defaults {
    my ($options) = @_;
    my $wrong = _wrong_default($options);
    Carp::croak $wrong if defined $wrong;
    Carp::carp "HTTP::Server::EV: there is no limit $_" for _unknown_limits($options);
    return;
}

sub _make_directory {
    my ($directory) = @_;
    return if -d $directory || mkdir $directory;
    my $reason = "$directory: $!";
    die Carp::shortmess('Can`t create dir for tmp files!') . "$reason\n";
}

# An application may have chosen a backend before it made the server.
sub _use_default_disk_backend {
    return if HTTP::Server::EV::MultipartFile->can('save');
    HTTP::Server::EV::IO::AIO->_use_me;
    return;
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV - HTTP server on EV that takes uploads of any size straight to files

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    my $server = HTTP::Server::EV->new({ tmp_path => './upload_tmpfiles' });

    $server->listen(8080, sub {
        my ($cgi) = @_;

        $cgi->attach(*STDOUT);
        $cgi->header({ 'Content-Type' => 'text/plain; charset=utf-8' });
        print "Hello!\n";

        for my $file (@{ $cgi->file('upload') }) {
            print $file->name, ': ', $file->size, " bytes\n";
        }
    });

    EV::run;

=head1 DESCRIPTION

An HTTP server that lives in L<EV>'s default loop, next to your timers, sockets
and Coro threads. It is made for receiving files: a C<multipart/form-data> body
is parsed while it arrives, and each file goes to the disk piece by piece. The
memory a request needs does not grow with what is sent.

Reading sockets, parsing HTTP and forms and writing files is done by a compiled
core, written in Rust. Your code is called with the result: a request object for
each request, and, if you want them, callbacks for each stage of an upload.

There is one server per process. It may listen on any number of sockets:

=over

=item 1.

L</new> chooses the directory for temporary files and the defaults of the
listeners.

=item 2.

L</listen> opens a socket. Its main callback is called with each complete request.

=item 3.

C<EV::run> serves.

=back

A connection is kept open for the client's next request, for up to L</keepalive> seconds:
see L</Connections>.

The classes you meet:

=over

=item L<HTTP::Server::EV::CGI>

One request and its reply.

=item L<HTTP::Server::EV::MultipartFile>

One received file.

=item L<HTTP::Server::EV::PortListener>

One listening socket.

=item L<HTTP::Server::EV::Buffer>

The output of one reply.

=item L<HTTP::Server::EV::IO::AIO>, L<HTTP::Server::EV::IO::Blocking>

The two ways of writing files. The first one is used unless you choose.

=back

=head2 The course of a request

For a request with a C<multipart/form-data> body the callbacks come in this order,
all of them with the same request object:

    on_multipart($cgi)                      once, before the body is read
        on_file_open($cgi, $file)           \
        on_file_write($cgi, $file, $bytes)   | for each file
        on_file_received($cgi, $file)       /
    main callback($cgi)                     once, when all is there

    on_error($cgi)                          instead of what had still to come,
                                            if the request fails

Nothing more of a request is parsed while one of its callbacks runs. Requests
without such a body go to the main callback directly.

An exception in a callback does not end the program. It is warned about, as
C<ERROR IN CALLBACK: > and its text. In the main callback, what was printed before
is still sent; in any other callback the request is dropped.

=head2 Connections

The server speaks HTTP/1.1 and HTTP/1.0 (RFC 9112). A connection carries any number of
requests, one after the other. What a client sends before it has been answered
(pipelining) waits until the reply before it is finished and sent, so replies come in
the order of the requests, and a client that does not read its replies is not read from.

A reply that L<HTTP::Server::EV::CGI/header> has begun tells its end: by its
C<Content-Length> if it is finished when the first of it is sent, else by chunks, or for
HTTP/1.0 by the end of the connection. See L<HTTP::Server::EV::CGI/header> for what you may decide
yourself.

The connection ends with a reply

=over

=item *

that the client or you wanted to be the last (C<Connection: close>, or HTTP/1.0
without C<keep-alive>);

=item *

without a head, printed byte by byte by you, which is sent exactly so; also one of status 101,
behind which another protocol begins;

=item *

during which you took the socket: by C<fh>, C<fd> or C<copy>;

=item *

with a C<Transfer-Encoding> of yours;

=item *

that is shorter than the C<Content-Length> you gave it;

=item *

that was finished before the request had been received, or left a body of more than 64 KiB unread;

=item *

that is empty: nothing was printed at all.

=back

=head1 OPTIONS

The options of L</listen>. Those marked I<default from new> may be given to
L</new> as well and are then the default of all listeners. An option that is
C<undef> counts as not given.

A wrong value makes the call that was given it, C<listen> or C<new>, die with
C<HTTP::Server::EV: NAME takes WHAT>, for example
C<HTTP::Server::EV: max_files takes a whole number, 0 or more>.

=head2 body_methods

    body_methods => [qw(POST PUT PATCH)]

The methods whose bodies are received like that of a POST: multipart bodies into
fields and files, others into C<REQUEST_BODY> and C<post>. Upper and lower case
are different. The body of a request with another method is left to you: see
L<HTTP::Server::EV::CGI/fh>. The default is C<['POST']>. I<Default from new.>

Dies with C<body_methods takes an array reference of method names>.

=head2 error_responses

    error_responses => 1

A client that exceeds a limit or is too slow gets an answer: 408 (Request
Timeout), 413 (Content Too Large), 414 (URI Too Long), 431 (Request Header Fields
Too Large) or 503 (Service Unavailable), 411 (Length Required) or 415
(Unsupported Media Type) to a POST without length or type, and 507 (Insufficient
Storage) or 500 (Internal Server Error) where a file cannot be stored; see RFC 9110,
section 15, RFC 6585, section 5, and RFC 4918, section 11.5. Without this option the
connection is closed without a word, as in earlier releases, which a proxy takes for a
failed server: new programs want it on. Malformed requests are always answered, with 400, 501 or 505. I<Default from new.>

=head2 header_timeout

    header_timeout => 10

How long the head of a request may take in all, in seconds; fractions are allowed.
0, the default, means no limit besides L</timeout>. I<Default from new.>

Dies with C<header_timeout takes a number of seconds, or 0 for none>.

=head2 keepalive

    keepalive => 60

How long a connection is kept for another request after a reply, in seconds; fractions are
allowed. The default is 15. With 0 each connection carries one request. Where descriptors run short
or L</max_connections> is reached, the connections that have waited longest are closed
first. I<Default from new.>

Dies with C<keepalive takes a number of seconds, or 0 for none>.

=head2 max_body_size

    max_body_size => 100 * 1024 * 1024

=head2 max_chunk_line

    max_chunk_line => 1024

=head2 max_connections

    max_connections => 1000

=head2 max_field_name

    max_field_name => 256

=head2 max_field_value

    max_field_value => 1024 * 1024

=head2 max_file_name

    max_file_name => 1024

=head2 max_file_size

    max_file_size => 2 * 1024 ** 3

=head2 max_files

    max_files => 20

=head2 max_header_line

    max_header_line => 8 * 1024

=head2 max_header_size

    max_header_size => 32 * 1024

=head2 max_headers

    max_headers => 50

=head2 max_parts

    max_parts => 100

=head2 max_cookies

    max_cookies => 20

=head2 max_uri

    max_uri => 8 * 1024

=head2 max_urlencoded_body

    max_urlencoded_body => 1024 * 1024

=head2 max_urlencoded_fields

    max_urlencoded_fields => 10_000

Limits: see L</LIMITS> for what each of them counts. I<Default from new.>

Each dies with C<NAME takes a whole number, 0 or more>, or C<above 0> for those of the head:
C<max_uri>, C<max_headers>, C<max_header_line> and C<max_header_size>. An option C<max_...>
that is none of these is warned of: C<HTTP::Server::EV: there is no limit NAME>.

=head2 plus_as_space

    plus_as_space => 1

A C<+> in the query and in an urlencoded body is a space, as in the forms that
browsers send. Without this option it is a plus. Cookies and multipart fields are
never affected. I<Default from new.>

=head2 socket

    socket => IO::Socket::INET->new(LocalPort => 8080, Listen => 128)

A socket that is listening already, of any family. Then the first argument of
L</listen> is only the name under which the listener is kept in
C<%HTTP::Server::EV::listeners>. The server works on a duplicate of it.

Dies with C<HTTP::Server::EV: socket takes a listening socket handle>.

=head2 threading

    threading => 1

The main callback runs in a L<Coro> thread of its own, so that it may wait:
for C<< $cgi->flush_wait >>, C<< $file->save >> and anything else that is made for
Coro. L<Coro> and L<Coro::EV> are loaded if your program has not done so. The C<on_*> callbacks still run
in the loop and must not wait.

Ending such a thread from outside ends its reply, with what was printed by then. To
do so, C<throw> an exception into it: Coro's C<cancel>, as of Coro 6.57 with perl 5.36, never
frees what is in the variables of a thread, and often crashes the process.

=head2 timeout

    timeout => 30

How long a client may send nothing while its request is received, in seconds;
fractions are allowed. Each read starts it anew, and it pauses while the request is
stopped (see L<HTTP::Server::EV::CGI/stop>). The default is 60. 0, and anything that
is not a number, means no limit. When it expires, the connection is closed, and
L</on_error> is called if L</on_multipart> had been. A client that sends a byte now and
then may so take any time for a body. To bound that for an upload, call
L<HTTP::Server::EV::CGI/drop> from a timer. I<Default from new.>

=head2 write_timeout

    write_timeout => 120

How long a client may take nothing of a reply that is waiting for it, in seconds;
fractions are allowed. The default is 60, 0 means no limit. It begins anew whenever the
system takes more of the reply, so a client that reads slowly may keep the connection, and the
reply in memory, for long. To bound that, call L<HTTP::Server::EV::CGI/drop> from a timer, and
keep the request object until L<HTTP::Server::EV::CGI/flush_wait> calls back. I<Default from new.>

Dies with C<write_timeout takes a number of seconds, or 0 for none>.

=head1 LIMITS

What exceeds a limit ends the request: the connection is closed, or answered where
L</error_responses> is on. A limit is inclusive: exactly that much passes. Sizes
are bytes, as sent. 0 means no limit where that is said, and elsewhere that nothing passes.

=over

=item C<max_body_size> (0, unlimited)

Bytes of a body, as its C<Content-Length> announces them, or as they come in chunks.

=item C<max_chunk_line> (4096)

Bytes of the line before each chunk of a body that comes in chunks (RFC 9112, section
7.1). Trailers behind the last chunk are ignored, and limited as header lines are.

=item C<max_connections> (0, unlimited)

Connections that the listener has at a time. One more is closed at once, unless one that waits
for another request can be closed instead.

=item C<max_field_name> (4099)

Bytes of the name of a multipart field or file field.

=item C<max_field_value> (51197)

Bytes of the value of a multipart field that is not a file. Such values are held in
memory.

=item C<max_file_name> (4099)

Bytes of the name of a file.

=item C<max_file_size> (0, unlimited)

Bytes of one file.

=item C<max_files> (0, unlimited)

Files in one request.

=item C<max_header_line> (16384)

Bytes of one header line, without its line end.

=item C<max_header_size> (65536)

Bytes of the whole head, from the request line to the empty line; also bytes of the
head of one multipart part, from its boundary to the empty line.

=item C<max_headers> (100)

Header lines.

=item C<max_parts> (1025)

Parts of a multipart body, fields and files together.

=item C<max_uri> (4099)

Bytes of the request target, the query included.

=item C<max_urlencoded_body> (102400)

Bytes of a body that is not multipart. Such bodies are held in memory.

=back

Two limits do not end the request: what is beyond them stays unsplit in the last
field. A query or an urlencoded body is split into C<max_urlencoded_fields> fields
(C<$HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS>, which is 1024), a C<Cookie> header
into C<max_cookies> (100). 0 is any number.

=head1 CALLBACKS

Code references among the options of L</listen>. Anything else makes C<listen> die
with C<HTTP::Server::EV: NAME takes a code reference>. What they return is ignored.

=head2 fork_hook

    fork_hook => sub {
        for (1 .. 3) { last if !fork }
    }

Called without arguments, once, from within C<listen>: the socket is bound and
listening, and nothing watches it yet. Processes that are forked here share the
socket, and each connection is accepted by one of them. An exception leaves
C<listen>, and the socket is closed.

=head2 on_drained

    on_drained => sub {
        my ($listener) = @_;
        warn "Port $listener->{port}: all is done\n";
    }

The listener was stopped, and the last of its connections is closed: see
L<HTTP::Server::EV::PortListener/stop>.

=head2 on_error

    on_error => sub {
        my ($cgi) = @_;
        warn "Upload from $cgi->{headers}{REMOTE_ADDR} failed\n";
    }

A multipart request has failed after C<on_multipart>: the client has gone or was
silent for too long, the body is malformed or exceeds a limit, a file could not be
written, or C<< $cgi->drop >> was called. The connection is closed when the callback
returns. What you print is not sent; what you write to C<< $cgi->fh >> is. A malformed
body is answered with 400 unless you have done so. Temporary files go with the request object.

=head2 on_file_open

    on_file_open => sub {
        my ($cgi, $file) = @_;
        $cgi->drop if $file->name !~ /\.jpe?g\z/i;
    }

A file begins. C<$file> is an L<HTTP::Server::EV::MultipartFile>; its temporary file
is there and empty. With L<HTTP::Server::EV::IO::AIO>, the default, C<< $cgi->{file} >>
has it already; with L<HTTP::Server::EV::IO::Blocking> it comes there after this.

=head2 on_file_received

    on_file_received => sub {
        my ($cgi, $file) = @_;
        warn 'A file is complete: ', $file->size, " bytes\n";
    }

A file is complete, and the last byte of it has been written.

=head2 on_file_write

    use Digest::SHA;

    on_file_write => sub {
        my ($cgi, $file, $bytes) = @_;
        $file->{sha256} ||= Digest::SHA->new(256);
        $file->{sha256}->add($bytes);
    }

The next piece of the file has been written; C<< $file->size >> includes it. A piece
has 1 byte to 1 MiB, and all of them together are the file. An empty file has none.

File data is copied into Perl strings only for a listener with this callback. Leave
it out where you do not need it: uploads then cost least.

=head2 on_multipart

    on_multipart => sub {
        my ($cgi) = @_;
        return if defined $cgi->{cookies}{session};
        $cgi->header({ STATUS => '403 Forbidden' });
        $cgi->print('Log in first');
        $cgi->close;
    }

The head of a multipart request is there, and the body comes next. Headers, query
and cookies are known. Use it to refuse an upload before it is received, or to
C<< $cgi->stop >> it until you know more.

What you print, up to C<< $cgi->close >>, is the reply to a refused upload. Neither L</on_error>
nor the main callback is called then, and the connection ends. C<< $cgi->drop >> refuses without a
reply, which a client behind a proxy sees as 502 (Bad Gateway). Both work in the other callbacks of
an upload, too.

A client that has sent C<Expect: 100-continue> is told to go on after this callback,
unless it has dropped or stopped the request (RFC 9110, section 10.1.1).

=head1 METHODS

=head2 cleanup

    my $count = HTTP::Server::EV->new->cleanup;

Removes all plain files in the directory of temporary files, and returns how many
it removed, or nothing if the directory cannot be read. Files whose names begin with
a dot stay, and so does what is in directories there. It also removes files that are
being received just now, those of other processes too, and files of other programs.
You hardly need it: temporary files go by themselves, and those of a program that was
killed go when the next one calls L</new>. See L</Temporary files>.

=head2 listen

    my $listener = HTTP::Server::EV->listen(8080, sub {
        my ($cgi) = @_;
        $cgi->header;
        $cgi->print('Hello!');
    });

    $server->listen('127.0.0.1:8080', \&answer, { timeout => 30 });

Opens a socket and serves it. Called on the server or on the class; call L</new>
first, as it prepares what receiving files needs. The arguments are the address, the
main callback, and a reference to a hash of L</OPTIONS> and L</CALLBACKS>, which may
be left out. That hash becomes the object that is returned, an
L<HTTP::Server::EV::PortListener>.

The address is one of

=over

=item C<8080>

A port, on every IPv4 address of the machine (0.0.0.0).

=item C<'127.0.0.1:8080'>, C<'localhost:8080'>

An address or a host name, and a port. A host name is looked up at once, which may
take a while; its first address is used. With port 0 the system chooses;
C<< $listener->{port} >> tells which.

=item C<'[::1]:8080'>

An IPv6 address and a port. C<'[::]:8080'> is every IPv6 address, and no IPv4 one.

=item C<'unix:/run/upload.sock'>

A path for a socket in the file system. A socket that nobody listens on any more is
replaced. It is removed when the process ends that made it.

Who connects must be able to write to it. Its mode is what your umask leaves of 0777, with which
usually nobody but the program's own user can. For a proxy that runs as another user:

    my $umask = umask 0117;
    $server->listen('unix:/run/upload.sock', \&answer);
    umask $umask;
    chown -1, scalar getgrnam('www-data'), '/run/upload.sock' or die $!;

The program's user has to belong to that group, or the directory to have it and the
set-group-ID bit; then C<chown> is not needed.

=item an L<IO::Socket> that is listening

Of any family. The server works on a duplicate of it.

=item C<< { fd => 3 } >>

The number of a descriptor that is listening, such as one inherited from systemd.
The server works on a duplicate of it.

=back

See also the option L</socket>. The sockets the server opens are non-blocking, closed
on exec, bound with C<SO_REUSEADDR> where they are not in the file system, and have
the longest backlog the system grants.

The main callback is called with an L<HTTP::Server::EV::CGI> for each complete
request. When the callback has returned and nothing holds the object any more, the
reply is complete: the rest of the output is sent, and the connection goes on or ends, see
L</Connections>. Keep the object to answer later.

Listeners live as long as the process. C<EV::run> goes on as long as one of them is
started.

Dies with

=over

=item C<Port undefined!>

The address is undefined, 0 or empty.

=item C<You can`t bind two listeners on one port!>

There has been a listener with the same first argument.

=item C<No callback!>

There is no main callback.

=item C<listen takes a code reference as its callback>

=item C<listen takes a hash reference of options>

=item C<HTTP::Server::EV cannot listen on ADDRESS: REASON>

The address is none, in use or not permitted, or the socket is not listening. For
C<< { fd => 3 } >> the address is C<descriptor 3>.

=item C<HTTP::Server::EV: fd takes the number of a listening socket>

=item C<HTTP::Server::EV: NAME takes WHAT>

An option has a wrong value.

=back

=head2 new

    my $server = HTTP::Server::EV->new;

    my $server = HTTP::Server::EV->new({
        tmp_path        => '/var/tmp/uploads',
        max_file_size   => 2 * 1024 ** 3,
        error_responses => 1,
    });

The server. The reference to a hash of options may be left out; the hash becomes the
object. There is one server in a process: later calls return the first one, whatever
their arguments.

=over

=item backend

True if the server stands behind a proxy. C<REMOTE_ADDR> is then what the proxy sends
as C<X-Real-IP>, where it does. Nothing checks that value, so only a proxy should be
able to reach the server.

=item cleanup_on_destroy

True if L</cleanup> is to be called when the server object is destroyed, at the end
of the program.

=item tmp_path

The directory for temporary files; F<./upload_tmpfiles/> by default. It is made if it
is not there, though not the directories above it. A program that changes its working
directory names it from the root. Have it on the file system to which
files are saved: they are then moved by renaming. Several processes may share it; see
L</Temporary files>. Only the user that the program runs as should be able to read it or to
write to it: who can read it can lock it, so that nothing is removed for the dead.

=back

All limits and C<body_methods>, C<error_responses>, C<header_timeout>, C<keepalive>,
C<plus_as_space>, C<timeout> and C<write_timeout> may be given here too, as defaults for all
listeners; see L</OPTIONS>. C<socket>, C<threading> and callbacks are for C<listen> alone, and
ignored here.

Dies with C<HTTP::Server::EV-E<gt>new takes a hash reference of options>, with
C<HTTP::Server::EV: tmp_path takes a path, which has no NUL>, with
C<HTTP::Server::EV: NAME takes WHAT> for an option with a wrong value, or with
C<Can`t create dir for tmp files!> and, on a line of their own, the directory and the
reason.

=head2 stop

    $server->stop(sub {
        warn 'All clients are served';
        EV::break;
    });

Stops all listeners: see L<HTTP::Server::EV::PortListener/stop>. The callback is called once,
without arguments and from the loop, when the last connection of the last listener is closed.
It may be left out. Returns nothing.

Dies with C<stop takes a code reference>.

=head1 FUNCTIONS

Those that take requests and listeners are for programs that have them. The methods
L<HTTP::Server::EV::CGI/stop>, L<HTTP::Server::EV::CGI/start>,
L<HTTP::Server::EV::CGI/drop>, L<HTTP::Server::EV::PortListener/start> and
L<HTTP::Server::EV::PortListener/stop> do the same for an object. These functions do
nothing if what they are given names nothing, or nothing any more.

=head2 drop_req

    HTTP::Server::EV::drop_req($cgi->{stack_pos});

Ends the request that has this number, as L<HTTP::Server::EV::CGI/drop> does.

=head2 listen_socket

    my $number = HTTP::Server::EV::listen_socket(fileno $socket, sub {
        my ($cgi) = @_;
        $cgi->header;
    }, undef, undef, 30);

Listens on the socket of this descriptor, of which it takes a duplicate. The arguments
after the main callback are L</on_multipart>, L</on_error> and L</timeout>, and may be
left out. Returns a number that names the listener, as does C<$listener-E<gt>{ptr}>.
Dies as L</listen> does.

=head2 start_listen

    HTTP::Server::EV::start_listen($number);

Has the listener accept connections again.

=head2 start_req

    HTTP::Server::EV::start_req($cgi->{stack_pos});

Ends the pause of the request that has this number. Returns C<undef>.

=head2 stop_listen

    HTTP::Server::EV::stop_listen($number);

Has the listener accept no connections.

=head2 stop_req

    HTTP::Server::EV::stop_req($cgi->{stack_pos});

Pauses the request that has this number, as L<HTTP::Server::EV::CGI/stop> does.

=head2 url_decode

    my ($bytes, $is_utf8) = HTTP::Server::EV::url_decode('%D1%8F');

Percent-decodes (RFC 3986, section 2.1). Returns the bytes, and 1 if they are valid
UTF-8, else 0. An escape that is none, such as C<%zz>, stays as it is. For an empty
or undefined argument it returns C<undef> and 1. For text, see
L<HTTP::Server::EV::CGI/urldecode>.

=head1 VARIABLES

=head2 $HTTP::Server::EV::backend

    $HTTP::Server::EV::backend = 1;

The option C<backend> of L</new>. It is read for each request.

=head2 $HTTP::Server::EV::instance

    my $server = $HTTP::Server::EV::instance;

The server, once there is one.

=head2 %HTTP::Server::EV::listeners

    $HTTP::Server::EV::listeners{8080}->stop;

All listeners, by the first argument of L</listen> as a string. One that is deleted here
goes on listening; see L<HTTP::Server::EV::PortListener/stop>.

=head2 $HTTP::Server::EV::tmp_path

    $HTTP::Server::EV::tmp_path = '/var/tmp/today';

The directory for temporary files. It is read for each file; a directory set here
must exist.

=head1 DIAGNOSTICS

=over

=item C<ERROR IN CALLBACK: TEXT>

A warning: one of your callbacks has died with this text.

=item C<HTTP::Server::EV ERROR: Can`t accept connection. Run out of open file descriptors! ...>

A warning: the process has no descriptor left for a client that waits. It comes once,
until everybody who has waited is served. Accepting goes on when a connection is closed,
and is also tried again at least once a second, as other descriptors may be free. Raise
the limit (C<ulimit -n>) or set L</max_connections>.

=item C<HTTP::Server::EV ERROR: Can`t accept connection: REASON>

A warning: accept(2) fails for another reason, such as a rule of the system that forbids
it, or a socket of yours that no longer listens. It comes once, until everybody who has
waited is served. Accepting is tried again at least once a second.

=item C<HTTP::Server::EV cannot write in DIRECTORY: REASON>

A warning: a file could not be made or written in the directory for temporary files, and
its upload has failed. It comes once, until a file is complete again. With a relative
L</tmp_path> the reason may be a C<chdir> after L</new>.

=item C<ERROR IN CALLBACK: HTTP::Server::EV-E<gt>new was not called, which says where files go>

A warning: an upload has failed, since L</listen> was called without a server.

=back

=head1 CAVEATS

=head2 Signals

Perl does not run the handlers in C<%SIG> while EV waits. Use C<EV::signal>:

    my $interrupt = EV::signal(INT => sub { EV::break });

An immediate handler (C<POSIX::sigaction> without C<safe>) that is due while the server's own
code runs is called right after it: with the name of the signal alone, once however often
that has come, and without the action's mask. Only those of C<SIGSEGV>, C<SIGBUS>, C<SIGILL> and
C<SIGFPE> cannot wait, and must not die.

Temporary files are removed when the program ends by itself. Those of a program that
a signal has killed are removed later: see L</Temporary files>.

=head2 Temporary files

A temporary file is removed when nothing holds its L<HTTP::Server::EV::MultipartFile> any
more, or when the process ends, by itself or by C<exit>, unless it was saved. A process that
is killed, calls C<POSIX::_exit> or C<exec>, or goes with the whole machine, cannot do that.
What it leaves is removed by the next process that uses the directory: in L</new>, before
L</listen>; in a child of C<fork> with the first file it receives; and when a file comes
into a directory that L</$HTTP::Server::EV::tmp_path> has not named before. So in a directory
that no process uses any more, files may stay.

Each process holds a lock in the directory, which the system lets go of when the process
ends, and the names of its files tell which lock that is. Nothing is removed whose owner
lives, so any number of servers may share a directory, also from containers that share
a volume. Removed are only plain files with such a name, of the same user, that have the
sticky bit, as temporary files do (their mode is 01600, C<-rw------T>) until they are saved or
you change it: not what was saved, and no file of your own. Children that the process has forked, and that
neither end, run a program nor return to the loop, have its lock as well: while they live,
what it left stays. The lock costs one open descriptor.

This is so for 64-bit Linux, and for the file systems of one machine: ext4, XFS, Btrfs, ZFS,
F2FS, bcachefs, tmpfs, overlayfs and a few old ones. On others, such as NFS, whose locks not everybody
can see, nothing is removed for the dead; there call L</cleanup> at the start of a
program that has a directory for itself.

Do not keep a file in this directory under its temporary name.

=head2 Processes

A child of C<fork> needs no care, wherever it was forked: to exit, to run a program or to
do something else. It holds its parent's connections and files until it ends or returns to
the loop, and nobody waits for that. If it returns to
the loop, it goes on listening on the sockets of its parent; stop the listeners there if
it should not. It may listen on sockets of its own. Programs that are run inherit no
descriptor of the server.

A program that closes all its descriptors to become a daemon has to do so before L</new>.
A child that is forked while threads write a file, and that returns to the loop, may keep
that file open until it ends.

To have a child answer a client, take L<HTTP::Server::EV::CGI/fh> or call
L<HTTP::Server::EV::CGI/copy> before the C<fork>, and print to that handle in the child. The
request object itself does nothing there. The connection is closed when the child has closed
the handle and the parent has let go of the request object and the handle.

To share the work among processes, fork in L</fork_hook>. A worker that has died is
replaced by forking again, from C<EV::child> for example; clients whose requests it had
are cut off, and no others.

=head2 Threads

Objects of these classes belong to the Perl thread that made them. They are
undefined in another.

=head1 SEE ALSO

L<HTTP::Server::EV::CGI>, L<HTTP::Server::EV::PortListener>,
L<HTTP::Server::EV::MultipartFile>, L<HTTP::Server::EV::Buffer>,
L<HTTP::Server::EV::IO::AIO>, L<HTTP::Server::EV::IO::Blocking>, L<EV>, L<Coro>.

The distribution has more, which is not installed: F<docs/migrating.md> is for programs written
for earlier releases, F<docs/security.md> for servers in the open, F<docs/architecture.md> for
those who work on this one, and F<eg/> has examples. See
L<https://metacpan.org/dist/HTTP-Server-EV>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
