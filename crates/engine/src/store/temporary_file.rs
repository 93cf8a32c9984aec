//! A temporary file: private while it is received, gone when its last handle is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawMode, fchmod, fstat};

use super::location::{Location, UNSAVED, create_at};
use super::opened::{close, flush};
use super::writer_threads::Removals;
use crate::write_signals::to_file_without_signals;

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
        self.shared.place().path().to_path_buf()
    }

    /// Opens the file where it is, for reading and writing, closed on exec. A symbolic link
    /// that has taken its place is not followed. The engine itself has the file open only
    /// while it is being received.
    ///
    /// # Errors
    ///
    /// What open(2) said: somebody has removed it, or no descriptor is left.
    pub fn open(&self) -> io::Result<File> {
        open_existing(&self.path())
    }

    /// Bytes written by now.
    pub fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    /// Whether the file was kept.
    pub fn is_persisted(&self) -> bool {
        matches!(*self.shared.place(), Place::Persisted(_))
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
    /// What rename(2), open(2), read(2) or write(2) said, or
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) before
    /// [`Event::FileReceived`](crate::Event::FileReceived). Nothing has changed then.
    pub fn persist(&self, to: &Path) -> io::Result<()> {
        self.ensure_complete()?;
        let _one_at_a_time = self.shared.persisting.lock();
        let place = self.shared.place().clone();
        match place {
            Place::Temporary(from) => relocate(&from, to)?,
            Place::Persisted(from) => return copy(&from, to),
        }
        *self.shared.place() = Place::Persisted(to.to_path_buf());
        Ok(())
    }

    /// Whether [`persist`](TemporaryFile::persist) may be called by now.
    pub(crate) fn ensure_complete(&self) -> io::Result<()> {
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
                place: Mutex::new(Place::Temporary(location)),
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
    /// Locked for a moment only.
    place: Mutex<Place>,
    /// Locked for as long as moving or copying takes.
    persisting: Mutex<()>,
    /// A forked child has this handle too, but the file is not the child's to remove.
    creator: u32,
    removals: Option<Removals>,
}

#[derive(Clone, Debug)]
enum Place {
    Temporary(Location),
    Persisted(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Temporary(location) => &location.path,
            Place::Persisted(path) => path,
        }
    }
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlink(&self) {
        match &*self.place() {
            Place::Temporary(location) if self.creator == process::id() => location.remove(),
            _ => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.creator != process::id() {
            return;
        }
        let size = *self.size.get_mut();
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Place::Temporary(location) = place else {
            return;
        };
        let handed_over = self
            .removals
            .as_ref()
            .is_some_and(|removals| removals.accepts(size) && removals.push(location.clone()));
        if !handed_over {
            location.remove();
        }
    }
}

fn relocate(from: &Location, to: &Path) -> io::Result<()> {
    let file = open_existing(&from.path)?;
    let before = Mode::from_raw_mode(fstat(&file)?.st_mode);
    let saved = EVERYBODYS.difference(umask());
    // Until it is where it was wanted, the sweep has to know it for a file that was not saved.
    fchmod(&file, saved | before & UNSAVED)?;
    let Err(error) = fs::rename(&from.path, to) else {
        // Where it was wanted it is by now.
        fchmod(&file, saved).ok();
        return Ok(());
    };
    // Whether it has its mode again or not, the reason is what rename(2) said.
    fchmod(&file, before).ok();
    if error.kind() != io::ErrorKind::CrossesDevices {
        return Err(error);
    }
    copy(&from.path, to)?;
    // The data is where it was wanted; a name that cannot be removed is no failure of that.
    from.remove();
    Ok(())
}

/// Copies so that nobody sees half of a file, nor finds one if this process is killed meanwhile.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match create_unnamed(directory) {
        Ok(unnamed) => copy_by_link(from, unnamed, directory, to),
        // The next attempt tells what is the matter, if it is not the file system.
        Err(_) => copy_by_name(from, directory, to),
    }
}

/// The copy has no name until it is whole. What is there is replaced by way of a second name,
/// which stays if this process is killed just then.
fn copy_by_link(from: &Path, mut copy: File, directory: &Path, to: &Path) -> io::Result<()> {
    copy_content(from, &mut copy)?;
    flush(&copy)?;
    match link(&copy, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let beside = Location::beside(directory)?;
            link(&copy, &beside.path)?;
            fs::rename(&beside.path, to).inspect_err(|_| beside.remove())
        }
        // Without /proc there is no way to name it.
        Err(_) => copy_by_name(from, directory, to),
    }
}

/// For file systems that have no files without a name: half a copy stays beside the target if
/// this process is killed.
fn copy_by_name(from: &Path, directory: &Path, to: &Path) -> io::Result<()> {
    let beside = Location::beside(directory)?;
    let mut copy = create_at(&beside.path, EVERYBODYS)?;
    copy_content(from, &mut copy)
        .and_then(|()| close(copy))
        .and_then(|()| fs::rename(&beside.path, to))
        .inspect_err(|_| beside.remove())
}

/// `io::copy` panics where the system says in the middle that it cannot copy this way, as
/// sendfile(2) may: that is a failure like others here.
fn copy_content(from: &Path, to: &mut File) -> io::Result<()> {
    let mut source = File::open(from)?;
    to_file_without_signals(|| {
        panic::catch_unwind(AssertUnwindSafe(|| io::copy(&mut source, to)))
            .unwrap_or_else(|_| Err(io::Error::other("the system has ceased to copy")))
    })?;
    Ok(())
}

/// See open(2), `O_TMPFILE`, and link(2).
#[cfg(target_os = "linux")]
fn create_unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::open(directory, flags, EVERYBODYS));
    Ok(opened?.into())
}

#[cfg(not(target_os = "linux"))]
fn create_unnamed(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn link(file: &File, to: &Path) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(
        CWD,
        unnamed,
        CWD,
        to,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

#[expect(clippy::cast_possible_wrap, reason = "constants of the system")]
fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .open(path)
}

/// Of which the umask leaves what it does.
const EVERYBODYS: Mode = Mode::RUSR
    .union(Mode::WUSR)
    .union(Mode::RGRP)
    .union(Mode::WGRP)
    .union(Mode::ROTH)
    .union(Mode::WOTH);

/// The umask can be asked for only by setting it, which another thread might see; Linux tells
/// it in proc(5) as well.
fn umask() -> Mode {
    let from_proc = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
            RawMode::from_str_radix(line?.trim(), 8).ok()
        });
    from_proc.map(Mode::from_raw_mode).unwrap_or_else(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    type Copy = fn(&Path, &Path) -> io::Result<()>;

    /// As file systems have it that know files without names, and as others do.
    const WAYS: [(&str, Copy); 2] = [
        ("copy", copy),
        ("copy_by_name", |from, to| {
            copy_by_name(from, to.parent().unwrap(), to)
        }),
    ];

    fn names(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_copy_is_whole_and_leaves_nothing_beside_it() {
        for (way, copy) in WAYS {
            let here = tempfile::tempdir().unwrap();
            let from = here.path().join("from");
            fs::write(&from, "content").unwrap();
            let directory = here.path().join("to");
            fs::create_dir(&directory).unwrap();
            symlink("nowhere", directory.join("dangling")).unwrap();
            fs::write(directory.join("replaced"), "what was there").unwrap();
            for (count, name) in [(3, "new"), (3, "replaced"), (3, "dangling")] {
                let to = directory.join(name);
                copy(&from, &to).unwrap();
                assert_eq!(fs::read_to_string(&to).unwrap(), "content", "{way}: {name}");
                assert!(to.symlink_metadata().unwrap().is_file(), "{way}: {name}");
                assert_eq!(names(&directory), count, "{way}: {name}");
            }
        }
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing() {
        for (way, copy) in WAYS {
            let here = tempfile::tempdir().unwrap();
            let from = here.path().join("from");
            fs::write(&from, "content").unwrap();
            let directory = here.path().join("to");
            fs::create_dir(&directory).unwrap();
            copy(&here.path().join("no such file"), &directory.join("a")).unwrap_err();
            assert_eq!(names(&directory), 0, "{way}");
            copy(&from, &directory.join("no such directory/a")).unwrap_err();
            assert_eq!(names(&directory), 0, "{way}");
            fs::create_dir(directory.join("in the way")).unwrap();
            copy(&from, &directory.join("in the way")).unwrap_err();
            assert_eq!(names(&directory), 1, "{way}");
        }
    }
}
