#!/usr/bin/env perl
# The options of `listen`: which values they take, from the listener or from `new`, and what
# they do; what is read once and what for each request.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(answer report request_bytes);

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

subtest 'The options of new are the defaults, and those of listen win' => sub {
    my $server = start( { error_responses => 1, max_uri => 5 }, { max_uri => 4 } );
    is response( $server, request_bytes( GET => '/1234' ) )->{body},    'page', 'as much';
    is response( $server, request_bytes( GET => '/12345' ) )->{status}, 414,    'more';
    $server->stop;

    $server = start( {}, { error_responses => 1, max_uri => 4 } );
    is response( $server, request_bytes( GET => '/1234' ) )->{status}, 414,
      'where listen has none';
    $server->stop;

    $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->new_server(
                plus_as_space => 1,
                on_multipart  => sub { $_[0]->drop }
            );
            $server->listen( sub { $_[0]->header; $_[0]->print( $_[0]->param('a') ) } );
        }
    );
    is $server->request( GET => '/?a=b+c' )->{body}, 'b c', 'plus_as_space';
    is $server->upload( { name => 'a', content => 'b' } )->{body}, 'b',
      'callbacks are for listen alone';
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
my @NUMBER  = ( 'a whole number, 0 or more', -1, 'many', 1.5,    1e30, 'nan', [] );
my @ABOVE_0 = ( 'a whole number above 0',    0,  -1,     'many', 0.5,  1e30,  [] );
my @SECONDS = ( 'a number of seconds, or 0 for none', -1,     'soon', 1e19, [] );
my @CODE    = ( 'a code reference',                   'main', [], {} );
my @LIMITS  = map { "max_$_" } qw(body_size connections cookies field_name field_value
  file_name file_size files parts urlencoded_body urlencoded_fields);
my @WRONG = (
    ( map { [ $_,       @NUMBER ] } @LIMITS ),
    ( map { [ "max_$_", @ABOVE_0 ] } qw(header_line header_size headers uri) ),
    ( map { [ $_,       @SECONDS ] } qw(header_timeout write_timeout) ),
    (
        map { [ $_, @CODE ] }
          qw(fork_hook on_error on_file_open on_file_received on_file_write on_multipart)
    ),
    [
        'body_methods', 'an array reference of method names',
        'POST', {},     [undef], [ 'POST', {} ], [q{}]
    ],
);

# Callbacks are no defaults.
my @WRONG_DEFAULTS = grep { $_->[1] ne $CODE[0] } @WRONG;

subtest 'A wrong value is said at the line of the caller' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            my $path = $server->tmp_path . '/new';
            for_each_wrong( \@WRONG_DEFAULTS,
                sub { HTTP::Server::EV->new( { tmp_path => $path, @_ } ) } );
            report( directory => -d $path ? 'there' : 'none' );
            my $http = $server->new_server;
            for_each_wrong( \@WRONG, sub { $http->listen( 'name', \&answer, {@_} ) } );
        }
    );
    await_each_wrong( $server, 'new', @WRONG_DEFAULTS );
    is $server->await('directory'), 'none', 'new has made no directory then';
    await_each_wrong( $server, 'listen', @WRONG );
    $server->ended;
};

subtest 'A limit that there is not is warned of, at the line of the caller' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            local $SIG{__WARN__} = sub { report( warning => @_ ) };
            my $http =
              HTTP::Server::EV->new(
                { tmp_path => $server->tmp_path, max_filesize => 1 } );
            $http->listen( $server->{socket}, \&answer,
                { max_file => 1, max_files => 1 } );
            report('listens');
        }
    );
    my @told = $server->reports_until('listens');
    is_deeply [ map { $_->[0] } @told ], [qw(warning warning listens)],
      'new and listen warn once each';
    for my $name (qw(max_filesize max_file)) {
        like shift(@told)->[1],
          qr/\AHTTP::Server::EV: there is no limit $name at \Q$0\E line \d+[.]\n\z/,
          $name;
    }
    is $server->request( GET => '/' )->{body}, 'page', 'it is served';
    $server->stop;
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

sub response {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    return $client->response;
}

# In the server: calls it with each wrong option, and reports what it dies of.
sub for_each_wrong {
    my ( $wrong, $call ) = @_;
    for ( @{$wrong} ) {
        my ( $option, undef, @values ) = @{$_};
        for my $value (@values) {
            report( error => eval { $call->( $option => $value ); 1 } ? 'none' : $@ );
        }
    }
    return;
}

sub await_each_wrong {
    my ( $server, $call, @wrong ) = @_;
    for (@wrong) {
        my ( $option, $what, @values ) = @{$_};
        like $server->await('error'),
          qr/\AHTTP::Server::EV: $option takes $what at \Q$0\E line \d+[.]\n\z/,
          "$call: $option => $_"
          for @values;
    }
    return;
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
