//! What is sent when, and what becomes of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use engine::{Event, ListenerOptions, RequestId};

use crate::support::{Server, noise, read_all, reply_of};

fn request_of(server: &mut Server, bytes: &[u8]) -> (std::net::TcpStream, RequestId) {
    let client = server.client(bytes);
    let request = server.receive().request.unwrap();
    (client, request)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn output_waits_for_the_threshold_or_a_flush() {
    let mut server = Server::new(ListenerOptions::default());
    let (mut client, request) = request_of(&mut server, GET);
    server.engine.write(request, &[b'a'; 51200]);
    server.engine.flush();
    assert_eq!(server.engine.pending_output(request), 51200);
    server.engine.write(request, b"b");
    server.until(|engine| engine.pending_output(request) <= 51200);
    server.engine.flush_output(request);
    server.until(|engine| engine.pending_output(request) == 0);
    let mut received = vec![0; 51201];
    client.read_exact(&mut received).unwrap();

    server.engine.write(request, b"kept back");
    server.engine.flush();
    assert_eq!(server.engine.pending_output(request), 9);
    server.engine.set_flush_threshold(request, 0);
    server.engine.flush();
    assert_eq!(server.engine.pending_output(request), 0);
    server.engine.write(request, b", now at once");
    server.engine.flush();
    assert_eq!(server.engine.pending_output(request), 0);
    server.engine.finish(request);
    assert_eq!(
        server.until_done(reply_of(client)),
        b"kept back, now at once"
    );
}

#[test]
fn a_slow_reader_gets_everything() {
    let mut server = Server::new(ListenerOptions::default());
    let (mut client, request) = request_of(&mut server, GET);
    let reply = noise(20_000_000, 3);
    server
        .engine
        .output(request, reply.len())
        .unwrap()
        .extend_from_slice(&reply);
    server.engine.finish(request);
    let client = thread::spawn(move || {
        let mut received = Vec::new();
        let mut piece = [0; 10_000];
        loop {
            match client.read(&mut piece).unwrap() {
                0 => return received,
                length => received.extend_from_slice(&piece[..length]),
            }
        }
    });
    let other = server.client(GET);
    server.receive_and_reply(b"meanwhile");
    assert_eq!(server.until_done(reply_of(other)), b"meanwhile");
    assert!(server.until_done(client) == reply);
}

#[test]
fn a_reply_that_is_taken_at_once_is_not_said_to_drain() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(GET);
    server.receive_and_reply(b"reply");
    assert_eq!(server.until_done(reply_of(client)), b"reply");
    assert_eq!(server.draining, []);
}

#[test]
fn a_draining_reply_whose_client_goes_away_is_over() {
    let mut server = Server::new(ListenerOptions::default());
    let (client, request) = request_of(&mut server, GET);
    server.engine.write(request, &noise(20_000_000, 3));
    server.engine.finish(request);
    let event = server.next();
    let Event::Draining {
        request: draining, ..
    } = event
    else {
        panic!("unexpected {event:?}");
    };
    assert_eq!(draining, request);
    drop(client);
    let event = server.next();
    assert!(matches!(event, Event::Drained { request: drained } if drained == request));
    server.until_no_connection();
}

/// Of an end that was not taken yet, of the finished reply's, and of that which was asked for later,
/// the last one answers all: before it, output was left.
#[test]
fn wishes_of_a_draining_reply_are_answered_at_its_end() {
    let mut server = Server::new(ListenerOptions::default());
    let (client, request) = request_of(&mut server, GET);
    server.engine.notify_drained(request);
    server.engine.write(request, &noise(20_000_000, 6));
    server.engine.finish(request);
    server.engine.notify_drained(request);
    assert!(matches!(server.next(), Event::Draining { .. }));
    server.engine.notify_drained(request);
    server.engine.turn().unwrap();
    assert!(server.engine.next_event().is_none());
    drop(client);
    assert!(matches!(server.next(), Event::Drained { request: id } if id == request));
    server.until_no_connection();
    assert!(server.engine.next_event().is_none());
}

#[test]
fn drained_is_reported_once_for_each_wish() {
    let mut server = Server::new(ListenerOptions::default());
    let (client, request) = request_of(&mut server, GET);
    for text in [&b"some"[..], b"", b" more"] {
        server.engine.write(request, text);
        server.engine.notify_drained(request);
        server.engine.notify_drained(request);
        assert!(text.is_empty() || server.engine.next_event().is_none());
        assert!(matches!(server.next(), Event::Drained { request: id } if id == request));
        assert_eq!(server.engine.pending_output(request), 0);
    }
    // One that is not taken yet gives way to the next.
    server.engine.notify_drained(request);
    server.engine.flush();
    server.engine.write(request, b", even");
    server.engine.notify_drained(request);
    assert!(matches!(server.next(), Event::Drained { .. }));
    assert_eq!(server.engine.pending_output(request), 0);
    assert!(server.engine.next_event().is_none());
    server.engine.write(request, b" more, the rest");
    server.engine.notify_drained(request);
    server.engine.finish(request);
    assert!(matches!(server.next(), Event::Drained { request: id } if id == request));
    assert_eq!(
        server.until_done(reply_of(client)),
        b"some more, even more, the rest"
    );
    server.engine.notify_drained(request);
    assert!(matches!(server.next(), Event::Drained { request: id } if id == request));
}

#[test]
fn drained_comes_even_if_nobody_takes_the_output() {
    let mut server = Server::new(ListenerOptions::default());
    for end in [
        |server: &mut Server, request| server.engine.drop_request(request),
        |server: &mut Server, request| drop(server.engine.detach(request)),
    ] {
        let (_client, request) = request_of(&mut server, GET);
        server.engine.write(request, &noise(20_000_000, 4));
        server.engine.notify_drained(request);
        server.engine.flush();
        end(&mut server, request);
        assert!(matches!(server.next(), Event::Drained { request: id } if id == request));
    }
}

#[test]
fn a_client_that_is_gone_is_reported_once() {
    let mut server = Server::new(ListenerOptions::default());
    let (client, request) = request_of(&mut server, GET);
    server.engine.watch_disconnect(request);
    server.engine.write(request, &noise(20_000_000, 5));
    server.engine.notify_drained(request);
    server.engine.flush();
    // Unread output turns its end into a reset.
    drop(client);
    let events = [server.next(), server.next()];
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Disconnected { .. }))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Drained { .. }))
    );
    assert!(!server.engine.accepts_output(request));
    assert!(!server.engine.write(request, b"to nobody"));
    assert!(server.engine.output(request, 0).is_none());
    assert!(server.engine.is_open(request));
    assert_eq!(server.engine.pending_output(request), 0);
    server.engine.finish(request);
    server.until_no_connection();
}

#[test]
fn more_input_is_no_disconnect() {
    let mut server = Server::new(ListenerOptions::default());
    let (mut client, request) = request_of(&mut server, GET);
    server.engine.watch_disconnect(request);
    std::io::Write::write_all(&mut client, b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for _ in 0..10 {
        server.engine.turn().unwrap();
        assert!(server.engine.next_event().is_none());
    }
    server.engine.write(request, b"reply");
    server.engine.finish(request);
    assert_eq!(server.until_done(reply_of(client)), b"reply");
}

#[test]
fn an_adopted_socket_is_written_to() {
    let mut server = Server::new(ListenerOptions::default());
    let (mine, mut other) = UnixStream::pair().unwrap();
    let request = server.engine.adopt(mine.into()).unwrap();
    server.engine.watch_disconnect(request);
    server.engine.write(request, b"hello");
    server.engine.notify_drained(request);
    assert!(matches!(server.next(), Event::Drained { .. }));
    let mut hello = [0; 5];
    other.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    other.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(server.next(), Event::Disconnected { .. }));
    server.engine.write(request, b"bye");
    server.engine.finish(request);
    server.until_no_connection();
    assert_eq!(read_all(&mut other), b"bye");
}

#[test]
fn a_descriptor_that_never_takes_anything_is_given_up() {
    // The memory of a process that has ended; not every system gives it away.
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let memory = File::options()
        .write(true)
        .open(format!("/proc/{}/mem", child.id()));
    drop(child.stdin.take());
    child.wait().unwrap();
    let takes_nothing = |mut memory: &File| matches!(memory.write(b"x"), Ok(0));
    let Some(memory) = memory.ok().filter(takes_nothing) else {
        return eprintln!("Left out: nothing is known here that takes nothing");
    };
    let mut server = Server::new(ListenerOptions::default());
    let request = server.engine.adopt(memory.into()).unwrap();
    server.engine.write(request, b"to nobody");
    server.engine.notify_drained(request);
    assert!(matches!(server.next(), Event::Drained { .. }));
    assert!(!server.engine.accepts_output(request));
    server.engine.finish(request);
    server.until_no_connection();
}

#[test]
fn an_adopted_pipe_or_file_is_written_to() {
    let mut server = Server::new(ListenerOptions::default());
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut reader = std::fs::File::from(reader);
    let pipe = server.engine.adopt(writer).unwrap();
    let text = noise(1_000_000, 6);
    server.engine.write(pipe, &text);
    server.engine.finish(pipe);
    let client = thread::spawn(move || read_all(&mut reader));
    assert!(server.until_done(client) == text);

    let path = server.directory.path().join("output");
    let file = std::fs::File::create(&path).unwrap();
    let file = server.engine.adopt(file.into()).unwrap();
    server.engine.write(file, &text);
    server.engine.finish(file);
    server.until_no_connection();
    assert!(std::fs::read(&path).unwrap() == text);

    // A file takes everything, and others have their turns meanwhile.
    let file = std::fs::File::create(&path).unwrap();
    let file = server.engine.adopt(file.into()).unwrap();
    server.engine.write(file, &noise(20_000_000, 6));
    server.engine.flush_output(file);
    server.engine.flush();
    assert!(server.engine.pending_output(file) > 0);
    assert_eq!(server.engine.wait_time(), Some(Duration::ZERO));
    server.engine.finish(file);
    server.until_no_connection();
    assert!(std::fs::read(&path).unwrap() == noise(20_000_000, 6));

    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let broken = server.engine.adopt(writer).unwrap();
    server.engine.watch_disconnect(broken);
    drop(reader);
    assert!(matches!(server.next(), Event::Disconnected { .. }));
    assert!(!server.engine.write(broken, b"to nobody"));
    server.engine.drop_request(broken);
}
