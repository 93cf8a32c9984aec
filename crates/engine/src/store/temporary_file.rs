//! A temporary file: private while it is received, gone when its last handle is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::Duration;

use rustix::fs::CWD;

use super::location::{Location, open_existing};
use super::saving::{Destination, Moved, WorkingDirectory, copy, relocate};
use super::writer_threads::Removals;

/// A file that has left its place is known elsewhere in a small part of this.
const MOVING: Duration = Duration::from_micros(100);

/// So often it is looked for: one that is being copied may have been removed by somebody else.
const MOST_LOOKS: u32 = 1000;

/// A handle on a file that is being received or was received.
///
/// Handles are cheap to clone and all name the same file. It is removed from the directory when
/// the last handle goes, unless [`persist`](TemporaryFile::persist) has kept it, and only by
/// the process that created it, never by a forked child.
#[derive(Clone, Debug)]
pub struct TemporaryFile {
    shared: Arc<Shared>,
}

impl TemporaryFile {
    /// Creates an empty file of mode 0600 under a random name; its path is the directory as it
    /// was given, `/`, and the name. If the process is killed the file stays: those that an
    /// [`Engine`](crate::Engine) creates are swept then.
    ///
    /// # Errors
    ///
    /// What open(2) said.
    pub fn create(directory: &Path) -> io::Result<TemporaryFile> {
        let (location, _) = Location::unclaimed(directory)?;
        let file = TemporaryFile::new(location, None);
        file.complete();
        Ok(file)
    }

    /// Where the file is: the temporary path, or what it was kept as.
    pub fn path(&self) -> PathBuf {
        self.shared.path().to_path_buf()
    }

    /// Opens the file where it is, for reading and writing, closed on exec. A symbolic link
    /// that has taken its place is not followed. The engine itself has the file open only
    /// while it is being received.
    ///
    /// # Errors
    ///
    /// What open(2) said: somebody has removed it, or no descriptor is left.
    pub fn open(&self) -> io::Result<File> {
        self.with_path(|path| open_existing(CWD, path))
    }

    /// Has the file opened by its path, or whatever else is done so; and again where it is not there
    /// because a thread is just moving it to where it is to be kept.
    ///
    /// ```
    /// # let directory = std::env::temp_dir();
    /// let file = engine::TemporaryFile::create(&directory)?;
    /// let length = file.with_path(|path| Ok(std::fs::metadata(path)?.len()))?;
    /// assert_eq!(length, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `open` said.
    pub fn with_path<T>(&self, mut open: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
        for _ in 1..MOST_LOOKS {
            let was_persisted = self.is_persisted();
            let opened = open(self.shared.path());
            let is_absent =
                matches!(&opened, Err(error) if error.kind() == io::ErrorKind::NotFound);
            if !is_absent || was_persisted {
                return opened;
            }
            // In this order: whoever was saving it a moment ago has told where it is by now.
            if !self.shared.is_being_saved() && !self.is_persisted() {
                return opened;
            }
            thread::sleep(MOVING);
        }
        open(self.shared.path())
    }

    /// Bytes written by now.
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    /// Whether the file was kept.
    pub fn is_persisted(&self) -> bool {
        self.shared.persisted.get().is_some()
    }

    /// Keeps the file as `to`, replacing what is there. The first call moves it, across file
    /// systems too, and a later call copies it from where it is. The mode becomes what the
    /// process's umask leaves of 0666. This may block for long.
    ///
    /// ```
    /// # let directory = std::env::temp_dir().join(format!("persist-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let file = engine::TemporaryFile::create(&directory)?;
    /// file.persist(&directory.join("report.pdf"))?;
    /// drop(file);
    /// assert!(directory.join("report.pdf").exists());
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What rename(2), open(2), read(2), write(2) or close(2) said, or
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) before
    /// [`Event::FileReceived`](crate::Event::FileReceived), and in a process that was forked while
    /// another thread was in this. Nothing has changed then.
    pub fn persist(&self, to: &Path) -> io::Result<()> {
        self.ensure_complete()?;
        self.save(&Destination::now(to))
    }

    /// [`persist`](TemporaryFile::persist) with all of the process that counts for it as it is now,
    /// for a thread to call later.
    pub(crate) fn persist_later(
        &self,
        to: PathBuf,
        working_directory: &mut WorkingDirectory,
    ) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        self.ensure_complete()?;
        let to = Destination::later(to, working_directory)?;
        let file = self.clone();
        Ok(move || file.save(&to))
    }

    fn save(&self, to: &Destination) -> io::Result<()> {
        let shared = &self.shared;
        let _one_at_a_time = shared.lock_for_saving()?;
        if let Some(from) = shared.persisted.get() {
            return copy(from, to);
        }
        let moved = relocate(&shared.location.path, to)?;
        if moved == Moved::ByCopy && shared.is_own() {
            // The data is where it was wanted; a name that cannot be removed is no failure of that.
            shared.location.remove();
        }
        // Nobody else sets it meanwhile.
        shared.persisted.set(to.path.clone()).ok();
        Ok(())
    }

    fn ensure_complete(&self) -> io::Result<()> {
        match self.shared.complete.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "the file is still being received",
            )),
        }
    }

    /// A handle on a new file that is to be received. `removals`: where large files are removed
    /// instead of here.
    pub(super) fn new(location: Location, removals: Option<Removals>) -> TemporaryFile {
        TemporaryFile {
            shared: Arc::new(Shared {
                size: AtomicU64::new(0),
                complete: AtomicBool::new(false),
                location,
                persisted: OnceLock::new(),
                persisting: Mutex::new(()),
                creator: process::id(),
                removals,
            }),
        }
    }

    /// Nothing is written to it any more.
    pub(crate) fn complete(&self) {
        self.shared.complete.store(true, Ordering::Release);
    }

    /// The same for all handles of this file, and no other's while there is one.
    pub(super) fn key(&self) -> FileKey {
        FileKey(Arc::as_ptr(&self.shared).addr())
    }

    pub(super) fn grow(&self, length: u64) {
        self.shared.size.fetch_add(length, Ordering::AcqRel);
    }

    pub(super) fn downgrade(&self) -> WeakTemporaryFile {
        WeakTemporaryFile(Arc::downgrade(&self.shared))
    }
}

/// Tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileKey(usize);

/// Remembers a file without keeping it.
#[derive(Debug)]
pub(super) struct WeakTemporaryFile(Weak<Shared>);

impl WeakTemporaryFile {
    pub(super) fn is_live(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Removes the file although there are handles, because the process ends.
    pub(super) fn remove(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.unlink();
        }
    }
}

#[derive(Debug)]
struct Shared {
    size: AtomicU64,
    complete: AtomicBool,
    location: Location,
    /// What it was kept as. Nobody waits for this: a forked child may have it while a thread that it
    /// has not was about to set it.
    persisted: OnceLock<PathBuf>,
    /// Locked for as long as moving or copying takes.
    persisting: Mutex<()>,
    /// A forked child has this handle too, but the file is not the child's to remove.
    creator: u32,
    removals: Option<Removals>,
}

impl Shared {
    fn is_own(&self) -> bool {
        self.creator == process::id()
    }

    fn path(&self) -> &Path {
        self.persisted.get().unwrap_or(&self.location.path)
    }

    /// In a forked child nobody goes on with it.
    fn is_being_saved(&self) -> bool {
        let is_locked = || matches!(self.persisting.try_lock(), Err(TryLockError::WouldBlock));
        self.is_own() && is_locked()
    }

    /// A forked child does not wait: who had the lock when it was forked never lets go of it there.
    fn lock_for_saving(&self) -> io::Result<MutexGuard<'_, ()>> {
        if self.is_own() {
            let lock = self.persisting.lock();
            return Ok(lock.unwrap_or_else(PoisonError::into_inner));
        }
        match self.persisting.try_lock() {
            Ok(lock) => Ok(lock),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "the file was just being saved when this process was forked",
            )),
        }
    }

    fn unlink(&self) {
        if self.is_own() && self.persisted.get().is_none() {
            self.location.remove();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let size = *self.size.get_mut();
        let is_to_be_removed = self.is_own() && self.persisted.get().is_none();
        let handed_over = is_to_be_removed
            && self.removals.as_ref().is_some_and(|removals| {
                removals.accepts(size) && removals.push(self.location.clone())
            });
        if !handed_over {
            self.unlink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::sync::mpsc;

    /// As a child has it that is forked now.
    fn forked(file: TemporaryFile) -> TemporaryFile {
        let mut shared = Arc::into_inner(file.shared).unwrap();
        shared.creator += 1;
        TemporaryFile {
            shared: Arc::new(shared),
        }
    }

    #[test]
    fn a_forked_child_does_not_wait_for_a_thread_of_its_parent() {
        let here = tempfile::tempdir().unwrap();
        let file = forked(TemporaryFile::create(here.path()).unwrap());
        let (temporary, kept) = (file.path(), here.path().join("kept"));
        let (done, outcome) = mpsc::channel();
        let lock = file.shared.persisting.lock().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| done.send(file.persist(&kept)).unwrap());
            let outcome = outcome.recv_timeout(Duration::from_secs(60));
            drop(lock);
            let error = outcome.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        });
        assert_eq!((file.path(), file.is_persisted()), (temporary, false));
        file.persist(&kept).unwrap();
        assert_eq!(file.path(), kept);
    }

    #[test]
    fn a_forked_child_removes_no_file() {
        let here = tempfile::tempdir().unwrap();
        drop(forked(TemporaryFile::create(here.path()).unwrap()));
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }
    #[test]
    fn a_file_that_is_just_being_moved_is_opened_where_it_goes() {
        let here = tempfile::tempdir().unwrap();
        let file = TemporaryFile::create(here.path()).unwrap();
        let (moved, to) = (file.path(), here.path().join("kept"));
        let (has_looked, looked) = mpsc::channel();
        thread::scope(|scope| {
            // A thread that is held up between the two halves of a save.
            let saving = file.shared.lock_for_saving().unwrap();
            fs::rename(&moved, &to).unwrap();
            let opened = scope.spawn(|| {
                file.with_path(|path| {
                    has_looked.send(()).unwrap();
                    File::open(path)
                })
            });
            looked.recv().unwrap();
            file.shared.persisted.set(to.clone()).unwrap();
            drop(saving);
            assert!(opened.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_file_that_somebody_has_removed_is_not_waited_for() {
        let here = tempfile::tempdir().unwrap();
        let file = TemporaryFile::create(here.path()).unwrap();
        fs::remove_file(file.path()).unwrap();
        let mut looks = 0;
        let opened = file.with_path(|path| {
            looks += 1;
            File::open(path)
        });
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(looks, 1);
    }
}
