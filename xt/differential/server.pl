#!/usr/bin/env perl
# Answers each request with what it has brought, as JSON: fields and files by name, in hexadecimal.
# Usage: server.pl SOCKET DIRECTORY; ends with its standard input.

use strict;
use warnings;

use Digest::SHA ();
use JSON::PP    ();

use EV;
use HTTP::Server::EV;

my ( $socket, $directory ) = @ARGV;
my $json   = JSON::PP->new->canonical;
my $server = HTTP::Server::EV->new( { tmp_path => $directory } );

$server->listen(
    "unix:$socket",
    \&answer,
    {
        error_responses => 1,
        plus_as_space   => 1,
        max_parts       => 10_000,
        max_field_value => 1_000_000,
        max_header_size => 1_000_000,
    }
);
my $input = EV::io( *STDIN, EV::READ, sub { EV::break } );
EV::run;

sub answer {
    my ($cgi) = @_;
    my %fields =
      map {
        hexadecimal($_) => [ map { hexadecimal($_) } @{ $cgi->{post_a}{$_} } ]
      }
      keys %{ $cgi->{post_a} };
    my %files =
      map {
        hexadecimal($_) => [ map { description($_) } @{ $cgi->{file_a}{$_} } ]
      }
      keys %{ $cgi->{file_a} };
    $cgi->header( { 'Content-Type' => 'application/json' } );
    $cgi->print( $json->encode( { fields => \%fields, files => \%files } ) );
    return $cgi->close;
}

sub description {
    my ($file) = @_;
    my $digest = Digest::SHA->new(256)->addfile( $file->path, 'b' )->hexdigest;
    return [ hexadecimal( $file->name ), $file->size + 0, $digest ];
}

# Of bytes, or of the UTF-8 of text.
sub hexadecimal {
    my ($value) = @_;
    return undef         if !defined $value;    ## no critic (ProhibitExplicitReturnUndef)
    utf8::encode($value) if utf8::is_utf8($value);
    return unpack 'H*', $value;
}
