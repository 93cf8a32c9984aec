//! The least a server can do with an upload: copy the body from the socket to a file, as it comes.
//!
//! `bench-copier PORT DIRECTORY` listens on 127.0.0.1, reads one request head, copies
//! `Content-Length` bytes to a new file by reads and writes of up to 1 MiB, answers with the
//! number of bytes copied, and removes the file. It serves one connection at a time and parses
//! no more of HTTP than it must.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process;

/// Bytes of one read, and so at most of one write.
const COPY_BUFFER_SIZE: usize = 1 << 20;

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let port = arguments.next().and_then(|text| text.parse::<u16>().ok());
    let (Some(port), Some(directory), None) = (port, arguments.next(), arguments.next()) else {
        eprintln!("usage: bench-copier PORT DIRECTORY");
        process::exit(2);
    };

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let path = PathBuf::from(directory).join(format!("copier-{}", process::id()));
    let mut buffer = vec![0; COPY_BUFFER_SIZE];
    for stream in listener.incoming() {
        if let Err(error) = serve(stream?, &path, &mut buffer) {
            eprintln!("bench-copier: {error}");
        }
    }
    Ok(())
}

/// Answers one connection. One that ends before it sent anything is somebody looking whether the
/// server is there, and no error.
fn serve(mut stream: TcpStream, path: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let (head_length, filled) = match read_head(&mut stream, buffer)? {
        Some(lengths) => lengths,
        None => return Ok(()),
    };
    let content_length = content_length(&buffer[..head_length])
        .ok_or_else(|| invalid("no Content-Length in the request head"))?;

    let mut file = File::create(path)?;
    let copied = copy_body(
        &mut stream,
        &mut file,
        buffer,
        head_length..filled,
        content_length,
    );
    drop(file);
    let answered = copied.and_then(|copied| answer(&mut stream, copied));
    drop(stream);
    fs::remove_file(path)?;
    answered
}

/// Reads until the head is complete: its length, and how much of the buffer is filled.
fn read_head(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<(usize, usize)>> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(invalid("the request head is cut short or too long")),
            count => filled += count,
        }
        if let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
            return Ok(Some((end + 4, filled)));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn content_length(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if !name.eq_ignore_ascii_case("content-length") {
            return None;
        }
        value.trim().parse().ok()
    })
}

/// Copies what is in the buffer already, then the rest: the number of bytes that were copied.
fn copy_body(
    stream: &mut TcpStream,
    file: &mut File,
    buffer: &mut [u8],
    received: std::ops::Range<usize>,
    content_length: u64,
) -> io::Result<u64> {
    file.write_all(&buffer[received.clone()])?;
    let mut copied = received.len() as u64;
    while copied < content_length {
        let count = match stream.read(buffer) {
            Ok(0) => return Err(invalid("the request body is cut short")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        file.write_all(&buffer[..count])?;
        copied += count as u64;
    }
    Ok(copied)
}

fn answer(stream: &mut TcpStream, copied: u64) -> io::Result<()> {
    let body = format!("{copied}\n");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes())
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn finds_the_content_length_whatever_its_case() {
        assert_eq!(
            content_length(b"POST / HTTP/1.1\r\ncontent-LENGTH:  12 \r\n\r\n"),
            Some(12)
        );
        assert_eq!(
            content_length(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
            None
        );
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"), None);
    }

    #[test]
    fn copies_the_whole_body_and_says_how_much_it_was() -> io::Result<()> {
        let body = vec![b'x'; 3 * COPY_BUFFER_SIZE + 17];
        let (answer, left) = upload(&body)?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(answer.ends_with(&format!("\r\n\r\n{}\n", body.len())));
        assert!(!left);
        Ok(())
    }

    /// The answer to a body sent to `serve`, and whether it left the file behind.
    fn upload(body: &[u8]) -> io::Result<(String, bool)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let path = env::temp_dir().join(format!(
            "bench-copier-test-{}-{}",
            process::id(),
            address.port()
        ));
        thread::scope(|scope| {
            let path = &path;
            let server = scope
                .spawn(move || serve(listener.accept()?.0, path, &mut vec![0; COPY_BUFFER_SIZE]));
            let mut stream = TcpStream::connect(address)?;
            let length = body.len();
            stream.write_all(
                format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
            )?;
            stream.write_all(body)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            server
                .join()
                .map_err(|_| io::Error::other("serve panicked"))??;
            Ok((answer, path.exists()))
        })
    }
}
