#!/usr/bin/env perl
# The request object of one request serves another where nobody kept it: what a program
# keeps of it, or does to it, cannot be told from objects that are made anew each time.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

use Data::Dumper ();
use Hash::Util   ();
use Scalar::Util qw(isweak refaddr weaken);
use Tie::Hash    ();
use Tie::Scalar  ();

my @ELEMENTS = qw(
  REQUEST_BODY buffer cookies fd file file_a get get_a headers parent_listener post post_a
  received stack_pos stdout_guard timer
);

# What a program may keep => how it is kept; returns a sub that shows it.
my %KEEPS = (
    'the object' => sub {
        my ($cgi) = @_;
        return sub { $cgi }
    },
    'a reference to its variable' => sub {
        my $reference = \$_[0];
        return sub { ${$reference} };
    },
    'a closure over it' => sub {
        my ($cgi) = @_;
        my $closure = sub { return $cgi->param('name') };
        return sub { [ $closure->(), $cgi->{headers}{HTTP_X_NAME} ] };
    },
    'a copy' => sub {
        my ($cgi) = @_;
        my %copy = %{$cgi};
        return sub { \%copy };
    },
    'an array of all values' => sub {
        my ($cgi) = @_;
        my @values = @{$cgi}{@ELEMENTS};
        return sub { \@values };
    },
    'aliases of all values' => sub {
        my ($cgi) = @_;
        my @aliases = \( @{$cgi}{@ELEMENTS} );
        return sub { \@aliases };
    },
    'aliases that a walk gives' => sub {
        my ($cgi) = @_;
        my @aliases = \( values %{$cgi} );
        return sub {
            [ sort map { dump_of($_) } @aliases ];
        };
    },
    'a weak reference and a strong one' => sub {
        my ($cgi) = @_;
        weaken( my $weak = $cgi );
        return sub { [ $weak, $cgi ] };
    },
    'it, in itself' => sub {
        my ($cgi) = @_;
        $cgi->{itself} = $cgi;
        weaken( my $weak = $cgi );
        return sub { delete local $weak->{itself}; $weak };
    },
    'it, in one of its hashes' => sub {
        my ($cgi) = @_;
        $cgi->{file}{itself} = $cgi;
        weaken( my $weak = $cgi );
        return sub { delete local $weak->{file}{itself}; $weak };
    },
    'what was deleted' => sub {
        my ($cgi) = @_;
        my @deleted = delete @{$cgi}{qw(get headers fd)};
        return sub { \@deleted };
    },
    'what was deleted, unread' => sub {
        my ($cgi) = @_;
        my $deleted = \delete $cgi->{headers};
        return sub { $deleted };
    },
    'an alias of what was deleted and made again' => sub {
        my ($cgi) = @_;
        my $alias = \$cgi->{stack_pos};
        delete $cgi->{stack_pos};
        $cgi->{stack_pos} = 1;
        return sub { $alias };
    },
    'a walk that has begun' => sub {
        my ($cgi) = @_;
        my ($key) = each %{$cgi};
        my $value = \$cgi->{$key};
        return sub { $value };
    },
    'a value of a form' => sub {
        my ($cgi) = @_;
        my @aliases = \( $cgi->{get}{name}, $cgi->{post}{name}, $cgi->{cookies}{name} );
        return sub { \@aliases };
    },
    'a header' => sub {
        my ($cgi) = @_;
        my @aliases = \( @{ $cgi->{headers} }{qw(HTTP_X_NAME QUERY_STRING)} );
        return sub { \@aliases };
    },
    'a hash that is filled later' => sub {
        my ($cgi) = @_;
        my $hash = $cgi->{file};
        return sub { $hash->{later} = 1; $hash };
    },
    'an array that is filled later' => sub {
        my ($cgi) = @_;
        my $array = $cgi->{stdout_guard};
        return sub { $array->[1] = 1; $array };
    },
    'a hash that is tied' => sub {
        my ($cgi) = @_;
        my $hash = $cgi->{file_a};
        tie %{$hash}, 'Tie::StdHash';
        return sub { $hash->{later} = 1; $hash };
    },
    'the Buffer' => sub {
        my ($cgi) = @_;
        my $buffer = $cgi->{buffer};
        return sub { $buffer };
    },
);

subtest 'What was kept stays that of its request' => sub {
    my $server = TestServer->start( \&keep );
    for my $name ( sort keys %KEEPS ) {
        my $client = order( $server, keep => $name );
        my $kept   = $server->await('kept');
        order( $server, other => $_ )->read_all for 1 .. 3;
        order( $server, show  => $name )->read_all;
        is $server->await('kept'), $kept, $name;
    }
    $server->stop;
};

# What a program may do to its object.
my %DEEDS = (
    'nothing'          => sub { },
    'reading'          => sub { my ($cgi) = @_; dump_of($cgi) },
    'reading headers'  => sub { my ($cgi) = @_; $cgi->{headers}{HTTP_HOST} },
    'reading one hash' => sub { my ($cgi) = @_; $cgi->{get_a}{name} },
    'a form'           => sub { my ($cgi) = @_; $cgi->param('name') },
    'a key more'       => sub { my ($cgi) = @_; $cgi->{more} = 1 },
    'a key more, gone' => sub { my ($cgi) = @_; $cgi->{more} = 1; delete $cgi->{more} },
    'many keys more'   => sub { my ($cgi) = @_; $cgi->{$_}   = 1 for 1 .. 100 },
    'many keys more, gone' => sub {
        my ($cgi) = @_;
        $cgi->{$_} = 1 for 1 .. 100;
        delete @{$cgi}{ 1 .. 100 };
    },
    'a key in UTF-8' => sub { my ($cgi) = @_; $cgi->{"\x{263a}"} = 1 },
    'no keys'        => sub { my ($cgi) = @_; %{$cgi} = () },
    'other keys'     => sub {
        my ($cgi) = @_;
        %{$cgi} = map { $_ => 1 } @ELEMENTS;
    },
    'numbers' => sub { my ($cgi) = @_; $_ = 1          for @{$cgi}{@ELEMENTS} },
    'strings' => sub { my ($cgi) = @_; $_ = 'text'     for @{$cgi}{@ELEMENTS} },
    'text'    => sub { my ($cgi) = @_; $_ = "\x{263a}" for @{$cgi}{@ELEMENTS} },
    'undef'   => sub { my ($cgi) = @_; undef $_ for @{$cgi}{@ELEMENTS} },
    'hashes'  => sub { my ($cgi) = @_; $_ = { a => 1 } for @{$cgi}{@ELEMENTS} },
    'arrays'  => sub { my ($cgi) = @_; $_ = [1]        for @{$cgi}{@ELEMENTS} },
    'subs'    => sub {
        my ($cgi) = @_;
        $_ = sub { }
          for @{$cgi}{@ELEMENTS};
    },
    'globs'    => sub { my ($cgi) = @_; $_ = *STDOUT        for @{$cgi}{@ELEMENTS} },
    'itself'   => sub { my ($cgi) = @_; weaken( $_ = $cgi ) for @{$cgi}{@ELEMENTS} },
    'patterns' => sub { my ($cgi) = @_; $_ = ${qr/a/} for @{$cgi}{@ELEMENTS} },
    'versions' => sub { my ($cgi) = @_; $_ = v1.2     for @{$cgi}{@ELEMENTS} },
    'emptied hashes' => sub {
        my ($cgi) = @_;
        %{ $cgi->{$_} } = () for qw(file file_a post post_a headers get);
    },
    'filled hashes' => sub {
        my ($cgi) = @_;
        $cgi->{$_}{new}{deep} = 1 for qw(file file_a post post_a headers get);
    },
    'filled and emptied' => sub {
        my ($cgi) = @_;
        for (qw(file file_a)) { $cgi->{$_}{$_} = 1 for 1 .. 50; %{ $cgi->{$_} } = () }
        push @{ $cgi->{stdout_guard} }, 1 .. 50;
        shift @{ $cgi->{stdout_guard} } for 1 .. 50;
    },
    'walked hashes' =>
      sub { my ($cgi) = @_; keys %{ $cgi->{file} }; each %{ $cgi->{file_a} } },
    'blessed hashes' =>
      sub { my ($cgi) = @_; bless $cgi->{$_}, 'Some::Class' for qw(file stdout_guard) },
    'shared hashes'     => sub { my ($cgi) = @_; $cgi->{file} = $cgi->{file_a} },
    'weakened elements' => sub {
        my ($cgi) = @_;
        weaken( $cgi->{$_} ) for qw(file headers buffer stdout_guard);
    },
    'a strong listener' => sub {
        my ($cgi) = @_;
        my $listener = $cgi->{parent_listener};
        $cgi->{parent_listener} = $listener;
    },
    'constants' => sub {
        my ($cgi) = @_;
        Internals::SvREADONLY( $cgi->{$_}, 1 ) for qw(fd timer file headers);
    },
    'constant hashes' => sub {
        my ($cgi) = @_;
        Internals::SvREADONLY( %{ $cgi->{file} },         1 );
        Internals::SvREADONLY( @{ $cgi->{stdout_guard} }, 1 );
    },
    'a locked hash' => sub { my ($cgi) = @_; Hash::Util::lock_hashref($cgi) },
    'a locked hash with a key deleted' => sub {
        my ($cgi) = @_;
        Hash::Util::lock_ref_keys($cgi);
        delete $cgi->{fd};
    },
    'a locked and unlocked hash' => sub {
        my ($cgi) = @_;
        Hash::Util::lock_ref_keys( $cgi, @ELEMENTS, 'more' );
        Hash::Util::unlock_ref_keys($cgi);
    },
    'a tied hash'          => sub { my ($cgi) = @_; tie %{$cgi}, 'Tie::StdHash' },
    'a hash that was tied' =>
      sub { my ($cgi) = @_; tie %{$cgi}, 'Tie::StdHash'; untie %{$cgi} },
    'tied elements' => sub {
        my ($cgi) = @_;
        tie $cgi->{$_}, 'Tie::StdScalar', 'tied' for qw(fd timer file headers buffer);
    },
    'tied hashes' => sub {
        my ($cgi) = @_;
        tie %{ $cgi->{$_} }, 'Tie::StdHash' for qw(file headers);
    },
    'positions' => sub {
        my ($cgi) = @_;
        for my $element ( @{$cgi}{qw(fd stack_pos timer received)} ) {
            $element =~ /./g;
        }
    },
    'local elements' => sub {
        my ($cgi) = @_;
        local @{$cgi}{@ELEMENTS} = 1 .. @ELEMENTS;
        local $cgi->{more} = 1;
    },
    'deleted local elements' =>
      sub { my ($cgi) = @_; delete local @{$cgi}{@ELEMENTS}; return },
    'deleted elements' => sub { my ($cgi) = @_; delete @{$cgi}{qw(fd headers buffer)} },
    'every element deleted and set' => sub {
        my ($cgi) = @_;
        for (@ELEMENTS) { delete $cgi->{$_}; $cgi->{$_} = 1 }
    },
    'another class'            => sub { my ($cgi) = @_; bless $cgi, 'Some::Class' },
    'another class for a time' => sub {
        my ($cgi) = @_;
        bless $cgi, 'Some::Class';
        bless $cgi, 'HTTP::Server::EV::CGI';
    },
    'a weak reference'  => sub { weaken( our $weak = $_[0] ) },
    'a walk'            => sub { my ($cgi) = @_; keys %{$cgi};          each %{$cgi} },
    'attach'            => sub { my ($cgi) = @_; $cgi->attach(*STDOUT); print 'more' },
    'attach, and close' => sub { my ($cgi) = @_; $cgi->attach(*STDOUT); $cgi->close },
    'buffer'            => sub { my ($cgi) = @_; print { $cgi->buffer } 'more' },
    'a made Buffer'     => sub { my ($cgi) = @_; $cgi->{buffer}->print('more') },
    'flush'             => sub { my ($cgi) = @_; $cgi->flush(0) },
    'flush_wait'        => sub {
        my ($cgi) = @_;
        $cgi->flush_wait( sub { } );
    },
    'fh'           => sub { my ($cgi) = @_; $cgi->fh },
    'set_cookies'  => sub { my ($cgi) = @_; $cgi->set_cookies( { a => 1 } ) },
    'start_timer'  => sub { my ($cgi) = @_; $cgi->start_timer },
    'close'        => sub { my ($cgi) = @_; $cgi->close },
    'drop'         => sub { my ($cgi) = @_; $cgi->drop },
    'next'         => sub { my ($cgi) = @_; $cgi->next },
    'an exception' => sub {
        local $SIG{__WARN__} = sub { };
        eval { die "in main\n" }
    },
    '@_'    => sub { @_ = () },
    '$_[0]' => sub { undef $_[0] },
);

subtest 'What was done to it does not show in the next' => sub {
    my $server = TestServer->start( \&do_deeds );
    my %fresh  = map { $_ => look( $server, $_ ) } qw(POST GET);
    for my $name ( sort keys %DEEDS ) {
        for my $method (qw(POST GET)) {
            order( $server, do => $name, $method )->read_all for 1 .. 2;
            is look( $server, $method ), $fresh{$method}, "$name: $method";
        }
    }
    $server->stop;
};

subtest 'The end of an element that is an object is told' => sub {
    my $server = TestServer->start( \&bless_elements );
    for my $element (qw(fd timer received stack_pos file stdout_guard parent_listener)) {
        order( $server, bless => $element )->read_all;
        is $server->await('ended'), $element, $element;
    }
    for my $header (qw(HTTP_HOST QUERY_STRING SERVER_PORT)) {
        order( $server, bless_header => $header )->read_all;
        is $server->await('ended'),           $header, $header;
        is look_at_class( $server, $header ), q{},     "the next one's $header";
    }
    $server->stop;
};

subtest 'What is put into it goes when the request does' => sub {
    my $server = TestServer->start( \&put_guards );
    for my $element ( @ELEMENTS, 'more', 'in file', 'in headers', 'in stdout_guard' ) {
        order( $server, put => $element )->read_all;
        is $server->await('gone'), $element, $element;
    }
    $server->stop;
};

# What a program may define; returns a sub that takes it back.
my %DESTRUCTORS = (
    'DESTROY in the class' => sub {
        *HTTP::Server::EV::CGI::DESTROY = \&report_end;
        return sub { undef *HTTP::Server::EV::CGI::DESTROY };
    },
    'DESTROY in a parent class' => sub {
        @HTTP::Server::EV::CGI::ISA = 'Some::Parent';
        return sub { @HTTP::Server::EV::CGI::ISA = () };
    },
    'DESTROY in every class' => sub {
        *UNIVERSAL::DESTROY =
          sub { report_end(@_) if ref $_[0] eq 'HTTP::Server::EV::CGI' };
        return sub { undef *UNIVERSAL::DESTROY };
    },
    'AUTOLOAD' => sub {
        *HTTP::Server::EV::CGI::AUTOLOAD = \&report_end;
        return sub { undef *HTTP::Server::EV::CGI::AUTOLOAD };
    },
);

subtest 'Whoever wants to be told of its end is told each time' => sub {
    my $server = TestServer->start( \&define_destructors );
    for my $name ( sort keys %DESTRUCTORS ) {
        order( $server, other  => $_ )->read_all for 1 .. 2;
        order( $server, define => $name )->read_all;
        is $server->await('ended'), 'define', "$name: of the request it comes with";
        for my $request (qw(first second)) {
            order( $server, $request => $name )->read_all;
            is $server->await('ended'), $request, "$name: of the $request after that";
        }
        order( $server, take_back => $name )->read_all;
        order( $server, other     => $name )->read_all;
        is $server->await('request'), 'other', "$name: of none when it is taken back";
    }
    $server->stop;
};

subtest 'A subclass is told of the end of what it was made' => sub {
    my $server = TestServer->start(
        sub {
            serve(
                $_[0],
                sub {
                    my ( $cgi, $purpose ) = @_;
                    report( class => ref $cgi );
                    $cgi->{purpose} = $purpose;
                    bless $cgi, 'Sub::Class';
                }
            );
        }
    );
    for my $request (qw(first second third)) {
        order( $server, $request => 1 )->read_all;
        is $server->await('class'), 'HTTP::Server::EV::CGI', 'the class of the object';
        is $server->await('ended'), $request,                'its end';
    }
    $server->stop;
};

subtest 'One that a Coro thread has is not used again' => sub {
    eval { require Coro; 1 } or plan skip_all => 'Coro is not installed';
    my $server = TestServer->start( \&keep_in_threads );
    my @clients;
    for ( 1 .. 3 ) {
        push @clients, order( $server, park => $_ );
        $server->await('parked');
    }
    order( $server, other => $_ )->read_all for 1 .. 3;
    order( $server, wake  => 1 )->read_all;
    my %seen = map { $server->await('thread') => 1 } 1 .. 3;
    is_deeply [ sort keys %seen ], [ 1 .. 3 ], 'each thread has its own request';
    is_deeply [ map { $_->read_all =~ /thread (\d)/ } @clients ], [ 1 .. 3 ],
      'and its own reply';
    $server->stop;
};

subtest 'One of which nothing is known any more is used again' => sub {
    my $server = TestServer->start(
        sub {
            serve(
                $_[0],
                sub {
                    my ($cgi) = @_;
                    report( addresses => refaddr($cgi), refaddr( \$cgi->{fd} ) );
                    $cgi->param('name');
                }
            );
        }
    );
    my @addresses;
    for ( 1 .. 3 ) {
        order( $server, other => $_ )->read_all;
        push @addresses, join q{,}, $server->await('addresses');
    }
    is_deeply \@addresses, [ ( $addresses[0] ) x 3 ], 'the same hash and element';
    $server->stop;
};

done_testing;

# Tells the server what the next request is for, and sends that, named in all places where
# a request can say something; returns the client.
sub order {
    my ( $server, $purpose, $name, $method ) = @_;
    $server->tell( $purpose, $name );
    $server->await('told');
    my $pair   = 'name=' . join q{}, map { sprintf '%%%02x', ord } split //, $name;
    my %header = ( 'X-Name' => $name );
    my $client = $server->connect;
    if ( $method && $method eq 'GET' ) {
        $client->send( request_bytes( GET => '/', \%header ) );
        return $client;
    }
    %header = (
        %header,
        Cookie         => $pair,
        'Content-Type' => 'application/x-www-form-urlencoded'
    );
    $client->send( request_bytes( POST => "/?$pair", \%header, $pair ) );
    return $client;
}

# What an object looks like in its callback.
sub look {
    my ( $server, $method ) = @_;
    my $client = order( $server, look => 'fresh', $method );
    my $seen   = $server->await('seen');
    return "$seen\nThe reply: " . $client->last_response->{body};
}

# Calls $act with each request object, and with what was ordered: this, unlike what the
# object tells, reads nothing of it.
sub serve {
    my ( $server, $act, $options ) = @_;
    my @ordered;
    $server->on_command( sub { @ordered = @_; report('told') } );
    $server->listen( sub { $act->( $_[0], @ordered ) }, $options );
    return;
}

sub keep {
    my ($server) = @_;
    my %kept;
    serve(
        $server,
        sub {
            my ( undef, $purpose, $name ) = @_;
            $kept{$name} = $KEEPS{$name}->( $_[0] ) if $purpose eq 'keep';
            report( kept => dump_of( $kept{$name}->() ) ) if $purpose ne 'other';
        }
    );
    return;
}

sub do_deeds {
    my ($server) = @_;
    serve(
        $server,
        sub {
            my ( undef, $purpose, $name ) = @_;
            return $DEEDS{$name}->( $_[0] ) if $purpose eq 'do';
            my ($cgi) = @_;
            report( seen => plain( look_at($cgi) ) );
            $cgi->header;
            $cgi->print('page');
        }
    );
    return;
}

# What reports its end where it is a value that is blessed.
package Blessed {
    my $what;
    sub name    { $what = $_[1]; return $_[0] }
    sub DESTROY { main::report( ended => $what ) }
}

sub bless_elements {
    my ($server) = @_;
    serve(
        $server,
        sub {
            my ( $cgi, $purpose, $name ) = @_;
            my $value = $purpose eq 'bless' ? \$cgi->{$name} : \$cgi->{headers}{$name};
            return report( class => Scalar::Util::blessed($value) // q{} )
              if $purpose eq 'look';
            bless $value, Blessed->name($name);
        }
    );
    return;
}

sub look_at_class {
    my ( $server, $header ) = @_;
    order( $server, look => $header )->read_all;
    return $server->await('class');
}

sub look_at {
    my ($cgi)    = @_;
    my $listener = isweak( $cgi->{parent_listener} ) && ref $cgi->{parent_listener};
    my %elements = map { $_ => $cgi->{$_} } grep { $_ ne 'parent_listener' } keys %{$cgi};
    my %tied     = map { $_ => ref tied $cgi->{$_} } keys %{$cgi};
    return dump_of( [ ref $cgi, $listener, ref tied %{$cgi}, \%elements, \%tied ] );
}

# What reports its end.
package Guard {
    sub new     { return bless { element => $_[1] }, $_[0] }
    sub DESTROY { main::report( gone => $_[0]{element} ) }
}

sub put_guards {
    my ($server) = @_;
    serve(
        $server,
        sub {
            my ( $cgi, undef, $element ) = @_;
            my $guard = Guard->new($element);
            if    ( $element eq 'in file' )    { $cgi->{file}{guard}    = $guard }
            elsif ( $element eq 'in headers' ) { $cgi->{headers}{guard} = $guard }
            elsif ( $element eq 'in stdout_guard' ) {
                push @{ $cgi->{stdout_guard} }, $guard;
            }
            else { $cgi->{$element} = $guard }
        }
    );
    return;
}

my $purpose_now;

sub report_end { return report( ended => $purpose_now ) }

sub Sub::Class::DESTROY { return report( ended => $_[0]{purpose} ) }

sub define_destructors {
    my ($server) = @_;
    my $take_back;
    no warnings 'once';
    *Some::Parent::DESTROY = \&report_end;
    serve(
        $server,
        sub {
            ( undef, $purpose_now, my $name ) = @_;
            $take_back = $DESTRUCTORS{$name}->() if $purpose_now eq 'define';
            $take_back->()                    if $purpose_now eq 'take_back';
            report( request => $purpose_now ) if $purpose_now eq 'other';
        }
    );
    return;
}

sub keep_in_threads {
    my ($server) = @_;
    require Coro::EV;
    my $signal = Coro::Signal->new;
    serve(
        $server,
        sub {
            my ( $cgi, $purpose, $name ) = @_;
            return $signal->broadcast if $purpose eq 'wake';
            return                    if $purpose ne 'park';
            report('parked');
            $signal->wait;
            report( thread => $cgi->param('name') );
            $cgi->header;
            $cgi->print("thread $name");
        },
        { threading => 1 }
    );
    return;
}

sub dump_of {
    my ($value) = @_;
    return Data::Dumper->new( [$value] )->Sortkeys(1)->Indent(1)->Useqq(1)->Maxdepth(4)
      ->Dump;
}

# Without what differs from one request to the next.
sub plain {
    my ($text) = @_;
    return $text =~ s/"?\b\d{10}\.\d+(?:e[+-]\d+)?"?/TIME/gr =~
      s/"(fd|REMOTE_PORT|stack_pos)"\h=>\h\K["']?\d+["']?/NUMBER/gr;
}
