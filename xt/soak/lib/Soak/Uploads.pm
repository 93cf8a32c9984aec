package Soak::Uploads;

# What the application does while a body is received, as the client asks for it; and how
# it reads the files then: what lies on the disk is told, by its digest.

use strict;
use warnings;

use Digest::SHA ();
use Encode      qw(encode_utf8);
use EV;
use Exporter qw(import);

use Soak::Replies ();
use Soak::State   qw(after between count guard keep);

our @EXPORT_OK = qw(read_files reading_callbacks receiving_callbacks);

# What the callback of one stage does, by name.
my %ACTIONS = (
    die  => sub { Soak::Replies::die_planned() },
    drop => sub { count('drops'); $_[0]->drop },
    exec => sub {
        Soak::Replies::forked( sub { exec '/bin/true' } );
    },
    keep      => sub { keep( $_[0] ) },
    late_drop => sub {
        my ($cgi) = @_;
        after( between(0.01), sub { count('drops'); $cgi->drop } );
    },
    nested  => sub { Soak::Replies::run_nested() },
    restart => sub { count('stops'); $_[0]->stop; $_[0]->start },
    stop    => sub {
        my ($cgi) = @_;
        count('stops');
        $cgi->stop;
        after( between(0.02), sub { $cgi->start } );
    },
    system => sub { count('forks'); system '/bin/true' },
);

# How a received file is looked at: each calls back with its digest.
my %READINGS = (
    handle => sub {
        my ( $file, $callback ) = @_;
        $file->fh( sub { $callback->( digest_of( $_[0] ) ); $file->close } );
    },
    parked => sub {
        my ( $file, $callback ) = @_;
        my $path  = saved_path();
        my $first = digest_of( $file->fh );
        $file->save($path);
        my $second = digest_at($path);
        remove($path);
        $callback->( $first eq $second ? $first : "$first $second" );
    },
    path => sub {
        my ( $file, $callback ) = @_;
        $callback->( digest_at( $file->path ) );
    },
    saved => sub {
        my ( $file, $callback ) = @_;
        my $path = saved_path();
        $file->save(
            $path,
            sub {
                my ($saved) = @_;
                my $digest = $saved ? digest_at($path) : 'not saved';
                remove($path);
                $callback->($digest);
            }
        );
    },
    saved_twice => sub {
        my ( $file,  $callback ) = @_;
        my ( $first, $second )   = ( saved_path(), saved_path() );
        my $compare = sub {
            my @digests = map { digest_at($_) } $first, $second;
            remove($_) for $first, $second;
            $callback->( $digests[0] eq $digests[1] ? $digests[0] : "@digests" );
        };
        $file->save( $first, sub { $file->save( $second, $compare ) } );
    },
    not_saved => sub {
        my ( $file, $callback ) = @_;
        count('failed saves');
        $file->save( '/dev/null/none',
            sub { $callback->( $_[0] ? 'saved' : digest_at( $file->path ) ) } );
    },
);

my ( $directory, $number ) = ( q{.}, 0 );

# Where files are saved.
sub save_to {
    ($directory) = @_;
    return;
}

# For every listener: what the client asks for happens at the stage that it names, once.
sub receiving_callbacks {
    my %callbacks;
    for my $stage (qw(multipart file_open file_write file_received)) {
        $callbacks{"on_$stage"} = sub { act( $stage, @_ ) };
    }
    $callbacks{on_error} = sub { count('errors') };
    return %callbacks;
}

# For listeners that read along: the digest is made of the pieces, too.
sub reading_callbacks {
    my %callbacks = receiving_callbacks();
    my $act       = $callbacks{on_file_write};
    $callbacks{on_file_write} = sub {
        my ( $cgi, $file ) = @_;
        $file->{digest} ||= Digest::SHA->new(256);

        # The piece, of which a variable would keep the memory.
        $file->{digest}->add( $_[2] );
        $act->( $cgi, $file );
    };
    return %callbacks;
}

# Looks at all files of a request in the way the client asks for, one after the other, then
# calls back with a list of [ field, name, size, digest ].
sub read_files {
    my ( $cgi, $callback ) = @_;
    my $way = $cgi->get('read')->[0] // 'handle';
    my @files;
    for my $field ( sort keys %{ $cgi->{file_a} } ) {
        push @files, map { [ $field, $_ ] } @{ $cgi->file($field) };
    }
    return read_next( \@files, $READINGS{$way}, [], $callback );
}

# A worker that is forked meanwhile leaves the files to its parent.
sub read_next {
    my ( $files, $reading, $told, $callback ) = @_;
    my $next = shift @{$files} or return $callback->( @{$told} );
    my ( $field, $file ) = @{$next};
    my $process = $$;
    $reading->(
        $file,
        sub {
            my ($digest) = @_;
            return if $$ != $process;
            my $streamed = $file->{digest} ? $file->{digest}->clone->hexdigest : $digest;
            $digest = "$digest, but $streamed came" if $streamed ne $digest;
            push @{$told}, [ $field, encode_utf8( $file->name ), $file->size, $digest ];
            count( 'file bytes', $file->size );
            keep($file) if rand() < 0.1;
            read_next( $files, $reading, $told, $callback );
        }
    );
    return;
}

sub act {
    my ( $stage, $cgi, $file ) = @_;
    $file->{guard} ||= guard('file') if $file;
    my ( $at, $action ) = split /[.]/, $cgi->get('act')->[0] // return;
    return if $at ne $stage || $cgi->{acted}++;
    $cgi->{guard} ||= guard('request');
    $ACTIONS{$action}->($cgi);
    return;
}

sub digest_at {
    my ($path) = @_;
    open my $handle, '<:raw', $path or return "no file: $!";
    return digest_of($handle);
}

sub digest_of {
    my ($handle) = @_;
    return 'no handle' if !$handle;
    return Digest::SHA->new(256)->addfile($handle)->hexdigest;
}

sub saved_path {
    $number++;
    return "$directory/$$-$number";
}

# If it is this process's own.
sub remove {
    my ($path) = @_;
    unlink $path if $path =~ m{/$$-[0-9]+\z};
    return;
}

1;
