# What the benchmark needs of the machine: packages, built programs, cores, a place for the files.
package Bench::Machine;

use strict;
use warnings;

use Carp     qw(croak);
use Exporter qw(import);

our @EXPORT_OK =
  qw(allow_descriptors build core_count describe filesystem free_bytes install_packages load_average
  storage_base);

my %built;

# Raises the soft limit on open files of this process, which those it starts inherit, where that is
# needed, and as far as the hard limit allows.
sub allow_descriptors {
    my $count = shift;
    my ( $soft, $hard ) =
      _read('/proc/self/limits') =~ /^Max open files\s+(\d+)\s+(\d+)/m;
    return         if !defined $soft || $soft >= $count;
    $count = $hard if $count > $hard;
    return system( 'prlimit', '--pid', $$, "--nofile=$count:" ) == 0;
}

# Runs a shell command in a directory, once per run of the program. Dies if it fails.
sub build {
    my ( $command, $directory ) = @_;
    my $key = "$directory\0$command";
    $built{$key} = _succeeds( $command, $directory ) if !exists $built{$key};
    die "cannot be built: $command\n" if !$built{$key};
    return;
}

sub core_count {
    my @processors = _read('/proc/cpuinfo') =~ /^processor\s*:/mg;
    return scalar @processors || 1;
}

# One line: cores, processor, kernel, Perl.
sub describe {
    my ($model)  = _read('/proc/cpuinfo')              =~ /^model name\s*:\s*(.*)/m;
    my ($kernel) = _read('/proc/sys/kernel/osrelease') =~ /(\S+)/;
    return sprintf '%d x %s, Linux %s, Perl %vd', core_count(),
      $model || 'processor',
      $kernel || q{?}, $^V;
}

# The type of the file system a directory is on, as df names it.
sub filesystem { return ( _df(shift) )[1] }

sub free_bytes { return ( _df(shift) )[4] }

# Installs those Debian packages of a list that are missing; needs root, or sudo.
sub install_packages {
    my $list    = shift;
    my @missing = grep { !_is_installed($_) } _packages($list);
    return if !@missing;

    print {*STDERR} "Installing @missing\n";
    my @sudo = $> == 0 ? () : ('sudo');
    my @apt  = ( @sudo, qw(env DEBIAN_FRONTEND=noninteractive apt-get -qq) );
    for my $command ( [ @apt, 'update' ],
        [ @apt, qw(install -y --no-install-recommends), @missing ] )
    {
        next if system( { $command->[0] } @{$command} ) == 0;
        die
"cannot run: @{$command}\nInstall the packages yourself, or leave them out with --no-install.\n";
    }
    return;
}

# Of the last minute: how many processes have wanted a core.
sub load_average {
    my ($average) = split q{ }, _read('/proc/loadavg');
    return $average;
}

# Where the files go unless the user says: shared memory if it has room for so many bytes, for the
# disk is not what is compared; else the temporary directory.
sub storage_base {
    my $bytes    = shift;
    my $fallback = $ENV{TMPDIR} || '/tmp';
    for my $directory ( '/dev/shm', $fallback ) {
        return $directory
          if -d $directory && -w _ && free_bytes($directory) >= $bytes;
    }
    die
"Neither /dev/shm nor $fallback has $bytes bytes free; see --directory and --size.\n";
}

# Fields of POSIX df: device, type, size, used, free (in bytes), capacity, mount point.
sub _df {
    my $directory = shift;
    open my $handle, q{-|}, 'df', '--portability', '--print-type',
      '--block-size=1', $directory
      or croak "df: $!";
    my @lines = <$handle>;
    close $handle or croak "df $directory failed";
    return split q{ }, $lines[-1];
}

sub _is_installed {
    my $package = shift;
    return
      qx{dpkg-query --show --showformat='\${db:Status-Abbrev}' $package 2>/dev/null} =~
      /^ii/;
}

sub _packages {
    my $list = shift;
    return map { /^\s*([a-z0-9][a-z0-9.+-]*)/ } split /\n/, _read($list);
}

sub _read {
    my $path = shift;
    open my $handle, '<', $path or return q{};
    local $/;
    my $content = <$handle>;
    return defined $content ? $content : q{};
}

sub _succeeds {
    my ( $command, $directory ) = @_;
    my $pid = fork;
    croak "fork: $!" if !defined $pid;
    if ( !$pid ) {
        chdir $directory
          and open STDOUT, '>&', \*STDERR
          and exec '/bin/sh', '-c', $command;
        require POSIX;
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return $? == 0;
}

1;
