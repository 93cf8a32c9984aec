//! Small requests at a constant rate, whether or not those before were answered in time.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::latencies::Latencies;
use crate::response::read_response;

/// A server that does not answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent: `rate` requests a second in all.
pub struct Pace {
    pub connections: u32,
    pub rate: u32,
    pub seconds: u32,
}

/// The line for the harness: `requests`; `p50`, `p99` and `max` of the seconds from the moment a
/// request was due until its answer was read, so that a request that had to wait for the one
/// before counts the wait; and `lag`, the 99th percentile of how late the client itself was.
pub fn run(address: &str, protocol: &str, pace: &Pace) -> Result<String, String> {
    let started = Instant::now();
    let outcomes: Vec<io::Result<Measured>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..pace.connections)
            .map(|index| scope.spawn(move || ask(address, protocol, &pace.dues(started, index))))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            })
            .collect()
    });

    let mut all = Measured::default();
    for outcome in outcomes {
        let measured = outcome.map_err(|error| format!("{address}: {error}"))?;
        all.latencies.extend(measured.latencies);
        all.lags.extend(measured.lags);
    }
    let requests = all.latencies.len();
    let lag = all.lags.into_words();
    let lag = lag
        .split(' ')
        .find_map(|word| word.strip_prefix("p99="))
        .unwrap_or_default();
    Ok(format!(
        "requests={requests} {} lag={lag}",
        all.latencies.into_words()
    ))
}

#[derive(Default)]
struct Measured {
    latencies: Latencies,
    lags: Latencies,
}

impl Pace {
    /// When the requests of one of the connections are due.
    fn dues(&self, started: Instant, index: u32) -> Vec<Instant> {
        (index..self.rate * self.seconds)
            .step_by(self.connections as usize)
            .map(|number| started + Duration::from_secs(1) * number / self.rate)
            .collect()
    }
}

fn ask(address: &str, protocol: &str, dues: &[Instant]) -> io::Result<Measured> {
    let request = format!("GET / {protocol}\r\nHost: {address}\r\n\r\n");
    let mut measured = Measured::default();
    let mut connection = None;
    for &due in dues {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
            measured.lags.push(due.elapsed());
        }
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => connect(address)?,
        };
        stream.write_all(request.as_bytes())?;
        let response = read_response(&mut stream)?;
        if response.status != 200 {
            return Err(io::Error::other(format!("status {}", response.status)));
        }
        measured.latencies.push(due.elapsed());
        connection = response.keeps_connection.then_some(stream);
    }
    Ok(measured)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_the_requests_over_time_and_connections() {
        let pace = Pace {
            connections: 2,
            rate: 4,
            seconds: 1,
        };
        let started = Instant::now();
        let milliseconds = |index| -> Vec<u128> {
            let dues = pace.dues(started, index).into_iter();
            dues.map(|due| (due - started).as_millis()).collect()
        };
        assert_eq!(milliseconds(0), [0, 500]);
        assert_eq!(milliseconds(1), [250, 750]);
    }
}
