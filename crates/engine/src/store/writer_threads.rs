//! Threads that write files, remove those that are large or of the dead, and do other work that
//! blocks.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::Waker;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::process::setpriority_process;

use super::TemporaryFile;
use super::chunk::Chunk;
use super::hand_off::{Entrance, HandOff};
use super::location::Location;
use super::opened::Opened;
use super::sweep::sweep;
use super::temporary_file::FileKey;
use crate::event::{RequestId, WorkId};

/// Disks gain little from more writes at a time, and each file is written in order anyway.
const THREADS: usize = 4;

/// See setpriority(2).
const WRITER_NICENESS: i32 = 10;

/// Removing a file of this many bytes takes long enough to be felt.
const LARGE_FILE: u64 = 16 * 1024 * 1024;

/// Work that the application gave.
pub(crate) type Perform = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What a thread is to do.
enum Job {
    Write(Write),
    Work(Work),
    /// Nobody has the file open any more, so whoever removes it waits for the disk.
    Remove(Location),
    Sweep(OwnedFd),
}

/// Work, and the file whose works are done one by one, in the order they came.
pub(super) struct Work {
    pub(super) id: WorkId,
    pub(super) perform: Perform,
    pub(super) file: Option<FileKey>,
}

/// One write to a file.
pub(super) struct Write {
    // Let go before the handle, with which the file may be removed.
    pub(super) opened: Opened,
    pub(super) piece: Piece,
}

/// What is written, and where.
pub(super) struct Piece {
    pub(super) request: RequestId,
    pub(super) file: TemporaryFile,
    pub(super) chunk: Chunk,
    pub(super) offset: u64,
}

impl Write {
    /// Closes the file as well, if nobody else is to write to it.
    pub(super) fn perform(self) -> (Piece, io::Result<()>) {
        let Write { opened, piece } = self;
        let written = opened.write(piece.chunk.bytes(), piece.offset);
        let closed = opened.let_go();
        (piece, written.and(closed))
    }
}

/// What a thread has done.
pub(super) enum Done {
    Write {
        piece: Piece,
        result: io::Result<()>,
        took: Duration,
    },
    Work(WorkId, io::Result<()>),
}

/// The threads, started with the first job.
#[derive(Clone)]
pub(super) struct WriterThreads {
    shared: Arc<Shared>,
}

impl WriterThreads {
    /// `waker` rouses the loop when something is done, as long as the loop has it.
    pub(super) fn new(waker: &Arc<Waker>) -> WriterThreads {
        WriterThreads {
            shared: Arc::new(Shared {
                hand_off: HandOff::new(),
                threads: Mutex::default(),
                waker: Arc::downgrade(waker),
            }),
        }
    }

    /// Gives the write back where it cannot be done: after `finish`, or if no thread starts.
    pub(super) fn write(&self, write: Write) -> Result<(), Write> {
        self.push(None, write, Job::Write)
    }

    /// Gives the work back likewise.
    pub(super) fn work(&self, work: Work) -> Result<(), Work> {
        self.push(work.file, work, Job::Work)
    }

    /// Gives the directory back likewise.
    pub(super) fn sweep(&self, directory: OwnedFd) -> Result<(), OwnedFd> {
        self.push(None, directory, Job::Sweep)
    }

    /// What was done since the last call.
    pub(super) fn take_done(&self) -> Vec<Done> {
        self.shared.hand_off.take_done()
    }

    /// Does all jobs that were pushed, takes no more, and ends the threads.
    pub(super) fn finish(&self) {
        self.shared.hand_off.finish();
        for thread in std::mem::take(&mut *self.threads()) {
            // Nothing in it panics, and if it did, it has been reported.
            thread.join().ok();
        }
    }

    pub(super) fn removals(&self) -> Removals {
        Removals(self.clone())
    }

    fn push<T>(
        &self,
        series: Option<FileKey>,
        object: T,
        job: impl FnOnce(T) -> Job,
    ) -> Result<(), T> {
        let Some(entrance) = self.entrance() else {
            return Err(object);
        };
        entrance.push(series, job(object));
        Ok(())
    }

    /// If somebody does what is pushed.
    fn entrance(&self) -> Option<Entrance<'_, FileKey, Job>> {
        let entrance = self.shared.hand_off.entrance()?;
        let mut threads = self.threads();
        if threads.is_empty() {
            *threads = start(&self.shared);
        }
        (!threads.is_empty()).then_some(entrance)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        let threads = self.shared.threads.lock();
        threads.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the removing of large files off the loop.
#[derive(Clone)]
pub(super) struct Removals(WriterThreads);

impl Removals {
    pub(super) fn accepts(&self, size: u64) -> bool {
        size >= LARGE_FILE
    }

    /// Whether it will be done.
    pub(super) fn push(&self, location: Location) -> bool {
        self.0.push(None, location, Job::Remove).is_ok()
    }
}

impl std::fmt::Debug for Removals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Removals")
    }
}

struct Shared {
    hand_off: HandOff<FileKey, Job, Done>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// In a forked child no thread is there to let go of it.
    waker: Weak<Waker>,
}

impl Shared {
    /// Rouses the loop.
    fn wake(&self) {
        if let Some(waker) = self.waker.upgrade() {
            // If it fails, the loop finds what is done at its next turn.
            waker.wake().ok();
        }
    }
}

/// Signals are for the thread that started the process: an interpreter's handler must not run
/// on a thread it does not know.
fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let Ok(mask) = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK) else {
        return Vec::new();
    };
    let threads = (0..THREADS)
        .map_while(|_| {
            let shared = Arc::clone(shared);
            let builder = thread::Builder::new().name("file writer".to_owned());
            builder
                .spawn(move || {
                    give_way_to_loop();
                    shared.hand_off.run(perform, || shared.wake());
                })
                .ok()
        })
        .collect();
    mask.thread_set_mask().ok();
    threads
}

/// On a core that both want, the loop goes first: it answers everybody. Linux alone has a priority
/// for each thread; where it cannot be lowered the files are written all the same.
fn give_way_to_loop() {
    if cfg!(target_os = "linux") {
        setpriority_process(None, WRITER_NICENESS).ok();
    }
}

fn perform(job: Job) -> Option<Done> {
    match job {
        Job::Write(write) => {
            let started = Instant::now();
            let (piece, result) = write.perform();
            let took = started.elapsed();
            Some(Done::Write {
                piece,
                result,
                took,
            })
        }
        Job::Work(work) => Some(Done::Work(work.id, perform_safely(work.perform))),
        Job::Remove(location) => {
            location.remove();
            None
        }
        Job::Sweep(directory) => {
            // Nobody waits for it, and the next process tries again.
            sweep(directory).ok();
            None
        }
    }
}

/// A panic has been reported by then; whoever waits for the work is told as well.
fn perform_safely(perform: Perform) -> io::Result<()> {
    panic::catch_unwind(AssertUnwindSafe(perform))
        .unwrap_or_else(|_| Err(io::Error::other("the work panicked")))
}
