#!/usr/bin/env perl
# The documentation is sound, covers every method, and its synopses compile.

use strict;
use warnings;

use File::Find ();
use FindBin;
use Pod::Checker;
use Test::More;

my $ROOT = "$FindBin::Bin/..";

# Modules, and programs that have a manual of their own.
my @modules;
File::Find::find( { no_chdir => 1, wanted => sub { push @modules, $_ if /[.]pm\z/ } },
    "$ROOT/lib" );
plan skip_all => 'There are no modules here' if !@modules;

subtest 'Every module has documentation without errors or warnings' => sub {
    for my $file ( sort @modules ) {
        my $checker = Pod::Checker->new( -warnings => 1, -quiet => 1 );
        open my $complaints, '>', \my $text or die "open: $!";
        $checker->parse_from_file( $file, $complaints );
        is $checker->num_errors,   0, "$file: errors" or diag $text;
        is $checker->num_warnings, 0, 'warnings'      or diag $text;
    }
};

subtest 'Every section that a link names is there' => sub {
    my %sections = map { module_name($_) => sections($_) } @modules;
    for my $file ( sort @modules ) {
        for my $link ( source($file) =~ m{L<(?:[^<>|]*\|)?(HTTP::Server::EV[^<>]*)>}g ) {
            my ( $module, $section ) = split m{/}, $link, 2;
            ok $sections{$module},           "L<$link>: the module" or next;
            ok $sections{$module}{$section}, "L<$link>: the section" if defined $section;
        }
    }
};

subtest 'Every synopsis compiles' => sub {
    my @libraries = map { "-I$_" } grep { !ref } @INC;
    for my $file ( sort @modules ) {
        my ($synopsis) = source($file) =~ /^=head1 SYNOPSIS\n\n(.+?)^=/ms;
        $synopsis =~ s/^[ ]{4}//gm;
        open my $compiler, '|-', $^X, @libraries, '-we', <<'PERL' or die "perl: $!";
my $source = do { local $/; readline STDIN };
eval "sub { $source }" or die $@;
PERL
        print {$compiler} $synopsis;
        ok close $compiler, $file;
    }
};

subtest 'Every method is documented' => sub {
    eval { require Pod::Coverage; 1 }
      or plan skip_all => 'Pod::Coverage is not installed';
    for my $file ( sort @modules ) {
        my $coverage = Pod::Coverage->new(
            package  => module_name($file),
            pod_from => $file,

            # The interface of tied handles, and what perl itself calls.
            also_private => [qr/\A(?:[A-Z_]+|STORABLE_\w+|TIEHANDLE)\z/],
        );
        my $rate = $coverage->coverage;
        is_deeply [ $coverage->naked ], [], "$file: nothing is left out"
          if defined $rate || $coverage->why_unrated !~ /no public symbols/;
        ok $coverage->why_unrated, "$file: $@" if !defined $rate;
    }
};

done_testing;

sub module_name {
    my ($file) = @_;
    my ($name) = $file =~ m{\A\Q$ROOT\E/lib/(.+)[.]pm\z};
    return $name =~ s{/}{::}gr;
}

# The names of the headings and items, as links have them.
sub sections {
    my ($file) = @_;
    my @names = source($file) =~ /^=(?:head\d|item)\s+(.+)$/mg;
    s/[CBI]<([^<>]*)>/$1/g for @names;
    return { map { $_ => 1 } @names };
}

sub source {
    my ($file) = @_;
    open my $handle, '<:encoding(UTF-8)', $file or die "$file: $!";
    local $/ = undef;
    return scalar readline $handle;
}
