#!/usr/bin/env perl
# Fields of the query and of urlencoded bodies: how they are split and decoded, and the
# methods and keys where they are found.

use strict;
use warnings;
use utf8;

use Encode ();
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes upload_bytes);

my $FORM = { 'Content-Type' => 'application/x-www-form-urlencoded' };

# What is sent => each name and value, in order.
my @FIELDS = (
    [ 'a=b'               => [ 'a',   'b' ] ],
    [ 'a=b&c=d'           => [ 'a',   'b' ], [ 'c', 'd' ] ],
    [ 'a=b;c=d'           => [ 'a',   'b' ], [ 'c', 'd' ] ],
    [ 'a=1&b=2;a=3&a='    => [ 'a',   1 ],   [ 'b', 2 ], [ 'a', 3 ], [ 'a', q{} ] ],
    [ 'a='                => [ 'a',   q{} ] ],
    [ 'a'                 => [ 'a',   undef ] ],
    [ 'a&a=&a'            => [ 'a',   undef ], [ 'a', q{} ], [ 'a', undef ] ],
    [ '=x'                => [ q{},   'x' ] ],
    [ q{=}                => [ q{},   q{} ] ],
    [ '=='                => [ q{},   q{=} ] ],
    [ q{&}                => [ q{},   undef ], [ q{}, undef ] ],
    [ 'a=1&&b=2'          => [ 'a',   1 ],     [ q{}, undef ], [ 'b', 2 ] ],
    [ '&a=1;'             => [ q{},   undef ], [ 'a', 1 ],     [ q{}, undef ] ],
    [ 'a=b=c'             => [ 'a',   'b=c' ] ],
    [ 'a=b%3Dc'           => [ 'a',   'b=c' ] ],
    [ 'a%3Db=c'           => [ 'a=b', 'c' ] ],
    [ 'a=b=='             => [ 'a',   'b==' ] ],
    [ 'a=b%26c%3Bd'       => [ 'a',   'b&c;d' ] ],
    [ 'a%26=%3D'          => [ 'a&',  q{=} ] ],
    [ 'a=b&amp;c=d'       => [ 'a',   'b' ], [ 'amp', undef ], [ 'c', 'd' ] ],
    [ 'a+b=c+d%2B'        => [ 'a+b', 'c+d+' ] ],
    [ 'a=%20b%0D%0Ac%00'  => [ 'a',   " b\r\nc\0" ] ],
    [ 'a=0&0=b'           => [ 'a',   0 ], [ 0, 'b' ] ],
    [ 'a?b=c?d'           => [ 'a?b', 'c?d' ] ],
    [ 'a[]=1&a[]=2'       => [ 'a[]', 1 ], [ 'a[]', 2 ] ],
    [ 'a=/path?x#y'       => [ 'a',   '/path?x#y' ] ],
    [ 'a=%7B"b":[1,2]%7D' => [ 'a',   '{"b":[1,2]}' ] ],
    [ '%D1%8F=%C3%BC'     => [ 'я',   'ü' ] ],
);

# Each with a limit on the number of fields.
my @LIMITED = (
    [ 2, 'a=1'             => [ 'a', 1 ] ],
    [ 2, 'a=1&b=2'         => [ 'a', 1 ],     [ 'b',  2 ] ],
    [ 2, 'a=1&b=2&c=3;d=4' => [ 'a', 1 ],     [ 'b',  '2&c=3;d=4' ] ],
    [ 2, 'a=1&b=2&'        => [ 'a', 1 ],     [ 'b',  '2&' ] ],
    [ 2, 'a=1&'            => [ 'a', 1 ],     [ q{},  undef ] ],
    [ 2, 'a&b%26=%3D&c=d'  => [ 'a', undef ], [ 'b&', '=&c=d' ] ],
    [ 1, 'a=1&b=2'         => [ 'a', '1&b=2' ] ],
    [ 0, 'a=1&b=2&c=3'     => [ 'a', 1 ], [ 'b', 2 ], [ 'c', 3 ] ],
    [ 0, 'a=1&;&'          => [ 'a', 1 ] ],
    [ 0, '&a=1&'           => [ q{}, undef ], [ 'a', 1 ] ],
);

my $server = TestServer->looking( \&look );
my $chance = TestServer->looking( sub { return printable( look( $_[0] )->{post} ) } );

subtest 'Fields of a query' => sub {
    for my $case (@FIELDS) {
        my ( $sent, @fields ) = @{$case};
        is_deeply $server->seen( GET => "/?$sent" )->{get}, lists(@fields), $sent;
    }
    is_deeply $server->seen( GET => '/a' )->{get}, lists(), 'no query';
    is_deeply $server->seen( GET => '/?' )->{get}, lists(), 'an empty one';
};

subtest 'Fields of a body, whatever its type' => sub {
    my %type = ( form => $FORM->{'Content-Type'}, text => 'text/plain', x => 'x' );
    for my $what ( sort keys %type ) {
        for my $case (@FIELDS) {
            my ( $sent, @fields ) = @{$case};
            my $seen =
              $server->seen( POST => q{/}, { 'Content-Type' => $type{$what} }, $sent );
            is_deeply $seen, { get => lists(), post => lists(@fields) }, "$what: $sent";
        }
    }
    is_deeply $server->seen( POST => q{/}, $FORM, q{} )->{post}, lists(), 'an empty body';
    is_deeply $server->seen( POST => q{/}, $FORM, '0' )->{post}, lists(), 'a body of 0';
    is_deeply $server->seen( POST => q{/}, $FORM, '00' )->{post},
      lists( [ '00', undef ] ),
      'but not of 00';
};

subtest 'A query beside a body' => sub {
    is_deeply $server->seen( POST => '/?a=1&b=2', $FORM, 'a=3&c=4' ),
      {
        get  => lists( [ 'a', 1 ], [ 'b', 2 ] ),
        post => lists( [ 'a', 3 ], [ 'c', 4 ] )
      },
      'they are kept apart';
};

subtest 'Every byte, raw in a body' => sub {
    my @ascii = grep { $_ != ord q{%} } 0 .. 0x7f;
    for my $byte ( map { chr } @ascii ) {
        next if $byte =~ /[&;=]/;
        my $got = $server->seen( POST => q{/}, $FORM, "$byte=$byte" )->{post};
        is_deeply $got, lists( [ $byte, $byte ] ), sprintf 'the byte %02x', ord $byte;
    }
};

subtest 'Bodies made by chance are read as a few lines of Perl read them' => sub {
    my @pieces = (
        qw(a b & ; = % %4 %41 %zz %26 %3D %25 %00 + 0),
        '%D1%8F', '%FF', '%ED%A0%80', "\xd1\x8f", "\xe0", q{ }, "\r\n"
    );

    # The same at each run: numbers of a linear congruential generator.
    my $number = 1;
    my $next   = sub {
        $number = ( $number * 1_103_515_245 + 12_345 ) % 2**31;
        ( $number >> 8 ) % $_[0];
    };
    my @wrong;
    for ( 1 .. 1_000 ) {
        my $body = join q{},
          map { $pieces[ $next->( scalar @pieces ) ] } 1 .. 2 + $next->(30);
        my $got = $chance->seen( POST => q{/}, $FORM, $body );
        push @wrong, $body if $got ne printable( lists( fields_of($body) ) );
    }
    is_deeply \@wrong, [], 'all of them';
};

subtest '1024 fields, and what is beyond them stays in the last one' => sub {
    my @fields = map { [ "f$_", $_ ] } 1 .. 1025;
    my $sent   = join q{&}, map { join q{=}, @{$_} } @fields;
    my @split  = ( @fields[ 0 .. 1022 ], [ 'f1024', '1024&f1025=1025' ] );
    is_deeply $server->seen( POST => q{/}, $FORM, $sent )->{post}, lists(@split),
      'in a body';

    my @short = ('a') x 1025;
    is_deeply $server->seen( GET => q{/?} . join q{;}, @short )->{get},
      lists( ( [ 'a', undef ] ) x 1023, [ 'a;a', undef ] ), 'in a query';
};

$_->stop for $server, $chance;

my %limit_by = (
    'the option of listen' =>
      sub { $_[0]->listen( \&answer, { max_urlencoded_fields => $_[1] } ) },
    'the option of new' => sub {
        $_[0]->new_server( max_urlencoded_fields => $_[1] );
        $_[0]->listen( \&answer );
    },
    'the variable' => sub {
        no warnings 'once';
        $HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS = $_[1];
        $_[0]->listen( \&answer );
    },
    'the option of listen before others' => sub {
        no warnings 'once';
        $HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS = 5;
        $_[0]->new_server( max_urlencoded_fields => 6 );
        $_[0]->listen( \&answer, { max_urlencoded_fields => $_[1] } );
    },
);
for my $how ( sort keys %limit_by ) {
    subtest "The number of fields is limited by $how" => sub {
        for my $limit ( 0 .. 2 ) {
            my $server = TestServer->start( sub { $limit_by{$how}->( $_[0], $limit ) } );
            for my $case ( grep { $_->[0] == $limit } @LIMITED ) {
                my ( undef, $sent, @fields ) = @{$case};
                is_deeply $server->seen( GET => "/?$sent" )->{get}, lists(@fields),
                  "$limit: query $sent";
                is_deeply $server->seen( POST => q{/}, $FORM, $sent )->{post},
                  lists(@fields),
                  "$limit: body $sent";
            }
            $server->stop;
        }
    };
}

subtest 'The variable counts as it is when the request comes' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen( \&answer );
            $server->on_command(
                sub {
                    ($HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS) = @_;
                    report('set');
                }
            );
        }
    );
    for my $limit ( 1, 0, 2 ) {
        $server->tell($limit);
        $server->await('set');
        my ($case) = grep { $_->[0] == $limit } @LIMITED;
        my ( undef, $sent, @fields ) = @{$case};
        is_deeply $server->seen( GET => "/?$sent" )->{get}, lists(@fields),
          "now it is $limit";
    }
    $server->stop;
};

subtest 'Names and values are text, those of ASCII too' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            my @bytes;
            for my $key (qw(get post)) {
                my ( $last, $all ) = @{$cgi}{ $key, "${key}_a" };
                for my $text (
                    grep( { length } keys %{$last} ),
                    values %{$last},
                    map { @{$_} } values %{$all}
                  )
                {
                    push @bytes, "$key: $text" if defined $text && !utf8::is_utf8($text);
                }
            }
            return \@bytes;
        }
    );
    my $fields = 'a=b&=&%D1%8F=%D1%8F&cp=%FF';
    is_deeply $server->seen( POST => "/?$fields", $FORM, $fields ), [],
      'all have the flag';
    $server->stop;
};

subtest 'plus_as_space' => sub {
    my @cases = (
        [ 'a+b=c+d%2B' => [ 'a b', 'c d+' ] ],
        [ '+=++'       => [ q{ },  q{  } ] ],
        [ 'a=%+41'     => [ 'a',   '% 41' ] ],
        [ 'a+b'        => [ 'a b', undef ] ],
        [ 'a=%D1%8F+я' => [ 'a',   'я я' ] ],
    );
    my $server = TestServer->looking( \&look, plus_as_space => 1 );
    for my $case (@cases) {
        my ( $sent, @fields ) = @{$case};
        utf8::encode($sent);
        is_deeply $server->seen( GET => "/?$sent" )->{get}, lists(@fields),
          "query: $sent";
        is_deeply $server->seen( POST => q{/}, $FORM, $sent )->{post}, lists(@fields),
          "body: $sent";
    }
    $server->stop;

    $server = TestServer->looking(
        sub { return [ $_[0]{cookies}{a}, $_[0]{post}{'f+'}, $_[0]->urldecode('+') ] },
        plus_as_space => 1 );
    my $upload = upload_bytes( { name => 'f+', content => 'x+y' } );
    $upload =~ s/\r\n/\r\nCookie: a=b+c\r\n/;
    is_deeply $server->seen($upload), [ 'b+c', 'x+y', q{+} ],
      'but not in cookies, in multipart bodies and in urldecode';
    $server->stop;
};

subtest 'get, post and file give the list itself' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            push @{ $cgi->$_('a') }, 'more' for qw(get post);
            my @none = map { $cgi->$_('none') } qw(get post file);
            push @{$_}, 'lost' for @none;
            return [
                $cgi->{get_a}{a},        $cgi->{post_a}{a},
                scalar $cgi->param('a'), map { $cgi->$_('none') } qw(get post file)
            ];
        }
    );
    is_deeply $server->seen( POST => '/?a=1', $FORM, 'a=2&a=3' ),
      [ [ 1, 'more' ], [ 2, 3, 'more' ], 'more', [], [], [] ],
      'for the application to change, and an empty one where there is nothing';
    $server->stop;
};

subtest 'param' => sub {
    my $server =
      TestServer->looking( sub { return [ scalar $_[0]->param('a'), $_[0]->param('a') ] }
      );
    my @cases = (
        [ 'a=1&a=2', 'a=3',     2,     1, 2 ],
        [ 'b=1',     'a=3&a=4', 4,     3, 4 ],
        [ 'a=1',     'b=3',     1,     1 ],
        [ 'a=1&a=0', 'a=3',     0,     1, 0 ],
        [ 'a=1&a=',  'a=3',     q{},   1, q{} ],
        [ 'a=1&a',   'a=3',     undef, 1, undef ],
        [ 'a=0',     'a=3',     0,     0 ],
        [ 'b=1',     'a=0',     0,     0 ],
        [ 'b=1',     'b=3',     undef ],
        [ q{},       'a=3',     3, 3 ],
    );
    for my $case (@cases) {
        my ( $query, $body, @expected ) = @{$case};
        is_deeply $server->seen( POST => "/?$query", $FORM, $body ), \@expected,
          "query $query, body $body";
    }
    $server->stop;
};

# A query, in which names and values are looked for before and after it was taken apart.
my @QUERIES = (
    'a=1&b=2;a=3',               'a',
    'a',                         'a=',
    '=a&a=%3D',                  'a=1=2&=3',
    '%61=1&a=2',                 'a%20b=1&a+b=2',
    "\xc3\xa9=1&%C3%A9=2&%E9=3", 'a=%E9&a=%C3%A9',
    '&&a=1&&',                   ';',
    'aa=1&a=2&A=3',              'a%=1&a%2=2&a%zz=3',
    'a=' . 'x' x 2_000,          join( '&', map { "a=$_" } 1 .. 50 ),
    'a%00b=1',                   'a&b&a=0',
);
my @NAMES = (
    'a', 'b', q{}, 'A', 'aa', 'a b', 'a+b', 'a%', 'a%2', "a\0b", "\xe9",
    "\x{e9}\x{263a}", 0, undef, [], \'a'
);

subtest 'param finds the same before and after the query was taken apart' => sub {
    for my $plus ( 0, 1 ) {
        my $server = TestServer->looking( \&look_twice, plus_as_space => $plus );
        for my $query ( grep { length } @QUERIES ) {
            my ( $before, $after ) =
              @{ $server->seen( POST => "/?$query", $FORM, $query ) };
            is_deeply $before, $after, substr( $query, 0, 30 ) . ", plus_as_space $plus";
            ( $before, $after ) = @{ $server->seen( POST => '/', $FORM, $query ) };
            is_deeply $before, $after, 'in the body';
        }
        $server->stop;
    }
};

subtest 'Looking for what was not sent makes no fields' => sub {
    my $server = TestServer->looking(
        sub {
            my ($cgi) = @_;
            my @looked = map { $cgi->$_('x') } qw(get post file param);
            return [ map { exists $cgi->{$_} && exists $cgi->{$_}{x} ? $_ : () }
                  qw(get get_a post post_a file file_a cookies) ];
        }
    );
    is_deeply $server->seen( POST => '/?a=1', $FORM, 'b=2' ), [], 'in no hash';
    is_deeply $server->seen( GET  => q{/} ),                  [], 'of a bare GET neither';
    $server->stop;
};

done_testing;

sub answer {
    my ($cgi) = @_;
    report( seen => look($cgi) );
    $cgi->header;
    return;
}

# What there is in get and post: the last value and all values.
sub look {
    my ($cgi) = @_;
    return { map { $_ => [ $cgi->{$_} || {}, $cgi->{"${_}_a"} || {} ] } qw(get post) };
}

# The fields of a body.
sub fields_of {
    my ($body) = @_;
    my @fields;
    for my $field ( split /[&;]/, $body, 1024 ) {
        my ( $name, $value ) = split /=/, $field, 2;
        my @texts   = map   { decoded($_) } $name // q{}, defined $value ? $value : ();
        my $is_utf8 = !grep { !utf8::decode( my $copy = $_ ) } @texts;
        @texts = map { text( $_, $is_utf8 ) } @texts;
        push @fields, [ $texts[0], $texts[1] ];
    }
    return @fields;
}

sub decoded {
    my ($bytes) = @_;
    return $bytes =~ s/%([[:xdigit:]]{2})/chr hex $1/ger;
}

sub text {
    my ( $bytes, $is_utf8 ) = @_;
    return Encode::decode( 'cp1251', $bytes ) if !$is_utf8;
    utf8::decode($bytes);
    return $bytes;
}

# What may hold surrogates, which JSON cannot carry.
sub printable {
    my ($data) = @_;
    return 'undef' if !defined $data;
    return join q{,}, '[', map( { printable($_) } @{$data} ), ']' if ref $data eq 'ARRAY';
    return join q{ }, map { ord } split //, $data if !ref $data;
    return join q{,}, '{',
      map( { printable($_) => printable( $data->{$_} ) } sort keys %{$data} ),
      '}';
}

# The same, as these fields should give it.
sub lists {
    my (@fields) = @_;
    my ( %last, %all );
    for my $field (@fields) {
        my ( $name, $value ) = @{$field};
        $last{$name} = $value;
        push @{ $all{$name} }, $value;
    }
    return [ \%last, \%all ];
}

sub look_twice {
    my ($cgi) = @_;
    local $SIG{__WARN__} = sub { };
    my @before = map { parameter( $cgi, $_ ) } @NAMES;
    scalar grep { defined } values %{$cgi};
    my @after = map { parameter( $cgi, $_ ) } @NAMES;
    return [ \@before, \@after ];
}

sub parameter {
    my ( $cgi, $name ) = @_;
    return [ scalar( $cgi->param($name) ), $cgi->param($name) ];
}
