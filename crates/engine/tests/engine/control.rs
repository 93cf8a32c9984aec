//! Stopping, starting, dropping, finishing and handing over, at every event of a request.

use std::io::{Read, Write};
use std::net::TcpStream;

use engine::{Event, ListenerOptions, RequestError, Writer};

use crate::support::{
    Received, Server, exchange, field_part, file_part, multipart, noise, read_all, reply_of,
};

const WRITERS: [Writer; 3] = [Writer::Inline, Writer::Threads, Writer::ThreadsOnly];

fn server(writer: Writer) -> Server {
    let mut server = Server::new(ListenerOptions {
        report_file_data: true,
        ..ListenerOptions::default()
    });
    server.engine.set_writer(writer);
    server
}

fn upload() -> Vec<u8> {
    multipart(&[
        field_part("a", "b"),
        file_part("small", "small", b"content"),
        file_part("empty", "empty", b""),
        file_part("large", "large", &noise(2_500_000, 7)),
        field_part("c", "d"),
    ])
}

/// How many events the upload has, if all of it comes in few reads.
fn events_of_upload(writer: Writer) -> usize {
    let mut server = server(writer);
    let client = exchange(server.connect(), upload());
    let mut count = 0;
    loop {
        let event = server.next();
        count += 1;
        let request = event.request().unwrap();
        server.engine.acknowledge(request);
        if matches!(event, Event::Request { .. }) {
            server.engine.finish(request);
            server.until_done(client);
            return count;
        }
    }
}

#[test]
fn a_request_stopped_in_any_event_stands_still_until_it_is_started() {
    for writer in WRITERS {
        let mut server = server(writer);
        let client = exchange(server.connect(), upload());
        let mut received = Received::default();
        while received.request.is_none() {
            let event = server.next();
            let request = event.request().unwrap();
            received.take(event);
            assert!(server.engine.stop(request));
            server.engine.acknowledge(request);
            if received.request.is_none() {
                // Another request is served meanwhile, in several turns.
                let other = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                let Event::Request {
                    request: other_id, ..
                } = server.next()
                else {
                    panic!("the stopped request went on");
                };
                server.engine.write(other_id, b"served");
                server.engine.finish(other_id);
                assert_eq!(server.until_done(reply_of(other)), b"served");
            }
            assert!(server.engine.start(request));
        }
        assert!(received.files[2].content() == noise(2_500_000, 7));
        assert!(
            received
                .files
                .iter()
                .all(|file| file.reported == file.content())
        );
        let request = received.request.unwrap();
        server.engine.write(request, b"complete");
        server.engine.finish(request);
        assert_eq!(server.until_done(client), b"complete");
        assert!(!server.engine.stop(request));
        assert!(!server.engine.start(request));
    }
}

#[test]
fn a_request_dropped_in_any_event_fails_and_closes() {
    for writer in WRITERS {
        for position in 0..events_of_upload(writer).min(12) {
            let mut server = server(writer);
            let client = exchange(server.connect(), upload());
            for _ in 0..position {
                let event = server.next();
                server.engine.acknowledge(event.request().unwrap());
            }
            let event = server.next();
            let request = event.request().unwrap();
            let complete = matches!(event, Event::Request { .. });
            server.engine.write(request, b"discarded");
            server.engine.drop_request(request);
            server.engine.drop_request(request);
            assert_eq!(server.engine.is_open(request), !complete);
            // Of the event it was dropped in; the failure is still to be seen.
            server.engine.acknowledge(request);
            if !complete {
                let Event::Failed { error, .. } = server.next() else {
                    panic!("a dropped request fails");
                };
                assert!(matches!(error, RequestError::Dropped));
                assert!(server.engine.descriptor(request).is_some());
                server.engine.acknowledge(request);
            }
            assert!(!server.engine.is_open(request));
            assert_eq!(server.until_done(client), b"");
            drop(event);
            server.until_no_connection();
            assert_eq!(server.files_left(), 0);
        }
    }
}

#[test]
fn a_loop_within_an_event_sees_other_requests_only() {
    let mut server = server(Writer::Inline);
    let client = exchange(server.connect(), upload());
    loop {
        let outer = server.next();
        let request = outer.request().unwrap();
        let other = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let inner = server.next();
        let other_id = inner.request().unwrap();
        assert_ne!(other_id, request);
        assert!(matches!(inner, Event::Request { .. }));
        server.engine.finish(other_id);
        server.until_done(reply_of(other));
        server.engine.acknowledge(other_id);
        server.engine.acknowledge(request);
        if matches!(outer, Event::Request { .. }) {
            server.engine.write(request, b"ok");
            server.engine.finish(request);
            break;
        }
    }
    assert_eq!(server.until_done(client), b"ok");
}

#[test]
fn a_reply_may_come_before_the_body() {
    let mut server = server(Writer::Inline);
    let client = exchange(server.connect(), upload());
    let mut opened = 0;
    while opened < 3 {
        let event = server.next();
        let request = event.request().unwrap();
        if let Event::FileOpened { .. } = event {
            opened += 1;
            if opened == 3 {
                server.engine.write(request, b"no, thanks");
                server.engine.finish(request);
            }
        }
        server.engine.acknowledge(request);
    }
    assert_eq!(server.until_done(client), b"no, thanks");
    server.until_no_connection();
    assert_eq!(server.files_left(), 0);
}

#[test]
fn a_handle_that_is_over_does_nothing_to_its_successor() {
    let mut server = Server::new(ListenerOptions::default());
    let first = server.client(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let old = server.receive_and_reply(b"first").request.unwrap();
    assert_eq!(server.until_done(reply_of(first)), b"first");
    let second = server.client(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let new = server.receive().request.unwrap();
    assert_eq!((old.slot(), old == new), (new.slot(), false));
    server.engine.drop_request(old);
    server.engine.finish(old);
    server.engine.acknowledge(old);
    server.engine.flush_output(old);
    assert!(!server.engine.write(old, b"stray"));
    assert!(!server.engine.is_open(old));
    assert!(server.engine.detach(old).is_none());
    assert!(server.engine.duplicate(old).is_none());
    assert!(server.engine.descriptor(old).is_none());
    assert!(server.engine.peer(old).is_none() && server.engine.local(old).is_none());
    assert_eq!(server.engine.pending_output(old), 0);
    server.engine.write(new, b"second");
    server.engine.finish(new);
    assert_eq!(server.until_done(reply_of(second)), b"second");
}

#[test]
fn a_detached_socket_is_the_applications() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\n\r\nearly");
    let request = server.receive().request.unwrap();
    server.engine.write(request, b"never sent");
    assert_eq!(server.engine.take_unread(request).bytes(), b"early");
    let mut socket = TcpStream::from(server.engine.detach(request).unwrap());
    assert!(!server.engine.is_open(request));
    server.until_no_connection();
    socket.set_nonblocking(false).unwrap();
    client.write_all(b"ping").unwrap();
    let mut ping = [0; 4];
    socket.read_exact(&mut ping).unwrap();
    socket.write_all(b"pong").unwrap();
    drop(socket);
    assert_eq!((&ping, &read_all(&mut client)[..]), (b"ping", &b"pong"[..]));
}

#[test]
fn a_duplicate_outlives_the_request() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    let request = server.receive().request.unwrap();
    let mut duplicate = TcpStream::from(server.engine.duplicate(request).unwrap().unwrap());
    server.engine.write(request, b"from the engine, ");
    server.engine.finish(request);
    server.until_no_connection();
    duplicate.set_nonblocking(false).unwrap();
    client.write_all(b"more body").unwrap();
    let mut more = [0; 9];
    duplicate.read_exact(&mut more).unwrap();
    duplicate.write_all(b"from the duplicate").unwrap();
    drop(duplicate);
    assert_eq!(&more, b"more body");
    assert_eq!(
        read_all(&mut client),
        b"from the engine, from the duplicate"
    );
}

#[test]
fn a_request_dropped_before_its_completion_is_seen_fails() {
    let mut server = Server::new(ListenerOptions::default());
    let client = exchange(server.connect(), multipart(&[file_part("f", "f", b"x")]));
    let request = loop {
        let event = server.next();
        let request = event.request().unwrap();
        server.engine.acknowledge(request);
        if matches!(event, Event::FileReceived { .. }) {
            break request;
        }
    };
    server.engine.drop_request(request);
    let failed = server.next();
    assert!(matches!(failed, Event::Failed { .. }), "{failed:?}");
    server.engine.acknowledge(request);
    assert_eq!(server.until_done(client), b"");
}

#[test]
fn a_dropped_request_is_over_for_whoever_has_a_duplicate() {
    let mut server = Server::new(ListenerOptions::default());
    let client = exchange(
        server.connect(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    );
    let request = server.receive().request.unwrap();
    let mut duplicate = TcpStream::from(server.engine.duplicate(request).unwrap().unwrap());
    duplicate.write_all(b"from the duplicate").unwrap();
    server.engine.write(request, b"pending");
    server.engine.notify_drained(request);
    server.engine.drop_request(request);
    assert!(!server.engine.is_open(request));
    assert!(matches!(server.next(), Event::Drained { .. }));
    assert_eq!(server.until_done(client), b"from the duplicate");
    drop(duplicate);
}

#[test]
fn what_was_read_along_goes_to_whoever_takes_the_socket() {
    let behind = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let form = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\na=b";
    for whole in [form.to_vec(), multipart(&[field_part("a", "b")])] {
        let mut server = Server::new(ListenerOptions::default());
        let client = server.client(&[&whole[..], behind].concat());
        let request = server.receive().request.unwrap();
        assert_eq!(server.engine.take_unread(request).bytes(), behind);
        assert_eq!(server.engine.take_unread(request).bytes(), b"");
        server.engine.write(request, b"ok");
        server.engine.finish(request);
        assert_eq!(server.until_done(reply_of(client)), b"ok");
    }
}

#[test]
fn what_on_error_writes_to_the_socket_arrives() {
    for closed_before in [false, true] {
        on_error_writes(closed_before);
    }
}

/// The duplicate may go before the failure is acknowledged, and after.
fn on_error_writes(closed_before: bool) {
    let mut server = Server::new(ListenerOptions::default());
    let client = exchange(server.connect(), upload());
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the head was complete");
    };
    server.engine.drop_request(request);
    server.engine.acknowledge(request);
    assert!(matches!(server.next(), Event::Failed { .. }));
    let duplicate = server.engine.duplicate(request).unwrap().unwrap();
    let mut duplicate = TcpStream::from(duplicate);
    duplicate.write_all(b"sorry").unwrap();
    let kept = match closed_before {
        true => {
            drop(duplicate);
            server.engine.duplicates_closed(request);
            None
        }
        false => Some(duplicate),
    };
    server.engine.acknowledge(request);
    drop(kept);
    assert_eq!(server.until_done(client), b"sorry");
}

#[test]
fn work_is_done_elsewhere_and_reported() {
    let mut server = Server::new(ListenerOptions::default());
    let loop_thread = std::thread::current().id();
    let good = server.engine.spawn(Box::new(move || {
        assert_ne!(std::thread::current().id(), loop_thread);
        Ok(())
    }));
    let bad = server
        .engine
        .spawn(Box::new(|| Err(std::io::Error::other("as expected"))));
    assert!(server.engine.is_active());
    let mut outcomes = Vec::new();
    while outcomes.len() < 2 {
        match server.next() {
            Event::WorkDone { work, result } => outcomes.push((work, result.is_ok())),
            other => panic!("unexpected {other:?}"),
        }
    }
    outcomes.sort_by_key(|(_, succeeded)| !succeeded);
    assert_eq!(outcomes, [(good, true), (bad, false)]);
}
