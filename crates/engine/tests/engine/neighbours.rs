//! What one client does or waits for costs the others nothing, and costs it no more than it should.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use engine::{Event, ListenerOptions, Writer};

use crate::support::{
    HEAD, Server, answer, chunked, exchange, file_part, multipart, noise, read_page, reply_of,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn what_is_sent_behind_an_upload_that_waits_keeps_nobody_waiting() {
    let mut server = Server::new(ListenerOptions::default());
    let upload = multipart(&[file_part("f", "f", b"content")]);
    let waiting = server.client(&[&upload[..], LAST].concat());
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the upload begins");
    };
    let others = [server.client(LAST), server.client(LAST)];
    for _ in &others {
        let other = server.receive().request.unwrap();
        assert_ne!(other, request);
        answer(&mut server, other);
    }
    for other in others {
        assert!(server.until_done(reply_of(other)).ends_with(b"page"));
    }
    server.engine.acknowledge(request);
    let complete = server.receive().request.unwrap();
    assert_eq!(complete, request);
    answer(&mut server, complete);
    let behind = server.receive().request.unwrap();
    answer(&mut server, behind);
    let replies = server.until_done(reply_of(waiting));
    assert_eq!(replies.windows(4).filter(|text| text == b"page").count(), 2);
}

#[test]
fn clients_that_were_turned_away_take_no_place() {
    let mut server = Server::new(ListenerOptions {
        error_responses: true,
        max_connections: 1,
        ..ListenerOptions::default()
    });
    let served = server.client(LAST);
    let request = server.receive().request.unwrap();
    let mut turned_away: Vec<_> = (0..3).map(|_| server.client(GET)).collect();
    for client in &mut turned_away {
        let mut status = [0; 12];
        let reading = client.try_clone().unwrap();
        let read = thread::spawn(move || (&reading).read_exact(&mut status).map(|()| status));
        assert_eq!(&server.until_done(read).unwrap(), b"HTTP/1.1 503");
    }
    answer(&mut server, request);
    assert!(server.until_done(reply_of(served)).ends_with(b"page"));
    // They are still there.
    let next = server.client(LAST);
    let request = server.receive().request.unwrap();
    answer(&mut server, request);
    assert!(server.until_done(reply_of(next)).ends_with(b"page"));
}

#[test]
fn a_turn_reads_some_of_many_uploads_only() {
    const UPLOADS: usize = 200;
    const MOST: u64 = 10 * 1024 * 1024;
    let mut server = Server::new(ListenerOptions::default());
    server.engine.set_writer(Writer::Inline);
    let bytes = multipart(&[file_part("f", "f", &noise(2_000_000, 1))]);
    let (begin, rest) = bytes.split_at(500);
    let mut clients: Vec<_> = (0..UPLOADS).map(|_| server.client(begin)).collect();
    // Each upload begins, and opens its file.
    for _ in 0..2 * UPLOADS {
        let request = server.next().request().unwrap();
        server.engine.acknowledge(request);
    }
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        // As much as the system takes.
        let mut rest = rest;
        while let (Ok(length), false) = (client.write(rest), rest.is_empty()) {
            rest = &rest[length..];
        }
    }
    let before = bytes_in_files(&server);
    server.engine.turn().unwrap();
    let written = bytes_in_files(&server) - before;
    assert!((1..=MOST).contains(&written), "{written}");
    assert_eq!(server.engine.wait_time(), Some(Duration::ZERO));
}

#[test]
fn the_time_for_a_head_begins_when_the_reply_before_it_is_sent() {
    let header_timeout = Duration::from_secs(1);
    let mut server = Server::new(ListenerOptions {
        header_timeout: Some(header_timeout),
        ..ListenerOptions::default()
    });
    let (begun, rest) = LAST.split_at(20);
    let mut client = server.client(&[GET, begun].concat());
    let request = server.receive().request.unwrap();
    // The application takes its time, and the engine has no turn.
    thread::sleep(header_timeout);
    answer(&mut server, request);
    read_page(&mut client);
    server.engine.turn().unwrap();
    client.write_all(rest).unwrap();
    let request = server.receive().request.unwrap();
    answer(&mut server, request);
    assert!(server.until_done(reply_of(client)).ends_with(b"page"));
}

#[test]
fn a_request_that_was_read_before_the_listener_was_stopped_is_served() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(&[GET, GET].concat());
    let first = server.receive().request.unwrap();
    server.engine.write_head(first, HEAD);
    server.engine.write(first, b"page");
    server.engine.finish(first);
    server.engine.stop_listener(server.listener);
    let second = server.receive().request.unwrap();
    answer(&mut server, second);
    let replies = server.until_done(reply_of(client));
    let replies = String::from_utf8(replies).unwrap();
    assert_eq!(replies.matches("page").count(), 2, "{replies}");
    assert_eq!(replies.matches("Connection: close").count(), 1, "{replies}");
}

#[test]
fn a_client_that_sends_all_of_an_upload_before_it_reads_gets_a_large_early_reply() {
    let mut server = Server::new(ListenerOptions::default());
    let upload = multipart(&[file_part("f", "f", &noise(64_000_000, 1))]);
    let client = exchange(server.connect(), upload);
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the upload begins");
    };
    let page = noise(8_000_000, 2);
    server.engine.write_head(request, HEAD);
    server.engine.write(request, &page);
    server.engine.finish(request);
    assert!(server.until_done(client).ends_with(&page));
}

#[test]
fn framing_counts_where_a_body_is_skipped() {
    let padding = "x".repeat(3000);
    let chunk = format!("1;{padding}\r\na\r\n");
    let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, is_skipped) in [
        (chunked(&[b'a'; 30], 1), true),
        ([chunk.repeat(30).as_bytes(), b"0\r\n\r\n"].concat(), false),
    ] {
        let mut server = Server::new(ListenerOptions::default());
        let client = exchange(server.connect(), [head.as_bytes(), &body, LAST].concat());
        let request = server.receive().request.unwrap();
        answer(&mut server, request);
        if is_skipped {
            let next = server.receive().request.unwrap();
            answer(&mut server, next);
        }
        let replies = server.until_done(client);
        let pages = replies.windows(4).filter(|text| text == b"page").count();
        assert_eq!(pages, 1 + usize::from(is_skipped));
    }
}

fn bytes_in_files(server: &Server) -> u64 {
    std::fs::read_dir(server.directory.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}
