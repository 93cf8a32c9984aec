#!/usr/bin/env perl
# Every module loads by itself, and all have the same version.

use strict;
use warnings;

use Test::More;

my @modules = map { "HTTP::Server::EV$_" } (
    q{},
    map { "::$_" } qw(PortListener CGI Buffer BufTie MultipartFile IO::AIO IO::Blocking)
);

for my $module (@modules) {
    use_ok $module or BAIL_OUT("$module does not load");
    is $module->VERSION, HTTP::Server::EV->VERSION,
      "$module has the version of the server";
}

subtest 'The module loads with all symbols resolved' => sub {
    local $ENV{PERL_DL_NONLAZY} = 1;
    my @libraries = map { "-I$_" } grep { !ref } @INC;
    is system( $^X, @libraries, '-e', 'use HTTP::Server::EV; exit 0' ), 0, 'perl -e ...';
};

done_testing;
