package FaultyApplication;

# An application that uses all of the server, in which system calls fail: it answers with what it
# was given, or says that it could not. HTTP::Server::EV is loaded by TestServer, and in the server's
# process alone.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JSON::PP    qw(encode_json);
use POSIX       ();

use TestServer qw(report);

# Bytes that are not the same anywhere.
my $NOISE = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 750_000;

sub noise { return $NOISE }

my %seen = ( begun => 0, whole => 0, failed => 0 );

sub serve {
    my ( $test, $saved, %option ) = @_;
    my $listener;
    my %answer = (
        '/page'   => sub { answer( $_[0], 'page' ) },
        '/large'  => sub { large_answer( $_[0] ) },
        '/form'   => sub { answer( $_[0], sha256_hex( $_[0]{REQUEST_BODY} ) ) },
        '/upload' => sub {
            answer_with_digests( $_[0], map { $_->path } files( $_[0] ) );
        },
        '/save'   => sub { save_all( $_[0], $saved ) },
        '/reopen' => sub { reopen( $_[0] ) },
        '/handle' => sub { by_handle( $_[0] ) },
        '/fork'   => sub { fork_child( $_[0] ) },
        '/status' => sub { answer( $_[0], encode_json( \%seen ) ) },
        '/rounds' => sub { count_rounds( $_[0] ) },
    );
    my $main = sub {
        my ($cgi) = @_;
        $seen{whole}++ if ( $cgi->{headers}{CONTENT_TYPE} // q{} ) =~ /\Amultipart/;
        $answer{ $cgi->{headers}{SCRIPT_NAME} }->($cgi);
    };
    my %options = (
        on_multipart => sub { $seen{begun}++ },
        on_error     => sub { $seen{failed}++ },
        %option
    );
    $listener = $test->listen( $main, \%options );
    my %command = (
        listen => sub {
            report(
                listened => eval { HTTP::Server::EV->listen( $_[0], $main ); 1 }
                ? q{}
                : $@
            );
        },
        stop  => sub { $listener->stop; report('stopped') },
        start => sub {
            report( started => eval { $listener->start; 1 } ? q{} : $@ );
        },
    );
    $test->on_command( sub { my ( $name, @rest ) = @_; $command{$name}->(@rest) } );
    return;
}

sub answer {
    my ( $cgi, $text, $status ) = @_;
    $cgi->header( { STATUS => $status || '200 OK' } );
    $cgi->print($text);
    return;
}

sub large_answer {
    my ($cgi) = @_;
    $cgi->header;
    $cgi->print( substr $NOISE, 0, 1_000_000 );
    return;
}

sub files { return @{ $_[0]->file('file') } }

sub answer_with_digests {
    my ( $cgi, @paths ) = @_;
    my @files = files($cgi);
    return answer(
        $cgi,
        join q{},
        map {
            my $path = shift @paths;
            $_->name . q{ } . $_->size . q{ } . digest($path) . "\n"
        } @files
    );
}

sub digest {
    my ($path) = @_;
    return eval { Digest::SHA->new(256)->addfile( $path, 'b' )->hexdigest } || "none: $@";
}

# A file that could not be saved has to be where it was, and nothing where it was wanted.
sub save_all {
    my ( $cgi, $saved ) = @_;
    my @files = files($cgi);
    my ( $left, $failures ) = ( scalar @files, 0 );
    for my $file (@files) {
        my ( $target, $before ) = ( "$saved/" . $file->name, $file->path );
        unlink $target;
        $file->save(
            $target,
            sub {
                my ($is_saved) = @_;
                if ( !$is_saved ) {
                    $failures++;
                    die "$target is there\n" if -e $target;
                    die "$before is gone\n"
                      if $file->path ne $before || -s $before != $file->size;
                }
                return                                           if --$left;
                return answer( $cgi, 'not saved', '500 Failed' ) if $failures;
                answer_with_digests( $cgi, map { "$saved/" . $_->name } @files );
            }
        );
    }
    return;
}

sub reopen {
    my ($cgi)  = @_;
    my ($file) = files($cgi);
    $file->close( sub { } ) if $file->can('close');
    delete $file->{fh};
    return $file->fh(
        sub {
            my ($handle) = @_;
            return answer( $cgi, 'no handle', '500 Failed' ) if !$handle;
            my $digest = Digest::SHA->new(256)->addfile($handle)->hexdigest;
            answer( $cgi, $file->name . q{ } . $file->size . " $digest\n" );
        }
    );
}

sub by_handle {
    my ($cgi) = @_;
    my $handle = eval { $cgi->fh };
    return answer( $cgi, $@, '500 Failed' ) if !$handle;
    syswrite $handle, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nby handle";
    return;
}

# The child enters the server by its loop, and ends.
sub fork_child {
    my ($cgi) = @_;
    defined( my $child = fork ) or die "fork: $!";
    if ( !$child ) {
        EV::run( EV::RUN_NOWAIT() );
        POSIX::_exit(0);
    }
    waitpid $child, 0;
    return answer( $cgi, $? ? "the child has ended with $?" : 'forked' );
}

sub count_rounds {
    my ($cgi) = @_;
    my $before = EV::iteration();
    $cgi->{counting} = EV::timer(
        0.05, 0,
        sub {
            answer( $cgi, EV::iteration() - $before );
            delete $cgi->{counting};
        }
    );
    return;
}

1;
