# Functions in Rust: arguments, results, contexts and messages.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

our $context;

subtest 'text goes in and out' => sub {
    is Example::hello('world'),    'Hello, world!',   'ASCII';
    is Example::hello('wörld ☃'),  'Hello, wörld ☃!', 'beyond Latin-1';
    is Example::hello("w\xf6rld"), 'Hello, wörld!',   'Latin-1 without the UTF-8 flag';
};

subtest 'a missing argument is named' => sub {
    my $line = __LINE__ + 1;
    is eval { Example::hello() }, undef, 'no result';
    like $@,
      qr/^Usage: Example::hello: argument 1 \(name\) is missing at \Q$0\E line $line\.$/,
      'message';
};

subtest 'the context is known' => sub {
    Example::Probe::context();
    is $context, 'void', 'void';
    my $result = Example::Probe::context();
    is $context, 'scalar', 'scalar';
    is $result,  undef,    'nothing is undef there';
    my @results = Example::Probe::context();
    is $context, 'list', 'list';
    is_deeply \@results, [], 'nothing is the empty list there';
};

subtest 'lists of any length come back' => sub {
    is_deeply [ Example::Probe::list() ],            [],            'empty';
    is_deeply [ Example::Probe::list( 1 .. 5000 ) ], [ 1 .. 5000 ], 'five thousand';
    is scalar( Example::Probe::list( 1 .. 3 ) ), 3, 'the last one in scalar context';
};

subtest 'arguments can be counted and gone through' => sub {
    ok Example::Probe::no_arguments(),       'none';
    ok !Example::Probe::no_arguments(undef), 'one';
    is_deeply [ Example::Probe::reversed( 1 .. 3 ) ], [ 3, 2, 1 ], 'all in order';
};

subtest 'a result can be the argument itself' => sub {
    my $variable = 1;
    is \Example::Probe::same_value($variable), \$variable, 'an alias';
    $_++ for Example::Probe::same_value($variable);
    is $variable, 2, 'that can be changed';
};

subtest 'what perl knows can be asked' => sub {
    is ref Example::Probe::code('Example::hello'), 'CODE', 'a sub';
    is Example::Probe::code('Example::missing'),   undef,  'no sub';
    ok !exists &Example::missing, 'asking does not make one';
    is \Example::Probe::variable('main::context'),   \$context, 'a scalar variable';
    is Example::Probe::array_variable('main::ARGV'), \@ARGV,    'an array variable';
    is Example::Probe::hash_variable('main::ENV'),   \%ENV,     'a hash variable';
    Example::Probe::require('Text::Abbrev');
    ok $INC{'Text/Abbrev.pm'}, 'a module is loaded';
    is eval { Example::Probe::require('No::Such::Module'); 1 }, undef, 'or not';
    like $@, qr{^Can't locate No/Such/Module\.pm}, 'with the reason';
};

done_testing;
