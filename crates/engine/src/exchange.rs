//! What is known of one request and its reply, beside how far it is.

use crate::http::body::Framing;
use crate::http::field_value::has_option;
use crate::http::request_head::{RequestHead, Version};

/// One request and its reply (RFC 9110 §3.4). The next one on the connection begins with another.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// The application has an event and has not acknowledged it.
    pub(crate) gate_closed: bool,
    /// The application knows the request, and [`Event::Request`](crate::Event::Request) was queued
    /// and not taken yet.
    pub(crate) completion_queued: bool,
    /// The application has stopped the request.
    pub(crate) stopped: bool,
    /// The application's handle is of no use any more.
    pub(crate) released: bool,
    /// The client's end is to be reported.
    pub(crate) watched: bool,
    /// It is reported once.
    pub(crate) disconnect_reported: bool,
    pub(crate) notify_drained: bool,
    /// [`Event::Draining`](crate::Event::Draining) is to come if the client does not take the
    /// finished reply at once.
    pub(crate) notify_draining: bool,
    /// [`Event::Drained`](crate::Event::Drained) was queued and not taken yet.
    pub(crate) drained_queued: bool,
    /// The client waits for the word before it sends the body.
    pub(crate) expects_continue: bool,
    /// The application has taken the socket's number, and may use it in ways of its own.
    pub(crate) exposed: bool,
    /// The body that is left to the application.
    pub(crate) left_body: Framing,
    /// The client knows chunked replies, and asks with HEAD or CONNECT.
    pub(crate) knows_chunks: bool,
    pub(crate) answers_head: bool,
    pub(crate) answers_connect: bool,
    /// The client would go on with the connection.
    pub(crate) client_persists: bool,
}

impl Exchange {
    /// What a request head says of the reply to come.
    pub(crate) fn note_head(&mut self, head: &RequestHead) {
        self.knows_chunks = head.version() == Version::Http11;
        self.answers_head = head.method() == b"HEAD";
        self.answers_connect = head.method() == b"CONNECT";
        self.client_persists = persists(head);
    }
}

/// RFC 9112 §9.3: without a word, HTTP/1.1 goes on and HTTP/1.0 does not; `close` goes before
/// anything else.
fn persists(head: &RequestHead) -> bool {
    let mut persists = head.version() == Version::Http11;
    for options in head.header_values("Connection") {
        if has_option(options, b"close") {
            return false;
        }
        persists |= has_option(options, b"keep-alive");
    }
    persists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head_reader::{Parsed, parse};
    use crate::limits::Limits;

    #[test]
    fn the_version_and_the_connection_field_tell_whether_the_client_goes_on() {
        for (version, fields, expected) in [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: close\r\n", false),
            ("HTTP/1.1", "connection: CLOSE\r\n", false),
            ("HTTP/1.1", "Connection: keep-alive\r\n", true),
            ("HTTP/1.1", "Connection: upgrade, close\r\n", false),
            ("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
            ("HTTP/1.1", "Connection: closed\r\n", true),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let input = format!("GET / {version}\r\nHost: a\r\n{fields}\r\n");
            let Ok(Parsed::Complete { head, .. }) = parse(input.as_bytes(), &Limits::default())
            else {
                panic!("a complete head");
            };
            let mut exchange = Exchange::default();
            exchange.note_head(&head);
            assert_eq!(exchange.client_persists, expected, "{version} {fields}");
        }
    }
}
