//! A descriptor that the application has brought, for output alone.

use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use engine::{Engine, RequestId};

use super::script::Script;

/// One such descriptor, whose other end is read from.
pub(super) struct Adopted {
    id: RequestId,
    reader: UnixStream,
    written: Vec<u8>,
    received: Vec<u8>,
    finished: bool,
}

impl Adopted {
    pub(super) fn new(engine: &mut Engine) -> Adopted {
        let (reader, writer) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        Adopted {
            id: engine.adopt(OwnedFd::from(writer)).unwrap(),
            reader,
            written: Vec::new(),
            received: Vec::new(),
            finished: false,
        }
    }

    /// Returns its handle where this has finished it.
    pub(super) fn act(&mut self, engine: &mut Engine, script: &mut Script) -> Option<RequestId> {
        match script.below(6) {
            0 => return self.finish(engine),
            1 if script.once_in(4) => engine.drop_request(self.id),
            2 => engine.flush_output(self.id),
            3 => drop(self.receive()),
            _ => {
                let data = vec![script.byte(); script.size()];
                if engine.write(self.id, &data) {
                    self.written.extend(data);
                }
            }
        }
        None
    }

    /// Returns its handle where this has finished it.
    pub(super) fn finish(&mut self, engine: &mut Engine) -> Option<RequestId> {
        let was_open = engine.is_open(self.id);
        self.finished |= was_open;
        engine.finish(self.id);
        was_open.then_some(self.id)
    }

    /// Returns whether there was anything to be read.
    pub(super) fn receive(&mut self) -> bool {
        let mut space = vec![0; 1 << 16];
        match self.reader.read(&mut space) {
            Ok(length) => {
                self.received.extend_from_slice(&space[..length]);
                length > 0
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    /// What was written arrives as it is.
    pub(super) fn check(&self) {
        assert!(self.written.starts_with(&self.received));
        assert!(!self.finished || self.received.len() == self.written.len());
    }
}
