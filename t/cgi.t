#!/usr/bin/env perl
# The request object itself: its keys, and the methods that tell of the request as a
# whole.

use strict;
use warnings;

use FindBin;
use Scalar::Util qw(isweak);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report);

my $URLENCODED = { 'Content-Type' => 'application/x-www-form-urlencoded' };

subtest 'The keys of the object' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            return { map { $_ => ref $cgi->{$_} } keys %{$cgi} };
        }
    );
    my @always =
      qw(buffer fd file file_a headers parent_listener post post_a received stack_pos
      stdout_guard timer);

    is_deeply [ sort keys %{ $server->seen( GET => '/' ) } ], [ sort @always ],
      'of a GET';
    is_deeply [ sort keys %{ $server->seen( GET => '/?a=1', { Cookie => 'b=2' } ) } ],
      [ sort @always, qw(cookies get get_a) ], 'with a query and a cookie';
    my $keys = $server->seen( POST => '/', $URLENCODED, 'a=1' );
    is_deeply [ sort keys %{$keys} ], [ sort @always, 'REQUEST_BODY' ], 'of a POST';
    is $keys->{buffer},          'HTTP::Server::EV::Buffer',       'the buffer is one';
    is $keys->{parent_listener}, 'HTTP::Server::EV::PortListener', 'the listener is one';
    $server->stop;

    $server = TestServer->start( sub { $_[0]->listen( \&make_keys ) } );
    $server->request( GET => '/' );
    is_deeply [ $server->await('made') ], [qw(buf_fh cookiesbuffer)],
      'made by buffer and set_cookies';
    is_deeply [ $server->await('gone') ], [qw(buf_fh buffer)], 'gone by close';
    $server->stop;
};

subtest 'The values of the object' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            return {
                is_own_socket => -S $cgi->fh && $cgi->fh->fileno ? 1 : 0,
                fd            => $cgi->fd == $cgi->{fd}          ? 1 : 0,
                received      => $cgi->{received},
                body          => $cgi->{REQUEST_BODY},
                port          => ref $cgi->{parent_listener}{cb},
                is_weak       => isweak( $cgi->{parent_listener} ) ? 1 : 0,
            };
        }
    );
    my $raw = "a=1&b=%D1%8F+\0\xff";
    is_deeply $server->seen( POST => '/', $URLENCODED, $raw ),
      {
        is_own_socket => 1,
        fd            => 1,
        received      => 1,
        body          => $raw,
        port          => 'CODE',
        is_weak       => 1,
      },
      'fd, received, REQUEST_BODY, parent_listener';
    is $server->seen( POST => '/', $URLENCODED, q{} )->{body}, q{}, 'an empty body';
    is $server->seen( POST => '/', { 'Content-Type' => 'text/xml' }, '<a/>' )->{body},
      '<a/>',
      'a body of another type';
    $server->stop;
};

subtest 'start_timer and flush_timer' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            my $since_begin = $cgi->flush_timer;
            $cgi->{timer} -= 100;
            my $earlier = $cgi->flush_timer;
            $cgi->start_timer;
            return [ $since_begin >= 0, $earlier >= 100, $cgi->flush_timer < 100 ];
        }
    );
    is_deeply [ map { $_ ? 1 : 0 } @{ $server->seen( GET => '/' ) } ], [ 1, 1, 1 ],
      'the seconds since the beginning, or since start_timer';
    $server->stop;
};

done_testing;

# In the child: reports the keys that methods make, and those that `close` takes away.
sub make_keys {
    my ($cgi) = @_;
    my %before = map { $_ => 1 } keys %{$cgi};
    $cgi->set_cookies( { a => 1 } );
    $cgi->buffer;
    my @all = keys %{$cgi};
    report( made => sort grep { !$before{$_} } @all );
    $cgi->close;
    report( gone => sort grep { !exists $cgi->{$_} } @all );
    return;
}
