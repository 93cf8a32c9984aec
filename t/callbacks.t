#!/usr/bin/env perl
# The callbacks of an upload: their order, their arguments, what is there when.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(backends report upload_bytes without_repeats);

# More than a piece of file data has, and more than is ever written without the threads.
my $LARGE = join q{}, map { pack 'N', $_ * 2_654_435_761 % 2**32 } 1 .. 600_000;
my @PARTS = (
    { name => 'before', content => 'a field' },
    { name => 'upload', content => $LARGE, file_name => 'large.bin' },
    { name => 'upload', content => q{},    file_name => 'empty.txt' },
    { name => 'after',  content => 'another field' },
    { name => 'other',  content => 'x', file_name => 'one.txt', type => 'text/plain' },
);

# Around the sizes of the buffers there have been, and are.
my @SIZES = ( 0, 1, map { ( $_ - 1, $_, $_ + 1 ) } 51_198, 65_536, 2**20 );

for my $backend ( backends() ) {
    subtest "Every callback, once and in order, with $backend" => sub {
        my $server = start( $backend, sub { } );
        is $server->await('fork_hook'), 0,
          'fork_hook is called by listen, without arguments';

        my $response = $server->upload(@PARTS);
        is $response->{body}, 'done', 'the main callback answers';
        is_deeply [ map { $_->[0] } without_repeats( $server->reports_until('main') ) ],
          [
            'on_multipart',
            qw(on_file_open on_file_write on_file_received),
            qw(on_file_open on_file_received),
            qw(on_file_open on_file_write on_file_received),
            'main',
          ],
          'the order';
        $server->stop;
    };

    subtest "What the callbacks are given, with $backend" => sub {
        my $server = start( $backend, sub { } );
        $server->upload(@PARTS);
        my %reports;
        push @{ $reports{ $_->[0] } }, $_->[1] for $server->reports_until('main');

        is_deeply $reports{on_multipart},
          [ { request => 'POST /', fields => [], files => [] } ],
          'on_multipart: the request, nothing of its body';

        is_deeply [ map { [ @{$_}{qw(name size on_disk)} ] }
              @{ $reports{on_file_open} } ],
          [ map { [ $_, 0, 0 ] } qw(large.bin empty.txt one.txt) ],
          'on_file_open: the file with its name, empty, on the disk';
        is_deeply $reports{on_file_open}[0]{fields}, ['before'],
          'the fields that came before it are there';
        is_deeply $reports{on_file_open}[0]{files},
          $backend eq 'AIO' ? ['large.bin'] : [],
          'and, where files are not opened at once, the file itself';

        my @written = grep { $_->{name} eq 'large.bin' } @{ $reports{on_file_write} };
        is $written[-1]{digest}, sha256_hex($LARGE),
          'on_file_write: the pieces are the file';
        my $size = 0;
        is_deeply [ map { $_->{size} } @written ],
          [ map { $size += $_->{bytes} } @written ],
          'and its size includes each of them';

        is_deeply [ map { [ @{$_}{qw(name size on_disk)} ] }
              @{ $reports{on_file_received} } ],
          [
            [ 'large.bin', 2_400_000, 2_400_000 ],
            [ 'empty.txt', 0,         0 ],
            [ 'one.txt',   1,         1 ]
          ],
          'on_file_received: all of it is on the disk';

        my ($main) = @{ $reports{main} };
        is_deeply $main->{fields}, [qw(after before)],                'main: all fields';
        is_deeply $main->{files},  [qw(large.bin empty.txt one.txt)], 'and all files';
        is_deeply $main->{digests},
          [ map { sha256_hex($_) } $LARGE, q{}, 'x' ], 'with their bytes';
        ok $server->await_files(0), 'no file is left after the request';
        $server->stop;
    };

    subtest "The request object is the same in all, with $backend" => sub {
        my $server =
          start( $backend, sub { my ($cgi) = @_; report( object => 0 + $cgi ) } );
        $server->upload(@PARTS);
        my @reports = $server->reports_until('main');
        my %objects = map { $_->[1] => 1 } grep { $_->[0] eq 'object' } @reports;
        is keys %objects, 1, 'one object';
        $server->stop;
    };

    subtest "on_multipart does not wait for the body, with $backend" => sub {
        my $server = start( $backend, sub { } );
        my ( $head, $body ) = split /(?<=\r\n\r\n)/, upload_bytes(@PARTS), 2;
        my $client = $server->connect;
        $client->send($head);
        $server->await('on_multipart');
        $client->send($body);
        is $client->response->{body}, 'done', 'the rest may come later';
        $server->stop;
    };

    subtest "Files of sizes around those of buffers, with $backend" => sub {
        my $server = start( $backend, sub { } );
        my @files =
          map { { name => "field$_", file_name => $_, content => piece($_) } } @SIZES;
        my @parts = map { ( $_, { name => 'between', content => 'text' } ) } @files;
        is $server->upload(@parts)->{body}, 'done', 'all in one request';

        my ( @order, %written, %received );
        for my $report ( without_repeats( $server->reports_until('main') ) ) {
            my ( $callback, $details ) = @{$report};
            push @order, "$callback $details->{name}"
              if ref $details && defined $details->{name};
        }
        is_deeply \@order, [
            map {
                ( "on_file_open $_", $_ ? "on_file_write $_" : (), "on_file_received $_" )
            } @SIZES
          ],
'the callbacks of each file come together, and of an empty one no on_file_write';

        for my $report ( @{ $server->{seen} } ) {
            my ( $callback, $details ) = @{$report};
            $written{ $details->{name} }  = $details if $callback eq 'on_file_write';
            $received{ $details->{name} } = $details if $callback eq 'on_file_received';
        }
        is_deeply [ map { @{ $received{$_} }{qw(size on_disk)} } @SIZES ],
          [ map { ( $_, $_ ) } @SIZES ], 'size, and what is on the disk at the end';
        my @pieces = map { $_->[1]{bytes} // () }
          grep { $_->[0] eq 'on_file_write' } @{ $server->{seen} };
        is scalar( grep { $_ < 1 || $_ > 2**20 } @pieces ), 0,
          'no piece is empty or larger than 1 MiB';
        is_deeply [ map { @{ $written{$_} }{qw(size digest)} } grep { $_ } @SIZES ],
          [ map { ( $_, sha256_hex( piece($_) ) ) } grep { $_ } @SIZES ],
          'the pieces of each are the file';
        $server->stop;
    };

    subtest "on_error takes the place of what had still to come, with $backend" => sub {
        my $server = start( $backend, sub { } );
        my $client = $server->connect;
        $client->send( substr upload_bytes(@PARTS), 0, 100_000 );
        $server->await('on_file_open');
        $client->shutdown;
        my @reports = without_repeats( $server->reports_until('on_error') );
        is $reports[-1][1]{request}, 'POST /', 'on_error has the request';
        ok $client->is_closed, 'the connection is closed';
        is $server->upload(@PARTS)->{body}, 'done', 'the next upload succeeds';
        is scalar( grep { $_->[0] eq 'on_error' } $server->reports_until('main') ), 0,
          'on_error was called once';
        ok $server->await_files(0), 'no file is left';
        $server->stop;
    };
}

subtest 'Requests without a multipart body call the main callback only' => sub {
    my $server = start( undef, sub { } );
    $server->await('fork_hook');
    my $type = 'application/x-www-form-urlencoded';
    for my $request (
        [ GET  => '/page' ],
        [ POST => '/form', { 'Content-Type' => $type }, 'a=1' ],
        [ PUT  => '/other' ],
      )
    {
        is $server->request( @{$request} )->{body}, 'done', "$request->[0] is answered";
        is_deeply [ map { [ $_->[0], $_->[1]{request} ] }
              $server->reports_until('main') ],
          [ [ main => "$request->[0] $request->[1]" ] ], 'with one call';
    }
    $server->stop;
};

done_testing;

# A server that reports every callback, and calls $also with the request besides.
sub start {
    my ( $backend, $also ) = @_;
    return TestServer->start(
        sub {
            my ($server) = @_;
            my %options = map { $_ => reporter( $_, $also ) }
              qw(on_multipart on_file_open on_file_write on_file_received on_error);
            $options{fork_hook} = sub { report( fork_hook => scalar @_ ) };
            $server->listen( \&answer, \%options );
        },
        backend => $backend
    );
}

sub reporter {
    my ( $name, $also ) = @_;
    return sub {
        my ( $cgi, $file, $bytes ) = @_;
        $also->($cgi);
        my %details = ( request($cgi), $file ? file($file) : () );
        if ( defined $bytes ) {
            $file->{digest} ||= Digest::SHA->new(256);
            $file->{digest}->add($bytes);
            $details{digest} = $file->{digest}->clone->hexdigest;
            $details{bytes}  = length $bytes;
        }
        report( $name, \%details );
    };
}

sub answer {
    my ($cgi) = @_;
    report( main => { request($cgi), digests => [ map { digest($_) } files($cgi) ] } );
    $cgi->header;
    $cgi->print('done');
    return;
}

sub digest {
    my ($file) = @_;
    return Digest::SHA->new(256)->addfile( $file->path )->hexdigest;
}

sub file {
    my ($file) = @_;
    return ( name => $file->name, size => $file->size, on_disk => -s $file->path || 0 );
}

sub files {
    my ($cgi) = @_;
    return map { @{ $cgi->{file_a}{$_} } } reverse sort keys %{ $cgi->{file_a} };
}

# That many bytes, of which each place has its own.
sub piece {
    my ($size) = @_;
    return substr $LARGE, $size % 97, $size;
}

sub request {
    my ($cgi) = @_;
    return (
        request => "$cgi->{headers}{REQUEST_METHOD} $cgi->{headers}{REQUEST_URI}",
        fields  => [ sort keys %{ $cgi->{post} } ],
        files   => [ map { $_->name } files($cgi) ],
    );
}
