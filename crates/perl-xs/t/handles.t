# Handles on descriptors of Rust's.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Fcntl;
use File::Temp;
use Socket;
use Test::More;

use Example;

# How many descriptors this process has.
sub descriptors {
    opendir my $folder, '/dev/fd' or plan skip_all => 'no /dev/fd';
    return scalar grep { /\d/ } readdir $folder;
}

subtest 'a handle reads what was sent' => sub {
    my $handle = Example::handle("one\ntwo\n");
    isa_ok $handle, 'IO::Handle';
    is readline $handle, "one\n", 'readline';
    require IO::Handle;
    is $handle->getline, "two\n", 'as an object';
    ok eof $handle, 'the end';
};

subtest 'it owns its descriptor' => sub {
    my $before = descriptors();
    my $handle = Example::handle('text');
    is descriptors(), $before + 1, 'open';
    ok fcntl( $handle, F_GETFD, 0 ) & FD_CLOEXEC, 'not for other programs';
    close $handle;
    is descriptors(), $before, 'closed';
    $handle = Example::handle('text');
    undef $handle;
    is descriptors(), $before, 'closed when freed';
};

subtest 'bytes pushed back are read first' => sub {
    my $handle = Example::handle("rest\n");
    Example::Probe::unread( $handle, "pushed " );
    is readline $handle, "pushed rest\n", 'before anything is read';
    $handle = Example::handle('abcdef');
    read $handle, my $read, 3;
    Example::Probe::unread( $handle, 'X' x 100_000 );
    is length do { local $/; readline $handle }, 100_003, 'many, later';
    is eval { Example::Probe::unread( 'text', 'x' ); 1 }, undef,
      'not into what is no handle';
};

subtest 'the descriptor of a handle' => sub {
    is Example::Probe::descriptor($_), fileno $_, "of $_"
      for *STDIN, \*STDOUT, *STDERR{IO}, Example::handle('x');
    is Example::Probe::descriptor($_), undef, 'of nothing'
      for 'STDOUT', undef, 5, [], do { no warnings "once"; \*CLOSED };
    open my $memory, '<', \'text';
    is Example::Probe::descriptor($memory), undef, 'in memory';
    {

        package Tied;
        sub TIEHANDLE { return bless [], shift }
        sub FILENO    { die }
    }
    tie *TIED, 'Tied';
    is Example::Probe::descriptor( \*TIED ), undef, 'tied';
};

subtest 'both directions' => sub {
    socketpair my $left, my $right, AF_UNIX, SOCK_STREAM, PF_UNSPEC
      or die "socketpair: $!";
    my $both = Example::Probe::open_duplicate( $left, '+<' );
    isnt fileno $both, fileno $left, 'a duplicate';
    syswrite $right, "in\n";
    is readline $both, "in\n", 'reads';
    $both->autoflush;
    print {$both} "out\n";
    is readline $right, "out\n", 'and writes';

    my $file  = File::Temp->new;
    my $write = Example::Probe::open_duplicate( $file, '>' );
    print {$write} "\x{e9}\n";
    close $write;
    is -s "$file", 2, 'a file, raw';
};

subtest 'a handle of the program gets the descriptor' => sub {
    my $before = descriptors();
    my $file   = File::Temp->new;
    open my $handle, '<', $0 or die "open: $!";
    sysopen my $source, "$file", O_RDWR or die "open: $!";
    my $number = do {
        my $copy = $source;
        open my $duplicate, '+<&', $copy or die;
        my $n = fileno $duplicate;
        Example::Probe::open_onto( $handle, '+<', POSIX::dup($n) );
        $n;
    };
    print {$handle} "written\n";
    close $handle;
    is -s "$file", 8, 'written to';
    undef $source;
    is descriptors(), $before + 1, 'nothing is left open but the file';

    open my $saved, '>&', \*STDOUT or die "dup: $!";
    my $copy = POSIX::dup( fileno $file );
    Example::Probe::open_onto( *STDOUT, '>', $copy );
    my $is_one = fileno(STDOUT) == 1;
    print STDOUT "to the file\n";
    system 'echo', 'a child too';
    open STDOUT, '>&', $saved or die "dup: $!";
    close $saved;
    ok $is_one, 'STDOUT stays number 1';
    seek $file, 0, 0;
    like do { local $/; readline $file }, qr/to the file\na child too\n/,
      'and programs inherit it';
    is descriptors(), $before + 1, 'nothing is left open';
    is eval { Example::Probe::open_onto( *STDOUT, '>', 9999 ); 1 }, undef,
      'what is not open';
    like $@, qr/^Bad file descriptor/, 'is refused';
};

subtest 'a descriptor is closed once when there is no class for its handle' => sub {
    my $before = descriptors();
    %Locked:: = ();
    Internals::SvREADONLY( %Locked::, 1 );
    is eval { Example::Probe::open_duplicate( *STDIN, '<', 'Locked::Class' ); 1 }, undef,
      'refused';
    like $@, qr/disallowed key/, 'message';
    Internals::SvREADONLY( %Locked::, 0 );
    is descriptors(), $before, 'nothing is left open';
};

subtest 'a handle in the place of a closed STDOUT does not warn, or die of that' => sub {
    open my $saved, '>&', \*STDOUT or die "dup: $!";
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_; die @_ };
    close STDOUT;
    my $handle = eval { Example::Probe::open_duplicate( $saved, '<' ) };
    open STDOUT, '>&', $saved or die "dup: $!";
    is_deeply \@warnings, [], 'no warnings';
    ok $handle, 'opened';
};

subtest 'a number that is handed over means nothing afterwards' => sub {
    my $number = POSIX::dup( fileno STDIN );
    open my $handle, '<', $0 or die "open: $!";
    Example::Probe::open_onto( $handle, '<', $number );
    isnt fileno $handle,      $number, 'the handle has another';
    is POSIX::close($number), undef,   'it is closed';
    ok defined fileno $handle && -e $handle, 'and the handle is open';
};

BEGIN { require POSIX; require IO::Handle }

done_testing;
