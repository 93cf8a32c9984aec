#!/usr/bin/env perl
# 200 uploads of 5 MiB at once: every byte of each arrives where it belongs.

use strict;
use warnings;

use Digest::SHA ();
use FindBin;
use IO::Select ();
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes);

my $UPLOADS = 200;
my $SIZE    = 5 * 2**20;

# All files have the same bytes but for their ends.
my $COMMON =
  substr join( q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. $SIZE / 4 ),
  0, $SIZE - 8;
my $DIGEST = Digest::SHA->new(256)->add($COMMON);

my ( $BEFORE, $AFTER ) = split /CONTENT/,
  upload_bytes(
    { name => 'file', file_name => 'a.bin', content => 'CONTENT' },
    { name => 'end',  content   => 'reached' },
  );
my $LENGTH = length($AFTER) + $SIZE + length($BEFORE) - index( $BEFORE, "\r\n\r\n" ) - 4;
$BEFORE =~ s/^Content-Length: \d+/Content-Length: $LENGTH/m;

for my $backend ( backends() ) {
    subtest "$UPLOADS uploads at once, with $backend" => sub {
        my $server =
          TestServer->start( sub { $_[0]->listen( \&answer ) }, backend => $backend );
        my @clients = map { $server->connect } 1 .. $UPLOADS;
        send_to_all( \@clients, \$BEFORE );
        send_to_all( \@clients, \$COMMON );
        ok $server->await_files($UPLOADS), 'all are under way';

        my @expected;
        for my $number ( 0 .. $#clients ) {
            my $end = sprintf '%08d', $number;
            $clients[$number]->send( $end . $AFTER );
            push @expected, "$SIZE " . $DIGEST->clone->add($end)->hexdigest . ' reached';
        }
        is_deeply [ map { $_->response->{body} } @clients ], \@expected,
          'all are correct';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

done_testing;

sub answer {
    my ($cgi)  = @_;
    my ($file) = @{ $cgi->file('file') };
    my $digest = Digest::SHA->new(256)->addfile( $file->path )->hexdigest;
    $cgi->header;
    $cgi->print( join q{ }, $file->size, $digest, $cgi->post('end')->[0] );
    return;
}

# In turns, as each of them takes it.
sub send_to_all {
    my ( $clients, $bytes ) = @_;
    my %client = map { fileno( $_->socket ) => $_ } @{$clients};
    my %sent   = map { $_                   => 0 } keys %client;
    my $select = IO::Select->new( map { $_->socket } @{$clients} );
    while ( $select->count ) {
        my @ready = $select->can_write($TestServer::DEADLINE)
          or die 'The server takes nothing';
        for my $socket (@ready) {
            my $number = fileno $socket;
            $sent{$number} += syswrite $socket, ${$bytes}, 262_144, $sent{$number};
            $select->remove($socket) if $sent{$number} == length ${$bytes};
        }
    }
    return;
}
