//! Perl handles on descriptors, and descriptors that Perl code names by number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use perl_sys::{self as sys, Operation, Work};

use crate::border::operate;
use crate::{Error, Perl, Result, Scalar};

/// What a handle is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

/// A new anonymous handle on a descriptor, as a reference to a glob; it closes the descriptor when it is closed or freed.
///
/// It has no layers but perl's default ones. With a `package` (`IO::Handle`, `IO::Socket::INET`) it is an object.
///
/// ```no_run
/// # use perl_xs::{Perl, Result, Scalar, handle::{self, Mode}};
/// # fn example(perl: Perl) -> Result<Scalar> {
/// let file = std::fs::File::open("/etc/hostname")?;
/// handle::open(perl, file.into(), Mode::Read, Some("IO::Handle"))
/// # }
/// ```
pub fn open(perl: Perl, descriptor: OwnedFd, mode: Mode, package: Option<&str>) -> Result<Scalar> {
    let package = package.map(|package| Scalar::from_text(perl, package));
    let work = open_work(&descriptor, mode);
    let work = Work {
        other: package.as_ref().map_or(null_mut(), Scalar::raw),
        ..work
    };
    finish_open(perl, descriptor, work)
}

/// Opens the handle in a glob, or in what a reference to one refers to, on a descriptor, as
/// `open(*FH, "+<&=", $descriptor)` does: what was open there is closed. Those of STDIN, STDOUT and STDERR keep their
/// number, and get a duplicate.
pub fn open_onto(glob: &Scalar, descriptor: OwnedFd, mode: Mode) -> Result<()> {
    let work = Work {
        sv: glob.raw(),
        ..open_work(&descriptor, mode)
    };
    finish_open(glob.perl(), descriptor, work).map(drop)
}

/// Pushes bytes back into a handle: they are read next, before what comes from the descriptor. `sysread` does not see them
/// (perlapio: `PerlIO_unread`).
pub fn unread(handle: &Scalar, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let work = Work {
        bytes: bytes.as_ptr().cast(),
        length: bytes.len(),
        ..Work::default()
    };
    handle.operate(Operation::Unread, work).map(drop)
}

/// Takes what is open under a number that Perl code hands over, and closes the number, with which Perl code then reaches
/// nothing of ours. The new one has `FD_CLOEXEC` (dup(2), close(2)).
///
/// Only numbers that come from Perl code belong here: it may close any, as `POSIX::close` does, and that is what is done in
/// its name. A number that an [`OwnedFd`] has would be closed under it. If it fails, the number is as it was.
///
/// ```
/// # use std::os::fd::IntoRawFd;
/// use perl_xs::handle;
///
/// let number = std::fs::File::open("/dev/null")?.into_raw_fd();
/// let _file = std::fs::File::from(handle::move_descriptor(number)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn move_descriptor(descriptor: RawFd) -> io::Result<OwnedFd> {
    let moved = duplicate(descriptor)?;
    drop(take_descriptor(descriptor)?);
    Ok(moved)
}

/// Takes over a descriptor that Perl code hands over as a bare number, and keeps the number; fails if none of that number
/// is open.
///
/// Here Perl code has to keep its word: if it goes on using the number, or closes it, it does so to whatever is open under
/// it. Where the number itself does not matter, [`move_descriptor`] asks for less. As there, a number that an [`OwnedFd`]
/// has does not belong here.
pub fn take_descriptor(descriptor: RawFd) -> io::Result<OwnedFd> {
    check_open(descriptor)?;
    // SAFETY: it is open. Whether Perl code owns it is for Perl code to know; handing it over says so.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Duplicates a descriptor that Perl code names by number, with `FD_CLOEXEC` (dup(2), fcntl(2)).
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    check_open(descriptor)?;
    // SAFETY: open, and nothing closes it before this function returns.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

fn check_open(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: only asks the system.
    match unsafe { sys::perl_shim_descriptor_is_open(descriptor) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn open_work(descriptor: &OwnedFd, mode: Mode) -> Work {
    let mode: &'static str = match mode {
        Mode::Read => "<&=",
        Mode::Write => ">&=",
        Mode::ReadWrite => "+<&=",
    };
    Work {
        bytes: mode.as_ptr().cast(),
        length: mode.len(),
        integer: i64::from(descriptor.as_raw_fd()),
        ..Work::default()
    }
}

/// Opens, and gives the descriptor to the handle if it has become the handle's.
fn finish_open(perl: Perl, descriptor: OwnedFd, work: Work) -> Result<Scalar> {
    let work = operate(perl, Operation::Open, work)?;
    // SAFETY: an owned reference, or null.
    let handle = unsafe { Scalar::from_owned_or_null(perl, work.result) };
    let handle =
        handle.ok_or_else(|| Error::from(io::Error::from_raw_os_error(work.number as i32)))?;
    if work.flag != 0 {
        let _owned_by_the_handle = descriptor.into_raw_fd();
    }
    Ok(handle)
}
