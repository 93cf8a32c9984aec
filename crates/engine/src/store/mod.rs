//! File storage: the only place in the engine that touches files.
//!
//! - `temporary_file`: a file that is gone when its last handle is, unless it was kept.
//! - `writer`: brings file data to disk, at once or by threads, whichever serves better.
//! - `writer_threads`: the threads, the work they are given, and how it comes back.
//! - `chunk`: read buffers that are shared between the loop and the threads.

pub(crate) mod chunk;
mod temporary_file;
pub(crate) mod writer;
mod writer_threads;

pub use temporary_file::TemporaryFile;
pub use writer::Writer;
