# Values made when they are first read: Perl code cannot tell them from plain ones.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Data::Dumper ();
use Scalar::Util qw(blessed isweak looks_like_number reftype weaken);
use Storable     ();
use Test::More;

use Example;

my ( $made, $dropped );

# A hash whose element `lazy` is made by a sub, and a plain one like it.
sub lazy_hash {
    my ($make) = @_;
    my %hash = ( before => 1, after => 2 );
    ( $made, $dropped ) = ( 0, 0 );
    Example::Probe::insert_lazy(
        \%hash, 'lazy',
        sub { $made++; $make->() },
        sub { $dropped++ }
    );
    return \%hash;
}

sub plain_hash {
    my ($make) = @_;
    return { before => 1, after => 2, lazy => $make->() };
}

sub dump_of {
    my ($value) = @_;
    return Data::Dumper->new( [$value] )->Sortkeys(1)->Indent(1)->Dump;
}

sub change_alias { $_[0] = 'changed'; return }

# What Perl code may do with the element `lazy` of $h, a reference to a hash, and see.
my %actions = (
    'exists'        => sub { my ($h) = @_; return exists $h->{lazy} },
    'exists within' => sub { my ($h) = @_; return exists $h->{lazy}{a} },
    'keys'          => sub { my ($h) = @_; return join ',', sort keys %$h },
    'values'        => sub {
        my ($h) = @_;
        return map { ref || $_ } sort values %$h;
    },
    'each' => sub {
        my ($h) = @_;
        my %seen;
        while ( my ( $key, $value ) = each %$h ) { $seen{$key} = $value }
        return dump_of( \%seen );
    },
    'count'              => sub { my ($h) = @_; return scalar keys %$h },
    'the whole in lists' =>
      sub { my ($h) = @_; my %copy = %$h; return dump_of( \%copy ) },
    'a literal around'   => sub { my ($h) = @_; return dump_of( { %$h, more => 1 } ) },
    'defined'            => sub { my ($h) = @_; return defined $h->{lazy} },
    'truth'              => sub { my ($h) = @_; return $h->{lazy}  ? 'true' : 'false' },
    'negation'           => sub { my ($h) = @_; return !$h->{lazy} ? 'true' : 'false' },
    'ref'                => sub { my ($h) = @_; return ref $h->{lazy} },
    'ref of the element' => sub { my ($h) = @_; return ref \$h->{lazy} },
    'reftype'            => sub { my ($h) = @_; return reftype $h->{lazy} },
    'blessed'            => sub { my ($h) = @_; return blessed $h->{lazy} },
    'isweak' => sub { my ($h) = @_; return isweak $h->{lazy} ? 'weak' : 'strong' },
    'looks_like_number' =>
      sub { my ($h) = @_; return looks_like_number( $h->{lazy} ) ? 1 : 0 },
    'numeric equality' =>
      sub { my ($h) = @_; my $r = $h->{lazy}; return $r == $h->{lazy} },
    'string equality'      => sub { my ($h) = @_; return "$h->{lazy}" eq $h->{lazy} },
    'Data::Dumper'         => sub { my ($h) = @_; return dump_of($h) },
    'Data::Dumper in Perl' => sub {
        my ($h) = @_;
        local $Data::Dumper::Useperl = 1;
        return dump_of($h);
    },
    'an element within' => sub { my ($h) = @_; return $h->{lazy}{a} },
    'a slice' => sub { my ($h) = @_; return dump_of( [ @{$h}{qw(before lazy)} ] ) },
    'a slice within' => sub { my ($h) = @_; return join ',', @{ $h->{lazy} }{qw(a b)} },
    'keys within'    => sub { my ($h) = @_; return join ',', sort keys %{ $h->{lazy} } },
    'autovivification' => sub { my ($h) = @_; $h->{lazy}{c}{d} = 3;  return dump_of($h) },
    'storing within'   => sub { my ($h) = @_; $h->{lazy}{a} = 'new'; return dump_of($h) },
    'deleting within'  => sub { my ($h) = @_; delete $h->{lazy}{a}; return dump_of($h) },
    'local within'     => sub {
        my ($h) = @_;
        { local $h->{lazy}{a} = 'inner'; return dump_of($h) if $h->{lazy}{a} ne 'inner' }
        return dump_of($h);
    },
    'local' => sub {
        my ($h) = @_;
        my $inner = do { local $h->{lazy} = { x => 1 }; dump_of($h) };
        return $inner . dump_of($h);
    },
    'local without value' => sub {
        my ($h) = @_;
        my $inner = do { local $h->{lazy}; dump_of($h) };
        return $inner . dump_of($h);
    },
    'delete local' => sub {
        my ($h) = @_;
        my $inner = do { delete local $h->{lazy}; dump_of($h) };
        return $inner . dump_of($h);
    },
    'local of the whole' => sub {
        my ($h) = @_;
        our %whole;
        local *whole = $h;
        my $inner = do { local $whole{lazy} = 1; dump_of($h) };
        return $inner . dump_of($h);
    },
    'delete' => sub { my ($h) = @_; return dump_of( delete $h->{lazy} ) . dump_of($h) },
    'delete of a slice' =>
      sub { my ($h) = @_; return dump_of( [ delete @$h{qw(lazy after)} ] ) },
    'assignment' => sub { my ($h) = @_; $h->{lazy} = { y => 1 }; return dump_of($h) },
    'assignment of a string' =>
      sub { my ($h) = @_; $h->{lazy} = 'text'; return dump_of($h) },
    'assignment of a list' =>
      sub { my ($h) = @_; ( $h->{lazy} ) = (5); return dump_of($h) },
    'assignment to a slice' => sub {
        my ($h) = @_;
        @$h{qw(lazy after)} = ( 1, 2 );
        return dump_of($h);
    },
    'undef'                => sub { my ($h) = @_; undef $h->{lazy}; return dump_of($h) },
    'undef of the content' =>
      sub { my ($h) = @_; undef %{ $h->{lazy} }; return dump_of($h) },
    'or-equals' => sub { my ($h) = @_; $h->{lazy} ||= 'other'; return dump_of($h) },
    'defined-or-equals' =>
      sub { my ($h) = @_; $h->{lazy} //= 'other'; return dump_of($h) },
    'and-equals' => sub { my ($h) = @_; $h->{lazy} &&= 'other'; return dump_of($h) },
    'appending'  => sub {
        my ($h) = @_;
        my $before = "$h->{lazy}";
        $h->{lazy} .= 'x';
        return "${before}x" eq $h->{lazy};
    },
    'a reference to it' => sub {
        my ($h)  = @_;
        my $r    = \$h->{lazy};
        my $text = dump_of($$r);
        $$r = 'by reference';
        return $text . dump_of($h);
    },
    'aliases of for' => sub {
        my ($h) = @_;
        for my $alias ( @$h{qw(before lazy)} ) { $alias = 'alias' }
        return dump_of($h);
    },
    'aliases of values' => sub {
        my ($h) = @_;
        ref and $_ = 'alias' for values %$h;
        return dump_of($h);
    },
    'aliases of map' => sub {
        my ($h) = @_;
        return dump_of( [ map { s/HASH/hash/r } $h->{lazy} ] ) =~ /hash/ ? 1 : 0;
    },
    'aliases of grep' => sub {
        my ($h) = @_;
        return scalar grep { ref } values %$h;
    },
    'aliases of calls' =>
      sub { my ($h) = @_; change_alias( $h->{lazy} ); return dump_of($h) },
    'passing it' => sub {
        my ($h) = @_;
        return dump_of(
            [
                sub { $_[0] }
                  ->( $h->{lazy} )
            ]
        );
    },
    'a default of shift' => sub {
        my ($h) = @_;
        return sub { my $x = shift; ref $x }
          ->( $h->{lazy} );
    },
    'returning it' => sub {
        my ($h) = @_;
        return dump_of(
            sub { $h->{lazy} }
              ->()
        );
    },
    'outliving the hash' => sub {
        my ($h) = @_;
        my $r = \delete $h->{lazy};
        undef $h;
        return dump_of($$r);
    },
    'outliving by value' => sub {
        my ($h) = @_;
        my $value = $h->{lazy};
        undef $h;
        return dump_of($value);
    },
    'emptying the hash' => sub { my ($h) = @_; %$h = ();             return dump_of($h) },
    'weakening unread'  => sub { my ($h) = @_; weaken( $h->{lazy} ); return dump_of($h) },
    'weakening when held' => sub {
        my ($h) = @_;
        my $held = $h->{lazy};
        weaken( $h->{lazy} );
        return dump_of($h) . isweak( $h->{lazy} );
    },
    'storing anew after weakening' => sub {
        my ($h) = @_;
        weaken( $h->{lazy} );
        $h->{lazy} = { z => 1 };
        return dump_of($h) . ( isweak( $h->{lazy} ) ? 'weak' : 'strong' );
    },
    'dclone of the value' =>
      sub { my ($h) = @_; return dump_of( Storable::dclone( $h->{lazy} ) ) },
    'dclone of a copy' =>
      sub { my ($h) = @_; return dump_of( Storable::dclone( {%$h} ) ) },
    'printf'    => sub { my ($h) = @_; return length sprintf '%s', $h->{lazy} },
    'join'      => sub { my ($h) = @_; return scalar split /x/, join 'x', 1, $h->{lazy} },
    'a match'   => sub { my ($h) = @_; return $h->{lazy} =~ /\AHASH/ ? 1 : 0 },
    'a pattern' =>
      sub { my ($h) = @_; my $s = "$h->{lazy}"; return $s =~ /\A\Q$h->{lazy}\E\z/ },
    'sort'     => sub { my ($h) = @_; return scalar( my @l = sort $h->{lazy}, 'a' ) },
    'swapping' => sub {
        my ($h) = @_;
        @$h{qw(before lazy)} = @$h{qw(lazy before)};
        return dump_of($h);
    },
    'the ternary operator' => sub { my ($h) = @_; return dump_of( 1 ? $h->{lazy} : 0 ) },
    'chop'   => sub { my ($h) = @_; chop( my $x = $h->{lazy} ); return length $x },
    'length' => sub { my ($h) = @_; return length( $h->{lazy} ) > 6 },
    'pack and unpack' =>
      sub { my ($h) = @_; return substr pack( 'A9', $h->{lazy} ), 0, 4 },
    'wantarray' => sub { my ($h) = @_; return scalar( () = $h->{lazy} ) },
    'a closure' => sub {
        my ($h) = @_;
        my $c = sub { $h->{lazy} };
        undef $h;
        return dump_of( $c->() );
    },
);

for my $name ( sort keys %actions ) {
    my $make   = sub { return { a => 1, b => [ 1, 2 ] } };
    my @expect = $actions{$name}->( plain_hash($make) );
    my $lazy   = lazy_hash($make);
    is_deeply [
        map { s/0x[0-9a-f]+/ADDRESS/gr }
        map { $_ // 'undef' } $actions{$name}->($lazy)
      ],
      [ map { s/0x[0-9a-f]+/ADDRESS/gr } map { $_ // 'undef' } @expect ], $name;
    cmp_ok $made, '<=', 1, "$name: made once at most";
    undef $lazy;
    is $dropped, 1, "$name: what it is made of is dropped once";
}

subtest 'nothing is made by looking at the hash' => sub {
    my $h    = lazy_hash( sub { {} } );
    my @keys = keys %$h;
    ok exists $h->{lazy}, 'exists';
    is $made, 0, 'not made';
    ok Example::Probe::is_unmade( $h, 'lazy' ), 'Rust sees what it will be made of';
    ok ref $h->{lazy},                          'read';
    is $made, 1, 'made';
    ok !Example::Probe::is_unmade( $h, 'lazy' ), 'Rust sees that it is made';
};

subtest 'any value can be lazy' => sub {
    for my $value ( 'text', 42, 1.5, '', 0, undef, \1, [1], sub { 1 },
        qr/x/, *STDOUT, "\x{263a}", v1.2.3 )
    {
        my $h = lazy_hash( sub { $value } );
        is_deeply $h->{lazy}, $value, 'of the kind ' . ref \$value;
    }
};

subtest 'Rust reads them as Perl does' => sub {
    my $h = lazy_hash( sub { 'text' } );
    is Example::Probe::read_element( $h, 'lazy' ), 'text', 'an element';
    $h = lazy_hash( sub { { a => 1 } } );
    ok Example::Probe::is_hash( $h->{lazy} ), 'a hash';
    is $made, 1, 'made once';
};

subtest 'an exception comes where the value is read' => sub {
    my $h = lazy_hash( sub { die "cannot be made\n" } );
    is eval { my $x = $h->{lazy}; 1 }, undef,              'read';
    is $@,                             "cannot be made\n", 'the exception';
    is $h->{lazy},                     undef,              'undefined from then on';
    is $dropped,                       1, 'and what it was to be made of is gone';
};

subtest 'what makes the value may look at it' => sub {
    my $h;
    $h = lazy_hash(
        sub {
            my $seen = defined $h->{lazy} ? 'defined' : 'undef';
            return { seen => $seen };
        }
    );
    is $h->{lazy}{seen}, 'undef', 'undefined meanwhile';
    $h = lazy_hash( sub { delete $h->{lazy}; return 'made' } );
    is $h->{lazy}, undef, 'deleted meanwhile';
    ok !exists $h->{lazy}, 'and so gone';
};

subtest 'what makes the value may free what it was asked of' => sub {
    my $h;
    $h = lazy_hash( sub { undef $h; return { a => 1 } } );
    is $h->{lazy}{a}, 1,     'the element of a hash that is freed meanwhile';
    is $h,            undef, 'and so gone';

    my @keys = ( 'la' . 'zy' );
    $h = lazy_hash(
        sub {
            @keys = ();
            my @others = map { "other $_" } 1 .. 9;
            'made';
        }
    );
    is $h->{ $keys[0] }, 'made', 'by a key that is freed meanwhile';
};

subtest 'other magic on the value stays' => sub {
    my $h = lazy_hash( sub { { a => 1 } } );
    my $r = \$h->{lazy};
    weaken( my $weak = $r );
    Example::Probe::attach_guard( $r, sub { } );
    is $h->{lazy}{a}, 1, 'read';
    is $made,         1, 'made';
    is $$weak->{a},   1, 'the weak reference to it';
    $h->{lazy} = 'assigned';
    is $h->{lazy}, 'assigned', 'assigned';
    undef $r;
    %$h = ();
    is $weak, undef, 'the weak reference ends with it';
};

# Where one tainted value is read, perl takes whatever is assigned there for tainted.
subtest 'read in a statement with tainted values' => sub {
    my @command =
      ( $^X, '-T', map { "-I$_" } 't/example/blib/lib', 't/example/blib/arch' );
    my $program =
        'use Example; use Scalar::Util; my $tainted = substr $^X, 0, 0; my %h;'
      . 'Example::Probe::insert_lazy( \%h, $_, sub { "made" }, sub { } ) for 1, 2;'
      . 'print $tainted . $h{1}, $h{1}, Scalar::Util::tainted( $h{1} ) ? 1 : 0;'
      . '$h{2} = $tainted . "assigned"; print $h{2}';
    open my $pipe, '-|', @command, '-e', $program or die $!;
    my $output = do { local $/; readline $pipe };
    close $pipe;
    is $?, 0, 'it ends well';
    like $output, qr/\Amademade[01]assigned\z/, 'the values';
};

subtest 'exit while a value is made' => sub {
    my @command = ( $^X, map { "-I$_" } 't/example/blib/lib', 't/example/blib/arch' );
    my $program =
'use Example; my %h; Example::Probe::insert_lazy(\%h, "a", sub { exit 7 }, sub { });'
      . 'END { print "end" } my $x = $h{a}; print "not reached"';
    open my $pipe, '-|', @command, '-e', $program or die $!;
    my $output = do { local $/; readline $pipe };
    close $pipe;
    is $output, 'end', 'nothing runs but END blocks';
    is $? >> 8, 7,     'the status';
};

subtest 'threads find them undefined' => sub {
    plan skip_all => 'no threads'
      if !eval { require Config; $Config::Config{useithreads} };
    require threads;
    my $h = lazy_hash( sub { 'made' } );
    my ($seen) = threads->create( { context => 'list' },
        sub { defined $h->{lazy} ? 'defined' : 'undef' } )->join;
    is $seen,      'undef', 'in the thread';
    is $h->{lazy}, 'made',  'at home';
    is $dropped,   1,       'dropped once';
};

subtest 'no leak' => sub {
    plan skip_all => 'Test::LeakTrace is not installed'
      if !eval { require Test::LeakTrace };
    my $make = sub { { a => [1] } };
    my $work = sub {
        my $h      = lazy_hash($make);
        my $unread = lazy_hash($make);
        my $weak   = lazy_hash($make);
        weaken( $weak->{lazy} );
        my $x = $h->{lazy}{a};
    };
    $work->();
    is Test::LeakTrace::leaked_count($work), 0, 'nothing is left';
};

done_testing;
