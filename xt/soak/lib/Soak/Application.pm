package Soak::Application;

# The main callback of every listener: tells what has come, by the reply that the client
# asks for; or does what the client asks of the server as a whole.

use strict;
use warnings;

use EV;
use Encode   qw(encode_utf8);
use Errno    qw(EAGAIN);
use Exporter qw(import);

use Soak::Content qw(told);
use Soak::Replies qw(reply_by);
use Soak::State   qw(count guard release watch);
use Soak::Uploads qw(read_files);

our @EXPORT_OK = qw(answer);

# What a client may ask of the server: each returns what it is told.
my %REQUESTS;

# Soak::Application::grants( name => sub { ... } )
sub grants {
    my (%requests) = @_;
    %REQUESTS = ( %REQUESTS, %requests );
    return;
}

# Half of the objects have a key of ours and a guard, the others can serve other requests.
sub answer {
    my ($cgi) = @_;
    count('requests');
    my $id = $cgi->get('id')->[0] // 0;
    $cgi->{guard} ||= guard('request') if $id % 2;
    release()                          if $id % 7 == 0;

    if ( my $wish = $cgi->get('ask')->[0] ) {
        $cgi->header;
        $cgi->print( $REQUESTS{$wish} ? $REQUESTS{$wish}->($cgi) : 'unknown' );
        return;
    }
    my $reply = reply_by( $cgi->get('reply')->[0] );
    read_body(
        $cgi,
        sub {
            my ($body) = @_;
            read_files( $cgi, sub { $reply->( $cgi, text_of( $cgi, $id, $body, @_ ) ) } );
        }
    );
    return;
}

# The body of a method that the server leaves bodies to us for comes from the socket.
sub read_body {
    my ( $cgi, $callback ) = @_;
    return $callback->( $cgi->{REQUEST_BODY} )
      if $cgi->{headers}{REQUEST_METHOD} ne 'PUT';
    my $socket = $cgi->fh;
    my $body   = q{};
    my $length = $cgi->{headers}{CONTENT_LENGTH};
    read_more( $socket, \$body, $length ) and return $callback->($body);
    watch(
        sub {
            my ($done) = @_;
            EV::io(
                $socket,
                EV::READ(),
                sub {
                    my $is_over = read_more( $socket, \$body, $length );
                    return if defined $is_over && !$is_over;
                    $done->();
                    $callback->($body) if $is_over;
                }
            );
        }
    );
    return;
}

# Whether all is there then; undef if the client has gone.
sub read_more {
    my ( $socket, $body, $length ) = @_;
    while ( length ${$body} < $length ) {
        local $! = 0;
        my $count = read $socket, ${$body}, $length - length ${$body}, length ${$body};
        next     if $count;
        return 0 if $! == EAGAIN;
        return;
    }
    return 1;
}

sub text_of {
    my ( $cgi, $id, $body, @files ) = @_;
    my @fields;
    push @fields, map { [ q => encode_utf8($_) ] } @{ $cgi->get('q') };
    my $is_form = ( $cgi->{headers}{CONTENT_TYPE} // q{} ) =~ /form/;
    for my $name ( $is_form ? keys %{ $cgi->{post_a} } : () ) {
        push @fields, map { [ $name => encode_utf8($_) ] } @{ $cgi->post($name) };
    }
    return told(
        id     => $id,
        method => $cgi->{headers}{REQUEST_METHOD},
        token  => ( $cgi->{headers}{'X-Token'} // q{-} ) . ( $cgi->{cookies}{c} // q{-} ),
        fields => \@fields,
        body   => $body,
        files  => \@files,
        size   => $cgi->get('size')->[0] // 0,
    );
}

1;
