# The upload application of the PSGI peers: answers with the sizes of the files it was sent.

use strict;
use warnings;

use Plack::Request;

sub {
    my $environment = shift;

    my $request = Plack::Request->new($environment);
    my @sizes   = map { $_->size } values %{ $request->uploads };
    return [ 200, [ 'Content-Type' => 'text/plain' ], [ join "\n", @sizes ] ];
};
