#!/usr/bin/env perl
# HTTP::Server::EV::BufTie: what is printed to an attached handle goes to the reply of the
# request that attached it, and else to where the handle led before.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

# In the child: what is kept beyond a callback.
my @kept;

subtest 'Without an attached reply the handle leads where it led before' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            print 'to the client';
            printf '%s', '.';
            undef $cgi;
            undef $_[0];
        },
        sub {
            local $\ = "\n";
            print 'to the file';
            printf "%s\n", 'printf';
            syswrite STDOUT, "xsyswrite\n", 9, 1;
            report( fileno => fileno STDOUT );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'to the client.', 'the reply';
    $server->tell('print');
    like $server->await('fileno'), qr/\A\d+\z/, 'fileno is that of the file';
    is standard_output($server), "to the file\nprintf\nsyswrite\n", 'the file';
    $server->stop;
};

subtest
  'Output goes to the reply attached last; the others are reached by attach or print' =>
  sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->attach(*STDOUT);
            print $cgi->{headers}{SCRIPT_NAME};
        },
        sub {
            print ' still the second,';
            $kept[0]->print(' by the object,');
            $kept[0]->attach(*STDOUT);
            print ' attached again';
            shift @kept while @kept;
            print "none\n";
            report('done');
        }
    );
    my @clients = map { $server->connect } 1 .. 2;
    for my $number ( 0 .. 1 ) {
        $clients[$number]->send( request_bytes( GET => "/$number" ) );
        $server->await('callback');
    }
    $server->tell('print');
    $server->await('done');
    is $clients[0]->read_all,    '/0 by the object, attached again', 'the first reply';
    is $clients[1]->read_all,    '/1 still the second,',             'the second reply';
    is standard_output($server), "none\n", 'and after both, the file';
    $server->stop;
  };

subtest 'close of an older request leaves the newer one attached' => sub {
    my $server = start(
        sub { my ($cgi) = @_; push @kept, $cgi; $cgi->attach(*STDOUT) },
        sub {
            ( shift @kept )->close;
            print 'for the newer';
            shift @kept;
        }
    );
    my @clients = map { $server->connect } 1 .. 2;
    for my $client (@clients) {
        $client->send( request_bytes( GET => '/' ) );
        $server->await('callback');
    }
    $server->tell('go');
    is $clients[0]->read_all, q{},             'the older one';
    is $clients[1]->read_all, 'for the newer', 'the newer one';
    $server->stop;
};

subtest 'attach takes a glob, a reference to one, and a lexical handle' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            open my $handle, '>', \my $buffer or die "open: $!";
            for my $attached ( *STDOUT, \*STDOUT, $handle ) {
                $cgi->attach($attached);
                print {$attached} 'x';
            }
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'xxx', 'each of them';
    $server->stop;
};

subtest 'attach takes nothing else' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    for my $wrong ( undef, 'STDOUT', {}, sub { } ) {
                        eval { $cgi->attach($wrong); 1 } or report( died => $@ );
                    }
                }
            );
        }
    );
    $server->request( GET => '/' );
    like $server->await('died'),
      qr/\Aattach takes a glob or a reference to one at \Q$0\E line \d+[.]\n\z/,
      'it dies at the line of the caller'
      for 1 .. 4;
    $server->stop;
};

subtest 'local *STDOUT is attached for its scope only' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            {
                local *STDOUT;
                $cgi->attach(*STDOUT);
                print 'inside';
            }
            print "outside\n";
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all,        'inside',    'the reply';
    is standard_output($server), "outside\n", 'the file';
    $server->stop;
};

subtest 'Reading from an attached handle dies; close and binmode do nothing' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            my ( $line, @errors );
            eval { $line = readline STDOUT; 1 } or push @errors, $@;
            eval { $line = getc STDOUT;     1 } or push @errors, $@;
            eval { sysread STDOUT, $line, 1; 1 } or push @errors, $@;
            report( errors => @errors, close STDOUT, binmode STDOUT );
            print 'open';
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'open', 'it still works after close';
    my ( @errors, @true ) = ();
    ( @errors[ 0 .. 2 ], @true ) = $server->await('errors');
    for my $number ( 0 .. 2 ) {
        my $method = (qw(READLINE GETC READ))[$number];
        like $errors[$number],
          qr/\AHTTP::Server::EV::BufTie doesn't support a $method method at \Q$0\E line/,
          $method;
    }
    is_deeply \@true, [ 1, 1 ], 'close and binmode return true';
    $server->stop;
};

subtest 'The handle keeps its layers' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            binmode STDOUT, ':crlf:encoding(UTF-8)';
            $cgi->attach(*STDOUT);
            print "\x{44f}\n";
            undef $cgi;
            undef $_[0];
        },
        sub {
            print "\x{44f}\n";
            report('done');
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, "\xd1\x8f\n", 'the reply has none of them';
    $server->tell('print');
    $server->await('done');
    is standard_output($server), "\xd1\x8f\r\n", 'the file has';
    $server->stop;
};

subtest 'A handle that the application has tied leads there again afterwards' => sub {

    package Shouting {
        require Tie::Handle;
        our @ISA = ('Tie::Handle');
        sub TIEHANDLE { my ( $class, @values ) = @_; return bless \@values, $class }
        sub WRITE { my ( $self, $text ) = @_; return push @{$self}, uc $text }
    }
    my $server = start(
        sub {
            my ($cgi) = @_;
            tie *STDOUT, 'Shouting';
            my $object = tied *STDOUT;
            print 'before';
            $cgi->attach(*STDOUT);
            print 'reply';
            $cgi->close;
            print 'after';
            printf '%s', 'printf';
            report( printed => @{$object} );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'reply', 'the reply';
    is_deeply [ $server->await('printed') ], [qw(BEFORE AFTER PRINTF)], 'the object';
    $server->stop;
};

subtest 'A handle that writes to a string does so again afterwards' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            open my $handle, '>', \my $string or die "open: $!";
            print {$handle} 'before ';
            $cgi->attach($handle);
            print {$handle} 'reply';
            $cgi->close;
            print {$handle} 'after ';
            printf {$handle} '%s', 'printf';
            report( string => $string );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all,        'reply',               'the reply';
    is $server->await('string'), 'before after printf', 'the string';
    $server->stop;
};

subtest 'STDERR: what is warned goes to the reply' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDERR);
            print {*STDERR} 'printed, ';
            warn "warned\n";
            $cgi->close;
            warn "of the server\n";
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, "printed, warned\n", 'as long as it is open';
    $server->stop( stderr => qr/\Aof the server\n\z/ );
};

subtest 'attach(local *STDOUT), with two requests that are open at once' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->attach( local *STDOUT );
            print $cgi->{headers}{SCRIPT_NAME};
        },
        sub {
            print "outside\n";
            for my $cgi ( splice @kept ) {
                local *STDOUT;
                $cgi->attach(*STDOUT);
                print " again $cgi->{headers}{SCRIPT_NAME}";
            }
            print "outside\n";
            report('done');
        }
    );
    my @clients = map { $server->connect } 1 .. 2;
    for my $number ( 0 .. 1 ) {
        $clients[$number]->send( request_bytes( GET => "/$number" ) );
        $server->await('callback');
    }
    $server->tell('print');
    $server->await('done');
    is $clients[$_]->read_all,   "/$_ again /$_",      "reply $_" for 0 .. 1;
    is standard_output($server), "outside\noutside\n", 'the file has the rest';
    $server->stop;
};

subtest 'A forked child that prints does not disturb the reply' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            print 'parent, ';
            defined( my $pid = fork ) or die "fork: $!";
            if ( !$pid ) {
                print 'child';
                exit 3;
            }
            waitpid $pid, 0;
            print 'parent again after ', $? >> 8, ', and ';
            system $^X, '-e', 'print "by another program\n"';
            print 'the end';
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, 'parent, parent again after 3, and the end', 'the reply';
    is standard_output($server), "by another program\n",
      'other programs have the file itself';
    $server->stop;
};

subtest 'The outcome of printing tells of a client that has gone' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            push @kept, $cgi;
            $cgi->attach(*STDOUT);
            report( printed => print 'x' );
            $cgi->{buffer}{onerror} = sub { report('onerror') };
        },
        sub {
            report(
                printed => scalar( print 'x' ),
                scalar( printf '%s', 'x' ), scalar( syswrite STDOUT, 'x' )
            );
            undef @kept;
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    ok $server->await('printed'), 'true';
    $server->await('callback');
    $client->reset;
    $server->await('onerror');
    $server->tell('print');
    is_deeply [ map { $_ ? 1 : 0 } $server->await('printed') ], [ 0, 0, 0 ], 'false';
    $server->stop;
};

subtest 'What is attached is seen in %storage, until close or the end of the request' =>
  sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            no warnings 'once';
            my $storage = \%HTTP::Server::EV::BufTie::storage;
            my @counts  = scalar keys %{$storage};
            $cgi->attach(*STDOUT);
            my ($key) = keys %{$storage};
            push @counts, scalar keys %{$storage},
              $storage->{$key} == $cgi->{buffer} ? 1 : 0;
            $cgi->close if $cgi->{headers}{SCRIPT_NAME} eq '/close';
            report( counts => $key, @counts, scalar keys %{$storage} );
        }
    );
    for my $path ( '/', '/close', '/' ) {
        $server->request( GET => $path );
        is_deeply [ $server->await('counts') ],
          [ q{}, 0, 1, 1, $path eq '/close' ? 0 : 1 ],
          'under the empty string, without Coro';
    }
    $server->stop;
  };

done_testing;

# A server with this main callback and a report after it, whose STDOUT is a file; and what
# to do at `tell`.
sub start {
    my ( $callback, $on_command ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            open STDOUT, '>', $server->directory . '/stdout' or die "stdout: $!";
            $server->on_command($on_command) if $on_command;
            $server->listen( sub { $callback->(@_); report('callback') } );
        }
    );
}

sub standard_output {
    my ($server) = @_;
    open my $handle, '<', $server->directory . '/stdout' or die "stdout: $!";
    local $/ = undef;
    return readline $handle;
}
