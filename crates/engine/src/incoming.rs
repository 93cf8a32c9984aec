//! The body of a request on its way from the socket to its parser: freed of its transfer coding,
//! and told from what the client sent behind it.

use crate::http::body::Framing;
use crate::http::body_decoder::{BodyDecoder, take};
use crate::http::chunked::ChunkedError;
use crate::limits::{Exceeded, Limits};
use crate::memory;
use crate::store::chunk::Chunk;

/// What is received of a request's body.
#[derive(Debug, Default)]
pub(crate) struct IncomingBody {
    /// `None` while no body is being received.
    decoder: Option<BodyDecoder>,
    /// Why it can be read no further.
    failure: Option<ChunkedError>,
    /// The next request, as far as it was read along.
    behind: Chunk,
    /// Bytes that have come, and bytes of what frames them.
    data: u64,
    overhead: u64,
}

impl IncomingBody {
    /// Begins a body of which these bytes came along with the head. Returns what is of the body.
    pub(crate) fn begin(&mut self, framing: Framing, received: Chunk, limits: &Limits) -> Chunk {
        *self = IncomingBody {
            decoder: Some(BodyDecoder::new(framing)),
            ..IncomingBody::default()
        };
        if framing == Framing::Chunked {
            return self.decode(received, limits);
        }
        // Nothing stands between the bytes, so they stay where they are.
        let length = self.receive_plain(received.len());
        self.behind = received.part(length..received.len());
        // It may wait for long, and the read buffers are shared by all connections.
        self.behind.compact().ok();
        received.part(0..length)
    }

    /// Takes what was read into `space`: the bytes of the body are moved to its front, and their
    /// number returned. Without a body, it is left as it came.
    pub(crate) fn receive(&mut self, space: &mut [u8], limits: &Limits) -> usize {
        let Some(decoder) = &mut self.decoder else {
            return space.len();
        };
        match decoder.decode(space, limits) {
            Ok(decoded) => {
                self.data += decoded.body as u64;
                self.overhead += (decoded.consumed - decoded.body) as u64;
                let rest = space.get(decoded.consumed..).unwrap_or_default();
                if !rest.is_empty() {
                    let appended = self.behind.append(rest);
                    self.failure = appended.err().map(ChunkedError::Exceeded);
                }
                decoded.body
            }
            Err(error) => {
                self.failure = Some(error);
                0
            }
        }
    }

    /// Whether all of it was received.
    pub(crate) fn is_complete(&self) -> bool {
        self.decoder.as_ref().is_none_or(BodyDecoder::is_complete)
    }

    /// How many bytes of it may be to come, so that no more has to be read.
    pub(crate) fn most_left(&self) -> usize {
        match &self.decoder {
            Some(BodyDecoder::Length(left)) => usize::try_from(*left).unwrap_or(usize::MAX),
            Some(BodyDecoder::Chunked(_)) | None => usize::MAX,
        }
    }

    /// How many bytes of it are known to come.
    pub(crate) fn least_left(&self) -> u64 {
        self.decoder.as_ref().map_or(0, BodyDecoder::least_left)
    }

    /// Whether more of it has come, or more of what frames it.
    pub(crate) fn exceeds(&self, bytes: u64) -> bool {
        self.data.max(self.overhead) > bytes
    }

    pub(crate) fn take_failure(&mut self) -> Option<ChunkedError> {
        self.failure.take()
    }

    /// The body is of no interest any more. Returns what came behind it.
    pub(crate) fn end(&mut self) -> Chunk {
        std::mem::take(self).behind
    }

    /// Copies what it keeps of the read buffers.
    pub(crate) fn compact(&mut self) -> Result<(), Exceeded> {
        self.behind.compact()
    }

    /// How many of so many bytes are of a body that has no transfer coding.
    fn receive_plain(&mut self, length: usize) -> usize {
        match &mut self.decoder {
            Some(BodyDecoder::Length(left)) => {
                let taken = take(left, length);
                self.data += taken as u64;
                taken
            }
            _ => 0,
        }
    }

    fn decode(&mut self, received: Chunk, limits: &Limits) -> Chunk {
        let mut bytes = match memory::copy(received.bytes()) {
            Ok(bytes) => bytes,
            Err(exceeded) => {
                self.failure = Some(exceeded.into());
                return Chunk::default();
            }
        };
        let length = self.receive(&mut bytes, limits);
        bytes.truncate(length);
        Chunk::from(bytes)
    }
}
