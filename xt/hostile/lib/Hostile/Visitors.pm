package Hostile::Visitors;

# Normal clients while a server is attacked: a process of its own that asks for pages and
# uploads files, checks each reply, and measures how long it took.

use strict;
use warnings;

use Carp        qw(croak);
use Digest::MD5 qw(md5_hex);
use IO::Select  ();
use JSON::PP    ();
use Time::HiRes qw(sleep time);

use TestServer qw(kept_request_bytes multipart multipart_type request_bytes upload_bytes);
use TestServer::Client;

use Hostile::Target;

# Seconds between two requests, and of how many one is an upload.
my $PACE    = 0.01;
my $UPLOADS = 10;

my $CONTENT = join q{}, map { chr( ( $_ * 37 + $_ / 256 ) % 256 ) } 1 .. 100_000;
my $DIGEST = md5_hex($CONTENT);
my $UPLOAD = upload_bytes( { name => 'f', content => $CONTENT, file_name => 'a.bin' } ) =~
  s{/}{/digest}r;
my $PAGE = kept_request_bytes( GET => q{/} );

# They begin at once, in the phase 'before'.
sub start {
    my ( $class, $port ) = @_;
    pipe my $orders,  my $to_child  or croak "pipe: $!";
    pipe my $answers, my $to_parent or croak "pipe: $!";
    pipe my $served,  my $on_served or croak "pipe: $!";
    my $pid = fork // croak "fork: $!";
    if ( !$pid ) {
        close $to_child;
        close $answers;
        my $visits = eval { _visit( $port, $orders, $on_served ) }
          || { breach => [ $@ || 'no visit' ] };
        print {$to_parent} JSON::PP->new->encode($visits);
        close $to_parent;
        require POSIX;
        POSIX::_exit(0);
    }
    $to_child->autoflush(1);
    close $_ for $to_parent, $on_served;
    return bless {
        pid     => $pid,
        orders  => $to_child,
        answers => $answers,
        served  => IO::Select->new($served)
    }, $class;
}

# From now on the visits are of another phase.
sub enter {
    my ( $self, $phase ) = @_;
    print { $self->{orders} } "$phase\n";
    return;
}

# Whether there was a visit in the phase 'under', or will be none any more.
sub have_visited { return scalar $_[0]{served}->can_read(0) }

# Ends them. Returns a hash of phases, each a hash of 'pages' and 'uploads', with how many
# visits there were and the percentiles of their times in milliseconds; and the list of what
# was wrong.
sub end {
    my ($self) = @_;
    $self->enter('end');
    local $/ = undef;
    my $visits = JSON::PP->new->decode( readline $self->{answers} );
    waitpid $self->{pid}, 0;
    my @breaches = @{ delete( $visits->{breach} ) || [] };
    for my $kinds ( values %{$visits} ) {
        $_ = _summary( @{$_} ) for values %{$kinds};
    }
    return ( $visits, @breaches );
}

sub _summary {
    my @times   = sort { $a <=> $b } @_;
    my %summary = ( visits => scalar @times );
    $summary{$_} = 1000 * $times[ $#times * $_ / 100 ] for 50, 90, 99, 100;
    return \%summary;
}

sub _visit {
    my ( $port, $orders, $on_served ) = @_;
    my $select = IO::Select->new($orders);
    my ( $phase, $number, $kept, %visits ) = ( 'before', 0 );
    $visits{breach} = [];
    while ( $phase ne 'end' ) {
        my $began = time;
        my $kind  = ++$number % $UPLOADS ? 'pages' : 'uploads';
        my $wrong =
          eval { $kind eq 'pages' ? _get( $port, \$kept, $number ) : _upload($port); }
          // $@;
        push @{ $visits{breach} }, "$phase: $wrong" if $wrong;
        undef $kept if $wrong;
        push @{ $visits{$phase}{$kind} }, time - $began;
        close $on_served if $phase eq 'under';
        last             if @{ $visits{breach} } > 10;
        my $left = $PACE - ( time - $began );
        sleep $left if $left > 0;
        next        if !$select->can_read(0);
        sysread $orders, my $phases, 1_024 or last;
        ($phase) = $phases =~ /(\w+)\n\z/;
    }
    return \%visits;
}

# On a connection that is kept, or on one of its own; returns what is wrong, or nothing.
sub _get {
    my ( $port, $kept, $number ) = @_;
    if ( $number % 2 ) {
        my $client = TestServer::Client->new($port);
        $client->send( request_bytes( GET => q{/} ) );
        return _compare( $client->last_response, Hostile::Target->plain_reply );
    }
    ${$kept} ||= TestServer::Client->new($port);
    ${$kept}->send($PAGE);
    return _compare( ${$kept}->response, Hostile::Target->plain_reply );
}

sub _upload {
    my ($port) = @_;
    my $client = TestServer::Client->new($port);
    $client->send($UPLOAD);
    return _compare( $client->last_response, $DIGEST );
}

sub _compare {
    my ( $response, $expected ) = @_;
    my $status = $response->{status} // 'no reply';
    return q{} if $status eq '200' && $response->{body} eq $expected;
    return "$status: " . substr $response->{body} // q{}, 0, 80;
}

1;
