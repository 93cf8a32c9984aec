//! A client: what it sends, and what it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::script::Script;

/// One client, which never waits.
pub(super) struct Client {
    /// `None` once it has gone.
    socket: Option<UnixStream>,
    /// To be sent.
    queue: Vec<u8>,
    pub(super) sent: Vec<u8>,
    pub(super) received: Vec<u8>,
    ended_sending: bool,
    /// It has read up to the end of the connection.
    pub(super) saw_end: bool,
    /// It has gone before it saw the end.
    pub(super) vanished: bool,
}

impl Client {
    pub(super) fn connect(path: &Path) -> Option<Client> {
        let socket = UnixStream::connect(path).ok()?;
        socket.set_nonblocking(true).unwrap();
        Some(Client {
            socket: Some(socket),
            queue: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            ended_sending: false,
            saw_end: false,
            vanished: false,
        })
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if self.queue.len() < MOST_QUEUED && !self.ended_sending {
            self.queue.extend_from_slice(bytes);
        }
    }

    /// Sends up to so many bytes; returns whether there were any.
    pub(super) fn send(&mut self, most: usize) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        let due = &self.queue[..most.min(self.queue.len())];
        if due.is_empty() {
            return false;
        }
        match socket.write(due) {
            Ok(length) => {
                self.sent.extend(self.queue.drain(..length));
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // The server has closed.
            Err(_) => {
                self.queue.clear();
                self.ended_sending = true;
                false
            }
        }
    }

    /// Reads up to so many bytes; returns whether there were any.
    pub(super) fn receive(&mut self, most: usize) -> bool {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.saw_end) else {
            return false;
        };
        let mut space = vec![0; most.clamp(1, 1 << 16)];
        match socket.read(&mut space) {
            Ok(0) => self.saw_end = true,
            Ok(length) => {
                self.received.extend_from_slice(&space[..length]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.saw_end = true,
        }
        false
    }

    pub(super) fn end_sending(&mut self) {
        self.queue.clear();
        self.ended_sending = true;
        if let Some(socket) = &self.socket {
            socket.shutdown(Shutdown::Write).ok();
        }
    }

    pub(super) fn vanish(&mut self) {
        self.vanished |= !self.saw_end;
        self.socket = None;
    }

    /// It is there, and may still get something.
    pub(super) fn waits(&self) -> bool {
        !self.vanished && !self.saw_end
    }

    /// Leaves once it knows that nothing more will come.
    pub(super) fn leave_at_end(&mut self) {
        if self.saw_end {
            self.socket = None;
        }
    }
}

/// Bytes that may wait to be sent.
const MOST_QUEUED: usize = 1 << 20;

/// A request, mostly well-formed, of a kind and a size that the script tells.
pub(super) fn request(script: &mut Script) -> Vec<u8> {
    let kind = script.below(20);
    let size = script.size();
    let length = |head: &str, body: &[u8]| {
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let in_chunks = |head: &str, body: &[u8]| {
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        [head.as_bytes(), &chunks(body, 1 + size / 3)].concat()
    };
    match kind {
        0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        1 => b"GET /a?b=c HTTP/1.0\r\n\r\n".to_vec(),
        2 => b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        3 => length("GET / HTTP/1.1\r\nHost: a\r\n", &filling(size)),
        4 => length(FORM, &filling(size)),
        5 => in_chunks(FORM, &filling(size)),
        6 | 7 => length(UPLOAD, &body(size)),
        8 => in_chunks(UPLOAD, &body(size)),
        9 => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        10 => b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec(),
        11 => length(&format!("{UPLOAD}Expect: 100-continue\r\n"), &body(size)),
        12 => length(UPLOAD, &body(size)[..size / 2]),
        13 => length(UPLOAD, &filling(size)),
        14 => b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        15 => length(&format!("{FORM}Expect: 100-continue\r\n"), &filling(size)),
        16 => b"GET /\r\n\r\n".to_vec(),
        17 => length("GET / HTTP/1.1\r\nHost: a\r\n", &filling(70_000)),
        18 => in_chunks("GET / HTTP/1.1\r\nHost: a\r\n", &filling(size)),
        _ => b"POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    }
}

const FORM: &str = "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\n";
const UPLOAD: &str =
    "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b0\r\n";

/// A field, a file of this size, and an empty file.
fn body(size: usize) -> Vec<u8> {
    let mut body = b"--b0\r\nA: form-data; name=\"n\"\r\n\r\nvalue\r\n".to_vec();
    body.extend(b"--b0\r\nA: form-data; name=\"f\"; filename=\"x\"\r\n\r\n");
    body.extend(filling(size));
    body.extend(b"\r\n--b0\r\nA: form-data; name=\"g\"; filename=\"y\"\r\n\r\n\r\n--b0--\r\n");
    body
}

fn filling(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 % 251) as u8).collect()
}

fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
        coded.extend(chunk);
        coded.extend(b"\r\n");
    }
    coded.extend(b"0\r\n\r\n");
    coded
}
