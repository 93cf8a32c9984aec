//! The heads of requests (RFC 9112 §2 to §5), and how the bodies behind them are framed (§6).

use std::net::Ipv6Addr;

use engine::http::body::Framing;
use engine::http::head_reader::{HeadReader, Parsed, parse};
use engine::http::request_head::{HeadError, RequestHead, Version};
use engine::limits::Limits;

use crate::input::{Input, pieces, single_bytes};

/// Checks the readers of heads with what a fuzzer gives.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = limits(&mut input);
    let cuts = input.cuts();
    let bytes = input.rest();
    let whole = parse(bytes, &limits);
    let expected = read_naively(bytes, &limits);
    match &whole {
        Ok(Parsed::Complete { head, consumed }) => {
            let expected = expected.expect("a head that should not be accepted");
            assert_eq!(*consumed, expected.consumed);
            check_head(head, &expected, &limits);
        }
        other => assert_eq!(expected, None, "{other:?}"),
    }
    check_same(&read(&pieces(bytes, &cuts), &limits), &whole);
    check_same(&read(&single_bytes(bytes), &limits), &whole);
}

fn limits(input: &mut Input) -> Limits {
    let default = Limits::default();
    match input.below(4) {
        0 => Limits {
            uri: input.below(16),
            header_line: input.below(32),
            header_size: input.below(128),
            headers: input.below(4),
            body_size: input.below(20),
            ..default
        },
        _ => default,
    }
}

/// Has a head read that comes in these pieces.
///
/// # Errors
///
/// The reader's.
pub fn read(pieces: &[&[u8]], limits: &Limits) -> Result<Parsed, HeadError> {
    let mut reader = HeadReader::default();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut head = RequestHead::default();
        if let Some(consumed) = reader.read(&mut head, &input, limits)? {
            return Ok(Parsed::Complete { head, consumed });
        }
    }
    Ok(Parsed::Partial)
}

/// Of several faults, a head in pieces may show one sooner that is a limit.
fn check_same(one: &Result<Parsed, HeadError>, other: &Result<Parsed, HeadError>) {
    let is_limit = |read: &Result<Parsed, HeadError>| matches!(read, Err(HeadError::Exceeded(_)));
    if is_limit(one) || is_limit(other) {
        assert!(one.is_err() && other.is_err(), "{one:?} {other:?}");
    } else {
        assert_eq!(one, other);
    }
}

fn check_head(head: &RequestHead, expected: &NaiveHead, limits: &Limits) {
    assert_eq!(head.method(), expected.method);
    assert_eq!(head.target(), expected.target);
    assert_eq!(head.version(), expected.version);
    assert_eq!(head.headers().collect::<Vec<_>>(), expected.headers);
    assert_eq!(head.authority(), expected.authority());
    let target = [
        head.path(),
        head.query().map_or(b"", |_| b"?"),
        head.query().unwrap_or(b""),
    ];
    assert_eq!(target.concat(), expected.target);
    assert!(!head.path().contains(&b'?'));
    for (name, _) in &expected.headers {
        let name = String::from_utf8(name.to_ascii_uppercase()).unwrap();
        let values: Vec<_> = expected.values(&name);
        assert_eq!(head.header_values(&name).collect::<Vec<_>>(), values);
        assert_eq!(head.header(&name), values.last().copied());
    }
    assert_eq!(Framing::of(head, limits).ok(), expected.framing(limits));
}

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
pub struct NaiveHead<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: Version,
    headers: Vec<(&'a [u8], &'a [u8])>,
    /// Bytes it took.
    pub(crate) consumed: usize,
}

/// Reads a head that is all there; `None` if it is not, or is malformed, or exceeds a limit.
pub fn read_naively<'a>(input: &'a [u8], limits: &Limits) -> Option<NaiveHead<'a>> {
    let (first, behind) = split_line(input)?;
    let (start, (line, mut rest)) = match first {
        [] => (behind, split_line(behind)?),
        _ => (input, (first, behind)),
    };
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let (line, behind) = split_line(rest)?;
        rest = behind;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        headers.push((&line[..colon], trim(&line[colon + 1..])));
        if line.len() as u64 > limits.header_line {
            return None;
        }
    }
    let head = NaiveHead {
        method,
        target,
        version: version_of(version)?,
        headers,
        consumed: input.len() - rest.len(),
    };
    let exceeds = method.len() as u64 > limits.header_line
        || target.len() as u64 > limits.uri
        || version.len() as u64 > limits.header_line
        || head.headers.len() as u64 > limits.headers
        || (start.len() - rest.len()) as u64 > limits.header_size
        || (input.len() - start.len()) as u64 > limits.header_size;
    (!exceeds && head.is_well_formed()).then_some(head)
}

impl<'a> NaiveHead<'a> {
    fn is_well_formed(&self) -> bool {
        let is_target = |byte: &u8| *byte > b' ' && *byte != 0x7f;
        let is_header = |(name, value): &(&[u8], &[u8])| {
            is_token(name) && value.iter().all(|&byte| byte == b'\t' || is_text(byte))
        };
        is_token(self.method)
            && !self.target.is_empty()
            && self.target.iter().all(is_target)
            && self.headers.iter().all(is_header)
            && self.has_clear_target()
            && self.has_clear_host()
    }

    fn has_clear_target(&self) -> bool {
        let names_server = |authority: &[u8]| {
            split_host(authority).is_some_and(|(host, port)| !host.is_empty() && is_port(port))
        };
        if self.method == b"CONNECT" {
            return names_server(self.target)
                && split_host(self.target).is_some_and(|(_, port)| port.len() > 1);
        }
        let has_form = match self.target {
            [b'/', ..] => true,
            b"*" => self.method == b"OPTIONS",
            target => has_scheme(target),
        };
        has_form && self.authority_of_uri().is_none_or(names_server)
    }

    fn has_clear_host(&self) -> bool {
        match self.values("host")[..] {
            [] => self.version == Version::Http10,
            [host] => split_host(host).is_some_and(|(_, port)| is_port(port)),
            _ => false,
        }
    }

    fn authority(&self) -> Option<&'a [u8]> {
        if self.method == b"CONNECT" {
            return Some(self.target);
        }
        let host = self.values("host").last().copied();
        self.authority_of_uri().or(host)
    }

    fn authority_of_uri(&self) -> Option<&'a [u8]> {
        let lower = self.target.to_ascii_lowercase();
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| lower.starts_with(scheme))?;
        let rest = &self.target[scheme.len()..];
        let end = rest.iter().position(|byte| b"/?#".contains(byte));
        Some(&rest[..end.unwrap_or(rest.len())])
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let is_named =
            |sent: &[u8]| sent.to_ascii_lowercase() == name.to_ascii_lowercase().as_bytes();
        let named = self.headers.iter().filter(|(sent, _)| is_named(sent));
        named.map(|(_, value)| *value).collect()
    }

    fn elements(&self, name: &str) -> Vec<&'a [u8]> {
        let values = self.values(name).into_iter();
        values
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(trim)
            .collect()
    }

    /// `None` where the head is to be refused for its framing.
    pub(crate) fn framing(&self, limits: &Limits) -> Option<Framing> {
        let mut lengths = Vec::new();
        for length in self.elements("content-length") {
            let digits = std::str::from_utf8(length).ok()?;
            let has_sign = digits.starts_with('+');
            lengths.push(digits.parse::<u64>().ok().filter(|_| !has_sign)?);
        }
        lengths.dedup();
        let codings = self.elements("transfer-encoding");
        match (&codings[..], &lengths[..]) {
            ([], []) => Some(Framing::None),
            ([], [length]) if limits.body_size == 0 || *length <= limits.body_size => {
                Some(Framing::Length(*length))
            }
            ([coding], []) if self.version == Version::Http11 => coding
                .eq_ignore_ascii_case(b"chunked")
                .then_some(Framing::Chunked),
            _ => None,
        }
    }
}

/// The line up to a line feed, without its end, and what is behind it.
fn split_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|&byte| byte == b'\n')?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &input[end + 1..]))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn version_of(word: &[u8]) -> Option<Version> {
    match word {
        b"HTTP/1.0" => Some(Version::Http10),
        b"HTTP/1.1" => Some(Version::Http11),
        _ => None,
    }
}

fn is_token(text: &[u8]) -> bool {
    let is_in_tokens =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_in_tokens)
}

/// Whether it is a URI with `//` behind its scheme.
fn has_scheme(target: &[u8]) -> bool {
    let behind = (0..target.len()).find(|&at| target[at..].starts_with(b"://"));
    let scheme = &target[..behind.unwrap_or(0)];
    let is_in_schemes = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    !scheme.is_empty() && scheme[0].is_ascii_alphabetic() && scheme.iter().all(is_in_schemes)
}

fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

/// A valid host, and what is behind it, which should be a port.
fn split_host(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = std::str::from_utf8(authority).ok()?;
    let Some(literal) = text.strip_prefix('[') else {
        let (host, port) = authority.split_at(text.find(':').unwrap_or(text.len()));
        return is_registered_name(host).then_some((host, port));
    };
    let (address, port) = literal.split_once(']')?;
    let is_address = address.parse::<Ipv6Addr>().is_ok() || is_future_address(address);
    is_address.then_some((address.as_bytes(), port.as_bytes()))
}

fn is_future_address(address: &str) -> bool {
    let version_and_rest = address
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.split_once('.'));
    version_and_rest.is_some_and(|(version, rest)| {
        !version.is_empty()
            && !rest.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && rest.bytes().all(|byte| byte == b':' || is_name_byte(byte))
    })
}

fn is_registered_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        let is_escape = name[at] == b'%'
            && name
                .get(at + 1..at + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if !is_escape && !is_name_byte(name[at]) {
            return false;
        }
        at += if is_escape { 3 } else { 1 };
    }
    true
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
