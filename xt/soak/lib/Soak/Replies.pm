package Soak::Replies;

# Every way of answering a request that there is, by the name that the client asks for:
# each is called with the request object and the text of the reply.

use strict;
use warnings;

use EV;
use Errno      qw(EAGAIN);
use POSIX      ();
use Exporter   qw(import);
use IO::Select ();
use Symbol     qw(gensym);

use Soak::Content qw(large_pieces reversed);
use Soak::State   qw(after between count keep watch);

our @EXPORT_OK = qw(reply_by);

my $TRUE = '/bin/true';

# Loops within loops.
our $depth = 0;
my $MOST_DEPTH = 3;

my %REPLIES = (
    attached => sub {
        my ( $cgi, $text ) = @_;
        $cgi->attach(*STDOUT);
        $cgi->header;
        print $text;
    },
    child => sub {
        my ( $cgi, $text ) = @_;
        my $socket = copy_of($cgi) or return;
        forked( sub { print_to( $socket, whole($text) ) } );
    },
    chunks => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header( { 'Transfer-Encoding' => 'chunked' } );
        $cgi->{buffer}->printf( "%x\r\n%s\r\n", length, $_ ) for unpack '(a1000)*', $text;
        $cgi->print("0\r\n\r\n");
    },
    closed => sub {
        my ( $cgi, $text ) = @_;
        plain( $cgi, $text );
        $cgi->close;
        $cgi->close;
        keep($cgi);
    },
    cookies => sub {
        my ( $cgi, $text ) = @_;
        $cgi->set_cookies( { soaked => 'yes' }, 60 );
        plain( $cgi, $text );
    },
    copied => sub {
        my ( $cgi, $text ) = @_;
        my $socket = copy_of($cgi) or return;
        print_to( $socket, whole($text) );
        close $socket;
    },
    dies => sub {
        my ( $cgi, $text ) = @_;
        plain( $cgi, $text );
        die_planned();
    },
    dropped => sub { $_[0]->drop },
    endless => sub {
        my ($cgi) = @_;
        $cgi->header;
        my $goes_on = 1;
        $cgi->{buffer}{onerror} = sub { $goes_on = 0; count('clients gone') };
        endless( $cgi, \$goes_on );
    },
    executed => sub {
        my ( $cgi, $text ) = @_;
        forked( sub { exec $TRUE }, sub { plain( $cgi, $text ) } );
    },
    handle => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header;
        print { $cgi->buffer } $text;
    },
    hints => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header( { STATUS => '103 Early Hints', Link => '</style.css>' } );
        plain( $cgi, $text );
    },
    kept => sub {
        my ( $cgi, $text ) = @_;
        plain( $cgi, $text );
        $cgi->flush;
        keep($cgi);
    },
    large => sub {
        my ( $cgi, $text ) = @_;
        plain( $cgi, $text );
        $cgi->print($_) for large_pieces( $cgi->get('id')->[0] );
    },
    late => sub {
        my ( $cgi, $text ) = @_;
        after( between(0.02), sub { plain( $cgi, $text ) } );
    },
    length => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header( { 'Content-Length' => length $text } );
        $cgi->print($text);
    },
    nested => sub {
        my ( $cgi, $text ) = @_;
        run_nested();
        plain( $cgi, $text );
    },
    next => sub {
        my ( $cgi, $text ) = @_;
        plain( $cgi, $text );
        leave($cgi) for 1 .. 2;
        $cgi->print('never');
    },
    no_content => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header( { STATUS => '204 No Content' } );
        $cgi->print($text);
    },
    nothing => sub { },
    parked  => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header;
        my $half = int( length($text) / 2 );
        $cgi->print( substr $text, 0, $half );
        $cgi->flush_wait;
        my $rouse = Coro::rouse_cb();
        after( between(0.02), $rouse );
        Coro::rouse_wait($rouse);
        $cgi->print( substr $text, $half );
    },
    pieces => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header;
        print_pieces( $cgi, $text );
    },
    plain   => \&plain,
    printed => sub {
        my ( $cgi, $text ) = @_;
        $cgi->print( whole($text) );
    },
    socket => sub {
        my ( $cgi, $text ) = @_;
        my $socket = eval { $cgi->fh } or return;
        print_to( $socket, whole($text) );
    },
    system => sub {
        my ( $cgi, $text ) = @_;
        count('forks');
        $cgi->header;
        $cgi->print($text) if system($TRUE) == 0;
    },
    tied => sub {
        my ( $cgi, $text ) = @_;
        my $handle = gensym;
        tie *{$handle}, $cgi->{buffer};
        $cgi->header;
        print {$handle} $text;
        no warnings 'untie';
        untie *{$handle};
    },
    upgraded => sub {
        my ($cgi) = @_;
        $cgi->header( { STATUS => '101 Switching Protocols', Upgrade => 'reverse' } );
        $cgi->flush_wait( sub { serve_reverse( $cgi->{buffer}->give_up_handle ) } );
    },
    waits => sub {
        my ( $cgi, $text ) = @_;
        $cgi->header;
        my $half = int( length($text) / 2 );
        $cgi->print( substr $text, 0, $half );
        $cgi->flush_wait( sub { $cgi->print( substr $text, $half ) } );
    },
);

sub reply_by { return $REPLIES{ $_[0] } }

# Counted before, as the run counts the warnings.
sub die_planned {
    count('exceptions');
    die "as planned in $$\n";
}

# A handle on the socket, unless the request was dropped meanwhile.
sub copy_of {
    my ($cgi) = @_;
    my $handle = gensym;
    return $handle if eval { $cgi->copy($handle) };
    die $@         if $@ !~ /\ACan`t attach socket handle at /;
    return;
}

# Forks; the child does its work and ends, then the parent goes on.
sub forked {
    my ( $work, $then ) = @_;
    count('forks');
    defined( my $pid = fork ) or die "fork: $!";
    if ( !$pid ) {
        $work->();
        POSIX::_exit(0);
    }
    watch(
        sub {
            my ($done) = @_;
            EV::child( $pid, 0, sub { $done->(); $then && $then->() } );
        }
    );
    return;
}

sub run_nested {
    return if $depth >= $MOST_DEPTH;
    count('nested loops');
    local $depth = $depth + 1;
    EV::run( EV::RUN_NOWAIT() );
    return;
}

# Prints until the client has gone.
sub endless {
    my ( $cgi, $goes_on ) = @_;
    return $cgi->close if !${$goes_on};
    $cgi->print( 'x' x 10_000 );
    $cgi->flush_wait(
        sub {
            after( 0.01, sub { endless( $cgi, $goes_on ) } );
        }
    );
    return;
}

sub is_nested { return $depth > 0 }

sub leave { $_[0]->next }

sub plain {
    my ( $cgi, $text ) = @_;
    $cgi->header;
    $cgi->print($text);
    return;
}

sub print_pieces {
    my ( $cgi, $text ) = @_;
    return if !length $text;
    my $piece = substr $text, 0, 1 + rand 30_000, q{};
    $cgi->print($piece);
    $cgi->flush if rand() < 0.8;
    after( between(0.005), sub { print_pieces( $cgi, $text ) } );
    return;
}

# All of it to a socket that does not block.
sub print_to {
    my ( $socket, $bytes ) = @_;
    while ( length $bytes ) {
        my $count = syswrite $socket, $bytes;
        return if !defined $count && $! != EAGAIN;
        substr $bytes, 0, $count, q{} if $count;
        IO::Select->new($socket)->can_write(10) if !$count;
    }
    return;
}

# Another protocol: each line comes back from its end to its beginning.
sub serve_reverse {
    my ($socket) = @_;
    return if !$socket;
    my $unread = q{};
    watch(
        sub {
            my ($done) = @_;
            EV::io(
                $socket,
                EV::READ(),
                sub {
                    my $count = sysread $socket, $unread, 65_536, length $unread;
                    return if !defined $count && $! == EAGAIN;
                    if ( !$count ) {
                        close $socket;
                        return $done->();
                    }
                    print_to( $socket, reversed($1) . "\n" )
                      while $unread =~ s/\A(.*)\n//;
                }
            );
        }
    );
    return;
}

# A reply as it is on the wire, of an application that writes it itself.
sub whole {
    my ($text) = @_;
    return
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
      . length($text)
      . "\r\n\r\n$text";
}

1;
