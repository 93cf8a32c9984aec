//! The sending side of a connection: what the application wrote and the client has not taken.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::socket;

/// Pending bytes above which sending starts by itself.
const DEFAULT_THRESHOLD: u64 = 51200;

/// Memory that a connection keeps for its next output.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Bytes that are sent at a time, so that a client that takes everything does not keep the
/// others waiting.
const MOST_AT_A_TIME: usize = 1024 * 1024;

/// Output that waits to be sent.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// How many of the bytes were sent.
    sent: usize,
    threshold: u64,
    send_all: bool,
    /// Up to here the bytes are an interim response, which waits for nothing.
    interim_end: usize,
    /// Some of it was sent.
    begun: bool,
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
            threshold: DEFAULT_THRESHOLD,
            send_all: false,
            interim_end: 0,
            begun: false,
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

    /// Whether some of it is to be sent now.
    pub(crate) fn is_due(&self) -> bool {
        !self.due().is_empty()
    }

    /// Where the application appends.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn set_threshold(&mut self, bytes: u64) {
        self.threshold = bytes;
    }

    /// All of it is to be sent, whatever the threshold.
    pub(crate) fn send_all(&mut self) {
        self.send_all = !self.is_empty();
    }

    /// Puts an interim response (RFC 9110 §15.2) before the reply, to be sent without it; not
    /// if the reply has begun, since then the client waits no longer.
    pub(crate) fn interim(&mut self, response: &[u8]) {
        if self.begun {
            return;
        }
        self.bytes.splice(0..0, response.iter().copied());
        self.interim_end = response.len();
    }

    pub(crate) fn discard(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
        self.send_all = false;
        self.interim_end = 0;
    }

    pub(crate) fn send(&mut self, socket: &OwnedFd) -> Sent {
        let mut left = MOST_AT_A_TIME;
        while left > 0 && self.is_due() {
            let due = self.due();
            match socket::send(socket, due.get(..left).unwrap_or(due)) {
                Ok(length) => {
                    self.sent += length;
                    self.begun |= self.sent > self.interim_end;
                    left = left.saturating_sub(length);
                }
                Err(Errno::AGAIN) => {
                    self.forget_sent();
                    let progress = left < MOST_AT_A_TIME;
                    return Sent::Blocked { progress };
                }
                Err(_) => return Sent::Failed,
            }
        }
        self.forget_sent();
        match self.is_due() {
            true => Sent::Interrupted,
            false => Sent::Enough,
        }
    }

    /// Without a flush as many bytes as make up the threshold are sent again and again, while
    /// more than that wait; what is left then waits on.
    fn due(&self) -> &[u8] {
        let pending = self.bytes.get(self.sent..).unwrap_or_default();
        let interim = self.interim_end.saturating_sub(self.sent);
        let length = match usize::try_from(self.threshold) {
            _ if self.send_all => pending.len(),
            Ok(0) => pending.len(),
            Ok(threshold) => pending.len().saturating_sub(1) / threshold * threshold,
            Err(_) => 0,
        };
        pending.get(..length.max(interim)).unwrap_or_default()
    }

    /// Moving the rest to the front is done seldom enough to cost less than sending did.
    fn forget_sent(&mut self) {
        if self.is_empty() {
            self.sent = 0;
            self.send_all = false;
            self.interim_end = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY);
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.interim_end = self.interim_end.saturating_sub(self.sent);
            self.sent = 0;
        }
    }
}

/// The whole reply to a request that is refused.
pub(crate) fn refusal(status: u16) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    let body = format!("{status} {reason}\n");
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(pending: usize, threshold: u64) -> Output {
        let mut output = Output::default();
        output.set_threshold(threshold);
        output.bytes_mut().resize(pending, b'x');
        output
    }

    #[test]
    fn sending_is_due_above_the_threshold() {
        assert!(!output(0, 0).is_due());
        assert!(output(1, 0).is_due());
        assert!(!output(10, 10).is_due());
        assert!(output(11, 10).is_due());
        for (pending, due) in [(11, 10), (20, 10), (21, 20), (1000, 990)] {
            assert_eq!(output(pending, 10).due().len(), due, "{pending}");
        }
    }

    #[test]
    fn a_flush_makes_any_output_due_once() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut output = output(5, 10);
        output.send_all();
        assert!(output.is_due());
        assert_eq!(output.send(&one.into()), Sent::Enough);
        drop(other);
        output.send_all();
        output.bytes_mut().extend_from_slice(b"more");
        assert!(!output.is_due());
    }

    #[test]
    fn a_large_output_goes_out_in_parts() {
        let file = tempfile::tempfile().unwrap();
        let mut output = output(2 * MOST_AT_A_TIME + 1, 0);
        let socket = file.try_clone().unwrap().into();
        assert_eq!(output.send(&socket), Sent::Interrupted);
        assert_eq!(output.send(&socket), Sent::Interrupted);
        assert_eq!(output.pending(), 1);
        assert_eq!(output.send(&socket), Sent::Enough);
    }

    #[test]
    fn an_interim_response_is_due_without_the_reply() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let one = one.into();
        let mut output = output(5, 10);
        output.interim(b"100");
        assert_eq!(output.due(), b"100");
        assert_eq!(output.send(&one), Sent::Enough);
        assert_eq!(output.pending(), 5);
        output.send_all();
        assert_eq!(output.send(&one), Sent::Enough);
        output.interim(b"100");
        assert!(output.is_empty());
    }

    #[test]
    fn a_refusal_tells_its_length() {
        let text = String::from_utf8(refusal(413)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
