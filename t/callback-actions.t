#!/usr/bin/env perl
# What a callback may do to its request, in each callback and with both backends: which
# callbacks follow, what the client gets, and what is warned about.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

# Larger than a piece that on_file_write is handed: there is more than one.
my $FILE   = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 300_000;
my $DIGEST = sha256_hex($FILE);
my $UPLOAD = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => $FILE, file_name => 'large' },
    { name => 'file',  content => q{},   file_name => 'empty' },
);

my $HALF = int( length($UPLOAD) / 2 );

# All callbacks of that upload. Pieces in a row count as one.
my @CALLS = (
    'on_multipart',                    qw(on_file_open on_file_write on_file_received),
    qw(on_file_open on_file_received), 'main'
);

# What follows where an action is taken, and what the client gets. on_error writes to the
# client directly. The request
#   goes on: as if nothing had been done;
#   pauses: the same, but not before `later` was reported;
#   is dropped;
#   pauses, is dropped;
#   fails: as by a drop, but what the main callback has printed is sent;
#   ends: what was printed is sent, and nothing follows.
my $WHOLE    = "begun, $DIGEST";
my %EXPECTED = (
    main => {
        'goes on'            => [ \@CALLS,             $WHOLE ],
        'pauses'             => [ [ @CALLS, 'later' ], $WHOLE ],
        'is dropped'         => [ \@CALLS,             q{} ],
        'pauses, is dropped' => [ [ @CALLS, 'later' ], q{} ],
        'fails'              => [ \@CALLS,             'begun' ],
        'ends'               => [ \@CALLS,             'begun early' ],
    },
    on_error => {
        map { $_ => [ [ @CALLS[ 0 .. 2 ], 'on_error' ], 'direct' ] } 'goes on',
        'pauses', 'is dropped', 'pauses, is dropped',
        'fails',  'ends'
    },
);
for my $number ( 0 .. 3 ) {
    my @before = @CALLS[ 0 .. $number ];
    my @after  = @CALLS[ $number + 1 .. $#CALLS ];
    unshift @after, 'on_file_write' if $CALLS[$number] eq 'on_file_write';
    $EXPECTED{ $CALLS[$number] } = {
        'goes on'            => [ \@CALLS,                          $WHOLE ],
        'pauses'             => [ [ @before, 'later', @after ],     $WHOLE ],
        'is dropped'         => [ [ @before, 'on_error' ],          'direct' ],
        'pauses, is dropped' => [ [ @before, 'later', 'on_error' ], 'direct' ],
        'fails'              => [ [ @before, 'on_error' ],          'direct' ],
        'ends'               => [ \@before,                         ' early' ],
    };
}

# What a callback does, what follows, and what is warned about.
my %ACTIONS = (
    'nothing' => [ sub { }, 'goes on' ],

    'drop'                 => [ sub { $_[0]->drop }, 'is dropped' ],
    'drop in list context' =>
      [ sub { my @list = $_[0]->drop; die "@list\n" if @list }, 'is dropped' ],
    'drop twice'               => [ sub { $_[0]->drop for 1 .. 2 }, 'is dropped' ],
    'drop, start, stop, start' =>
      [ sub { my ($cgi) = @_; $cgi->$_ for qw(drop start stop start) }, 'is dropped' ],
    'stop, drop'      => [ sub { $_[0]->stop; $_[0]->drop }, 'is dropped' ],
    'drop, then die'  => [ sub { $_[0]->drop; die "after\n" }, 'is dropped', "after\n" ],
    'drop, then loop' => [ sub { $_[0]->drop; run_loop() }, 'is dropped' ],
    'stop, drop from a timer' =>
      [ sub { $_[0]->stop; later( $_[0], 'drop' ) }, 'pauses, is dropped' ],

    'stop, start'            => [ sub { returns_1( $_[0], qw(stop start) ) }, 'goes on' ],
    'stop twice, start once' =>
      [ sub { returns_1( $_[0], qw(stop stop start) ) }, 'goes on' ],
    'start without stop' => [ sub { returns_1( $_[0], qw(start start) ) }, 'goes on' ],
    'stop, start, stop, start from a timer' => [
        sub { returns_1( $_[0], qw(stop start stop) ); later( $_[0], 'start' ) },
        'pauses'
    ],
    'stop, start from a timer' =>
      [ sub { $_[0]->stop; later( $_[0], 'start' ) }, 'pauses' ],
    'stop, start twice from a timer' =>
      [ sub { $_[0]->stop; later( $_[0], qw(start start) ) }, 'pauses' ],
    'stop, stop and start from a timer' =>
      [ sub { $_[0]->stop; later( $_[0], qw(stop stop start) ) }, 'pauses' ],
    'stop, start from a loop within' =>
      [ sub { $_[0]->stop; later( $_[0], 'start' ); run_loop() }, 'pauses' ],

    'a loop that does not wait' =>
      [ sub { EV::run( EV::RUN_NOWAIT() ) for 1 .. 20 }, 'goes on' ],
    'a loop that waits for one event' => [
        sub {
            for ( 1 .. 2 ) {
                my $timer = EV::timer( 0.001, 0, sub { } );
                EV::run( EV::RUN_ONCE() );
            }
        },
        'goes on'
    ],
    'a loop until EV::break' => [ sub { run_loop() }, 'goes on' ],

    'die'                   => [ sub { die "a reason\n" }, 'fails', "a reason\n" ],
    'die without a newline' => [ sub { die 'a reason' },   'fails', 'a reason' ],
    'die of nothing'        =>
      [ sub { no warnings 'uninitialized'; die undef }, 'fails', 'Died' ],
    'die with a reference'            => [ sub { die [] }, 'fails', 'ARRAY' ],
    'die with an object without text' =>
      [ sub { die bless [], 'WithoutText' }, 'fails', q{} ],
    'die with an object whose text dies' =>
      [ sub { die bless [], 'TextDies' }, 'fails', q{} ],
    'die of Perl itself' => [
        sub { my $nothing; $nothing->method },
        'fails',
        q{Can't call method "method" on an undefined value}
    ],
    'die in a handler of __DIE__' => [
        sub {
            local $SIG{__DIE__} = sub { die "handled: $_[0]" };
            die "a reason\n";
        },
        'fails',
        "handled: a reason\n"
    ],
    'die, and in the handler of __WARN__' =>
      [ sub { die_of_next_warning(); die "a reason\n" }, 'fails', "a reason\n" ],
    'die in a destructor' => [
        sub { my $object = bless [], 'DiesAtItsEnd'; undef $object; return },
        'goes on',
        "\t(in cleanup) at its end"
    ],
    'die, caught' => [
        sub {
            local $@ = 'mine';
            eval { die "caught\n" };
            eval {
                eval { die "caught\n" };
                die;
            };
        },
        'goes on'
    ],

    'last without a loop' => [
        sub { no warnings 'exiting'; last },
        'fails',
        q{Can't "last" outside a loop block}
    ],
    'goto a label of the program' =>
      [ sub { goto OUTSIDE }, 'fails', q{Can't find label OUTSIDE} ],
    'next' => [ sub { $_[0]->next; report('not reached') if $_[0]{received} }, 'fails' ],

    'close' => [ sub { $_[0]->print(' early'); $_[0]->close }, 'ends' ],

    'undef the object'  => [ sub { undef $_[0] }, 'goes on' ],
    'delete the hashes' =>
      [ sub { delete @{ $_[0] }{qw(file file_a post post_a headers)} }, 'goes on' ],
    'delete the parent' => [ sub { delete $_[0]{parent_listener} }, 'goes on' ],
);

my @NAMES = sort keys %ACTIONS;

for my $backend ( backends() ) {
    my $server = TestServer->start( \&serve, backend => $backend );

    # Another upload, half of which is there all the while.
    my $bystander = $server->connect;
    $bystander->send( substr $UPLOAD, 0, $HALF );

    for my $callback ( sort keys %EXPECTED ) {
        subtest "In $callback, with $backend" => sub {
            for my $number ( 0 .. $#NAMES ) {
                my ( undef, $outcome, $warning ) = @{ $ACTIONS{ $NAMES[$number] } };
                is_deeply outcome( $server, $callback, $number ),
                  expected( $callback, $outcome, $warning ), $NAMES[$number];
            }
        };
    }

    $bystander->send( substr $UPLOAD, $HALF );
    is $bystander->response->{body}, "begun, $DIGEST",
      "An upload during all that was not harmed, with $backend";
    ok $server->await_files(0), 'and no file is left';
    $server->stop;
}

done_testing;

# What has to come of it: the calls, the reply, the warnings.
sub expected {
    my ( $callback, $outcome, $warning ) = @_;
    my ( $calls, $reply ) = @{ $EXPECTED{$callback}{$outcome} };
    my @warnings = grep { defined } $warning;
    s/\A(?!\t)/ERROR IN CALLBACK: / for @warnings;
    return { calls => $calls, reply => $reply, warnings => \@warnings };
}

# What comes of an upload whose callback of this name does this.
sub outcome {
    my ( $server, $callback, $number ) = @_;
    my $client = $server->connect;
    my $upload = $UPLOAD =~ s{\APOST /}{POST /$callback/$number}r;
    if ( $callback eq 'on_error' ) {
        $client->send( substr $upload, 0, $HALF );
        $client->shutdown;
    }
    else {
        $client->send($upload);
    }
    return 'the connection stays open' if !$client->is_closed;
    my $received = $client->read_all;
    my $response = $client->response;
    $server->request( GET => '/end' );

    my ( @calls, @warnings );
    for my $report ( $server->reports_until('end') ) {
        my ( $name, $text ) = @{$report};
        if ( $name eq 'warning' ) {
            push @warnings, $text =~ s/(?:\(0x\w+\)|) at \S+ line \d+.*\z//sr;
            next;
        }
        push @calls, $name
          if $name ne 'end' && !( $name eq 'on_file_write' && $calls[-1] eq $name );
    }
    return {
        calls    => \@calls,
        reply    => $response->{status} ? $response->{body} : $received,
        warnings => \@warnings
    };
}

# --- In the child -----------------------------------------------------------------

sub serve {
    my ($server) = @_;
    report_warnings();
    my %options = map { $_ => callback($_) }
      qw(on_multipart on_file_open on_file_write on_file_received on_error);
    return $server->listen( callback('main'), \%options );
}

sub callback {
    my ($name) = @_;
    return sub {
        my ( $cgi, $file, $bytes ) = @_;
        my ( undef, $callback, $number ) =
          @{ $cgi->{plan} ||= [ split m{/}, $cgi->{headers}{REQUEST_URI} ] };
        return report('end') if $callback && $callback eq 'end';

        report($name) if $callback;
        if ( $name eq 'on_file_write' ) {
            ( $cgi->{digest} ||= Digest::SHA->new(256) )->add($bytes);
        }
        if ( $name eq 'main' ) {
            $cgi->header;
            $cgi->print('begun');
        }
        if ( $name eq 'on_error' ) {
            $cgi->{failed} = 1;
            $cgi->print('buffered');
            syswrite $cgi->fh, 'direct';
        }
        if ( $callback && $callback eq $name && !$cgi->{acted}++ ) {
            $ACTIONS{ $NAMES[$number] }[0]->(@_);
        }
        $cgi->print( ', ' . $cgi->{digest}->hexdigest )
          if $name eq 'main' && $cgi->{buffer};
    };
}

sub die_of_next_warning {
    ## no critic (RequireLocalizedPunctuationVars)
    return $SIG{__WARN__} =
      sub { report_warnings(); report( warning => @_ ); die "in __WARN__\n" };
}

# Calls the methods from the loop, when the loop has had time for whatever there is.
sub later {
    my ( $cgi, @methods ) = @_;
    my $timer;
    $timer = EV::timer(
        0.02, 0,
        sub {
            undef $timer;
            report('later') if !$cgi->{failed};
            $cgi->$_ for @methods;
            undef $cgi;
        }
    );
    return;
}

sub report_warnings {
    ## no critic (RequireLocalizedPunctuationVars)
    return $SIG{__WARN__} = sub { report( warning => @_ ) };
}

sub returns_1 {
    my ( $cgi, @methods ) = @_;
    my @returned = map { $cgi->$_ } @methods;
    return "@returned" eq join( q{ }, map { 1 } @methods ) || die "returned @returned\n";
}

sub run_loop {
    my $timer = EV::timer( 0.02, 0, sub { EV::break() } );
    return EV::run();
}

package DiesAtItsEnd;
sub DESTROY { die 'at its end' }

package TextDies;
use overload q{""} => sub { die "no text\n" }, fallback => 1;

package WithoutText;
use overload q{""} => sub { q{} }, fallback => 1;
