package Conformance::Replies;

# Takes the bytes a server has sent apart into replies, and finds what no reply may be, or
# have, whatever the request was.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(replies);

my $TOKEN = qr/[!#\$%&'*+\-.^_`|~0-9A-Za-z]+/;
my $DATE =
  qr/(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT/;

# The replies in these bytes, which are all that was sent if `has_ended`. Each is a hash
# of status, fields (a list of pairs, names in lower case), echo (what the handler saw:
# see Conformance::Server), body, and faults (a list of texts). What is no complete reply
# is the last one, with status 'broken'.
sub replies {
    my ( $bytes, $has_ended ) = @_;
    my @replies;
    while ( length $bytes ) {
        my $reply = _reply( \$bytes, $has_ended );
        if ( !$reply ) {
            return @replies if !$has_ended;
            return @replies, { status => 'broken', rest => $bytes, faults => ['broken'] };
        }
        push @replies, $reply;
    }
    return @replies;
}

# The values of a field.
sub values_of {
    my ( $reply, $name ) = @_;
    return map { $_->[1] } grep { $_->[0] eq lc $name } @{ $reply->{fields} };
}

sub _reply {
    my ( $bytes, $has_ended ) = @_;
    ${$bytes} =~ s/\A(.*?\r\n)\r\n//s or return;
    my ( $status_line, @lines ) = split /(?<=\n)/, $1;
    my ($status) = $status_line =~ m{\AHTTP/1[.]1 ([1-5][0-9]{2}) [\t -~\x80-\xff]*\r\n\z}
      or return;
    my $reply = { status => $status, fields => [], faults => [], body => q{} };
    for my $line (@lines) {
        my ( $name, $value ) =
          $line =~ /\A($TOKEN):[\t ]*((?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)[\t ]*\r\n\z/;
        if ( !defined $name ) {
            push @{ $reply->{faults} }, "field line $line";
            next;
        }
        push @{ $reply->{fields} }, [ lc $name, $value ];
    }
    ( $reply->{echo} ) = values_of( $reply, 'saw' );
    _check_fields($reply);
    return $reply if $status < 200;
    _take_body( $reply, $bytes, $has_ended ) or return;
    _check_body($reply);
    return $reply;
}

# RFC 9112, section 6.3. Returns whether it is complete.
sub _take_body {
    my ( $reply, $bytes, $has_ended ) = @_;
    return 1 if _is_of( $reply, qr/204|304/ ) || ( $reply->{echo} // q{} ) =~ /\AHEAD /;
    my ($length) = values_of( $reply, 'content-length' );
    if ( values_of( $reply, 'transfer-encoding' ) ) {
        return _take_chunks( $reply, $bytes );
    }
    elsif ( defined $length ) {
        return 0 if $length !~ /\A\d+\z/ || length ${$bytes} < $length;
        $reply->{body} = substr ${$bytes}, 0, $length, q{};
    }
    else {
        return 0 if !$has_ended;
        $reply->{until_end} = 1;
        ( $reply->{body}, ${$bytes} ) = ( ${$bytes}, q{} );
    }
    return 1;
}

# RFC 9112, section 7.1.
sub _take_chunks {
    my ( $reply, $bytes ) = @_;
    while ( ${$bytes} =~ s/\A([[:xdigit:]]{1,16})\r\n// ) {
        my $size = hex $1;
        return ${$bytes} =~ s/\A\r\n// if !$size;
        return 0                       if length ${$bytes} < $size + 2;
        $reply->{body} .= substr ${$bytes}, 0, $size, q{};
        ${$bytes} =~ s/\A\r\n// or return 0;
    }
    return 0;
}

sub _check_fields {
    my ($reply)   = @_;
    my @lengths   = values_of( $reply, 'content-length' );
    my @codings   = values_of( $reply, 'transfer-encoding' );
    my @dates     = values_of( $reply, 'date' );
    my ($version) = values_of( $reply, 'saw-version' );
    my $faults    = $reply->{faults};
    push @{$faults}, 'length and coding at once (RFC 9112 6.2)' if @lengths && @codings;
    push @{$faults}, 'more than one length (RFC 9110 8.6)'      if @lengths > 1;
    push @{$faults}, 'another coding than chunked' if grep { $_ ne 'chunked' } @codings;
    push @{$faults}, 'length or coding without a body (RFC 9112 6.1, RFC 9110 8.6)'
      if _is_of( $reply, qr/1..|204/ ) && ( @lengths || @codings );
    push @{$faults}, 'coding for a client of HTTP/1.0 (RFC 9112 6.1)'
      if @codings && ( $version // q{} ) eq 'HTTP/1.0';
    push @{$faults}, 'not one Date (RFC 9110 6.6.1)'
      if _is_of( $reply, qr/[234]../ ) && "@dates" !~ /\A$DATE\z/;
    return;
}

sub _is_of {
    my ( $reply, $pattern ) = @_;
    return scalar $reply->{status} =~ /\A(?:$pattern)\z/;
}

# What the handler sends is what it saw.
sub _check_body {
    my ($reply) = @_;
    return if $reply->{status} ne '200'   || !defined $reply->{echo};
    return if $reply->{echo} =~ /\AHEAD / || $reply->{body} eq "$reply->{echo}\n";
    push @{ $reply->{faults} }, "not the handler's body: $reply->{body}";
    return;
}

1;
