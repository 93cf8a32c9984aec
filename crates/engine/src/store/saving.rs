//! Saving a file: by another name, or by a copy where that is on another file system.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawMode, fchmod, fstat};
use rustix::io::{Errno, retry_on_intr};

use super::location::{UNSAVED, create_in, open_existing, path_beside};
use super::opened::{close, flush};
use crate::write_signals::to_file_without_signals;

/// Where a file is to be saved, and with which mode.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) path: PathBuf,
    /// Where paths begin that are relative, if not in the working directory.
    base: Option<Arc<OwnedFd>>,
    mode: Mode,
}

impl Destination {
    /// For a file that is saved at once.
    pub(super) fn now(path: &Path) -> Destination {
        Destination {
            path: path.to_path_buf(),
            base: None,
            mode: usual_mode(),
        }
    }

    /// For one that is saved when the process may have another umask and another working directory.
    pub(super) fn later(
        path: PathBuf,
        working_directory: &mut WorkingDirectory,
    ) -> io::Result<Destination> {
        let base = match working_directory.current() {
            Ok(current) => Some(current),
            // A server may well be in a directory that is not for its user, and call none by it.
            Err(_) if path.is_absolute() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Destination {
            path,
            base,
            mode: usual_mode(),
        })
    }

    fn base(&self) -> BorrowedFd<'_> {
        self.base.as_ref().map_or(CWD, AsFd::as_fd)
    }

    /// The directory that it is in.
    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

/// The working directory, opened: its path may lead through others that are not for this user. Those
/// who have the same share a descriptor.
#[derive(Debug, Default)]
pub(crate) struct WorkingDirectory(Weak<OwnedFd>);

impl WorkingDirectory {
    fn current(&mut self) -> rustix::io::Result<Arc<OwnedFd>> {
        let known = self.0.upgrade();
        if let Some(known) = known.filter(|known| is_current(known)) {
            return Ok(known);
        }
        let opened = retry_on_intr(|| rustix::fs::open(c".", A_PLACE, Mode::empty()))?;
        let opened = Arc::new(opened);
        self.0 = Arc::downgrade(&opened);
        Ok(opened)
    }
}

fn is_current(directory: &OwnedFd) -> bool {
    let (Ok(known), Ok(current)) = (fstat(directory), rustix::fs::stat(c".")) else {
        return false;
    };
    (known.st_dev, known.st_ino) == (current.st_dev, current.st_ino)
}

#[cfg(target_os = "linux")]
const A_PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[cfg(not(target_os = "linux"))]
const A_PLACE: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// How a file came to where it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    ByRename,
    /// It is where it was as well.
    ByCopy,
}

pub(super) fn relocate(from: &Path, to: &Destination) -> io::Result<Moved> {
    let file = open_existing(to.base(), from)?;
    let before = Mode::from_raw_mode(fstat(&file)?.st_mode);
    // Until it is where it was wanted, the sweep has to know it for a file that was not saved.
    let marked = fchmod(&file, to.mode | before & UNSAVED);
    if before.intersects(UNSAVED) {
        marked?;
    }
    // Else no sweep looks for it, and where there are no modes (on FAT) it has to do without.
    let Err(error) = rustix::fs::renameat(to.base(), from, to.base(), &to.path) else {
        // Where it was wanted it is by now.
        fchmod(&file, to.mode).ok();
        return Ok(Moved::ByRename);
    };
    // Whether it has its mode again or not, the reason is what rename(2) said.
    fchmod(&file, before).ok();
    drop(file);
    if error != Errno::XDEV {
        return Err(error.into());
    }
    copy(from, to)?;
    Ok(Moved::ByCopy)
}

/// Copies so that nobody sees half of a file, nor finds one if this process is killed meanwhile.
pub(super) fn copy(from: &Path, to: &Destination) -> io::Result<()> {
    match create_unnamed(to) {
        Ok(unnamed) => copy_by_link(from, unnamed, to),
        // The next attempt tells what is the matter, if it is not the file system.
        Err(_) => copy_by_name(from, to),
    }
}

/// The copy has no name until it is whole. What is there is replaced by way of a second name,
/// which stays if this process is killed just then.
fn copy_by_link(from: &Path, mut copy: File, to: &Destination) -> io::Result<()> {
    copy_content(from, &mut copy, to)?;
    flush(&copy)?;
    match link(&copy, to, &to.path) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let beside = path_beside(to.directory())?;
            link(&copy, to, &beside)?;
            replace(to, &beside)
        }
        // Without /proc there is no way to name it.
        Err(_) => copy_by_name(from, to),
    }
}

/// For file systems that have no files without a name: half a copy stays beside the target if
/// this process is killed.
fn copy_by_name(from: &Path, to: &Destination) -> io::Result<()> {
    let beside = path_beside(to.directory())?;
    let mut copy = create_in(to.base(), &beside, to.mode)?;
    copy_content(from, &mut copy, to)
        .and_then(|()| close(copy))
        .inspect_err(|_| remove(to, &beside))?;
    replace(to, &beside)
}

/// Has the file beside the destination take its place.
fn replace(to: &Destination, beside: &Path) -> io::Result<()> {
    rustix::fs::renameat(to.base(), beside, to.base(), &to.path)
        .inspect_err(|_| remove(to, beside))?;
    Ok(())
}

fn remove(to: &Destination, beside: &Path) {
    rustix::fs::unlinkat(to.base(), beside, AtFlags::empty()).ok();
}

/// `io::copy` panics where the system says in the middle that it cannot copy this way, as
/// sendfile(2) may: that is a failure like others here.
fn copy_content(from: &Path, copy: &mut File, to: &Destination) -> io::Result<()> {
    let source = retry_on_intr(|| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(to.base(), from, flags, Mode::empty())
    });
    let mut source = File::from(source?);
    to_file_without_signals(|| {
        panic::catch_unwind(AssertUnwindSafe(|| io::copy(&mut source, copy)))
            .unwrap_or_else(|_| Err(io::Error::other("the system has ceased to copy")))
    })?;
    widen(copy, to.mode);
    Ok(())
}

/// The file was created under the umask of now, which may take more than that of the call did. A copy
/// for fewer than were meant is no reason to have none.
fn widen(copy: &File, mode: Mode) {
    let Ok(status) = fstat(copy) else { return };
    let missing = mode.difference(Mode::from_raw_mode(status.st_mode));
    // What a list of access rights of the directory has taken is taken.
    if missing.intersects(umask()) {
        fchmod(copy, mode).ok();
    }
}

/// See open(2), `O_TMPFILE`, and link(2).
#[cfg(target_os = "linux")]
fn create_unnamed(to: &Destination) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let created = retry_on_intr(|| rustix::fs::openat(to.base(), to.directory(), flags, to.mode));
    Ok(created?.into())
}

#[cfg(not(target_os = "linux"))]
fn create_unnamed(_: &Destination) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn link(file: &File, to: &Destination, name: &Path) -> rustix::io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, to.base(), name, AtFlags::SYMLINK_FOLLOW)
}

/// What the umask leaves to everybody.
fn usual_mode() -> Mode {
    EVERYBODYS.difference(umask())
}

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

    use std::os::unix::fs::{PermissionsExt, symlink};

    type Copy = fn(&Path, &Destination) -> io::Result<()>;

    /// As file systems have it that know files without names, and as others do.
    const WAYS: [(&str, Copy); 2] = [("copy", copy), ("copy_by_name", copy_by_name)];

    fn to(path: &Path) -> Destination {
        Destination::now(path)
    }

    fn mode_of(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

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
                copy(&from, &Destination::now(&to)).unwrap();
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
            copy(&here.path().join("no such file"), &to(&directory.join("a"))).unwrap_err();
            assert_eq!(names(&directory), 0, "{way}");
            copy(&from, &to(&directory.join("no such directory/a"))).unwrap_err();
            assert_eq!(names(&directory), 0, "{way}");
            fs::create_dir(directory.join("in the way")).unwrap();
            copy(&from, &to(&directory.join("in the way"))).unwrap_err();
            assert_eq!(names(&directory), 1, "{way}");
        }
    }

    #[test]
    fn a_copy_has_the_mode_that_was_asked_for_whatever_the_umask_is_by_now() {
        for (way, copy) in WAYS {
            let here = tempfile::tempdir().unwrap();
            let from = here.path().join("from");
            fs::write(&from, "content").unwrap();
            for mode in [0o600, 0o640, 0o666] {
                let path = here.path().join(format!("{mode:o}"));
                let destination = Destination {
                    mode: Mode::from_raw_mode(mode),
                    ..to(&path)
                };
                copy(&from, &destination).unwrap();
                assert_eq!(mode_of(&path), mode, "{way}");
            }
        }
    }

    #[test]
    fn those_in_the_same_working_directory_share_it() {
        let mut working_directory = WorkingDirectory::default();
        let first = working_directory.current().unwrap();
        let second = working_directory.current().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(is_current(&first));
        let elsewhere = tempfile::tempdir().unwrap();
        let other = rustix::fs::open(elsewhere.path(), A_PLACE, Mode::empty()).unwrap();
        assert!(!is_current(&other));
    }
}
