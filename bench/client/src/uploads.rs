//! Large files all the time, several at once, as the load besides which something else is measured.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::response::read_response;
use crate::standard_input;
use crate::upload::{UploadRequest, pseudo_random_block, write_request};

/// A server that neither reads nor answers for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Uploads until the standard input ends, and then breaks off. The line for the harness: the
/// `bytes` that were sent in so many `seconds`.
pub fn run(address: &str, count: u32, file_size: u64) -> Result<String, String> {
    let shared = Shared {
        request: UploadRequest::new(address, file_size),
        block: pseudo_random_block(),
        has_ended: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    };
    let started = Instant::now();
    let outcomes: Vec<io::Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| shared.upload_until_end(address)))
            .collect();
        standard_input::set_at_end(&shared.has_ended);
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            })
            .collect()
    });
    for outcome in outcomes {
        outcome.map_err(|error| format!("{address}: {error}"))?;
    }
    let bytes = shared.sent.load(Ordering::Relaxed);
    let seconds = started.elapsed().as_secs_f64();
    Ok(format!("bytes={bytes} seconds={seconds:.6}"))
}

struct Shared {
    request: UploadRequest,
    block: Vec<u8>,
    has_ended: AtomicBool,
    sent: AtomicU64,
}

impl Shared {
    fn upload_until_end(&self, address: &str) -> io::Result<()> {
        while !self.has_ended() {
            let uploaded = self.upload(address);
            if !self.has_ended() {
                uploaded?;
            }
        }
        Ok(())
    }

    fn upload(&self, address: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut output = Breakable {
            stream: &mut stream,
            shared: self,
        };
        write_request(&mut output, &self.request, &self.block)?;
        match read_response(&mut stream)?.status {
            200 => Ok(()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

/// A connection that counts what is sent, and fails when it is time to end.
struct Breakable<'a> {
    stream: &'a mut TcpStream,
    shared: &'a Shared,
}

impl Write for Breakable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.shared.has_ended() {
            return Err(io::Error::other("it is time to end"));
        }
        let count = self.stream.write(bytes)?;
        self.shared.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
