//! The head of a request: request line and header lines (RFC 9112 §3 and §5).

use std::mem::MaybeUninit;

use memchr::memchr;
use thiserror::Error;

use super::authority::{self, is_host};
use super::characters::{is_text, is_token, is_white_space};
use crate::limits::{Exceeded, Limits};
use crate::memory;

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
    /// Of none of the forms that the method may have (RFC 9112 §3.2), or a URI without a host or
    /// with a user's name (RFC 9110 §4.2).
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
    pub(super) fn parse(piece: &[u8]) -> Result<Version, HeadError> {
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
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// INVARIANT: a head has at most [`LARGEST_HEAD`] bytes, so nothing is cut off here.
    #[expect(clippy::cast_possible_truncation, reason = "the invariant")]
    pub(super) fn new(start: usize, end: usize) -> Span {
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

/// What can be reached by the numbers of a [`Span`], with much to spare.
pub(super) const LARGEST_HEAD: u64 = 1 << 31;

/// Where the parts of a request line are.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
    /// Its bytes with its line end.
    pub(super) length: usize,
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
    pub(super) fn fill_at_once(&mut self, input: &[u8], limits: &Limits) -> Option<usize> {
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
        memory::append(&mut self.bytes, input.get(..consumed)?).ok()?;
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

    /// Fills it with these bytes, from the request line to the empty line.
    pub(super) fn fill(&mut self, bytes: &[u8], line: RequestLine) -> Result<(), HeadError> {
        self.clear();
        memory::append(&mut self.bytes, bytes)?;
        self.method = line.method;
        self.target = line.target;
        self.version = line.version;
        self.find_headers(line.length)?;
        Ok(self.check()?)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
    }

    /// Takes the header lines apart, which begin at `start` and end with the empty line.
    fn find_headers(&mut self, start: usize) -> Result<(), HeadError> {
        let lines = self.bytes.get(start..).unwrap_or_default();
        for line in lines.split(|&byte| byte == b'\n') {
            let line = without_carriage_return(line);
            if line.is_empty() {
                break;
            }
            let (name, value) = split_header_line(line).ok_or(Malformed::HeaderLine)?;
            memory::reserve(&mut self.headers, 1)?;
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

    /// ```text
    /// request-target = origin-form / absolute-form / authority-form / asterisk-form
    ///                                                                  ; RFC 9112 §3.2
    /// ```
    ///
    /// What else there is would be appended to a path by old applications, to name a file outside
    /// their directory. Of what the forms are made of, much is left to the application.
    fn check_target(&self) -> Result<(), Malformed> {
        let target = self.target();
        let is_valid = match self.method() {
            b"CONNECT" => authority::is_authority_form(target),
            b"OPTIONS" if target == b"*" => true,
            _ => target.starts_with(b"/") || authority::is_absolute_form(target),
        };
        is_valid.then_some(()).ok_or(Malformed::Target)
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

/// A line whose line feed is gone already.
pub(super) fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
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
    use super::super::head_reader::{Parsed, parse};
    use super::*;

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
        assert_eq!(
            split("http://a?b"),
            (b"http://a".to_vec(), Some(b"b".to_vec()))
        );
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
