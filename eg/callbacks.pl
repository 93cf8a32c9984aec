#!/usr/bin/env perl
# Every callback of a listener, each telling when it is called and with what.
# Try: curl -F note=hello -F file=@/etc/hostname http://127.0.0.1:8080/

use strict;
use warnings;

use EV;
use HTTP::Server::EV;

my $port   = shift // 8080;
my $server = HTTP::Server::EV->new( { cleanup_on_destroy => 1 } );

$server->listen(
    "127.0.0.1:$port",
    \&answer,
    {
        timeout   => 30,
        fork_hook => sub { report('fork_hook') },

        on_multipart     => sub { report( 'on_multipart',     request(@_) ) },
        on_file_open     => sub { report( 'on_file_open',     file(@_) ) },
        on_file_write    => sub { report( 'on_file_write',    file(@_) ) },
        on_file_received => sub { report( 'on_file_received', file(@_) ) },
        on_error         => sub { report( 'on_error',         request(@_) ) },
    }
);

# Ctrl-C ends the loop, and so the program as it should: temporary files go.
my $interrupt = EV::signal( INT => sub { EV::break } );

report("http://127.0.0.1:$port/");
EV::run;

# Called once the request is there in full.
sub answer {
    my ($cgi) = @_;
    report( 'main callback', request($cgi) );

    $cgi->attach(*STDOUT);
    $cgi->header( { 'Content-Type' => 'text/plain; charset=utf-8' } );

    # As lists, not as strings with variables: names are bytes, values are text.
    for my $name ( sort keys %{ $cgi->{post_a} } ) {
        print 'field ', $name, ': ', $_, "\n" for @{ $cgi->post($name) };
    }
    for my $name ( sort keys %{ $cgi->{file_a} } ) {
        print 'file ', $name, ': ', $_->{name}, ', ', $_->{size}, " bytes\n"
          for @{ $cgi->file($name) };
    }
    return;
}

sub request {
    my ($cgi) = @_;
    return "$cgi->{headers}{REQUEST_METHOD} $cgi->{headers}{REQUEST_URI}";
}

# on_file_write has a third argument, the bytes just written.
sub file {
    my ( $cgi, $file, $bytes ) = @_;
    my $written = defined $bytes ? ', of which ' . length($bytes) . ' are new' : q{};
    return "$file->{name}: $file->{size} bytes$written";
}

# To the standard error: STDOUT belongs to the request being answered.
sub report {
    my (@words) = @_;
    printf {*STDERR} "%.3f %s\n", EV::time, join q{ }, @words;
    return;
}
