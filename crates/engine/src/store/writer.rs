//! Brings file data to disk: at once, or by threads while the disk is slow.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Waker;

use super::TemporaryFile;
use super::chunk::Chunk;
use super::directory::Directory;
use super::location::Location;
use super::opened::Opened;
use super::saving::WorkingDirectory;
use super::sweep::sweep;
use super::temporary_file::WeakTemporaryFile;
use super::writer_threads::{Done, Perform, Piece, Work, Write, WriterThreads};
use crate::event::{RequestId, WorkId};

/// Bytes handed to threads and not yet written, for all uploads together.
const MAXIMUM_IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// Of a file of more bytes than these the rest is written by threads, as no disk takes data for
/// ever without a pause: the system lets a writer wait that has filled its share of memory.
const BEGINNING: u64 = 1024 * 1024;

/// How the data of files is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// By the loop. Cheapest, but a disk that is busy holds up every connection.
    Inline,
    /// By threads, but for what begins a file: that the loop writes while the disk is fast, so
    /// that a small file costs no hand-off. Large files are removed by a thread.
    #[default]
    Threads,
    /// By threads always. For a disk that is known to stall, such as one across a network.
    ThreadsOnly,
}

/// Where a piece of a file is.
#[derive(Debug)]
pub(crate) enum Written {
    /// In the file.
    Now,
    /// With a thread; a [`Completion::Write`] will tell.
    Later,
}

/// What the threads have done.
#[derive(Debug)]
pub(crate) enum Completion {
    Write {
        request: RequestId,
        chunk: Chunk,
        result: io::Result<()>,
    },
    Work {
        work: WorkId,
        result: io::Result<()>,
    },
}

/// A file that is being received: open until the last of its data is written.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    // Let go before the handle, with which the file may be removed.
    opened: Opened,
    file: TemporaryFile,
    /// What was set when it was created.
    writer: Writer,
    /// Some of it was written by the threads, or will be.
    is_with_threads: bool,
}

/// The files of one engine.
pub(crate) struct Store {
    directory: Directory,
    writer: Writer,
    threads: WriterThreads,
    /// The only one that lasts: the threads have theirs while they use it.
    waker: Arc<Waker>,
    policy: Policy,
    in_flight: u64,
    writes: u64,
    works: u64,
    files: Vec<WeakTemporaryFile>,
    pub(crate) working_directory: WorkingDirectory,
    creator: u32,
}

impl Store {
    pub(crate) fn new(directory: PathBuf, waker: Waker) -> Store {
        let waker = Arc::new(waker);
        Store {
            directory: Directory::new(directory),
            writer: Writer::default(),
            threads: WriterThreads::new(&waker),
            waker,
            policy: Policy::default(),
            in_flight: 0,
            writes: 0,
            works: 0,
            files: Vec::new(),
            working_directory: WorkingDirectory::default(),
            creator: process::id(),
        }
    }

    pub(crate) fn set_directory(&mut self, directory: PathBuf) {
        self.directory.set_path(directory);
    }

    pub(crate) fn prepare_directory(&mut self) {
        self.directory.prepare();
    }

    pub(crate) fn set_writer(&mut self, writer: Writer) {
        self.writer = writer;
    }

    pub(crate) fn writer(&self) -> Writer {
        self.writer
    }

    /// A new file, and what it is to be written through.
    pub(crate) fn create(&mut self) -> io::Result<(TemporaryFile, OpenedFile)> {
        let removals = match self.writer {
            Writer::Inline => None,
            Writer::Threads | Writer::ThreadsOnly => Some(self.threads.removals()),
        };
        let (location, opened) = self.create_where_swept()?;
        let file = TemporaryFile::new(location, removals);
        if self.files.len() == self.files.capacity() {
            self.files.retain(WeakTemporaryFile::is_live);
            // As many again come before the next look at all of them.
            self.files.reserve(self.files.len());
        }
        self.files.push(file.downgrade());
        let opened = OpenedFile {
            opened: Opened::new(opened),
            file: file.clone(),
            writer: self.writer,
            is_with_threads: false,
        };
        Ok((file, opened))
    }

    /// Writes all of the chunk or fails.
    pub(crate) fn write(
        &mut self,
        request: RequestId,
        file: &mut OpenedFile,
        mut chunk: Chunk,
        offset: u64,
    ) -> io::Result<Written> {
        let threaded = match file.writer {
            Writer::Inline => false,
            Writer::Threads => offset >= BEGINNING || self.policy.is_threaded(),
            Writer::ThreadsOnly => true,
        };
        if threaded && chunk.is_wasteful() {
            // Where it cannot be, it keeps its buffer for as long as the write takes.
            chunk.compact().ok();
        }
        let write = Write {
            opened: file.opened.clone(),
            piece: Piece {
                request,
                file: file.file.clone(),
                chunk,
                offset,
            },
        };
        if !threaded {
            return self.write_inline(write);
        }
        file.is_with_threads = true;
        self.write_by_threads(write)
    }

    /// Nothing more is written to the file: the last write to it closes it, or else this does. It
    /// fails where data may be lost by that.
    pub(crate) fn close(&mut self, request: RequestId, file: OpenedFile) -> io::Result<Written> {
        if !file.is_with_threads {
            return self.close_inline(file.opened);
        }
        let Some(opened) = file.opened.into_last() else {
            return Ok(Written::Now);
        };
        let nothing = Piece {
            request,
            file: file.file,
            chunk: Chunk::default(),
            offset: 0,
        };
        self.write_by_threads(Write {
            opened,
            piece: nothing,
        })
    }

    /// Whether the threads have as much to write as they may have.
    pub(crate) fn is_saturated(&self) -> bool {
        self.in_flight >= MAXIMUM_IN_FLIGHT
    }

    /// Whether the threads have file data.
    pub(crate) fn is_writing(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether a completion is to be expected.
    pub(crate) fn is_busy(&self) -> bool {
        self.writes > 0 || self.works > 0
    }

    /// Has work done, that of one `file` in the order of the calls. Where no thread can be
    /// started, it is given back.
    pub(crate) fn spawn(
        &mut self,
        id: WorkId,
        file: Option<&TemporaryFile>,
        perform: Perform,
    ) -> Result<(), Perform> {
        let file = file.map(TemporaryFile::key);
        self.threads
            .work(Work { id, perform, file })
            .map_err(|work| work.perform)?;
        self.works += 1;
        Ok(())
    }

    pub(crate) fn completions(&mut self) -> Vec<Completion> {
        let done = self.threads.take_done();
        done.into_iter().map(|done| self.complete(done)).collect()
    }

    /// In a forked child: the threads are the parent's, and so are the files. Without a waker
    /// there are no threads any more.
    pub(crate) fn after_fork(&mut self, waker: Option<Waker>) {
        let has_loop = waker.is_some();
        if let Some(waker) = waker {
            self.waker = Arc::new(waker);
        }
        self.directory.after_fork();
        self.threads = WriterThreads::new(&self.waker);
        if !has_loop {
            self.threads.finish();
        }
        self.in_flight = 0;
        self.writes = 0;
        self.works = 0;
        self.files.clear();
        self.creator = process::id();
    }

    /// Finishes what was begun, and removes every file that was not kept.
    pub(crate) fn shut_down(&mut self) {
        if self.creator != process::id() {
            return;
        }
        self.threads.finish();
        // They hold files, which hold on to the threads' queue for being removed.
        self.threads.take_done();
        for file in self.files.drain(..) {
            file.remove();
        }
        self.directory.remove_unremoved();
    }

    /// What the dead have left may be all that is in the way of a new file: where this waited for
    /// the sweep, it tries again.
    fn create_where_swept(&mut self) -> io::Result<(Location, File)> {
        let created = self.directory.create_file();
        let mut is_swept = false;
        while let Some(directory) = self.directory.take_unswept() {
            is_swept |= self.sweep(directory);
        }
        match created {
            Err(_) if is_swept => self.directory.create_file(),
            created => created,
        }
    }

    /// Whether it is done: the directory may be large, and where there are threads, the loop does
    /// not wait for them.
    fn sweep(&mut self, directory: OwnedFd) -> bool {
        let left = match self.writer {
            Writer::Inline => Err(directory),
            Writer::Threads | Writer::ThreadsOnly => self.threads.sweep(directory),
        };
        if let Err(directory) = left {
            // What cannot be removed now, the next process tries again.
            sweep(directory).ok();
            return true;
        }
        false
    }

    fn write_by_threads(&mut self, write: Write) -> io::Result<Written> {
        let length = write.piece.chunk.len() as u64;
        match self.threads.write(write) {
            Ok(()) => {
                self.in_flight += length;
                self.writes += 1;
                Ok(Written::Later)
            }
            Err(write) => self.write_inline(write),
        }
    }

    fn write_inline(&mut self, write: Write) -> io::Result<Written> {
        let started = Instant::now();
        let (piece, written) = write.perform();
        written?;
        self.policy.saw_inline(started.elapsed());
        piece.file.grow(piece.chunk.len() as u64);
        Ok(Written::Now)
    }

    /// A disk that is slow to close files sends the next to the threads, as one slow to write does.
    fn close_inline(&mut self, opened: Opened) -> io::Result<Written> {
        let started = Instant::now();
        opened.let_go()?;
        self.policy.saw_inline(started.elapsed());
        Ok(Written::Now)
    }

    fn complete(&mut self, done: Done) -> Completion {
        match done {
            Done::Work(work, result) => {
                self.works -= 1;
                Completion::Work { work, result }
            }
            Done::Write {
                piece,
                result,
                took,
            } => {
                let length = piece.chunk.len() as u64;
                self.in_flight -= length;
                self.writes -= 1;
                self.policy.saw_threaded(took);
                if result.is_ok() {
                    piece.file.grow(length);
                }
                Completion::Write {
                    request: piece.request,
                    chunk: piece.chunk,
                    result,
                }
            }
        }
    }
}

/// Chooses between the loop and the threads for the beginnings of files, by how long writes take.
///
/// A single slow write sends the work to the threads. It comes back after a run of fast ones,
/// and the run must be the longer the sooner the last return went wrong.
#[derive(Debug)]
struct Policy {
    threaded: bool,
    fast_in_a_row: u32,
    fast_needed: u32,
}

impl Policy {
    /// No more than this may a write of at most 1 MiB hold up the loop. Memory takes a tenth
    /// of it.
    const SLOW: Duration = Duration::from_millis(3);
    const FEWEST_FAST: u32 = 32;
    const MOST_FAST: u32 = 8192;

    fn is_threaded(&self) -> bool {
        self.threaded
    }

    fn saw_inline(&mut self, took: Duration) {
        if took < Policy::SLOW {
            self.fast_in_a_row = self.fast_in_a_row.saturating_add(1);
            return;
        }
        self.fast_needed = if self.fast_in_a_row < self.fast_needed {
            (2 * self.fast_needed).min(Policy::MOST_FAST)
        } else {
            Policy::FEWEST_FAST
        };
        self.threaded = true;
        self.fast_in_a_row = 0;
    }

    fn saw_threaded(&mut self, took: Duration) {
        if took >= Policy::SLOW {
            self.fast_in_a_row = 0;
            return;
        }
        self.fast_in_a_row += 1;
        if self.fast_in_a_row >= self.fast_needed {
            self.threaded = false;
            self.fast_in_a_row = 0;
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            threaded: false,
            fast_in_a_row: 0,
            fast_needed: Policy::FEWEST_FAST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(100);
    const SLOW: Duration = Duration::from_millis(50);

    #[test]
    fn a_slow_write_sends_the_next_to_the_threads() {
        let mut policy = Policy::default();
        policy.saw_inline(FAST);
        assert!(!policy.is_threaded());
        policy.saw_inline(SLOW);
        assert!(policy.is_threaded());
    }

    #[test]
    fn fast_writes_bring_the_work_back_and_a_relapse_takes_longer() {
        let mut policy = Policy::default();
        let mut needed = Vec::new();
        for _ in 0..3 {
            policy.saw_inline(SLOW);
            let mut count = 0;
            while policy.is_threaded() {
                policy.saw_threaded(FAST);
                count += 1;
            }
            needed.push(count);
        }
        assert!(
            needed.is_sorted_by(|one, next| 2 * one == *next),
            "{needed:?}"
        );
    }
}
