//! Where a temporary file is: how it is created there, and removed.

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::claim::Claim;
use super::temporary_name;

/// What the sweep tells files by that were not saved: the sticky bit, which no umask takes away
/// and which for a file means nothing else on Linux, where claims are. Where a file system does
/// not keep it, no file is swept.
pub(super) const UNSAVED: Mode = Mode::SVTX;

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

const NEW_FILE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Where a temporary file is, and under whose protection.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// The directory as it was given, a slash, and the name.
    pub(super) path: PathBuf,
    claim: Option<Claimed>,
}

#[derive(Clone, Debug)]
struct Claimed {
    claim: Arc<Claim>,
    name: String,
}

impl Location {
    /// Creates a file for this user alone, marked as [`UNSAVED`], that no sweep takes while the
    /// claim lasts. `directory` is the path of the one that is claimed.
    pub(super) fn claimed(directory: &Path, claim: &Arc<Claim>) -> io::Result<(Location, File)> {
        let name = temporary_name::claimed(claim.tag)?;
        let mode = PRIVATE | UNSAVED;
        let file = claim.within(|directory| create_in(directory, Path::new(&name), mode))?;
        let location = Location {
            path: path_of(directory, &name),
            claim: Some(Claimed {
                claim: Arc::clone(claim),
                name,
            }),
        };
        Ok((location, file))
    }

    /// Creates a file for this user alone that no sweep ever takes.
    pub(super) fn unclaimed(directory: &Path) -> io::Result<(Location, File)> {
        let path = path_beside(directory)?;
        let file = create_in(CWD, &path, PRIVATE)?;
        Ok((Location { path, claim: None }, file))
    }

    /// Removes the file from where it was created. Somebody may have removed it before, or the
    /// directory.
    pub(super) fn remove(&self) {
        match &self.claim {
            Some(Claimed { claim, name }) => claim.remove_file(name),
            None => {
                fs::remove_file(&self.path).ok();
            }
        }
    }
}

/// A free place in the directory, that no sweep looks at.
pub(super) fn path_beside(directory: &Path) -> io::Result<PathBuf> {
    Ok(path_of(directory, &temporary_name::unclaimed()?))
}

/// Creates a file, unless there is something by that name. Where it is relative, the path begins in
/// the directory.
pub(super) fn create_in(directory: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<File> {
    let created = retry_on_intr(|| rustix::fs::openat(directory, path, NEW_FILE, mode));
    Ok(created?.into())
}

/// Opens what is there for reading and writing, unless it is a symbolic link. Paths likewise.
pub(super) fn open_existing(directory: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| rustix::fs::openat(directory, path, flags, Mode::empty()));
    Ok(opened?.into())
}

/// `Path::join` would leave out the slash behind one, and what callers see is exact.
fn path_of(directory: &Path, name: &str) -> PathBuf {
    let mut path = directory.as_os_str().to_owned();
    path.push("/");
    path.push(name);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_that_is_there_is_opened_or_followed() {
        let directory = tempfile::tempdir().unwrap();
        let [file, target, link] =
            ["file", "target", "link"].map(|name| directory.path().join(name));
        fs::write(&file, "others'").unwrap();
        symlink(&target, &link).unwrap();
        for path in [&file, &link] {
            let error = create_in(CWD, path, PRIVATE).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&file).unwrap(), b"others'");
        assert!(!target.exists());
    }
}
