//! The sending side of a connection: what the application wrote, framed for the wire (RFC 9112
//! §6), and not taken by the client yet.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::http::reply_head::{Connection, Length, ReplyHead};
use crate::limits::Exceeded;
use crate::memory;
use crate::socket;

/// Pending bytes above which sending starts by itself.
const DEFAULT_THRESHOLD: u64 = 51200;

/// Memory that a connection keeps for more of the same reply.
const KEPT_CAPACITY: usize = 64 * 1024;

/// What framing may add to output at once: the longest are the fields of a head, besides the lines
/// around a chunk and the last chunk.
const MOST_ADDED: usize = 256;

/// Bytes that are sent at a time, so that a client that takes everything does not keep the
/// others waiting.
const MOST_AT_A_TIME: usize = 1024 * 1024;

/// Output that waits to be sent.
///
/// A reply is written in the form the application gives it, and framed only when some of it is
/// to be sent: a reply that is finished by then needs no other framing than its length.
#[derive(Debug)]
pub(crate) struct Output {
    /// INVARIANT: `sent <= framed <= bytes.len()`.
    bytes: Vec<u8>,
    /// How many of the bytes were sent.
    sent: usize,
    /// Up to here the bytes are as they go over the wire; what is behind is as it was written.
    framed: usize,
    threshold: u64,
    send_all: bool,
    framing: Framing,
    /// Some of the reply was framed.
    begun: bool,
    /// The application has written all of the reply.
    finished: bool,
    /// The framing tells where the reply ends, and the client that the connection goes on.
    persists: bool,
}

/// How the bytes that are not framed yet are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Nothing was written.
    Unbegun,
    /// They begin with a head of this length.
    Head { head: ReplyHead, length: usize },
    /// They are a part of a body with so many bytes left.
    Length { left: u64 },
    /// Each piece becomes a chunk.
    Chunked,
    /// As they are: the end of the connection is the end of the reply.
    UntilClose,
    /// There is no body: they are dropped.
    Bodyless,
}

/// What the framing of a reply depends on besides the reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// For the `Date` field.
    pub(crate) date: &'a [u8],
    /// The request is of HTTP/1.1, and so its client knows chunks.
    pub(crate) knows_chunks: bool,
    pub(crate) answers_head: bool,
    pub(crate) answers_connect: bool,
    /// Client and server would have the connection go on.
    pub(crate) may_persist: bool,
}

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing is due any more.
    Enough,
    /// The client may take more, but others come first.
    Interrupted,
    /// The client has to take some of it first.
    Blocked { progress: bool },
    /// Nobody will ever take it.
    Failed,
}

impl Default for Output {
    fn default() -> Output {
        Output {
            bytes: Vec::new(),
            sent: 0,
            framed: 0,
            threshold: DEFAULT_THRESHOLD,
            send_all: false,
            framing: Framing::Unbegun,
            begun: false,
            finished: false,
            persists: false,
        }
    }
}

impl Output {
    pub(crate) fn pending(&self) -> u64 {
        (self.bytes.len() - self.sent.min(self.bytes.len())) as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// Whether the client has seen or will see some of the reply.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the reply has an end of its own, behind which another one may follow.
    pub(crate) fn persists(&self) -> bool {
        self.persists
    }

    /// Where the application appends.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes room for so much more to be appended.
    pub(crate) fn reserve(&mut self, length: usize) -> Result<(), Exceeded> {
        memory::reserve(&mut self.bytes, length)
    }

    /// The head of the reply, with the empty line at its end. Behind anything else it is a part of
    /// what it follows.
    pub(crate) fn write_head(&mut self, head: &[u8]) {
        if self.framing == Framing::Unbegun && self.unframed() == 0 {
            self.framing = match ReplyHead::parse(head) {
                Some(parsed) => Framing::Head {
                    head: parsed,
                    length: head.len(),
                },
                None => Framing::UntilClose,
            };
        }
        self.bytes.extend_from_slice(head);
    }

    /// Leaves out what stands behind the head, as in a reply to HEAD (RFC 9110 §9.3.2).
    pub(crate) fn cut_body(&mut self) {
        if let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n\r\n") {
            self.bytes.truncate(end + b"\r\n\r\n".len());
        }
    }

    pub(crate) fn set_threshold(&mut self, bytes: u64) {
        self.threshold = bytes;
    }

    /// All of it is to be sent, whatever the threshold.
    pub(crate) fn send_all(&mut self) {
        self.send_all = !self.is_empty();
    }

    /// Nothing more will be written to the reply.
    pub(crate) fn finish(&mut self, terms: Terms<'_>) -> Result<(), Exceeded> {
        self.finished = true;
        self.frame(terms)
    }

    /// Ready for the next reply; everything was sent.
    pub(crate) fn begin_next(&mut self) {
        *self = Output {
            bytes: std::mem::take(&mut self.bytes),
            ..Output::default()
        };
        self.bytes.clear();
    }

    /// Whether it has nothing to write into.
    pub(crate) fn has_no_memory(&self) -> bool {
        self.bytes.capacity() == 0
    }

    pub(crate) fn give_memory(&mut self, empty: Vec<u8>) {
        self.bytes = empty;
    }

    /// What it is written into, while there is nothing to be sent.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// What is written is not to be framed.
    pub(crate) fn leave_unframed(&mut self) {
        self.framing = Framing::UntilClose;
    }

    /// Puts an interim response (RFC 9110 §15.2) before the reply, to be sent without it; not
    /// if the reply has begun, since then the client waits no longer.
    pub(crate) fn interim(&mut self, response: &[u8]) {
        if self.begun || self.reserve(response.len()).is_err() {
            return;
        }
        self.insert(self.framed, response);
        self.framed += response.len();
    }

    pub(crate) fn discard(&mut self) {
        *self = Output {
            threshold: self.threshold,
            begun: self.begun,
            framing: Framing::UntilClose,
            ..Output::default()
        };
    }

    /// Sends what is due, or as much of it as is sent at a time. Returns how far that came, and how
    /// many bytes it was.
    pub(crate) fn send(&mut self, socket: &OwnedFd, terms: Terms<'_>) -> (Sent, usize) {
        if self.frame(terms).is_err() {
            return (Sent::Failed, 0);
        }
        let mut total = 0;
        while total < MOST_AT_A_TIME && self.sent < self.framed {
            let due = self.bytes.get(self.sent..self.framed).unwrap_or_default();
            match socket::send(socket, due.get(..MOST_AT_A_TIME - total).unwrap_or(due)) {
                // An odd device, which may go on like this for ever.
                Ok(0) => return (Sent::Failed, total),
                Ok(length) => {
                    self.sent += length;
                    total += length;
                }
                Err(Errno::AGAIN) => {
                    self.forget_sent();
                    let progress = total > 0;
                    return (Sent::Blocked { progress }, total);
                }
                Err(_) => return (Sent::Failed, total),
            }
        }
        self.forget_sent();
        match self.sent < self.framed {
            true => (Sent::Interrupted, total),
            false => (Sent::Enough, total),
        }
    }

    fn unframed(&self) -> usize {
        self.bytes.len() - self.framed.min(self.bytes.len())
    }

    /// How many of the unframed bytes are due. Without a flush as many as make up the threshold
    /// are sent again and again, while more than that wait; what is left then waits on.
    fn due(&self) -> usize {
        let pending = self.unframed();
        match usize::try_from(self.threshold) {
            _ if self.send_all || self.finished => pending,
            Ok(0) => pending,
            Ok(threshold) => pending.saturating_sub(1) / threshold * threshold,
            Err(_) => 0,
        }
    }

    /// Frames what is due.
    fn frame(&mut self, terms: Terms<'_>) -> Result<(), Exceeded> {
        let mut due = self.due();
        if due > 0 || self.finished {
            self.reserve(MOST_ADDED)?;
        }
        while let (Framing::Head { head, length }, true) = (self.framing, due > 0) {
            due = due.saturating_sub(length);
            self.frame_head(head, length, terms);
        }
        if due > 0 {
            self.frame_body(due);
        }
        if self.finished {
            self.frame_end();
        }
        Ok(())
    }

    fn frame_head(&mut self, head: ReplyHead, length: usize, terms: Terms<'_>) {
        let length = match head.status {
            204 => self.without_framing_fields(length),
            _ => length,
        };
        let body_length = self.unframed() - length;
        self.framed += length;
        if head.is_interim() {
            // HTTP/1.0 knows none (RFC 9110 §15.2).
            if !terms.knows_chunks {
                self.framed -= length;
                self.bytes.drain(self.framed..self.framed + length);
            }
            self.framing = self.after_interim();
            return;
        }
        self.begun = true;
        if head.switches_protocols() {
            self.framing = Framing::UntilClose;
            return;
        }
        self.framing = match head.length {
            _ if terms.answers_head || head.is_bodyless() => Framing::Bodyless,
            // What follows is no message (RFC 9112 §6.3).
            _ if terms.answers_connect && head.is_successful() => Framing::UntilClose,
            _ if head.has_transfer_encoding => Framing::UntilClose,
            Length::Bytes(left) => Framing::Length { left },
            Length::Invalid => Framing::UntilClose,
            Length::Unsaid if self.finished => Framing::Length {
                left: body_length as u64,
            },
            Length::Unsaid if terms.knows_chunks => Framing::Chunked,
            Length::Unsaid => Framing::UntilClose,
        };
        self.persists = terms.may_persist
            && self.framing != Framing::UntilClose
            && head.length != Length::Invalid
            && head.connection != Connection::Close;
        self.add_fields(head, body_length, terms);
    }

    /// Takes `Content-Length` and `Transfer-Encoding` out of a head that may not have them (RFC
    /// 9110 §8.6, RFC 9112 §6.1). Returns its length then.
    fn without_framing_fields(&mut self, length: usize) -> usize {
        let end = self.framed + length;
        let head = self.bytes.get(self.framed..end).unwrap_or_default();
        let lines = head.split_inclusive(|&byte| byte == b'\n');
        let kept: Vec<u8> = lines
            .filter(|line| !is_framing_field(line))
            .flatten()
            .copied()
            .collect();
        let length = kept.len();
        self.bytes.splice(self.framed..end, kept);
        length
    }

    /// The lines that the application has left to the server, before the empty line.
    fn add_fields(&mut self, head: ReplyHead, body_length: usize, terms: Terms<'_>) {
        // Longer than all of them together, so that no line is cut off.
        let mut space = [0_u8; 192];
        let mut lines = &mut space[..];
        if !head.has_date {
            append(&mut lines, &[b"Date: ", terms.date, b"\r\n"]);
        }
        let says_length = head.length == Length::Unsaid && !head.has_transfer_encoding;
        match self.framing {
            Framing::Chunked => append(&mut lines, &[b"Transfer-Encoding: chunked\r\n"]),
            Framing::Length { .. } if says_length => append_length(&mut lines, body_length),
            // As many as a GET would get, where the application has made them.
            Framing::Bodyless
                if says_length && self.finished && !head.is_bodyless() && body_length > 0 =>
            {
                append_length(&mut lines, body_length);
            }
            _ => {}
        }
        match (head.connection, self.persists) {
            (Connection::Unsaid | Connection::Other, false) => {
                append(&mut lines, &[b"Connection: close\r\n"]);
            }
            // HTTP/1.0 takes silence for the end (RFC 9112 §9.3).
            (Connection::Unsaid, true) if !terms.knows_chunks => {
                append(&mut lines, &[b"Connection: keep-alive\r\n"]);
            }
            _ => {}
        }
        let unused = lines.len();
        let length = space.len() - unused;
        self.insert(self.framed - b"\r\n".len(), &space[..length]);
        self.framed += length;
    }

    /// Another head may follow at once.
    fn after_interim(&self) -> Framing {
        let rest = self.bytes.get(self.framed..).unwrap_or_default();
        if rest.is_empty() {
            return Framing::Unbegun;
        }
        let length = memchr::memmem::find(rest, b"\r\n\r\n").map(|end| end + 4);
        let head = length.and_then(|length| ReplyHead::parse(rest.get(..length)?));
        match (head, length) {
            (Some(head), Some(length)) => Framing::Head { head, length },
            _ => Framing::UntilClose,
        }
    }

    fn frame_body(&mut self, due: usize) {
        match &mut self.framing {
            Framing::Head { .. } => {}
            Framing::Unbegun | Framing::UntilClose => {
                self.framing = Framing::UntilClose;
                self.framed += due;
            }
            Framing::Length { left } => {
                // More would be taken for the next reply.
                let taken = usize::try_from(*left).map_or(due, |left| due.min(left));
                *left -= taken as u64;
                self.framed += taken;
                self.bytes.drain(self.framed..self.framed + due - taken);
            }
            Framing::Chunked => self.frame_chunk(due),
            Framing::Bodyless => {
                self.bytes.drain(self.framed..self.framed + due);
            }
        }
        self.begun = true;
    }

    /// ```text
    /// chunk = chunk-size CRLF chunk-data CRLF                           ; RFC 9112 §7.1
    /// ```
    fn frame_chunk(&mut self, length: usize) {
        let mut space = [0_u8; 20];
        let mut line = &mut space[..];
        // There is room for any number.
        write!(line, "{length:x}\r\n").ok();
        let unused = line.len();
        let line = &space[..space.len() - unused];
        self.insert(self.framed + length, b"\r\n");
        self.insert(self.framed, line);
        self.framed += line.len() + length + b"\r\n".len();
    }

    fn frame_end(&mut self) {
        match self.framing {
            Framing::Chunked => {
                self.bytes.extend_from_slice(b"0\r\n\r\n");
                self.framed = self.bytes.len();
                self.framing = Framing::Bodyless;
            }
            // The client waits for the rest, and is to see that it does not come.
            Framing::Length { left: 1.. } => self.persists = false,
            _ => {}
        }
    }

    fn insert(&mut self, at: usize, bytes: &[u8]) {
        let end = self.bytes.len();
        self.bytes.resize(end + bytes.len(), 0);
        self.bytes.copy_within(at..end, at + bytes.len());
        if let Some(gap) = self.bytes.get_mut(at..at + bytes.len()) {
            gap.copy_from_slice(bytes);
        }
    }

    /// Moving the rest to the front is done seldom enough to cost less than sending did.
    fn forget_sent(&mut self) {
        if self.is_empty() {
            self.sent = 0;
            self.framed = 0;
            self.send_all = false;
            self.bytes.clear();
            if !self.finished {
                self.bytes.shrink_to(KEPT_CAPACITY);
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.framed -= self.sent;
            self.sent = 0;
        }
    }
}

fn is_framing_field(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"Transfer-Encoding")
}

fn append(lines: &mut &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        // There is room for all.
        lines.write_all(part).ok();
    }
}

fn append_length(lines: &mut &mut [u8], length: usize) {
    // There is room for any number.
    write!(lines, "Content-Length: {length}\r\n").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const TERMS: Terms<'_> = Terms {
        date: b"today",
        knows_chunks: true,
        answers_head: false,
        answers_connect: false,
        may_persist: true,
    };
    const OLD_CLIENT: Terms<'_> = Terms {
        knows_chunks: false,
        ..TERMS
    };
    const HEAD: Terms<'_> = Terms {
        answers_head: true,
        ..TERMS
    };
    const CONNECT: Terms<'_> = Terms {
        answers_connect: true,
        ..TERMS
    };
    const LAST: Terms<'_> = Terms {
        may_persist: false,
        ..TERMS
    };

    fn output(pending: usize, threshold: u64) -> Output {
        let mut output = Output::default();
        output.set_threshold(threshold);
        output.bytes_mut().resize(pending, b'x');
        output
    }

    /// What a reply becomes: its head's lines and body as written, then whether another may follow.
    fn framed(terms: Terms<'_>, lines: &str, body: &str) -> (String, bool) {
        let mut output = Output::default();
        output.write_head(format!("HTTP/1.1 {lines}\r\n\r\n").as_bytes());
        output.bytes_mut().extend_from_slice(body.as_bytes());
        output.finish(terms).unwrap();
        wire(&output)
    }

    /// The same, with the head and each piece of the body flushed by itself.
    fn framed_in_pieces(terms: Terms<'_>, lines: &str, pieces: &[&str]) -> (String, bool) {
        let mut output = Output::default();
        output.write_head(format!("HTTP/1.1 {lines}\r\n\r\n").as_bytes());
        output.send_all();
        output.frame(terms).unwrap();
        for piece in pieces {
            output.bytes_mut().extend_from_slice(piece.as_bytes());
            output.send_all();
            output.frame(terms).unwrap();
        }
        output.finish(terms).unwrap();
        wire(&output)
    }

    fn wire(output: &Output) -> (String, bool) {
        assert_eq!(output.framed, output.bytes.len());
        let text = String::from_utf8(output.bytes.clone()).unwrap();
        (text.replace("\r\n", "|"), output.persists())
    }

    fn expected(text: &str, persists: bool) -> (String, bool) {
        (text.to_owned(), persists)
    }

    #[test]
    fn a_finished_reply_is_framed_by_its_length() {
        assert_eq!(
            framed(TERMS, "200 OK\r\nA: b", "hello"),
            expected(
                "HTTP/1.1 200 OK|A: b|Date: today|Content-Length: 5||hello",
                true
            )
        );
        assert_eq!(
            framed(OLD_CLIENT, "200 OK", ""),
            expected(
                "HTTP/1.1 200 OK|Date: today|Content-Length: 0|Connection: keep-alive||",
                true
            )
        );
        assert_eq!(
            framed(LAST, "200 OK", "x"),
            expected(
                "HTTP/1.1 200 OK|Date: today|Content-Length: 1|Connection: close||x",
                false
            )
        );
    }

    #[test]
    fn an_unfinished_reply_is_framed_by_chunks_or_by_the_end() {
        assert_eq!(
            framed_in_pieces(TERMS, "200 OK", &["hello", " world, again"]),
            expected(
                "HTTP/1.1 200 OK|Date: today|Transfer-Encoding: chunked||5|hello|d| world, again|0||",
                true
            )
        );
        assert_eq!(
            framed_in_pieces(OLD_CLIENT, "200 OK", &["hello", " world"]),
            expected(
                "HTTP/1.1 200 OK|Date: today|Connection: close||hello world",
                false
            )
        );
    }

    #[test]
    fn what_follows_success_with_connect_has_no_framing() {
        assert_eq!(
            framed(CONNECT, "200 OK", "bytes"),
            expected(
                "HTTP/1.1 200 OK|Date: today|Connection: close||bytes",
                false
            )
        );
        assert_eq!(
            framed_in_pieces(CONNECT, "200 OK", &["bytes"]),
            expected(
                "HTTP/1.1 200 OK|Date: today|Connection: close||bytes",
                false
            )
        );
        assert_eq!(
            framed(CONNECT, "405 Method Not Allowed", "no"),
            expected(
                "HTTP/1.1 405 Method Not Allowed|Date: today|Content-Length: 2||no",
                true
            )
        );
    }

    #[test]
    fn the_applications_own_framing_is_kept() {
        assert_eq!(
            framed(TERMS, "200 OK\r\ncontent-length: 5\r\nDate: mine", "hello"),
            expected("HTTP/1.1 200 OK|content-length: 5|Date: mine||hello", true)
        );
        assert_eq!(
            framed_in_pieces(
                TERMS,
                "200 OK\r\nContent-Length: 5\r\nDate: mine",
                &["he", "llo"]
            ),
            expected("HTTP/1.1 200 OK|Content-Length: 5|Date: mine||hello", true)
        );
        assert_eq!(
            framed(
                TERMS,
                "200 OK\r\nTransfer-Encoding: chunked\r\nDate: mine",
                "1\r\na\r\n0\r\n\r\n"
            ),
            expected(
                "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Date: mine|Connection: close||1|a|0||",
                false
            )
        );
        assert_eq!(
            framed(TERMS, "200 OK\r\nConnection: Close\r\nDate: mine", "x"),
            expected(
                "HTTP/1.1 200 OK|Connection: Close|Date: mine|Content-Length: 1||x",
                false
            )
        );
        assert_eq!(
            framed(
                OLD_CLIENT,
                "200 OK\r\nConnection: keep-alive\r\nDate: mine",
                "x"
            ),
            expected(
                "HTTP/1.1 200 OK|Connection: keep-alive|Date: mine|Content-Length: 1||x",
                true
            )
        );
        assert_eq!(
            framed(TERMS, "200 OK\r\nContent-Length: x\r\nDate: mine", "hello"),
            expected(
                "HTTP/1.1 200 OK|Content-Length: x|Date: mine|Connection: close||hello",
                false
            )
        );
    }

    #[test]
    fn a_body_is_never_longer_than_announced_and_ends_the_connection_where_it_is_shorter() {
        assert_eq!(
            framed(TERMS, "200 OK\r\nContent-Length: 3\r\nDate: mine", "hello"),
            expected("HTTP/1.1 200 OK|Content-Length: 3|Date: mine||hel", true)
        );
        let (text, persists) = framed(TERMS, "200 OK\r\nContent-Length: 9\r\nDate: mine", "hello");
        assert!(text.ends_with("||hello") && !persists);
    }

    #[test]
    fn replies_without_a_body_have_none() {
        assert_eq!(
            framed(HEAD, "200 OK", "hello"),
            expected("HTTP/1.1 200 OK|Date: today|Content-Length: 5||", true)
        );
        assert_eq!(
            framed(HEAD, "200 OK\r\nContent-Length: 7", ""),
            expected("HTTP/1.1 200 OK|Content-Length: 7|Date: today||", true)
        );
        assert_eq!(
            framed_in_pieces(HEAD, "200 OK", &["hello"]),
            expected("HTTP/1.1 200 OK|Date: today||", true)
        );
        assert_eq!(
            framed(
                TERMS,
                "204 No Content\r\nContent-Length: 5\r\nA: b",
                "hello"
            ),
            expected("HTTP/1.1 204 No Content|A: b|Date: today||", true)
        );
        for status in ["204 No Content", "304 Not Modified"] {
            let text = format!("HTTP/1.1 {status}|Date: today||");
            assert_eq!(framed(TERMS, status, "hello"), expected(&text, true));
        }
    }

    #[test]
    fn other_protocols_and_unknown_heads_are_left_as_they_are() {
        assert_eq!(
            framed(TERMS, "101 Switching Protocols\r\nUpgrade: x", "hello"),
            expected("HTTP/1.1 101 Switching Protocols|Upgrade: x||hello", false)
        );
        assert_eq!(
            framed(TERMS, "OK", "hello"),
            expected("HTTP/1.1 OK||hello", false)
        );
        let mut raw = Output::default();
        raw.bytes_mut().extend_from_slice(b"raw");
        raw.write_head(b"HTTP/1.1 200 OK\r\n\r\n");
        raw.finish(TERMS).unwrap();
        assert_eq!(wire(&raw), expected("rawHTTP/1.1 200 OK||", false));
    }

    #[test]
    fn an_interim_reply_is_followed_by_the_final_one() {
        let mut output = Output::default();
        output.write_head(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        output.write_head(b"HTTP/1.1 200 OK\r\n\r\n");
        output.bytes_mut().extend_from_slice(b"x");
        output.finish(TERMS).unwrap();
        let final_reply = "HTTP/1.1 200 OK|Date: today|Content-Length: 1||x";
        let text = format!("HTTP/1.1 103 Early Hints|Link: x||{final_reply}");
        assert_eq!(wire(&output), (text.clone(), true));

        let mut flushed = Output::default();
        flushed.write_head(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        flushed.send_all();
        flushed.frame(TERMS).unwrap();
        flushed.write_head(b"HTTP/1.1 200 OK\r\n\r\n");
        flushed.bytes_mut().extend_from_slice(b"x");
        flushed.finish(TERMS).unwrap();
        assert_eq!(wire(&flushed), (text, true));
    }

    #[test]
    fn a_reply_of_nothing_is_no_reply() {
        let mut output = Output::default();
        output.finish(TERMS).unwrap();
        assert_eq!(wire(&output), expected("", false));
    }

    #[test]
    fn sending_is_due_above_the_threshold() {
        assert_eq!(output(0, 0).due(), 0);
        assert_eq!(output(1, 0).due(), 1);
        for (pending, due) in [(10, 0), (11, 10), (20, 10), (21, 20), (1000, 990)] {
            assert_eq!(output(pending, 10).due(), due, "{pending}");
        }
    }

    #[test]
    fn a_flush_makes_any_output_due_once() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut output = output(5, 10);
        output.send_all();
        assert_eq!(output.due(), 5);
        assert_eq!(output.send(&one.into(), TERMS).0, Sent::Enough);
        drop(other);
        output.send_all();
        output.bytes_mut().extend_from_slice(b"more");
        assert_eq!(output.due(), 0);
    }

    #[test]
    fn a_large_output_goes_out_in_parts() {
        let file = tempfile::tempfile().unwrap();
        let mut output = output(2 * MOST_AT_A_TIME + 1, 0);
        let socket = file.try_clone().unwrap().into();
        assert_eq!(output.send(&socket, TERMS).0, Sent::Interrupted);
        assert_eq!(output.send(&socket, TERMS).0, Sent::Interrupted);
        assert_eq!(output.pending(), 1);
        assert_eq!(output.send(&socket, TERMS).0, Sent::Enough);
    }

    #[test]
    fn an_interim_response_is_due_without_the_reply() {
        let (one, _other) = UnixStream::pair().unwrap();
        let one = one.into();
        let mut output = output(5, 10);
        output.interim(b"100");
        assert_eq!((output.framed, output.due()), (3, 0));
        assert_eq!(output.send(&one, TERMS).0, Sent::Enough);
        assert_eq!(output.pending(), 5);
        output.send_all();
        assert_eq!(output.send(&one, TERMS).0, Sent::Enough);
        output.interim(b"100");
        assert!(output.is_empty());
    }
}
