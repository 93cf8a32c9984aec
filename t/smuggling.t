#!/usr/bin/env perl
# Requests that state their length twice or badly, as t/conformance/smuggling.txt has
# them: a request never hides in another, neither here nor behind a proxy.

use strict;
use warnings;

use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use Conformance          qw(test_cases);
use Conformance::Cases   qw(printable shortened);
use Conformance::Replies qw(replies);
use Conformance::Connection;
use Conformance::Proxy;
use Nginx;
use Conformance::Server;

my @CASES = Conformance::Cases::read_file("$FindBin::Bin/conformance/smuggling.txt");

# Is sent right behind each case.
my $NEXT = "GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";

# What another client asks.
my $OTHER_ECHO = 'GET /other';
my $OTHER      = "$OTHER_ECHO HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";

subtest 'Each is refused, or read as RFC 9112 has it' => sub {
    test_cases(@CASES);
};

for my $buffers ( 0, 1 ) {
    my $when = $buffers ? 'once it has all of it' : 'as it comes';
    subtest "Behind nginx, which sends a request on $when" => sub {
        plan skip_all => 'nginx is not installed' if !Nginx::program();
        behind_proxy( buffers => $buffers );
    };
}

done_testing;

# Another client's request follows each case on the connection of nginx to the server.
sub behind_proxy {
    my (%option) = @_;
    my $server   = Conformance::Server::start();
    my $proxy    = Conformance::Proxy->new( $server->port, %option );
    my ( @stolen, @shared );
    for my $case (@CASES) {
        my ($block) = @{ $case->{blocks} };
        my @replies = talk( $proxy, $block->{bytes} . $NEXT );
        my ($other) = talk( $proxy, $OTHER );
        push @stolen, $case->{name} if ( $other->{echo} // q{} ) ne $OTHER_ECHO;
        push @shared, $case->{name}
          if @replies && port_of( $replies[-1] ) eq port_of($other);
    }
    my $seen = Conformance::Server::seen($server);
    my @sent = $proxy->stop;

    is_deeply \@stolen, [],
      "another client's request has its own answer behind each case";
    cmp_ok @shared, '>', 50, 'often on a connection that served the case';
    my %handled = map { sent_as($_) => 1 } grep { $_->{status} =~ /\A2/ } @sent;
    is_deeply $seen, \%handled,
      'the server saw what nginx sent, each once, and nothing else';
    is_deeply [ grep { $_->{status} !~ /\A[24]/ } @sent ], [], 'and refused the rest';
    return $server->stop;
}

# The replies to these bytes on a connection of their own.
sub talk {
    my ( $proxy, $bytes ) = @_;
    my $connection = Conformance::Connection->new( $proxy->port );
    $connection->send($bytes);
    while ( !$connection->ended && $connection->wait ) { }
    return replies( $connection->received, 1 );
}

# From which port nginx has sent what this answers; another text where nginx has not.
sub port_of {
    my ($reply) = @_;
    my ($port)  = Conformance::Replies::values_of( $reply, 'saw-port' );
    return $port // "none $reply";
}

# As the handler sees it, which is given no body but with these methods.
sub sent_as {
    my ($sent) = @_;
    my $saw = "$sent->{method} $sent->{target}";
    $saw .= " $sent->{body}"
      if $sent->{method} =~ /\A(?:POST|PUT|PATCH)\z/ && length $sent->{body};
    return "$sent->{id} " . shortened( printable($saw) );
}
