//! Addresses, stopping and starting, and limits on connections.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use engine::{Engine, Event, ListenAddress, ListenSocket, ListenerOptions, SocketAddress};

use crate::support::{Server, exchange, files_in, read_all, reply_of};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_stopped_listener_lets_clients_wait() {
    let mut server = Server::new(ListenerOptions::default());
    let under_way = server.client(b"GET / HTTP/1.1\r\nHost: a\r\n");
    server.until(|engine| engine.is_active());
    for _ in 0..3 {
        server.engine.turn().unwrap();
    }
    server.engine.stop_listener(server.listener);
    server.engine.stop_listener(server.listener);
    let waiting = server.client(GET);
    let first = exchange(under_way, b"\r\n".to_vec());
    server.receive_and_reply(b"went on");
    assert_eq!(server.until_done(first), b"went on");
    for _ in 0..3 {
        server.engine.turn().unwrap();
        assert!(server.engine.next_event().is_none());
    }
    assert!(!server.engine.is_active());
    server.engine.start_listener(server.listener).unwrap();
    server.engine.start_listener(server.listener).unwrap();
    server.receive_and_reply(b"waited");
    assert_eq!(server.until_done(reply_of(waiting)), b"waited");
}

#[test]
fn nothing_that_is_sent_waits_for_more_whenever_the_client_came() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    let mut engine = Engine::new().unwrap();
    let socket = ListenSocket::from_descriptor(listener.into()).unwrap();
    engine.listen(socket, ListenerOptions::default()).unwrap();
    let mut late = TcpStream::connect(address).unwrap();
    for client in [&mut early, &mut late] {
        client.write_all(GET).unwrap();
        let request = loop {
            engine.turn().unwrap();
            if let Some(Event::Request { request, .. }) = engine.next_event() {
                break request;
            }
        };
        let socket = engine.duplicate(request).unwrap().unwrap();
        assert!(rustix::net::sockopt::tcp_nodelay(socket).unwrap());
    }
}

#[test]
fn a_closed_listener_is_gone() {
    let mut server = Server::new(ListenerOptions::default());
    server.engine.close_listener(server.listener);
    assert!(!server.engine.is_active());
    assert!(std::net::TcpStream::connect(server.address).is_err());
    let again = ListenSocket::bind(&ListenAddress::Ip(server.address)).unwrap();
    let new = server
        .engine
        .listen(again, ListenerOptions::default())
        .unwrap();
    // The old handle has the same slot, and does nothing.
    server.engine.stop_listener(server.listener);
    server.engine.close_listener(server.listener);
    assert_eq!(
        (new.slot(), new == server.listener),
        (server.listener.slot(), false)
    );
    let client = server.client(GET);
    server.receive_and_reply(b"ok");
    assert_eq!(server.until_done(reply_of(client)), b"ok");
}

#[test]
fn a_socket_that_cannot_accept_is_reported_once_and_left_alone_for_some_time() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let brought = ListenSocket::from_descriptor(socket.try_clone().unwrap().into()).unwrap();
    let mut server = Server::new(ListenerOptions::default());
    let unfit = server
        .engine
        .listen(brought, ListenerOptions::default())
        .unwrap();
    server.engine.turn().unwrap();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
    let Event::AcceptFailed { listener, error } = server.next() else {
        panic!("it is told");
    };
    assert_eq!(listener, unfit);
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(
        server
            .engine
            .wait_time()
            .is_some_and(|wait| !wait.is_zero())
    );
    let client = server.client(GET);
    server.receive_and_reply(b"another listener");
    assert_eq!(server.until_done(reply_of(client)), b"another listener");
    // No more than one pause is over by now, and no second word was said.
    assert!(server.engine.next_event().is_none());
}

#[test]
fn connections_beyond_the_maximum_are_turned_away() {
    for error_responses in [false, true] {
        let mut server = Server::new(ListenerOptions {
            error_responses,
            max_connections: 2,
            ..ListenerOptions::default()
        });
        let served = [server.client(GET), server.client(GET)];
        let requests = [server.receive().request, server.receive().request];
        let turned_away = reply_of(server.client(GET));
        let reply = String::from_utf8(server.until_done(turned_away)).unwrap();
        assert_eq!(reply.starts_with("HTTP/1.1 503 "), error_responses);
        assert_eq!(reply.is_empty(), !error_responses);
        for (client, request) in served.into_iter().zip(requests) {
            server.engine.write(request.unwrap(), b"ok");
            server.engine.finish(request.unwrap());
            assert_eq!(server.until_done(reply_of(client)), b"ok");
        }
        server.until_no_connection();
        let next = server.client(GET);
        server.receive_and_reply(b"there is room again");
        assert_eq!(server.until_done(reply_of(next)), b"there is room again");
    }
}

#[test]
fn a_socket_in_the_file_system_is_listened_on_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let address: ListenAddress = format!("unix:{}/socket", directory.path().display())
        .parse()
        .unwrap();
    let ListenAddress::Unix(path) = &address else {
        panic!("{address:?}");
    };
    // Left behind, as by a process that was killed.
    drop(UnixListener::bind(path).unwrap());
    for _ in 0..2 {
        let mut engine = Engine::new().unwrap();
        let socket = ListenSocket::bind(&address).unwrap();
        assert_eq!(socket.address(), SocketAddress::Unix);
        engine.listen(socket, ListenerOptions::default()).unwrap();
        assert!(ListenSocket::bind(&address).is_err(), "it is in use");
        let mut client = UnixStream::connect(path).unwrap();
        std::io::Write::write_all(&mut client, GET).unwrap();
        let request = loop {
            engine.turn().unwrap();
            match engine.next_event() {
                Some(Event::Request { request, head, .. }) => {
                    assert_eq!(head.unwrap().peer, SocketAddress::Unix);
                    break request;
                }
                Some(other) => panic!("unexpected {other:?}"),
                None => {}
            }
        };
        engine.write(request, b"ok");
        engine.finish(request);
        engine.flush();
        assert_eq!(read_all(&mut client), b"ok");
        assert_eq!(files_in(directory.path()), 1);
        drop(engine);
        assert_eq!(files_in(directory.path()), 0, "closed, and its name gone");
    }
    // A name that belongs to somebody else by now stays.
    let socket = ListenSocket::bind(&address).unwrap();
    std::fs::remove_file(path).unwrap();
    let other = UnixListener::bind(path).unwrap();
    drop(socket);
    assert_eq!(files_in(directory.path()), 1);
    drop(other);
    let file = directory.path().join("file");
    std::fs::write(&file, b"precious").unwrap();
    assert!(ListenSocket::bind(&ListenAddress::Unix(file.clone())).is_err());
    assert_eq!(std::fs::read(file).unwrap(), b"precious");
}

#[test]
fn only_listening_sockets_are_taken() {
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(ListenSocket::from_descriptor(one.into()).is_err());
    let bound = std::net::TcpListener::bind("[::1]:0");
    // Not every machine has IPv6.
    if let Ok(listener) = bound {
        let address = listener.local_addr().unwrap();
        let socket = ListenSocket::from_descriptor(listener.into()).unwrap();
        assert_eq!(socket.address(), SocketAddress::Ip(address));
    }
}

#[test]
fn an_ipv6_socket_takes_no_ipv4_clients() {
    let Ok(socket) = ListenSocket::bind(&"[::]:0".parse().unwrap()) else {
        eprintln!("this machine has no IPv6");
        return;
    };
    assert!(rustix::net::sockopt::ipv6_v6only(&socket).unwrap());
}

#[test]
fn two_engines_do_not_see_each_other() {
    let mut one = Server::new(ListenerOptions::default());
    let mut other = Server::new(ListenerOptions::default());
    let client_of_one = one.client(GET);
    let client_of_other = other.client(GET);
    one.receive_and_reply(b"one");
    other.receive_and_reply(b"other");
    assert_eq!(one.until_done(reply_of(client_of_one)), b"one");
    assert_eq!(other.until_done(reply_of(client_of_other)), b"other");
}

#[test]
fn nothing_is_left_after_shutting_down() {
    let mut server = Server::new(ListenerOptions::default());
    let bytes = crate::support::multipart(&[crate::support::file_part("f", "f", b"content")]);
    let _client = server.client(&bytes);
    let received = server.receive();
    assert_eq!(server.files_left(), 1);
    server.engine.shut_down();
    assert_eq!(server.files_left(), 0);
    assert!(!server.engine.is_active());
    drop(received);
}
