package Soak::Requests;

# Random requests, as bytes, each with the reply that is right for it.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Encode      qw(encode_utf8);
use Exporter    qw(import);

use Soak::Content qw(bytes_of large_pieces told);

our @EXPORT_OK = qw(any_of ask bytes_in_chunks length_up_to random_request);

# See Soak::Replies. Those after which the connection goes on, those that end it, and those
# that are none.
my @ANYWHERE = qw(attached closed cookies executed handle hints kept large late length
  nested no_content pieces plain plain plain system tied waits);
my @AT_ONCE    = ( @ANYWHERE, qw(dies next) );
my @FOR_OLD    = qw(attached handle hints late length pieces plain printed waits);
my @FOR_SOCKET = qw(late pieces plain);
my %CLOSES     = map { $_ => 1 } qw(child chunks copied printed socket);
my %IS_NONE    = map { $_ => 1 } qw(dropped nothing);
my @LAST       = ( keys %CLOSES, keys %IS_NONE );

# The application may have to wait for these, and everybody for it.
my %IS_WRITTEN_AT_ONCE = map { $_ => 1 } qw(child copied socket);

# See Soak::Uploads. The last three end the request, the last one soon after.
my @ACTIONS =
  ( qw(exec keep nested restart restart stop stop stop system), qw(die drop late_drop) );
my @STAGES   = qw(multipart file_open file_write file_received);
my @READINGS = qw(handle handle path saved saved_twice not_saved);

my @WORDS = (
    'a', 'b=c', 'd&e;f', 'g h+i', '%zz%41', "line\r\nline", q{},
    map { encode_utf8($_) } "\x{43f}\x{440}\x{438}",
    "\x{20ac} 1"
);

my $number = 0;

sub any_of { return $_[ rand @_ ] }

# Small ones are likelier.
sub length_up_to {
    my ($most) = @_;
    return int $most**rand;
}

# random_request( $address, is_last => 1, is_small => 1, is_old => 1 )
#
# For a listener, as Soak::Listeners tells of it: one that may end its connection, one
# without much to send, one of HTTP/1.0. What is returned is a hash of `bytes`; the `head` and
# `body` that they are made of; the right `status`, undef for no reply, and `text` of the
# reply; whether it `closes` the connection, and whether it is `uncertain` to come at all.
sub random_request {
    my ( $address, %option ) = @_;
    my $kind = any_of(qw(get get get head form raw patch multipart multipart multipart));
    $kind = 'put' if $option{is_last} && rand() < 0.05;
    my %make = (
        form      => \&make_form,
        get       => sub { return { method => 'GET' } },
        head      => sub { return { method => 'HEAD' } },
        multipart => \&make_multipart,
        patch     => sub { return make_raw('PATCH') },
        put       => sub { return make_raw('PUT') },
        raw       => sub { return make_raw('POST') },
    );
    my $request = $make{$kind}->( $address, %option );
    $request->{id}    = ++$number;
    $request->{token} = 'token-' . int rand 1000;
    $request->{reply} = reply_for( $request, $address, %option );
    $request->{size}  = size_for( $request, %option );
    push @{ $request->{fields} }, [ q => any_of(@WORDS) ];
    write_bytes( $request, %option );
    expect( $request, $address );
    return $request;
}

# A request of the server as a whole; the right reply is up to the caller.
sub ask {
    my ( $wish, $name ) = @_;
    my $target = "/?ask=$wish" . ( defined $name ? "&name=$name" : q{} );
    return "GET $target HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n";
}

# A body in chunks. See RFC 9112, section 7.1.
sub bytes_in_chunks {
    my ($body) = @_;
    my $coded  = q{};
    my $from   = 0;
    while ( $from < length $body ) {
        my $piece = substr $body, $from, 1 + length_up_to(200_000);
        $from += length $piece;
        $coded .=
          sprintf( '%x', length $piece ) . any_of( q{}, q{}, ';x=y' ) . "\r\n$piece\r\n";
    }
    return $coded . "0\r\n" . any_of( q{}, q{}, "X-Trailer: 1\r\n" ) . "\r\n";
}

sub make_form {
    my @fields = map { [ "field-$_", any_of(@WORDS) ] } 1 .. rand 6;
    return {
        method => 'POST',
        fields => \@fields,
        type   => 'application/x-www-form-urlencoded',
        body   => join( q{&}, map { "$_->[0]=" . escaped( $_->[1] ) } @fields ),
    };
}

sub make_multipart {
    my ( $address, %option ) = @_;
    my @fields =
      map { [ "field-$_", rand() < 0.8 ? any_of(@WORDS) : bytes_in_utf8() ] } 1 .. rand 4;
    my @files = map { random_file( $_, %option ) } 1 .. rand 4;
    my @parts = (
        ( map { part( qq{name="$_->[0]"}, $_->[1] ) } @fields ),
        map { part( qq{name="$_->{field}"; filename="$_->{name}"}, $_->{content} ) }
          @files
    );
    my $boundary = 'boundary-' . int rand 1e9;
    my $request  = {
        method => 'POST',
        fields => \@fields,
        files  => \@files,
        type   => qq{multipart/form-data; boundary=$boundary},
        body   =>
          join( q{}, ( map { "--$boundary\r\n$_" } mixed(@parts) ), "--$boundary--\r\n" ),
        read => $address->{threads} && rand() < 0.3 ? 'parked' : any_of(@READINGS),
    };
    act_in( $request, $address, %option ) if rand() < 0.4;
    return $request;
}

sub make_raw {
    my ($method) = @_;
    my $body = bytes_of( int rand 1e6, length_up_to(100_000) );
    return {
        method => $method,
        type   => 'application/octet-stream',
        body   => $body,
        is_raw => 1
    };
}

# Something that the application does while it receives this upload.
sub act_in {
    my ( $request, $address, %option ) = @_;
    my ( $stage, $action ) = ( any_of(@STAGES), any_of(@ACTIONS) );
    return if $address->{threads} && $action eq 'nested';
    return if !$option{is_last}   && $action =~ /drop|die/;
    $request->{act} = "$stage.$action";
    my $files =
      grep { $stage ne 'file_write' || length $_->{content} } @{ $request->{files} };
    my $is_there = $stage eq 'multipart' || $files;
    $is_there             = 0 if $stage eq 'file_write' && $address->{name} eq 'unix';
    $request->{is_ended}  = 1 if $is_there              && $action =~ /\A(?:drop|die)\z/;
    $request->{uncertain} = 1 if $is_there              && $action eq 'late_drop';
    return;
}

sub random_file {
    my ( $index, %option ) = @_;
    my $most   = $option{is_small} ? 10_000 : rand() < 0.15 ? 8_000_000 : 200_000;
    my $length = rand() < 0.1 ? 0 : length_up_to($most);
    return {
        field   => any_of(qw(file other)),
        name    => any_of( 'a', 'b.txt', encode_utf8("\x{444}.bin") ) . $index,
        content => bytes_of( int rand 1e6, $length ),
    };
}

sub reply_for {
    my ( $request, $address, %option ) = @_;
    return any_of(@FOR_SOCKET) if $request->{method} eq 'PUT';
    my @replies = $request->{files} ? @ANYWHERE : @AT_ONCE;
    @replies = grep { $_ ne 'printed' || $request->{method} ne 'HEAD' } @FOR_OLD
      if $option{is_old};
    push @replies, @LAST
      if $option{is_last} && $request->{method} ne 'HEAD' && !$option{is_old};
    if ( $address->{threads} ) {
        @replies = grep { $_ ne 'nested' } @replies;
        push @replies, ('parked') x 5
          if !$request->{files}
          || !@{ $request->{files} }
          || $request->{read} eq 'parked';
    }
    return any_of(@replies);
}

sub size_for {
    my ( $request, %option ) = @_;
    return length_up_to(20_000)
      if $option{is_small} || $IS_WRITTEN_AT_ONCE{ $request->{reply} };
    return length_up_to(60_000);
}

sub write_bytes {
    my ( $request, %option ) = @_;
    my @query = map { defined $request->{$_} ? "$_=$request->{$_}" : () }
      qw(id reply size read act);
    push @query,
      map { "q=" . escaped( $_->[1] ) } grep { $_->[0] eq 'q' } @{ $request->{fields} };
    my $version = $option{is_old} ? '1.0' : '1.1';
    my @lines   = (
        "$request->{method} /soak?" . join( q{&}, @query ) . " HTTP/$version",
        'Host: soak',
        "X-Token: $request->{token}",
        'Cookie: a=b; c=d',
    );
    $request->{closes} = 1 if $option{is_old} || $option{is_last} && rand() < 0.2;
    push @lines, 'Connection: close' if $request->{closes} && !$option{is_old};
    my $body = $request->{body};

    if ( defined $body ) {
        my $is_in_chunks =
          $request->{method} ne 'PUT' && !$option{is_old} && rand() < 0.3;
        push @lines, "Content-Type: $request->{type}",
          $is_in_chunks
          ? 'Transfer-Encoding: chunked'
          : 'Content-Length: ' . length $body;
        push @lines, 'Expect: 100-continue' if $option{expects};
        $body = bytes_in_chunks($body) if $is_in_chunks;
    }
    $request->{head}  = join q{}, map { "$_\r\n" } @lines, q{};
    $request->{tail}  = $body // q{};
    $request->{bytes} = $request->{head} . $request->{tail};
    return;
}

sub expect {
    my ( $request, $address ) = @_;
    my $reply = $request->{reply};
    $request->{closes} = 1 if $CLOSES{$reply} || $request->{method} eq 'PUT';
    if ( $IS_NONE{$reply} || $request->{is_ended} ) {
        $request->{closes} = 1;
        return;
    }
    $request->{status} = $reply eq 'no_content' ? 204 : 200;
    $request->{text}   = told(
        id     => $request->{id},
        method => $request->{method},
        token  => "$request->{token}d",
        fields => $request->{fields},
        body   => $request->{type}
          && $request->{type} !~ /multipart/ ? $request->{body} : undef,
        files => [
            map {
                [
                    @{$_}{qw(field name)},
                    length $_->{content},
                    sha256_hex( $_->{content} )
                ]
            } @{ $request->{files} || [] }
        ],
        size => $request->{size},
    );
    $request->{text} .= join q{}, large_pieces( $request->{id} ) if $reply eq 'large';
    $request->{text} = q{} if $request->{status} == 204 || $request->{method} eq 'HEAD';
    return;
}

sub bytes_in_utf8 { return 'x' x length_up_to(50_000) }

sub escaped {
    my ($text) = @_;
    return $text =~ s/([^A-Za-z0-9._-])/sprintf '%%%02X', ord $1/egr;
}

# In random order.
sub mixed {
    my (@items) = @_;
    return map { splice @items, rand @items, 1 } 1 .. @items;
}

sub part {
    my ( $disposition, $content ) = @_;
    return "Content-Disposition: form-data; $disposition\r\n\r\n$content\r\n";
}

1;
