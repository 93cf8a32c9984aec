//! Reads the head of a request from bytes that may arrive in pieces (RFC 9112 §2 to §5).

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::characters::{is_target, is_token};
use super::request_head::{
    HeadError, LARGEST_HEAD, Malformed, RequestHead, RequestLine, Span, Version,
    without_carriage_return,
};
use crate::limits::{Exceeded, Limits};

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
/// use engine::http::head_reader::{Parsed, parse};
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
            self.check_piece(input.get(piece.clone()).unwrap_or_default(), limits)?;
            self.check_size(end + 1, limits)?;
            self.scanned = end + 1;
            self.piece_start = end + 1;
            if self.take_piece(input, piece, limits)? {
                self.fill(head, input)?;
                return Ok(Some(std::mem::take(self).scanned));
            }
        }
        self.scanned = input.len();
        let unfinished = input.get(self.piece_start..).unwrap_or_default();
        self.check_beginning(unfinished)?;
        self.check_piece(unfinished, limits)?;
        self.check_size(input.len(), limits)?;
        Ok(None)
    }

    /// What no method begins with is another protocol, TLS for example, whose client waits for an
    /// answer.
    fn check_beginning(&self, unfinished: &[u8]) -> Result<(), Malformed> {
        match (self.expecting, unfinished) {
            (Expecting::Method, [b'\r'] | []) => Ok(()),
            (Expecting::Method, [first, ..]) if !is_token(*first) => Err(Malformed::RequestLine),
            _ => Ok(()),
        }
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
        let length = without_carriage_return(piece).len() as u64;
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
                if bytes.is_empty() || !bytes.iter().all(|&byte| is_token(byte)) {
                    return Err(Malformed::RequestLine.into());
                }
                self.method = self.span_in_head(piece);
                self.expecting = Expecting::Target;
            }
            Expecting::Target => {
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
                self.version = Version::parse(line)?;
                self.headers_start = self.scanned;
                self.expecting = Expecting::HeaderLine;
            }
            Expecting::HeaderLine if line.is_empty() => return Ok(true),
            Expecting::HeaderLine => {
                self.header_lines += 1;
                if self.header_lines > limits.headers {
                    return Err(Exceeded::Headers.into());
                }
            }
        }
        Ok(false)
    }

    fn fill(&self, head: &mut RequestHead, input: &[u8]) -> Result<(), HeadError> {
        let bytes = input.get(self.head_start..self.scanned);
        let parts = RequestLine {
            method: self.method,
            target: self.target,
            version: self.version,
            length: self.headers_start - self.head_start,
        };
        head.fill(bytes.unwrap_or_default(), parts)
    }

    fn span_in_head(&self, range: Range<usize>) -> Span {
        Span::new(range.start - self.head_start, range.end - self.head_start)
    }
}

/// What the bytes from `piece_start` on are.
#[derive(Clone, Copy, Debug, Default)]
enum Expecting {
    #[default]
    Method,
    Target,
    Version,
    HeaderLine,
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
        own_method: b"M-SEARCH / HTTP/1.0\r\n\r\n", Limits::default()
            => complete("M-SEARCH / HTTP/1.0", 23);
        line_feeds_alone: b"GET / HTTP/1.0\nA: b\n\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b]", 21);
        one_leading_empty_line: b"\r\nGET / HTTP/1.0\r\nA: b\r\n\r\n", Limits::default()
            => complete("GET / HTTP/1.0 [A|b]", 26);
        nothing_yet: b"", Limits::default() => Ok(None);
        part_of_the_request_line: b"GET /", Limits::default() => Ok(None);
        no_empty_line_yet: b"GET / HTTP/1.1\r\nA: b\r\n\r", Limits::default() => Ok(None);

        part_of_an_empty_line: b"\r", Limits::default() => Ok(None);
        empty_line_alone: b"\r\n", Limits::default() => Ok(None);
        beginning_of_tls: b"\x16\x03\x01", Limits::default() => malformed(Malformed::RequestLine);
        beginning_of_no_method: b"{", Limits::default() => malformed(Malformed::RequestLine);
        tls_behind_an_empty_line: b"\r\n\x16", Limits::default()
            => malformed(Malformed::RequestLine);
        carriage_return_before_the_method: b"\rG", Limits::default()
            => malformed(Malformed::RequestLine);
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
        uri_of_a_longer_scheme: b"GET a1+-.://b?c#d HTTP/1.0\r\n\r\n", Limits::default()
            => complete("GET a1+-.://b?c#d HTTP/1.0", 30);
        uri_without_authority: b"GET urn:a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_with_one_slash: b"GET http:/a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        uri_without_scheme: b"GET ://a/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        scheme_that_begins_with_a_digit: b"GET 1a://b/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        scheme_with_a_slash: b"GET -private/a://b/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        scheme_with_8_bit_bytes: b"GET a\xe9://b/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        scheme_of_many_bytes: b"GET abcdefghijklmnopqrstuvwxyz://b/ HTTP/1.0\r\n\r\n",
            Limits::default() => complete("GET abcdefghijklmnopqrstuvwxyz://b/ HTTP/1.0", 48);
        path_without_slash: b"GET -private/key HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        one_word: b"GET a HTTP/1.0\r\n\r\n", Limits::default() => malformed(Malformed::Target);
        bytes_without_slash: b"GET \xe9/ HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        query_alone: b"GET ?a HTTP/1.0\r\n\r\n", Limits::default() => malformed(Malformed::Target);
        host_and_port: b"GET a:443 HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        asterisk: b"OPTIONS * HTTP/1.0\r\n\r\n", Limits::default()
            => complete("OPTIONS * HTTP/1.0", 22);
        asterisk_of_another_method: b"GET * HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        asterisk_and_more: b"OPTIONS *a HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
        connect_to_an_asterisk: b"CONNECT * HTTP/1.0\r\n\r\n", Limits::default()
            => malformed(Malformed::Target);
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
        target_too_long_for_any_head:
            b"GET /23456789012345678901234567890123456789012345678901234567890 HTTP/1.1\r\n\r\n", SMALL
            => exceeded(Exceeded::Uri);
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
            let Ok(Parsed::Complete { head, .. }) = parse(input.as_bytes(), &limits) else {
                panic!("the head is complete")
            };
            assert_eq!(filled, head);
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
}
