#!/usr/bin/env perl
# $cgi->next leaves the main callback from any depth of Perl code, and ends the reply with
# what was printed; where there is no way out, it dies and does no harm.

use strict;
use warnings;

use FindBin;
use List::Util ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report);

our $separator = 'outside';

# From where it is called.
my %LEAVES = (
    'a callback that has assigned to its argument' => sub {
        my ($cgi) = @_;
        undef $_[0];
        $cgi->next;
    },
    'the callback itself' => sub { $_[0]->next },
    'a sub of a sub'      => sub {
        my ($cgi) = @_;
        nest( 20, sub { $cgi->next } );
    },
    'an eval' => sub {
        eval { $_[0]->next; 1 } or report('caught');
    },
    'an eval of a string' => sub {
        my ($cgi) = @_;
        ## no critic (ProhibitStringyEval)
        eval q{$cgi->next; 1} or report('caught');
    },
    'a loop in a loop' => sub {
        for my $outer ( 1 .. 2 ) {
            while (1) { $_[0]->next }
        }
    },
    'a loop with a label' => sub {
      NEXT: for ( 1 .. 2 ) {
            $_[0]->next;
        }
    },
    'a loop whose list is an array' => sub {
        my @list = 1 .. 3;
        for my $element (@list) { $_[0]->next }
    },
    'a map' => sub {
        my @list = map { $_[0]->next } 1 .. 2;
    },
    'a grep' => sub {
        my @list = grep { $_[0]->next } 1 .. 2;
    },
    'the scope of a local' => sub {
        local $separator = 'inside';
        local $/         = undef;
        local $_         = 'inside';
        local $@         = 'inside';
        $_[0]->next;
    },
    'an argument list' => sub {
        report( 'called', nest( 2, sub { $_[0]->next }, $_[0] ) );
    },
    'a string'     => sub { my $text = "before @{[ $_[0]->next ]} after" },
    'AUTOLOAD'     => sub { Next->leave( $_[0] ) },
    'all of these' => sub {
        my ($cgi) = @_;
        local $/ = undef;
        for ( 1 .. 2 ) {
            nest(
                3,
                sub {
                    eval {
                        my @list = map { $cgi->next } 1 .. 2;
                    }
                }
            );
        }
    },
);

# Perl lets nobody jump out of these, and an exception ends the callback.
my %DIES = (
    'a block of sort' => sub {
        my @list = sort { $_[0]->next } 1 .. 2;
    },
    'a handler of __WARN__' => sub {
        my ($cgi) = @_;
        local $SIG{__WARN__} = sub { $cgi->next };
        warn 'here';
    },
    'a handler of __DIE__' => sub {
        my ($cgi) = @_;
        local $SIG{__DIE__} = sub { $cgi->next };
        die 'here';
    },
    'an overloaded operator' => sub { my $text = q{} . bless [ $_[0] ], 'Next' },
    'a loop of EV within the callback' => sub {
        my ($cgi) = @_;
        my $timer = EV::timer(
            0, 0,
            sub {
                eval { $cgi->next };
                our $error = $@;
                EV::break();
            }
        );
        EV::run();
        die our $error;
    },
);

my $server = TestServer->start(
    sub {
        my ($test) = @_;
        ## no critic (RequireLocalizedPunctuationVars)
        $SIG{__WARN__} = sub { report( warning => @_ ) };
        our @kept;
        $test->on_command(
            sub {
                my ($cgi) = splice @kept;
                eval { $cgi->next; 1 } or report( died => $@ );
            }
        );
        $test->listen(
            sub {
                my ($cgi) = @_;
                report( state => $separator, $/, $@ );
                my ( undef, $table, $number ) = split m{/}, $cgi->{headers}{REQUEST_URI};
                $cgi->header;
                $cgi->print('begun');
                return push @kept, $cgi if $table eq 'later';
                my $from = $table eq 'leaves' ? \%LEAVES : \%DIES;
                &{ $from->{ ( sort keys %{$from} )[$number] } };
                $cgi->print(', not left');
            }
        );
    }
);

subtest 'It leaves from' => sub {
    my @names = sort keys %LEAVES;
    for my $number ( 0 .. $#names ) {
        is $server->request( GET => "/leaves/$number" )->{body}, 'begun', $names[$number];
        is_deeply [ $server->reports_until('state') ],
          [ [ state => 'outside', "\n", q{} ] ], 'and all is as it was';
    }
};

subtest 'It dies in' => sub {
    my @names = sort keys %DIES;
    for my $number ( 0 .. $#names ) {
        is $server->request( GET => "/dies/$number" )->{body}, 'begun', $names[$number];
        like $server->await('warning'),
          qr/\AERROR IN CALLBACK: Can't (?:find label NEXT_REQ|"goto" out of a pseudo)/,
          'with a warning';
    }
};

subtest 'It dies after the main callback, and the request goes on' => sub {
    my $client = $server->connect;
    $client->send("GET /later HTTP/1.0\r\n\r\n");
    $server->await('state');
    $server->tell('next');
    like $server->await('died'), qr/\ACan't find label NEXT_REQ at \Q$0\E line/,
      'the exception';
    is $client->response->{body}, 'begun', 'the reply';
};

$server->stop;

subtest 'Within another main callback that runs a loop it leaves its own' => sub {
    my $nested = TestServer->start(
        sub {
            my ($test) = @_;
            $test->listen(
                sub {
                    my ($cgi) = @_;
                    my $target = $cgi->{headers}{REQUEST_URI};
                    $cgi->header;
                    $cgi->print($target);
                    report( begun => $target );
                    if ( $target eq '/outer' ) {
                        EV::run();
                        $cgi->print(' after the loop');
                        $cgi->next;
                    }
                    EV::break();
                    $cgi->next;
                    $cgi->print(' not left');
                }
            );
        }
    );
    my $outer = $nested->connect;
    $outer->send("GET /outer HTTP/1.0\r\n\r\n");
    $nested->await('begun');
    is $nested->request( GET => '/inner' )->{body}, '/inner',                'the inner';
    is $outer->response->{body},                    '/outer after the loop', 'the outer';
    $nested->stop;
};

done_testing;

# Calls it in subs that are nested that deep.
sub nest {
    my ( $depth, $code, @arguments ) = @_;
    return $depth ? nest( $depth - 1, $code, @arguments ) : $code->(@arguments);
}

package Next;
use overload q{""} => sub { $_[0][0]->next; return q{} }, fallback => 1;
our $AUTOLOAD;
sub AUTOLOAD { return $AUTOLOAD =~ /::leave\z/ ? $_[1]->next : () }
