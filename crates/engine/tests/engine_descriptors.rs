//! Running out of descriptors, and not leaking any. Alone in its process, since both concern
//! the process as a whole.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use engine::{Engine, Event, ListenSocket, ListenerOptions, RequestId, SocketAddress, Writer};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit};

#[test]
fn descriptors_run_out_and_come_back_and_none_is_leaked() {
    let before = open_descriptors();
    {
        let mut server = Server::new();
        accepting_pauses_and_resumes(&mut server);
        a_timer_resumes_accepting_too(&mut server);
    }
    assert_eq!(open_descriptors(), before);
    {
        let mut server = Server::new();
        let at_rest = open_descriptors();
        for writer in [Writer::Inline, Writer::Threads, Writer::ThreadsOnly] {
            server.engine.set_writer(writer);
            for _ in 0..100 {
                requests_of_every_fate(&mut server);
            }
        }
        assert_eq!(open_descriptors(), at_rest);
        a_received_file_is_closed(&mut server);
        connections_that_idle_make_room(&mut server);
        waker_and_claim_of_the_parent_are_closed(&mut server);
        assert_eq!(fs::read_dir(server.directory.path()).unwrap().count(), 0);
    }
    assert_eq!(open_descriptors(), before);
    a_child_without_descriptors_does_nothing_any_more(&mut Server::new());
    assert_eq!(open_descriptors(), before);
}

/// Three clients, and descriptors for two.
fn accepting_pauses_and_resumes(server: &mut Server) {
    let mut clients: Vec<_> = (0..3).map(|_| server.client(GET)).collect();
    let limit = limit_descriptors(2);
    let first = server.request();
    let second = server.request();
    server.until_out_of_descriptors();
    server.reply(first);
    let third = server.request();
    server.reply(second);
    server.reply(third);
    for client in &mut clients {
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "ok");
    }
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

/// Nothing of the engine's is closed, but somebody else's descriptor.
fn a_timer_resumes_accepting_too(server: &mut Server) {
    let mut client = server.client(GET);
    let elsewhere = File::open("/dev/null").unwrap();
    let limit = limit_descriptors(0);
    server.until_out_of_descriptors();
    drop(elsewhere);
    let request = server.request();
    server.reply(request);
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

fn requests_of_every_fate(server: &mut Server) {
    let upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\
          Content-Type: multipart/form-data; boundary=b\r\n\r\n\
          --b\r\nContent-Disposition: x; name=\"n\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
    let body = &upload[upload
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4..];
    assert_eq!(body.len(), 65);

    let served = server.client(GET);
    let request = server.request();
    server.reply(request);
    drop(served);

    let dropped = server.client(GET);
    let request = server.request();
    server.engine.drop_request(request);
    drop(dropped);

    let detached = server.client(GET);
    let request = server.request();
    drop(server.engine.detach(request));
    drop(detached);

    let duplicated = server.client(GET);
    let request = server.request();
    drop(server.engine.duplicate(request));
    server.reply(request);
    drop(duplicated);

    let malformed = server.client(b"nonsense\r\n\r\n");
    drop(malformed);

    let complete = server.client(upload);
    let request = server.request();
    server.reply(request);
    drop(complete);

    let vanished = server.client(&upload[..upload.len() - 10]);
    drop(vanished);
    while !matches!(server.acknowledged(), Event::Failed { .. }) {}

    server.engine.stop_listener(server.listener);
    while server.engine.is_active() {
        server.engine.flush();
        server.wait();
        let event = server.engine.next_event();
        assert!(matches!(event, None | Some(Event::ListenerDrained { .. })));
    }
    server.engine.start_listener(server.listener).unwrap();
}

/// For a file, and for another descriptor of a socket.
fn connections_that_idle_make_room(server: &mut Server) {
    let idle = idle_client(server);
    let upload = server.client(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 58\r\n\
          Content-Type: multipart/form-data; boundary=b\r\n\r\n\
          --b\r\nContent-Disposition: x; name=\"n\"; filename=\"f\"\r\n\r\n",
    );
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the upload begins");
    };
    let limit = limit_descriptors(0);
    server.engine.acknowledge(request);
    assert!(matches!(server.acknowledged(), Event::FileOpened { .. }));
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    drop((upload, idle));
    while !matches!(server.acknowledged(), Event::Failed { .. }) {}

    let idle = idle_client(server);
    let client = server.client(GET);
    let request = server.request();
    let limit = limit_descriptors(0);
    let duplicate = server.engine.duplicate(request).unwrap();
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    assert!(duplicate.is_ok());
    server.reply(request);
    drop((client, idle));
}

fn idle_client(server: &mut Server) -> TcpStream {
    let mut client = server.client(GET);
    let request = server.request();
    server
        .engine
        .write_head(request, b"HTTP/1.1 200 OK\r\n\r\n");
    server.engine.finish(request);
    server.engine.flush();
    assert_ne!(client.read(&mut [0; 1000]).unwrap(), 0);
    client
}

/// As in a forked child, where the threads are not, and so let go of nothing. Here they are: one
/// has the waker for as long as it takes to use it.
fn waker_and_claim_of_the_parent_are_closed(server: &mut Server) {
    server.engine.spawn(Box::new(|| Ok(())));
    assert!(matches!(server.next(), Event::WorkDone { .. }));
    let before = open_descriptors();
    server.engine.after_fork().unwrap();
    // The waker was made anew; the directory is claimed anew when a file comes.
    await_descriptors(before - 1);
    let client = server.client(GET);
    let request = server.request();
    server.reply(request);
    drop(client);
}

/// What it did otherwise, it would do to its parent.
fn a_child_without_descriptors_does_nothing_any_more(server: &mut Server) {
    let limit = limit_descriptors(0);
    server.engine.after_fork().unwrap_err();
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(server.engine.turn().unwrap(), 0);
    server.engine.stop_listener(server.listener);
    server.engine.start_listener(server.listener).unwrap();
    assert!(!server.engine.is_active());
    let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let options = ListenerOptions::default();
    server.engine.listen(socket, options).unwrap_err();
    let own = File::options().write(true).open("/dev/null").unwrap();
    server.engine.adopt(own.into()).unwrap_err();
    server.engine.spawn(Box::new(|| Ok(())));
    assert!(matches!(
        server.engine.next_event(),
        Some(Event::WorkDone { result: Ok(()), .. })
    ));
}

fn a_received_file_is_closed(server: &mut Server) {
    for writer in [Writer::Inline, Writer::Threads, Writer::ThreadsOnly] {
        server.engine.set_writer(writer);
        let part = "--b\r\nContent-Disposition: x; name=\"n\"; filename=\"f\"\r\n\r\nx\r\n";
        let body = format!("{}--b--\r\n", part.repeat(100));
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\n\r\n",
            body.len()
        );
        let before = open_descriptors();
        let client = server.client((head + &body).as_bytes());
        let mut files = Vec::new();
        let request = loop {
            match server.acknowledged() {
                Event::FileOpened { file, .. } => files.push(file),
                Event::Request { request, .. } => break request,
                _ => {}
            }
        };
        assert_eq!(files.len(), 100);
        // Both ends of the connection.
        assert_eq!(open_descriptors(), before + 2);
        let mut content = String::new();
        files[0]
            .open()
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "x");
        server.reply(request);
        drop(client);
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Server {
    engine: Engine,
    listener: engine::ListenerId,
    address: SocketAddress,
    directory: tempfile::TempDir,
    out_of_descriptors: u64,
}

impl Server {
    fn new() -> Server {
        let mut engine = Engine::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        engine.set_temporary_directory(directory.path().to_path_buf());
        engine.prepare_temporary_directory();
        let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.address();
        let listener = engine.listen(socket, ListenerOptions::default()).unwrap();
        Server {
            engine,
            listener,
            address,
            directory,
            out_of_descriptors: 0,
        }
    }

    fn client(&self, bytes: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address.to_string()).unwrap();
        client.write_all(bytes).unwrap();
        client
    }

    fn wait(&mut self) {
        let wait = self.engine.wait_time().unwrap_or(Duration::from_secs(60));
        let wait = Timespec::try_from(wait).unwrap();
        let mut watched = [PollFd::new(&self.engine, PollFlags::IN)];
        rustix::event::poll(&mut watched, Some(&wait)).unwrap();
        self.engine.turn().unwrap();
    }

    fn next(&mut self) -> Event {
        loop {
            self.engine.flush();
            if let Some(event) = self.engine.next_event() {
                if let Event::OutOfDescriptors { listener } = event {
                    assert_eq!(listener, self.listener);
                    self.out_of_descriptors += 1;
                }
                return event;
            }
            self.wait();
        }
    }

    fn until_out_of_descriptors(&mut self) {
        while self.out_of_descriptors == 0 {
            assert!(matches!(self.next(), Event::OutOfDescriptors { .. }));
        }
        self.out_of_descriptors = 0;
    }

    fn acknowledged(&mut self) -> Event {
        let event = self.next();
        if let Some(request) = event.request() {
            self.engine.acknowledge(request);
        }
        event
    }

    fn request(&mut self) -> RequestId {
        loop {
            match self.acknowledged() {
                Event::Request { request, .. } => return request,
                Event::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn reply(&mut self, request: RequestId) {
        self.engine.write(request, b"ok");
        self.engine.finish(request);
        self.engine.flush();
    }
}

/// Leaves so many descriptors; returns the limit as it was.
fn limit_descriptors(left: usize) -> Rlimit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    // A new descriptor has the lowest number that is free.
    let next: Vec<_> = (0..=left)
        .map(|_| File::open("/dev/null").unwrap())
        .collect();
    let limit = Rlimit {
        current: next.last().map(|last| last.as_raw_fd() as u64),
        maximum: before.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    before
}

/// Threads may have some for a moment.
fn await_descriptors(count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while open_descriptors() != count && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(open_descriptors(), count);
}

fn open_descriptors() -> usize {
    // One of them is that of the directory that is being read.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}
