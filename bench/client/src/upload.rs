//! The upload workload: one `multipart/form-data` POST with a field and one large file of
//! pseudo-random bytes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::response::{Response, read_response};

/// Bytes handed to one `send`. The block stays in the processor's cache, so the client costs
/// little more than the kernel's copy.
const BLOCK_SIZE: usize = 1 << 20;

/// A server that neither reads nor answers for this long has failed.
const PATIENCE: Duration = Duration::from_secs(300);

const BOUNDARY: &str = "----------------------------benchUpload7MA4YWxkTrZu0gW";

/// Sends a file of `file_size` bytes to `address` (HOST:PORT).
///
/// The line for the harness: `status`, `seconds` from before connecting until the response was
/// read, and `counted`, which says what the server's own count of bytes agrees with: the `file`,
/// the `body` or the whole `request`. It is `nothing` if the server gave no number. A number that
/// agrees with none of them is an error, and so is a status other than 200.
pub fn run(address: &str, file_size: u64) -> Result<String, String> {
    let request = UploadRequest::new(address, file_size);
    let block = pseudo_random_block();

    let started = Instant::now();
    let response =
        send(address, &request, &block).map_err(|error| format!("{address}: {error}"))?;
    let seconds = started.elapsed().as_secs_f64();

    let counted = check(&response, &request)?;
    let status = response.status;
    Ok(format!(
        "status={status} seconds={seconds:.6} counted={counted}"
    ))
}

/// All of a request but the file's bytes.
pub struct UploadRequest {
    head: String,
    before_file: String,
    file_size: u64,
    after_file: String,
}

impl UploadRequest {
    /// A request for `address` (HOST:PORT).
    pub fn new(address: &str, file_size: u64) -> Self {
        let before_file = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nbenchmark\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"benchmark.bin\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let after_file = format!("\r\n--{BOUNDARY}--\r\n");
        let content_length = before_file.len() as u64 + file_size + after_file.len() as u64;
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench-client\r\nAccept: */*\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
             Content-Length: {content_length}\r\nConnection: close\r\n\r\n"
        );
        Self {
            head,
            before_file,
            file_size,
            after_file,
        }
    }

    fn body_size(&self) -> u64 {
        self.before_file.len() as u64 + self.file_size + self.after_file.len() as u64
    }

    fn size(&self) -> u64 {
        self.head.len() as u64 + self.body_size()
    }
}

/// Sends the request and reads the response. A server may answer and close before it has read
/// everything: then sending fails, and the response tells why.
fn send(address: &str, request: &UploadRequest, block: &[u8]) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent = write_request(&mut stream, request, block);
    match (read_response(&mut stream), sent) {
        (Ok(response), _) => Ok(response),
        (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
    }
}

/// Sends all of a request, with the block as the content of the file, repeated.
pub fn write_request(
    stream: &mut impl Write,
    request: &UploadRequest,
    block: &[u8],
) -> io::Result<()> {
    stream.write_all(request.head.as_bytes())?;
    stream.write_all(request.before_file.as_bytes())?;
    let mut left = request.file_size;
    while left > 0 {
        let count = left.min(block.len() as u64);
        stream.write_all(&block[..count as usize])?;
        left -= count;
    }
    stream.write_all(request.after_file.as_bytes())
}

fn check(response: &Response, request: &UploadRequest) -> Result<&'static str, String> {
    if response.status != 200 {
        return Err(format!("answered with status {}", response.status));
    }
    match response.number() {
        None => Ok("nothing"),
        Some(number) if number == request.file_size => Ok("file"),
        Some(number) if number == request.body_size() => Ok("body"),
        Some(number) if number == request.size() => Ok("request"),
        Some(number) => Err(format!(
            "counted {number} bytes of a file of {}",
            request.file_size
        )),
    }
}

/// Bytes as a compressed file or a picture has them (xorshift64*): line ends and dashes occur as
/// often as anything else.
pub fn pseudo_random_block() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = Vec::with_capacity(BLOCK_SIZE);
    while block.len() < BLOCK_SIZE {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        block.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_as_many_bytes_as_it_announces() -> io::Result<()> {
        let block = pseudo_random_block();
        for file_size in [0, 1, BLOCK_SIZE as u64, 2 * BLOCK_SIZE as u64 + 7] {
            let request = UploadRequest::new("127.0.0.1:1", file_size);
            let mut sent = Vec::new();
            write_request(&mut sent, &request, &block)?;
            assert_eq!(sent.len() as u64, request.size());
            let announced = format!("Content-Length: {}\r\n", request.body_size());
            assert!(request.head.contains(&announced));
        }
        Ok(())
    }

    #[test]
    fn the_block_does_not_contain_the_boundary() {
        let block = pseudo_random_block();
        assert!(
            !block
                .windows(BOUNDARY.len())
                .any(|window| window == BOUNDARY.as_bytes())
        );
    }

    #[test]
    fn tells_what_the_server_counted() {
        let request = UploadRequest::new("127.0.0.1:1", 1000);
        let outcome = |status, body: String| {
            let response = Response {
                status,
                keeps_connection: false,
                body: body.into_bytes(),
            };
            check(&response, &request)
        };
        assert_eq!(outcome(200, "1000\n".into()), Ok("file"));
        assert_eq!(outcome(200, request.body_size().to_string()), Ok("body"));
        assert_eq!(outcome(200, request.size().to_string()), Ok("request"));
        assert_eq!(outcome(200, String::new()), Ok("nothing"));
        assert!(outcome(200, "999".into()).is_err());
        assert!(outcome(413, "1000".into()).is_err());
    }
}
