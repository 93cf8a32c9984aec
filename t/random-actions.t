#!/usr/bin/env perl
# Many uploads at once, and requests that are sent ahead, whose callbacks do anything in any
# order, while their clients cut them, stay or vanish: the server lives, and in the end
# nothing is left of them.

use strict;
use warnings;

use FindBin;
use Scalar::Util qw(weaken);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer
  qw(backends chunked kept_request_bytes multipart multipart_type report upload_bytes);

my $ROUNDS  = $ENV{TEST_ROUNDS} || 10;
my $CLIENTS = 30;
my $UPLOAD  = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 1_300_000, file_name => 'a' },
    { name => 'file',  content => q{},             file_name => 'b' },
    { name => 'file',  content => 'x' x 60_000,    file_name => 'c' },
);

# What may follow each other on a connection.
my $FORM  = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my $PARTS = multipart(
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 1000, file_name => 'a' },
);
my @SMALL = (
    kept_request_bytes( GET  => '/page' ),
    kept_request_bytes( GET  => '/any?a=b' ),
    kept_request_bytes( GET  => '/any', {}, 'x' x 100 ),
    kept_request_bytes( HEAD => '/any' ),
    kept_request_bytes( POST => '/any', $FORM, 'a=b' ),
    kept_request_bytes( POST => '/any', { %{$FORM}, 'Transfer-Encoding' => 'chunked' } )
      . chunked( 'a=b&c=d', 3 ),
    kept_request_bytes( POST => '/any', { 'Content-Type' => multipart_type() }, $PARTS ),
    kept_request_bytes(
        POST => '/any',
        { 'Content-Type' => multipart_type(), 'Transfer-Encoding' => 'chunked' }
      )
      . chunked( $PARTS, 100 ),
);

# In the child: requests and files that are kept, and all requests that there have been.
my ( @kept, @files, @all );

# What a callback may do. Nothing twice as often as anything else.
my @ACTIONS = (
    ( sub { } ) x 5,
    ( sub { push @kept, $_[0] } ) x 3,
    sub {
        push @files, grep { ref } $_[1];
    },
    sub { $_[0]->drop },
    sub { $_[0]->stop; push @kept, $_[0] },
    sub { $_[0]->stop; $_[0]->start },
    sub { $_[0]->stop; later( $_[0], 'start' ) },
    sub { $_[0]->stop; later( $_[0], 'drop' ) },
    sub { later( $_[0], 'drop' ) },
    sub { die "at random\n" },
    sub { $_[0]->next },
    sub { $_[0]->close },
    sub { $_[0]->header; $_[0]->print( 'x' x 200_000 ) },
    ( sub { $_[0]->header; $_[0]->print( $_[0]->param('a') // 'nothing' ) } ) x 3,
    sub { $_[0]->header; $_[0]->flush; push @kept, $_[0] },
    sub { $_[0]->fh },
    sub {
        my ($cgi) = @_;
        $cgi->flush_wait( sub { undef $cgi } ) if $cgi->{buffer};
    },
    sub { $_[0]{buffer}->give_up_handle if $_[0]{buffer} },
    sub {
        $_[1]->fh( sub { push @files, @_ } ) if ref $_[1];
    },
    sub { delete @{ $_[0] }{qw(file file_a)} },
    sub { %{ $_[0] } = () },
    sub { EV::run( EV::RUN_NOWAIT() ) },
    sub { splice @kept },
    sub { $_->drop  for splice @kept },
    sub { $_->start for splice @kept },
    sub { $_->close for splice @kept },
    sub { splice @files },
    sub { "HTTP::Server::EV::IO::$_"->_use_me for ( backends() )[ rand 2 ] },
);

my $seed = $ENV{TEST_SEED} || 1;

for my $backend ( backends() ) {
    subtest "$ROUNDS times $CLIENTS clients, with $backend" => sub {
        my $server =
          TestServer->start( sub { srand $seed; serve(@_) }, backend => $backend );
        srand $seed;
        is $server->request( GET => '/page' )->{body}, 'page', 'before';
        my $descriptors = $server->descriptors;
        for my $round ( 1 .. $ROUNDS ) {
            my @clients = map { $server->connect } 1 .. $CLIENTS;
            for my $client (@clients) {
                my $bytes = rand() < 0.5 ? $UPLOAD : join q{},
                  map { $SMALL[ rand @SMALL ] } 1 .. 10;
                my $length = rand() < 0.5 ? length $bytes : int rand length $bytes;
                send_some( $client, substr $bytes, 0, $length );
            }
            for my $client (@clients) {
                my $way = (qw(close reset shutdown is_open))[ rand 4 ];
                $client->$way if $way ne 'is_open';
            }
            is $server->request( GET => '/page' )->{body}, 'page', "round $round";
        }
        $server->tell('forget');
        $server->await('forgotten');
        is $server->request( GET => '/page' )->{body}, 'page', 'after';
        ok $server->await_files(0),                        'no file is left';
        ok $server->await_descriptors( $descriptors + 2 ), 'nor a descriptor';
        $server->stop( stderr => qr/\A(?:ERROR IN CALLBACK: [^\n]+\n)*\z/ );
    };
}

done_testing;

# As much as the server takes at once.
sub send_some {
    my ( $client, $bytes ) = @_;
    while ( length $bytes ) {
        my $count = syswrite $client->socket, $bytes or last;
        substr $bytes, 0, $count, q{};
    }
    return;
}

sub serve {
    my ($server) = @_;
    $server->on_command(
        sub {
            @ACTIONS = sub { };

            # Nobody else takes up again what is stopped.
            $_->start for grep { defined } @all;
            splice @kept;
            splice @files;
            report('forgotten');
        }
    );
    my $any     = sub { $ACTIONS[ rand @ACTIONS ]->(@_) };
    my $upload  = sub { weaken( $all[@all] = $_[0] ); $any->(@_) };
    my %options = map { $_ => $upload }
      qw(on_multipart on_file_open on_file_write on_file_received on_error);
    return $server->listen(
        sub {
            my ($cgi) = @_;
            return $any->($cgi) if ( $cgi->{headers}{SCRIPT_NAME} || q{} ) ne '/page';
            $cgi->header;
            $cgi->print('page');
        },
        \%options
    );
}

# Calls the method from the loop.
sub later {
    my ( $cgi, $method ) = @_;
    my $timer;
    $timer =
      EV::timer( rand() / 100, 0, sub { undef $timer; $cgi->$method; undef $cgi } );
    return;
}
