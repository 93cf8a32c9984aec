//! What one client does or waits for costs the others nothing, and costs it no more than it should.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use engine::{Event, ListenAddress, ListenSocket, ListenerOptions, Writer};

use crate::support::{
    HEAD, Server, answer, chunked, exchange, file_part, multipart, noise, read_all, read_page,
    reply_of,
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
fn a_turn_throws_away_some_of_what_many_send_behind_a_refusal_only() {
    const CLIENTS: usize = 200;
    const MOST: usize = 10 * 1024 * 1024;
    let mut server = Server::new(ListenerOptions::default());
    let path = server.directory.path().join("socket");
    let socket = ListenSocket::bind(&ListenAddress::Unix(path.clone())).unwrap();
    let options = ListenerOptions::default();
    server.engine.listen(socket, options).unwrap();
    let connect = |_| UnixStream::connect(&path).unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    let mut refused = Vec::new();
    for client in &mut clients {
        client.write_all(b"no request\r\n").unwrap();
        refused.push(client.try_clone().unwrap());
    }
    let replies = thread::spawn(move || refused.iter_mut().map(read_all).collect::<Vec<_>>());
    for reply in server.until_done(replies) {
        assert!(reply.starts_with(b"HTTP/1.1 400"));
    }
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    assert!(fill(&mut clients) > MOST);
    for _ in 0..10 {
        server.engine.turn().unwrap();
        assert_eq!(server.engine.wait_time(), Some(Duration::ZERO));
        // There is room again for what was thrown away.
        let thrown_away = fill(&mut clients);
        assert!((1..=MOST).contains(&thrown_away), "{thrown_away}");
    }
}

/// Sends as much as the system takes.
fn fill(clients: &mut [UnixStream]) -> usize {
    let bytes = [0; 64 * 1024];
    let mut sent = 0;
    for client in clients {
        while let Ok(length @ 1..) = client.write(&bytes) {
            sent += length;
        }
    }
    sent
}

#[test]
fn a_turn_sends_some_of_many_large_replies_and_each_small_one() {
    const REPLIES: usize = 30;
    const MOST: u64 = 10 * 1024 * 1024;
    let mut server = Server::new(ListenerOptions::default());
    let mut small = server.client(GET);
    let request = server.receive().request.unwrap();
    let text = noise(2_000_000, 1);
    for number in 0..REPLIES {
        // A file takes everything at once.
        let file = File::create(server.directory.path().join(number.to_string())).unwrap();
        let large = server.engine.adopt(file.into()).unwrap();
        server.engine.write(large, &text);
        server.engine.finish(large);
    }
    answer(&mut server, request);
    read_page(&mut small);
    let mut written = bytes_in_files(&server);
    assert!(written <= MOST, "{written}");
    let whole = (REPLIES * text.len()) as u64;
    while written < whole {
        assert_eq!(server.engine.wait_time(), Some(Duration::ZERO));
        server.engine.turn().unwrap();
        server.engine.flush();
        let before = std::mem::replace(&mut written, bytes_in_files(&server));
        let sent = written - before;
        assert!((1..=MOST).contains(&sent), "{sent}");
        let lengths = lengths_of_files(&server);
        let (least, most) = (lengths.iter().min(), lengths.iter().max());
        // Nobody is sent more before all have been sent some.
        assert!(most.unwrap() - least.unwrap() <= 1024 * 1024, "{lengths:?}");
    }
}

#[test]
fn each_large_reply_is_sent_where_no_turn_follows() {
    const REPLIES: usize = 30;
    let mut server = Server::new(ListenerOptions::default());
    let text = noise(1_000_000, 1);
    for number in 0..REPLIES {
        let file = File::create(server.directory.path().join(number.to_string())).unwrap();
        let large = server.engine.adopt(file.into()).unwrap();
        server.engine.write(large, &text);
        server.engine.finish(large);
    }
    server.engine.flush();
    server.engine.flush_all();
    server.engine.shut_down();
    assert_eq!(bytes_in_files(&server), (REPLIES * text.len()) as u64);
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
    lengths_of_files(server).iter().sum()
}

fn lengths_of_files(server: &Server) -> Vec<u64> {
    let files = std::fs::read_dir(server.directory.path()).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .collect()
}
