//! The head of a request: request line and header lines (RFC 9112 §2 to §5).

use std::mem::MaybeUninit;

use memchr::{memchr, memchr2};
use thiserror::Error;

use super::authority::{self, is_host};
use super::characters::{is_target, is_text, is_token, is_white_space};
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
    /// A URI without a host or with a user's name (RFC 9110 §4.2), or for `CONNECT` not a host with
    /// a port (RFC 9112 §3.2.3).
    #[error("invalid request target")]
    Target,
    /// Not `field-name ":" field-value` (RFC 9112 §5): a folded line, a space before the colon, a
    /// control character, a bare CR.
    #[error("malformed header line")]
    HeaderLine,
    /// None in HTTP/1.1, more than one, or not a host with or without a port (RFC 9112 §3.2).
    #[error("missing or invalid Host")]
    Host,
    /// Not one unsigned 64-bit number (RFC 9110 §8.6).
    #[error("invalid Content-Length")]
    ContentLength,
    /// `Transfer-Encoding` in HTTP/1.0 or together with `Content-Length` (RFC 9112 §6.1), or one
    /// that does not end with a single `chunked` (RFC 9112 §6.3).
    #[error("invalid Transfer-Encoding, or one where it may not be")]
    TransferEncoding,
}

/// What [`parse`] found.
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
    let mut head = RequestHead::default();
    Ok(
        match HeadReader::default().read(&mut head, input, limits)? {
            Some(consumed) => Parsed::Complete { head, consumed },
            None => Parsed::Partial,
        },
    )
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
    method: Span,
    target: Span,
    version: Version,
    headers_start: usize,
    header_lines: u64,
}

impl HeadReader {
    /// Reads on. `input` begins with the same bytes as at the last call, with more behind them.
    /// Returns how many of them the head took, once it is complete; the body begins behind them.
    ///
    /// `head` is filled then, whatever it held before: one that has had room enough for another
    /// needs no allocation. The reader is ready for the next head.
    ///
    /// # Errors
    ///
    /// As soon as it is known that the head is malformed or exceeds a limit, which may be before it
    /// is complete. The reader is of no use after that, and what `head` holds is of no meaning.
    pub fn read(
        &mut self,
        head: &mut RequestHead,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, HeadError> {
        if self.scanned == 0 {
            if let Some(consumed) = head.fill_at_once(input, limits) {
                return Ok(Some(consumed));
            }
        }
        while let Some(end) = self.find_piece_end(input) {
            let piece = self.piece_start..end;
            self.check_size(end + 1, limits)?;
            self.scanned = end + 1;
            self.piece_start = end + 1;
            if self.take_piece(input, piece, limits)? {
                self.fill(head, input)?;
                return Ok(Some(std::mem::take(self).scanned));
            }
        }
        self.scanned = input.len();
        self.check_size(input.len(), limits)?;
        let unfinished = input.get(self.piece_start..).unwrap_or_default();
        self.check_piece(without_carriage_return(unfinished), limits)?;
        Ok(None)
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
        if (end - self.head_start) as u64 > limits.header_size.min(LARGEST_HEAD) {
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
        piece: std::ops::Range<usize>,
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
                self.method = self.span_in_head(piece);
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
                self.target = self.span_in_head(piece);
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
                if self.header_lines > limits.headers {
                    return Err(Exceeded::Headers.into());
                }
            }
        }
        Ok(false)
    }

    fn fill(&self, head: &mut RequestHead, input: &[u8]) -> Result<(), HeadError> {
        head.clear();
        let bytes = input.get(self.head_start..self.scanned);
        head.bytes.extend_from_slice(bytes.unwrap_or_default());
        head.method = self.method;
        head.target = self.target;
        head.version = self.version;
        head.find_headers(self.headers_start - self.head_start)?;
        Ok(head.check()?)
    }

    fn span_in_head(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(range.start - self.head_start, range.end - self.head_start)
    }
}

/// What can be reached by the numbers of a [`Span`], with much to spare.
const LARGEST_HEAD: u64 = 1 << 31;

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

    /// ```text
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// From the request line to the empty line.
    bytes: Vec<u8>,
    method: Span,
    target: Span,
    version: Version,
    headers: Vec<HeaderSpans>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderSpans {
    name: Span,
    value: Span,
}

/// Where a part of the head is in its bytes: half the size of a range, since there is one for
/// each name and each value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// INVARIANT: a head has at most [`LARGEST_HEAD`] bytes, so nothing is cut off here.
    fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where `part`, a slice of `whole`, is in it.
    fn within(whole: &[u8], part: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Span::new(start, start.wrapping_add(part.len()))
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let range = self.start as usize..self.end as usize;
        bytes.get(range).unwrap_or_default()
    }
}

impl RequestHead {
    /// The method, as sent: `GET`.
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.bytes)
    }

    /// The request target, as sent: not decoded, of any of the forms of RFC 9112 §3.2.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.bytes)
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

    /// The host the request is for, with its port if one was sent: what a target that is a whole
    /// URI says, or the target of `CONNECT`, even where `Host` differs (RFC 9112 §3.2.2), otherwise
    /// `Host`, which may be empty. `None`: in HTTP/1.0, without any of these.
    pub fn authority(&self) -> Option<&[u8]> {
        if self.method() == b"CONNECT" {
            return Some(self.target());
        }
        authority::of_absolute_form(self.target()).or_else(|| self.header("Host"))
    }

    /// Name and value of each header line in the order sent: the name in the case sent, the value
    /// without white space around it.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + DoubleEndedIterator {
        self.headers
            .iter()
            .map(|header| (header.name.of(&self.bytes), header.value.of(&self.bytes)))
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

    /// Bytes of memory it has, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.headers.capacity() * size_of::<HeaderSpans>()
    }

    /// Fills it with a head that is all there, well-formed, and so small that no limit can be
    /// exceeded, and returns how many bytes it took. `None` if it is anything else, which is for
    /// closer looks.
    fn fill_at_once(&mut self, input: &[u8], limits: &Limits) -> Option<usize> {
        let mut headers = [const { MaybeUninit::uninit() }; FEW_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(input, &mut headers);
        let Ok(httparse::Status::Complete(consumed)) = status else {
            return None;
        };
        let (method, target) = (request.method?.as_bytes(), request.path?.as_bytes());
        let may_exceed = consumed as u64
            > limits.header_line.min(limits.header_size).min(LARGEST_HEAD)
            || target.len() as u64 > limits.uri
            || request.headers.len() as u64 > limits.headers;
        if may_exceed {
            return None;
        }
        self.clear();
        self.bytes.extend_from_slice(input.get(..consumed)?);
        self.method = Span::within(input, method);
        self.target = Span::within(input, target);
        self.version = match request.version? {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        self.headers
            .extend(request.headers.iter().map(|header| HeaderSpans {
                name: Span::within(input, header.name.as_bytes()),
                value: Span::within(input, header.value),
            }));
        let begins_with_method = self.method.start == 0;
        (begins_with_method && self.check().is_ok()).then_some(consumed)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
    }

    /// Takes the header lines apart, which begin at `start` and end with the empty line.
    fn find_headers(&mut self, start: usize) -> Result<(), Malformed> {
        let lines = self.bytes.get(start..).unwrap_or_default();
        for line in lines.split(|&byte| byte == b'\n') {
            let line = without_carriage_return(line);
            if line.is_empty() {
                break;
            }
            let (name, value) = split_header_line(line).ok_or(Malformed::HeaderLine)?;
            self.headers.push(HeaderSpans {
                name: Span::within(&self.bytes, name),
                value: Span::within(&self.bytes, value),
            });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Malformed> {
        self.check_target()?;
        self.check_host()
    }

    /// Targets that are of none of the forms of RFC 9112 §3.2 are left to the application; but if
    /// one says whom the request is for, that has to be clear.
    fn check_target(&self) -> Result<(), Malformed> {
        let target = self.target();
        let is_clear = match authority::of_absolute_form(target) {
            _ if self.method() == b"CONNECT" => authority::is_authority_form(target),
            Some(authority) => authority::is_server(authority),
            None => true,
        };
        is_clear.then_some(()).ok_or(Malformed::Target)
    }

    /// Servers before or behind this one might take another for the host that is meant.
    fn check_host(&self) -> Result<(), Malformed> {
        let mut hosts = self.header_values("Host");
        match (hosts.next(), hosts.next()) {
            (None, _) if self.version == Version::Http10 => Ok(()),
            (Some(host), None) if is_host(host) => Ok(()),
            _ => Err(Malformed::Host),
        }
    }
}

/// Nearly every head has no more header lines.
const FEW_HEADERS: usize = 64;

/// ```text
/// field-line  = field-name ":" OWS field-value OWS                     ; RFC 9112 §5
/// field-name  = token                                                  ; RFC 9110 §5.1
/// field-value = *( HTAB / SP / VCHAR / obs-text )                      ; RFC 9110 §5.5, in short
/// ```
fn split_header_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    let value = trim_white_space(value.get(1..)?);
    let is_valid = !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value.iter().all(|&byte| is_text(byte));
    is_valid.then_some((name, value))
}

fn trim_white_space(value: &[u8]) -> &[u8] {
    let is_solid = |&byte: &u8| !is_white_space(byte);
    let start = value.iter().position(is_solid).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(is_solid)
        .map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a head was found to be (method, target, version and headers), and the bytes it took.
    type Read = Result<Option<(String, usize)>, HeadError>;

    /// Reads what has come each time another piece has.
    fn read(input: &[u8], ends: impl IntoIterator<Item = usize>, limits: &Limits) -> Read {
        let mut reader = HeadReader::default();
        let mut head = RequestHead::default();
        for end in ends {
            if let Some(consumed) = reader.read(&mut head, &input[..end], limits)? {
                return Ok(Some((describe(&head), consumed)));
            }
        }
        Ok(None)
    }

    fn describe(head: &RequestHead) -> String {
        let mut line = format!(
            "{} {} {}",
            head.method().escape_ascii(),
            head.target().escape_ascii(),
            head.version().as_str()
        );
        for (name, value) in head.headers() {
            line += &format!(" [{}|{}]", name.escape_ascii(), value.escape_ascii());
        }
        line
    }

    /// However the input is cut, the same comes of it.
    fn assert_read(input: &[u8], limits: &Limits, expected: &Read) {
        let length = input.len();
        assert_eq!(&read(input, [length], limits), expected, "whole");
        assert_eq!(&read(input, 0..=length, limits), expected, "byte by byte");
        for cut in 0..length {
            assert_eq!(
                &read(input, [cut, length], limits),
                expected,
                "cut at {cut}"
            );
        }
    }

    fn complete(line: &str, consumed: usize) -> Read {
        Ok(Some((line.into(), consumed)))
    }

    fn malformed(malformed: Malformed) -> Read {
        Err(malformed.into())
    }

    fn exceeded(exceeded: Exceeded) -> Read {
        Err(exceeded.into())
    }

    const SMALL: Limits = Limits {
        uri: 8,
        header_line: 10,
        header_size: 50,
        headers: 3,
        urlencoded_fields: 0,
        cookies: 0,
        field_name: 0,
        file_name: 0,
        field_value: 0,
        parts: 0,
        urlencoded_body: 0,
        file_size: 0,
        files: 0,
        body_size: 0,
        chunk_line: 0,
    };

    macro_rules! heads {
        ($($name:ident: $input:expr, $limits:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                assert_read($input, &$limits, &$expected);
            }
        )*};
    }

    heads! {
        no_headers: b"GET / HTTP/1.0\r\n\r\n", Limits::default() => complete("GET / HTTP/1.0", 18);
        version_1_0: b"GET / HTTP/1.0\r\n\r\n", Limits::default() => complete("GET / HTTP/1.0", 18);
        version_1_1: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.1 [Host|a]", 27);
        headers_in_order: b"POST /a?b HTTP/1.0\r\nA: 1\r\nb:2\r\nA:  3 \t\r\n\r\nbody", Limits::default()
            => complete("POST /a?b HTTP/1.0 [A|1] [b|2] [A|3]", 42);
        colons_in_a_value: b"GET / HTTP/1.0\r\nA: b: c:d\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b: c:d]", 29);
        one_character_name: b"GET / HTTP/1.0\r\nA: b\r\nC: d\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b] [C|d]", 30);
        empty_value: b"GET / HTTP/1.0\r\nA:\r\nB: \r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|] [B|]", 27);
        bytes_in_a_value: b"GET / HTTP/1.0\r\nA: \xff\xe0\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|\\xff\\xe0]", 25);
        bytes_in_the_target: b"GET /\xff?\xe0 HTTP/1.0\r\n\r\n", Limits::default()
            => complete("GET /\\xff?\\xe0 HTTP/1.0", 21);
        absolute_target: b"GET http://a/b#c HTTP/1.0\r\n\r\n", Limits::default()
            => complete("GET http://a/b#c HTTP/1.0", 29);
        own_method: b"M-SEARCH * HTTP/1.0\r\n\r\n", Limits::default()
            => complete("M-SEARCH * HTTP/1.0", 23);
        line_feeds_alone: b"GET / HTTP/1.0\nA: b\n\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b]", 21);
        one_leading_empty_line: b"\r\nGET / HTTP/1.0\r\nA: b\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b]", 26);
        nothing_yet: b"", Limits::default() => Ok(None);
        part_of_the_request_line: b"GET /", Limits::default() => Ok(None);
        no_empty_line_yet: b"GET / HTTP/1.1\r\nA: b\r\n\r", Limits::default() => Ok(None);

        two_leading_empty_lines: b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        no_target: b"GET\r\n\r\n", Limits::default() => malformed(Malformed::RequestLine);
        no_version: b"GET /\r\n\r\n", Limits::default() => malformed(Malformed::RequestLine);
        empty_target: b"GET  HTTP/1.1\r\n\r\n", Limits::default() => malformed(Malformed::RequestLine);
        empty_method: b" / HTTP/1.1\r\n\r\n", Limits::default() => malformed(Malformed::RequestLine);
        method_no_token: b"G(T / HTTP/1.1\r\n\r\n", Limits::default() => malformed(Malformed::RequestLine);
        space_in_the_target: b"GET /a b HTTP/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        control_in_the_target: b"GET /\x01 HTTP/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        tab_for_space: b"GET\t/\tHTTP/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        space_behind_the_version: b"GET / HTTP/1.1 \r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        lower_case_version: b"GET / http/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        bad_request_line_before_the_end: b"GET / FTP/1.1\r\n", Limits::default()
            => malformed(Malformed::RequestLine);
        version_2: b"GET / HTTP/2.0\r\n\r\n", Limits::default() => Err(HeadError::VersionNotSupported);
        version_1_2: b"GET / HTTP/1.2\r\n\r\n", Limits::default() => Err(HeadError::VersionNotSupported);

        folded_line: b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        space_before_the_first_header: b"GET / HTTP/1.1\r\n A: b\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        space_before_the_colon: b"GET / HTTP/1.1\r\nA : b\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        space_in_a_name: b"GET / HTTP/1.1\r\nA B: b\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        no_colon: b"GET / HTTP/1.1\r\nA\r\n\r\n", Limits::default() => malformed(Malformed::HeaderLine);
        empty_name: b"GET / HTTP/1.1\r\n: b\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        bare_carriage_return: b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        two_carriage_returns: b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        nul_in_a_value: b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);
        delete_in_a_value: b"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", Limits::default()
            => malformed(Malformed::HeaderLine);

        connect: b"CONNECT a:443 HTTP/1.0\r\n\r\n", Limits::default()
            => complete("CONNECT a:443 HTTP/1.0", 26);
        connect_to_an_address: b"CONNECT [::1]:443 HTTP/1.0\r\n\r\n", Limits::default()
            => complete("CONNECT [::1]:443 HTTP/1.0", 30);
        connect_to_a_path: b"CONNECT / HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        connect_to_a_uri: b"CONNECT http://a:80/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        connect_without_port: b"CONNECT a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        connect_to_an_empty_port: b"CONNECT a: HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        connect_to_no_host: b"CONNECT :443 HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_in_any_case: b"GET hTTps://a:1?b HTTP/1.0\r\n\r\n", Limits::default()
            => complete("GET hTTps://a:1?b HTTP/1.0", 30);
        uri_of_another_scheme: b"GET ftp:///a HTTP/1.0\r\n\r\n", Limits::default()
            => complete("GET ftp:///a HTTP/1.0", 25);
        uri_without_host: b"GET http:///a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_with_port_only: b"GET http://:80/a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_with_user: b"GET http://b@a/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_with_bad_port: b"GET http://a:b/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_without_host_header: b"GET http://a/ HTTP/1.1\r\n\r\n", Limits::default()
            => malformed(Malformed::Host);
        empty_host: b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.1 [Host|]", 25);

        no_host: b"GET / HTTP/1.1\r\n\r\n", Limits::default() => malformed(Malformed::Host);
        two_hosts: b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Limits::default()
            => malformed(Malformed::Host);
        two_hosts_in_1_0: b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Limits::default()
            => malformed(Malformed::Host);
        invalid_host: b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Limits::default()
            => malformed(Malformed::Host);

        all_at_their_limits: b"GET /2345678 HTTP/1.0\r\nA: 4567890\r\nB: \r\nC: 456\r\n\r\n", SMALL
            => complete("GET /2345678 HTTP/1.0 [A|4567890] [B|] [C|456]", 50);
        target_too_long: b"GET /23456789 HTTP/1.1\r\n\r\n", SMALL => exceeded(Exceeded::Uri);
        target_too_long_already: b"GET /23456789", SMALL => exceeded(Exceeded::Uri);
        target_just_short_enough: b"GET /2345678", SMALL => Ok(None);
        method_too_long: b"ABCDEFGHIJK / HTTP/1.1\r\n\r\n", SMALL => exceeded(Exceeded::HeaderLine);
        method_too_long_already: b"ABCDEFGHIJK", SMALL => exceeded(Exceeded::HeaderLine);
        version_too_long_already: b"GET / HTTP/1.1HTTP", SMALL => exceeded(Exceeded::HeaderLine);
        line_too_long: b"GET / HTTP/1.1\r\nA: 45678901\r\n\r\n", SMALL
            => exceeded(Exceeded::HeaderLine);
        line_too_long_already: b"GET / HTTP/1.1\r\nA: 45678901", SMALL
            => exceeded(Exceeded::HeaderLine);
        line_just_short_enough: b"GET / HTTP/1.1\r\nA: 4567890\r", SMALL => Ok(None);
        too_many_headers: b"GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\nD:\r\n", SMALL
            => exceeded(Exceeded::Headers);
        head_too_large: b"GET /2345678 HTTP/1.1\r\nA: 4567890\r\nB: \r\nC: 4567\r\n\r\n", SMALL
            => exceeded(Exceeded::HeaderSize);
        head_too_large_already: b"GET /2345678 HTTP/1.1\r\nA: 4567890\r\nB: 4567890\r\nC: 4", SMALL
            => exceeded(Exceeded::HeaderSize);
    }

    /// What is judged by several bytes at a time must not depend on where they stand.
    #[test]
    fn each_byte_is_judged_alike_at_every_place() {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_target = |byte: u8| byte > b' ' && byte != 0x7f;
        let is_text = |byte: u8| is_target(byte) || byte == b' ' || byte == b'\t';
        let places = [
            ("GET /", "z HTTP/1.0\r\nA: b\r\n\r\n", b' '),
            ("GET / HTTP/1.0\r\nA", "z: b\r\n\r\n", b':'),
            ("GET / HTTP/1.0\r\nA: b", "z\r\n\r\n", b'\n'),
        ];
        for (before, behind, delimiter) in places {
            for (byte, width) in (0..=255).flat_map(|byte| (0..70).map(move |width| (byte, width)))
            {
                let is_allowed = match delimiter {
                    _ if byte == delimiter => continue,
                    b' ' => is_target(byte),
                    b':' => is_token(byte),
                    _ => is_text(byte),
                };
                let filling = "x".repeat(width);
                let input = [
                    before.as_bytes(),
                    filling.as_bytes(),
                    &[byte],
                    behind.as_bytes(),
                ];
                let input = input.concat();
                for ends in [vec![input.len()], vec![1, input.len()]] {
                    let outcome = read(&input, ends, &Limits::default());
                    assert_eq!(outcome.is_ok(), is_allowed, "{}", input.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn a_head_is_filled_anew() {
        let limits = Limits::default();
        let mut filled = RequestHead::default();
        for input in [
            "POST /long?query HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /\u{e4} HTTP/1.0\r\nA: b\r\n\r\n",
        ] {
            let consumed = HeadReader::default().read(&mut filled, input.as_bytes(), &limits);
            assert_eq!(consumed, Ok(Some(input.len())));
            assert_eq!(filled, head(input));
        }
    }

    #[test]
    fn more_headers_than_few_are_read() {
        let mut input = b"GET / HTTP/1.0\r\n".to_vec();
        for number in 0..100 {
            input.extend(format!("X-{number}: {number}\r\n").bytes());
        }
        input.extend(b"\r\n");
        let Ok(Parsed::Complete { head, .. }) = parse(&input, &Limits::default()) else {
            panic!("the head is complete")
        };
        assert_eq!(head.headers().len(), 100);
        assert_eq!(head.header("x-99"), Some(&b"99"[..]));
    }

    #[test]
    fn one_reader_reads_head_after_head() {
        let mut reader = HeadReader::default();
        let mut head = RequestHead::default();
        for (target, cut) in [("/a", 0), ("/b", 7), ("/c", 0)] {
            let input = format!("GET {target} HTTP/1.0\r\n\r\n");
            let limits = Limits::default();
            assert_eq!(
                reader.read(&mut head, &input.as_bytes()[..cut], &limits),
                Ok(None)
            );
            let consumed = reader.read(&mut head, input.as_bytes(), &limits);
            assert_eq!(
                (head.target(), consumed),
                (target.as_bytes(), Ok(Some(input.len())))
            );
        }
    }

    fn head(input: &str) -> RequestHead {
        match parse(input.as_bytes(), &Limits::default()) {
            Ok(Parsed::Complete { head, .. }) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_query_is_everything_behind_the_first_question_mark() {
        let split = |target: &str| {
            let head = head(&format!("GET {target} HTTP/1.0\r\n\r\n"));
            (head.path().to_vec(), head.query().map(<[u8]>::to_vec))
        };
        assert_eq!(split("/a"), (b"/a".to_vec(), None));
        assert_eq!(split("/a?"), (b"/a".to_vec(), Some(vec![])));
        assert_eq!(split("/a?b?c"), (b"/a".to_vec(), Some(b"b?c".to_vec())));
        assert_eq!(split("?b"), (vec![], Some(b"b".to_vec())));
    }

    #[test]
    fn the_authority_is_what_the_target_says_or_the_host() {
        for (line, authority) in [
            ("GET / HTTP/1.1\r\nHost: a:1", Some("a:1")),
            ("GET /http://b/ HTTP/1.1\r\nHost: a", Some("a")),
            ("GET http://b HTTP/1.1\r\nHost: a", Some("b")),
            ("GET HTTPS://b:2?c HTTP/1.1\r\nHost: a", Some("b:2")),
            ("GET http://b#c HTTP/1.1\r\nHost: a", Some("b")),
            ("GET http://[::1]:2/c HTTP/1.0", Some("[::1]:2")),
            ("GET ftp://b/ HTTP/1.1\r\nHost: a", Some("a")),
            ("CONNECT b:2 HTTP/1.1\r\nHost: a", Some("b:2")),
            ("OPTIONS * HTTP/1.1\r\nHost: a", Some("a")),
            ("OPTIONS * HTTP/1.1\r\nHost:", Some("")),
            ("GET / HTTP/1.0\r\nA: b", None),
        ] {
            let head = head(&format!("{line}\r\n\r\n"));
            assert_eq!(head.authority(), authority.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_last_one_wins() {
        let head = head("GET / HTTP/1.0\r\nA: 1\r\na: 2\r\nContent-TYPE: t\r\n\r\n");
        assert_eq!(head.header("A"), Some(&b"2"[..]));
        assert_eq!(head.header_values("a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.header("B"), None);
        assert_eq!(head.content_type(), Some(&b"t"[..]));
    }

    #[test]
    fn each_status_is_the_one_of_the_fault() {
        let statuses = [
            (HeadError::BadRequest(Malformed::HeaderLine), 400),
            (HeadError::Exceeded(Exceeded::Uri), 414),
            (HeadError::NotImplemented, 501),
            (HeadError::VersionNotSupported, 505),
        ];
        for (error, status) in statuses {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
