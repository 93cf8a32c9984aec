#!/usr/bin/env perl
# What print, printf, say and syswrite append to a reply, by each way that leads there.

use strict;
use warnings;
use utf8;
use feature 'say';

use Encode qw(encode);
use FindBin;
use Symbol qw(gensym);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

package Overloaded {
    use overload q{""} => sub { $_[0][0] }, fallback => 1;
}

package Called {
    use overload q{""} => sub { $_[0][0]->() }, fallback => 1;
}

package Tied {
    sub TIESCALAR { my ( $class, @values ) = @_; return bless \@values, $class }
    sub FETCH     { return shift @{ $_[0] } }
}

my $YA = encode( 'UTF-8', 'я' );

# Each gives a handle or an object to print to.
my %WAYS = (
    'the request'         => sub { $_[0] },
    'its Buffer'          => sub { $_[0]{buffer} },
    'its handle'          => sub { $_[0]->buffer },
    'a handle tied to it' =>
      sub { my $handle = gensym; tie *{$handle}, $_[0]{buffer}; $handle },
    'STDOUT'           => sub { $_[0]->attach(*STDOUT); \*STDOUT },
    'a lexical handle' => sub {
        open my $handle, '>', \my $memory or die "open: $!";
        $_[0]->attach($handle);
        return $handle;
    },
);

# What is printed => the bytes.
my @PRINTED = (
    [ 'a string',                  ['abc'],               'abc' ],
    [ 'a list',                    [ 'a', 'b', 'c' ],     'abc' ],
    [ 'an empty list',             [],                    q{} ],
    [ 'an empty string',           [q{}],                 q{} ],
    [ 'numbers',                   [ 0, -1, 1.5, 1e100 ], '0-11.51e+100' ],
    [ 'undef',                     [ 'a', undef, 'b' ],   'ab' ],
    [ 'text',                      ['я'],                 $YA ],
    [ 'bytes',                     ["\xff\x00\x80"],      "\xff\x00\x80" ],
    [ 'both',                      [ 'я', "\xff", 'я' ],  "$YA\xff$YA" ],
    [ 'bytes that are UTF-8',      [$YA],                 $YA ],
    [ 'characters beyond Unicode', ["\x{110000}"],        "\xf4\x90\x80\x80" ],
    [ 'an object',                 [ bless ['object'], 'Overloaded' ], 'object' ],
    [
        'an object whose string is text',
        [ bless( ['я'], 'Overloaded' ), "\xff" ],
        "$YA\xff"
    ],
    [ 'a reference', [ [] =~ /(ARRAY)/ ], 'ARRAY' ],
    [ 'many',        [ ('x') x 5_000 ],   'x' x 5_000 ],
);

for my $way ( sort keys %WAYS ) {
    subtest "By $way" => sub {
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $to = $WAYS{$way}->($cgi);
                my ( $case, $set ) = split m{/}, substr $cgi->{headers}{SCRIPT_NAME}, 1;
                $case = $PRINTED[$case];
                my $result;
                if ( $set eq 'set' ) {
                    local ( $,, $\ ) = ( '–', "\xfe" );
                    $result = print_to( $to, @{ $case->[1] } );
                }
                else {
                    $result = print_to( $to, @{ $case->[1] } );
                }
                print_to( $to, '|' );
                report( result => $result ? 1 : 0 );
            }
        );
        for my $number ( 0 .. $#PRINTED ) {
            my ( $name, $values, $bytes ) = @{ $PRINTED[$number] };
            is got( $server, "/$number/" ), "$bytes|", $name;
            my $dash   = encode( 'UTF-8', '–' );
            my $joined = join $dash, map { bytes_of($_) } @{$values};
            is got( $server, "/$number/set" ), "$joined\xfe|", "$name, with \$, and \$\\";
            is_deeply [ map { scalar $server->await('result') } 1 .. 2 ], [ 1, 1 ],
              'true';
        }
        $server->stop;
    };
}

subtest 'printf, say and syswrite of handles; $, and $\\ are for print and say' => sub {
    for my $way ( grep { /handle|STDOUT/ } sort keys %WAYS ) {
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $to = $WAYS{$way}->($cgi);
                local ( $,, $\ ) = ( '-', '!' );
                my @results = (
                    ( printf {$to} '%s %05.1f %2$s,', 'a', 2.25 ),
                    ( printf {$to} 'я%%' ),
                    ( say {$to} 'b', 'c' ),
                    ( syswrite $to,  'syswrite' ),
                );
                report( results => @results );
            }
        );
        is got( $server, '/' ), "a 002.2 2.25,$YA%b-c\nsyswrite", $way;
        is_deeply [ $server->await('results') ], [ 1, 1, 1, 8 ], 'what they return';
        $server->stop;
    }
};

# syswrite: string, length, offset => what is sent.
my @WRITES = (
    [ ['abcdef'],           'abcdef' ],
    [ [ 'abcdef', 3 ],      'abc' ],
    [ [ 'abcdef', 0 ],      q{} ],
    [ [ 'abcdef', 3, 2 ],   'cde' ],
    [ [ 'abcdef', 99 ],     'abcdef' ],
    [ [ 'abcdef', 99, 4 ],  'ef' ],
    [ [ 'abcdef', 2, -3 ],  'de' ],
    [ [ 'abcdef', 99, -1 ], 'f' ],
    [ [ 'abcdef', 1, 6 ],   q{} ],
    [ [q{}],                q{} ],
    [ [ "\xff\0\n", 2, 1 ], "\0\n" ],
    [ [ 'aяb', 1, 1 ],      $YA ],
);

# What it refuses => the error.
my @REFUSED = (
    [ [ 'abc', 1, 4 ],  'Offset outside string' ],
    [ [ 'abc', 1, -4 ], 'Offset outside string' ],
    [ [ 'abc', -1 ], 'Negative length' ],
);

subtest 'syswrite: length and offset' => sub {
    for my $way ( 'its handle', 'STDOUT' ) {
        my $server = start(
            sub {
                my ($cgi)   = @_;
                my $to      = $WAYS{$way}->($cgi);
                my ($case)  = $cgi->{headers}{SCRIPT_NAME} =~ /(\d+)/;
                my $written = write_to( $to, @{ $WRITES[$case][0] } );
                report( written => $written );
            }
        );
        for my $number ( 0 .. $#WRITES ) {
            my ( $given, $expected ) = @{ $WRITES[$number] };
            my $name = encode 'UTF-8', "$way: " . join q{, }, @{$given};
            is got( $server, "/$number" ), $expected, $name;
            my $characters = $expected;
            utf8::decode($characters);
            is $server->await('written'), length $characters, 'how much is told';
        }
        $server->stop;
    }
};

subtest 'syswrite refuses what Perl\'s own refuses, at the line of the caller' => sub {
    for my $way ( 'its handle', 'STDOUT' ) {
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $to = $WAYS{$way}->($cgi);
                for my $case (@REFUSED) {
                    eval { write_to( $to, @{ $case->[0] } ); 1 }
                      and die "It did not die\n";
                    report( error => $@ );
                }
                $cgi->print('open');
            }
        );
        is got( $server, '/' ), 'open', "$way: nothing is sent by it";
        for my $case (@REFUSED) {
            like $server->await('error'), qr/\A$case->[1] at \Q$0\E line \d+/,
              "@{ $case->[0] }: $case->[1]";
        }
        $server->stop;
    }
};

subtest 'A tied scalar is read once' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            tie my $tied, 'Tied', 'first', 'second', 'third', 'я', 'fifth';
            $cgi->print($tied);
            $cgi->print( $tied,  $tied );
            $cgi->print( "\xff", $tied );
            $cgi->buffer->print($tied);
        }
    );
    is got( $server, '/' ), "firstsecondthird\xff${YA}fifth", 'each time it is printed';
    $server->stop;
};

subtest 'Strings that are made while they are printed' => sub {
    my %cases = (
        prints => sub { my ($cgi) = @_; $cgi->print('inner '); 'outer' },
        dies   => sub { die "no string\n" },
        closes => sub { my ($cgi) = @_; $cgi->print('before'); $cgi->close; 'after' },
        drops  => sub { my ($cgi) = @_; $cgi->drop; 'after' },
    );
    my %expected =
      ( prints => 'inner outer.', dies => q{.}, closes => 'beforeafter', drops => q{} );
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $case  = $cases{ substr $cgi->{headers}{SCRIPT_NAME}, 1 };
            my $value = bless [ sub { $case->($cgi) } ], 'Called';
            eval {
                $cgi->print( 'never sent by itself ', $value ) if $case == $cases{dies};
                1;
            }
              or report( error => $@ );
            eval { $cgi->print($value); 1 } or report( error => $@ );
            eval { $cgi->print(q{.}) };
        }
    );
    is got( $server, "/$_" ), $expected{$_}, $_ for sort keys %cases;
    is $server->await('error'), "no string\n", 'its exception is the caller\'s'
      for 1 .. 2;
    $server->stop;
};

subtest 'A handle that is selected, and $|' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            ## no critic (ProhibitOneArgSelect)
            my $before = select $cgi->buffer;
            local $| = 1;
            print 'selected ';
            say 'say';
            printf '%s', 'printf';
            select $before;
            report( autoflush => $| );
        }
    );
    is got( $server, '/' ), "selected say\nprintf", 'is printed to';
    $server->stop;
};

subtest 'eof, binmode, fileno, close' => sub {
    for my $way ( grep { /handle|STDOUT/ } sort keys %WAYS ) {
        my $server = start(
            sub {
                my ($cgi) = @_;
                my $to = $WAYS{$way}->($cgi);
                report(
                    results => eof $to,
                    binmode($to),
                    binmode( $to, ':encoding(UTF-8)' ),
                    fileno $to == $cgi->fd ? 1 : 0, close $to
                );
                print {$to} "\xff";
            }
        );
        is got( $server, '/' ), "\xff",
          "$way: it is still open, and prints bytes as they are";
        is_deeply [ $server->await('results') ], [ (1) x 5 ], 'what they return';
        $server->stop;
    }
};

done_testing;

sub bytes_of {
    my ($value) = @_;
    my $string = defined $value ? "$value" : q{};
    utf8::encode($string) if utf8::is_utf8($string);
    return $string;
}

# All that comes for a request for this path.
sub got {
    my ( $server, $path ) = @_;
    my $client = $server->connect;
    $client->send( request_bytes( GET => $path ) );
    return $client->read_all;
}

# To an object by its method, to a handle by Perl's own.
sub print_to {
    my ( $to, @values ) = @_;
    return $to->print(@values) if ref $to ne 'GLOB';
    return print {$to} @values;
}

# A server with this main callback.
sub start {
    my ($callback) = @_;
    return TestServer->start( sub { $_[0]->listen($callback) } );
}

sub write_to {
    my ( $to, $string, $length, $offset ) = @_;
    return syswrite $to, $string if !defined $length;
    return defined $offset
      ? syswrite $to, $string, $length, $offset
      : syswrite $to, $string, $length;
}
