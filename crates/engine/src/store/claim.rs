//! A process's claim on the files it has in a directory: as long as it lives, no sweep takes them.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::byte_lock;
use super::temporary_name::Tag;

/// Which directory it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the directory that is there now.
    pub(super) fn at(path: &Path) -> io::Result<Identity> {
        Ok(Identity::of(&fs::metadata(path)?))
    }

    fn of(metadata: &fs::Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A lock in a directory, and names of files that lead to it.
///
/// Files are created and removed through the descriptor that has the lock: they are where they
/// are protected, whatever becomes of the directory's path.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) identity: Identity,
    /// In the names of its files.
    pub(super) tag: Tag,
    /// Nothing, once a forked child has let go of its parent's claim.
    directory: RwLock<Option<OwnedFd>>,
    /// Files that the system would not have removed: a directory may be read-only for a time.
    unremoved: Mutex<Vec<String>>,
}

impl Claim {
    /// # Errors
    ///
    /// The directory cannot be read, or its file system has no locks that everybody sees.
    pub(super) fn take(path: &Path) -> io::Result<Claim> {
        let opened = retry_on_intr(|| rustix::fs::open(path, A_DIRECTORY, Mode::empty()));
        let directory = File::from(opened?);
        let identity = Identity::of(&directory.metadata()?);
        let tag = Tag::random()?;
        byte_lock::hold(directory.as_fd(), tag.offset())?;
        Ok(Claim {
            identity,
            tag,
            directory: RwLock::new(Some(directory.into())),
            unremoved: Mutex::default(),
        })
    }

    /// The directory, opened anew: through this, the claim is another's.
    pub(super) fn reopen(&self) -> io::Result<OwnedFd> {
        self.within(|directory| {
            Ok(rustix::fs::openat(
                directory,
                c".",
                A_DIRECTORY,
                Mode::empty(),
            )?)
        })
    }

    /// In a forked child: ends its part in the claim. The parent's lasts as long as the parent.
    pub(super) fn let_go(&self) {
        // A thread of the parent may have been using it, and will never be through with it here:
        // then it lasts as long as this process.
        if let Ok(mut directory) = self.directory.try_write() {
            directory.take();
        }
    }

    /// Removes the file, and those that could not be removed before; or else notes it for the next
    /// time.
    pub(super) fn remove_file(&self, name: &str) {
        match self.unlink(name) {
            Ok(()) => self.remove_unremoved(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => self.unremoved().push(name.to_owned()),
        }
    }

    /// Tries again what could not be removed, up to the first that still cannot. Another comes
    /// first the next time.
    pub(super) fn remove_unremoved(&self) {
        let mut names = mem::take(&mut *self.unremoved());
        while let Some(name) = names.pop() {
            let removed = self.unlink(&name);
            if removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                names.insert(0, name);
                break;
            }
        }
        self.unremoved().append(&mut names);
    }

    fn unremoved(&self) -> MutexGuard<'_, Vec<String>> {
        let unremoved = self.unremoved.lock();
        unremoved.unwrap_or_else(PoisonError::into_inner)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.within(|directory| Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?))
    }

    /// Has something done in the directory, wherever it is by now.
    pub(super) fn within<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match &*directory {
            Some(directory) => act(directory.as_fd()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

const A_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
