package Soak::Scenarios;

# What a client does with its connections, at random; and whether what comes back is right.
# Whatever is not ends in an exception.

use strict;
use warnings;

use Exporter qw(import);

use Soak::Connection ();
use Soak::Content    qw(reversed);
use Soak::Refusals   qw(malformed narrow);
use Soak::Requests   qw(any_of ask length_up_to random_request);

our @EXPORT_OK = qw(counted play);

# How often each is played; it is called with the address of a listener.
my %SCENARIOS = (
    ask         => [ 6,  \&play_ask ],
    broken      => [ 6,  \&play_broken ],
    crowd       => [ 3,  \&play_crowd ],
    curl        => [ 1,  \&play_curl ],
    cut         => [ 14, \&play_cut ],
    endless     => [ 2,  \&play_endless ],
    expect      => [ 6,  \&play_expect ],
    gone        => [ 6,  \&play_gone ],
    half_closed => [ 6,  \&play_half_closed ],
    kept        => [ 14, sub { exchange( $_[0], 0, some_requests( $_[0] ) ) } ],
    narrow      => [ 4,  \&play_narrow ],
    old         => [ 4,  \&play_old ],
    pipelined   =>
      [ 10, sub { exchange( $_[0], 1, some_requests( $_[0], is_small => 1 ) ) } ],
    single      => [ 14, \&play_single ],
    slow        => [ 5,  \&play_slow ],
    slow_reader => [ 4,  \&play_slow_reader ],
    upgrade     => [ 3,  \&play_upgrade ],
);
my @SCENARIOS = map { ($_) x $SCENARIOS{$_}[0] } sort keys %SCENARIOS;

# So often a request is sent again that met the stop of a listener.
my $MOST_TRIES = 50;

my ( %count, @addresses, $directory );

# play( $addresses, $directory ): plays one, and returns its name and listener, and what was
# wrong with it.
sub play {
    my ( $addresses, $files ) = @_;
    @addresses = @{$addresses};
    $directory = $files;
    my $name    = any_of(@SCENARIOS);
    my $address = $name eq 'narrow' ? named('impatient') : any_address();
    my $played  = eval { $SCENARIOS{$name}[1]->($address); 1 };
    my $error   = $played ? undef : $@;
    $count{"played $name"}++;

    # A worker was killed, and its clients with it.
    if ( $address->{cuts} && defined $error && $error =~ /No reply|Cut off/ ) {
        $count{'cut off by a killed worker'}++;
        undef $error;
    }
    return ( "$name at $address->{name}", $error );
}

sub counted { return { %count, %Soak::Connection::count } }

# --- Scenarios --------------------------------------------------------------------

# Something that is asked of the server as a whole.
sub play_ask {
    my %wishes = (
        end_worker => sub { told_by( end_worker => any_of(qw(killed retired)) ) },
        pause      => sub { told_by( pause      => any_of( pausing() ) ) },
        replace    => \&use_new_listener,
        switch     => sub { told_by('switch') },
    );
    return $wishes{ any_of( sort keys %wishes ) }->();
}

# Bytes that are no request are refused, and the connection is closed.
sub play_broken {
    my ($address) = @_;
    my ( $bytes, $status ) = malformed();
    return refused( $address, $bytes, $status );
}

# Many clients at a time.
sub play_crowd {
    my ($address) = @_;
    $address = named('steady') if is_loose($address);
    my @clients = map {
        {
            connection => Soak::Connection->to( $address->{address} ),
            request    => random_request( $address, is_small => 1 )
        }
    } 1 .. 20;
    $_->{connection}->send( $_->{request}{bytes} ) for @clients;
    right_reply( $address, @{$_}{qw(connection request)} ) for @clients;
    return;
}

# A client that others have written.
sub play_curl {
    my $address = named('steady');
    my $request = random_request( $address, is_small => 1 );
    return if !defined $request->{body};
    my $path = "$directory/curl-$$";
    open my $file, '>:raw', $path or die "$path: $!\n";
    print {$file} $request->{body};
    close $file or die "$path: $!\n";
    my ($target) = $request->{head} =~ /\A\S+ (\S+)/;
    my @command = (
        qw(curl --silent --max-time 30 --request), $request->{method},
        '--header',                                "Content-Type: $request->{type}",
        '--header',                                "X-Token: $request->{token}",
        '--cookie',                                'a=b; c=d',
        '--data-binary',                           "\@$path",
        "http://$address->{address}$target"
    );
    open my $curl, '-|:raw', @command or return;
    local $/ = undef;
    my $text = readline $curl;
    close $curl;
    unlink $path;
    $count{curl}++;
    return compare( 'curl', $text // q{}, $request->{text} );
}

# A client that goes away in the middle of what it sends: anywhere, and in any way.
sub play_cut {
    my ($address) = @_;
    my @requests = map { random_request( $address, is_small => $_ < 3 ) } 1 .. 1 + rand 3;
    my $bytes    = join q{}, map { $_->{bytes} } @requests;
    my $length   = rand() < 0.3 ? length_up_to( length $bytes ) : int rand length $bytes;
    my $connection = Soak::Connection->to( $address->{address} );
    my $send       = any_of(qw(send send send_slowly));
    $connection->$send( substr $bytes, 0, $length );
    my $way = any_of(qw(close reset shutdown));
    $connection->leave($way);
    return if $way ne 'shutdown';

    while ( @requests && $length >= length $requests[0]{bytes} ) {
        my $request = shift @requests;
        $length -= length $request->{bytes};
        return if !right_reply( $address, $connection, $request );
    }
    my $rest   = $connection->response;
    my $status = $rest->{status} // 'none';
    die "Status $status for a request that was cut\n"
      if $status !~ /\A(?:none|400|408)\z/;
    return;
}

# A reply without end, to a client that ends it.
sub play_endless {
    my ($address) = @_;
    my $connection = Soak::Connection->to( $address->{address} );
    $connection->send("GET /soak?id=1&reply=endless HTTP/1.1\r\nHost: soak\r\n\r\n");
    eval { $connection->read_until(qr/x{100}/) } or is_loose($address) or die $@;
    return $connection->leave( any_of(qw(close reset)) );
}

sub play_expect {
    my ($address) = @_;
    my $request;
    until ( $request && length( $request->{body} // q{} ) && !$request->{act} ) {
        $request = random_request( $address, is_last => 1, expects => 1 );
    }
    return single( $address, $request )
      if is_loose($address) || $request->{method} eq 'PUT';
    my $connection = Soak::Connection->to( $address->{address} );
    $connection->send( $request->{head} );
    $connection->read_until(qr{\AHTTP/1.1 100 [^\r\n]*\r\n\r\n});
    $connection->send( $request->{tail} );
    return right_reply( $address, $connection, $request );
}

# A client that goes away while it is answered.
sub play_gone {
    my ($address)  = @_;
    my $connection = Soak::Connection->to( $address->{address}, narrow => 1 );
    my $request    = random_request( $address, is_last => 1 );
    $connection->send( $request->{bytes} );
    $connection->read_slowly( rand length( $request->{text} // q{} ) );
    return $connection->leave( any_of(qw(close reset)) );
}

# A client that has ended its sending side still gets its reply.
sub play_half_closed {
    my ($address) = @_;
    return single( $address, random_request( $address, is_last => 1 ), 'shutdown' );
}

# More than the impatient listener allows.
sub play_narrow {
    my ($address) = @_;
    my ( $bytes, $status ) = narrow();
    return refused( $address, $bytes, $status );
}

sub play_old {
    my ($address) = @_;
    return single( $address, random_request( $address, is_last => 1, is_old => 1 ) );
}

sub play_single {
    my ($address) = @_;
    return single( $address, random_request( $address, is_last => 1 ) );
}

sub play_slow {
    my ($address) = @_;
    $address = named('steady') if is_loose($address);
    my $request    = random_request( $address, is_last => 1 );
    my $connection = Soak::Connection->to( $address->{address} );
    $connection->send_slowly( $request->{bytes} );
    return right_reply( $address, $connection, $request );
}

sub play_slow_reader {
    my ($address) = @_;
    $address = named('steady') if is_loose($address);
    my $request    = random_request( $address, is_last => 1 );
    my $connection = Soak::Connection->to( $address->{address}, narrow => 1 );
    $connection->send( $request->{bytes} );
    $connection->read_slowly( rand length( $request->{text} // q{} ) );
    return right_reply( $address, $connection, $request );
}

# Another protocol on the socket that the application was given.
sub play_upgrade {
    my ($address) = @_;
    $address = named('steady') if is_loose($address);
    my $connection = Soak::Connection->to( $address->{address} );
    my @lines      = map { 'line ' . 'x' x length_up_to(10_000) . $_ } 1 .. 5;
    my $early      = "$lines[0]\n";
    $connection->send( "GET /soak?id=1&reply=upgraded HTTP/1.1\r\nHost: soak\r\n"
          . "Connection: upgrade\r\nUpgrade: reverse\r\n\r\n" );
    my $response = $connection->response;
    die "Status $response->{status} for an upgrade\n" if $response->{status} ne '101';
    $connection->send($early);
    $connection->send("$_\n") for @lines[ 1 .. $#lines ];
    my $expected = join q{}, map { reversed($_) . "\n" } @lines;
    $connection->read_until(qr/\A(?:[^\n]*\n){5}\z/);
    compare( 'the other protocol', $connection->{received}, $expected );
    return $connection->leave( any_of(qw(close reset)) );
}

# --- What they are made of --------------------------------------------------------

# One after the other, or all ahead, on a connection that is kept; and on another one for what
# the end of a connection has left over.
sub exchange {
    my ( $address, $is_ahead, @requests ) = @_;
    my $tries = 0;
    while (@requests) {
        my $connection = Soak::Connection->to( $address->{address} );
        $connection->send( join q{}, map { $_->{bytes} } @requests ) if $is_ahead;
        my $is_open = 1;
        while ( @requests && $is_open ) {
            my $request = $requests[0];
            $connection->send( $request->{bytes} ) if !$is_ahead;
            my $response = response_to( $connection, $request );
            if ( may_have_met_a_stop( $address, $request, $response ) ) {
                die "No reply, $tries times\n" if $tries++ > $MOST_TRIES;
                last;
            }
            check( $address, $request, $response );
            shift @requests;
            $is_open = !is_closing($response);
        }
        $connection->leave('close');
    }
    return;
}

# A request on a connection of its own, which it may end.
sub single {
    my ( $address, $request, $way ) = @_;
    for ( 0 .. $MOST_TRIES ) {
        my $connection = Soak::Connection->to( $address->{address} );
        $connection->send( $request->{bytes} );
        $connection->leave($way) if $way;
        return                   if right_reply( $address, $connection, $request );
    }
    die "No reply, $MOST_TRIES times\n";
}

# Reads the reply and sees that it is right; false for none, where that may be.
sub right_reply {
    my ( $address, $connection, $request ) = @_;
    my $response = response_to( $connection, $request );
    return 0 if may_have_met_a_stop( $address, $request, $response );
    check( $address, $request, $response );
    return 1;
}

# Of a request that is dropped at any time, the reply may be cut: then it is none.
sub response_to {
    my ( $connection, $request ) = @_;
    my $response = eval { $connection->response( to => $request->{method} ) };
    return $response         if $response;
    return { headers => {} } if $request->{uncertain} && $@ =~ /\ACut off/;
    die described($request) . ": $@";
}

# The stop of a listener closes connections that are at no request.
sub may_have_met_a_stop {
    my ( $address, $request, $response ) = @_;
    return 0 if $response->{status} || !$request->{status} || $request->{uncertain};
    return 0 if !$address->{pauses};
    $count{'sent again after a stop'}++;
    return 1;
}

sub check {
    my ( $address, $request, $response ) = @_;
    eval { check_reply(@_); 1 }
      or die described($request) . ": $@";
    return;
}

sub check_reply {
    my ( $address, $request, $response ) = @_;
    my $status = $response->{status} // 'none';
    my $right  = $request->{status}  // 'none';
    return                               if $status eq 'none' && $request->{uncertain};
    die "No reply, but $right was due\n" if $status eq 'none' && $right ne 'none';
    die "Status $status instead of $right\n" if $status ne $right;
    if ( $right eq 'none' ) {
        $count{'refused as asked'}++;
        return;
    }
    if ( may_be_cut( $address, $request, $response ) ) {
        $right = substr $request->{text}, 0, length $response->{body};
        return compare( 'the reply that may be cut', $response->{body}, $right );
    }
    compare( 'the reply', $response->{body}, $request->{text} );
    check_head( $address, $request, $response );
    $count{'replies checked'}++;
    $count{'body bytes checked'} += length $response->{body};
    $count{"reply $request->{reply}"}++;
    return if !$request->{files};
    $count{'uploads checked'}++;
    $count{'files checked'}      += @{ $request->{files} };
    $count{'file bytes checked'} += length $_->{content} for @{ $request->{files} };
    return;
}

# Of a reply that ends with its connection nobody sees that the worker was killed meanwhile.
sub may_be_cut {
    my ( $address, $request, $response ) = @_;
    return 0 if defined $response->{headers}{'content-length'};
    return 1 if $request->{uncertain};
    return $address->{cuts} && !$response->{headers}{'transfer-encoding'};
}

sub check_head {
    my ( $address, $request, $response ) = @_;
    die "No cookie\n"
      if $request->{reply} eq 'cookies'
      && ( $response->{headers}{'set-cookie'} // q{} ) !~ /\Asoaked=yes;/;
    die "Closed for no reason\n"
      if is_closing($response)
      && !$request->{closes}
      && !$request->{uncertain}
      && !$address->{pauses};
    return;
}

sub compare {
    my ( $what, $is, $right ) = @_;
    return if $is eq $right;
    my $at = 0;
    $at++ while substr( $is, $at, 1 ) eq substr( $right, $at, 1 ) && $at < length $is;
    my @lengths = map { length } $is, $right;
    my @pieces  = map { substr( $_, $at, 60 ) =~ s/[^ -~]/./gr } $is, $right;
    die
"Wrong byte $at of $what, $lengths[0] instead of $lengths[1]: $pieces[0] | $pieces[1]\n";
}

sub described {
    my ($request) = @_;
    return join q{ }, map { "$_=$request->{$_}" }
      grep { defined $request->{$_} } qw(id method reply size read act);
}

sub is_closing { return ( $_[0]{headers}{connection} // q{} ) =~ /\bclose\b/i }

# Whether its connections may end at any time.
sub is_loose { return $_[0]{pauses} || $_[0]{cuts} || $_[0]{is_narrow} }

# Bytes that have to be refused with this status.
sub refused {
    my ( $address, $bytes, $status ) = @_;
    my $connection = Soak::Connection->to( $address->{address} );
    $connection->send($bytes);
    my $is = $connection->response->{status} // 'none';
    return if $is eq 'none' && $address->{pauses};
    die "Status $is instead of $status for " . substr( $bytes, 0, 200 ) =~
      s/[^ -~]/./gr . "\n"
      if $is ne $status;
    $connection->leave('close');
    $count{'refusals checked'}++;
    return;
}

sub some_requests {
    my ( $address, %option ) = @_;
    my @requests = map { random_request( $address, %option ) } 1 .. 1 + rand 8;
    $requests[-1] = random_request( $address, %option, is_last => 1 );
    return @requests;
}

sub any_address {
    return any_of( grep { !$_->{is_narrow} } @addresses, ( named('steady') ) x 4 );
}

sub named {
    my ($name) = @_;
    return ( grep { $_->{name} eq $name } @addresses )[0];
}

sub pausing {
    return map { $_->{name} }
      grep { $_->{pauses} && $_->{name} !~ /\A(?:killed|retired)\z/ } @addresses;
}

sub told_by {
    my ( $wish, $name ) = @_;
    my $connection = Soak::Connection->to( named('steady')->{address} );
    $connection->send( ask( $wish, $name ) );
    my $response = $connection->response;
    die "Status for $wish\n" if ( $response->{status} // 'none' ) ne '200';
    $connection->leave('close');
    return $response->{body};
}

# A listener of one's own, which is stopped then.
sub use_new_listener {
    my $address = told_by('replace');
    return if $address eq 'none';
    my ($name) = $address =~ /(replaceable-[0-9]+)/;
    my $own = { name => $name, address => $address };
    exchange( $own, 0, some_requests($own) ) for 1 .. 3;
    my $answer = told_by( retire => $name );
    die "Told '$answer' for the end of a listener\n" if $answer ne 'retired';
    return;
}

1;
