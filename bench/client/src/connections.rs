//! A connection for each request: connects, asks, and reads until the server closes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::latencies::Latencies;
use crate::response;

/// A server that does not answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has `count` threads ask for so many seconds. The line for the harness: `requests`, `seconds`
/// that passed, and the latencies, from before connecting until the end, corrected for what a
/// server that stops would keep from being sent.
pub fn run(address: &str, count: u32, seconds: u64) -> Result<String, String> {
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let outcomes: Vec<io::Result<Latencies>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| ask_until(end, address)))
            .collect();
        threads.into_iter().map(join).collect()
    });
    let elapsed = started.elapsed();

    let mut latencies = Latencies::default();
    for outcome in outcomes {
        latencies.extend(outcome.map_err(|error| format!("{address}: {error}"))?);
    }
    let requests = latencies.len();
    let interval = elapsed * count / u32::try_from(requests).unwrap_or(u32::MAX).max(1);
    let seconds = elapsed.as_secs_f64();
    let words = latencies.corrected_for(interval).into_words();
    Ok(format!("requests={requests} seconds={seconds:.6} {words}"))
}

fn ask_until(end: Instant, address: &str) -> io::Result<Latencies> {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut bytes = Vec::new();
    let mut latencies = Latencies::default();
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(latencies);
        }
        bytes.clear();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut bytes)?;
        let response = response::read_response(&mut bytes.as_slice())?;
        if response.status != 200 {
            return Err(io::Error::other(format!("status {}", response.status)));
        }
        latencies.push(started.elapsed());
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}
