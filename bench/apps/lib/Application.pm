# What the applications of the servers share: the replies, and how PSGI's users read a form.
package Application;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(compute handler_name large_reply parameters request_body);

# What this server has to serve, of the workloads named in the README.
sub handler_name { return $ENV{BENCH_HANDLER} || 'hello' }

# 100 KiB of text.
sub large_reply { return 'A line of text.' x 6826 . 'The last.' . "\n" }

# Takes about a tenth of a millisecond of CPU time.
sub compute {
    my $sum = 0;
    $sum += $_ * $_ % 7 for 1 .. 2000;
    return $sum;
}

# The parameters of a query, or of a urlencoded body.
sub parameters {
    my ($text) = @_;
    my %value;
    for my $pair ( split /[&;]/, $text ) {
        my ( $name, $value ) = split /=/, $pair, 2;
        for ( $name, $value ) {
            tr/+/ /                           if defined;
            s/%([0-9A-Fa-f]{2})/chr hex $1/ge if defined;
        }
        $value{$name} = $value;
    }
    return \%value;
}

# The body of a request, by its PSGI environment.
sub request_body {
    my ($environment) = @_;
    $environment->{'psgi.input'}->read( my $body, $environment->{CONTENT_LENGTH} );
    return $body;
}

1;
