//! Replies: what the application has written, and what a client makes of what it got.

use engine::http::request_head::Version;

/// The heads that the application writes. `{}` is the number of the request.
pub(super) const HEADS: &[(u16, &str)] = &[
    (200, "HTTP/1.1 200 OK\r\nX-Request: {}\r\n\r\n"),
    (
        200,
        "HTTP/1.1 200 OK\r\nX-Request: {}\r\nContent-Length: 20\r\n\r\n",
    ),
    (204, "HTTP/1.1 204 No Content\r\nX-Request: {}\r\n\r\n"),
    (304, "HTTP/1.1 304 Not Modified\r\nX-Request: {}\r\n\r\n"),
    (
        200,
        "HTTP/1.1 200 OK\r\nX-Request: {}\r\nConnection: close\r\n\r\n",
    ),
    (103, "HTTP/1.1 103 Early Hints\r\nX-Request: {}\r\n\r\n"),
    (
        101,
        "HTTP/1.1 101 Switching Protocols\r\nX-Request: {}\r\n\r\n",
    ),
    (
        404,
        "HTTP/1.1 404 Not Found\r\nX-Request: {}\r\nContent-Length: 0\r\n\r\n",
    ),
];

/// What the application has written to one request.
#[derive(Clone, Default)]
pub(super) struct Written {
    pieces: Vec<Piece>,
    /// It is all that there will be, and is to arrive.
    pub(super) finished: bool,
}

#[derive(Clone)]
enum Piece {
    Head(u16, Vec<u8>),
    Data(Vec<u8>),
}

/// The request that a reply is to.
pub(super) struct Question<'a> {
    pub(super) number: u64,
    pub(super) method: &'a [u8],
    pub(super) version: Version,
}

impl Written {
    pub(super) fn head(&mut self, status: u16, head: &[u8]) {
        self.pieces.push(Piece::Head(status, head.to_vec()));
    }

    pub(super) fn data(&mut self, data: &[u8]) {
        self.pieces.push(Piece::Data(data.to_vec()));
    }

    fn is_interim(piece: &Piece) -> bool {
        matches!(piece, Piece::Head(103, _))
    }
}

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another one may follow.
    Next,
    /// With the connection.
    Close,
    /// The connection has ended before.
    Short,
}

/// Takes the reply to this question off what a client got. Returns how it ends.
pub(super) fn take(written: &Written, question: &Question, stream: &mut &[u8]) -> End {
    let mut pieces = &written.pieces[..];
    while let [first, rest @ ..] = pieces {
        if !Written::is_interim(first) {
            break;
        }
        pieces = rest;
    }
    skip_interim(question, stream);
    if !written.finished && is_refusal(stream) {
        // What was written had not begun to be sent when the request failed.
        return End::Close;
    }
    match pieces {
        [] => End::Close,
        [Piece::Head(status, head), rest @ ..] => {
            let expected = bytes_of(rest);
            let length = match has_line(head, "content-length: 20") {
                // What goes through a tunnel has no length.
                _ if is_tunnel(*status, question) => None,
                true => Some(20),
                false => has_line(head, "content-length: 0").then_some(0),
            };
            let kept = expected.len().min(length.unwrap_or(usize::MAX));
            take_framed(
                *status,
                question,
                &expected[..kept],
                written.finished,
                stream,
            )
        }
        raw => {
            check_body(stream, &bytes_of(raw), written.finished, question);
            *stream = &[];
            End::Close
        }
    }
}

/// Takes off the words to go on, and the hints that the application gives.
pub(super) fn skip_interim(question: &Question, stream: &mut &[u8]) {
    while stream.starts_with(b"HTTP/1.1 100 ") || stream.starts_with(b"HTTP/1.1 103 ") {
        assert_eq!(question.version, Version::Http11, "an interim reply");
        let Some((_, rest)) = split_head(stream) else {
            *stream = &[];
            return;
        };
        *stream = rest;
    }
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let bytes = pieces.iter().flat_map(|piece| match piece {
        Piece::Head(_, bytes) | Piece::Data(bytes) => bytes,
    });
    bytes.copied().collect()
}

fn take_framed(
    status: u16,
    question: &Question,
    expected: &[u8],
    finished: bool,
    stream: &mut &[u8],
) -> End {
    let Some((head, rest)) = split_head(stream) else {
        assert!(!finished, "a head that does not arrive");
        *stream = &[];
        return End::Short;
    };
    *stream = rest;
    assert!(
        head.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
        "{}",
        head.escape_ascii()
    );
    let mark = format!("x-request: {}", question.number);
    assert!(has_line(head, &mark), "{}", head.escape_ascii());
    let closes = has_line(head, "connection: close");
    let end = if closes { End::Close } else { End::Next };
    let is_bodyless = question.method == b"HEAD" || matches!(status, 204 | 304);
    if is_bodyless && status != 101 {
        return end;
    }
    if is_tunnel(status, question) {
        check_body(stream, expected, finished, question);
        *stream = &[];
        return End::Close;
    }
    if has_line(head, "transfer-encoding: chunked") {
        assert_eq!(question.version, Version::Http11, "chunks");
        let (body, is_whole) = take_chunks(stream);
        check_body(&body, expected, is_whole || finished, question);
        assert!(finished || !is_whole, "an end that nobody has written");
        return if is_whole { end } else { End::Short };
    }
    let Some(length) = content_length(head) else {
        assert!(closes, "a reply without an end");
        check_body(stream, expected, finished, question);
        *stream = &[];
        return End::Close;
    };
    let body = &stream[..length.min(stream.len())];
    *stream = &stream[body.len()..];
    check_body(body, expected, finished, question);
    if body.len() == length {
        end
    } else {
        End::Short
    }
}

fn is_tunnel(status: u16, question: &Question) -> bool {
    status == 101 || question.method == b"CONNECT" && status == 200
}

fn check_body(body: &[u8], expected: &[u8], whole: bool, question: &Question) {
    let number = question.number;
    let is_prefix = expected.starts_with(body);
    assert!(is_prefix, "request {number}: {}", body.escape_ascii());
    let (got, wanted) = (body.len(), expected.len());
    assert!(
        !whole || got == wanted,
        "request {number}: {got} of {wanted}"
    );
}

fn is_refusal(stream: &[u8]) -> bool {
    let is_error = stream.starts_with(b"HTTP/1.1 4") || stream.starts_with(b"HTTP/1.1 5");
    is_error && split_head(stream).is_some_and(|(head, _)| !has_mark(head))
}

fn has_mark(head: &[u8]) -> bool {
    head.windows(10).any(|ten| ten == b"X-Request:")
}

/// What a client has got that is gone, but for a head at the end that is not whole.
pub(super) fn without_cut_head(stream: &[u8]) -> &[u8] {
    const BEGINNING: &[u8] = b"HTTP/1.1 ";
    let begins = |&at: &usize| {
        let rest = &stream[at..];
        rest.starts_with(BEGINNING) || BEGINNING.starts_with(rest)
    };
    match (0..stream.len()).rev().find(begins) {
        Some(at) if split_head(&stream[at..]).is_none() => &stream[..at],
        _ => stream,
    }
}

/// Whether more should follow of what stands at the end, which is no reply of the application.
pub(super) fn is_cut(stream: &[u8]) -> bool {
    match split_head(stream) {
        Some((head, rest)) if head.starts_with(b"HTTP/1.1 100 ") => is_cut(rest),
        Some((head, body)) => content_length(head).is_some_and(|length| body.len() < length),
        None => !stream.is_empty(),
    }
}

/// The status of the refusal that may stand at the end.
pub(super) fn refusal_at_end(mut stream: &[u8]) -> Option<u16> {
    while stream.starts_with(b"HTTP/1.1 100 ") {
        (_, stream) = split_head(stream)?;
    }
    if stream.is_empty() {
        return None;
    }
    assert!(is_refusal(stream), "{}", stream.escape_ascii());
    let (head, body) = split_head(stream).expect("a whole head");
    assert!(has_line(head, "connection: close"));
    let length = content_length(head);
    assert!(
        body.is_empty() || Some(body.len()) == length,
        "{}",
        stream.escape_ascii()
    );
    let status = head.get("HTTP/1.1 ".len()..)?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

fn split_head(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = stream.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(stream.split_at(end + 4))
}

fn has_line(head: &[u8], line: &str) -> bool {
    let head = head.to_ascii_lowercase();
    let mut lines = head.split(|&byte| byte == b'\n');
    lines.any(|found| found.strip_suffix(b"\r").unwrap_or(found) == line.as_bytes())
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8(head.to_ascii_lowercase()).unwrap();
    let line = head
        .lines()
        .find(|line| line.starts_with("content-length:"))?;
    line["content-length:".len()..].trim().parse().ok()
}

/// The data of all chunks that are there, and whether the last one is.
fn take_chunks(stream: &mut &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = stream.windows(2).position(|two| two == b"\r\n") else {
            *stream = &[];
            return (body, false);
        };
        let size = std::str::from_utf8(&stream[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let rest = &stream[end + 2..];
        if size == 0 {
            *stream = rest.strip_prefix(b"\r\n").unwrap_or_default();
            return (body, rest.len() >= 2);
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        let behind = rest.get(size..).unwrap_or_default();
        assert!(behind.starts_with(b"\r\n") || b"\r\n".starts_with(behind));
        *stream = behind.get(2..).unwrap_or_default();
    }
}
