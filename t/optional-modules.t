#!/usr/bin/env perl
# Beyond what comes with perl the module needs EV alone, which needs common::sense: it
# loads nothing else, and works where nothing else is installed. Tests are then skipped.

use strict;
use warnings;

use FindBin;
use Module::CoreList;
use TAP::Parser;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(output_of request_bytes);

my @HIDDEN =
  qw(AnyEvent Coro File::Util Guard HTTP::Cookies HTTP::Request IO::AIO LWP Plack);

subtest 'What is loaded' => sub {
    local $ENV{PERL5OPT} = q{};
    my $output = output_of( $^X, ( map { "-I$_" } grep { !ref } @INC ), '-e', <<'PERL' );
use HTTP::Server::EV;
use HTTP::Server::EV::IO::AIO;
use HTTP::Server::EV::IO::Blocking;
HTTP::Server::EV::IO::Blocking->_use_me;
HTTP::Server::EV->new({ tmp_path => '/tmp' })->listen('127.0.0.1:0', sub { });
EV::run(EV::RUN_NOWAIT());
print "$_\n" for grep { /[.]pm\z/ } keys %INC;
PERL
    my @modules = map { s{/}{::}gr =~ s/[.]pm\z//r } split /\n/, $output;
    my @others =
      grep {
             !/\A(?:EV|HTTP::Server::EV|common::sense)(?:::|\z)/
          && !Module::CoreList::is_core($_)
      } @modules;
    ok scalar( grep { $_ eq 'HTTP::Server::EV' } @modules ), 'the module';
    is_deeply \@others, [], 'and what comes with perl';
};

# Test => whether all of it is skipped.
my %TESTS = (
    '00-load.t'        => 0,
    'anyevent.t'       => 1,
    'buftie.t'         => 0,
    'cgi-header.t'     => 0,
    'cgi-output.t'     => 0,
    'coro.t'           => 1,
    'multipart-file.t' => 0,
);

for my $test ( sort keys %TESTS ) {
    subtest "$test, where the others are hidden" => sub {
        local $ENV{PERL5OPT} = "-I$FindBin::Bin/lib -MHiddenModules=" . join q{,},
          @HIDDEN;
        my $parser = TAP::Parser->new(
            {
                exec =>
                  [ $^X, ( map { "-I$_" } grep { !ref } @INC ), "$FindBin::Bin/$test" ],
                merge => 1
            }
        );
        my @lines;
        while ( my $result = $parser->next ) { push @lines, $result->as_string }
        ok( !$parser->has_problems, 'it passes' ) || diag join "\n", @lines;
        is $parser->skip_all ? 1 : 0, $TESTS{$test},
          $TESTS{$test} ? 'it is skipped' : 'it is not skipped';
    };
}

# What the head of a test or module of tests uses that is neither EV's nor with perl.
sub foreign_modules {
    my ($handle) = @_;
    my @needed;
    while ( my $line = readline $handle ) {
        last if $line =~ /\A(?:my|our|sub|subtest)\b/;
        push @needed, $line =~ /\A\s*(?:use|require)\s+([[:alpha:]][\w:]*)/;
    }
    return grep {
             !/\A(?:EV|HTTP::Server::EV(?:::\w+)*)\z/
          && !/\A(?:Conformance|HiddenModules|Nginx|TestServer)\b/
          && !/\Av[0-9]+\z/
          && !Module::CoreList->is_core($_)
    } @needed;
}

subtest 'Tests begin with nothing but what comes with perl, and EV' => sub {
    for my $file (
        glob "$FindBin::Bin/*.t $FindBin::Bin/lib/*.pm $FindBin::Bin/lib/*/*.pm" )
    {
        open my $handle, '<', $file or die "$file: $!";
        is_deeply [ foreign_modules($handle) ], [], $file;
    }
};

subtest 'What a test must not begin with is found' => sub {
    my $head = <<'PERL';
use v5.14;
use strict;
use EV;
use HTTP::Request;
    use EV::ADNS ();
require Coro;
use Test::More;
use TestServer qw(start);
use common::sense;
my $none = eval { require LWP; };
use Plack;
PERL
    open my $handle, '<', \$head or die "The text cannot be read: $!";
    is_deeply [ foreign_modules($handle) ],
      [qw(HTTP::Request EV::ADNS Coro common::sense)], 'each of them, in the head alone';
};

subtest 'The hidden modules cannot be loaded' => sub {
    local $ENV{PERL5OPT} = "-I$FindBin::Bin/lib -MHiddenModules=" . join q{,}, @HIDDEN;
    is output_of( $^X, '-e', "print eval { require $_; 1 } ? 1 : 0" ), 0, $_ for @HIDDEN;
    is output_of( $^X, '-e', 'print eval { require EV; 1 } ? 1 : 0' ), 1, 'EV can';
};

subtest 'threading, where Coro cannot be loaded' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            require HiddenModules;
            HiddenModules->import('Coro');
            $server->listen( sub { $_[0]->print('never') }, { threading => 1 } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all, q{}, 'the request ends';
    $server->stop( stderr => qr{\AERROR[ ]IN[ ]CALLBACK:[ ]Can't[ ]locate[ ]Coro[.]pm}x );
};

done_testing;
