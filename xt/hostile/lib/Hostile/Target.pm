package Hostile::Target;

# The server that is attacked: an application that looks at all a request brings, and what
# the system knows of its process.

use strict;
use warnings;

use Carp        qw(croak);
use Digest::MD5 ();

use TestServer qw(eventually);

# In these states a connection that no process has is not accepted yet: ESTABLISHED, SYN_RECV and
# CLOSE_WAIT. See include/net/tcp_states.h of Linux.
my %IS_WAITING = map { $_ => 1 } qw(01 03 08);

# Hostile::Target->start( \%options_of_listen, %options_of_TestServer )
sub start {
    my ( $class, $options, @option ) = @_;
    my $server = TestServer->start(
        sub {
            my ($child) = @_;

            $child->listen( \&_reply, $options );
        },
        @option
    );
    return bless { server => $server }, $class;
}

sub port { return $_[0]{server}->port }

sub pid { return $_[0]{server}->pid }

sub server { return $_[0]{server} }

# The reply to a request without a body, and to one with fields and files of these sizes.
sub plain_reply { return 'page' }

sub form_reply {
    my ( $class, $fields, $field_bytes, $files, $file_bytes ) = @_;
    return "fields $fields of $field_bytes, files $files of $file_bytes";
}

# The most memory that was resident since `forget_peak`, in bytes; how much is its own now;
# and the time it has used its processor, in seconds. See proc(5).
sub peak { return $_[0]->_status('VmHWM') }

sub memory { return $_[0]->_status('VmRSS') }

sub forget_peak {
    my ($self) = @_;
    my $path = '/proc/' . $self->pid . '/clear_refs';
    open my $references, '>', $path or croak "$path: $!";
    print {$references} "5\n";
    return close $references;
}

sub seconds {
    my ($self) = @_;
    return $self->nanoseconds / 1e9;
}

# Of the main thread alone.
sub nanoseconds {
    my ($self) = @_;
    my $path = '/proc/' . $self->pid . '/schedstat';
    open my $statistics, '<', $path or croak "$path: $!";
    my ($nanoseconds) = readline($statistics) =~ /\A(\d+)/;
    return $nanoseconds;
}

sub descriptors { return $_[0]{server}->descriptors }

# Whether it has not closed yet what is connected to any of these ports. See proc(5).
sub has_open {
    my ( $self, @ports ) = @_;
    my %is_of  = map { $_ => 1 } @ports;
    my $listen = sprintf '%04X', $self->port;
    open my $sockets, '<', '/proc/net/tcp' or croak "/proc/net/tcp: $!";
    while ( my $line = readline $sockets ) {
        my ( undef, $local, $remote, $state, $inode ) =
          ( split q{ }, $line )[ 0 .. 3, 9 ];
        next     if $local !~ /:$listen\z/ || !$is_of{ hex substr $remote, -4 };
        return 1 if $inode                 || $IS_WAITING{$state};
    }
    return 0;
}

# Waits until its memory is no more than this; returns how much it is.
sub await_memory {
    my ( $self, $bytes ) = @_;
    eventually( sub { $self->memory <= $bytes } );
    return $self->memory;
}

# Ends it; returns its complaints.
sub stop {
    my ($self) = @_;
    my $server = $self->{server};
    kill TERM => $server->pid;
    waitpid $server->pid, 0;
    my $status = $?;
    my $stderr = $server->stderr;
    delete $server->{pid};
    return ( $status ? "it ended with status $status" : (), split /\n/, $stderr );
}

sub _status {
    my ( $self, $name ) = @_;
    my $path = '/proc/' . $self->pid . '/status';
    open my $status, '<', $path or croak "$path: $!";
    my ($kibibytes) = map { /\A$name:\s+(\d+)/ } readline $status;
    return 1024 * $kibibytes;
}

# In the server: what the path asks for.
sub _reply {
    my ($cgi) = @_;
    my ( $what, $number ) = $cgi->{headers}{SCRIPT_NAME} =~ m{\A/(\w*)(?:/(\d+))?}
      or die "no path that this knows\n";
    my $reply = Hostile::Target->can("_reply_$what") || die "nothing at /$what\n";
    return $reply->( $cgi, $number );
}

# Every element is made, whatever it costs.
sub _reply_ {
    my ($cgi) = @_;
    my @made =
      map { scalar %{ $cgi->{$_} || {} } } qw(headers get get_a post post_a cookies);
    return _say( $cgi, plain_reply() );
}

# So many bytes for whoever does not read them.
sub _reply_large {
    my ( $cgi, $bytes ) = @_;
    $cgi->header( { 'Content-Length' => $bytes } );
    $cgi->print( 'x' x 65_536 ) for 1 .. $bytes / 65_536;
    return;
}

# In pieces that are sent one by one.
sub _reply_pieces {
    my ( $cgi, $count ) = @_;
    $cgi->header;
    $cgi->print('x') for 1 .. $count;
    return;
}

# Asks to be told of each piece.
sub _reply_waits {
    my ( $cgi, $count ) = @_;
    $cgi->header;
    my $on_sent = sub { };
    for ( 1 .. $count ) {
        $cgi->print('x');
        $cgi->flush_wait($on_sent);
    }
    return;
}

# What came, counted.
sub _reply_form {
    my ($cgi) = @_;
    my ( $fields, $field_bytes ) =
      _count( $cgi->{post_a}, sub { length( $_[0] // q{} ) } );
    my ( $files, $file_bytes ) = _count( $cgi->{file_a}, sub { -s $_[0]{path} } );
    return _say( $cgi,
        Hostile::Target->form_reply( $fields, $field_bytes, $files, $file_bytes ) );
}

# What a query brings.
sub _reply_query {
    my ($cgi) = @_;
    my ( $fields, $bytes ) = _count( $cgi->{get_a}, sub { length( $_[0] // q{} ) } );
    my $last = scalar keys %{ $cgi->{get} };
    return _say( $cgi, "$fields of $bytes, $last names" );
}

sub _reply_cookies {
    my ($cgi) = @_;
    my $count = keys %{ $cgi->{cookies} };
    return _say( $cgi, "$count cookies" );
}

# How many headers it is known under their names in capitals.
sub _reply_headers {
    my ($cgi) = @_;
    my $count = grep { /\AHTTP_X/ && !/-/ } keys %{ $cgi->{headers} };
    return _say( $cgi, "$count headers" );
}

# The digests of what was uploaded, for those who know them.
sub _reply_digest {
    my ($cgi) = @_;
    my @digests;
    for my $file ( map { @{$_} } values %{ $cgi->{file_a} } ) {
        open my $handle, '<:raw', $file->{path} or die "$file->{path}: $!\n";
        push @digests, Digest::MD5->new->addfile($handle)->hexdigest;
    }
    return _say( $cgi, "@digests" );
}

sub _count {
    my ( $lists, $measure ) = @_;
    my ( $count, $bytes )   = ( 0, 0 );
    for my $list ( values %{$lists} ) {
        $count += @{$list};
        $bytes += $measure->($_) for @{$list};
    }
    return ( $count, $bytes );
}

sub _say {
    my ( $cgi, $text ) = @_;
    $cgi->header;
    $cgi->print($text);
    return;
}

1;
