//! Removes the temporary files of processes that are dead.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};
use rustix::process::geteuid;

use super::byte_lock;
use super::location::UNSAVED;
use super::temporary_name;

/// Removes each file that this user has in the directory and whose owner is dead; returns how many
/// these were. The directory has to be opened for this alone: through the descriptor that has a
/// claim, the claim cannot be seen.
///
/// # Errors
///
/// What read(2) said. What cannot be removed stays, and is no error.
pub(super) fn sweep(directory: OwnedFd) -> io::Result<usize> {
    let mut directory = Dir::new(directory)?;
    let mut removed = 0;
    while let Some(entry) = directory.read() {
        let entry = entry?;
        if remove_if_dead(directory.fd()?, &entry).unwrap_or(false) {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_if_dead(directory: BorrowedFd<'_>, entry: &rustix::fs::DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let Some(owner) = temporary_name::owner(name.to_bytes()) else {
        return Ok(false);
    };
    let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_unsaved(&status) || byte_lock::is_held(directory, owner.offset())? {
        return Ok(false);
    }
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    Ok(true)
}

/// A file that was saved, under whatever name and umask, has the mark no more.
fn is_unsaved(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
        && status.st_uid == geteuid().as_raw()
        && Mode::from_raw_mode(status.st_mode).contains(UNSAVED)
}
