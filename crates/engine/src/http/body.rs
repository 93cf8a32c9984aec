//! How long the body of a request is (RFC 9112 §6), and how it is to be read.

use super::characters::is_token;
use super::field_value::number;
use super::request_head::{HeadError, Malformed, RequestHead, Version};
use crate::limits::{Exceeded, Limits};

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is neither `Content-Length` nor `Transfer-Encoding`: no body.
    #[default]
    None,
    /// The body has this many bytes, which may be 0.
    Length(u64),
    /// The body tells its end itself (RFC 9112 §7.1).
    Chunked,
}

impl Framing {
    /// The framing a head announces.
    ///
    /// Several `Content-Length` values are taken for one if all are the same number (RFC 9110
    /// §8.6). The only transfer coding is `chunked`, in any case. An empty element in the list of
    /// transfer codings (`,chunked`) is refused, although RFC 9110 §5.6.1.2 would have it ignored:
    /// servers differ on it, so a request could hide behind it.
    ///
    /// # Errors
    ///
    /// [`HeadError::BadRequest`] for a length that is not an unsigned 64-bit number, for lengths
    /// that differ, and for a `Transfer-Encoding` in HTTP/1.0, beside a `Content-Length`, or that
    /// does not end with the only `chunked`; [`HeadError::NotImplemented`] for other codings before
    /// it; [`HeadError::Exceeded`] for a length above [`Limits::body_size`].
    pub fn of(head: &RequestHead, limits: &Limits) -> Result<Framing, HeadError> {
        let length = content_length(head)?;
        if head.header("Transfer-Encoding").is_some() {
            if length.is_some() || head.version() == Version::Http10 {
                return Err(Malformed::TransferEncoding.into());
            }
            check_transfer_coding(head)?;
            return Ok(Framing::Chunked);
        }
        match length {
            None => Ok(Framing::None),
            Some(length) if limits.body_size > 0 && length > limits.body_size => {
                Err(Exceeded::BodySize.into())
            }
            Some(length) => Ok(Framing::Length(length)),
        }
    }
}

/// ```text
/// Transfer-Encoding  = #transfer-coding                                ; RFC 9112 §6.1
/// transfer-coding    = token *( OWS ";" OWS transfer-parameter )       ; RFC 9110 §10.1.4
/// transfer-parameter = token BWS "=" BWS ( token / quoted-string )
/// ```
///
/// Parameters are not looked at, since none of the codings that may have some is taken.
fn check_transfer_coding(head: &RequestHead) -> Result<(), HeadError> {
    let mut codings = head
        .header_values("Transfer-Encoding")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii);
    if !codings.next_back().is_some_and(is_chunked) {
        return Err(Malformed::TransferEncoding.into());
    }
    let mut outcome = Ok(());
    for coding in codings {
        if is_chunked(coding) || !coding.first().is_some_and(|&byte| is_token(byte)) {
            return Err(Malformed::TransferEncoding.into());
        }
        outcome = Err(HeadError::NotImplemented);
    }
    outcome
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

fn content_length(head: &RequestHead) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    let elements = head
        .header_values("Content-Length")
        .flat_map(|value| value.split(|&byte| byte == b','));
    for element in elements {
        let number = number(element.trim_ascii()).ok_or(Malformed::ContentLength)?;
        if length.is_some_and(|earlier| earlier != number) {
            return Err(Malformed::ContentLength);
        }
        length = Some(number);
    }
    Ok(length)
}

/// How the body of a request is read, if it is read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Part by part, files going to the disk.
    Multipart,
    /// Whole, into memory, and split into fields whatever its `Content-Type` says.
    Urlencoded,
}

impl BodyKind {
    /// How to read the body of a request whose method is one of `body_methods` (compared as they
    /// are); `None` for any other method: its body is the application's.
    ///
    /// A `Content-Type` that begins with `mul` in any case and goes on is multipart.
    pub fn of(head: &RequestHead, body_methods: &[Vec<u8>]) -> Option<BodyKind> {
        if !body_methods.iter().any(|method| method == head.method()) {
            return None;
        }
        match head.content_type() {
            Some([m, u, l, _, ..]) if [*m, *u, *l].eq_ignore_ascii_case(b"mul") => {
                Some(BodyKind::Multipart)
            }
            _ => Some(BodyKind::Urlencoded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head_reader::{Parsed, parse};
    use super::*;

    fn head(method: &str, version: &str, headers: &str) -> RequestHead {
        let input = format!("{method} / {version}\r\nHost: a\r\n{headers}\r\n");
        match parse(input.as_bytes(), &Limits::default()) {
            Ok(Parsed::Complete { head, .. }) => head,
            other => panic!("{other:?}"),
        }
    }

    macro_rules! framings {
        ($($name:ident: $version:expr, $headers:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                let limits = Limits { body_size: 1 << 63, ..Limits::default() };
                let head = head("POST", $version, $headers);
                assert_eq!(Framing::of(&head, &limits), $expected);
            }
        )*};
    }

    framings! {
        no_length: "HTTP/1.1", "" => Ok(Framing::None);
        length: "HTTP/1.1", "Content-Length: 5\r\n" => Ok(Framing::Length(5));
        length_zero: "HTTP/1.1", "Content-Length: 0\r\n" => Ok(Framing::Length(0));
        leading_zeros: "HTTP/1.0", "content-length: 0005\r\n" => Ok(Framing::Length(5));
        beyond_32_bits: "HTTP/1.1", "Content-Length: 4294967299\r\n" => Ok(Framing::Length(4_294_967_299));
        at_the_limit: "HTTP/1.1", "Content-Length: 9223372036854775808\r\n" => Ok(Framing::Length(1 << 63));
        above_the_limit: "HTTP/1.1", "Content-Length: 9223372036854775809\r\n"
            => Err(Exceeded::BodySize.into());
        beyond_64_bits: "HTTP/1.1", "Content-Length: 18446744073709551616\r\n"
            => Err(Malformed::ContentLength.into());
        negative: "HTTP/1.1", "Content-Length: -1\r\n" => Err(Malformed::ContentLength.into());
        signed: "HTTP/1.1", "Content-Length: +1\r\n" => Err(Malformed::ContentLength.into());
        trailing_junk: "HTTP/1.1", "Content-Length: 5x\r\n" => Err(Malformed::ContentLength.into());
        hexadecimal: "HTTP/1.1", "Content-Length: 0x5\r\n" => Err(Malformed::ContentLength.into());
        empty: "HTTP/1.1", "Content-Length:\r\n" => Err(Malformed::ContentLength.into());
        same_twice: "HTTP/1.1", "Content-Length: 5\r\nContent-Length: 5\r\n" => Ok(Framing::Length(5));
        same_in_a_list: "HTTP/1.1", "Content-Length: 5, 5\r\n" => Ok(Framing::Length(5));
        different: "HTTP/1.1", "Content-Length: 5\r\nContent-Length: 6\r\n"
            => Err(Malformed::ContentLength.into());
        different_in_a_list: "HTTP/1.1", "Content-Length: 5, 6\r\n" => Err(Malformed::ContentLength.into());
        empty_in_a_list: "HTTP/1.1", "Content-Length: 5,\r\n" => Err(Malformed::ContentLength.into());

        chunked: "HTTP/1.1", "Transfer-Encoding: chunked\r\n" => Ok(Framing::Chunked);
        chunked_in_any_case: "HTTP/1.1", "Transfer-Encoding: cHuNKeD\r\n" => Ok(Framing::Chunked);
        header_in_any_case: "HTTP/1.1", "tRANSFER-encoding: chunked\r\n" => Ok(Framing::Chunked);
        chunked_without_space: "HTTP/1.1", "Transfer-Encoding:chunked\r\n" => Ok(Framing::Chunked);
        white_space_around_chunked: "HTTP/1.1", "Transfer-Encoding: \t chunked\t \t\r\n"
            => Ok(Framing::Chunked);
        coding_before_chunked: "HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n"
            => Err(HeadError::NotImplemented);
        parameter_before_chunked: "HTTP/1.1", "Transfer-Encoding: a;q=1, chunked\r\n"
            => Err(HeadError::NotImplemented);
        coding_in_a_line_before_chunked: "HTTP/1.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
            => Err(HeadError::NotImplemented);
        identity_before_chunked: "HTTP/1.1", "Transfer-Encoding: identity, chunked\r\n"
            => Err(HeadError::NotImplemented);
        identity: "HTTP/1.1", "Transfer-Encoding: identity\r\n"
            => Err(Malformed::TransferEncoding.into());
        unknown_coding: "HTTP/1.1", "Transfer-Encoding: gzip\r\n"
            => Err(Malformed::TransferEncoding.into());
        like_chunked: "HTTP/1.1", "Transfer-Encoding: xchunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_in_parts: "HTTP/1.1", "Transfer-Encoding: chunk ed\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_and_more: "HTTP/1.1", "Transfer-Encoding: chunked-\r\n"
            => Err(Malformed::TransferEncoding.into());
        empty_transfer_encoding: "HTTP/1.1", "Transfer-Encoding:\r\n"
            => Err(Malformed::TransferEncoding.into());
        only_a_comma: "HTTP/1.1", "Transfer-Encoding: ,\r\n"
            => Err(Malformed::TransferEncoding.into());
        empty_before_chunked: "HTTP/1.1", "Transfer-Encoding: ,chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        empty_behind_chunked: "HTTP/1.1", "Transfer-Encoding: chunked,\r\n"
            => Err(Malformed::TransferEncoding.into());
        empty_line_behind_chunked: "HTTP/1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"
            => Err(Malformed::TransferEncoding.into());
        empty_line_before_chunked: "HTTP/1.1", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_with_parameter: "HTTP/1.1", "Transfer-Encoding: chunked;q=1\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_with_semicolon: "HTTP/1.1", "Transfer-Encoding: chunked;\r\n"
            => Err(Malformed::TransferEncoding.into());
        quoted_chunked: "HTTP/1.1", "Transfer-Encoding: \"chunked\"\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_within_quotes: "HTTP/1.1", "Transfer-Encoding: a;b=\", chunked\"\r\n"
            => Err(Malformed::TransferEncoding.into());
        quoted_before_chunked: "HTTP/1.1", "Transfer-Encoding: \"gzip\", chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_not_last: "HTTP/1.1", "Transfer-Encoding: chunked, gzip\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_twice: "HTTP/1.1", "Transfer-Encoding: chunked, chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_in_two_lines: "HTTP/1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_first_and_last: "HTTP/1.1", "Transfer-Encoding: chunked, gzip, chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_and_length: "HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"
            => Err(Malformed::TransferEncoding.into());
        length_and_chunked: "HTTP/1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        unknown_coding_and_length: "HTTP/1.1", "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n"
            => Err(Malformed::TransferEncoding.into());
        chunked_and_bad_length: "HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: x\r\n"
            => Err(Malformed::ContentLength.into());
        chunked_in_1_0: "HTTP/1.0", "Transfer-Encoding: chunked\r\n"
            => Err(Malformed::TransferEncoding.into());
        unknown_coding_in_1_0: "HTTP/1.0", "Transfer-Encoding: gzip\r\n"
            => Err(Malformed::TransferEncoding.into());
    }

    macro_rules! kinds {
        ($($name:ident: $method:expr, $headers:expr => $expected:expr;)*) => {$(
            #[test]
            fn $name() {
                let methods = [b"POST".to_vec(), b"PUT".to_vec()];
                assert_eq!(BodyKind::of(&head($method, "HTTP/1.1", $headers), &methods), $expected);
            }
        )*};
    }

    kinds! {
        multipart: "POST", "Content-Type: multipart/form-data; boundary=b\r\n" => Some(BodyKind::Multipart);
        multipart_in_any_case: "PUT", "Content-Type: MuLtipart/form-data\r\n" => Some(BodyKind::Multipart);
        begins_with_mul: "POST", "Content-Type: mulx\r\n" => Some(BodyKind::Multipart);
        only_mul: "POST", "Content-Type: mul\r\n" => Some(BodyKind::Urlencoded);
        urlencoded: "POST", "Content-Type: application/x-www-form-urlencoded\r\n" => Some(BodyKind::Urlencoded);
        no_type: "POST", "" => Some(BodyKind::Urlencoded);
        other_method: "PATCH", "Content-Type: multipart/form-data\r\n" => None;
        method_in_other_case: "post", "Content-Type: multipart/form-data\r\n" => None;
    }
}
