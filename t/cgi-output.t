#!/usr/bin/env perl
# How a reply is made: print, flush, flush_wait, close, next, attach, buffer, copy, fh, fd.

use strict;
use warnings;
use utf8;

use Encode qw(encode);
use FindBin;
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(report request_bytes);

subtest 'print: text as UTF-8, bytes as they are, $, and $\\' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            my @results = ( $cgi->print( 'я', "\xff", 7 ), $cgi->print );
            {
                local ( $,, $\ ) = ( '-', "!\n" );
                push @results, $cgi->print( 'a', 'b' );
            }
            report( results => @results );
        }
    );
    my $response = $server->request( GET => '/' );
    is $response->{body}, encode( 'UTF-8', 'я' ) . "\xff7a-b!\n", 'what is sent';
    is scalar( grep { $_ } $server->await('results') ), 3,        'print returns true';
    $server->stop;
};

subtest 'A reply ends when nothing holds the request any more' => sub {
    my @kept;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { ( shift @kept )->print('later'); } );
            $server->listen(
                sub { my ($cgi) = @_; $cgi->header; push @kept, $cgi; report('kept') } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('kept');
    $server->tell('answer');
    is $client->response->{body}, 'later', 'what is printed later is sent';
    $server->stop;
};

subtest 'flush sends at once what waits' => sub {
    my @kept;
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print('a piece');
            $cgi->flush;
            push @kept, $cgi;
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    like $client->read_until(qr/a piece/), qr/a piece\r\n\z/,
      'in a chunk of its own, while the request is kept';
    $client->close;
    $server->stop;
};

subtest 'flush_wait calls back when all is sent' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print( 'x' x 5_000_000 );
            my $returned = 0;
            $cgi->flush_wait(
                sub {
                    report( sent => $returned, scalar @_ );
                    $cgi->print('the end');
                    undef $cgi;
                }
            );
            $returned = 1;
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    my $response = $client->response;
    is_deeply [ $server->await('sent') ], [ 1, 0 ], 'later, without arguments';
    is length $response->{body}, 5_000_007, 'all of it has come';
    like $response->{body}, qr/xthe end\z/, 'what is printed in the callback too';
    $server->stop;
};

subtest 'close ends the reply at once' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            $cgi->print('all');
            $cgi->close;
            $cgi->close;
            my @errors;
            for my $method (qw(fh buffer header print)) {
                eval { $cgi->$method; 1 } or push @errors, $@ =~ /\A(.+?) at \Q$0\E/;
            }
            eval { $cgi->attach(*STDOUT); 1 } or push @errors, $@ =~ /\A(.+?) at \Q$0\E/;
            report( errors => @errors );
            our $kept = $cgi;
        }
    );
    is $server->request( GET => '/' )->{body}, 'all', 'though the object is kept';
    is_deeply [ $server->await('errors') ],
      [
        'Can`t get fh of closed socket!',
        'Can`t get buffered handle from closed socket!',
        'Can`t print headers to closed socket!',
        'Can`t print to closed socket!',
        'Can`t attach closed socket!',
      ],
      'after it, methods die at the line of the caller';
    $server->stop;
};

subtest 'next leaves the main callback from any depth' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            my $deep = sub {
                for my $number ( 1 .. 3 ) {
                    local $_ = $number;
                    local $/ = "\n";
                    eval { $cgi->print($number); $cgi->next; };
                }
            };
            $deep->();
            $cgi->print('never');
        }
    );
    is $server->request( GET => '/' )->{body}, 1, 'what was printed before is sent'
      for 1 .. 2;
    $server->stop;
};

subtest 'next before the main callback drops the request' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub { report('main') },
                {
                    on_multipart =>
                      sub { my ($cgi) = @_; $cgi->next; report('after next') },
                    on_error => sub { report('on_error') },
                }
            );
        }
    );
    is $server->upload( { name => 'a', content => 'b' } )->{status}, undef, 'no reply';
    is_deeply [ map { $_->[0] } $server->reports_until('on_error') ],
      [ 'after next', 'on_error' ], 'on_error is called';
    $server->stop;
};

subtest 'drop in the main callback throws the reply away' => sub {
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    $cgi->header;
                    my @list = $cgi->drop;
                    report( dropped => scalar @list );
                },
                { on_error => sub { report('on_error') } }
            );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all,         q{}, 'nothing is sent';
    is $server->await('dropped'), 0,   'drop returns the empty list';
    $server->stop;
};

subtest 'attach: STDOUT, or another handle' => sub {
    my $server = start(
        sub {
            my ($cgi)  = @_;
            my $path   = $cgi->{headers}{SCRIPT_NAME};
            my $handle = $path eq '/glob' ? \*OTHER : *STDOUT;
            $cgi->attach($handle);
            $cgi->header;
            if ( $path eq '/glob' ) {
                print OTHER 'to a glob';
            }
            else {
                print 'print ', 1;
                printf '%s-%02d', ' printf', 2;
                { local $\ = "\n"; print ' with $\\' }
                syswrite STDOUT, 'xx syswrite', 9, 2;
                close STDOUT;
                print '.';
            }
        }
    );
    is $server->request( GET => '/' )->{body},
      qq{print 1 printf-02 with \$\\\n syswrite.}, 'STDOUT'
      for 1 .. 2;
    is $server->request( GET => '/glob' )->{body}, 'to a glob', 'another handle';
    $server->stop;
};

subtest 'buffer: a handle to print the reply to' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            $cgi->header;
            my $handle = $cgi->buffer;
            print {$handle} 'by ';
            printf {$handle} '%s', 'handle';
            report( same => $handle == $cgi->buffer ? 1 : 0, fileno $handle, $cgi->fd );
        }
    );
    is $server->request( GET => '/' )->{body}, 'by handle', 'print and printf';
    my ( $is_same, $fileno, $fd ) = $server->await('same');
    ok $is_same, 'the same at each call';
    is $fileno, $fd, 'fileno';
    $server->stop;
};

subtest 'buffer: who keeps its handle keeps the reply open' => sub {
    my $handle;
    my $server = TestServer->start(
        sub {
            my ($server) = @_;
            $server->on_command( sub { print {$handle} 'later'; undef $handle } );
            $server->listen( sub { $handle = $_[0]->buffer; report('kept') } );
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    $server->await('kept');
    $server->tell('print');
    is $client->read_all, 'later', 'and prints to it';
    $server->stop;
};

subtest 'copy: a handle of the socket, past the buffer' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $returned = $cgi->copy( \*SOCKET );
            undef $cgi;
            $_[0] = undef;
            syswrite SOCKET, 'bytes';
            report( returned => $returned );
            close SOCKET;
        }
    );
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/' ) );
    is $client->read_all,          'bytes', 'exactly what is written to it';
    is $server->await('returned'), 1,       'it returns 1';
    $server->stop;
};

subtest 'fh: a non-blocking handle of the socket' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            my $handle = $cgi->fh;
            report(
                handle => ref $handle,
                $handle->blocking ? 1 : 0, $handle == $cgi->fh ? 1 : 0
            );
            $handle->syswrite("HTTP/1.0 200 OK\r\n\r\nraw");
        }
    );
    is $server->request( GET => '/' )->{body}, 'raw', 'bytes written to it arrive';
    is_deeply [ $server->await('handle') ], [ 'IO::Handle', 0, 1 ],
      'an IO::Handle, the same at each call';
    $server->stop;
};

subtest 'fh on a body that is not read: the client still gets the reply' => sub {
    my $server = start(
        sub {
            my ($cgi) = @_;
            read $cgi->fh, my $beginning, 10;
            $cgi->header;
            $cgi->print("it began with $beginning");
        }
    );
    my $client = $server->connect;
    $client->send(
        request_bytes( PUT => q{/}, { 'Content-Length' => 2_000_010 }, '0123456789' ) );
    ok $client->send( 'x' x 2_000_000 ), 'all of the body is taken';
    is $client->response->{body}, 'it began with 0123456789', 'the reply';
    $server->stop;
};

subtest 'What comes after close dies, and says so at the line of the caller' => sub {
    my %message = (
        flush      => 'Can`t flush closed socket!',
        flush_wait => 'Can`t flush closed socket!',
        print      => 'Can`t print to closed socket!',
        header     => 'Can`t print headers to closed socket!',
        fh         => 'Can`t get fh of closed socket!',
        buffer     => 'Can`t get buffered handle from closed socket!',
    );
    my @methods = sort keys %message;
    my $server  = start(
        sub {
            my ($cgi) = @_;
            $cgi->close;
            for my $method (@methods) {
                eval { $cgi->$method };
                report( $method => $@ );
            }
        }
    );
    $server->request( GET => q{/} );
    like $server->await($_), qr/\A\Q$message{$_}\E at \Q$0\E line \d+/, $_ for @methods;
    $server->stop;
};

done_testing;

# A server with this main callback.
sub start {
    my ($callback) = @_;
    return TestServer->start( sub { $_[0]->listen($callback) } );
}
