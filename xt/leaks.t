#!/usr/bin/env perl
# 100,000 requests, each by itself and on kept connections, and 10,000 uploads, and as many
# that fail: memory, descriptors and files do not grow. Usage: prove -lv xt/leaks.t
#
# LEAKS_REQUESTS and LEAKS_UPLOADS set other numbers.

use strict;
use warnings;

# So that what is freed goes back to the system: a leak is seen then, which would otherwise
# fill what large buffers have left behind. See mallopt(3).
BEGIN {
    my %malloc = (
        MALLOC_ARENA_MAX       => 1,
        MALLOC_MMAP_THRESHOLD_ => 65_536,
        MALLOC_TRIM_THRESHOLD_ => 65_536,
        MALLOC_TOP_PAD_        => 0,
    );
    if ( !$ENV{MALLOC_TRIM_THRESHOLD_} ) {
        local @ENV{ keys %malloc } = values %malloc;
        exec $^X, ( map { "-I$_" } grep { !ref } @INC ), $0;
    }
}

use FindBin;
use Test::More;

use lib "$FindBin::Bin/../t/lib";
use TestServer qw(backends kept_request_bytes request_bytes upload_bytes);

my $REQUESTS = $ENV{LEAKS_REQUESTS} || 100_000;
my $UPLOADS  = $ENV{LEAKS_UPLOADS}  || 10_000;

# What may be taken besides, in KiB. One leaked SV (24 bytes, and a body of as much or more)
# at each upload would be twice as much.
my $NOISE = 256;

my $REQUEST = request_bytes(
    GET => '/page?a=1&b=2',
    { 'Cookie' => 'session=abc', 'User-Agent' => 'leaks.t', 'Accept' => '*/*' }
);
my $UPLOAD = upload_bytes(
    { name => 'field', content => 'text' },
    { name => 'file',  content => 'x' x 5_000, file_name => 'a.txt' },
    { name => 'file',  content => 'y',         file_name => 'b.txt' },
);

# So many on each connection, whose request objects serve one after the other.
my $KEPT = 100;
my $PAGE = kept_request_bytes( GET => '/plain?a=1&b=2', { Cookie => 'session=abc' } );

# Makes the writer threads start, which otherwise may happen when the disk is first slow.
my $LARGE_UPLOAD =
  upload_bytes( { name => 'file', content => 'x' x 3_000_000, file_name => 'large' } );

# What a client does, and how often.
my %CLIENTS = (
    'requests'       => [ $REQUESTS,         sub { exchange( $_[0], $REQUEST ) } ],
    'kept requests'  => [ $REQUESTS / $KEPT, sub { exchange( $_[0], $PAGE x $KEPT ) } ],
    'uploads'        => [ $UPLOADS,          sub { exchange( $_[0], $UPLOAD ) } ],
    'broken uploads' => [ $UPLOADS, sub { exchange( $_[0], substr $UPLOAD, 0, 3_000 ) } ],
    'dropped uploads' => [ $UPLOADS, sub { exchange( $_[0], $UPLOAD =~ s{/}{/drop}r ) } ],
    'exceptions'      => [ $UPLOADS, sub { exchange( $_[0], $UPLOAD =~ s{/}{/die}r ) } ],
    'malformed heads' => [ $UPLOADS, sub { exchange( $_[0], "nonsense\r\n\r\n" ) } ],
);

for my $backend ( backends() ) {
    for my $kind ( sort keys %CLIENTS ) {
        my ( $count, $exchange ) = @{ $CLIENTS{$kind} };
        subtest "$count $kind, with $backend" => sub {
            my $server = TestServer->start( \&serve, backend => $backend );
            exchange( $server, $LARGE_UPLOAD ) for 1 .. 10;
            $exchange->($server) for 1 .. $count / 10;
            $server->await_files(0);
            my ( $memory, $descriptors ) = ( memory($server), $server->descriptors );

            $exchange->($server) for 1 .. $count;
            ok $server->await_files(0),                  'no file is left';
            ok $server->await_descriptors($descriptors), 'nor a descriptor';
            my $growth = memory($server) - $memory;
            cmp_ok $growth, '<', $NOISE, "memory: $memory KiB, and $growth more";
            $server->stop;
        };
    }
}

done_testing;

# Uses much of what an application uses.
sub serve {
    my ($server) = @_;
    $SIG{__WARN__} = sub { };    ## no critic (RequireLocalizedPunctuationVars)
    $server->listen(
        sub {
            my ($cgi) = @_;
            return plain($cgi) if $cgi->{headers}{SCRIPT_NAME} eq '/plain';
            $cgi->attach(*STDOUT);
            $cgi->set_cookies( { seen => 1 } );
            $cgi->header( { 'X-Header' => 'value' } );
            print 'page ', scalar $cgi->param('a') // q{};
            $cgi->flush_wait( sub { } );
            for my $file ( @{ $cgi->file('file') } ) {
                $file->fh( sub { readline $_[0] } );
            }
            die "an exception\n" if $cgi->{headers}{SCRIPT_NAME} eq '/die';
        },
        {
            on_file_open => sub { $_[0]->drop if $_[0]{headers}{SCRIPT_NAME} eq '/drop' },
            on_file_write => sub { $_[1]{length} += length $_[2] },
            on_error      => sub { },
        }
    );
    return;
}

sub exchange {
    my ( $server, $bytes ) = @_;
    my $client = $server->connect;
    $client->send($bytes);
    $client->shutdown;
    return $client->is_closed;
}

# Looks at much of the request, and keeps nothing of it.
sub plain {
    my ($cgi)  = @_;
    my $cookie = $cgi->{headers}{HTTP_COOKIE};
    my $seen   = $cgi->{cookies}{session} . $cgi->param('a') . $cgi->get('b')->[0];
    $cgi->header;
    $cgi->print( $seen, $cookie );
    return;
}

# The resident memory in KiB: see proc(5).
sub memory {
    my ($server) = @_;
    my $pid = $server->pid;
    open my $status, '<', "/proc/$pid/status" or die "/proc/$pid/status: $!";
    my ($kibibytes) = map { /\AVmRSS:\s+(\d+)/ } readline $status;
    return $kibibytes;
}
