//! A temporary file: private while it is received, gone when its last handle is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Mode, OFlags};

use super::writer_threads::Removals;

/// Characters in the name of a temporary file: 50 of 62 kinds are 297 bits of randomness.
const NAME_LENGTH: usize = 50;

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
    /// was given, `/`, and the name.
    ///
    /// # Errors
    ///
    /// What open(2) said.
    pub fn create(directory: &Path) -> io::Result<TemporaryFile> {
        let (file, _) = TemporaryFile::create_with(directory, None)?;
        file.complete();
        Ok(file)
    }

    /// Where the file is: the temporary path, or what it was kept as.
    pub fn path(&self) -> PathBuf {
        self.shared.place().path.clone()
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
        self.shared.place().persisted
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
        let (from, persisted) = {
            let place = self.shared.place();
            (place.path.clone(), place.persisted)
        };
        if persisted {
            return copy(&from, to);
        }
        relocate(&from, to)?;
        *self.shared.place() = Place {
            path: to.to_path_buf(),
            persisted: true,
        };
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

    /// Creates a file that is to be received, and opens it. `removals`: where large files are
    /// unlinked instead of here.
    pub(super) fn create_with(
        directory: &Path,
        removals: Option<Removals>,
    ) -> io::Result<(TemporaryFile, File)> {
        let path = random_path(directory)?;
        let opened = open_new(&path, 0o600)?;
        let place = Place {
            path,
            persisted: false,
        };
        let file = TemporaryFile {
            shared: Arc::new(Shared {
                size: AtomicU64::new(0),
                complete: AtomicBool::new(false),
                place: Mutex::new(place),
                persisting: Mutex::new(()),
                creator: process::id(),
                removals,
            }),
        };
        Ok((file, opened))
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

#[derive(Debug)]
struct Place {
    path: PathBuf,
    persisted: bool,
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlink(&self) {
        let place = self.place();
        if !place.persisted && self.creator == process::id() {
            // Somebody may have removed it before, or the directory.
            fs::remove_file(&place.path).ok();
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
        if place.persisted {
            return;
        }
        let handed_over = self
            .removals
            .as_ref()
            .is_some_and(|removals| removals.accepts(size) && removals.push(place.path.clone()));
        if !handed_over {
            fs::remove_file(&place.path).ok();
        }
    }
}

fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    let file = open_existing(from)?;
    file.set_permissions(final_permissions())?;
    let Err(error) = fs::rename(from, to) else {
        return Ok(());
    };
    file.set_permissions(Permissions::from_mode(0o600))?;
    if error.kind() != io::ErrorKind::CrossesDevices {
        return Err(error);
    }
    copy(from, to)?;
    // The data is where it was wanted; a name that cannot be removed is no failure of that.
    fs::remove_file(from).ok();
    Ok(())
}

/// Copies by way of a file beside the target, so that nobody sees half of it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = random_path(directory)?;
    let copied = copy_to_new(from, &beside).and_then(|()| fs::rename(&beside, to));
    if copied.is_err() {
        fs::remove_file(&beside).ok();
    }
    copied
}

fn copy_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = open_new(to, 0o666)?;
    io::copy(&mut source, &mut target)?;
    Ok(())
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .open(path)
}

fn open_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
        .mode(mode)
        .open(path)
}

fn random_path(directory: &Path) -> io::Result<PathBuf> {
    let mut path = directory.as_os_str().as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(&random_name()?);
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

fn random_name() -> io::Result<[u8; NAME_LENGTH]> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    /// Bytes from here on are thrown away, so that every character is as likely as the others.
    const FAIR: u8 = 248;

    let mut name = [0; NAME_LENGTH];
    let mut filled = 0;
    while filled < NAME_LENGTH {
        let mut random = [0; 64];
        getrandom::fill(&mut random)?;
        let fair = random.iter().filter(|byte| **byte < FAIR);
        for (place, byte) in name.iter_mut().skip(filled).zip(fair) {
            *place = ALPHABET[usize::from(*byte) % ALPHABET.len()];
            filled += 1;
        }
    }
    Ok(name)
}

fn final_permissions() -> Permissions {
    Permissions::from_mode(0o666 & !umask())
}

/// The umask can be asked for only by setting it, which another thread might see; Linux tells
/// it in proc(5) as well.
fn umask() -> u32 {
    let from_proc = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
            u32::from_str_radix(line?.trim(), 8).ok()
        });
    from_proc.unwrap_or_else(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.bits()
    })
}
