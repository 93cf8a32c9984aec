#!/usr/bin/env perl
# Several processes on one listening socket, under load: each request is served once, by
# one of them; and what becomes of the rest while some are killed.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report request_bytes upload_bytes);

# So many clients at a time.
my $AT_A_TIME = 20;

my $UPLOAD = { name => 'file', file_name => 'name', content => 'x' x 200_000 };

for my $backend ( backends() ) {
    for my $count ( 2, 8 ) {
        subtest "$count workers share the load, with $backend" => sub {
            my $server  = serve( $count, $backend );
            my %workers = map { $server->await('worker') => 1 } 1 .. $count;

            my ( %replies, %by );
            for my $batch ( 1 .. 20 ) {
                my @ids     = map { "batch-$batch-$_" } 1 .. $AT_A_TIME;
                my $replies = send_all( $server, @ids );
                %replies = ( %replies, %{$replies} );
            }
            is_deeply [ sort keys %replies ], [ served_ids($server) ],
              'each request is served once';
            $by{$_}++ for values %replies;
            is_deeply [ grep { !$workers{$_} } keys %by ], [], 'by one of the workers';

            my @paths = paths($server);
            my %paths = map { $_ => 1 } @paths;
            is keys %paths, @paths, 'the files of all have different names';
            ok $server->await_files(0), 'and none is left';
            end_workers( $server, keys %workers );
            $server->stop;
        };
    }

    subtest "Workers are killed and forked anew, with $backend" => sub {
        my $server  = serve( 4, $backend );
        my %workers = map { $server->await('worker') => 1 } 1 .. 4;

        my @unanswered;
        for my $batch ( 1 .. 24 ) {
            my ($victim) = $batch % 3 ? () : sort keys %workers;
            my $signal   = $batch % 2 ? 'KILL' : 'TERM';
            my @ids      = map { "batch-$batch-$_" } 1 .. $AT_A_TIME;
            my $replies =
              send_all( $server, @ids, $victim ? sub { kill $signal => $victim } : () );
            my $lost = grep { !defined $replies->{$_} } @ids;
            if ($victim) {
                my $ended = $server->await('ended');
                is $ended, $victim, "batch $batch: a worker ends by $signal, $lost lost";
                delete $workers{$ended};
                $workers{ $server->await('worker') } = 1;
            }
            else {
                push @unanswered, grep { !defined $replies->{$_} } @ids;
            }
        }
        is_deeply \@unanswered, [], 'while nobody is killed, every client has its reply';
        my %served;
        $served{$_}++ for served_ids($server);
        is_deeply [ grep { $served{$_} > 1 } keys %served ], [],
          'no request is served twice';
        is keys %workers, 4, 'there are as many workers as before';
        end_workers( $server, keys %workers );
        $server->stop;
    };
}

done_testing;

# A parent that accepts nothing and so many workers, which it forks anew when they end.
sub serve {
    my ( $count, $backend ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            our ( %watchers, $goes_on );
            $goes_on = 1;
            $server->{no_more} =
              EV::signal( 'USR1', sub { $goes_on = 0; report('no more') } );
            my $listener;
            my $fork_worker = sub {
                my ($again) = @_;
                defined( my $pid = fork ) or die "fork: $!";
                if ( !$pid ) {
                    %watchers = ();
                    delete $server->{no_more};
                    ## no critic (RequireLocalizedPunctuationVars)
                    $SIG{TERM} = 'DEFAULT';
                    $listener->start if $listener;
                    report( worker => $$ );
                    return 1;
                }
                $watchers{$pid} = EV::child(
                    $pid, 0,
                    sub {
                        delete $watchers{$pid};
                        report( ended => $pid );
                        $again->($again) if $goes_on;
                    }
                );
                return 0;
            };
            my $is_worker;
            $listener = $server->listen(
                sub { log_and_answer( $server, @_ ) },
                {
                    fork_hook => sub {
                        for ( 1 .. $count ) {
                            return $is_worker = 1 if $fork_worker->($fork_worker);
                        }
                    }
                }
            );
            $listener->stop if !$is_worker;
        },
        backend => $backend
    );
}

# Notes which request came, in one write, before it answers with the process's id.
sub log_and_answer {
    my ( $server, $cgi ) = @_;
    my ($file) = @{ $cgi->file('file') };
    my ($id)   = $cgi->{headers}{REQUEST_URI} =~ m{/(.*)};
    open my $log, '>>', $server->directory . '/log' or die "log: $!";
    syswrite $log, join( q{ }, $id, $file ? $file->path : q{-} ) . "\n";
    $cgi->header;
    $cgi->print( $file && $file->size != 200_000 ? 'wrong size' : $$ );
    return;
}

# Sends them at once, every fourth as an upload; then calls; returns the body of the
# reply to each, undef for none.
sub send_all {
    my ( $server, @ids ) = @_;
    my $meanwhile = ref $ids[-1] ? pop @ids : sub { };
    my ( %clients, $number );
    for my $id (@ids) {
        my $bytes =
          $number++ % 4
          ? request_bytes( GET => "/$id" )
          : upload_bytes($UPLOAD) =~ s{/}{/$id}r;
        $clients{$id} = $server->connect;
        $clients{$id}->send($bytes);
    }
    $meanwhile->();
    return { map { $_ => $clients{$_}->response->{body} } @ids };
}

sub log_lines {
    my ($server) = @_;
    open my $log, '<', $server->directory . '/log' or die "log: $!";
    return map { [split] } readline $log;
}

sub served_ids {
    my ($server) = @_;
    my @ids = sort map { $_->[0] } log_lines($server);
    return @ids;
}

sub paths {
    my ($server) = @_;
    return grep { $_ ne q{-} } map { $_->[1] } log_lines($server);
}

sub end_workers {
    my ( $server, @workers ) = @_;
    kill USR1 => $server->pid;
    $server->await('no more');
    kill TERM => @workers;
    $server->await('ended') for @workers;
    return;
}
