package Death::Client;

# A process that uploads without a pause until it is told to end, and checks each reply.

use strict;
use warnings;

use Carp        qw(croak);
use Digest::SHA qw(sha256_hex);
use IO::Select  ();
use POSIX       ();
use Time::HiRes ();

use Death::Children qw(begin_child wait_for_child);
use TestServer      qw(upload_bytes);

# What is uploaded: files that fit into one write, some that threads write the rest of, and
# some that take a while to be copied.
our @CONTENTS =
  map { pack "(A$_)*", 'x', ( 'some content ' x $_ ), "$_" } 0, 1, 500, 5_000, 100_000,
  700_000;
our %DIGESTS = map { sha256_hex($_) => 1 } @CONTENTS;

# An upload is sent in so many pieces at most.
my $PIECES = 12;

# Death::Client->start($socket, $number, @targets)
#
# Uploads to who listens on the socket. As it does not keep that itself, an upload ends where
# nobody else is left.
sub start {
    my ( $class, $socket, $number, @targets ) = @_;
    pipe my $counts,     my $counts_to or croak "pipe: $!";
    pipe my $is_to_stop, my $stop      or croak "pipe: $!";
    my $pid = begin_child(
        sub {
            srand $number;
            my $port = $socket->sockport;
            close $socket;
            my %count = ( whole => 0, broken => 0, wrong => 0 );
            my $end   = IO::Select->new($is_to_stop);
            $count{ _upload( $port, @targets ) }++ until $end->can_read(0);
            syswrite $counts_to, "@count{qw(whole broken wrong)}\n";
            POSIX::_exit(0);
        },
        $counts,
        $stop
    );
    return bless { pid => $pid, counts => $counts, stop => $stop }, $class;
}

# How many uploads were answered, were broken off, and had a wrong answer. To be called
# once.
sub stop {
    my ($self) = @_;
    print { $self->{stop} } "stop\n";
    close $self->{stop};
    my $line = readline $self->{counts};
    wait_for_child( $self->{pid} );
    croak 'A client has died' if !defined $line;
    return split q{ }, $line;
}

# One of several files, every second in no hurry; returns what became of it.
sub _upload {
    my ( $port, @targets ) = @_;
    my @files  = map { $CONTENTS[ rand @CONTENTS ] } 0 .. rand 4;
    my $target = $targets[ rand @targets ];
    my $bytes =
      upload_bytes( map { { name => 'file', file_name => 'f', content => $_ } } @files )
      =~ s{/}{$target}r;
    my $pause  = rand 2 < 1 ? 0.03 : 0;
    my $size   = 1 + int length($bytes) / $PIECES;
    my $answer = eval {
        my $client = TestServer::Client->new($port);
        for my $piece ( unpack "(a$size)*", $bytes ) {
            $client->send($piece) or last;
            Time::HiRes::sleep( rand $pause ) if $pause;
        }
        $client->last_response;
    };
    return 'broken' if !$answer || !$answer->{status};
    my $expected = join q{ }, map { sha256_hex($_) } @files;
    return $answer->{body} eq $expected ? 'whole' : 'wrong';
}

1;
