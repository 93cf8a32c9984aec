package HiddenModules;

# perl -MHiddenModules=Coro,AnyEvent: these modules, and all below them, are as if they
# were not installed.

use strict;
use warnings;

sub import {
    my ( $class, @modules ) = @_;
    my @paths = map { s{::}{/}gr } @modules;
    unshift @INC, sub {
        my ( undef, $file ) = @_;
        for my $path (@paths) {
            die "Can't locate $file in \@INC (it is hidden)\n"
              if $file =~ m{\A\Q$path\E(?:/|[.]pm\z)};
        }
        return;
    };
    return;
}

1;
