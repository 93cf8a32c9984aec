# Bench::Peer: scripts are found, started and stopped, and failures are told.
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
# bench-connections: 1
# bench-without: form json: reads no bodies
# bench-without: idle: is in a hurry
# bench-workloads: hello form
# bench-version: echo; echo Listener 7
use IO::Socket::INET;
my $socket = IO::Socket::INET->new( LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 5 ) or die $@;
1 while $socket->accept;
SCRIPT

subtest 'what the comments say' => sub {
    my $peer = Bench::Peer->new( script( 'listener.pl', $LISTEN ) );
    is $peer->name,             'listener',           'name';
    is $peer->purpose,          'Starts a listener.', 'purpose';
    is $peer->build_command,    'true',               'build command';
    is $peer->version,          'Listener 7',         'version';
    is $peer->connections,      1,                    'connections of a worker';
    is $peer->without('json'),  'reads no bodies',    'why it cannot do one thing';
    is $peer->without('idle'),  'is in a hurry',      'nor another';
    is $peer->without('hello'), undef,                'what it can do';
    ok $peer->is_for('hello'),   'what it is for';
    ok !$peer->is_for('upload'), 'what it is not for';

    $peer = Bench::Peer->new( script( 'bare.sh', "#!/bin/sh\n" ) );
    is $peer->build_command, undef, 'no build command';
    is $peer->version,       q{},   'no version';
    ok $peer->is_for('upload'), 'is for everything';
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

subtest 'a variant is a server of its own' => sub {
    my $script = script( 'echo.sh', <<'SCRIPT');
#!/bin/sh
# Starts nothing, but tells what it was asked for.
# bench-without: form: reads no bodies
echo "$BENCH_HANDLER $BENCH_WORKERS $(basename "$2")"; exit 1
SCRIPT
    my $variant = Bench::Peer->new($script)->variant( label => 'echo x 2', workers => 2 );
    is $variant->name,            'echo',            'of the same name';
    is $variant->without('form'), 'reads no bodies', 'and comments';
    ok !eval { $variant->start( directory => "$directory", handler => 'hello' ); 1 },
      'starts';
    is $@, "does not start: hello 2 echo-x-2\n",
      'with a handler, its workers and its label';
};

subtest 'a server that does not start' => sub {
    my $peer = Bench::Peer->new(
        script( 'broken.sh', "#!/bin/sh\necho no such module; exit 1\n" ) );
    ok !eval { $peer->start( directory => "$directory" ); 1 }, 'dies';
    is $@, "does not start: no such module\n", 'with its last words';
};

done_testing;
