#!/usr/bin/env perl
# No public method leaves a Perl value behind, where it works and where it fails. Server and
# client are in this one process, whose values Test::LeakTrace counts. The table has to have
# every method that there is.

use strict;
use warnings;

use B ();
use EV;
use File::Temp ();
use FindBin;
use IO::Socket::INET;
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Symbol qw(gensym);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(upload_bytes);

use HTTP::Server::EV;
use HTTP::Server::EV::IO::AIO;
use HTTP::Server::EV::IO::Blocking;

plan skip_all => 'Test::LeakTrace is not installed'
  if !eval { require Test::LeakTrace; 1 };

# If each exchange leaves a value, so many more exchanges leave as many values more. What is kept
# for the next exchange, in place of what the last one has kept, does not count then.
my $EXCHANGES = 3;
my $MORE      = 10;

my $directory = File::Temp->newdir( 'leaktrace-XXXXXXXX', TMPDIR => 1 );
my $server    = HTTP::Server::EV->new( { tmp_path => "$directory/tmp" } );

# Two files, a field, a query and cookies.
my $REQUEST = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'line 1', file_name => 'a.txt' },
    { name => 'file',  content => 'line 2', file_name => 'b.txt' },
) =~ s{ / HTTP}{ /page?a=1&a=2&b=3 HTTP}r =~ s{\r\n}{\r\nCookie: a=1; b=2\r\n}r;

my $socket = bound_socket();
my $listener;

# What is done with the request of the exchange.
my %current;

# The last warning. A list of them would be values that are left.
my $complaint = q{};
local $SIG{__WARN__} = sub { $complaint = $_[0] };

# What the exchange waits for besides the end of the connection.
my $pending = 0;

# A callback that has to be called.
sub awaited {
    $pending++;
    return sub { $pending-- };
}

sub failure {
    my ($code) = @_;
    return if !eval { $code->(); 1 };
    die "It has not failed\n";
}

# What a request of which the code does nothing else leaves to be counted.
sub reply {
    my ($cgi) = @_;
    $cgi->header( { 'X-Name' => 'value' } );
    $cgi->print('page');
    return;
}

sub tied_handle {
    my ($cgi) = @_;
    open my $handle, '>', '/dev/null' or die "/dev/null: $!";
    $cgi->attach($handle);
    return $handle;
}

# Package => method => what is done with the request in the main callback, or a hash of
# such code by callback.
my %METHODS = (
    'HTTP::Server::EV' => {
        'CLONE_SKIP' => sub { HTTP::Server::EV->CLONE_SKIP },
        'DESTROY'    => sub { bless {}, 'HTTP::Server::EV' },
        'cleanup'    => sub {
            open my $file, '>', "$directory/tmp/left" or die "open: $!";
            close $file      or die "close: $!";
            $server->cleanup or die 'It was not deleted';
        },
        'drop_req' => sub { HTTP::Server::EV::drop_req( $_[0]{stack_pos} ) },

        # One that succeeds is there as long as the process.
        'listen' => sub {
            failure( sub { $server->listen( $socket, \&reply ) } );
            failure( sub { $server->listen('nothing') } );
            failure( sub { $server->listen( bound_socket(), 'reply' ) } );
            failure(
                sub { $server->listen( bound_socket(), \&reply, { max_uri => 'x' } ) } );
        },
        'listen_socket' => sub {
            failure( sub { HTTP::Server::EV::listen_socket( -1, \&reply ) } );
        },
        'new' => sub {
            HTTP::Server::EV->new( { timeout => 1 } );
            local $HTTP::Server::EV::instance = undef;
            HTTP::Server::EV->new( { tmp_path => "$directory/tmp" } );
            undef $HTTP::Server::EV::instance;
            failure( sub { HTTP::Server::EV->new('tmp') } );
            failure( sub { HTTP::Server::EV->new( { tmp_path => "$directory/no/such" } ) }
            );
        },
        'start_listen' => sub { HTTP::Server::EV::start_listen( $listener->{ptr} ) },
        'start_req'    => sub { HTTP::Server::EV::start_req( $_[0]{stack_pos} ) },
        'stop'         => sub {
            $server->stop( started_again() );
            failure( sub { $server->stop('now') } );
        },
        'stop_listen' => sub {
            HTTP::Server::EV::stop_listen( $listener->{ptr} );
            HTTP::Server::EV::start_listen( $listener->{ptr} );
        },
        'stop_req'   => { on_multipart => \&pause_by_number },
        'url_decode' => sub {
            my @decoded = map { HTTP::Server::EV::url_decode($_) } 'a%20%D1%8F', q{},
              '%FF';
        },
    },
    'HTTP::Server::EV::PortListener' => {
        'CLONE_SKIP' => sub { HTTP::Server::EV::PortListener->CLONE_SKIP },
        'start'      => sub { $listener->start },
        'stop'       => sub {
            $listener->stop( started_again() );
            failure( sub { $listener->stop('now') } );
        },
    },
    'HTTP::Server::EV::CGI' => {
        'CLONE_SKIP'      => sub { HTTP::Server::EV::CGI->CLONE_SKIP },
        'STORABLE_freeze' => sub { my @frozen = $_[0]->STORABLE_freeze(0) },
        'STORABLE_thaw'   => sub {
            my ($cgi) = @_;
            my $other = bless {}, ref $cgi;
            $other->STORABLE_thaw( 0, $cgi->STORABLE_freeze(0) );
        },
        'attach' => sub {
            my ($cgi) = @_;
            $cgi->attach(*STDOUT);
            $cgi->header;
            print 'page';
            $cgi->close;
            failure( sub { $cgi->attach(*STDOUT) } );
        },
        'buffer' => sub {
            my ($cgi) = @_;
            print { $cgi->buffer } 'page';
            $cgi->close;
            failure( sub { $cgi->buffer } );
        },
        'close' => sub { reply( $_[0] ); $_[0]->close },
        'copy'  => sub {
            my ($cgi) = @_;
            $cgi->copy( my $copy = gensym );
            failure( sub { $cgi->copy('nothing::like::it') } );
        },
        'drop' => sub { $_[0]->drop },
        'fd'   => sub { my $number = $_[0]->fd },
        'fh'   => sub {
            my ($cgi) = @_;
            my $handle = $cgi->fh;
            $cgi->close;
            failure( sub { $cgi->fh } );
        },
        'file' => sub {
            my @files = map { @{ $_[0]->file($_) } } qw(file nothing);
        },
        'flush' => sub {
            my ($cgi) = @_;
            reply($cgi);
            $cgi->flush(0);
            $cgi->close;
            failure( sub { $cgi->flush } );
        },
        'flush_timer' => sub { my $seconds = $_[0]->flush_timer },
        'flush_wait'  => sub {
            my ($cgi) = @_;
            reply($cgi);
            $cgi->flush_wait( awaited() );
            failure( sub { $cgi->flush_wait('now') } );
            $cgi->flush_wait;
        },
        'get' => sub {
            my @values = map { @{ $_[0]->get($_) } } qw(a nothing);
        },
        'header' => sub {
            my ($cgi) = @_;
            failure( sub { $cgi->header('Status') } );
            $cgi->header( { STATUS => '404 Not Found', 'X-Name' => "\x{263a}" } );
            $cgi->close;
            failure( sub { $cgi->header } );
        },
        'next'  => sub { reply( $_[0] ); $_[0]->next },
        'param' => sub {
            my ($cgi) = @_;
            my @values =
              map { ( $cgi->param($_), scalar $cgi->param($_) ) } qw(a field c);
        },
        'post' => sub {
            my @values = map { @{ $_[0]->post($_) } } qw(field nothing);
        },
        'print' => sub {
            my ($cgi) = @_;
            reply($cgi);
            $cgi->print( 'text ', "\x{263a}", 1, undef // q{} );
            $cgi->close;
            failure( sub { $cgi->print('more') } );
        },
        'set_cookies' => sub {
            my ($cgi) = @_;
            $cgi->set_cookies( { name => 'value' } );
            $cgi->set_cookies( { name => "\x{263a}" }, 60 );
            failure( sub { $cgi->set_cookies('name') } );
            reply($cgi);
        },
        'start'       => sub { $_[0]->start },
        'start_timer' => sub { my $now = $_[0]->start_timer },
        'stop'        => { on_multipart => \&pause },
        'urldecode'   => sub {
            my @text = map { $_[0]->urldecode($_) } 'a%20%D1%8F', '%FF';
        },
    },
    'HTTP::Server::EV::Buffer' => {
        (
            map { $_ => buffer_call($_) }
              qw(BINMODE CLONE_SKIP CLOSE EOF FILENO TIEHANDLE)
        ),
        ( map { $_ => failing_buffer_call($_) } qw(GETC READ READLINE) ),
        'PRINT'  => sub { print { $_[0]->buffer } 'page', "\x{263a}" },
        'PRINTF' => sub { printf { $_[0]->buffer } '%s and %s', 'page', "\x{263a}" },
        'WRITE'  => sub {
            my $handle = $_[0]->buffer;
            syswrite $handle, 'a page', 4, 2;
            failure( sub { syswrite $handle, 'a page', 4, 20 } );
        },
        'flush'      => sub { reply( $_[0] ); $_[0]{buffer}->flush(1) },
        'flush_wait' => sub {
            my ($cgi) = @_;
            $cgi->{buffer}->flush_wait( awaited() );
            failure( sub { $cgi->{buffer}->flush_wait( {} ) } );
        },
        'give_up_handle' => sub {
            my $handle = $_[0]{buffer}->give_up_handle;
            syswrite $handle, 'bytes';
        },
        'new' => sub {
            my $client  = socketpair_of( my $handle = gensym );
            my $is_gone = awaited();
            my $buffer;
            $buffer = HTTP::Server::EV::Buffer->new(
                {
                    fh      => $handle,
                    flush   => 1,
                    onerror => sub { undef $buffer; $is_gone->() }
                }
            );
            close $client or die "close: $!";
            $buffer->print('nobody reads it');
            failure( sub { HTTP::Server::EV::Buffer->new( {} ) } );
            failure( sub { HTTP::Server::EV::Buffer->new(1) } );
        },
        'print'  => sub { $_[0]{buffer}->print( 'page', "\x{263a}" ) },
        'printf' => sub { $_[0]{buffer}->printf( '%s and %s', 'page', "\x{263a}" ) },
    },
    'HTTP::Server::EV::BufTie' => {
        ( map { $_ => tie_call($_) } qw(BINMODE CLONE_SKIP CLOSE EOF FILENO) ),
        ( map { $_ => failing_tie_call($_) } qw(GETC READ READLINE) ),
        'PRINT' => sub {
            my ($cgi) = @_;
            my $handle = tied_handle($cgi);
            print {$handle} 'page';
            $cgi->close;
            print {$handle} 'not to the reply';
        },
        'PRINTF'    => sub { printf { tied_handle( $_[0] ) } '%s', 'page' },
        'TIEHANDLE' => sub {
            tie *{ my $handle = gensym }, 'HTTP::Server::EV::BufTie', *STDERR;
        },
        'WRITE' => sub {
            my ($cgi) = @_;
            my $handle = tied_handle($cgi);
            syswrite $handle, 'a page', 4, 2;
            $cgi->close;
            syswrite $handle, 'not to the reply';
        },
    },
    'HTTP::Server::EV::MultipartFile' => {
        'CLONE_SKIP' => sub { HTTP::Server::EV::MultipartFile->CLONE_SKIP },
        'close'      => \&close_file,
        'fh'         => \&read_file,
        'name'       => sub {
            my @names = map { $_->name } @{ $_[0]->file('file') };
        },
        'path' => sub {
            my @paths = map { $_->path } @{ $_[0]->file('file') };
        },
        'save' => { main => \&save_file, complaint => qr/failed to move file/ },
        'size' => sub {
            my @sizes = map { $_->size } @{ $_[0]->file('file') };
        },
    },
    'HTTP::Server::EV::IO::AIO' => {
        'close' => \&close_file,
        'fh'    => sub {
            my ($cgi) = @_;
            read_file($cgi);
            failure( sub { $cgi->file('file')->[0]->fh } );
        },
        'save' => { main => \&save_file, complaint => qr/failed to move file/ },
    },
    'HTTP::Server::EV::IO::Blocking' => {
        'close' => \&close_file,
        'fh'    => sub {
            my ($cgi) = @_;
            read_file($cgi);
            my $line = readline $cgi->file('file')->[0]->fh;
        },
        'save' => { main => \&save_file, complaint => qr/failed to move file/ },
    },
);

# What happens besides methods: callback => code, or a client that does not send all.
my %COURSES = (
    'nothing is done' => sub { },
    'every callback'  => {
        on_multipart     => \&touch,
        on_file_open     => \&touch,
        on_file_write    => \&touch,
        on_file_received => \&touch,
        main             => \&touch,
        on_error         => \&touch,
    },
    'every element is asked for' => sub {
        my ($cgi) = @_;
        my @values = map { ref eq 'HASH' ? %{$_} : $_ } values %{$cgi};
    },
    'elements are changed' => sub {
        my ($cgi) = @_;
        $cgi->{headers}{Mine} = $cgi->{get} = $cgi->{mine} = [1];
        delete $cgi->{cookies};
    },
    'an exception' =>
      { main => sub { die "as it should\n" }, complaint => qr/as it should/ },
    'a drop in each callback' =>
      { on_file_open => sub { $_[0]->drop }, on_error => \&touch },
);

$listener = $server->listen(
    $socket,
    sub { call( main => @_ ) },
    {
        map {
            my $name = $_;
            $name => sub { call( $name => @_ ) }
        } qw(on_multipart on_file_open on_file_write on_file_received on_error)
    }
);

subtest 'The table has every public method' => sub {
    for my $package ( sort keys %METHODS ) {
        is_deeply [ sort keys %{ $METHODS{$package} } ], public_methods($package),
          $package;
    }
    my @packages =
      grep { /\AHTTP::Server::EV\b/ } map { s{/}{::}gr =~ s/[.]pm\z//r } keys %INC;
    is_deeply [ sort keys %METHODS ], [ sort @packages ], 'and every package';
};

subtest 'One value that is left is found' => sub {
    my @kept;
    cmp_ok left_by( sub { push @kept, 'value' } ), '>=', $MORE, 'in an array';
    cmp_ok left_by( sub { my $cycle = []; push @{$cycle}, $cycle } ), '>=', $MORE,
      'in a cycle';
};

for my $package ( sort keys %METHODS ) {
    subtest $package => sub {
        HTTP::Server::EV::IO::AIO->_use_me;
        $package->_use_me if $package =~ /::IO::/;
        my $methods = $METHODS{$package};
        leaves_nothing( $_ => $methods->{$_} ) for sort keys %{$methods};
    };
}

for my $backend (qw(AIO Blocking)) {
    subtest "The course of a request, with $backend" => sub {
        "HTTP::Server::EV::IO::$backend"->_use_me;
        leaves_nothing( $_ => $COURSES{$_} ) for sort keys %COURSES;
    };
}

done_testing;

sub leaves_nothing {
    my ( $name, $code ) = @_;
    $complaint = q{};
    my $count = left_by($code);
    cmp_ok $count, '<', $MORE / 2, $name;
    my $expected = ref $code eq 'HASH' && $code->{complaint} || qr/\A\z/;
    return like $complaint, $expected, 'with the warnings it should give';
}

# How many values more are left by more exchanges.
sub left_by {
    my ($code) = @_;
    %current = ref $code eq 'HASH' ? %{$code} : ( main => $code );

    # What is made once and kept.
    exchange() for 1 .. $EXCHANGES;
    my $few = Test::LeakTrace::leaked_count( sub { exchange() for 1 .. $EXCHANGES } );
    my $many =
      Test::LeakTrace::leaked_count( sub { exchange() for 1 .. $EXCHANGES + $MORE } );
    return $many - $few;
}

# Sends the request and runs the loop until the connection has ended.
sub exchange {
    my $client =
      IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $socket->sockport )
      or die "connect: $@";
    syswrite( $client, $REQUEST ) == length $REQUEST or die "write: $!";
    my $is_over = 0;
    my $watcher = EV::io( $client, EV::READ,
        sub { $is_over = 1 if !sysread $client, my $bytes, 65_536 } );
    my $is_late  = 0;
    my $deadline = EV::timer( $TestServer::DEADLINE, 0, sub { $is_late = 1 } );
    while ( !$is_over || $pending ) {
        EV::run(EV::RUN_ONCE);
        BAIL_OUT('The exchange does not end') if $is_late;
    }
    return;
}

sub call {
    my ( $name, @arguments ) = @_;
    my $code = $current{$name} or return;
    $code->(@arguments);
    return;
}

# Methods written in Perl and in Rust alike, but neither what is private nor what was
# imported, nor what XSLoader defines.
sub public_methods {
    my ($package) = @_;
    no strict 'refs';    ## no critic (ProhibitNoStrict)
    my @methods = grep {
             !/\A(?:_|bootstrap\z)/
          && defined &{"${package}::$_"}
          && B::svref_2object( \&{"${package}::$_"} )->GV->STASH->NAME =~
          /\AHTTP::Server::EV\b/
    } keys %{"${package}::"};
    return [ sort @methods ];
}

# Makes the handle one end; returns the other.
sub socketpair_of {
    my ($handle) = @_;
    socketpair $handle, my $other, AF_UNIX, SOCK_STREAM, PF_UNSPEC
      or die "socketpair: $!";
    return $other;
}

sub bound_socket {
    return IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 5 )
      || die "listen: $@";
}

sub started_again {
    my $is_stopped = awaited();
    return sub { $listener->start; $is_stopped->() };
}

sub pause {
    my ($cgi) = @_;
    $cgi->stop;
    my $resume = awaited();
    my $timer;
    $timer = EV::timer( 0, 0, sub { undef $timer; $cgi->start; $resume->() } );
    return;
}

sub pause_by_number {
    my ($cgi) = @_;
    my $number = $cgi->{stack_pos};
    HTTP::Server::EV::stop_req($number);
    my $resume = awaited();
    my $timer;
    $timer = EV::timer( 0, 0,
        sub { undef $timer; HTTP::Server::EV::start_req($number); $resume->() } );
    return;
}

sub touch {
    my ( $cgi, $file, $data ) = @_;
    my $agent = $cgi->{headers}{HTTP_HOST};
    $file->{length} += length $data if defined $data;
    return;
}

sub close_file {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('file') };
    $file->fh( sub { $file->close( awaited() ) } );
    return;
}

sub read_file {
    my ($cgi) = @_;
    my $is_read = awaited();
    $cgi->file('file')->[0]->fh( sub { my $line = readline $_[0]; $is_read->() } );
    return;
}

sub save_file {
    my ($cgi) = @_;
    my ( $file, $other ) = @{ $cgi->file('file') };
    $file->save("$directory/moved");
    $file->save( "$directory/copied", awaited() );
    $other->save( "$directory/no/such", awaited() );
    failure( sub { $file->save } );
    failure( sub { $file->save( "$directory/saved", 'then' ) } );
    return;
}

sub buffer_call {
    my ($method) = @_;
    return sub { my $value = $_[0]{buffer}->$method };
}

sub failing_buffer_call {
    my ($method) = @_;
    return sub {
        my ($cgi) = @_;
        failure( sub { $cgi->{buffer}->$method } );
    };
}

sub tie_call {
    my ($method) = @_;
    return sub { my $value = tied( *{ tied_handle( $_[0] ) } )->$method };
}

sub failing_tie_call {
    my ($method) = @_;
    return sub {
        my ($cgi) = @_;
        failure( sub { tied( *{ tied_handle($cgi) } )->$method } );
    };
}
