//! The server and the clients of these tests.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::{
    Engine, Event, Head, ListenSocket, ListenerId, ListenerOptions, RequestId, SocketAddress,
    TemporaryFile,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use tempfile::TempDir;

/// How long to wait for the next event, whatever else the machine does; a test that hangs
/// ends with it.
const PATIENCE: Duration = Duration::from_secs(match option_env!("TEST_DEADLINE") {
    Some(seconds) => match u64::from_str_radix(seconds, 10) {
        Ok(seconds) => seconds,
        Err(_) => panic!("TEST_DEADLINE is a number of seconds"),
    },
    None => 60,
});

/// An engine with one listener on loopback and a directory for its files.
pub struct Server {
    pub engine: Engine,
    pub listener: ListenerId,
    pub address: SocketAddr,
    pub directory: TempDir,
    last_event: Instant,
    /// Finished replies that their clients have not taken yet.
    pub draining: Vec<RequestId>,
}

/// What a request brought, up to its reply.
#[derive(Default)]
pub struct Received {
    pub request: Option<RequestId>,
    pub head: Option<Rc<Head>>,
    pub body: Option<Vec<u8>>,
    pub fields: Vec<(String, String)>,
    pub files: Vec<ReceivedFile>,
}

/// A file and what was reported of it.
pub struct ReceivedFile {
    pub name: String,
    pub file_name: String,
    pub file: TemporaryFile,
    pub reported: Vec<u8>,
    pub size: Option<u64>,
}

impl Server {
    pub fn new(options: ListenerOptions) -> Server {
        let mut engine = Engine::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        engine.set_temporary_directory(directory.path().to_path_buf());
        let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let SocketAddress::Ip(address) = socket.address() else {
            panic!("listening on loopback");
        };
        let listener = engine.listen(socket, options).unwrap();
        Server {
            engine,
            listener,
            address,
            directory,
            last_event: Instant::now(),
            draining: Vec::new(),
        }
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// A client that has sent this.
    pub fn client(&self, bytes: &[u8]) -> TcpStream {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        client
    }

    /// One round of the outer loop.
    pub fn step(&mut self) {
        assert!(
            self.last_event.elapsed() < PATIENCE,
            "nothing happens any more"
        );
        self.engine.flush();
        let wait = self.engine.wait_time().unwrap_or(PATIENCE).min(PATIENCE);
        let wait = Timespec::try_from(wait).unwrap();
        let mut watched = [PollFd::new(&self.engine, PollFlags::IN)];
        rustix::event::poll(&mut watched, Some(&wait)).unwrap();
        self.engine.turn().unwrap();
    }

    /// Waits for the next event, which is not acknowledged.
    pub fn next(&mut self) -> Event {
        loop {
            self.engine.flush();
            if let Some(event) = self.engine.next_event() {
                self.last_event = Instant::now();
                return event;
            }
            self.step();
        }
    }

    /// Goes on until the condition holds; no event may come but those of a reply whose client
    /// is slow, and that of a stopped listener.
    pub fn until(&mut self, mut condition: impl FnMut(&Engine) -> bool) {
        loop {
            self.engine.flush();
            if condition(&self.engine) {
                return;
            }
            self.step();
            self.expect_no_event();
        }
    }

    /// Goes on while a client does something; no event may come but those of a reply whose
    /// client is slow, and that of a stopped listener.
    pub fn until_done<T>(&mut self, client: JoinHandle<T>) -> T {
        while !client.is_finished() {
            self.engine.flush();
            let wait = Timespec::try_from(Duration::from_millis(1)).unwrap();
            let mut watched = [PollFd::new(&self.engine, PollFlags::IN)];
            rustix::event::poll(&mut watched, Some(&wait)).unwrap();
            self.engine.turn().unwrap();
            self.expect_no_event();
        }
        client.join().unwrap()
    }

    fn expect_no_event(&mut self) {
        while let Some(event) = self.engine.next_event() {
            match event {
                Event::Draining { request, .. } => self.draining.push(request),
                Event::Drained { request } if self.draining.contains(&request) => {
                    self.draining.retain(|&draining| draining != request);
                }
                Event::ListenerDrained { .. } => {}
                event => panic!("unexpected {event:?}"),
            }
        }
    }

    /// Receives one request completely; the `Request` event is acknowledged too.
    pub fn receive(&mut self) -> Received {
        let mut received = Received::default();
        while received.request.is_none() {
            let event = self.next();
            let request = event.request();
            received.take(event);
            if let Some(request) = request {
                self.engine.acknowledge(request);
            }
        }
        received
    }

    /// Receives a request, and gives the reply that is expected by [`reply_of`].
    pub fn receive_and_reply(&mut self, reply: &[u8]) -> Received {
        let received = self.receive();
        let request = received.request.unwrap();
        assert!(self.engine.write(request, reply));
        self.engine.finish(request);
        received
    }

    pub fn until_no_connection(&mut self) {
        self.engine.stop_listener(self.listener);
        self.until(|engine| !engine.is_active());
        self.engine.start_listener(self.listener).unwrap();
    }

    pub fn files_left(&self) -> usize {
        files_in(self.directory.path())
    }
}

impl Received {
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Multipart { head, .. } => self.head = Some(head),
            Event::Field { name, value, .. } => {
                let value = String::from_utf8(value.into_bytes()).unwrap();
                self.fields.push((String::from_utf8(name).unwrap(), value));
            }
            Event::FileOpened {
                name,
                file_name,
                file,
                ..
            } => {
                assert_eq!(file.size(), 0);
                self.files.push(ReceivedFile {
                    name: String::from_utf8(name).unwrap(),
                    file_name: String::from_utf8(file_name.into_bytes()).unwrap(),
                    file,
                    reported: Vec::new(),
                    size: None,
                });
            }
            Event::FileData { data, size, .. } => {
                let file = self.files.last_mut().unwrap();
                assert!((1..=1024 * 1024).contains(&data.len()));
                file.reported.extend_from_slice(&data);
                assert_eq!(size, file.reported.len() as u64);
            }
            Event::FileReceived { size, .. } => {
                let file = self.files.last_mut().unwrap();
                assert_eq!(file.file.size(), size);
                assert_eq!(file.file.path().metadata().unwrap().len(), size);
                file.size = Some(size);
            }
            Event::Request {
                request,
                head,
                body,
            } => {
                self.request = Some(request);
                self.head = head.or(self.head.take());
                self.body = body;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

impl ReceivedFile {
    pub fn content(&self) -> Vec<u8> {
        assert!(self.size.is_some(), "the file is complete");
        fs::read(self.file.path()).unwrap()
    }
}

pub fn files_in(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// A part that is a file.
pub fn file_part(name: &str, file_name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"; \
         filename=\"{file_name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// A part that is an ordinary field.
pub fn field_part(name: &str, value: &str) -> Vec<u8> {
    format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        .into_bytes()
}

pub const CLOSING: &[u8] = b"--b0undary--\r\n";

/// A request whose body is these parts.
pub fn multipart(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = multipart_body(parts);
    [&multipart_head(body.len() as u64)[..], &body].concat()
}

pub fn multipart_body(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat()[..], CLOSING].concat()
}

/// A body in chunks of this size.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

pub fn multipart_head(length: u64) -> Vec<u8> {
    format!(
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=b0undary\r\n\r\n"
    )
    .into_bytes()
}

/// Bytes that do not repeat soon, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Numbers that look random and are the same each time.
pub struct Dice(Vec<u8>, usize);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(noise(4096, seed), 0)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.1 = (self.1 + 3) % (self.0.len() - 3);
        let [low, middle, high] = [self.0[self.1], self.0[self.1 + 1], self.0[self.1 + 2]];
        let number = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        number % sides
    }
}

pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Replies with [`HEAD`] and "page".
pub fn answer(server: &mut Server, request: RequestId) {
    server.engine.write_head(request, HEAD);
    server.engine.write(request, b"page");
    server.engine.finish(request);
    server.engine.flush();
}

/// Reads what [`answer`] sent, while the connection goes on.
pub fn read_page(client: &mut TcpStream) {
    let mut reply = Vec::new();
    while !reply.ends_with(b"page") {
        let mut piece = [0; 1000];
        let length = client.read(&mut piece).unwrap();
        assert_ne!(length, 0, "the connection goes on");
        reply.extend_from_slice(&piece[..length]);
    }
}

/// Sends from a thread of its own, and returns everything that came back.
pub fn exchange(mut client: TcpStream, bytes: Vec<u8>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        // A server that refuses may close before everything was sent.
        let _ = client.write_all(&bytes);
        read_all(&mut client)
    })
}

/// Reads to the end from a thread of its own.
pub fn reply_of(mut client: TcpStream) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || read_all(&mut client))
}

/// Everything up to the end, be it an orderly one or not.
pub fn read_all(client: &mut impl Read) -> Vec<u8> {
    let mut reply = Vec::new();
    match client.read_to_end(&mut reply) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    reply
}

pub fn end_sending(client: &TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
}
