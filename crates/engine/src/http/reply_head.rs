//! The head of a reply as the application has written it: what it says of the reply's framing.

use memchr::memchr;

use super::field_value::{has_option, number};

/// What a reply head says that decides how the body is framed (RFC 9112 §6) and whether the
/// connection goes on (RFC 9112 §9.3).
///
/// ```
/// use engine::http::reply_head::{Connection, Length, ReplyHead};
///
/// let head = ReplyHead::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
/// assert_eq!(head.status, 200);
/// assert_eq!(head.length, Length::Bytes(5));
/// assert_eq!(head.connection, Connection::Unsaid);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The status code.
    pub status: u16,
    /// What `Content-Length` says.
    pub length: Length,
    /// Whether there is a `Transfer-Encoding`: the application frames the body by itself.
    pub has_transfer_encoding: bool,
    /// What `Connection` says.
    pub connection: Connection,
    /// Whether there is a `Date`.
    pub has_date: bool,
}

/// The `Content-Length` of a reply head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    Unsaid,
    /// The body is to have as many bytes.
    Bytes(u64),
    /// It is no number, or says different things.
    Invalid,
}

/// The `Connection` of a reply head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// There is none.
    Unsaid,
    /// It ends with this reply.
    Close,
    /// It says something else.
    Other,
}

impl ReplyHead {
    /// Looks through a head that ends in an empty line; `None` if it has no status line.
    pub fn parse(head: &[u8]) -> Option<ReplyHead> {
        let (status_line, mut lines) = split_line(head);
        let mut parsed = ReplyHead {
            status: status_of(status_line)?,
            length: Length::Unsaid,
            has_transfer_encoding: false,
            connection: Connection::Unsaid,
            has_date: false,
        };
        while !lines.is_empty() {
            let (line, rest) = split_line(lines);
            lines = rest;
            // Most lines are of no interest, and their first letters tell so.
            if !matches!(line.first(), Some(b'C' | b'c' | b'D' | b'd' | b'T' | b't')) {
                continue;
            }
            if let Some(colon) = memchr(b':', line) {
                let (name, value) = line.split_at(colon);
                parsed.note(name, value.get(1..).unwrap_or_default().trim_ascii());
            }
        }
        Some(parsed)
    }

    /// Whether a reply of this status never has a body (RFC 9110 §6.4.1).
    pub fn is_bodyless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    /// Whether the client gets what it asked for (RFC 9110 §15.3).
    pub fn is_successful(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether another reply follows to the same request (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && !self.switches_protocols()
    }

    /// Whether what follows is no HTTP any more (RFC 9110 §15.2.2).
    pub fn switches_protocols(&self) -> bool {
        self.status == 101
    }

    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => self.has_date = true,
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.has_transfer_encoding = true;
            }
            _ => {}
        }
    }

    fn note_connection(&mut self, value: &[u8]) {
        if has_option(value, b"close") {
            self.connection = Connection::Close;
        } else if self.connection == Connection::Unsaid {
            self.connection = Connection::Other;
        }
    }

    fn note_length(&mut self, value: &[u8]) {
        let length = number(value).map_or(Length::Invalid, Length::Bytes);
        self.length = match self.length {
            Length::Unsaid => length,
            said if said == length => length,
            _ => Length::Invalid,
        };
    }
}

fn split_line(lines: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'\n', lines) {
        Some(end) => (&lines[..end], &lines[end + 1..]),
        None => (lines, &[]),
    }
}

/// ```text
/// status-line = HTTP-version SP status-code SP [ reason-phrase ]       ; RFC 9112 §4
/// status-code = 3DIGIT
/// ```
fn status_of(line: &[u8]) -> Option<u16> {
    let [first, second, third, rest @ ..] = line.strip_prefix(b"HTTP/1.1 ")? else {
        return None;
    };
    let digits = [first, second, third];
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    if !ends || !digits.iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |status, digit| 10 * status + u16::from(**digit - b'0'));
    (100..600).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> ReplyHead {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        ReplyHead::parse(head.as_bytes()).unwrap()
    }

    #[test]
    fn a_status_has_three_digits() {
        for (line, status) in [
            ("HTTP/1.1 200 OK", Some(200)),
            ("HTTP/1.1 404", Some(404)),
            ("HTTP/1.1 599 ", Some(599)),
            ("HTTP/1.1 099 OK", None),
            ("HTTP/1.1 600 OK", None),
            ("HTTP/1.1 20 OK", None),
            ("HTTP/1.1 2000 OK", None),
            ("HTTP/1.1 OK", None),
            ("HTTP/1.1 ", None),
            ("HTTP/1.0 200 OK", None),
            ("", None),
        ] {
            let head = ReplyHead::parse(format!("{line}\r\n\r\n").as_bytes());
            assert_eq!(head.map(|head| head.status), status, "{line}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        let head = parse("dAtE: x\r\nTransfer-encoding: chunked\r\nX: y\r\n");
        assert!(head.has_date && head.has_transfer_encoding);
        assert!(!parse("X-Date: x\r\nDate2: x\r\n").has_date);
    }

    #[test]
    fn a_length_is_one_number() {
        for (fields, length) in [
            ("", Length::Unsaid),
            ("Content-Length: 5\r\n", Length::Bytes(5)),
            ("content-length:5 \r\n", Length::Bytes(5)),
            (
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                Length::Bytes(5),
            ),
            (
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                Length::Invalid,
            ),
            ("Content-Length: +5\r\n", Length::Invalid),
            ("Content-Length: \r\n", Length::Invalid),
            ("Content-Length: 18446744073709551616\r\n", Length::Invalid),
        ] {
            assert_eq!(parse(fields).length, length, "{fields}");
        }
    }

    #[test]
    fn the_connection_closes_where_any_option_says_so() {
        for (fields, connection) in [
            ("", Connection::Unsaid),
            ("Connection: close\r\n", Connection::Close),
            ("Connection: Upgrade , CLOSE\r\n", Connection::Close),
            ("Connection: close\r\nConnection: x\r\n", Connection::Close),
            ("Connection: keep-alive\r\n", Connection::Other),
            ("Connection: closed\r\n", Connection::Other),
        ] {
            assert_eq!(parse(fields).connection, connection, "{fields}");
        }
    }

    #[test]
    fn interim_replies_are_followed_by_another() {
        let with_status = |status| ReplyHead {
            status,
            ..parse("")
        };
        assert!(with_status(100).is_interim() && with_status(103).is_interim());
        assert!(!with_status(101).is_interim() && with_status(101).switches_protocols());
        assert!(!with_status(200).is_interim());
        assert!(with_status(204).is_bodyless() && with_status(304).is_bodyless());
    }
}
