# Destructors of Perl and of Rust, and what they may do.

use strict;
use warnings;

use lib 't/example/blib/lib', 't/example/blib/arch';
use Test::More;

use Example;

{

    package Object;
    sub new { my ( $class, $code ) = @_; return bless { code => $code }, $class }
    sub DESTROY { my ($self) = @_; $self->{code}->() }
}

subtest 'the last reference may be held in Rust' => sub {
    my $destroyed = 0;
    Example::Probe::hold( Object->new( sub { $destroyed++ } ) );
    is $destroyed, 0, 'held';
    Example::Probe::drop_held();
    is $destroyed, 1, 'dropped';
};

subtest 'DESTROY may die' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    local $@ = 'before';
    Example::Probe::hold( Object->new( sub { die "in DESTROY\n" } ) );
    Example::Probe::drop_held();
    is scalar @warnings, 1, 'one warning';
    like $warnings[0], qr/^\t\(in cleanup\) in DESTROY$/m, 'with its message';
    is $@, 'before', '$@';
    local $SIG{__WARN__} = sub { die 'in the handler' };
    local *STDERR;
    open STDERR, '>', \my $printed or die "open: $!";
    Example::Probe::hold( Object->new( sub { die "in DESTROY\n" } ) );
    ok eval { Example::Probe::drop_held(); 1 }, 'even in the warning handler';
};

subtest 'DESTROY may use Rust' => sub {
    my @seen;
    Example::Probe::hold(
        Object->new(
            sub {
                Example::apply( sub { push @seen, Example::hello('D') } );
            }
        )
    );
    Example::Probe::hold(
        Object->new( sub { Example::Probe::drop_held(); push @seen, 'nested' } ) );
    Example::Probe::drop_held();
    is_deeply \@seen, [ 'Hello, D!', 'nested' ], 'as always';
};

subtest 'a replaced value in a hash is destroyed' => sub {
    my $destroyed = 0;
    my $value     = 1;
    my %hash      = ( key => Object->new( sub { $destroyed++; Example::hello('x') } ) );
    Example::Probe::hash_insert( \%hash, 'key', $value );
    is $destroyed, 1, 'replaced';
    delete $hash{key};
    $hash{key} = Object->new( sub { $destroyed++; %hash = () } );
    Example::Probe::hash_remove( \%hash, 'key' );
    is $destroyed, 2, 'removed';
    $hash{key} = Object->new( sub { $destroyed++; $hash{new} = 1 } );
    Example::Probe::hash_clear( \%hash );
    is $destroyed, 3, 'cleared';
};

subtest 'a panic in a destructor is a warning' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    { my $value = 'text'; Example::Probe::attach_panic($value) }
    is scalar @warnings, 1, 'one';
    like $warnings[0],
qr/^\t\(in cleanup\) Example: internal error: dropped at \S+probe\.rs:\d+ at \Q$0\E/,
      'message';
};

done_testing;
