//! More clients at once than the system tells of at a time. Alone in its process, since they
//! need many descriptors.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use engine::ListenerOptions;
use rustix::process::{Resource, Rlimit};

use support::{Server, answer, read_all, read_page};

#[path = "engine/support.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod support;

/// The system tells of 1024 at a time.
const CLIENTS: usize = 1100;

/// Both ends of each connection, and what else is open.
const DESCRIPTORS: u64 = 2 * CLIENTS as u64 + 100;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn what_came_in_time_is_served_however_late_it_is_read() {
    let _alone = room_for_all();
    let keepalive = Duration::from_millis(1500);
    let mut server = Server::new(ListenerOptions {
        keepalive: Some(keepalive),
        ..ListenerOptions::default()
    });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.client(GET);
        let request = server.receive().request.unwrap();
        answer(&mut server, request);
        read_page(&mut client);
        clients.push(client);
        // Nobody idles for long meanwhile.
        if clients.len() % 100 == 0 {
            for client in &mut clients {
                client.write_all(GET).unwrap();
                let request = server.receive().request.unwrap();
                answer(&mut server, request);
                read_page(client);
            }
        }
    }
    for client in &mut clients {
        client.write_all(LAST).unwrap();
    }
    // The application is busy with something else.
    thread::sleep(keepalive);
    for _ in 0..CLIENTS {
        let request = server.receive().request.unwrap();
        answer(&mut server, request);
    }
    for mut client in clients {
        assert!(read_all(&mut client).ends_with(b"page"));
    }
}

#[test]
fn who_is_silent_is_given_up_however_much_others_send() {
    let _alone = room_for_all();
    let mut server = Server::new(ListenerOptions {
        timeout: Some(Duration::from_secs(2)),
        ..ListenerOptions::default()
    });
    let mut others = Vec::new();
    for _ in 0..CLIENTS {
        others.push(server.client(b"GET / HTTP/1.1\r\nX: "));
        server.engine.turn().unwrap();
    }
    let mut silent = server.client(b"GET");
    silent.set_nonblocking(true).unwrap();
    let is_closed = (0..5_000).any(|_| {
        for other in &mut others {
            // Those that were given up before all were there send no more.
            other.write_all(b"x").ok();
        }
        server.engine.turn().unwrap();
        silent.read(&mut [0]).is_ok_and(|length| length == 0)
    });
    assert!(is_closed);
}

/// Lets the process open as many descriptors as the clients take, for one test at a time.
fn room_for_all() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    assert!(
        limit.maximum.is_none_or(|most| most >= DESCRIPTORS),
        "this test opens {DESCRIPTORS} descriptors, and may not: see `ulimit -Hn`"
    );
    alone
}
