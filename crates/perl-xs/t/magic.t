# Scalars that run code: tied variables, overloaded objects; and constants.

use strict;
use warnings;
use utf8;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

BEGIN {
    *is_defined = \&Example::Probe::is_defined;
    *is_true    = \&Example::Probe::is_true;
    *text       = \&Example::Probe::text;
    *bytes      = \&Example::Probe::bytes;
    *integer    = \&Example::Probe::integer;
    *number     = \&Example::Probe::number;
}

{

    package Tied;
    sub TIESCALAR { my ( $class, @values ) = @_; return bless [@values], $class }

    sub FETCH {
        my ($self) = @_;
        die $self->[0] if ref $self->[0] eq 'Exception';
        return shift @$self;
    }

    sub STORE {
        my ( $self, $value ) = @_;
        die "no store\n" if $value eq 'die';
        push @$self, $value;
        return;
    }

    package Overloaded;
    use overload
      '""'     => sub { $_[0]{string} // die "no string\n" },
      '0+'     => sub { $_[0]{number} },
      bool     => sub { $_[0]{bool} },
      fallback => 1;
    sub new { my ( $class, %self ) = @_; return bless \%self, $class }
}

subtest 'tied values are fetched once a reading' => sub {
    tie my $tied, 'Tied', 'text', 0, 1.5, undef, [1];
    is text($tied), 'text', 'text';
    ok !is_true($tied), 'truth';
    is number($tied), 1.5, 'number';
    ok !is_defined($tied),              'definedness';
    ok Example::Probe::is_array($tied), 'reference';
    tie my $number, 'Tied', '1.5e3', 'x';
    ok Example::Probe::looks_like_number($number),  'a number';
    ok !Example::Probe::looks_like_number($number), 'none';
    Example::Probe::assign( $tied, 'stored' );
    is text($tied),                                        'stored', 'stored and fetched';
    is eval { Example::Probe::assign( $tied, 'die' ); 1 }, undef, 'an exception in STORE';
    is $@,                                                 "no store\n", 'comes through';
    tie my $dies, 'Tied', bless [], 'Exception';
    is eval { $_->($dies); 1 }, undef, 'an exception in FETCH'
      for \&text, \&integer, \&is_true, \&is_defined, \&bytes;
};

subtest 'overloaded objects are asked' => sub {
    my $object = Overloaded->new( string => 'ö', number => 7, bool => 0 );
    is text($object),    'ö', 'string';
    is integer($object), 7,   'integer';
    is number($object),  7,   'number';
    ok !is_true($object), 'truth';
    is eval { text( Overloaded->new ); 1 }, undef,         'an exception';
    is $@,                                  "no string\n", 'comes through';
};

subtest 'constants cannot be assigned to' => sub {
    for my $constant ( \1, \undef, \'text' ) {
        is eval { Example::Probe::assign( $$constant, 2 ); 1 }, undef, 'dies';
        like $@, qr/^Modification of a read-only value attempted at \Q$0\E/, 'as in Perl';
    }
};

done_testing;
