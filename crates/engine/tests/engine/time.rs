//! Timeouts, awaited as events; no test asserts how long anything takes.

use std::io::Write;
use std::time::Duration;

use engine::{Event, ListenerOptions, RequestError};

use crate::support::{Server, field_part, file_part, multipart, noise, reply_of};

const TINY: Option<Duration> = Some(Duration::from_millis(20));

fn options() -> ListenerOptions {
    ListenerOptions {
        timeout: TINY,
        ..ListenerOptions::default()
    }
}

/// How far a request comes before nothing more is sent.
const PIECES: [&[u8]; 3] = [
    b"",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\nabc",
];

#[test]
fn a_silent_client_is_closed_without_a_word() {
    let mut server = Server::new(options());
    for piece in PIECES {
        let client = server.client(piece);
        assert_eq!(server.until_done(reply_of(client)), b"");
    }
}

#[test]
fn a_silent_client_may_be_told() {
    let mut server = Server::new(ListenerOptions {
        error_responses: true,
        ..options()
    });
    for piece in PIECES {
        let client = server.client(piece);
        let reply = server.until_done(reply_of(client));
        assert!(reply.starts_with(b"HTTP/1.1 408 "));
    }
}

#[test]
fn an_upload_that_stands_still_fails() {
    let mut server = Server::new(options());
    let bytes = multipart(&[file_part("f", "f", &noise(1000, 1))]);
    let client = server.client(&bytes[..bytes.len() - 500]);
    loop {
        let event = server.next();
        server.engine.acknowledge(event.request().unwrap());
        match event {
            Event::Failed { error, .. } => {
                assert!(matches!(error, RequestError::TimedOut), "{error:?}");
                break;
            }
            Event::Request { .. } => panic!("the body is not complete"),
            _ => {}
        }
    }
    assert_eq!(server.until_done(reply_of(client)), b"");
    assert_eq!(server.files_left(), 0);
}

#[test]
fn no_time_runs_while_the_application_has_the_request() {
    let mut server = Server::new(options());
    let bytes = multipart(&[file_part("f", "f", &noise(1000, 1))]);
    let mut client = server.client(&bytes[..bytes.len() - 500]);
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the head is complete");
    };
    outlast_a_timeout(&mut server);
    server.engine.stop(request);
    server.engine.acknowledge(request);
    outlast_a_timeout(&mut server);
    client.write_all(&bytes[bytes.len() - 500..]).unwrap();
    server.engine.start(request);
    let received = server.receive_and_reply(b"ok");
    assert!(received.files[0].content() == noise(1000, 1));
    let request = received.request.unwrap();
    assert!(!server.engine.is_open(request));
    assert_eq!(server.until_done(reply_of(client)), b"ok");
}

/// Another client, which connects now, is timed out before this returns.
fn outlast_a_timeout(server: &mut Server) {
    let silent = server.client(b"GET");
    assert_eq!(server.until_done(reply_of(silent)), b"");
}

#[test]
fn a_complete_request_may_take_its_time() {
    let mut server = Server::new(options());
    let client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let request = server.receive().request.unwrap();
    outlast_a_timeout(&mut server);
    assert!(server.engine.write(request, b"late"));
    server.engine.finish(request);
    assert_eq!(server.until_done(reply_of(client)), b"late");
}

#[test]
fn a_head_has_to_be_complete_in_time_even_if_it_never_stands_still() {
    let mut server = Server::new(ListenerOptions {
        header_timeout: TINY,
        ..ListenerOptions::default()
    });
    let mut client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let sender = std::thread::spawn(move || {
        // Until the server has closed.
        while client.write_all(b"x").is_ok() {
            std::thread::yield_now();
        }
    });
    server.until_done(sender);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let mut server = Server::new(ListenerOptions {
        write_timeout: TINY,
        ..ListenerOptions::default()
    });
    let _client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let request = server.receive().request.unwrap();
    server.engine.watch_disconnect(request);
    server.engine.write(request, &noise(20_000_000, 2));
    server.engine.notify_drained(request);
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
    assert!(!server.engine.write(request, b"more"));
    server.engine.finish(request);

    let _finished = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.receive_and_reply(&noise(20_000_000, 2));
    server.until_no_connection();
}

#[test]
fn without_timeouts_only_the_descriptor_wakes() {
    let mut server = Server::new(ListenerOptions {
        timeout: None,
        ..ListenerOptions::default()
    });
    let client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n");
    let mut turns = 0;
    while server.engine.wait_time().is_some() || turns < 5 {
        server.engine.turn().unwrap();
        turns += 1;
    }
    drop(client);
    server.until_no_connection();
}

#[test]
fn a_client_that_stays_after_a_refusal_is_closed() {
    let mut server = Server::new(ListenerOptions {
        error_responses: true,
        ..ListenerOptions::default()
    });
    let _client = server.client(&multipart(&[field_part("a", &"x".repeat(60_000))]));
    loop {
        let event = server.next();
        let request = event.request().unwrap();
        // Whatever the application does with its output, there is an end.
        server.engine.flush_output(request);
        server.engine.acknowledge(request);
        if matches!(event, Event::Failed { .. }) {
            break;
        }
    }
    server.until_no_connection();
}

#[test]
fn a_client_that_takes_nothing_is_given_up_after_the_reply_too() {
    let mut server = Server::new(ListenerOptions {
        write_timeout: TINY,
        ..ListenerOptions::default()
    });
    let _client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let request = server.receive().request.unwrap();
    server.engine.write(request, &noise(20_000_000, 2));
    server.engine.flush();
    assert!(server.engine.pending_output(request) > 0);
    server.engine.finish(request);
    server.until_no_connection();
}

#[test]
fn a_refused_client_that_takes_nothing_is_given_up() {
    let mut server = Server::new(ListenerOptions {
        error_responses: true,
        write_timeout: TINY,
        ..ListenerOptions::default()
    });
    let _client = server.client(&multipart(&[field_part("a", &"x".repeat(60_000))]));
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the head is complete");
    };
    server.engine.write(request, &noise(20_000_000, 2));
    while server.engine.wait_time() == Some(Duration::ZERO) {
        server.engine.flush();
    }
    server.engine.acknowledge(request);
    assert!(matches!(server.next(), Event::Failed { .. }));
    server.engine.acknowledge(request);
    server.until_no_connection();
}

#[test]
fn a_timeout_beyond_all_time_is_none() {
    let mut server = Server::new(ListenerOptions {
        timeout: Some(Duration::MAX),
        header_timeout: Some(Duration::MAX),
        write_timeout: Some(Duration::MAX),
        ..ListenerOptions::default()
    });
    let client = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let client = reply_of(client);
    server.receive_and_reply(&noise(5_000_000, 2));
    assert!(server.until_done(client) == noise(5_000_000, 2));
}
