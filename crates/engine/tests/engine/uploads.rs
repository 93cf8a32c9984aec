//! Multipart bodies on their way to fields and files.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use engine::{
    Engine, Event, Limits, ListenAddress, ListenSocket, ListenerOptions, RequestError, Writer,
};
use rustix::net::sockopt;

use crate::support::{
    CLOSING, Received, Server, exchange, field_part, file_part, files_in, multipart,
    multipart_head, noise, read_all, reply_of,
};

const WRITERS: [Writer; 3] = [Writer::Inline, Writer::Threads, Writer::ThreadsOnly];

#[test]
fn fields_and_files_arrive_in_order() {
    for writer in WRITERS {
        let mut server = Server::new(ListenerOptions::default());
        server.engine.set_writer(writer);
        let large = noise(5_000_000, 1);
        let bytes = multipart(&[
            field_part("first", "1"),
            file_part("file", "small.txt", b"hello\r\n"),
            field_part("between", "2"),
            file_part("file", "empty", b""),
            file_part("large", "large.bin", &large),
            field_part("last", "3"),
        ]);
        let client = exchange(server.connect(), bytes);
        let received = server.receive_and_reply(b"ok");
        let fields: Vec<_> = received.fields.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(fields, ["first", "between", "last"]);
        let files: Vec<_> = received
            .files
            .iter()
            .map(|file| &file.file_name[..])
            .collect();
        assert_eq!(files, ["small.txt", "empty", "large.bin"]);
        assert_eq!(received.files[0].name, "file");
        assert_eq!(received.files[0].content(), b"hello\r\n");
        assert_eq!(received.files[1].content(), b"");
        assert!(received.files[2].content() == large);
        assert_eq!(server.until_done(client), b"ok");
        assert_eq!(server.files_left(), 3);
        drop(received);
        assert_eq!(server.files_left(), 0);
    }
}

#[test]
fn file_data_is_reported_after_it_was_written() {
    for writer in WRITERS {
        let mut server = Server::new(ListenerOptions {
            report_file_data: true,
            ..ListenerOptions::default()
        });
        server.engine.set_writer(writer);
        let large = noise(3_333_333, 2);
        let bytes = multipart(&[
            file_part("a", "a", b"x"),
            file_part("b", "b", b""),
            file_part("c", "c", &large),
        ]);
        let client = exchange(server.connect(), bytes);
        let mut received = Received::default();
        while received.request.is_none() {
            let event = server.next();
            let request = event.request().unwrap();
            if let Event::FileData { size, .. } = &event {
                let file = &received.files.last().unwrap().file;
                assert_eq!(file.size(), *size);
                assert_eq!(file.path().metadata().unwrap().len(), *size);
            }
            received.take(event);
            server.engine.acknowledge(request);
        }
        for file in &received.files {
            assert!(file.reported == file.content());
        }
        server.engine.finish(received.request.unwrap());
        server.until_done(client);
    }
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let mut engine = Engine::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    engine.set_temporary_directory(directory.path().to_path_buf());
    let path = directory.path().join("socket");
    let socket = ListenSocket::bind(&ListenAddress::Unix(path.clone())).unwrap();
    engine.listen(socket, ListenerOptions::default()).unwrap();
    let bytes = multipart(&[
        field_part("field", "value"),
        file_part("file", "name.txt", b"one\r\n--b0undar\r\n--two\r\n"),
        file_part("file", "empty", b""),
    ]);
    for cut in 0..=bytes.len() {
        let mut client = UnixStream::connect(&path).unwrap();
        let (first, second) = bytes.split_at(cut);
        client.write_all(first).unwrap();
        let mut received = Received::default();
        // Acknowledges as much as comes of the first piece, which is in the socket at once.
        for _ in 0..16 {
            engine.turn().unwrap();
            while let Some(event) = engine.next_event() {
                let request = event.request().unwrap();
                received.take(event);
                engine.acknowledge(request);
            }
        }
        client.write_all(second).unwrap();
        while received.request.is_none() {
            engine.turn().unwrap();
            while let Some(event) = engine.next_event() {
                let request = event.request().unwrap();
                received.take(event);
                engine.acknowledge(request);
            }
        }
        assert_eq!(
            received.fields,
            [("field".to_owned(), "value".to_owned())],
            "{cut}"
        );
        assert_eq!(received.files.len(), 2, "{cut}");
        assert_eq!(
            received.files[0].content(),
            b"one\r\n--b0undar\r\n--two\r\n",
            "{cut}"
        );
        let request = received.request.unwrap();
        engine.write(request, b"ok");
        engine.finish(request);
        engine.flush();
        assert_eq!(read_all(&mut client), b"ok");
    }
    assert_eq!(files_in(directory.path()), 1, "only the socket is left");
}

#[test]
fn a_hundred_uploads_at_once() {
    for writer in WRITERS {
        let mut server = Server::new(ListenerOptions::default());
        server.engine.set_writer(writer);
        let clients: Vec<_> = (0..100)
            .map(|number| {
                let content = noise(400_000, number);
                let bytes = multipart(&[file_part("file", &number.to_string(), &content)]);
                exchange(server.connect(), bytes)
            })
            .collect();
        let mut received: std::collections::HashMap<_, Received> = Default::default();
        let mut complete = 0;
        while complete < clients.len() {
            let event = server.next();
            let request = event.request().unwrap();
            let upload = received.entry(request).or_default();
            upload.take(event);
            server.engine.acknowledge(request);
            if upload.request.is_none() {
                continue;
            }
            let file = &upload.files[0];
            let number = file.file_name.parse().unwrap();
            assert!(file.content() == noise(400_000, number));
            server.engine.write(request, file.file_name.as_bytes());
            server.engine.finish(request);
            received.remove(&request);
            complete += 1;
        }
        for (number, client) in clients.into_iter().enumerate() {
            assert_eq!(server.until_done(client), number.to_string().as_bytes());
        }
        assert_eq!(server.files_left(), 0);
    }
}

#[test]
fn a_file_is_private_until_it_is_kept() {
    let mut server = Server::new(ListenerOptions::default());
    let bytes = multipart(&[file_part("file", "f", b"content")]);
    let client = exchange(server.connect(), bytes);
    let received = server.receive_and_reply(b"ok");
    server.until_done(client);
    let file = received.files[0].file.clone();
    let path = file.path();
    let directory = server.directory.path();
    let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
    assert_eq!(name.len(), 50);
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let reference = directory.join("reference");
    std::fs::write(&reference, b"as the umask has it").unwrap();
    let usual_mode = reference.metadata().unwrap().mode();
    let kept = directory.join("kept");
    std::fs::write(&kept, b"to be replaced").unwrap();
    assert!(file.persist(&directory.join("no/such/directory")).is_err());
    assert_eq!(file.path(), path);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    file.persist(&kept).unwrap();
    assert_eq!((file.path(), path.exists()), (kept.clone(), false));
    assert_eq!(kept.metadata().unwrap().mode(), usual_mode);
    let copied = directory.join("copied");
    file.persist(&copied).unwrap();
    assert_eq!(copied.metadata().unwrap().mode(), usual_mode);
    drop((file, received));
    assert_eq!(std::fs::read(&kept).unwrap(), b"content");
    assert_eq!(std::fs::read(&copied).unwrap(), b"content");
}

#[test]
fn limits_fail_the_request_and_are_answered_on_request() {
    let parts = [
        file_part("f", "f", &[0; 2000]),
        field_part("name", &"v".repeat(51198)),
        [
            field_part("a", "b"),
            field_part("a", "b"),
            field_part("a", "b"),
        ]
        .concat(),
    ];
    for (part, error_responses) in parts.iter().flat_map(|part| [(part, false), (part, true)]) {
        let mut server = Server::new(ListenerOptions {
            error_responses,
            limits: Limits {
                file_size: 1999,
                parts: 2,
                ..Limits::default()
            },
            ..ListenerOptions::default()
        });
        let client = exchange(server.connect(), multipart(std::slice::from_ref(part)));
        loop {
            let event = server.next();
            let request = event.request().unwrap();
            server.engine.acknowledge(request);
            match event {
                Event::Failed { error, .. } => {
                    assert!(matches!(error, RequestError::Exceeded(_)), "{error:?}");
                    break;
                }
                Event::Request { .. } => panic!("the limit was exceeded"),
                _ => {}
            }
        }
        let reply = String::from_utf8(server.until_done(client)).unwrap();
        assert_eq!(
            reply.starts_with("HTTP/1.1 413 "),
            error_responses,
            "{reply}"
        );
        assert_eq!(reply.is_empty(), !error_responses);
        assert_eq!(server.files_left(), 0);
    }
}

#[test]
fn the_body_counts_to_its_length() {
    let mut server = Server::new(ListenerOptions::default());
    let body = [&field_part("a", "b")[..], CLOSING, b"an epilogue\r\n\r\n"].concat();
    let head = multipart_head(body.len() as u64);
    let surplus = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let client = exchange(server.connect(), [&head[..], &body, surplus].concat());
    assert_eq!(server.receive_and_reply(b"ok").fields.len(), 1);
    assert_eq!(server.until_done(client), b"ok");

    let short = exchange(server.connect(), [&multipart_head(30)[..], &body].concat());
    let mut failed = false;
    while !failed {
        let event = server.next();
        failed = matches!(
            event,
            Event::Failed {
                error: RequestError::Malformed(_),
                ..
            }
        );
        server.engine.acknowledge(event.request().unwrap());
    }
    assert!(server.until_done(short).starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn a_wrong_boundary_is_a_body_without_parts() {
    let mut server = Server::new(ListenerOptions::default());
    let body = b"--other\r\n\r\nx\r\n--other--\r\n";
    let head = multipart_head(body.len() as u64);
    let client = exchange(server.connect(), [&head[..], body].concat());
    let received = server.receive_and_reply(b"ok");
    assert!(received.fields.is_empty() && received.files.is_empty());
    assert_eq!(server.until_done(client), b"ok");
}

#[test]
fn a_field_may_be_larger_than_a_read_buffer_where_limits_allow() {
    let mut server = Server::new(ListenerOptions {
        limits: Limits {
            field_value: 10_000_000,
            ..Limits::default()
        },
        ..ListenerOptions::default()
    });
    let value = "0123456789".repeat(300_000);
    let bytes = multipart(&[field_part("large", &value), file_part("f", "f", b"after")]);
    let client = exchange(server.connect(), bytes);
    let received = server.receive_and_reply(b"ok");
    assert!(received.fields[0].1 == value);
    assert_eq!(received.files[0].content(), b"after");
    assert_eq!(server.until_done(client), b"ok");
}

#[test]
fn clients_wait_while_the_threads_are_busy_and_others_are_served() {
    upload_while_the_threads_are_busy(1);
    upload_while_the_threads_are_busy(20);
}

fn upload_while_the_threads_are_busy(uploads: usize) {
    const SIZE: usize = 24_000_000;
    let mut server = Server::new(ListenerOptions {
        timeout: Some(Duration::from_millis(200)),
        ..ListenerOptions::default()
    });
    server.engine.set_writer(Writer::ThreadsOnly);
    let release = occupy_the_threads(&mut server);
    let bytes = Arc::new(multipart(&[file_part("f", "f", &noise(SIZE, 1))]));
    let mut clients: Vec<_> = (0..uploads).map(|_| (server.connect(), 0)).collect();
    let mut rounds_without_progress = 0;
    while rounds_without_progress < 50 {
        rounds_without_progress += 1;
        for (client, sent) in &mut clients {
            client.set_nonblocking(true).unwrap();
            while let Ok(length) = client.write(&bytes[*sent..]) {
                *sent += length;
                rounds_without_progress = 0;
            }
        }
        server.engine.turn().unwrap();
        while let Some(event) = server.engine.next_event() {
            assert!(!matches!(
                event,
                Event::Failed { .. } | Event::Request { .. }
            ));
            server.engine.acknowledge(event.request().unwrap());
        }
    }
    // Some bytes wait in the engine, some in the kernel, and the rest with the client.
    assert!(clients.iter().all(|(_, sent)| *sent < SIZE));
    let in_files: u64 = std::fs::read_dir(server.directory.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(in_files, 0, "the threads do something else");
    // A deadline that was put off is looked at in its time, and then forgotten.
    server.engine.turn().unwrap();
    assert_ne!(server.engine.wait_time(), Some(Duration::ZERO));
    let other = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.receive_and_reply(b"meanwhile");
    assert_eq!(server.until_done(reply_of(other)), b"meanwhile");
    // Longer than the timeout, which is no fault of these clients.
    let silent = server.client(b"GET");
    assert_eq!(server.until_done(reply_of(silent)), b"");

    drop(release);
    let senders: Vec<_> = clients
        .into_iter()
        .map(|(client, sent)| {
            client.set_nonblocking(false).unwrap();
            let bytes = Arc::clone(&bytes);
            exchange(client, bytes[sent..].to_vec())
        })
        .collect();
    let mut complete = 0;
    while complete < uploads {
        let event = server.next();
        let Some(request) = event.request() else {
            continue;
        };
        server.engine.acknowledge(request);
        match event {
            Event::FileReceived { size, .. } => assert_eq!(size, SIZE as u64),
            Event::Request { .. } => {
                complete += 1;
                server.engine.write(request, b"ok");
                server.engine.finish(request);
            }
            Event::Failed { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
    for sender in senders {
        assert_eq!(server.until_done(sender), b"ok");
    }
}

/// The first moves it, and the others copy it from there.
#[test]
fn a_file_is_persisted_in_the_order_of_the_calls() {
    const TIMES: usize = 8;
    let elsewhere = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let mut server = Server::new(ListenerOptions::default());
        let bytes = multipart(&[file_part("f", "f", b"content")]);
        let client = exchange(server.connect(), bytes);
        let received = server.receive_and_reply(b"ok");
        server.until_done(client);
        let file = &received.files[0].file;
        let to = |number| elsewhere.path().join(format!("{round}-{number}"));
        let works: Vec<_> = (0..TIMES)
            .map(|number| server.engine.persist_later(file, to(number)))
            .collect();
        let mut done = Vec::new();
        while done.len() < TIMES {
            match server.next() {
                Event::WorkDone { work, result } => {
                    result.unwrap();
                    done.push(work);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(done, works);
        assert_eq!(file.path(), to(0));
        assert!((0..TIMES).all(|number| to(number).exists()));
    }
}

#[test]
fn what_is_to_be_persisted_at_the_end_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut server = Server::new(ListenerOptions::default());
    let client = exchange(
        server.connect(),
        multipart(&[file_part("f", "f", b"content")]),
    );
    let received = server.receive_and_reply(b"ok");
    server.until_done(client);
    for number in 0..8 {
        let to = elsewhere.path().join(number.to_string());
        server.engine.persist_later(&received.files[0].file, to);
    }
    server.engine.shut_down();
    assert_eq!(files_in(elsewhere.path()), 8);
}

/// Until what is returned is dropped.
fn occupy_the_threads(server: &mut Server) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..4 {
        let released = Arc::clone(&released);
        server.engine.spawn(Box::new(move || {
            // Ends when the sender goes.
            released.lock().unwrap().recv().unwrap_err();
            Ok(())
        }));
    }
    release
}

#[test]
fn uploads_that_are_stopped_with_data_to_be_reported_do_not_keep_others_waiting() {
    const STOPPED: usize = 16;
    /// More than an eighth of a read buffer, or else it would have been copied for the write.
    const IN_ONE_READ: u64 = 140_000;
    let mut server = Server::new(ListenerOptions::default());
    server.engine.set_writer(Writer::ThreadsOnly);
    let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 1 << 20).unwrap();
    let address = socket.address().to_string();
    let options = ListenerOptions {
        report_file_data: true,
        ..ListenerOptions::default()
    };
    server.engine.listen(socket, options).unwrap();
    let release = occupy_the_threads(&mut server);

    let content = noise(400_000, 1);
    let bytes = multipart(&[file_part("f", "f", &content)]);
    let data_start = bytes.len() - CLOSING.len() - 2 - content.len();
    let mut stopped = Vec::new();
    for _ in 0..STOPPED {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(&bytes[..data_start]).unwrap();
        let (request, file) = loop {
            let event = server.next();
            let request = event.request().unwrap();
            if let Event::FileOpened { file, .. } = event {
                break (request, file);
            }
            server.engine.acknowledge(request);
        };
        let client = exchange(client, bytes[data_start..].to_vec());
        let socket = server.engine.duplicate(request).unwrap().unwrap();
        let started = Instant::now();
        while rustix::io::ioctl_fionread(&socket).unwrap() < IN_ONE_READ {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the system keeps less of what the client has sent"
            );
            std::thread::yield_now();
        }
        drop(socket);
        server.engine.duplicates_closed(request);
        server.engine.acknowledge(request);
        server.engine.turn().unwrap();
        server.engine.turn().unwrap();
        server.engine.stop(request);
        stopped.push((client, request, file));
    }
    drop(release);
    let mut work = 4;
    while work > 0 || stopped.iter().any(|(_, _, file)| file.size() == 0) {
        server.step();
        while let Some(event) = server.engine.next_event() {
            assert!(matches!(event, Event::WorkDone { .. }));
            work -= 1;
        }
    }

    let other = exchange(TcpStream::connect(&address).unwrap(), bytes.clone());
    let received = server.receive_and_reply(b"ok");
    assert!(received.files[0].reported == content);
    assert_eq!(server.until_done(other), b"ok");

    for (_, request, _) in &stopped {
        server.engine.start(*request);
    }
    let mut complete = 0;
    while complete < STOPPED {
        let event = server.next();
        let request = event.request().unwrap();
        server.engine.acknowledge(request);
        if matches!(event, Event::Request { .. }) {
            complete += 1;
            server.engine.finish(request);
        }
    }
    for (client, _, file) in stopped {
        assert_eq!(server.until_done(client), b"");
        assert!(std::fs::read(file.path()).unwrap() == content);
    }
}

#[test]
fn a_file_is_kept_only_when_it_is_complete() {
    let mut server = Server::new(ListenerOptions {
        report_file_data: true,
        ..ListenerOptions::default()
    });
    let kept = server.directory.path().join("kept");
    let content = noise(300_000, 1);
    let client = exchange(
        server.connect(),
        multipart(&[file_part("f", "f", &content)]),
    );
    let mut received = Received::default();
    let mut refused = 0;
    while received.request.is_none() {
        let event = server.next();
        let request = event.request().unwrap();
        let complete = matches!(event, Event::FileReceived { .. });
        received.take(event);
        if let Some(file) = received.files.last().filter(|_| received.request.is_none()) {
            let outcome = file.file.persist(&kept);
            assert_eq!(outcome.is_ok(), complete);
            if let Err(error) = outcome {
                assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
                refused += 1;
            }
            assert_eq!(kept.exists(), complete);
        }
        server.engine.acknowledge(request);
    }
    assert!(refused >= 2, "when it was opened, and when data had come");
    server.engine.finish(received.request.unwrap());
    server.until_done(client);
    drop(received);
    assert!(std::fs::read(kept).unwrap() == content);
}

#[test]
fn a_file_is_kept_across_file_systems() {
    let (here, elsewhere) = (tempfile::tempdir(), tempfile::tempdir_in("/dev/shm"));
    let (Ok(here), Ok(elsewhere)) = (here, elsewhere) else {
        eprintln!("there is no second file system here");
        return;
    };
    let file = engine::TemporaryFile::create(here.path()).unwrap();
    file.open().unwrap().write_all_at(b"content", 0).unwrap();
    let kept = elsewhere.path().join("kept");
    std::fs::write(&kept, b"to be replaced").unwrap();
    assert!(file.persist(&elsewhere.path().join("no/such")).is_err());
    assert!(file.path().exists() && !file.is_persisted());
    file.persist(&kept).unwrap();
    assert_eq!(files_in(here.path()), 0);
    assert_eq!(files_in(elsewhere.path()), 1);
    drop(file);
    assert_eq!(std::fs::read(&kept).unwrap(), b"content");
    let usual = elsewhere.path().join("usual");
    std::fs::write(&usual, b"").unwrap();
    assert_eq!(
        kept.metadata().unwrap().mode(),
        usual.metadata().unwrap().mode()
    );
}
