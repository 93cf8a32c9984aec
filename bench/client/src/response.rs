//! Reads one HTTP response, as much of HTTP as the benchmarked servers use: a status, and a body
//! that ends by `Content-Length`, by its last chunk or with the connection.

use std::io::{self, Read};

/// Longest response that is read, in bytes. The workloads ask for short ones.
const MAX_RESPONSE_SIZE: usize = 1 << 20;

/// A response that has been read to its end.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// The status code, 200 for instance.
    pub status: u16,
    /// Whether the connection may be used for another request.
    pub keeps_connection: bool,
    /// The content, free of its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first number in the body that stands on a line of its own, or `None`. Servers answer
    /// an upload with its size.
    pub fn number(&self) -> Option<u64> {
        let text = std::str::from_utf8(&self.body).ok()?;
        text.lines().find_map(|line| line.trim().parse().ok())
    }
}

/// Reads a response from `stream`. Errors of the socket are passed on; what is no HTTP response
/// is [`io::ErrorKind::InvalidData`].
pub fn read_response(stream: &mut impl Read) -> io::Result<Response> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(response) = parse(&bytes)? {
            return Ok(response);
        }
        let count = match stream.read(&mut buffer) {
            // A server that had enough resets the connection; its answer may be here already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => 0,
            other => other?,
        };
        if count == 0 {
            return at_end(&bytes);
        }
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() > MAX_RESPONSE_SIZE {
            return Err(invalid("the response is too long"));
        }
    }
}

/// The response, if `bytes` hold all of it as its framing tells.
fn parse(bytes: &[u8]) -> io::Result<Option<Response>> {
    let Some((head, body)) = split_head(bytes)? else {
        return Ok(None);
    };
    if head.chunked {
        let unwrapped = unwrap_chunks(body)?;
        return Ok(unwrapped.map(|body| head.with(body)));
    }
    match head.content_length {
        Some(length) if body.len() >= length => Ok(Some(head.with(body[..length].to_vec()))),
        _ => Ok(None),
    }
}

/// The response when the connection has ended.
fn at_end(bytes: &[u8]) -> io::Result<Response> {
    match split_head(bytes)? {
        Some((mut head, body)) if !head.chunked && head.content_length.is_none() => {
            head.keeps_connection = false;
            Ok(head.with(body.to_vec()))
        }
        Some(_) => Err(invalid("the connection ended within the response body")),
        None => Err(invalid("the connection ended without a response")),
    }
}

struct ResponseHead {
    status: u16,
    keeps_connection: bool,
    content_length: Option<usize>,
    chunked: bool,
}

impl ResponseHead {
    fn with(self, body: Vec<u8>) -> Response {
        Response {
            status: self.status,
            keeps_connection: self.keeps_connection,
            body,
        }
    }
}

/// The final head and the bytes after it; interim responses (1xx) are skipped.
fn split_head(mut bytes: &[u8]) -> io::Result<Option<(ResponseHead, &[u8])>> {
    loop {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = parse_head(&bytes[..end])?;
        bytes = &bytes[end + 4..];
        if head.status >= 200 {
            return Ok(Some((head, bytes)));
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<ResponseHead> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let status_line = lines.next().unwrap_or_default();
    let status = Some(status_line)
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("no HTTP status line"))?;

    let mut parsed = ResponseHead {
        status,
        keeps_connection: status_line.starts_with("HTTP/1.1"),
        content_length: None,
        chunked: false,
    };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => parsed.content_length = value.parse().ok(),
            "transfer-encoding" => parsed.chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => parsed.keeps_connection &= !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok(parsed)
}

/// The content of a chunked body, if the last chunk is there.
fn unwrap_chunks(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|text| usize::from_str_radix(text.trim(), 16).ok())
            .filter(|size| *size <= MAX_RESPONSE_SIZE)
            .ok_or_else(|| invalid("a bad chunk size"))?;
        if size == 0 {
            let has_ended = bytes[end..].windows(4).any(|window| window == b"\r\n\r\n");
            return Ok(has_ended.then_some(content));
        }
        bytes = &bytes[end + 2..];
        if bytes.len() < size + 2 {
            return Ok(None);
        }
        content.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `bytes` are read as, arriving one at a time and then ending.
    fn read(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
        struct OneByOne<'a>(&'a [u8]);
        impl Read for OneByOne<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut buffer[..1])
            }
        }
        let response = read_response(&mut OneByOne(bytes)).ok()?;
        Some((response.status, response.body))
    }

    #[test]
    fn reads_each_framing() {
        type Expected<'a> = Option<(u16, &'a [u8])>;
        let cases: [(&[u8], Expected<'_>); 8] = [
            (b"HTTP/1.1 200 OK\r\n\r\n12\n", Some((200, b"12\n"))),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n12surplus",
                Some((200, b"12")),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n1\r\n3\r\n0\r\n\r\n",
                Some((200, b"123")),
            ),
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 413 No\r\n\r\n",
                Some((413, b"")),
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n12", None),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n",
                None,
            ),
            (b"SSH-2.0\r\n\r\n", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            let expected = expected.map(|(status, body)| (status, body.to_vec()));
            assert_eq!(
                read(bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn tells_whether_the_connection_may_be_used_again() -> io::Result<()> {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ];
        for (bytes, expected) in cases {
            let response = read_response(&mut bytes.as_bytes())?;
            assert_eq!(response.keeps_connection, expected, "{bytes:?}");
        }
        Ok(())
    }

    #[test]
    fn finds_the_number_in_the_body() {
        let number = |body: &str| {
            Response {
                status: 200,
                keeps_connection: true,
                body: body.into(),
            }
            .number()
        };
        assert_eq!(number("1073741824"), Some(1 << 30));
        assert_eq!(number("received:\n 17 \n"), Some(17));
        assert_eq!(number("<html>"), None);
    }
}
