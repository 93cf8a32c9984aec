#!/usr/bin/env perl
# The options of `listen`: which values they take, from the listener or from `new`, and what
# they do; what is read once and what for each request.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(multipart report request_bytes upload_bytes);

subtest 'timeout, header_timeout, write_timeout' => sub {
    my $server = start( { timeout => 0.5 } );
    my $client = $server->connect;
    $client->send('GET / HT');
    is $client->read_all, q{}, 'timeout: a client that is silent is given up';
    $server->stop;

    $server = start( { header_timeout => 0.5, error_responses => 1 } );
    $client = $server->connect;
    $client->send("GET / HTTP/1.1\r\n");
    is $client->response->{status}, 408,
      'header_timeout: with an answer, where they are on';
    $server->stop;

    $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->{buffer}{onerror} = sub { report('gone'); undef $cgi };
                    $cgi->print( 'x' x 50_000_000 );
                    $cgi->flush;
                },
                { write_timeout => 0.5 }
            );
        }
    );
    $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('gone');
    pass 'write_timeout: a client that takes nothing is given up';
    $server->stop;
};

# Requests of just this size, in what the limit counts.
my $FORM   = { 'Content-Type' => 'application/x-www-form-urlencoded' };
my @LIMITS = (
    [ max_uri => 20, 414, sub { request_bytes( GET => q{/} . 'x' x ( $_[0] - 1 ) ) } ],
    [
        max_headers => 5,
        431,
        sub {
            head_of( map { "H$_" } 3 .. $_[0] );
        }
    ],
    [ max_header_line => 30, 431, sub { head_of( 'H' x ( $_[0] - 3 ) ) } ],
    [
        max_urlencoded_body => 10,
        413, sub { request_bytes( POST => q{/}, $FORM, 'x' x $_[0] ) }
    ],
    [ max_field_name  => 5, 413, sub { upload_bytes( field( 'n' x $_[0], q{} ) ) } ],
    [ max_field_value => 5, 413, sub { upload_bytes( field( 'n', 'x' x $_[0] ) ) } ],
    [ max_file_name => 5, 413, sub { upload_bytes( file( 'n' x $_[0], q{} ) ) } ],
    [ max_file_size => 5, 413, sub { upload_bytes( file( 'n',         'x' x $_[0] ) ) } ],
    [ max_files     => 2,   413, sub { upload_bytes( ( file( 'n', q{} ) ) x $_[0] ) } ],
    [ max_parts     => 2,   413, sub { upload_bytes( ( field( 'n', q{} ) ) x $_[0] ) } ],
    [ max_body_size => 500, 413, \&body_of ],
);
for my $limit (@LIMITS) {
    my ( $option, $maximum, $status, $request ) = @{$limit};
    subtest "$option: as much passes, more does not" => sub {
        my $server = start( { $option => $maximum, error_responses => 1 } );
        is response( $server, $request->($maximum) )->{body}, 'page', 'as much';
        is response( $server, $request->( $maximum + 1 ) )->{status}, $status,
          'more: with error_responses';
        ok $server->await_files(0), 'no file is left';
        $server->stop;

        $server = start( {}, { $option => $maximum } );
        is response( $server, $request->($maximum) )->{body}, 'page',
          'as much: the option was given to new';
        is response( $server, $request->( $maximum + 1 ) )->{status}, undef,
          'more: without a word else';
        $server->stop;

        $server = start( { $option => $maximum + 1 }, { $option => $maximum } );
        is response( $server, $request->( $maximum + 1 ) )->{body}, 'page',
          'the option of the listener counts for it';
        $server->stop;
    };
}

subtest 'max_connections: one more is closed at once' => sub {
    my $server  = start( { max_connections => 2 } );
    my @clients = map { $server->connect } 1 .. 2;
    $_->send('GET ') for @clients;
    $_->drained for @clients;
    ok $server->connect->is_closed, 'the third';
    $_->send("/ HTTP/1.0\r\n\r\n") for @clients;
    is $_->response->{body}, 'page', 'the others are served' for @clients;
    is $server->request( GET => '/' )->{body}, 'page', 'and then there is room again';
    $server->stop;
};

my @NO_TIMEOUTS = ( 0,   '0',   '0.0', -1, 'none', q{ }, q{}, undef, 1e19, '1e400' );
my @TIMEOUTS    = ( 0.3, '0.3', 3e-1 );
for my $in (qw(listen new)) {
    subtest "timeout: seconds, given to $in" => sub {
        my $server = TestServer->start(
            sub {
                my ($server) = @_;
                for ( @TIMEOUTS, @NO_TIMEOUTS ) {
                    my %timeout = ( timeout => $_ );
                    undef $HTTP::Server::EV::instance if $HTTP::Server::EV::instance;
                    my $http = $server->new_server( $in eq 'new' ? %timeout : () );
                    my $socket =
                      IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 5 );
                    $http->listen( $socket, \&answer, $in eq 'new' ? {} : \%timeout );
                    report( port => $socket->sockport );
                }
            }
        );
        my @clients = map { TestServer::Client->new( $server->await('port') ) } @TIMEOUTS,
          @NO_TIMEOUTS;
        $_->send("GET / HTTP/1.0\r\n") for @clients;
        for my $timeout (@TIMEOUTS) {
            is shift(@clients)->read_all, q{}, "$timeout: a silent client is given up";
        }
        for my $timeout (@NO_TIMEOUTS) {
            my $client = shift @clients;
            $client->send("\r\n");
            is $client->response->{body}, 'page',
              defined $timeout ? "'$timeout': it is served" : 'undef: so much later';
        }
        $server->stop;
    };
}

# [ option, what it takes, values that are none ]
my @NUMBER  = ( 'a whole number, 0 or more',          -1,     'many', [] );
my @SECONDS = ( 'a number of seconds, or 0 for none', -1,     'soon', 1e19, [] );
my @CODE    = ( 'a code reference',                   'main', [], {} );
my @WRONG   = (
    (
        map { [ $_, @NUMBER ] } 'max_connections', 'max_cookies',
        'max_urlencoded_fields',                   'max_header_size',
        map { $_->[0] } @LIMITS
    ),
    ( map { [ $_, @SECONDS ] } qw(header_timeout write_timeout) ),
    (
        map { [ $_, @CODE ] }
          qw(fork_hook on_error on_file_open on_file_received on_file_write on_multipart)
    ),
    [ 'body_methods', 'an array reference of method names', 'POST', {} ],
);
subtest 'A wrong value is said at the line of the caller' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $http = $server->new_server;
            for (@WRONG) {
                my ( $option, undef, @values ) = @{$_};
                for my $value (@values) {
                    my $listener =
                      eval { $http->listen( 'name', \&answer, { $option => $value } ) };
                    report( error => $listener ? 'none' : $@ );
                }
            }
        }
    );
    for (@WRONG) {
        my ( $option, $what, @values ) = @{$_};
        like $server->await('error'),
          qr/\AHTTP::Server::EV: $option takes $what at \Q$0\E line \d+[.]\n\z/,
          "$option => $_"
          for @values;
    }
    $server->ended;
};

subtest 'An option that is undef counts as not given' => sub {
    my @options = map { $_->[0] } @WRONG;
    my $server  = start( { map { $_ => undef } @options, 'error_responses', 'socket' } );
    is $server->request( GET => q{/} )->{body}, 'page', 'it serves';
    $server->stop;
};

subtest 'Callbacks and other options are read for each request' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $listener = $server->listen( \&answer );
            $server->on_command(
                sub {
                    $listener->{cb} = sub { $_[0]->header; $_[0]->print('another') };
                    $listener->{on_multipart} = sub { report('on_multipart') };
                    report('changed');
                }
            );
        }
    );
    is $server->request( GET => '/' )->{body}, 'page', 'before';
    $server->tell('change');
    $server->await('changed');
    is $server->upload( { name => 'a', content => 'b' } )->{body}, 'another', 'cb';
    $server->await('on_multipart');
    pass 'on_multipart';
    $server->stop;
};

subtest 'Limits of forms and cookies keep the rest in the last field' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                sub {
                    my ($cgi) = @_;
                    report( seen => $cgi->{get}, $cgi->{cookies} );
                    answer($cgi);
                },
                { max_urlencoded_fields => 2, max_cookies => 2 }
            );
        }
    );
    $server->request( GET => '/?a=1&b=2&c=3', { Cookie => 'd=4; e=5; f=6' } );
    is_deeply [ $server->await('seen') ],
      [ { a => 1, b => '2&c=3' }, { d => 4, e => '5; f=6' } ], 'two of each';
    $server->stop;
};

subtest 'With error_responses a client is told, though on_error closes the request' =>
  sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen(
                \&answer,
                {
                    error_responses => 1,
                    max_file_size   => 10,
                    on_error        => sub { $_[0]->close }
                }
            );
        }
    );
    is $server->upload( { name => 'file', file_name => 'f', content => 'x' x 100 } )
      ->{status},
      413, 'the answer';
    $server->stop;
  };

done_testing;

sub answer {
    my ($cgi) = @_;
    report( client => $cgi->{headers}{REMOTE_ADDR} );
    $cgi->header;
    $cgi->print('page');
    return;
}

sub body_of {
    my ($size) = @_;
    my $overhead = length multipart( field( 'n', q{} ) );
    return upload_bytes( field( 'n', 'x' x ( $size - $overhead ) ) );
}

sub field {
    my ( $name, $content ) = @_;
    return { name => $name, content => $content };
}

sub file {
    my ( $file_name, $content ) = @_;
    return { name => 'n', file_name => $file_name, content => $content };
}

# With Host and Connection besides.
sub head_of {
    my (@names) = @_;
    return request_bytes( GET => q{/}, { map { $_ => 1 } @names } );
}

sub response {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client->response;
}

# What the options of `listen` and of `new` are.
sub start {
    my ( $options, $defaults ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server( %{ $defaults || {} } );
            $server->listen( \&answer, $options );
        }
    );
}
