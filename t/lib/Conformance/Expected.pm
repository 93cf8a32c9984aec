package Conformance::Expected;

# Compares the replies on a connection with what a case expects.

use strict;
use warnings;

use Exporter qw(import);

use Conformance::Replies;

our @EXPORT_OK = qw(wrong_with);

# What the request sees that is sent behind each case.
my $NEXT_ECHO = 'GET /next';

my $CLOSE = 'Connection: (?:.*,)? *close *(?:,.*)?';

# Texts: what is wrong with all the replies that came on a connection.
sub wrong_with {
    my ( $case, @replies ) = @_;
    my @wrong = (
        ( map { @{ $_->{faults} } } @replies ),
        _wrong_with_close( $case->{end}, @replies )
    );
    for my $answer ( map { @{ $_->{answers} } } @{ $case->{blocks} } ) {
        push @wrong, _wrong_with_answer( $answer, \@replies );
    }
    return ( @wrong, _wrong_with_end( $case->{end}, @replies ) );
}

# Takes the reply that is the answer.
sub _wrong_with_answer {
    my ( $answer, $replies ) = @_;
    my @one_of = @{ $answer->{one_of} };
    my ($as) = grep { @{$replies} && _is( $replies->[0], $_ ) } @one_of;
    if ( !$as ) {
        return if grep { $_->{status} eq 'nothing' } @one_of;
        return 'not ' . join ' or ', map { _text($_) } @one_of;
    }
    my $reply = shift @{$replies};
    my @wrong = map { "no $_" } grep { !_has( $reply, $_ ) } @{ $answer->{fields} };
    return ( @wrong, grep { _has( $reply, $_ ) } @{ $answer->{lacks} } );
}

# A client that goes while the server waits for more may be told that this was bad.
sub _wrong_with_end {
    my ( $end, @replies ) = @_;
    my $has_next = @replies && ( $replies[0]{echo} // q{} ) eq $NEXT_ECHO;
    shift @replies if $has_next       && $end ne 'closed' && $end ne 'waits';
    shift @replies if $end eq 'waits' && @replies         && $replies[0]{status} =~ /\A4/;
    return 'the next request is not answered' if $end eq 'open' && !$has_next;
    return 'one reply too many'               if @replies;
    return;
}

# A reply says whether another one follows (RFC 9112, section 9.6), as far as the server
# can know that: the last one may be the last because the client goes, or what comes is
# bad.
sub _wrong_with_close {
    my ( $end, @replies ) = @_;
    my @final = grep { $_->{status} >= 200 } @replies;
    my $last  = pop @final or return;
    return 'Connection: close, and yet another reply'
      if grep { _has( $_, $CLOSE ) } @final;
    return 'no Connection: close in the last reply'
      if $end =~ /\A(?:open|closed)\z/ && !_has( $last, $CLOSE );
    return;
}

sub _is {
    my ( $reply, $expected ) = @_;
    return 0 if $reply->{status} !~ /\A$expected->{status}\z/;
    return ( $reply->{echo} // q{} ) eq ( $expected->{echo} // q{} );
}

# "Name", or "Name: pattern"
sub _has {
    my ( $reply, $field ) = @_;
    my ( $name, $pattern ) = split /: /, $field, 2;
    $pattern //= '.*';
    return grep { /\A$pattern\z/i } Conformance::Replies::values_of( $reply, $name );
}

sub _text {
    my ($expected) = @_;
    return join q{ }, grep { defined } @{$expected}{qw(status echo)};
}

1;
