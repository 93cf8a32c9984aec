//! Writes that fail and would raise a signal besides, which ends a process that does not expect it:
//! here they only fail.

use std::io;

use nix::sys::signal::{self, SigSet, SigmaskHow, Signal};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Writes to a descriptor of whatever kind. The signals are blocked meanwhile, in this thread alone,
/// and one that was raised is taken off its list of pending ones.
pub(crate) fn without_signals<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGPIPE);
    blocked.add(Signal::SIGXFSZ);
    let Ok(mask) = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return write();
    };
    let written = write();
    let raised = written.as_ref().err().and_then(raised_with);
    // Whoever has blocked it before sees to it himself.
    if let Some(raised) = raised.filter(|raised| !mask.contains(*raised)) {
        take_pending(raised);
    }
    // A mask that was in force can be put back.
    mask.thread_set_mask().ok();
    written
}

/// Writes to files alone. What they raise comes of a limit on their size (`RLIMIT_FSIZE`, see
/// setrlimit(2)), which few processes have, and which may be set at any time.
pub(crate) fn to_file_without_signals<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match getrlimit(Resource::Fsize).current {
        Some(_) => without_signals(write),
        None => write(),
    }
}

/// The signal that a write which fails so has raised: write(2) has no flag against it.
fn raised_with(error: &io::Error) -> Option<Signal> {
    match Errno::from_io_error(error)? {
        Errno::PIPE => Some(Signal::SIGPIPE),
        Errno::FBIG => Some(Signal::SIGXFSZ),
        _ => None,
    }
}

/// Waiting takes one, and needs no descriptor as signalfd(2) would. It finds one in any case: raised
/// while it is blocked, it becomes pending, also where the process ignores it, and is pending once.
fn take_pending(raised: Signal) {
    let mut waited_for = SigSet::empty();
    waited_for.add(raised);
    if signal::raise(raised).is_ok() {
        waited_for.wait().ok();
    }
}
