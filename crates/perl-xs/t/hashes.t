# Hashes: plain, tied, restricted; keys of bytes and of text.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Hash::Util;
use Test::More;
use Tie::Hash;

use Example;

BEGIN {
    *hash_clear       = \&Example::Probe::hash_clear;
    *hash_contains    = \&Example::Probe::hash_contains;
    *hash_get         = \&Example::Probe::hash_get;
    *hash_get_text    = \&Example::Probe::hash_get_text;
    *hash_insert      = \&Example::Probe::hash_insert;
    *hash_insert_text = \&Example::Probe::hash_insert_text;
    *hash_len         = \&Example::Probe::hash_len;
    *hash_pairs       = \&Example::Probe::hash_pairs;
    *hash_remove      = \&Example::Probe::hash_remove;
}

sub tied_hash { tie my %hash, 'Tie::StdHash'; %hash = @_; return \%hash }

for my $case ( [ 'plain', sub { return {@_} } ], [ 'tied', \&tied_hash ] ) {
    my ( $name, $make ) = @$case;
    subtest "a $name hash" => sub {
        my $hash = $make->( a => 1, b => 2 );
        is hash_get( $hash, 'a' ),       1,     'get';
        is hash_get( $hash, 'missing' ), undef, 'get nothing';
        ok !exists $hash->{missing}, 'which makes nothing';
        hash_insert( $hash, 'c', 3 );
        is $hash->{c}, 3, 'insert';
        hash_insert( $hash, 'c', 4 );
        is $hash->{c}, 4, 'replace';
        ok hash_contains( $hash, 'c' ) && !hash_contains( $hash, 'd' ), 'contains';
        is hash_len($hash), 3, 'length';
        ok !Example::Probe::hash_is_empty($hash), 'not empty';
        is hash_remove( $hash, 'c' ), 4,     'remove';
        is hash_remove( $hash, 'c' ), undef, 'remove nothing';
        is_deeply {
            map { @$_[ 0, 2 ] } pairs_of($hash)
        }, { a => 1, b => 2 }, 'pairs';
        is_deeply [ map { $_->[0] } pairs_of($hash) ], [ keys %$hash ], "in perl's order";
        hash_clear($hash);
        is hash_len($hash), 0, 'clear';
        ok Example::Probe::hash_is_empty($hash), 'empty';
    };
}

sub pairs_of {
    my @flat = hash_pairs(@_);
    my @pairs;
    push @pairs, [ splice @flat, 0, 3 ] while @flat;
    return @pairs;
}

subtest 'a stored value is shared, not copied' => sub {
    my ( $value, %hash ) = 1;
    hash_insert( \%hash, 'key', $value );
    $value = 2;
    is $hash{key}, 2, 'in a plain hash';
};

subtest 'keys' => sub {
    my %hash = ( '☃' => 1, 'ö' => 2, "\xf6\xf6" => 3 );
    is hash_get_text( \%hash, '☃' ), 1, 'text';
    is hash_get_text( \%hash, 'ö' ), 2, 'text that is Latin-1';
    is hash_get( \%hash, "\xf6" ), 2, 'bytes';
    hash_insert_text( \%hash, 'ж', 4 );
    is $hash{'ж'}, 4, 'insert';
    hash_insert( \%hash, 'ж', 5 );
    is $hash{"\xd0\xb6"}, 5, 'bytes of the same look are another key';
    is_deeply Example::Probe::hash_of_copies( \%hash ), \%hash, 'all of them come and go';
};

subtest 'hashes with a mind of their own' => sub {
    my %restricted = ( a => 1 );
    Hash::Util::lock_keys(%restricted);
    is eval { hash_insert( \%restricted, 'b', 2 ); 1 }, undef, 'restricted: no new key';
    like $@, qr/^Attempt to access disallowed key 'b' in a restricted hash at \Q$0\E/,
      'as in Perl';
    is hash_get( \%restricted, 'a' ), 1, 'restricted: get';
    is eval { hash_get( \%restricted, 'b' ); 1 }, undef,
      'restricted: get of what may not be';

    hash_insert( \%ENV, 'EXAMPLE', 'set' );
    is `echo \$EXAMPLE`, "set\n", '%ENV';

    my @order;
    local $SIG{USR1};
    hash_insert( \%SIG, 'USR1', sub { push @order, 'signal' } );
    kill USR1 => $$;
    is_deeply \@order, ['signal'], '%SIG';

    tie my %dies, 'Dies';
    is eval { hash_insert( \%dies, 'a', 1 ); 1 }, undef, 'an exception in STORE';
    is eval { hash_pairs( \%dies );          1 }, undef, 'an exception in FIRSTKEY';
    sub Dies::TIEHASH  { bless {}, shift }
    sub Dies::STORE    { die 'no' }
    sub Dies::FIRSTKEY { die 'no' }
};

subtest 'a shared key is a key like any other' => sub {
    tie my %tied, 'Tie::StdHash';
    for my $hash ( {}, { key => 1 }, \%tied ) {
        my $existed = exists $hash->{key};
        my ( $before, $found, $removed, $after ) =
          Example::Probe::hash_shared( $hash, 'key', 'value' );
        is !!$before, !!$existed, 'it is there if it was';
        is $found,    'value',    'stored and found';
        is $removed,  'value',    'removed';
        ok !$after, 'and gone';
    }
    for my $key ( q{}, "\xe9", "\0" x 300 ) {
        my ( undef, $found ) = Example::Probe::hash_shared( {}, $key, 'value' );
        is $found, 'value', 'any key';
    }
};

subtest 'an element can be changed, if it is not tied' => sub {
    my %hash = ( a => 1 );
    Example::Probe::assign( hash_get( \%hash, 'a' ), 2 );
    is $hash{a}, 2, 'changed';
};

subtest 'data of Rust goes with the hash and not with a copy' => sub {
    my $hash = { key => 'value' };
    is Example::Probe::hash_attached($hash), undef, 'none yet';
    Example::Probe::hash_attach( $hash, 'data' );
    is Example::Probe::hash_attached($hash),      'data', 'attached';
    is Example::Probe::hash_attached( {%$hash} ), undef,  'not to a copy';
};

done_testing;
