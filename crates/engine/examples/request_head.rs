//! What it costs to parse a request head, beside what `httparse` takes for the bare parsing of it.
//!
//! `cargo run --release -p engine --example request_head`

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use engine::http::head_reader::HeadReader;
use engine::http::request_head::RequestHead;
use engine::limits::Limits;

const BARE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

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

/// Parsed in a row between two looks at the clock.
const BATCH: u32 = 1000;
/// The least time of this many batches is what counts: anything else is noise.
const BATCHES: usize = 300;

fn main() {
    for (name, head) in [("bare", BARE), ("browser", BROWSER)] {
        let mut filled = RequestHead::default();
        let engine = measure(|| parse(head, &mut filled));
        let httparse = measure(|| parse_by_httparse(head));
        println!(
            "{name}: {} bytes, engine {engine:.0} ns, httparse alone {httparse:.0} ns",
            head.len()
        );
    }
}

fn parse(head: &[u8], filled: &mut RequestHead) {
    let mut reader = HeadReader::default();
    let consumed = reader.read(filled, black_box(head), &Limits::default());
    assert_eq!(consumed, Ok(Some(head.len())));
    black_box(filled);
}

fn parse_by_httparse(head: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 24];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(black_box(head));
    assert!(black_box(status).is_ok_and(|status| status.is_complete()));
    black_box(&request);
}

/// Nanoseconds of one call.
fn measure(mut call: impl FnMut()) -> f64 {
    let mut batch = || {
        let start = Instant::now();
        (0..BATCH).for_each(|_| call());
        start.elapsed()
    };
    let least = (0..BATCHES).map(|_| batch()).min();
    least.unwrap_or(Duration::ZERO).as_nanos() as f64 / f64::from(BATCH)
}
