#!/usr/bin/env perl
# A page that takes files of any size: shows how far they have got, saves them, and
# answers with their names, sizes and SHA-256. Run with --help for what it takes.

use strict;
use warnings;

use Digest::SHA  ();
use Encode       qw(decode encode FB_DEFAULT);
use Fcntl        qw(O_CREAT O_EXCL O_WRONLY);
use File::Spec   ();
use FindBin      ();
use Getopt::Long qw(GetOptions);
use JSON::PP     ();

use EV;
use HTTP::Server::EV;

my %option = ( host => '127.0.0.1', port => 8080, directory => 'uploads' );
GetOptions( \%option, 'host=s', 'port=i', 'directory=s', 'help' ) or usage(2);
usage(0) if $option{help};

my $directory = prepare_directory( $option{directory} );
my $template  = read_template("$FindBin::Bin/upload.html");

# On the same file system as where the files will stay, so that `save` renames.
my $server = HTTP::Server::EV->new(
    { tmp_path => "$directory/.receiving", cleanup_on_destroy => 1 } );

$server->listen(
    "$option{host}:$option{port}",
    \&answer,
    {
        error_responses => 1,

        # The digest is computed while the file is received: memory stays small,
        # and nothing is read twice.
        on_file_open => sub {
            my ( $cgi, $file ) = @_;
            $file->{digest} = Digest::SHA->new(256);
        },
        on_file_write => sub {
            my ( $cgi, $file, $bytes ) = @_;
            $file->{digest}->add($bytes);
        },
        on_file_received => sub {
            my ( $cgi, $file ) = @_;
            $file->{sha256} = $file->{digest}->hexdigest;
        },
        on_error => sub { warn "An upload was broken off\n" },
    }
);

# Either ends the loop, and so the program as it should: temporary files go.
my @signals = map {
    EV::signal( $_ => sub { EV::break } )
} qw(INT TERM);

warn "http://$option{host}:$option{port}/ saves files in $directory\n";
EV::run;

# The main callback: the request is there in full, its files are on disk.
sub answer {
    my ($cgi)  = @_;
    my $method = $cgi->{headers}{REQUEST_METHOD};
    my $path   = $cgi->{headers}{SCRIPT_NAME};

    return page( $cgi, '404 Not Found', notice('There is nothing here.') )
      if $path ne '/';
    return receive($cgi) if $method eq 'POST';
    return page( $cgi, '200 OK' ) if $method eq 'GET' || $method eq 'HEAD';
    return page( $cgi, '405 Method Not Allowed', notice('Send files with POST.') );
}

# Saves the files, then says what has become of each.
sub receive {
    my ($cgi)    = @_;
    my @files    = map { @{ $cgi->file($_) } } sort keys %{ $cgi->{file_a} };
    my @received = map { { name => text( $_->{name} ), size => $_->{size} } } @files;
    return result( $cgi, \@received ) if !@files;

    my $unsaved = @files;
    for my $number ( 0 .. $#files ) {
        save( $files[$number], $received[$number],
            sub { result( $cgi, \@received ) if !--$unsaved } );
    }
    return;
}

# Moves a file to a name of its own, notes it in the entry, and calls back.
sub save {
    my ( $file, $entry, $done ) = @_;
    my $path = free_path( $entry->{name} );
    if ( !defined $path ) {
        $entry->{error} = "It could not be saved: $!";
        return $done->();
    }

    $file->save(
        $path,
        sub {
            my ($saved) = @_;
            if ($saved) {
                $entry->{sha256} = $file->{sha256};
                $entry->{saved}  = text( ( File::Spec->splitpath($path) )[2] );
            }
            else {
                unlink $path;
                $entry->{error} = 'It could not be saved.';
            }
            $done->();
        }
    );
    return;
}

# JSON for the script in the page, a page for a form sent without it.
sub result {
    my ( $cgi, $received ) = @_;
    my $failed = grep { $_->{error} } @{$received};
    my $status =
        !@{$received} ? '400 Bad Request'
      : $failed       ? '500 Internal Server Error'
      :                 '200 OK';

    if ( ( $cgi->{headers}{HTTP_ACCEPT} // q{} ) =~ m{\bapplication/json\b} ) {
        my $json = JSON::PP->new->utf8->canonical->encode( { files => $received } );
        return reply( $cgi, $status, 'application/json', $json );
    }
    return page( $cgi, $status, notice('No file was chosen.') ) if !@{$received};
    return page( $cgi, $status, q{}, join q{}, map { file_item($_) } @{$received} );
}

sub page {
    my ( $cgi, $status, $notice, $items ) = @_;
    my %part = (
        notice    => $notice // q{},
        items     => $items  // q{},
        directory => escape( text($directory) ),
    );
    my $html = $template =~ s/<!-- (\w+) -->/$part{$1}/gr;
    return reply( $cgi, $status, 'text/html; charset=utf-8', encode( 'UTF-8', $html ) );
}

# Headers and body; `close` ends the reply.
sub reply {
    my ( $cgi, $status, $type, $body ) = @_;
    $cgi->attach(*STDOUT);
    $cgi->header(
        {
            'STATUS'                  => $status,
            'Content-Type'            => $type,
            'Cache-Control'           => 'no-store',
            'X-Content-Type-Options'  => 'nosniff',
            'Content-Security-Policy' => q{default-src 'none'; connect-src 'self'; }
              . q{form-action 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'},
        }
    );
    print $body;
    $cgi->close;
    return;
}

sub notice {
    my ($message) = @_;
    return '<p class="notice" role="alert">' . escape($message) . '</p>';
}

# A file's entry in the list, as the script in the page makes it too.
sub file_item {
    my ($entry) = @_;
    my ( $name, $size ) = ( escape( $entry->{name} ), size_text( $entry->{size} ) );
    my $outcome =
      defined $entry->{error}
      ? '<p class="error">' . escape( $entry->{error} ) . '</p>'
      : "<p class=\"digest\"><span>SHA-256</span> <code>$entry->{sha256}</code></p>";
    my $state = defined $entry->{error} ? 'failed' : 'done';
    my $saved =
      !defined $entry->{saved} || $entry->{saved} eq $entry->{name}
      ? q{}
      : '<p class="saved">Saved as ' . escape( $entry->{saved} ) . '</p>';
    return
      qq{<li class="$state"><h3>$name</h3><p class="size">$size</p>$outcome$saved</li>\n};
}

sub size_text {
    my ($bytes) = @_;
    my @units   = qw(bytes KiB MiB GiB TiB);
    my $shown   = $bytes;
    while ( $shown >= 1024 && @units > 1 ) {
        $shown /= 1024;
        shift @units;
    }
    my $exact = scalar reverse join ',', unpack '(A3)*', scalar reverse $bytes;
    return "$exact bytes" if $units[0] eq 'bytes';
    return sprintf '%.1f %s (%s bytes)', $shown, $units[0], $exact;
}

# A file name that nobody had, made in our directory: "name", "name (2)" …
sub free_path {
    my ($name) = @_;
    my ( $stem, $suffix ) = safe_name($name) =~ /\A(.+?)(\.[^.]{1,16})?\z/s;
    for my $number ( 1 .. 10_000 ) {
        my $numbered = $stem . ( $number > 1 ? " ($number)" : q{} ) . ( $suffix // q{} );
        my $path     = "$directory/" . encode( 'UTF-8', $numbered );
        return $path if sysopen my $handle, $path, O_CREAT | O_EXCL | O_WRONLY;
        return if !$!{EEXIST};
    }
    return;
}

# The sender chooses the name: no path, nothing hidden, no controls, not too long.
sub safe_name {
    my ($name) = @_;
    $name =~ s{[/\\[:cntrl:]]}{_}g;
    $name =~ s{\A[.\s]+}{_};
    $name =~ s{\s+\z}{};
    my ( $stem, $suffix ) = $name =~ /\A(.*?)(\.[^.]{1,16})?\z/s;
    $suffix //= q{};

    # File systems take 255 bytes; a number must have room too.
    chop $stem while length encode( 'UTF-8', $stem . $suffix ) > 240;
    return ( length $stem ? $stem : 'file' ) . $suffix;
}

sub escape {
    my ($text) = @_;
    my %entity = (
        '&'  => '&amp;',
        '<'  => '&lt;',
        '>'  => '&gt;',
        '"'  => '&quot;',
        q{'} => '&#39;'
    );
    return $text =~ s/([&<>"'])/$entity{$1}/gr;
}

# Bytes that are UTF-8 become text; text stays what it is.
sub text {
    my ($string) = @_;
    return utf8::is_utf8($string) ? $string : decode( 'UTF-8', $string, FB_DEFAULT );
}

sub usage {
    my ($status) = @_;
    require Pod::Usage;
    return Pod::Usage::pod2usage( -exitval => $status, -verbose => $status ? 0 : 1 );
}

sub prepare_directory {
    my ($path) = @_;
    -d $path or mkdir $path or die "Cannot make the directory $path: $!\n";
    return File::Spec->rel2abs($path);
}

sub read_template {
    my ($path) = @_;
    open my $handle, '<:encoding(UTF-8)', $path or die "Cannot read $path: $!\n";
    local $/ = undef;
    return <$handle>;
}

__END__

=encoding utf-8

=head1 NAME

upload.pl - a page that takes files of any size

=head1 SYNOPSIS

  perl eg/upload.pl [--host ADDRESS] [--port NUMBER] [--directory PATH]

  curl -F file=@photo.jpg http://127.0.0.1:8080/
  curl -F file=@photo.jpg -H 'Accept: application/json' http://127.0.0.1:8080/

=head1 OPTIONS

=over

=item B<--host>

The address to listen on, 127.0.0.1 if not given: this machine only.

=item B<--port>

The port to listen on, 8080 if not given.

=item B<--directory>

Where files are saved, F<uploads> if not given. It is made where it is missing.
A file never replaces another one: it is given a name that is free.

=back

=cut
