//! The harness tells a workload to end by closing its standard input.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints `ready` for the harness, waits until the standard input ends, and then sets the flag.
pub fn set_at_end(has_ended: &AtomicBool) {
    println!("ready");
    wait_for_end();
    has_ended.store(true, Ordering::Relaxed);
}

/// Returns when the standard input ends.
pub fn wait_for_end() {
    // An input that cannot be read has ended.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
}
