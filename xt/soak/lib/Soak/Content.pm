package Soak::Content;

# What server and clients both know: bytes that follow from a number, and the text in
# which a request is told, so that each side can say what the other has to send.

use strict;
use warnings;

use Digest::SHA qw(sha1_hex sha512);
use Exporter    qw(import);

our @EXPORT_OK = qw(bytes_of large_pieces reversed told);

# Any byte follows any other in it, line ends and zeros among them.
my $POOL   = join q{}, map { sha512($_) } 0 .. 16_383;
my $STRIDE = 7919;

# So many bytes, which the number chooses.
sub bytes_of {
    my ( $number, $length ) = @_;
    my $from   = $number * $STRIDE % length $POOL;
    my $first  = substr $POOL, $from, $length;
    my $beyond = $length - length $first;
    return $first if $beyond <= 0;
    my $whole = int( $beyond / length $POOL );
    return $first . $POOL x $whole . substr $POOL, 0, $beyond % length $POOL;
}

# What a large reply, up to some megabytes, has behind its text. A perl keeps the memory of its
# variables, so none of them is large.
sub large_pieces {
    my ($number) = @_;
    return map { bytes_of( $number + $_, 60_000 ) } 1 .. $number % 50;
}

# told( id => 7, method => 'POST', token => 'a', fields => [ [ name => 'value' ] ],
#     body => 'bytes', files => [ [ field, name, size, sha256 ] ], size => 1000 )
#
# The body of the reply: what has come, and behind it as many bytes as were asked for.
sub told {
    my (%request) = @_;
    my @fields =
      sort map { "field $_->[0] " . sha1_hex( $_->[1] ) } @{ $request{fields} };
    my @files = sort map { "file @{$_}" } @{ $request{files} };
    my $body  = defined $request{body} ? sha1_hex( $request{body} ) : 'none';
    my $head  = "request $request{id} $request{method} token $request{token} body $body";
    my $text  = join "\n", $head, @fields, @files, bytes_of( @request{qw(id size)} );

    # Bytes all of them, though some came as text: text would be sent as UTF-8.
    utf8::downgrade($text);
    return $text;
}

# What another protocol answers, once it has the socket.
sub reversed {
    my ($bytes) = @_;
    return scalar reverse $bytes;
}

1;
