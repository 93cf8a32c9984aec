#!/usr/bin/env perl
# Immediate handlers of signals, which perl runs in the middle of an operation (POSIX::sigaction
# without `safe`): whatever they do, the server goes on, and ends as it is told.

use strict;
use warnings;

use FindBin;
use POSIX ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends);

my $SERVERS = $ENV{UNDER_VALGRIND} ? 2 : 8;
my $CONTENT = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 100_000;
my $PART    = { name => 'file', file_name => 'f', content => $CONTENT };
my $LETTERS = 'x' x 5_000;

our $is_printing = 0;

for my $backend ( backends() ) {
    subtest "$backend, dies"             => sub { dies($backend) };
    subtest "$backend, stops the server" => sub {
        ends(
            $backend,
            sub {
                HTTP::Server::EV->new->stop( sub { exit 7 } );
            }
        );
    };
    subtest "$backend, exits" => sub {
        ends( $backend, sub { exit 7 } );
    };
}

done_testing;

sub dies {
    my ($backend) = @_;
    my $died      = 0;
    my $print     = sub {
        my ($cgi) = @_;
        local $is_printing = 1;
        $cgi->print('x') for 1 .. length $LETTERS;
    };
    my $server = TestServer->start(
        sub {
            my ($test) = @_;
            handle_at_once(
                USR1 => sub { $is_printing and ++$died and die "of a signal\n" } );
            $test->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    return $cgi->print($died) if $cgi->{headers}{REQUEST_URI} eq '/died';
                    eval { $print->($cgi); 1 } or $cgi->print(' died');
                }
            );
        },
        backend => $backend
    );

    is $server->request( GET => '/' )->{body}, $LETTERS, 'a reply';
    my $sender = begin_sending( $server->pid );
    my %wrong;
    while ( $server->request( GET => '/died' )->{body} < 20 ) {
        my $body = $server->request( GET => '/' )->{body};
        $wrong{$body}++ if $body ne $LETTERS && $body !~ /\Ax* died\z/;
    }
    end($sender);
    is_deeply \%wrong, {}, 'every reply is whole, or what was printed until it died';
    is $server->request( GET => '/' )->{body}, $LETTERS, 'the server goes on';
    return $server->stop;
}

# Under load, at any place of the server's.
sub ends {
    my ( $backend, $handler ) = @_;
    for ( 1 .. $SERVERS ) {
        my $server = TestServer->start(
            sub {
                my ($test) = @_;
                handle_at_once( TERM => $handler );
                $test->listen(
                    sub {
                        my ($cgi) = @_;
                        $cgi->header;
                        $cgi->print( $cgi->file('file')->[0]->size );
                    }
                );
            },
            backend => $backend
        );
        my @clients = map { begin_uploads($server) } 1 .. 2;
        is $server->upload($PART)->{body}, length $CONTENT, 'an upload';
        $server->stop( status => 7 );
        end(@clients);
    }
    return;
}

sub handle_at_once {
    my ( $name, $handler ) = @_;
    my $action =
      POSIX::SigAction->new( $handler, POSIX::SigSet->new, POSIX::SA_RESTART() );
    return POSIX::sigaction( POSIX->can("SIG$name")->(), $action ) || die "sigaction: $!";
}

# A process that sends the signal again and again.
sub begin_sending {
    my ($pid) = @_;
    return begin(
        sub {
            select undef, undef, undef, 0.0005 while kill USR1 => $pid;
        }
    );
}

# A process that uploads, again and again, until the server has gone.
sub begin_uploads {
    my ($server) = @_;
    return begin(
        sub {
            1 while eval { $server->upload($PART); 1 };
        }
    );
}

sub begin {
    my ($work) = @_;
    defined( my $pid = fork ) or die "fork: $!";
    return $pid if $pid;
    local $SIG{TERM} = 'DEFAULT';
    $work->();
    POSIX::_exit(0);
}

sub end {
    my @pids = @_;
    kill TERM => @pids;
    waitpid $_, 0 for @pids;
    return;
}
