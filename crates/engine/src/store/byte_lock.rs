//! Locks on single bytes of a directory, which tell other processes who is alive: the system
//! lets go of them however a process ends.
//!
//! A lock belongs to the open file description (see fcntl(2), `F_OFD_SETLK`), so it ends when
//! the last descriptor of that is closed, and it is not in the way of locks that are taken
//! through the same description.

use std::io;
use std::os::fd::BorrowedFd;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use linux::{hold, is_held};
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(super) use none::{hold, is_held};

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux {
    use super::*;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    /// File systems that only this machine has mounted, so that whoever can reach a directory
    /// knows of its locks. On others, such as NFS, the locks on a directory are this machine's,
    /// and nothing says so. See statfs(2).
    const LOCAL_FILE_SYSTEMS: [u32; 11] = [
        0xef53,      // ext2, ext3, ext4
        0x0102_1994, // tmpfs
        0x8584_58f6, // ramfs
        0x5846_5342, // XFS
        0x9123_683e, // Btrfs
        0x794c_7630, // overlayfs
        0xf2f5_2010, // F2FS
        0x2fc1_2fc1, // ZFS
        0xca45_1a4e, // bcachefs
        0x3153_464a, // JFS
        0x5265_4973, // ReiserFS
    ];

    /// Locks the byte until the last descriptor of this directory is closed.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a file system without such locks.
    pub(in super::super) fn hold(directory: BorrowedFd<'_>, byte: u64) -> io::Result<()> {
        ensure_local(directory)?;
        // A directory cannot be opened for writing, as a lock for writing would need.
        let lock = byte_of(byte, libc::F_RDLCK)?;
        match fcntl(directory, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(()),
            // Locks for reading are never in each other's way, so there are none.
            Err(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the byte is locked through another description of the directory.
    #[expect(clippy::cast_possible_truncation, reason = "a constant of the system")]
    pub(in super::super) fn is_held(directory: BorrowedFd<'_>, byte: u64) -> io::Result<bool> {
        ensure_local(directory)?;
        let mut lock = byte_of(byte, libc::F_WRLCK)?;
        fcntl(directory, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers of file systems have 32 bits"
    )]
    fn ensure_local(directory: BorrowedFd<'_>) -> io::Result<()> {
        let kind = rustix::fs::fstatfs(directory)?.f_type as u32;
        match LOCAL_FILE_SYSTEMS.contains(&kind) {
            true => Ok(()),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "constants of the system")]
    fn byte_of(byte: u64, kind: libc::c_int) -> io::Result<libc::flock> {
        let start = byte.try_into().map_err(io::Error::other)?;
        Ok(libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: start,
            l_len: 1,
            l_pid: 0,
        })
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod none {
    use super::*;

    pub(in super::super) fn hold(_: BorrowedFd<'_>, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn is_held(_: BorrowedFd<'_>, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
