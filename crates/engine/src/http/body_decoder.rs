//! The bytes of a request's body, told from what frames them (RFC 9112 §6).

use super::body::Framing;
use super::chunked::{ChunkedDecoder, ChunkedError, Decoded};
use crate::limits::Limits;

/// Reads a body that comes in pieces, whatever its framing.
///
/// ```
/// use engine::http::body::Framing;
/// use engine::http::body_decoder::BodyDecoder;
/// use engine::limits::Limits;
///
/// let mut decoder = BodyDecoder::new(Framing::Length(5));
/// let mut input = *b"helloGET";
/// let decoded = decoder.decode(&mut input, &Limits::default())?;
/// assert_eq!((decoded.body, decoded.consumed), (5, 5));
/// assert!(decoder.is_complete());
/// # Ok::<(), engine::http::chunked::ChunkedError>(())
/// ```
#[derive(Debug)]
pub enum BodyDecoder {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunks, up to the last one and its trailer section.
    Chunked(ChunkedDecoder),
}

impl BodyDecoder {
    /// For a body that is framed so.
    pub fn new(framing: Framing) -> BodyDecoder {
        match framing {
            Framing::None => BodyDecoder::Length(0),
            Framing::Length(length) => BodyDecoder::Length(length),
            Framing::Chunked => BodyDecoder::Chunked(ChunkedDecoder::default()),
        }
    }

    /// Moves the bytes of the body to the front of `input`, and tells how many they are and where
    /// what is behind the body begins.
    ///
    /// # Errors
    ///
    /// Chunks that are malformed or exceed a limit. The decoder is of no use after that.
    pub fn decode(&mut self, input: &mut [u8], limits: &Limits) -> Result<Decoded, ChunkedError> {
        match self {
            BodyDecoder::Length(left) => {
                let body = take(left, input.len());
                Ok(Decoded {
                    body,
                    consumed: body,
                })
            }
            BodyDecoder::Chunked(decoder) => decoder.decode(input, limits),
        }
    }

    /// How many bytes of the body are known to come.
    pub fn least_left(&self) -> u64 {
        match self {
            BodyDecoder::Length(left) => *left,
            BodyDecoder::Chunked(decoder) => decoder.least_left(),
        }
    }

    /// Whether all of the body was received.
    pub fn is_complete(&self) -> bool {
        match self {
            BodyDecoder::Length(left) => *left == 0,
            BodyDecoder::Chunked(decoder) => decoder.is_complete(),
        }
    }
}

/// How many of so many bytes are of a body with this many left, which are then less.
pub(crate) fn take(left: &mut u64, length: usize) -> usize {
    let taken = usize::try_from(*left).map_or(length, |left| left.min(length));
    *left -= taken as u64;
    taken
}
