#!/usr/bin/env perl
# WebSockets by a module beside the server: Python's websockets and Chromium talk to it, and
# a client that sends frames along with the handshake.

use strict;
use warnings;
use utf8;

use FindBin;
use JSON::PP qw(decode_json);
use Test::More;

use lib "$FindBin::Bin/lib";
use TestServer qw(output_of report request_bytes);
use TestServer::Browser;

my %HANDSHAKE = (
    Connection              => 'Upgrade',
    Upgrade                 => 'websocket',
    'Sec-WebSocket-Key'     => 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version' => 13,
);

subtest 'The handshake, by the example of RFC 6455' => sub {
    my $server = start();
    my $client = $server->connect;
    $client->send( request_bytes( GET => '/', \%HANDSHAKE ) );
    my ( $status, @lines ) = split /\r\n/, $client->read_until(qr/\r\n\r\n\z/);
    my %header = map { split /: /, $_, 2 } @lines;
    like $status, qr{\AHTTP/1[.]1[ ]101[ ]}x, 'the status';
    is_deeply [ @header{qw(Connection Upgrade Sec-WebSocket-Accept)} ],
      [ 'Upgrade', 'websocket', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' ], 'the fields';
    $client->close;
    $server->await('closed');
    is $server->request( GET => '/' )->{status}, 400, 'without a key there is none';
    $server->stop;
};

subtest 'Frames that come along with the handshake, in pieces of any size' => sub {
    my $server = start();
    my $bytes =
        request_bytes( GET => '/', \%HANDSHAKE )
      . frame( 1, 'early' )
      . frame( 2, 'x' x 69_999 . q{!} );
    my $head     = index( $bytes, "\r\n\r\n" ) + 4;
    my $expected = "\x81\x05early\x82\x7f" . pack( 'Q>', 70_000 ) . 'x' x 69_999 . q{!};

    # How many bytes are sent at first.
    for my $cut ( $head, $head + 1, $head + 5, $head + 11, $head + 30_000, length $bytes )
    {
        my $client = $server->connect;
        $client->send( substr $bytes, 0, $cut );
        $client->drained;
        $client->send( substr $bytes, $cut );
        my ( undef, $frames ) = split m{\r\n\r\n}, $client->read_until(qr{!\z}), 2;
        ok $frames eq $expected, sprintf '%d bytes of frames', $cut - $head;
        $client->send( frame( 8, pack 'n', 1000 ) );
        ok $client->is_closed, 'the closing handshake';
        $server->await('closed');
    }
    $server->stop;
};

subtest 'A client that goes without a word' => sub {
    my $server = start();
    $server->request( GET => '/' );
    my $descriptors = $server->descriptors;
    for my $way (qw(close reset shutdown)) {
        my $client = $server->connect;
        $client->send( request_bytes( GET => '/', \%HANDSHAKE ) );
        $client->read_until(qr/\r\n\r\n\z/);
        $client->$way;
        $server->await('closed');
        pass $way;
    }
    ok $server->await_descriptors($descriptors), 'no descriptor is left';
    $server->stop;
};

subtest 'A page, an upload and 100 sockets at once' => sub {
    my $server  = start();
    my @clients = map { $server->connect } 1 .. 100;
    $_->send( request_bytes( GET => '/', \%HANDSHAKE ) ) for @clients;
    $_->read_until(qr/\r\n\r\n\z/) for @clients;
    is $server->request( GET => '/page' )->{body}, 'page', 'the page';
    is $server->upload( { name => 'a', file_name => 'b', content => 'c' } )->{body},
      'page', 'the upload';
    $clients[$_]->send( frame( 1, "number $_" ) ) for 0 .. 99;
    like $clients[$_]->read_until(qr/number \d+\z/), qr/number $_\z/, "socket $_"
      for 0 .. 99;
    $server->stop;
};

subtest q{Python's websockets} => sub {
    my ($python) =
      grep {
        defined output_of( $_, '-c',
            'import importlib.util as u, sys; sys.exit(not u.find_spec("websockets"))' )
      } qw(python3 /usr/bin/python3);
    $python or plan skip_all => q{Python's websockets is not installed};
    my $server = start();
    my $output = output_of( $python, '-c', <<'PYTHON', $server->port );
import asyncio, json, sys
import websockets

url = 'ws://127.0.0.1:' + sys.argv[1] + '/'

async def echoed(socket, message):
    await socket.send(message)
    return await socket.recv() == message

async def one(number):
    async with websockets.connect(url, max_size=None) as socket:
        return all([await echoed(socket, f'{number}: {again}') for again in range(50)])

async def main():
    results = {}
    async with websockets.connect(url, max_size=None) as socket:
        results['text'] = await echoed(socket, 'Grüße, 写真 😀')
        results['empty'] = await echoed(socket, '')
        results['binary'] = await echoed(socket, bytes(range(256)))
        for size in (125, 126, 65535, 65536, 1024 * 1024, 10 * 1024 * 1024):
            results[f'{size} bytes'] = await echoed(socket, bytes([size % 251]) * size)
        await socket.send(['in ', 'several ', 'frames'])
        results['frames'] = await socket.recv() == 'in several frames'
        await asyncio.wait_for(await socket.ping(b'ping'), 30)
        results['ping'] = True
        for number in range(200):
            await socket.send(str(number))
        results['in a row'] = [await socket.recv() for _ in range(200)] == [str(n) for n in range(200)]
        await socket.close(4001, 'enough')
        results['client closes'] = socket.close_code == 4001
    async with websockets.connect(url) as socket:
        await socket.send('close')
        await socket.wait_closed()
        results['server closes'] = socket.close_code == 4000
    results['20 at once'] = all(await asyncio.gather(*(one(number) for number in range(20))))
    print(json.dumps(results))

asyncio.run(main())
PYTHON
    all_true($output);
    $server->stop;
};

subtest 'Chromium' => sub {
    my $browser = TestServer::Browser->start
      or plan skip_all => 'chromedriver is not installed';
    my $server = start();
    my $page   = $browser->open_page( $server->url('/page') );
    my $output = $page->run(<<'JAVASCRIPT');
const connect = () => new Promise((resolve, reject) => {
    const socket = new WebSocket('ws://' + location.host + '/');
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject('it does not open');
});
const echoed = (socket, message) => new Promise((resolve, reject) => {
    socket.onmessage = event => resolve(event.data);
    socket.onclose = event => reject('closed with ' + event.code);
    socket.send(message);
});
const closed = socket => new Promise(resolve => {
    socket.onclose = event => resolve(event);
});
const same = (one, other) => {
    [one, other] = [new Uint8Array(one), new Uint8Array(other)];
    return one.length === other.length && one.every((byte, at) => byte === other[at]);
};
const results = {};

const socket = await connect();
results.text = await echoed(socket, 'Grüße, 写真 😀') === 'Grüße, 写真 😀';
results.empty = await echoed(socket, '') === '';
const large = new Uint8Array(1024 * 1024).map((_, at) => at * 31 % 251);
results.binary = same(await echoed(socket, large.buffer), large);
const end = closed(socket);
socket.close(4001, 'enough');
results['client closes'] = (await end).code === 4001 && (await end).wasClean;

const other = await connect();
const others = closed(other);
other.send('close');
results['server closes'] = (await others).code === 4000 && (await others).wasClean;

const many = await Promise.all(Array.from({ length: 20 }, connect));
const answers = await Promise.all(many.map((socket, number) => echoed(socket, 'number ' + number)));
results['20 at once'] = answers.every((answer, number) => answer === 'number ' + number);
return JSON.stringify(results);
JAVASCRIPT
    all_true($output);
    $page->close;
    $server->stop;
};

done_testing;

# The results of a client, as JSON.
sub all_true {
    my ($json) = @_;
    my $results = eval { decode_json( $json // 'null' ) };
    ref $results eq 'HASH' or return fail( $json // 'the client does not succeed' );
    ok $results->{$_}, $_ for sort keys %{$results};
    return;
}

# A frame of a client.
sub frame {
    my ( $opcode, $payload ) = @_;
    my $length = length $payload;
    my $head =
      $length < 126
      ? pack 'C C', 0x80 | $opcode, 0x80 | $length
      : pack 'C C Q>', 0x80 | $opcode, 0xff, $length;
    my $mask = "\x01\x80\xfe\x37";
    return $head . $mask . ( $payload ^ substr $mask x ( $length / 4 + 1 ), 0, $length );
}

# Pages, and sockets that send back what comes; `close` closes them.
sub start {
    return TestServer->start(
        sub {
            my ($server) = @_;
            require StandIn::WebSocket;
            my $take = sub {
                my ( $socket, $opcode, $message ) = @_;
                return $socket->close(4000) if $message eq 'close';
                $socket->send( $opcode, $message );
            };
            $server->listen(
                sub {
                    my ($cgi) = @_;
                    my $is_page = $cgi->{headers}{SCRIPT_NAME} eq '/page'
                      || $cgi->{headers}{REQUEST_METHOD} eq 'POST';
                    return StandIn::WebSocket->accept( $cgi, $take,
                        sub { report('closed') } )
                      if !$is_page;
                    $cgi->header;
                    $cgi->print('page');
                }
            );
        }
    );
}
