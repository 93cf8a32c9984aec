# Bench::Peer and bench/upload: scripts are found, started and stopped, and failures are told.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use File::Temp;
use Test::More;

use Bench::Peer;

my $directory = File::Temp->newdir;

sub script {
    my ( $name, $content ) = @_;
    my $path = "$directory/scripts/$name";
    mkdir "$directory/scripts";
    open my $handle, '>', $path or die "$path: $!";
    print {$handle} $content;
    close $handle or die "$path: $!";
    chmod 0755, $path;
    return $path;
}

my $LISTEN = <<'SCRIPT';
#!/usr/bin/env perl
# Starts a listener.
# bench-build: true
# bench-version: echo; echo Listener 7
use IO::Socket::INET;
my $socket = IO::Socket::INET->new( LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 5 ) or die $@;
1 while $socket->accept;
SCRIPT

subtest 'what the comments say' => sub {
    my $peer = Bench::Peer->new( script( 'listener.pl', $LISTEN ) );
    is $peer->name,          'listener',           'name';
    is $peer->purpose,       'Starts a listener.', 'purpose';
    is $peer->build_command, 'true',               'build command';
    is $peer->version,       'Listener 7',         'version';

    $peer = Bench::Peer->new( script( 'bare.sh', "#!/bin/sh\n" ) );
    is $peer->build_command, undef, 'no build command';
    is $peer->version,       q{},   'no version';
};

subtest 'starts, with a directory of its own, and stops' => sub {
    my ($peer) =
      grep { $_->name eq 'listener' } Bench::Peer->discover("$directory/scripts");
    $peer->start( directory => "$directory" );
    ok -d $peer->directory,        'directory';
    ok $peer->process->is_running, 'running';
    $peer->fail('enough');
    is $peer->failure, 'enough', 'reason';
    ok !$peer->process->is_running, 'stopped';
};

subtest 'a server that does not start' => sub {
    my $peer = Bench::Peer->new(
        script( 'broken.sh', "#!/bin/sh\necho no such module; exit 1\n" ) );
    ok !eval { $peer->start( directory => "$directory" ); 1 }, 'dies';
    is $@, "does not start: no such module\n", 'with its last words';
};

done_testing;
