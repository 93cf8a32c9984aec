//! What a file is written through, and how that is closed. A file system that keeps for a time what
//! is written to it (NFS, CIFS, many of FUSE) may say as late as then that it has no room for that.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::write_signals::to_file_without_signals;

/// A file that is open for those who write to it. The last of them to let go of it closes it.
#[derive(Clone, Debug)]
pub(super) struct Opened(Arc<File>);

impl Opened {
    pub(super) fn new(file: File) -> Opened {
        Opened(Arc::new(file))
    }

    /// Writes all of the bytes or fails.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        to_file_without_signals(|| self.0.write_all_at(bytes, offset))
    }

    /// Fails if it closes the file and that fails. Who has it dropped does not care for its data.
    pub(super) fn let_go(self) -> io::Result<()> {
        Arc::into_inner(self.0).map_or(Ok(()), close)
    }

    /// Nothing, if somebody else has it still, who will let go of it later.
    pub(super) fn into_last(self) -> Option<Opened> {
        Arc::into_inner(self.0).map(Opened::new)
    }
}

/// Fails if something that was written to the file may be lost.
///
/// The descriptor is gone in any case, so this is not tried again; see close(2). That is so also
/// where a signal has interrupted it, and then nobody says what became of the data: it counts as
/// lost.
pub(super) fn close(file: impl Into<OwnedFd>) -> io::Result<()> {
    Ok(nix::unistd::close(file.into())?)
}

/// What [`close`] would say, and the file stays open: file systems see to what was written whenever
/// somebody closes the file, whoever else has it.
pub(super) fn flush(file: &File) -> io::Result<()> {
    close(rustix::io::fcntl_dupfd_cloexec(file, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::io::Errno;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn the_last_who_lets_go_closes() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let is_closed = || match rustix::io::read(&reader, &mut [0; 1]) {
            Ok(0) => true,
            Err(Errno::AGAIN) => false,
            other => panic!("unexpected {other:?}"),
        };
        let first = Opened::new(writer.into());
        let (second, third) = (first.clone(), first.clone());
        first.let_go().unwrap();
        assert!(second.into_last().is_none());
        let last = third.into_last().unwrap();
        assert!(!is_closed());
        last.let_go().unwrap();
        assert!(is_closed());
    }

    #[test]
    fn what_is_flushed_stays_open() {
        let mut file = tempfile::tempfile().unwrap();
        flush(&file).unwrap();
        io::Write::write_all(&mut file, b"more").unwrap();
        close(file).unwrap();
    }
}
