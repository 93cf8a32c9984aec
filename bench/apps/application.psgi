# The application of the PSGI servers: one for each workload, as cheap as their users would write it.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Plack::Request;

use Application qw(compute handler_name large_reply parameters request_body);

my $LARGE = large_reply();

my %application = (
    hello => sub {
        return [
            200, [ 'Content-Type' => 'text/plain', 'Content-Length' => 12 ],
            ["Hello world\n"]
        ];
    },

    browser => sub {
        my ($environment) = @_;
        my $parameter = parameters( $environment->{QUERY_STRING} );
        return reply(
            "$environment->{HTTP_UPGRADE_INSECURE_REQUESTS} $parameter->{item}\n");
    },

    form => sub {
        my ($environment) = @_;
        my $field = parameters( request_body($environment) );
        return reply("$field->{title}\n");
    },

    json => sub {
        my ($environment) = @_;
        return reply( length( request_body($environment) ) . " bytes\n" );
    },

    large => sub { return reply($LARGE) },

    multipart => sub {
        my ($environment) = @_;
        my $request       = Plack::Request->new($environment);
        my $parameters    = $request->parameters;
        my $length        = 0;
        $length += length $parameters->{$_} for qw(title place comment);
        my $size = $request->uploads->{file}->size;
        return reply("$length + $size\n");
    },

    upload => sub {
        my ($environment) = @_;
        my $request       = Plack::Request->new($environment);
        my @sizes         = map { $_->size } values %{ $request->uploads };
        return reply( join "\n", @sizes );
    },

    compute => sub {
        compute();
        return reply("Hello world\n");
    },
);

$application{mixed} = sub {
    my ($environment) = @_;
    my $name = $environment->{PATH_INFO} eq '/upload' ? 'upload' : 'hello';
    return $application{$name}->($environment);
};

sub reply {
    my ($body) = @_;
    return [
        200, [ 'Content-Type' => 'text/plain', 'Content-Length' => length $body ], [$body]
    ];
}

$application{ handler_name() };
