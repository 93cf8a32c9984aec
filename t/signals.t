#!/usr/bin/env perl
# Signals without a pause while uploads run: calls that they interrupt are made again, perl's
# handlers run on perl's thread and between its operations, and every file is whole.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Config     qw(%Config);
use IO::Select ();
use POSIX      ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

my $UPLOADS = $ENV{UNDER_VALGRIND} ? 4 : 24;
my @SIGNALS = qw(USR1 CHLD ALRM WINCH);

my %NUMBER;
@NUMBER{ split q{ }, $Config{sig_name} } = split q{ }, $Config{sig_num};
my $CONTENT = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 600_000;
my $PART    = { name => 'file', file_name => 'f', content => $CONTENT };
my $DIGEST  = sha256_hex($CONTENT);

for my $backend ( backends() ) {
    for my $restart ( 0, 1 ) {
        subtest "$backend, " . ( $restart ? 'with' : 'without' ) . ' SA_RESTART' => sub {
            pipe my $handled, my $tell or die "pipe: $!";
            my $server = TestServer->start( sub { serve( $_[0], $restart, $tell ) },
                backend => $backend );
            is $server->upload($PART)->{body}, $DIGEST, 'before';
            my $storm   = begin_storm( $server->pid, $handled );
            my @digests = map { $server->upload($PART)->{body} } 1 .. $UPLOADS;
            is_deeply \@digests, [ ($DIGEST) x $UPLOADS ], 'every file is whole';
            kill TERM => $storm;
            waitpid $storm, 0;

            my %handled = split q{ }, $server->request( GET => '/handled' )->{body};
            is_deeply [ sort grep { $handled{$_} } keys %handled ],
              [ sort @SIGNALS ],
              join q{ }, 'handled:', %handled;
            ok $server->await_files(0), 'no file is left';
            $server->stop;
        };
    }
}

done_testing;

# A process that sends all of them again and again, until it is ended: the next when they were
# handled or have got lost, as perl dies of more than 120 within one operation.
sub begin_storm {
    my ( $pid, $handled ) = @_;
    defined( my $storm = fork ) or die "fork: $!";
    return $storm if $storm;
    local $SIG{TERM} = 'DEFAULT';
    my $select = IO::Select->new($handled);
    while ( kill 0 => $pid ) {
        kill $_ => $pid for @SIGNALS;
        sysread $handled, my $told, 4096 if $select->can_read(0.02);
    }
    POSIX::_exit(0);
}

sub serve {
    my ( $test, $restart, $tell ) = @_;
    my %handled = map { $_ => 0 } @SIGNALS;
    for my $name (@SIGNALS) {
        my $handler = sub { $handled{$name}++; syswrite $tell, q{.} if $name eq 'WINCH' };
        my $action  = POSIX::SigAction->new( $handler, POSIX::SigSet->new,
            $restart ? POSIX::SA_RESTART() : 0 );
        $action->safe(1);
        POSIX::sigaction( $NUMBER{$name}, $action ) or die "sigaction: $!";
    }
    $test->listen(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            my ($file) = @{ $cgi->file('file') };
            $cgi->print(
                $file
                ? digest( $file->path )
                : join q{ }, %handled
            );
        }
    );
    return;
}

# In pieces: perl dies of more than 120 signals within one operation.
sub digest {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    my $digest = Digest::SHA->new(256);
    while ( read $file, my $piece, 65_536 ) {
        $digest->add($piece);
    }
    return $digest->hexdigest;
}
