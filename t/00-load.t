#!/usr/bin/env perl
# Every module loads by itself; versions, base classes, exports, and the package variables
# as they are at first.

use strict;
use warnings;

use FindBin;
use Test::More;

my @modules = map { "HTTP::Server::EV$_" } (
    q{},
    map { "::$_" } qw(PortListener CGI Buffer BufTie MultipartFile IO::AIO IO::Blocking)
);

for my $module (@modules) {
    use_ok $module or BAIL_OUT("$module does not load");
    is $module->VERSION, HTTP::Server::EV->VERSION,
      "$module has the version of the server";
    no strict 'refs';    ## no critic (ProhibitNoStrict)
    is_deeply \@{"${module}::ISA"},                                  [], 'no base class';
    is_deeply [ @{"${module}::EXPORT"}, @{"${module}::EXPORT_OK"} ], [], 'no exports';
}

subtest 'The version is the first that Changes tells of' => sub {
    open my $changes, '<', "$FindBin::Bin/../Changes" or die "Changes: $!";
    my ($version) = map { /\A(\d\S*)/ } readline $changes;
    is( HTTP::Server::EV->VERSION, $version, 'in every module' );
};

my %VARIABLES = (
    'HTTP::Server::EV::tmp_path'                   => undef,
    'HTTP::Server::EV::backend'                    => undef,
    'HTTP::Server::EV::instance'                   => undef,
    'HTTP::Server::EV::CGI::cookies_lifetime'      => 2_678_400,
    'HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS' => 1024,
    'HTTP::Server::EV::Buffer::autoflush'          => 51_200,
);
subtest 'Package variables at first' => sub {
    no strict 'refs';    ## no critic (ProhibitNoStrict)
    is ${$_}, $VARIABLES{$_}, "\$$_" for sort keys %VARIABLES;
    is_deeply \%{$_}, {}, "%$_"
      for qw(HTTP::Server::EV::listeners HTTP::Server::EV::Buffer::buffers);
};

subtest 'The methods of a file come from the backend in use' => sub {
    for my $backend (qw(AIO Blocking AIO)) {
        my $class = "HTTP::Server::EV::IO::$backend";
        $class->_use_me;
        is( HTTP::Server::EV::MultipartFile->can($_), $class->can($_), "$_ of $backend" )
          for qw(close fh save);
    }
};

subtest 'The module loads with all symbols resolved' => sub {
    local $ENV{PERL_DL_NONLAZY} = 1;
    my @libraries = map { "-I$_" } grep { !ref } @INC;
    is system( $^X, @libraries, '-e', 'use HTTP::Server::EV; exit 0' ), 0, 'perl -e ...';
};

done_testing;
