//! Request heads, bodies that are not multipart, and requests that are refused.

use std::io::{Read, Write};
use std::time::Duration;

use engine::{Event, Limits, ListenerOptions, SocketAddress};

use crate::support::{CLOSING, Server, end_sending, exchange, field_part, multipart, reply_of};

#[test]
fn get_is_handed_over_with_its_head_and_addresses() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let received = server.receive();
    let head = received.head.unwrap();
    let request = received.request.unwrap();
    assert_eq!(head.request.method(), b"GET");
    assert_eq!(head.request.target(), b"/a?b=c");
    assert_eq!(head.listener, server.listener);
    let peer = SocketAddress::Ip(client.local_addr().unwrap());
    assert_eq!((head.peer, server.engine.peer(request)), (peer, Some(peer)));
    let local = SocketAddress::Ip(server.address);
    assert_eq!(
        (head.local, server.engine.local(request)),
        (local, Some(local))
    );
    assert_eq!(server.engine.descriptor(request), Some(head.descriptor));
    assert_eq!(received.body, None);

    server.engine.write(request, b"the reply");
    server.engine.finish(request);
    assert!(!server.engine.is_open(request));
    assert_eq!(server.until_done(reply_of(client)), b"the reply");
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.connect();
    client.set_nodelay(true).unwrap();
    for byte in b"GET /slow HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
        server.engine.turn().unwrap();
    }
    let received = server.receive_and_reply(b"ok");
    assert_eq!(received.head.unwrap().request.path(), b"/slow");
    assert_eq!(server.until_done(reply_of(client)), b"ok");
}

#[test]
fn a_urlencoded_body_is_collected() {
    let mut server = Server::new(ListenerOptions::default());
    let mut client = server.client(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
          Content-Length: 7\r\n\r\na=b",
    );
    server.engine.turn().unwrap();
    client.write_all(b"&c=d and more").unwrap();
    let received = server.receive_and_reply(b"ok");
    assert_eq!(received.body.as_deref(), Some(&b"a=b&c=d"[..]));
    assert!(received.head.is_some());
    assert_eq!(server.until_done(reply_of(client)), b"ok");
}

#[test]
fn an_empty_body_completes_the_request_at_once() {
    let mut server = Server::new(ListenerOptions::default());
    let urlencoded = server
        .client(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(server.receive_and_reply(b"1").body, Some(Vec::new()));
    let multipart = server.client(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n\
          Content-Length: 0\r\n\r\n",
    );
    let received = server.receive_and_reply(b"2");
    assert_eq!(received.body, None);
    assert!(received.files.is_empty() && received.fields.is_empty());
    assert_eq!(server.until_done(reply_of(urlencoded)), b"1");
    assert_eq!(server.until_done(reply_of(multipart)), b"2");
}

#[test]
fn body_methods_say_whose_bodies_are_received() {
    let mut server = Server::new(ListenerOptions {
        body_methods: vec![b"POST".to_vec(), b"PUT".to_vec()],
        ..ListenerOptions::default()
    });
    let put = server.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na=b");
    assert_eq!(server.receive_and_reply(b"ok").body, Some(b"a=b".to_vec()));
    assert_eq!(server.until_done(reply_of(put)), b"ok");
    let bodiless = server.client(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(server.receive_and_reply(b"ok").body, Some(Vec::new()));
    assert_eq!(server.until_done(reply_of(bodiless)), b"ok");
    let _patch = server.client(b"PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na=b");
    let received = server.receive();
    assert_eq!(received.body, None);
    let request = received.request.unwrap();
    assert_eq!(server.engine.take_unread(request).bytes(), b"a=b");
    assert_eq!(server.engine.take_unread(request).bytes(), b"");
}

#[test]
fn a_reply_is_not_lost_to_input_that_nobody_reads() {
    let mut server = Server::new(ListenerOptions::default());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    let request = [&head[..], &vec![b'x'; 3_000_000]].concat();
    let client = exchange(server.connect(), request);
    let reply = vec![b'r'; 100_000];
    server.receive_and_reply(&reply);
    assert_eq!(server.until_done(client), reply);
}

#[test]
fn what_cannot_be_framed_closes_without_a_word() {
    let mut server = Server::new(ListenerOptions::default());
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let client = server.client(head.as_bytes());
        assert_eq!(server.until_done(reply_of(client)), b"", "{head}");
    }
}

#[test]
fn malformed_heads_are_answered() {
    let mut server = Server::new(ListenerOptions::default());
    for (head, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("GET / HTTP/2.0\r\n\r\n", 505),
    ] {
        // More than was asked for must not turn the answer into a reset.
        let bytes = [head.as_bytes(), &vec![b'x'; 500_000]].concat();
        let client = exchange(server.connect(), bytes);
        let reply = String::from_utf8(server.until_done(client)).unwrap();
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {reply}"
        );
        assert!(reply.contains("\r\nConnection: close\r\n"));
    }
}

#[test]
fn exceeded_limits_are_answered_only_on_request() {
    let long = "x".repeat(5000);
    let head = |line: &str| format!("{line}\r\n\r\n");
    let too_large = [
        (head(&format!("GET /{long} HTTP/1.1")), 414),
        (
            head(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}",
                long.repeat(4)
            )),
            431,
        ),
        (
            head("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 102401"),
            413,
        ),
        (
            head(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n\
                  Content-Length: 1000001",
            ),
            413,
        ),
    ];
    for error_responses in [false, true] {
        let mut server = Server::new(ListenerOptions {
            error_responses,
            limits: Limits {
                body_size: 1_000_000,
                ..Limits::default()
            },
            ..ListenerOptions::default()
        });
        for (head, status) in &too_large {
            let client = server.client(head.as_bytes());
            let reply = String::from_utf8(server.until_done(reply_of(client))).unwrap();
            match error_responses {
                true => assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}"),
                false => assert_eq!(reply, ""),
            }
        }
    }
}

#[test]
fn the_body_is_called_for_once_the_application_lets_it_come() {
    let mut server = Server::new(ListenerOptions::default());
    let whole = multipart(&[field_part("a", "b")]);
    let head_end = whole
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = [&whole[..head_end], b"\r\nExpect: 100-continue\r\n\r\n"].concat();
    let mut client = server.client(&head);
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the head was complete");
    };
    server.engine.stop(request);
    server.engine.acknowledge(request);
    server.engine.turn().unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    assert!(
        client.read(&mut [0; 100]).is_err(),
        "the request is stopped"
    );
    client.set_read_timeout(None).unwrap();
    server.engine.start(request);
    let mut answer = [0; 25];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(&whole[head_end + 4..]).unwrap();
    let received = server.receive_and_reply(b"done");
    assert_eq!(received.fields, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(server.until_done(reply_of(client)), b"done");
}

#[test]
fn the_body_is_called_for_before_a_reply_that_waits_and_not_within_one() {
    for flushed in [false, true] {
        let mut server = Server::new(ListenerOptions::default());
        let body = [&field_part("a", "b"), CLOSING].concat();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\
             Content-Type: multipart/form-data; boundary=b0undary\r\n\r\n",
            body.len()
        );
        let mut client = server.client(head.as_bytes());
        let Event::Multipart { request, .. } = server.next() else {
            panic!("the head was complete");
        };
        server.engine.write(request, b"HTTP/1.1 200 OK\r\n");
        if flushed {
            server.engine.flush_output(request);
            server.engine.flush();
        }
        server.engine.acknowledge(request);
        let expected: &[u8] = match flushed {
            false => b"HTTP/1.1 100 Continue\r\n\r\n",
            true => b"HTTP/1.1 200 OK\r\n",
        };
        let mut answer = vec![0; expected.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected);
        client.write_all(&body).unwrap();
        while !matches!(server.next(), Event::Request { .. }) {
            server.engine.acknowledge(request);
        }
        server.engine.write(request, b"\r\n");
        server.engine.finish(request);
        let rest: &[u8] = match flushed {
            false => b"HTTP/1.1 200 OK\r\n\r\n",
            true => b"\r\n",
        };
        assert_eq!(server.until_done(reply_of(client)), rest);
    }
}

#[test]
fn a_body_that_comes_unasked_is_not_called_for() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\
          Expect: 100-continue\r\n\r\na=b",
    );
    server.receive_and_reply(b"reply");
    assert_eq!(server.until_done(reply_of(client)), b"reply");
}

#[test]
fn a_client_may_end_its_side_and_still_gets_the_reply() {
    let mut server = Server::new(ListenerOptions::default());
    let client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    end_sending(&client);
    let received = server.receive();
    let request = received.request.unwrap();
    server.engine.watch_disconnect(request);
    assert!(matches!(server.next(), Event::Disconnected { .. }));
    assert!(server.engine.write(request, b"reply"));
    server.engine.finish(request);
    assert_eq!(server.until_done(reply_of(client)), b"reply");
}
