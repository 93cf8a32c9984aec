//! What a request costs once everything has been needed before: on connections that are kept,
//! again and again the same.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::counting::counts;
use crate::server::{BODY, Server};

const CONNECTIONS: usize = 1000;
const WARM_UP: u64 = 20;
const ROUNDS: u64 = 50;

/// What a client sends at a time.
pub struct Workload {
    /// As it is reported.
    pub name: &'static str,
    /// In as many writes.
    pub pieces: &'static [&'static [u8]],
    /// How many requests these are.
    pub requests: u64,
    /// Whether it has to do without allocations.
    pub is_free: bool,
}

/// What each is measured with.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "GET, bare",
        pieces: &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        requests: 1,
        is_free: true,
    },
    Workload {
        name: "GET of a browser",
        pieces: &[BROWSER],
        requests: 1,
        is_free: true,
    },
    Workload {
        name: "GET of a browser, in two pieces",
        pieces: &[BROWSER.split_at(100).0, BROWSER.split_at(100).1],
        requests: 1,
        is_free: false,
    },
    Workload {
        name: "GET, three in a pipeline",
        pieces: &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        requests: 3,
        is_free: false,
    },
    Workload {
        name: "POST of a form",
        pieces: &[b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
            Content-Length: 7\r\n\r\na=1&b=2"],
        requests: 1,
        is_free: false,
    },
    Workload {
        name: "POST of a form, chunked",
        pieces: &[b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
            Transfer-Encoding: chunked\r\n\r\n4\r\na=1&\r\n3\r\nb=2\r\n0\r\n\r\n"],
        requests: 1,
        is_free: false,
    },
];

const BROWSER: &[u8] = b"GET /search?q=some+words&page=2&lang=en HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; visited=2026-11-22\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    \r\n";

/// Allocations for one request.
pub fn measure(workload: &Workload) -> io::Result<f64> {
    let mut server = Server::start()?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TcpStream::connect(server.address())?);
    }
    for _ in 0..WARM_UP {
        exchange(&mut server, &mut clients, workload)?;
    }
    let before = counts().allocations;
    for _ in 0..ROUNDS {
        exchange(&mut server, &mut clients, workload)?;
    }
    let allocations = counts().allocations - before;
    let requests = ROUNDS * CONNECTIONS as u64 * workload.requests;
    Ok(allocations as f64 / requests as f64)
}

/// Each client sends what it has to send, and takes the replies.
fn exchange(server: &mut Server, clients: &mut [TcpStream], workload: &Workload) -> io::Result<()> {
    let mut answered = 0;
    for piece in workload.pieces {
        for client in &mut *clients {
            client.write_all(piece)?;
        }
        answered += server.turn()?;
    }
    while answered < workload.requests * clients.len() as u64 {
        server.sleep()?;
        answered += server.turn()?;
    }
    for client in clients {
        take_replies(client, workload.requests)?;
    }
    Ok(())
}

/// All of these replies are in the socket already, and in nothing else.
fn take_replies(client: &mut TcpStream, number: u64) -> io::Result<()> {
    let mut space = [0; 4096];
    let length = client.read(&mut space)?;
    let replies = space.get(..length).unwrap_or_default();
    let ends = replies.windows(BODY.len()).filter(|bytes| *bytes == BODY);
    match ends.count() as u64 == number && replies.ends_with(BODY) {
        true => Ok(()),
        false => Err(io::Error::other(
            "the replies are not those that were expected",
        )),
    }
}
