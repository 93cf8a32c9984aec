package StandIn::StaticFiles;

# Serves the files of a directory, as a module beside this server does: by the target of
# the request as it was sent, with `header` and `print` of whole files, and leaving the
# callback by `next`.
#
#     my $files = StandIn::StaticFiles->new($directory);
#     ... $files->serve($cgi) ...

use strict;
use warnings;

use POSIX qw(strftime);

my %TYPES = (
    css  => 'text/css',
    html => undef,
    js   => 'text/javascript',
    png  => 'image/png',
    txt  => 'text/plain; charset=utf-8',
);

sub new {
    my ( $class, $directory ) = @_;
    return bless { directory => $directory }, $class;
}

# Answers the request; does not return.
sub serve {
    my ( $self, $cgi ) = @_;
    my ($target) = split /[?]/, $cgi->{headers}{REQUEST_URI};
    $target =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge;
    _refuse( $cgi, '403 Forbidden' ) if $target =~ m{(?:\A|/)[.][.](?:/|\z)|\0};

    my $path = "$self->{directory}$target";
    $path .= 'index.html'            if $path =~ m{/\z};
    _redirect( $cgi, "$target/" )    if -d $path;
    _refuse( $cgi, '404 Not Found' ) if !-f $path;
    return _send( $cgi, $path );
}

sub _redirect {
    my ( $cgi, $target ) = @_;
    $cgi->header( { STATUS => '301 Moved Permanently', Location => $target } );
    return $cgi->next;
}

sub _refuse {
    my ( $cgi, $status ) = @_;
    $cgi->header( { STATUS => $status, 'Content-Length' => length $status } );
    $cgi->print($status) if $cgi->{headers}{REQUEST_METHOD} ne 'HEAD';
    return $cgi->next;
}

sub _send {
    my ( $cgi,  $path ) = @_;
    my ( $size, $time ) = ( stat $path )[ 7, 9 ];
    my $modified = strftime( '%a, %d %b %Y %H:%M:%S GMT', gmtime $time );
    if ( ( $cgi->{headers}{'If-Modified-Since'} // q{} ) eq $modified ) {
        $cgi->header( { STATUS => '304 Not Modified' } );
        $cgi->next;
    }

    my ($suffix) = $path =~ /[.](\w+)\z/;
    $cgi->header(
        {
            'Content-Type'   => $suffix ? $TYPES{$suffix} : 'application/octet-stream',
            'Content-Length' => $size,
            'Last-Modified'  => $modified,
        }
    );
    $cgi->next if $cgi->{headers}{REQUEST_METHOD} eq 'HEAD';

    open my $file, '<:raw', $path or $cgi->next;
    local $/ = undef;
    $cgi->print(<$file>);
    return $cgi->next;
}

1;
