//! File storage: the only place in the engine that touches files.
//!
//! - `temporary_file`: a file that is gone when its last handle is, unless it was kept.
//! - `saving`: how it is kept, by another name or by a copy.
//! - `directory`: where new files come into, as the application calls it.
//! - `location`: where a file is, how it is created there, and removed.
//! - `claim`: a lock in a directory, which keeps the files of the living from being swept.
//! - `sweep`: removes the files of the dead.
//! - `temporary_name`, `byte_lock`: what claim and sweep know each other by.
//! - `opened`: what a file is written through, and how that is closed.
//! - `writer`: brings file data to disk, at once or by threads, whichever serves better.
//! - `writer_threads`: the threads, and the work they are given.
//! - `hand_off`: how it gets to them, and what was done comes back. `xt/loom` runs it with all ways
//!   in which threads can overtake each other.
//! - `chunk`: read buffers that are shared between the loop and the threads.

mod byte_lock;
pub(crate) mod chunk;
mod claim;
mod directory;
mod hand_off;
mod location;
mod opened;
mod saving;
mod sweep;
mod temporary_file;
mod temporary_name;
pub(crate) mod writer;
mod writer_threads;

pub use temporary_file::TemporaryFile;
pub use writer::Writer;

/// What `hand_off` is built on.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
}
