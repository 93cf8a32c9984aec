package Soak::Listeners;

# The listeners of the application: one of each kind that `listen` takes, some of which
# are stopped and started while clients come.

use strict;
use warnings;

use EV;
use HTTP::Server::EV;
use IO::Socket::INET;

use Soak::Application qw(answer);
use Soak::State       qw(after between count);
use Soak::Uploads     qw(reading_callbacks receiving_callbacks);

my ( %listeners, @addresses );

# Those that nobody else uses any more; how many there were, and may be.
my ( %replaceable, $made, $most );

# So long a stopped listener waits for its clients, and they for it.
my $SECONDS = 0.3;

# What the impatient listener allows: see Soak::Refusals.
my %NARROW = (
    error_responses     => 1,
    header_timeout      => 0.4,
    keepalive           => 0.4,
    timeout             => 0.4,
    write_timeout       => 2,
    max_body_size       => 100_000,
    max_field_value     => 1000,
    max_file_size       => 20_000,
    max_files           => 3,
    max_header_line     => 1000,
    max_headers         => 20,
    max_parts           => 6,
    max_uri             => 500,
    max_urlencoded_body => 5000,
    max_connections     => 200,
);

# Opens them all. Returns what clients are to know of each: its name, address and what
# may happen to it.
sub open_all {
    my ( $directory, $most_listeners ) = @_;
    $most = $most_listeners;
    add( steady => '127.0.0.1:0', {}, {} );
    add( paused => 'localhost:0', {}, { pauses => 1 } );
    add(
        unix => "unix:$directory/soak.sock",
        { on_file_write => undef }, { pauses => 1 }
    );
    add( impatient => brought(), \%NARROW, { is_narrow => 1 } );
    my $handle = brought();
    add( descriptor => { fd => fileno $handle }, { plus_as_space => 1 }, {} );
    add( threads    => brought(),                { threading => 1 }, { threads => 1 } )
      if eval { require Coro::EV };
    add( six => '[::1]:0', {}, { pauses => 1 } ) if has_ipv6();

    Soak::Application::grants(
        pause   => sub { pause( $_[0]->get('name')->[0] ) },
        replace => sub { replace($directory) },
        retire  => sub { retire( $_[0]->get('name')->[0] ) },
    );
    return @addresses;
}

# Opens one: its name, what listen takes as an address, options, and traits for clients.
sub add {
    my ( $name, $address, $options, $traits ) = @_;
    my %callbacks =
      exists $options->{on_file_write} ? receiving_callbacks() : reading_callbacks();
    my %options = ( body_methods => [qw(POST PATCH)], %callbacks, %{$options} );
    delete $options{on_file_write} if exists $options->{on_file_write};
    $options{on_drained} = sub { count('listeners drained') };
    my $listener = HTTP::Server::EV->listen( $address, \&answer, \%options );
    $listeners{$name} = $listener;
    push @addresses,
      { name => $name, address => address_of( $name, $listener ), %{$traits} };
    return $listener;
}

sub listener { return $listeners{ $_[0] } }

# A worker serves one of them.
sub stop_others {
    my ($name) = @_;
    $listeners{$_}->stop for grep { $_ ne $name } keys %listeners;
    return;
}

# Accepts nobody for a while: until its clients are served, or some time has gone. Where
# it starts before they are, what was given to stop is called after a later stop.
sub pause {
    my ($name) = @_;
    my $listener = $listeners{$name};
    return 'is stopped' if $listener->{stopped};
    count('listeners stopped');
    my $is_over;
    my $start = sub {
        my ($how) = @_;
        return if $is_over++;
        $listener->start;
        count("listeners started $how");
    };
    $listener->stop( rand() < 0.7 ? sub { $start->('when drained') } : () );
    after( between($SECONDS), sub { $start->('before that') } );
    return 'stopped';
}

# A new listener, for one client. A listener keeps its descriptor and its memory as long as
# the process lives, so that there are only so many.
sub replace {
    my ($directory) = @_;
    return 'none' if $made++ >= $most;
    my $name = "replaceable-$made";
    add( $name => "unix:$directory/$name.sock", {}, {} );
    pop @addresses;
    $replaceable{$name} = 1;
    return address_of( $name, $listeners{$name} );
}

sub retire {
    my ($name) = @_;
    return 'unknown' if !delete $replaceable{$name};
    count('listeners retired');
    $listeners{$name}->stop( sub { count('listeners retired and drained') } );
    return 'retired';
}

# Each holds two descriptors: the server's, and the handle in the object.
sub number_made { return $made // 0 }

sub addresses { return @addresses }

sub address_of {
    my ( $name, $listener ) = @_;
    my $port = $listener->{port};
    return $port         if $port =~ /\Aunix:/;
    return "[::1]:$port" if $name eq 'six';
    return "127.0.0.1:$port";
}

sub brought {
    return IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1024 )
      || die "Cannot listen: $@";
}

sub has_ipv6 {
    require IO::Socket::IP;
    return !!IO::Socket::IP->new( LocalHost => '::1', LocalPort => 0, Listen => 1 );
}

1;
