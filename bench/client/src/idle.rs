//! Many connections that are kept open after a request each, for what they cost a server's memory.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::response::read_response;
use crate::standard_input;

/// A server that does not answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the connections one after the other, has each answered, and keeps them until the
/// standard input ends. The line for the harness: how many the server has kept `open` till then.
pub fn run(address: &str, count: usize) -> Result<String, String> {
    let streams: Vec<TcpStream> = (0..count)
        .map(|_| open(address))
        .collect::<io::Result<_>>()
        .map_err(|error| format!("{address}: {error}"))?;
    println!("ready");
    standard_input::wait_for_end();
    let open = streams.iter().filter(|stream| is_open(stream)).count();
    Ok(format!("open={open}"))
}

fn open(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let response = read_response(&mut stream)?;
    if response.status != 200 {
        return Err(io::Error::other(format!("status {}", response.status)));
    }
    Ok(stream)
}

/// Whether the server has neither closed the connection nor sent anything more.
fn is_open(stream: &TcpStream) -> bool {
    let peeked = stream
        .set_nonblocking(true)
        .and_then(|()| stream.peek(&mut [0]));
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn sees_which_connections_the_server_has_closed() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        assert!(is_open(&stream));
        drop(accepted);
        stream.set_nonblocking(false)?;
        stream.peek(&mut [0])?;
        assert!(!is_open(&stream));
        Ok(())
    }
}
