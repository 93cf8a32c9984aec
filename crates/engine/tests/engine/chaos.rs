//! Clients and an application that do anything in any order; the rules hold all the same.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use engine::{Engine, Event, ListenerOptions, RequestId, Writer};

use crate::support::{
    Dice, Server, chunked, field_part, file_part, multipart, multipart_body, noise,
};

#[test]
fn whatever_is_done_no_event_passes_a_closed_gate_and_nothing_is_left() {
    for seed in 0..40 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..400 {
            chaos.act();
            chaos.server.engine.turn().unwrap();
            while let Some(event) = chaos.server.engine.next_event() {
                chaos.see(event);
            }
        }
        chaos.end();
    }
}

struct Chaos {
    dice: Dice,
    server: Server,
    clients: Vec<(TcpStream, Vec<u8>)>,
    /// Requests the application knows of, and whether it has an event of them to acknowledge.
    requests: HashMap<RequestId, Known>,
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

#[derive(Default)]
struct Known {
    gate_closed: bool,
    complete: bool,
    failed: bool,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let mut dice = Dice::new(seed);
        let mut server = Server::new(ListenerOptions {
            report_file_data: dice.roll(2) == 0,
            error_responses: dice.roll(2) == 0,
            max_connections: 10,
            ..ListenerOptions::default()
        });
        let writers = [Writer::Inline, Writer::Threads, Writer::ThreadsOnly];
        server.engine.set_writer(writers[dice.roll(3)]);
        Chaos {
            dice,
            server,
            clients: Vec::new(),
            requests: HashMap::new(),
        }
    }

    fn act(&mut self) {
        match self.dice.roll(4) {
            0 if self.clients.len() < 12 => self.connect(),
            0 | 1 => self.send(),
            _ => self.apply(),
        }
    }

    fn connect(&mut self) {
        let client = self.server.connect();
        client.set_nonblocking(true).unwrap();
        // Some are followed by others on the same connection.
        let count = [1, 1, 2, 5][self.dice.roll(4)];
        let bytes = (0..count).flat_map(|_| self.request()).collect();
        self.clients.push((client, bytes));
    }

    fn request(&mut self) -> Vec<u8> {
        let size = self.dice.roll(200_000);
        let parts = [
            field_part("a", "b"),
            file_part("f", "f", &noise(size, 2)),
            file_part("g", "g", b""),
        ];
        match self.dice.roll(10) {
            0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            1 => b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde".to_vec(),
            2 => {
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nabcde"
                    .to_vec()
            }
            3 => in_chunks("GET", "a/b", &noise(size / 3, 3)),
            4 => in_chunks("POST", "a/b", &noise(size / 3, 4)),
            5 => in_chunks(
                "POST",
                "multipart/form-data; boundary=b0undary",
                &multipart_body(&parts),
            ),
            6 => noise(size % 1000, 1),
            _ => multipart(&parts),
        }
    }

    fn send(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.dice.roll(self.clients.len());
        let (client, bytes) = &mut self.clients[index];
        let most = bytes.len().min(1 + self.dice.roll(100_000));
        match client.write(&bytes[..most]) {
            Ok(length) if length > 0 => drop(bytes.drain(..length)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Everything was sent, or the server has closed.
            _ => drop(self.clients.swap_remove(index)),
        }
        if self.dice.roll(30) == 0 && index < self.clients.len() {
            self.clients.swap_remove(index);
        }
    }

    fn apply(&mut self) {
        let mut ids: Vec<_> = self.requests.keys().copied().collect();
        ids.sort_by_key(RequestId::slot);
        if ids.is_empty() {
            return;
        }
        let id = ids[self.dice.roll(ids.len())];
        let engine = &mut self.server.engine;
        if self.requests[&id].complete && self.dice.roll(4) == 0 {
            engine.write_head(id, HEAD);
            engine.finish(id);
        }
        match self.dice.roll(24) {
            0 => drop(engine.stop(id)),
            1..4 => drop(engine.start(id)),
            4 => engine.drop_request(id),
            5 => engine.finish(id),
            6 => drop(engine.detach(id)),
            7 => drop(engine.duplicate(id)),
            8 => engine.notify_drained(id),
            9 => engine.watch_disconnect(id),
            10 => drop(engine.write(id, &[b'x'; 60_000])),
            12 | 13 => drop(engine.write_head(id, HEAD)),
            14 => engine.flush_output(id),
            11 => drop(engine.take_unread(id)),
            _ => self.acknowledge(id),
        }
        self.forget_those_that_are_over();
    }

    fn acknowledge(&mut self, id: RequestId) {
        let Some(known) = self.requests.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut known.gate_closed, false) {
            return;
        }
        self.server.engine.acknowledge(id);
    }

    fn see(&mut self, event: Event) {
        if matches!(event, Event::ListenerDrained { .. }) {
            return;
        }
        let Some(id) = event.request() else {
            panic!("unexpected {event:?}");
        };
        if matches!(event, Event::Drained { .. } | Event::Disconnected { .. }) {
            return;
        }
        // There is one request at a time on a connection.
        let engine = &self.server.engine;
        let mut others = self.requests.keys().filter(|other| **other != id);
        assert!(others.all(|other| other.slot() != id.slot() || !engine.is_open(*other)));
        let known = self.requests.entry(id).or_default();
        // Only the failure of a request that was dropped comes while the gate is closed.
        let failed = matches!(event, Event::Failed { .. });
        assert!(failed || !known.gate_closed, "{event:?}");
        assert!(!known.complete && !known.failed, "{event:?}");
        known.gate_closed = true;
        known.failed = failed;
        known.complete = matches!(event, Event::Request { .. });
    }

    fn forget_those_that_are_over(&mut self) {
        let engine: &Engine = &self.server.engine;
        self.requests.retain(|id, _| engine.is_open(*id));
    }

    /// Every client goes, and the application ends what it has.
    fn end(mut self) {
        self.clients.clear();
        self.server.engine.stop_listener(self.server.listener);
        while self.server.engine.is_active() {
            let ids: Vec<_> = self.requests.keys().copied().collect();
            for id in ids {
                self.server.engine.start(id);
                self.acknowledge(id);
                if self.requests.get(&id).is_some_and(|known| known.complete) {
                    self.server.engine.finish(id);
                }
            }
            self.forget_those_that_are_over();
            self.server.engine.flush();
            if self.server.engine.is_active() {
                self.server.step();
            }
            while let Some(event) = self.server.engine.next_event() {
                self.see(event);
            }
        }
        assert_eq!(self.server.files_left(), 0);
    }
}

fn in_chunks(method: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    [head.into_bytes(), chunked(body, 10_000)].concat()
}
