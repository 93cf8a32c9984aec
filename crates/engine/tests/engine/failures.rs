//! Clients that vanish and disks that refuse.

use std::process::Command;

use engine::{Event, ListenerOptions, RequestError, Writer};

use crate::support::{
    Received, Server, end_sending, exchange, field_part, file_part, multipart, noise, reply_of,
};

const WRITERS: [Writer; 3] = [Writer::Inline, Writer::Threads, Writer::ThreadsOnly];

#[test]
fn a_client_may_vanish_at_any_byte() {
    let mut server = Server::new(ListenerOptions {
        report_file_data: true,
        ..ListenerOptions::default()
    });
    let bytes = multipart(&[field_part("a", "b"), file_part("file", "f", b"content")]);
    let head = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    for cut in 0..bytes.len() {
        let client = server.client(&bytes[..cut]);
        end_sending(&client);
        if cut >= head {
            let mut error = None;
            while error.is_none() {
                let event = server.next();
                let request = event.request().unwrap();
                server.engine.acknowledge(request);
                match event {
                    Event::Failed { error: why, .. } => error = Some(why),
                    Event::Request { .. } => panic!("complete after {cut} bytes"),
                    _ => {}
                }
            }
            assert!(
                matches!(error, Some(RequestError::Disconnected)),
                "{error:?}"
            );
        }
        assert_eq!(server.until_done(reply_of(client)), b"");
    }
    server.until_no_connection();
    assert_eq!(server.files_left(), 0);
}

#[test]
fn a_client_may_reset_the_connection_amid_a_file() {
    for writer in WRITERS {
        let mut server = Server::new(ListenerOptions::default());
        server.engine.set_writer(writer);
        let bytes = multipart(&[file_part("file", "f", &noise(3_000_000, 1))]);
        let client = server.connect();
        let sender = std::thread::spawn(move || {
            let mut client = client;
            std::io::Write::write_all(&mut client, &bytes[..2_000_000]).unwrap();
            rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO))
                .unwrap();
        });
        loop {
            let event = server.next();
            server.engine.acknowledge(event.request().unwrap());
            if let Event::Failed { error, .. } = event {
                assert!(matches!(error, RequestError::Disconnected), "{error:?}");
                break;
            }
        }
        sender.join().unwrap();
        server.until_no_connection();
        assert_eq!(server.files_left(), 0);
    }
}

#[test]
fn a_hangup_while_stopped_is_noticed_after_the_start() {
    let mut server = Server::new(ListenerOptions::default());
    let bytes = multipart(&[file_part("file", "f", &noise(100_000, 1))]);
    let client = server.client(&bytes[..1000]);
    let Event::Multipart { request, .. } = server.next() else {
        panic!("the head is complete");
    };
    server.engine.stop(request);
    server.engine.acknowledge(request);
    drop(client);
    for _ in 0..5 {
        server.engine.turn().unwrap();
        assert!(server.engine.next_event().is_none());
    }
    server.engine.start(request);
    let mut received = Received::default();
    loop {
        match server.next() {
            Event::Failed { error, .. } => {
                assert!(matches!(error, RequestError::Disconnected));
                break;
            }
            event => received.take(event),
        }
        server.engine.acknowledge(request);
    }
    server.engine.acknowledge(request);
    assert!(!server.engine.is_open(request));
}

#[test]
fn a_file_that_cannot_be_created_fails_the_request() {
    let mut server = Server::new(ListenerOptions::default());
    let missing = server.directory.path().join("missing");
    server.engine.set_temporary_directory(missing);
    let bytes = multipart(&[field_part("a", "b"), file_part("file", "f", b"content")]);
    let client = exchange(server.connect(), bytes);
    assert!(matches!(fail(&mut server), RequestError::Store(_)));
    assert_eq!(server.until_done(client), b"");
}

#[test]
fn rubbish_is_survived() {
    let mut server = Server::new(ListenerOptions::default());
    for seed in 0..50 {
        let client = exchange(server.connect(), noise(3000, seed));
        server.until_done(client);
    }
}

/// The size of files is limited for a process as a whole, so these tests run once more in one
/// of their own, where they find this set.
const IN_CHILD: &str = "ENGINE_TEST_FILE_SIZE_IS_LIMITED";

#[test]
fn a_disk_that_takes_no_more_fails_the_request() {
    if std::env::var_os(IN_CHILD).is_none() {
        return run_with_small_files("failures::a_disk_that_takes_no_more_fails_the_request");
    }
    for writer in WRITERS {
        let mut server = Server::new(ListenerOptions::default());
        server.engine.set_writer(writer);
        let bytes = multipart(&[file_part("file", "f", &noise(3_000_000, 1))]);
        let client = exchange(server.connect(), bytes);
        let RequestError::Store(error) = fail(&mut server) else {
            panic!("the file is too large");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        server.until_done(client);
        server.until_no_connection();
        assert_eq!(server.files_left(), 0);
        let small = exchange(server.connect(), multipart(&[file_part("f", "f", b"fits")]));
        assert_eq!(server.receive_and_reply(b"ok").files[0].content(), b"fits");
        assert_eq!(server.until_done(small), b"ok");
    }
}

/// In a shell that has the limit. Writing beyond it raises a signal besides, which ends a process
/// that does nothing about it.
fn run_with_small_files(test: &str) {
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 1000; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Acknowledges everything until the request has failed.
fn fail(server: &mut Server) -> RequestError {
    loop {
        let event = server.next();
        server.engine.acknowledge(event.request().unwrap());
        match event {
            Event::Failed { error, .. } => return error,
            Event::Request { .. } => panic!("the request has succeeded"),
            _ => {}
        }
    }
}
