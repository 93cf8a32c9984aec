//! How long the body of a request is (RFC 9112 §6), and how it is to be read.

use super::request_head::{HeadError, Malformed, RequestHead, Version};
use crate::limits::{Exceeded, Limits};

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no `Content-Length`: no body.
    None,
    /// The body has this many bytes, which may be 0.
    Length(u64),
}

impl Framing {
    /// The framing a head announces.
    ///
    /// Several `Content-Length` values are taken for one if all are the same number (RFC 9110
    /// §8.6).
    ///
    /// # Errors
    ///
    /// [`HeadError::BadRequest`] for a length that is not an unsigned 64-bit number, for lengths
    /// that differ, and for a `Transfer-Encoding` in HTTP/1.0 or beside a `Content-Length`;
    /// [`HeadError::NotImplemented`] for any other `Transfer-Encoding`; [`HeadError::Exceeded`] for
    /// a length above [`Limits::body_size`].
    pub fn of(head: &RequestHead, limits: &Limits) -> Result<Framing, HeadError> {
        let length = content_length(head)?;
        if head.header("Transfer-Encoding").is_some() {
            return Err(refuse_transfer_encoding(head, length));
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

fn refuse_transfer_encoding(head: &RequestHead, length: Option<u64>) -> HeadError {
    if length.is_some() || head.version() == Version::Http10 {
        return Malformed::TransferEncoding.into();
    }
    HeadError::NotImplemented
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

/// ```notrust
/// Content-Length = 1*DIGIT                                              ; RFC 9110 §8.6
/// ```
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
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
