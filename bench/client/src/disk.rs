//! Keeps a disk busy: writes a file over and over, and has every few blocks synchronized.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::standard_input;

const BLOCK_SIZE: usize = 1 << 20;

/// Blocks between two calls of fdatasync.
const BLOCKS_PER_SYNC: u64 = 4;

/// Writes until the standard input ends, no more than so many bytes at a time, and removes the
/// file. The line for the harness: the `bytes` that were written in so many `seconds`.
pub fn run(path: &str, bytes: u64) -> Result<String, String> {
    let has_ended = AtomicBool::new(false);
    let started = Instant::now();
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&has_ended, path, bytes));
        standard_input::set_at_end(&has_ended);
        writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    });
    let removed = fs::remove_file(path);
    let written = written
        .and_then(|written| removed.map(|()| written))
        .map_err(|error| format!("{path}: {error}"))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(format!("bytes={written} seconds={seconds:.6}"))
}

fn write_until(has_ended: &AtomicBool, path: &str, bytes: u64) -> io::Result<u64> {
    let block = vec![b'x'; BLOCK_SIZE];
    let blocks_per_file = (bytes / BLOCK_SIZE as u64).max(1);
    let mut file = File::create(path)?;
    let mut blocks = 0;
    while !has_ended.load(Ordering::Relaxed) {
        file.write_all(&block)?;
        blocks += 1;
        if blocks % BLOCKS_PER_SYNC == 0 {
            file.sync_data()?;
        }
        if blocks % blocks_per_file == 0 {
            file.seek(SeekFrom::Start(0))?;
        }
    }
    Ok(blocks * BLOCK_SIZE as u64)
}
