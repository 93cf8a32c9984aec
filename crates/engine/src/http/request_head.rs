//! The head of a request: request line and header lines (RFC 9112 §2 to §5).

use std::ops::Range;

use memchr::{memchr, memchr2};
use thiserror::Error;

use crate::limits::{Exceeded, Limits};

/// Why a request head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The head breaks the grammar.
    #[error("bad request: {0}")]
    BadRequest(#[from] Malformed),
    /// The head is larger than allowed.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// An HTTP version other than 1.0 and 1.1.
    #[error("the HTTP version is not supported")]
    VersionNotSupported,
    /// A transfer coding this server does not have.
    #[error("the transfer coding is not implemented")]
    NotImplemented,
}

impl HeadError {
    /// The status code of the answer: 400, 413, 414, 431, 501 or 505.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::BadRequest(_) => 400,
            HeadError::Exceeded(exceeded) => exceeded.status(),
            HeadError::NotImplemented => 501,
            HeadError::VersionNotSupported => 505,
        }
    }
}

/// What is wrong with a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not `method SP request-target SP HTTP-version` (RFC 9112 §3).
    #[error("malformed request line")]
    RequestLine,
    /// Not `field-name ":" field-value` (RFC 9112 §5): a folded line, a space before the colon, a
    /// control character, a bare CR.
    #[error("malformed header line")]
    HeaderLine,
    /// Not one unsigned 64-bit number (RFC 9110 §8.6).
    #[error("invalid Content-Length")]
    ContentLength,
    /// `Transfer-Encoding` in HTTP/1.0, or together with `Content-Length` (RFC 9112 §6.1).
    #[error("Transfer-Encoding where it may not be")]
    TransferEncoding,
}

/// What [`parse`] and [`HeadReader::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head is not complete yet; nothing is consumed.
    Partial,
    /// The head is complete.
    Complete {
        /// The head.
        head: RequestHead,
        /// Bytes of the input it took; the body begins behind them.
        consumed: usize,
    },
}

/// Parses a request head at the beginning of `input`.
///
/// For a head that arrives in pieces use a [`HeadReader`], which remembers how far it has looked.
///
/// ```
/// use engine::http::request_head::{Parsed, parse};
/// use engine::limits::Limits;
///
/// let parsed = parse(b"GET /a?b HTTP/1.1\r\nHost: c\r\n\r\n", &Limits::default())?;
/// let Parsed::Complete { head, consumed } = parsed else { panic!("the head is complete") };
/// assert_eq!((head.path(), head.query(), consumed), (&b"/a"[..], Some(&b"b"[..]), 30));
/// # Ok::<(), engine::http::request_head::HeadError>(())
/// ```
///
/// # Errors
///
/// As for [`HeadReader::read`].
pub fn parse(input: &[u8], limits: &Limits) -> Result<Parsed, HeadError> {
    HeadReader::default().read(input, limits)
}

/// Reads one request head that may arrive in pieces, in time linear to its size.
///
/// Lines end in CRLF; a bare LF is taken for one too (RFC 9112 §2.2). One empty line before the
/// request line is skipped (ibid.).
#[derive(Clone, Debug, Default)]
pub struct HeadReader {
    /// INVARIANT: no byte before this one needs to be looked at again to find the head's end.
    scanned: usize,
    /// Where the piece that is being read begins.
    piece_start: usize,
    expecting: Expecting,
    /// Where the request line begins: behind the empty line, if there is one.
    head_start: usize,
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    headers_start: usize,
    header_lines: usize,
}

impl HeadReader {
    /// Reads on. `input` begins with the same bytes as at the last call, with more behind them.
    ///
    /// After [`Parsed::Complete`] the reader is ready for the next head.
    ///
    /// # Errors
    ///
    /// As soon as it is known that the head is malformed or exceeds a limit, which may be before it
    /// is complete. The reader is of no use after that.
    pub fn read(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, HeadError> {
        while let Some(end) = self.find_piece_end(input) {
            let piece = self.piece_start..end;
            self.check_size(end + 1, limits)?;
            self.scanned = end + 1;
            self.piece_start = end + 1;
            if self.take_piece(input, piece, limits)? {
                let head = self.complete(input)?;
                let consumed = std::mem::take(self).scanned;
                return Ok(Parsed::Complete { head, consumed });
            }
        }
        self.scanned = input.len();
        self.check_size(input.len(), limits)?;
        let unfinished = input.get(self.piece_start..).unwrap_or_default();
        self.check_piece(without_carriage_return(unfinished), limits)?;
        Ok(Parsed::Partial)
    }

    fn find_piece_end(&self, input: &[u8]) -> Option<usize> {
        let rest = input.get(self.scanned..)?;
        let offset = match self.expecting {
            Expecting::Method | Expecting::Target => memchr2(b' ', b'\n', rest),
            Expecting::Version | Expecting::HeaderLine => memchr(b'\n', rest),
        }?;
        Some(self.scanned + offset)
    }

    fn check_size(&self, end: usize, limits: &Limits) -> Result<(), Exceeded> {
        if (end - self.head_start) as u64 > limits.header_size {
            return Err(Exceeded::HeaderSize);
        }
        Ok(())
    }

    fn check_piece(&self, piece: &[u8], limits: &Limits) -> Result<(), Exceeded> {
        let length = piece.len() as u64;
        match self.expecting {
            Expecting::Target if length > limits.uri => Err(Exceeded::Uri),
            Expecting::Target => Ok(()),
            _ if length > limits.header_line => Err(Exceeded::HeaderLine),
            _ => Ok(()),
        }
    }

    /// Takes what stands before a space or a line end; returns whether the head ends with it.
    fn take_piece(
        &mut self,
        input: &[u8],
        piece: Range<usize>,
        limits: &Limits,
    ) -> Result<bool, HeadError> {
        let delimiter = input.get(piece.end).copied();
        let bytes = input.get(piece.clone()).unwrap_or_default();
        let line = without_carriage_return(bytes);
        match self.expecting {
            Expecting::Method if delimiter == Some(b'\n') => {
                if !line.is_empty() || self.head_start > 0 {
                    return Err(Malformed::RequestLine.into());
                }
                self.head_start = self.scanned;
            }
            Expecting::Method => {
                self.check_piece(bytes, limits)?;
                if bytes.is_empty() || !bytes.iter().all(|&byte| is_token(byte)) {
                    return Err(Malformed::RequestLine.into());
                }
                self.method = piece;
                self.expecting = Expecting::Target;
            }
            Expecting::Target => {
                self.check_piece(line, limits)?;
                if delimiter == Some(b'\n')
                    || bytes.is_empty()
                    || !bytes.iter().all(|&byte| is_target(byte))
                {
                    return Err(Malformed::RequestLine.into());
                }
                self.target = piece;
                self.expecting = Expecting::Version;
            }
            Expecting::Version => {
                self.check_piece(line, limits)?;
                self.version = Version::parse(line)?;
                self.headers_start = self.scanned;
                self.expecting = Expecting::HeaderLine;
            }
            Expecting::HeaderLine if line.is_empty() => return Ok(true),
            Expecting::HeaderLine => {
                self.check_piece(line, limits)?;
                self.header_lines += 1;
                if self.header_lines as u64 > limits.headers {
                    return Err(Exceeded::Headers.into());
                }
            }
        }
        Ok(false)
    }

    fn complete(&self, input: &[u8]) -> Result<RequestHead, HeadError> {
        let bytes = input
            .get(self.head_start..self.scanned)
            .unwrap_or_default()
            .to_vec();
        let mut head = RequestHead {
            bytes,
            method: self.relative_to_head(&self.method),
            target: self.relative_to_head(&self.target),
            version: self.version,
            headers: Vec::with_capacity(self.header_lines),
        };
        let headers_start = self.headers_start - self.head_start;
        // Nearly every head has few lines; a large array costs more to fill than it saves.
        if self.header_lines <= FEW_HEADERS {
            let mut parsed = [httparse::EMPTY_HEADER; FEW_HEADERS];
            head.parse_headers(headers_start, &mut parsed)?;
        } else {
            let mut parsed = vec![httparse::EMPTY_HEADER; self.header_lines];
            head.parse_headers(headers_start, &mut parsed)?;
        }
        Ok(head)
    }

    fn relative_to_head(&self, range: &Range<usize>) -> Range<usize> {
        range.start - self.head_start..range.end - self.head_start
    }
}

const FEW_HEADERS: usize = 24;

/// What the bytes from `piece_start` on are.
#[derive(Clone, Copy, Debug, Default)]
enum Expecting {
    #[default]
    Method,
    Target,
    Version,
    HeaderLine,
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// ```notrust
/// tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
///       / DIGIT / ALPHA                                               ; RFC 9110 §5.6.2
/// ```
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// More than RFC 3986 allows: clients send raw text in some charset, which is for the application.
fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// The version in the request line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

impl Version {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }

    /// ```notrust
    /// HTTP-version = "HTTP" "/" DIGIT "." DIGIT                        ; RFC 9112 §2.3
    /// ```
    fn parse(piece: &[u8]) -> Result<Version, HeadError> {
        match piece {
            b"HTTP/1.0" => Ok(Version::Http10),
            b"HTTP/1.1" => Ok(Version::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(HeadError::VersionNotSupported)
            }
            _ => Err(Malformed::RequestLine.into()),
        }
    }
}

/// A complete request head: one copy of its bytes, and where everything is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// From the request line to the empty line.
    bytes: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    headers: Vec<HeaderRanges>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderRanges {
    name: Range<usize>,
    value: Range<usize>,
}

impl RequestHead {
    /// The method, as sent: `GET`.
    pub fn method(&self) -> &[u8] {
        self.slice(&self.method)
    }

    /// The request target, as sent: not decoded, of any of the forms of RFC 9112 §3.2.
    pub fn target(&self) -> &[u8] {
        self.slice(&self.target)
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The target up to its first `?`.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        target.split(|&byte| byte == b'?').next().unwrap_or(target)
    }

    /// Everything behind the target's first `?`; `None` if there is none.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        target.get(memchr(b'?', target)? + 1..)
    }

    /// Name and value of each header line in the order sent: the name in the case sent, the value
    /// without white space around it.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + DoubleEndedIterator {
        self.headers
            .iter()
            .map(|header| (self.slice(&header.name), self.slice(&header.value)))
    }

    /// The value of the last header line of this name, in whatever case (RFC 9110 §5.1).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .rfind(|(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The values of all header lines of this name, in the order sent.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers()
            .filter(move |(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of `Content-Type`.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.header("Content-Type")
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn parse_headers<'b>(
        &'b mut self,
        start: usize,
        parsed: &mut [httparse::Header<'b>],
    ) -> Result<(), HeadError> {
        let bytes = &self.bytes[..];
        let lines = bytes.get(start..).unwrap_or_default();
        let Ok(httparse::Status::Complete((consumed, headers))) =
            httparse::parse_headers(lines, parsed)
        else {
            return Err(Malformed::HeaderLine.into());
        };
        if consumed != lines.len() {
            return Err(Malformed::HeaderLine.into());
        }
        self.headers
            .extend(headers.iter().map(|header| HeaderRanges {
                name: range_within(bytes, header.name.as_bytes()),
                value: range_within(bytes, header.value),
            }));
        Ok(())
    }
}

/// Where `part`, a slice of `whole`, is in it.
fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    start..start.wrapping_add(part.len())
}
