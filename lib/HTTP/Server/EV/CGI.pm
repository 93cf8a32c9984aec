package HTTP::Server::EV::CGI;

# One request and its reply: a plain hash with the request's data, and methods
# that answer it. Methods not found here are in the compiled core.

use strict;
use warnings;

use Carp       ();
use EV         ();
use IO::Handle ();
use Symbol     ();

use Scalar::Util qw(reftype);

our $VERSION = '1.000';

our $cookies_lifetime      = 2_678_400;
our $MAX_URLENCODED_FIELDS = 1024;

sub CLONE_SKIP { return 1 }

sub attach {
    my ( $self, $handle ) = @_;
    my $buffer = _open_buffer( $self, 'attach' );
    Carp::croak('attach takes a glob or a reference to one') if !_is_handle($handle);
    push @{ $self->{stdout_guard} ||= [] },
      HTTP::Server::EV::BufTie->_attach( $handle, $buffer );
    return;
}

sub buffer {
    my ($self) = @_;
    my $buffer = _open_buffer( $self, 'get buffered handle from' );
    return $self->{buf_fh} if $self->{buf_fh};

    my $handle = Symbol::gensym();
    tie *{$handle}, $buffer;
    return $self->{buf_fh} = $handle;
}

sub close {
    my ($self) = @_;
    delete @{$self}{qw(buffer buf_fh)};
    $self->{stdout_guard} = [];
    return;
}

sub file {
    my ( $self, $name ) = @_;
    return _values( $self->{file_a}, $name );
}

sub flush {
    my ( $self, @threshold ) = @_;
    return _open_buffer( $self, 'flush' )->flush(@threshold);
}

sub flush_timer {
    my ($self) = @_;
    return EV::now - $self->{timer};
}

sub flush_wait {
    my ( $self, @callback ) = @_;
    return _open_buffer( $self, 'flush' )->flush_wait(@callback);
}

sub get {
    my ( $self, $name ) = @_;
    return _values( $self->{get_a}, $name );
}

# Leaves the main callback from any depth and ends the reply with what was
# printed; while the request is still being received it drops the request.
sub next {
    my ($self) = @_;
    return $self->drop if !$self->{received};

    # The label would be found beyond a loop that runs within the callback, but
    # nobody can jump out of the C code of that. A thread has no other's loop below it.
    Carp::croak(q{Can't find label NEXT_REQ})
      if !HTTP::Server::EV::PortListener::_is_in_thread() && _is_in_nested_loop();
    local $@ = undef;
    eval {
        no warnings 'exiting';
        goto NEXT_REQ;
    };
    return Carp::croak(q{Can't find label NEXT_REQ});
}

sub post {
    my ( $self, $name ) = @_;
    return _values( $self->{post_a}, $name );
}

sub start_timer {
    my ($self) = @_;
    return $self->{timer} = EV::now;
}

# Storable walks the hash past what makes elements when they are asked for. When it fails
# it keeps the copy for some time, which must not hold up the end of the reply.
sub STORABLE_freeze {
    my ($self) = @_;
    my %copy = %{$self};
    delete @copy{qw(buffer buf_fh)};
    return ( q{}, \%copy );
}

sub STORABLE_thaw {
    my ( $self, $is_clone, $frozen, $copy ) = @_;
    %{$self} = %{$copy};
    return;
}

# What `param` returns where the hashes are there.
sub _param {
    my ( $self, $name ) = @_;
    my $values = _values( $self->{get_a}, $name );
    $values = _values( $self->{post_a}, $name ) if !@{$values};
    return wantarray ? @{$values} : $values->[-1];
}

# The list itself, for the application to change, but none made by looking.
sub _values {
    my ( $lists, $name ) = @_;
    return $lists && $lists->{$name} || [];
}

sub _is_handle {
    my ($handle) = @_;
    return 1 if ref \$handle eq 'GLOB';
    return ( reftype($handle) // q{} ) =~ /\A(?:GLOB|IO)\z/;
}

sub _open_buffer {
    my ( $self, $action ) = @_;
    return $self->{buffer} || Carp::croak("Can`t $action closed socket!");
}

1;

=encoding utf8

=head1 NAME

HTTP::Server::EV::CGI - One request and its reply

=head1 SYNOPSIS

    use strict;
    use warnings;

    use EV;
    use HTTP::Server::EV;

    HTTP::Server::EV->new->listen(8080, sub {
        my ($cgi) = @_;

        if ($cgi->{headers}{REQUEST_METHOD} ne 'POST') {
            $cgi->header;
            $cgi->print('<form method="post" enctype="multipart/form-data">',
                '<input name="title"><input name="photo" type="file" multiple>',
                '<button>Send</button></form>');
            return;
        }

        $cgi->set_cookies({ seen => 1 });
        $cgi->header({ 'Content-Type' => 'text/plain; charset=utf-8' });
        $cgi->print('Title: ', $cgi->param('title') // '', "\n");
        for my $file (@{ $cgi->file('photo') }) {
            $cgi->print('File: ', $file->name, ', ', $file->size, " bytes\n");
        }
    });

    EV::run;

=head1 DESCRIPTION

The request object, which the callbacks of L<HTTP::Server::EV/listen> are called with:
the same object for all callbacks of one request. It is a plain hash with the
request's L</DATA>, to which you may add keys of your own.

The reply is what you print: with the methods here, or, after L</attach>, with Perl's
own C<print>. It ends when nothing holds the object any more, or with L</close>. To answer later, keep the object:

    sub {
        my ($cgi) = @_;
        my $timer;
        $timer = EV::timer 2, 0, sub {
            undef $timer;
            $cgi->header;
            $cgi->print('Two seconds later');
            undef $cgi;
        };
    }

=head2 Text and bytes

Names and values of the query, of urlencoded bodies and of cookies are text: each
field is read as UTF-8 if it is valid UTF-8, else as cp1251. The same holds for values
of multipart fields and names of files. Names of multipart fields, headers and
C<REQUEST_BODY> are bytes: a multipart field whose name is not ASCII is found under
the bytes that the client sent.

What you print may be text or bytes. Text is sent as UTF-8, bytes as they are.

=head2 Fields

C<&> and C<;> separate the fields of a query and of an urlencoded body. The first C<=>
of a field separates name and value, and both are percent-decoded after that. An
escape that is none, such as C<%zz>, stays as it is. A C<+> is a plus, unless the
listener has C<plus_as_space>. A field without C<=> has the value C<undef>. A body
that is C<0> and nothing else has no fields.

Cookies are separated by C<"; "> and otherwise read alike (RFC 6265, section 4.2).

The parts of a multipart body (RFC 7578) that have a file name that is not empty are
files, the others are fields. In a name, C<\"> stands for a quote; names are not
percent-decoded, so that a quote which a browser sends as C<%22> stays that. In the name of a file,
each of C<* / : E<lt> E<gt> ? \ |>, tabulators and line ends become C<_>, NUL is left
out, and C<.> and C<..> become C<_>. It may still begin with a dot and may be the name
of another file.

=head1 DATA

All keys are there when the object is first seen, unless said otherwise. New programs
read fields and files by the methods, which cope with what is not there.

What costs time to make, such as C<headers>, is made when you first ask for it. Nothing
else tells it from what is there from the beginning.

=over

=item C<buffer>

The L<HTTP::Server::EV::Buffer> of the reply; gone after L</close>.

=item C<buf_fh>

What L</buffer> has returned; only after that.

=item C<cookies>

Cookies by name. Only if the client sent any.

=item C<cookiesbuffer>

The header lines made by L</set_cookies>; only after that.

=item C<fd>

The number of the socket's descriptor. To use the socket by it, ask L</fd>.

=item C<file>, C<file_a>

Files, as L<HTTP::Server::EV::MultipartFile> objects, by the name of the field: the
last one, and a reference to an array of all in order. They fill up while a multipart
body is received, each file from C<on_file_open> on. Empty for other requests.

=item C<get>, C<get_a>

The values of the query by name: the last one, and a reference to an array of all in
order. Only if there is a query that is not empty.

=item C<headers>

Headers and CGI variables: see L</Headers>.

=item C<parent_listener>

The L<HTTP::Server::EV::PortListener>, as a weak reference.

=item C<post>, C<post_a>

The fields of the body, likewise. They fill up while a multipart body is received.
Empty if there are none.

=item C<received>

1 from the main callback on, when the request is complete. Not there before.

=item C<REQUEST_BODY>

The body as it was sent, for a POST that is not multipart (and for other methods of
C<body_methods>). Not there for other requests.

=item C<stack_pos>

A number that names the request for the functions in L<HTTP::Server::EV/FUNCTIONS>. No
other request ever has it.
Keep what you know of a request in its object, or under this number, but not under the address
of the object, which later ones may have again.

=item C<stdout_guard>

What keeps L</attach> in force until L</close>.

=item C<timer>

When the request began, as C<EV::now> has it; see L</flush_timer>.

=back

=head2 Headers

    my $agent = $cgi->{headers}{'User-Agent'};
    my $same  = $cgi->{headers}{HTTP_USER_AGENT};

C<< $cgi->{headers} >> has each header under three names: as it was sent, in the case
the client chose (C<User-Agent>); with C<HTTP_> and in capitals (C<HTTP_USER-AGENT>);
and the same with underscores for dashes, as RFC 3875, section 4.1.18, has it
(C<HTTP_USER_AGENT>). All three are one scalar. White space around the value is
removed. Of headers with the same name the last one counts, and under the third name one
that came with dashes alone goes before one that came with underscores.

These keys are always there, and no header overwrites them:

=over

=item C<CONTENT_LENGTH>, C<CONTENT_TYPE>

As sent, or C<undef>.

=item C<DOCUMENT_URI>, C<SCRIPT_NAME>

The target of the request up to the C<?>, as it was sent. It begins with a slash, or it is
a whole URI, C<*> for C<OPTIONS>, or host and port for C<CONNECT>.

=item C<GATEWAY_INTERFACE>

C<CGI/1.1>.

=item C<PATH_INFO>

The same as C<SCRIPT_NAME>, percent-decoded, as bytes.

=item C<QUERY_STRING>

What follows the first C<?>, as it was sent; C<undef> if there is none.

=item C<REMOTE_ADDR>, C<REMOTE_PORT>

The address of the client: IPv4, IPv6 or C<unix:>, and its port. Behind a proxy see the
option C<backend> in L<HTTP::Server::EV/new>.

=item C<REQUEST_METHOD>

The method, such as C<GET>.

=item C<REQUEST_URI>

The target of the request as it was sent (RFC 9112, section 3.2).

=item C<SERVER_NAME>

The host the request is for, without its port: that of C<REQUEST_URI> if it is a
whole URI, else that of the C<Host> header, else the address the client
connected to.

=item C<SERVER_PORT>

The port the client connected to, C<undef> for a socket in the file system.

=item C<SERVER_PROTOCOL>

C<HTTP/1.1> or C<HTTP/1.0>.

=item C<SERVER_SOFTWARE>

C<HTTP::Server::EV>.

=back

Every other key comes from a header of the client: C<HTTPS> and C<REMOTE_USER> too, which
mean something in CGI.

=head1 METHODS

=head2 attach

    $cgi->attach(*STDOUT);
    $cgi->header;
    print 'Hello!';

Sends what is printed to the handle, a glob or a reference to one, to this reply. With
L<Coro>, each thread has its own: what a thread prints goes to the reply that it has
attached last. C<close> on the handle does nothing. This lasts until L</close> or until
the object is destroyed; printing then goes where it went before. See
L<HTTP::Server::EV::BufTie>.

Returns nothing. Dies with C<Can`t attach closed socket!> after L</close>.

=head2 buffer

    print { $cgi->buffer } 'Hello!';

A handle to print the reply to, for code that wants one. It is not a handle of the
operating system.

Dies with C<Can`t get buffered handle from closed socket!> after L</close>.

=head2 close

    $cgi->close;

Ends the reply: the rest of it is sent, then comes the next request on the connection, or
its end; see L<HTTP::Server::EV/Connections>. Returns nothing, and may be called again.

=head2 copy

    $cgi->copy(*SOCKET);
    syswrite SOCKET, "HTTP/1.1 204 No Content\r\n\r\n";

Opens the handle, a glob or a reference to one, onto the socket itself, past the
buffer. It does not block. Send what was printed before with L</flush_wait> first. The
connection stays open until the handle is closed, too.

Returns 1. Dies with C<Can`t attach socket handle> after L</close> and L</drop>.

=head2 drop

    $cgi->drop;

Ends the request at once. While it is received, nothing more is read, C<on_error> is
called, and the connection is closed. In the main callback and later, output that was
not sent is thrown away and the connection is closed, without C<on_error>. On a request
that is over it does nothing. Returns the empty list.

=head2 fd

    my $number = $cgi->fd;

The number of the socket's descriptor. It stays the server's: do not close it. The connection
ends with this reply, as with L</fh>.

=head2 fh

    my $socket = $cgi->fh;
    read $socket, my $body, $cgi->{headers}{CONTENT_LENGTH};

A non-blocking L<IO::Handle> of the socket itself, for reading and writing past the
buffer; the same one at each call.

It is the way to the body of a request whose method is not among C<body_methods>. What
the server has read of it already is given back to the handle: C<read> and C<readline>
see the whole body, as far as it has come, and C<sysread> sees what is still in the
socket. A body in chunks (C<Transfer-Encoding: chunked>) is seen as it was sent, and so is
whatever the client sends behind the body. The connection ends with this reply.

Dies with C<Can`t get fh of closed socket!> after L</close> and L</drop>.

=head2 file

    for my $file (@{ $cgi->file('photo') }) {
        $file->save('/srv/photos/' . time . '-' . $file->name);
    }

A reference to an array of the files of this field, in order; empty if there are none.
They are L<HTTP::Server::EV::MultipartFile> objects.

=head2 flush

    $cgi->flush;
    $cgi->flush(0);

Sends what was printed so far. With an argument, it also sets how many bytes may wait
unsent from now on; see L<HTTP::Server::EV::Buffer/flush>. Returns nothing. Dies
after L</close>.

=head2 flush_timer

    my $seconds = $cgi->flush_timer;

The seconds since the request began, or since L</start_timer>, as a fraction. The clock
is EV's, which stands still while your code runs.

=head2 flush_wait

    $cgi->flush_wait(sub { warn 'All is sent' });

Sends what was printed so far and calls back without arguments when that is done, or
when it can never be because the client has gone: once, and from the loop, not at
once. The connection stays open until then. Several callbacks may wait.

Without a callback it parks the current L<Coro> thread until then. Where Coro is not
loaded, it is the same as C<flush>. Returns nothing. Dies after L</close>.

=head2 get

    my ($first, $second) = @{ $cgi->get('tag') };

A reference to an array of the values that the query has for this name, in order; empty
if there are none.

=head2 header

    $cgi->header;
    $cgi->header({
        STATUS         => '404 Not Found',
        'Content-Type' => 'text/plain; charset=utf-8',
        'X-Reason'     => 'gone fishing',
    });

Prints the head of the reply (RFC 9112, section 4): the status line, C<Server>, the
cookies of L</set_cookies>, C<Content-Type>, and the other pairs of the hash as they
are. C<STATUS> is C<200 OK> unless given, and may be the code alone, C<Server> is C<Perl HTTP::Server::EV>, and
C<Content-Type> is C<text/html>. These three names are to be written as here. Line ends
and NUL are removed from all values. The hash is not changed.

Call it once, before the body. The server adds what you do not give: C<Date>, C<Connection>
where it says something, and what tells the client the end of the reply. That is C<Content-Length>
if the reply is finished when the first of it is sent, which is when the callback has returned, or
earlier by L</flush>. Else the reply goes out in chunks (RFC 9112, section 7.1), or, to a client
of HTTP/1.0, up to the end of the connection.

What you give is left as it is, though C<Connection: close> is added where the connection ends
and you say something else. What you print beyond your C<Content-Length> is not sent. With a
C<Transfer-Encoding> of yours you print the chunks yourself. C<Connection: close> makes it
the last reply of the connection. Replies to C<HEAD>, and those with status 204 or 304, are
sent without the body you print. With status 101 nothing is added, and what you print
afterwards is sent as it is. Behind any other status below 200 call C<header> again for
the reply itself; a client of HTTP/1.0 gets only that.

A reply that you begin otherwise, by printing it from the status line on, is sent to the letter,
and its end is the end of the connection.

Returns true, or the empty list if the client has gone. Dies with C<Can`t print headers
to closed socket!> after L</close>, and with C<header takes a hash reference>.

=head2 next

    $cgi->next;

Leaves the main callback from any depth, and ends the reply with what was printed so
far, as L</close> does. In callbacks before the main one it is the same as L</drop>.

It works by Perl's C<goto>, so only while the main callback runs: called later, from
an event, it dies with C<Can't find label NEXT_REQ>. Perl does not let it leave a C<sort>
block either.

=head2 param

    my $title = $cgi->param('title');
    my @tags  = $cgi->param('tag');

In list context, all values that the query has for this name; if it has none, all that
the body has. In scalar context, the last of them, or C<undef>.

In an argument list, such as that of a function or of a hash, the context is list
context: write C<scalar $cgi-E<gt>param('title')> there.

=head2 post

    my $text = $cgi->post('text')->[-1];

A reference to an array of the values that the body has for this field, in order; empty
if there are none.

=head2 print

    $cgi->print('Hello, ', $name, '!');

Appends to the reply. The list is joined with C<$,> and followed by C<$\>, as by Perl's
C<print>. What is printed is sent when it exceeds a threshold, with L</flush>, or when
the reply ends.

Returns true, or the empty list if the client has gone. Dies with C<Can`t print to
closed socket!> after L</close>.

=head2 set_cookies

    $cgi->set_cookies({ session => $id });
    $cgi->set_cookies({ session => '' }, -1);

Adds cookies to the reply, for the whole site; L</header> sends them. The second argument
is their lifetime in seconds, C<$HTTP::Server::EV::CGI::cookies_lifetime> unless given.
With a negative one the client forgets the cookie. Values are not encoded: line ends
and NUL are removed, and a C<;> would end the value (RFC 6265, section 4.1.1).

Returns nothing. Dies with C<set_cookies takes a hash reference>, or with C<set_cookies
takes a lifetime in seconds that ends before the year 10000>.

=head2 start

    $cgi->start;

Goes on with a request that was stopped. Returns 1, and does nothing to a request that
was not stopped or is over.

=head2 start_timer

    $cgi->start_timer;

Begins to count the seconds of L</flush_timer> anew. Returns the time, as C<EV::now> has
it.

=head2 stop

    on_multipart => sub {
        my ($cgi) = @_;
        $cgi->stop;
        my $timer;
        $timer = EV::timer 1, 0, sub {
            undef $timer;
            $cgi->start;
        };
    }

Reads no more of a multipart body until L</start>: for a decision that takes time, or to
slow a client down. The client is held up by the network, not by memory. Meanwhile there
is no timeout, and nobody notices if the client goes. It works in each callback of an
upload but C<on_error>; later it does nothing. Returns 1.

=head2 urldecode

    my $text = $cgi->urldecode('%D1%8F');

Percent-decodes into text, as it is done with fields; a C<+> stays a plus. C<undef> for
an empty or undefined argument.

=head1 VARIABLES

=head2 $HTTP::Server::EV::CGI::cookies_lifetime

    $HTTP::Server::EV::CGI::cookies_lifetime = 24 * 60 * 60;

The lifetime of cookies in seconds, where L</set_cookies> is given none: 2678400, which
is 31 days.

=head2 $HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS

    $HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS = 10_000;

Into how many fields a query or an urlencoded body is split: 1024. What is beyond them
stays unsplit in the last one. 0 means no limit. It is read for each request.

=head1 SEE ALSO

L<HTTP::Server::EV>, L<HTTP::Server::EV::MultipartFile>, L<HTTP::Server::EV::Buffer>,
L<HTTP::Server::EV::BufTie>.

=head1 COPYRIGHT AND LICENSE

This library is free software. You may redistribute and modify it under the same
terms as Perl itself; the file F<LICENSE> has them in full.

=cut
