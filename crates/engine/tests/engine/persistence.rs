//! Connections that carry many requests: where each begins and ends, and what becomes of those
//! that are sent ahead.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use engine::{Event, ListenerOptions, RequestId, Writer};

use crate::support::{
    Dice, Received, Server, chunked, field_part, file_part, multipart, multipart_body, noise,
    read_all, reply_of,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: test\r\n\r\n";

/// A body in a request, and what its application gets of it.
struct Sent {
    bytes: Vec<u8>,
    body: Option<Vec<u8>>,
    fields: Vec<(String, String)>,
    file: Option<Vec<u8>>,
}

#[test]
fn requests_of_any_kind_follow_each_other_however_they_are_cut() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let mut server = Server::new(ListenerOptions::default());
        let writers = [Writer::Inline, Writer::Threads, Writer::ThreadsOnly];
        server.engine.set_writer(writers[dice.roll(3)]);
        let requests: Vec<_> = (0..20).map(|_| any_request(&mut dice)).collect();
        let mut bytes: Vec<u8> = requests
            .iter()
            .flat_map(|sent| sent.bytes.clone())
            .collect();
        bytes.extend_from_slice(LAST);

        let client = server.connect();
        let replies = reply_of(client.try_clone().unwrap());
        let sender = send_in_pieces(client, bytes, Dice::new(seed + 1000));
        let mut bodies = Vec::new();
        for sent in &requests {
            let received = server.receive();
            check(&received, sent);
            bodies.push(reply(&mut server, received.request.unwrap(), &mut dice));
        }
        let last = server.receive().request.unwrap();
        bodies.push(reply(&mut server, last, &mut dice));
        sender.join().unwrap();
        let wire = server.until_done(replies);
        assert_eq!(decoded(&wire), bodies, "seed {seed}");
        assert_eq!(server.files_left(), 0);
    }
}

#[test]
fn a_handle_of_an_earlier_request_does_nothing_to_the_next() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(&[GET, LAST].concat());
    let replies = reply_of(client);
    let first = server.receive().request.unwrap();
    server.engine.write_head(first, HEAD);
    server.engine.finish(first);
    let second = server.receive().request.unwrap();
    assert_eq!(first.slot(), second.slot());
    assert_ne!(first.number(), second.number());

    let engine = &mut server.engine;
    assert!(!engine.is_open(first) && engine.is_open(second));
    assert!(!engine.write(first, b"x") && !engine.write_head(first, b"x"));
    assert!(!engine.stop(first) && !engine.start(first));
    assert!(engine.detach(first).is_none() && engine.duplicate(first).is_none());
    engine.expose(first);
    engine.finish(first);
    engine.drop_request(first);
    engine.acknowledge(first);
    engine.write_head(second, HEAD);
    engine.write(second, b"second");
    engine.finish(second);
    let wire = server.until_done(replies);
    assert_eq!(decoded(&wire), [b"".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_request_that_is_dropped_behind_another_is_over_at_once() {
    for upload in [false, true] {
        let mut server = Server::new(ListenerOptions::default());
        let dropped = match upload {
            true => multipart(&[field_part("a", "b")]),
            false => GET.to_vec(),
        };
        let client = reply_of(server.client(&[GET, &dropped].concat()));
        answer(&mut server);
        let event = server.next();
        let request = event.request().unwrap();
        server.engine.write_head(request, HEAD);
        server.engine.notify_drained(request);
        server.engine.drop_request(request);
        if upload {
            assert!(matches!(server.next(), Event::Failed { .. }));
            server.engine.acknowledge(request);
        }
        let engine = &mut server.engine;
        assert!(!engine.is_open(request), "upload: {upload}");
        assert!(!engine.write_head(request, HEAD) && !engine.write(request, b"late"));
        assert!(!engine.stop(request) && engine.duplicate(request).is_none());
        engine.finish(request);
        assert!(matches!(server.next(), Event::Drained { request: told } if told == request));
        let wire = server.until_done(client);
        assert_eq!(decoded(&wire), [b"page".to_vec()], "upload: {upload}");
    }
}

#[test]
fn a_connection_ends_with_the_request_whose_unread_input_was_taken() {
    let mut server = Server::new(ListenerOptions::default());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde";
    let client = reply_of(server.client(&[&request[..], GET].concat()));
    let request = server.receive().request.unwrap();
    assert_eq!(
        server.engine.take_unread(request).bytes(),
        [b"abcde", GET].concat()
    );
    server.engine.write_head(request, HEAD);
    server.engine.finish(request);
    let wire = server.until_done(client);
    assert!(
        wire.windows(19)
            .any(|line| line == b"Connection: close\r\n")
    );
    assert_eq!(decoded(&wire), [b"".to_vec()]);
}

#[test]
fn nothing_of_the_next_request_is_seen_before_the_reply_was_taken() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.client(&[GET, LAST].concat());
    let first = server.receive().request.unwrap();
    server.engine.write_head(first, HEAD);
    let large = noise(20_000_000, 1);
    server.engine.write(first, &large);
    server.engine.finish(first);
    // It is finished, but the client takes nothing: only its draining is told.
    for _ in 0..50 {
        server.engine.flush();
        server.engine.turn().unwrap();
        while let Some(event) = server.engine.next_event() {
            assert!(matches!(event, Event::Draining { .. }), "{event:?}");
        }
    }
    let reader = std::thread::spawn(move || read_all(&mut client));
    let second = loop {
        match server.next() {
            Event::Request { request, .. } => break request,
            Event::Drained { .. } => {}
            event => panic!("unexpected {event:?}"),
        }
    };
    server.engine.acknowledge(second);
    server.engine.write_head(second, HEAD);
    server.engine.write(second, b"second");
    server.engine.finish(second);
    let wire = server.until_done(reader);
    assert_eq!(decoded(&wire), [large, b"second".to_vec()]);
}

#[test]
fn a_client_that_sends_ahead_for_ever_is_not_read_from() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.connect();
    client.set_nonblocking(true).unwrap();
    client.write_all(GET).unwrap();
    let first = server.receive().request.unwrap();
    let mut sent = 0;
    let mut refused = 0;
    // The buffers of the system fill up; nobody empties them.
    while refused < 100 {
        match client.write(&GET.repeat(1000)) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        server.engine.turn().unwrap();
        assert!(server.engine.next_event().is_none());
        assert!(sent < 100_000_000, "it is read from");
    }
    server.engine.drop_request(first);
    drop(client);
    server.until_no_connection();
}

#[test]
fn an_upload_that_is_paused_with_a_request_behind_it_holds_up_nobody() {
    let mut server = Server::new(ListenerOptions::default());
    let parts = [field_part("a", "b"), file_part("f", "f", b"content")];
    let paused = server.client(&[&multipart(&parts), LAST].concat());
    let Event::Multipart { request, .. } = server.next() else {
        panic!("an upload");
    };
    server.engine.stop(request);
    server.engine.acknowledge(request);
    let other = reply_of(server.client(LAST));
    answer(&mut server);
    assert_eq!(decoded(&server.until_done(other)), [b"page".to_vec()]);

    let replies = reply_of(paused);
    server.engine.start(request);
    for _ in 0..2 {
        answer(&mut server);
    }
    let wire = server.until_done(replies);
    assert_eq!(decoded(&wire), [b"page".to_vec(), b"page".to_vec()]);
}

#[test]
fn an_idle_connection_ends_in_silence_and_a_begun_request_by_its_own_timeout() {
    let mut server = Server::new(ListenerOptions {
        keepalive: Some(Duration::from_millis(30)),
        timeout: Some(Duration::from_millis(100)),
        error_responses: true,
        ..ListenerOptions::default()
    });
    let idle = reply_of(server.client(GET));
    answer(&mut server);
    let wire = server.until_done(idle);
    assert_eq!(decoded(&wire), [b"page".to_vec()]);

    let begun = reply_of(server.client(&[GET, b"GET /"].concat()));
    answer(&mut server);
    let wire = String::from_utf8(server.until_done(begun)).unwrap();
    assert!(wire.contains("HTTP/1.1 408 "), "{wire}");
}

#[test]
fn a_stopped_listener_ends_a_connection_whose_unread_body_is_being_skipped() {
    for in_chunks in [false, true] {
        let mut server = Server::new(ListenerOptions::default());
        let request = match in_chunks {
            true => "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            false => "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
        };
        let mut client = server.client(request.as_bytes());
        answer(&mut server);
        let mut reply = vec![0; 1000];
        server.until(|_| true);
        let length = client.read(&mut reply).unwrap();
        assert!(length > 0);
        server.engine.stop_listener(server.listener);
        let rest: &[u8] = match in_chunks {
            true => b"cde\r\n0\r\n\r\n",
            false => b"cde",
        };
        client.write_all(rest).unwrap();
        server.until(|engine| !engine.is_active());
        assert_eq!(client.read(&mut reply).unwrap(), 0);
    }
}

#[test]
fn a_stopped_listener_serves_a_request_that_was_not_read_yet() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.client(GET);
    answer(&mut server);
    let mut reply = [0; 1000];
    assert!(client.read(&mut reply).unwrap() > 0);
    client.write_all(GET).unwrap();
    server.engine.stop_listener(server.listener);
    answer(&mut server);
    let wire = server.until_done(reply_of(client));
    let text = String::from_utf8(wire.clone()).unwrap();
    assert!(text.contains("Connection: close\r\n"), "{text}");
    assert_eq!(decoded(&wire), [b"page".to_vec()]);
}

fn answer(server: &mut Server) {
    let request = server.receive().request.unwrap();
    server.engine.write_head(request, HEAD);
    server.engine.write(request, b"page");
    server.engine.finish(request);
    server.engine.flush();
}

/// Replies in one of the ways there are, and returns the body.
fn reply(server: &mut Server, request: RequestId, dice: &mut Dice) -> Vec<u8> {
    let engine = &mut server.engine;
    let body = noise(dice.roll(2000), request.number());
    engine.write_head(request, HEAD);
    match dice.roll(3) {
        0 => drop(engine.write(request, &body)),
        1 => {
            engine.flush_output(request);
            engine.flush();
            engine.write(request, &body);
        }
        _ => {
            for piece in body.chunks(500) {
                engine.write(request, piece);
                engine.flush_output(request);
                engine.flush();
            }
        }
    }
    engine.finish(request);
    body
}

fn any_request(dice: &mut Dice) -> Sent {
    let size = dice.roll(3000);
    let data = noise(size, size as u64);
    let in_chunks = dice.roll(2) == 0;
    let nothing = Sent {
        bytes: GET.to_vec(),
        body: None,
        fields: Vec::new(),
        file: None,
    };
    match dice.roll(4) {
        0 => nothing,
        1 => Sent {
            bytes: request("GET", "a/b", &data, in_chunks.then(|| 1 + dice.roll(100))),
            ..nothing
        },
        2 => Sent {
            bytes: request("POST", "a/b", &data, in_chunks.then(|| 1 + dice.roll(100))),
            body: Some(data),
            ..nothing
        },
        _ => {
            let parts = [field_part("a", "b"), file_part("f", "f", &data)];
            let content_type = "multipart/form-data; boundary=b0undary";
            let body = multipart_body(&parts);
            let size = in_chunks.then(|| 1 + dice.roll(100));
            Sent {
                bytes: request("POST", content_type, &body, size),
                fields: vec![("a".to_owned(), "b".to_owned())],
                file: Some(data),
                ..nothing
            }
        }
    }
}

/// With a length, or in chunks of a size.
fn request(method: &str, content_type: &str, body: &[u8], size: Option<usize>) -> Vec<u8> {
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n");
    match size {
        Some(size) => {
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            [head.into_bytes(), chunked(body, size)].concat()
        }
        None => {
            let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        }
    }
}

fn check(received: &Received, sent: &Sent) {
    assert_eq!(received.body, sent.body);
    assert_eq!(received.fields, sent.fields);
    let file = received.files.first().map(|file| file.content());
    assert_eq!(file, sent.file);
}

fn send_in_pieces(
    mut client: TcpStream,
    bytes: Vec<u8>,
    mut dice: Dice,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = [1, 10, 1000, 100_000][dice.roll(4)];
            let (piece, behind) = rest.split_at(rest.len().min(1 + dice.roll(most)));
            client.write_all(piece).unwrap();
            rest = behind;
            std::thread::yield_now();
        }
    })
}

/// The bodies of replies that follow each other, as a client reads them.
fn decoded(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while !wire.is_empty() {
        let end = memchr::memmem::find(wire, b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&wire[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head.split("Content-Length: ").nth(1);
        let length = length.map(|rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        wire = &wire[end..];
        match length {
            Some(length) => bodies.push(take(&mut wire, length).to_vec()),
            None => bodies.push(decoded_chunks(&mut wire)),
        }
    }
    bodies
}

fn decoded_chunks(wire: &mut &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = memchr::memmem::find(wire, b"\r\n").expect("a whole line");
        let size = std::str::from_utf8(take(wire, end)).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        assert_eq!(take(wire, 2), b"\r\n");
        body.extend_from_slice(take(wire, size));
        assert_eq!(take(wire, 2), b"\r\n");
        if size == 0 {
            return body;
        }
    }
}

fn take<'a>(wire: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = wire.split_at(length);
    *wire = rest;
    taken
}
