#!/usr/bin/env perl
# The request object is a plain hash for whatever a program does with it: elements that
# nobody has asked for yet cannot be told from those that were read before.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report);

use Data::Dumper ();
use JSON::PP     ();
use Scalar::Util qw(blessed isweak looks_like_number reftype weaken);
use Storable     ();

my @KEYS = qw(headers get get_a post post_a cookies REQUEST_BODY buffer file timer);

# What a program may do with an element of $cgi.
my %ACTIONS = (
    'exists'             => sub { my ( $cgi, $key ) = @_; return exists $cgi->{$key} },
    'defined'            => sub { my ( $cgi, $key ) = @_; return defined $cgi->{$key} },
    'truth'              => sub { my ( $cgi, $key ) = @_; return $cgi->{$key} ? 1 : 0 },
    'ref'                => sub { my ( $cgi, $key ) = @_; return ref $cgi->{$key} },
    'ref of the element' => sub { my ( $cgi, $key ) = @_; return ref \$cgi->{$key} },
    'reftype'            => sub { my ( $cgi, $key ) = @_; return reftype $cgi->{$key} },
    'blessed'            => sub { my ( $cgi, $key ) = @_; return blessed $cgi->{$key} },
    'isweak' => sub { my ( $cgi, $key ) = @_; return isweak $cgi->{$key} ? 1 : 0 },
    'looks_like_number' => sub {
        my ( $cgi, $key ) = @_;
        return looks_like_number( $cgi->{$key} ) ? 1 : 0;
    },
    'the value'            => sub { my ( $cgi, $key ) = @_; return $cgi->{$key} },
    'the value of a slice' =>
      sub { my ( $cgi, $key ) = @_; return @{$cgi}{ $key, 'fd' } },
    'keys'   => sub { my ($cgi) = @_; return join q{,}, sort keys %{$cgi} },
    'values' => sub {
        my ($cgi) = @_;
        return map { ref || 'plain' } @{$cgi}{ sort keys %{$cgi} };
    },
    'references in values' => sub {
        my ($cgi) = @_;
        return scalar grep { ref } values %{$cgi};
    },
    'each' => sub {
        my ( $cgi, $wanted ) = @_;
        my %seen;
        while ( my ( $key, $value ) = each %{$cgi} ) { $seen{$key} = $value }
        return $seen{$wanted};
    },
    'a copy of the hash' =>
      sub { my ( $cgi, $key ) = @_; my %copy = %{$cgi}; return $copy{$key} },
    'dclone of the value' => sub {
        my ( $cgi, $key ) = @_;
        return ref $cgi->{$key} eq 'HASH' ? Storable::dclone( $cgi->{$key} ) : 'no hash';
    },
    'dclone at first' => sub {
        my ( $cgi, $key ) = @_;
        my $clone = eval { Storable::dclone( $cgi->{$key} ) };
        return ref $clone eq 'HASH' ? $clone : 'no hash';
    },
    'dclone of the object' => sub {
        my ( $cgi, $key ) = @_;
        local $SIG{__WARN__} = sub { };
        local $Storable::forgive_me = 1;
        return Storable::dclone($cgi)->{$key};
    },
    'freeze and thaw' => sub {
        my ( $cgi, $key ) = @_;
        local $SIG{__WARN__} = sub { };
        local $Storable::forgive_me = 1;
        return Storable::thaw( Storable::freeze( [ $cgi, $cgi ] ) )->[1]{$key};
    },
    'Data::Dumper' => sub { my ( $cgi, $key ) = @_; return dump_of( $cgi->{$key} ) },
    'Data::Dumper of the object' => sub {
        my ($cgi) = @_;
        return dump_of( { map { $_ => $cgi->{$_} } grep { exists $cgi->{$_} } @KEYS } );
    },
    'Data::Dumper of the hash' => sub {
        my ($cgi) = @_;
        local $Data::Dumper::Deparse = 0;
        my $dump = Data::Dumper->new( [$cgi] )->Sortkeys(1)->Maxdepth(3)->Dump;
        return plain($dump);
    },
    'JSON' => sub {
        my ( $cgi, $key ) = @_;
        my $json = JSON::PP->new->canonical->allow_nonref->allow_blessed;
        return plain( $json->encode( { element => $cgi->{$key} } ) );
    },
    'autovivification' => sub {
        my ( $cgi, $key ) = @_;
        return 'no hash' if ref $cgi->{$key} ne 'HASH';
        $cgi->{$key}{new}{deep} = 1;
        return $cgi->{$key};
    },
    'autovivification at once' => sub {
        my ( $cgi, $key ) = @_;
        return 'no hash' if $key =~ /\A(?:REQUEST_BODY|timer)\z/;
        $cgi->{$key}{new}{deep} = 1;
        return $cgi->{$key};
    },
    'local' => sub {
        my ( $cgi, $key ) = @_;
        my $inner = do { local $cgi->{$key} = 'inner'; dump_of( $cgi->{$key} ) };
        return ( $inner, $cgi->{$key} );
    },
    'delete local' => sub {
        my ( $cgi, $key ) = @_;
        my $inner = do { delete local $cgi->{$key}; exists $cgi->{$key} ? 1 : 0 };
        return ( $inner, $cgi->{$key} );
    },
    'delete' => sub {
        my ( $cgi, $key ) = @_;
        my $deleted = delete $cgi->{$key};
        return ( $deleted, exists $cgi->{$key} ? 1 : 0 );
    },
    'delete unseen' => sub {
        my ( $cgi, $key ) = @_;
        delete $cgi->{$key};
        return ( $cgi->{$key}, sort keys %{$cgi} );
    },
    'a slice of delete' =>
      sub { my ( $cgi, $key ) = @_; return delete @{$cgi}{ $key, 'fd' } },
    'assignment' =>
      sub { my ( $cgi, $key ) = @_; $cgi->{$key} = {}; return $cgi->{$key} },
    'undef' => sub { my ( $cgi, $key ) = @_; undef $cgi->{$key}; return $cgi->{$key} },
    '||='   => sub { my ( $cgi, $key ) = @_; $cgi->{$key} ||= 'x'; return $cgi->{$key} },
    '//='   => sub { my ( $cgi, $key ) = @_; $cgi->{$key} //= 'x'; return $cgi->{$key} },
    '.='    => sub { my ( $cgi, $key ) = @_; return plain( $cgi->{$key} .= 'x' ) },
    'an alias of for' => sub {
        my ( $cgi, $key ) = @_;
        for my $alias ( $cgi->{$key} ) { $alias = 'changed' }
        return $cgi->{$key};
    },
    'an alias of a call' => sub {
        my ( $cgi, $key ) = @_;
        sub { $_[0] = 'changed' }
          ->( $cgi->{$key} );
        return $cgi->{$key};
    },
    'a reference to the element' => sub {
        my ( $cgi, $key ) = @_;
        my $reference = \$cgi->{$key};
        return ${$reference};
    },
    'what outlives the object' => sub {
        my ( $cgi, $key ) = @_;
        my $reference = \$cgi->{$key};
        %{$cgi} = ();
        return ${$reference};
    },
    'an element deleted and read later' => sub {
        my ( $cgi, $key ) = @_;
        my $reference = \delete $cgi->{$key};
        %{$cgi} = ();
        return ${$reference};
    },
    'weaken' => sub {
        my ( $cgi, $key ) = @_;
        return 'no reference' if $key =~ /\A(?:REQUEST_BODY|timer)\z/;
        weaken( $cgi->{$key} );
        return $cgi->{$key};
    },
    'weaken while held' => sub {
        my ( $cgi, $key ) = @_;
        return 'no reference' if $key =~ /\A(?:REQUEST_BODY|timer)\z/;
        my $held = $cgi->{$key};
        weaken( $cgi->{$key} );
        return ( $cgi->{$key}, isweak( $cgi->{$key} ) ? 1 : 0 );
    },
    'reblessing' => sub {
        my ( $cgi, $key ) = @_;
        bless $cgi, 'Some::Other';
        my $value = $cgi->{$key};
        bless $cgi, 'HTTP::Server::EV::CGI';
        return $value;
    },
    'the methods' => sub {
        my ($cgi) = @_;
        return (
            $cgi->get('a'),   $cgi->post('p'),
            $cgi->param('a'), scalar $cgi->param('p')
        );
    },
    'a value in both hashes' => sub {
        my ($cgi) = @_;
        ${ \$cgi->{get}{a} } = 'changed';
        return ( $cgi->{get}, $cgi->{get_a} );
    },
    'the other hash first' => sub {
        my ($cgi) = @_;
        my $last = $cgi->{post_a}{p}[-1];
        return ( $last, $cgi->{post}, $cgi->{post_a} );
    },
);

my @PLAN = map {
    my $action = $_;
    map { [ $action, $_ ] } @KEYS
} sort keys %ACTIONS;

subtest 'What was not read yet behaves like what was' => sub {
    my $server = TestServer->start( \&compare );
    for my $step (@PLAN) {
        my ( $action, $key )    = @{$step};
        my ( $read,   $unread ) = map { ask($server) } 1 .. 2;
        is $unread, $read, "$action: $key";
    }
    $server->stop;
};

subtest 'Keys that are there, and keys that are not' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    report( keys => join q{ }, sort keys %{$cgi} );
                    $cgi->header;
                }
            );
        }
    );
    my $always =
        'buffer fd file file_a %sheaders parent_listener post post_a received stack_pos'
      . ' stdout_guard timer';
    my %request = (
        'a GET'            => [ GET => '/' ],
        'an empty query'   => [ GET => '/?' ],
        'a query'          => [ GET => '/?a' ],
        'separators alone' => [ GET => '/?&' ],
        'cookies'          => [ GET => '/', { Cookie => 'a=1' } ],
        'an empty cookie'  => [ GET => '/', { Cookie => q{} } ],
        'a form'           => [
            POST => '/',
            { 'Content-Type' => 'application/x-www-form-urlencoded' }, 'p=1'
        ],
    );
    my %more = (
        'a query'          => 'get get_a',
        'separators alone' => 'get get_a',
        'cookies'          => 'cookies',
        'a form'           => 'REQUEST_BODY',
    );
    for my $name ( sort keys %request ) {
        $server->request( @{ $request{$name} } );
        my @expected = sort split( q{ }, sprintf $always, q{} ), split q{ },
          $more{$name} // q{};
        is_deeply [ split q{ }, $server->await('keys') ], \@expected, $name;
    }
    $server->stop;
};

subtest 'A reply ends with an object of which nothing was read' => sub {
    my $server = TestServer->start(
        sub {
            $_[0]->listen( sub { } );
        }
    );
    my $client = $server->connect;
    $client->send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ok $client->is_closed, 'the connection is closed';
    $server->stop;
};

subtest 'A copy that fails does not hold up the end of the reply' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    my $clone = eval { Storable::dclone($cgi) };
                    $cgi->print( $clone ? 'copied' : 'failed' );
                }
            );
        }
    );
    is $server->request( GET => '/' )->{body}, 'failed', 'the listener cannot be copied';
    $server->stop;
};

subtest 'The Buffer is one, whoever asks for it' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    $cgi->print('one ');
                    my $buffer = $cgi->{buffer};
                    $buffer->print('two ');
                    $cgi->print('three ');
                    print { $cgi->buffer } 'four';
                    report( same => $buffer == $cgi->{buffer} ? 1 : 0 );
                }
            );
        }
    );
    is $server->request( GET => '/' )->{body}, 'one two three four',
      'its output in order';
    is $server->await('same'), 1, 'one Buffer';
    $server->stop;
};

for my $backend ( backends() ) {
    subtest "A received file has an open handle, with $backend" => sub {
        my $server = TestServer->start( \&read_files, backend => $backend );
        $server->upload( { name => 'f', file_name => 'a.txt', content => "one\ntwo\n" } );
        is_deeply [ $server->await('on_file_received') ], [ "one\n", "two\n" ],
          'at its beginning in on_file_received';
        is_deeply [ $server->await('main') ], [ "one\n", "two\n" ],
          'and in the main callback';
        is $server->await('closed'), 'gone', 'gone after close';
        is $server->await('saved'),  'gone', 'gone after save';
        $server->stop;
    };
}

done_testing;

sub ask {
    my ($server) = @_;
    $server->request(
        POST => '/path?a=1&b=%E6&a=2',
        {
            'Content-Type' => 'application/x-www-form-urlencoded',
            Cookie         => 'c=1; d=2',
            'X-One'        => 'two'
        },
        'p=1&q=2&p=3'
    );
    return $server->await('seen');
}

# Each step twice: with an object that was read before, and with an untouched one.
sub compare {
    my ($server) = @_;
    my $count = 0;
    $server->listen(
        sub {
            my ($cgi) = @_;
            my ( $action, $key ) = @{ $PLAN[ $count / 2 ] };
            read_all($cgi) if $count++ % 2 == 0;
            my @seen = $ACTIONS{$action}->( $cgi, $key );
            report( seen => join "\n", map { dump_of($_) } @seen );
        }
    );
    return;
}

sub read_all {
    my ($cgi) = @_;
    return scalar grep { defined } values %{$cgi};
}

sub read_files {
    my ($server) = @_;
    $server->listen(
        sub {
            my ($cgi) = @_;
            my $file = $cgi->{file}{f};
            seek $file->{fh}, 0, 0;
            report( main => readline $file->{fh} );
            $file->close;
            report( closed => exists $file->{fh} ? 'there' : 'gone' );
            $file->save(
                "$server->{directory}/saved",
                sub {
                    report( saved => exists $file->{fh} ? 'there' : 'gone' );
                    $cgi->header;
                }
            );
        },
        {
            on_file_received => sub {
                my ( $cgi, $file ) = @_;
                report( on_file_received => readline $file->{fh} );
            }
        }
    );
    return;
}

sub dump_of {
    my ($value) = @_;
    return plain( Data::Dumper->new( [$value] )->Sortkeys(1)->Indent(1)->Useqq(1)->Dump );
}

# Without what differs from one request to the next.
sub plain {
    my ($text) = @_;
    return $text =~ s/0x[[:xdigit:]]+/ADDRESS/gr =~
      s/"?\b\d{10}\.\d+(?:e[+-]\d+)?"?/TIME/gr =~
      s/\b(fd|REMOTE_PORT|stack_pos)('|")(?:\h=>\h|:)\K["']?\d+["']?/NUMBER/gr;
}
