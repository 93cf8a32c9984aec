package FaultyServer;

# A server whose system calls fail, the clients that use all of it meanwhile, and what has to
# be so whatever has failed. FaultyApplication is what runs in it.

use strict;
use warnings;

use Carp        qw(croak);
use Digest::SHA qw(sha256_hex);
use Exporter    qw(import);
use File::Temp  ();
use JSON::PP    qw(decode_json encode_json);

use TestServer
  qw(chunked eventually kept_request_bytes multipart multipart_type request_bytes
  upload_bytes);

use FaultyApplication ();

our @EXPORT_OK = qw(file_part);

my $NOISE = FaultyApplication::noise();

my @MANY = (
    { name => 'a', content => 'text' },
    file_part( empty => 0 ),
    file_part( small => 5_000 ),
    { name => 'b', content => 'x' x 40_000 },
    file_part( middle => 400_000 ),
    file_part( tiny   => 1 ),
);

# What a client does; each returns what it has come to, see `outcome`.
our %SCENARIO = (
    page => sub { exchange( $_[0], request_bytes( GET => '/page' ), 'page' ) },
    kept => sub {
        my ($self) = @_;
        my $client = $self->connect;
        $client->send( kept_request_bytes( GET => '/page' ) );
        my $first = outcome( $client, 'page' );
        return $first
          if $first ne 'served' || !$client->send( request_bytes( GET => '/page' ) );
        return outcome( $client, 'page' );
    },
    large_reply => sub {
        exchange( $_[0], request_bytes( GET => '/large' ), substr $NOISE, 0, 1_000_000 );
    },
    form => sub {
        my $form = 'a=' . 'b' x 90_000;
        exchange( $_[0], form_bytes($form), sha256_hex($form) );
    },
    small   => sub { upload( $_[0], '/upload', file_part( small => 10_000 ) ) },
    large   => sub { upload( $_[0], '/upload', file_part( large => length $NOISE ) ) },
    many    => sub { upload( $_[0], '/upload', @MANY ) },
    chunked => sub {
        my ($self) = @_;
        my $body = chunked( multipart(@MANY), 7_000 );
        my %header =
          ( 'Content-Type' => multipart_type(), 'Transfer-Encoding' => 'chunked' );
        my $bytes =
          request_bytes( POST => '/upload', { %header, 'Content-Length' => undef } );
        return exchange( $self, $bytes . $body, listing(@MANY) );
    },
    save => sub {
        upload( $_[0], '/save', file_part( saved => 300_000 ), file_part( b => 10 ) );
    },
    save_one => sub { upload( $_[0], '/save', file_part( saved => 300_000 ) ) },
    head     => sub {
        my %header = map { ( "X-$_" => 'y' x 6_000 ) } 1 .. 9;
        exchange( $_[0], request_bytes( GET => '/page', \%header ), 'page' );
    },
    reopen => sub { upload( $_[0], '/reopen', file_part( again => 300_000 ) ) },
    handle => sub { exchange( $_[0], request_bytes( GET => '/handle' ), 'by handle' ) },
    fork   => sub { exchange( $_[0], request_bytes( GET => '/fork' ),   'forked' ) },
);

# FaultyServer->start($backend, %options_of_listen)
sub start {
    my ( $class, $backend, %option ) = @_;
    my $saved = File::Temp->newdir( 'saved-XXXXXXXX', TMPDIR => 1 );
    my $server =
      TestServer->start( sub { FaultyApplication::serve( $_[0], "$saved", %option ) },
        backend => $backend );
    my $self = bless { server => $server, saved => $saved }, $class;
    $SCENARIO{$_}->($self) eq 'served'
      or croak "$_ does not work"
      for sort keys %SCENARIO;
    $self->status;
    $self->{descriptors} = $server->descriptors;
    $self->{threads}     = $self->threads;
    return $self;
}

sub connect { return $_[0]{server}->connect }

sub server { return $_[0]{server} }

sub run {
    my ( $self, $scenario ) = @_;
    return $SCENARIO{$scenario}->($self);
}

# A client that has sent half of an upload.
sub begin_neighbour {
    my ($self)  = @_;
    my $content = substr $NOISE, 1_000_000, 1_600_000;
    my $bytes   = upload_bytes( file_part_of( 'neighbour', $content ) );
    $bytes =~ s{ / }{ /upload };
    $self->{neighbour} = {
        client  => $self->connect,
        rest    => $bytes,
        written => -index( $bytes, $content ),
        answer  => 'neighbour ' . length($content) . q{ } . sha256_hex($content) . "\n",
    };
    return $self->advance_neighbour(800_000);
}

# It sends so much more, and waits until that is in its file, but for what may be the
# beginning of a delimiter.
sub advance_neighbour {
    my ( $self, $length ) = @_;
    my $neighbour = $self->{neighbour};
    $neighbour->{client}->send( substr $neighbour->{rest}, 0, $length, q{} )
      or croak 'The neighbour is disconnected';
    $neighbour->{written} += $length;
    my $path = $self->{server}->tmp_path;
    eventually(
        sub {
            grep { -s "$path/$_" > $neighbour->{written} - 10 }
              $self->{server}->files_left;
        }
    ) or croak "The neighbour's file does not grow to $neighbour->{written}";
    return;
}

# And all that is left; returns what it has come to.
sub end_neighbour {
    my ($self) = @_;
    my $neighbour = delete $self->{neighbour};
    $neighbour->{client}->send( $neighbour->{rest} );
    $neighbour->{client}->shutdown;
    return outcome( $neighbour->{client}, $neighbour->{answer} );
}

# What is wrong now that nothing fails any more and the clients are gone: nothing, if it is as
# it has to be.
sub wrongs {
    my ($self) = @_;
    my $server = $self->{server};
    my $begun  = $self->{neighbour} ? 1 : 0;
    my @wrongs;
    push @wrongs, 'files: ' . join q{ }, $server->files_left
      if !$server->await_files($begun);

    my $most = $self->{descriptors} + $begun * 2;
    push @wrongs, "descriptors: $most, then " . $server->descriptors
      if !$server->await_descriptors($most);
    push @wrongs, "threads: $self->{threads}, then " . $self->threads
      if $self->threads > $self->{threads};

    my $seen = $self->status;
    push @wrongs, 'uploads: ' . encode_json($seen)
      if $seen->{begun} != $seen->{whole} + $seen->{failed} + $begun;
    opendir my $directory, "$self->{saved}" or croak "$self->{saved}: $!";
    my @saved = grep { !/\A(?:\.\.?|saved|b)\z/ } readdir $directory;
    push @wrongs, "beside what was saved: @saved" if @saved;
    return @wrongs;
}

# Ends the server, which may have warned of what had failed, and of nothing else.
sub stop {
    my ($self) = @_;
    my @warnings = (
        'HTTP::Server::EV ERROR: Can`t accept connection(?:\. Run out of |: )[^\n]*',
        'HTTP::Server::EV cannot poll: [^\n]*',
        'HTTP::Server::EV cannot serve after fork: [^\n]*',
        'HTTP::Server::EV cannot write in [^\n]*',
        'HTTP::Server::EV::IO::\w+ failed to move file [^\n]*',

        # sendfile(2) that says in the middle that it cannot.
        '\nthread [^\n]* panicked at [^\n]*/kernel_copy/[^\n]*\nassertion [^\n]*'
          . '\n *left: \d+\n *right: 0(?:\nnote: [^\n]*)?',
    );
    my $warning = join q{|}, @warnings;
    return $self->{server}->stop( stderr => qr/\A(?:(?:$warning)\n)*\z/ );
}

# What the server tells of itself.
sub status {
    my ($self) = @_;
    my $response = $self->{server}->request( GET => '/status' );
    return decode_json( $response->{body} );
}

# How often the loop has gone round in a twentieth of a second in which nobody wanted anything.
sub rounds_at_rest {
    my ($self) = @_;
    return $self->{server}->request( GET => '/rounds' )->{body};
}

sub threads {
    my ($self) = @_;
    my @threads = glob '/proc/' . $self->{server}->pid . '/task/*';
    return scalar @threads;
}

# What a request has come to: 'served', with the right answer; 'told', by an answer that says
# that the server could not; 'refused', by status 503; 'closed', without an answer; 'cut', in
# the middle of it; or else what is wrong.
sub outcome {
    my ( $client, $expected ) = @_;
    my $response = eval { $client->response };
    return $@ =~ /\ACut off/ ? 'cut' : "wrong: $@" if !$response;
    my $status = $response->{status} // return 'closed';
    return 'refused'               if $status == 503;
    return 'told'                  if $status == 500;
    return "wrong: status $status" if $status != 200;
    return $response->{body} eq $expected ? 'served' : "wrong: $response->{body}";
}

sub exchange {
    my ( $self, $bytes, $expected ) = @_;
    my $client = $self->connect;
    $client->send($bytes);
    return outcome( $client, $expected );
}

sub upload {
    my ( $self, $path, @parts ) = @_;
    my $bytes = upload_bytes(@parts);
    $bytes =~ s{ / }{ $path };
    return exchange( $self, $bytes, listing(@parts) );
}

# What the server says of these parts.
sub listing {
    my (@parts) = @_;
    return join q{}, map {
            "$_->{file_name} "
          . length( $_->{content} ) . q{ }
          . sha256_hex( $_->{content} ) . "\n"
      }
      grep { defined $_->{file_name} } @parts;
}

sub file_part {
    my ( $name, $length ) = @_;
    return file_part_of( $name, substr $NOISE, 0, $length );
}

sub file_part_of {
    my ( $name, $content ) = @_;
    return { name => 'file', file_name => $name, content => $content };
}

sub form_bytes {
    my ($form) = @_;
    return request_bytes(
        POST => '/form',
        { 'Content-Type' => 'application/x-www-form-urlencoded' }, $form
    );
}

1;
