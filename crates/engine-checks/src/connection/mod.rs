//! Whole connections: clients that send anything in any pieces, an application that does anything
//! in between, and the rules that hold all the same.
//!
//! - `script`: what is to happen.
//! - `client`: what a client sends and gets.
//! - `application`: what it knows of its requests, and the rules that their events keep.
//! - `adopted`: descriptors that the application has brought.
//! - `reply`: what was written, and what a client makes of it.
//! - `sent`: what a server should make of what a client has sent.

mod adopted;
mod application;
mod client;
mod reply;
mod script;
mod sent;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Engine, Limits, ListenSocket, ListenerId, ListenerOptions, RequestId, Writer};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use adopted::Adopted;
use application::{Application, Known, Stage};
use client::Client;
use reply::{End, HEADS};
use script::Script;

/// Has everything happen that a fuzzer's bytes tell, and then everything end. No other thread of
/// the process may open descriptors meanwhile, since they are counted.
pub fn check(data: &[u8]) {
    let directory = std::env::temp_dir().join(format!("engine-checks-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let descriptors = open_descriptors();
    let mut script = Script::new(data);
    let mut world = World::new(&mut script, directory.clone());
    while !script.is_over() && world.acts < MOST_ACTS {
        world.act(&mut script);
    }
    world.end();
    fs::remove_dir(directory).expect("no file is left");
    assert_eq!(open_descriptors(), descriptors, "descriptors are left");
}

const MOST_ACTS: usize = 400;
const MOST_CLIENTS: usize = 4;

/// Turns in which something has to happen, or nothing be left to do.
const MOST_TURNS: usize = 2000;

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

struct World {
    engine: Engine,
    application: Application,
    /// Each with the listener of its own.
    clients: Vec<(Client, ListenerId)>,
    /// Clients that say nothing.
    silent: Vec<UnixStream>,
    adopted: Vec<Adopted>,
    options: ListenerOptions,
    /// For files and sockets.
    directory: PathBuf,
    /// Files that were kept.
    kept: usize,
    /// Some files may be with the writer threads.
    uses_threads: bool,
    acts: usize,
}

impl World {
    fn new(script: &mut Script, directory: PathBuf) -> World {
        let mut engine = Engine::new().unwrap();
        engine.set_temporary_directory(directory.clone());
        let writer = writer(script);
        engine.set_writer(writer);
        let options = options(script);
        let application = Application::new(options.report_file_data);
        World {
            engine,
            application,
            clients: Vec::new(),
            silent: Vec::new(),
            adopted: Vec::new(),
            options,
            directory,
            kept: 0,
            uses_threads: writer != Writer::Inline,
            acts: 0,
        }
    }

    fn act(&mut self, script: &mut Script) {
        self.acts += 1;
        match script.below(16) {
            0 => self.connect(script),
            1..5 => self.act_as_client(script),
            5 | 6 => self.turn(),
            7 => self.settle(),
            8 => self.engine.flush(),
            9 => self.act_on_the_whole(script),
            10 => self.behave(),
            _ => self.act_on_a_request(script),
        }
    }

    /// By a listener of its own, so that it is known whose request is whose.
    fn connect(&mut self, script: &mut Script) {
        if self.clients.len() < MOST_CLIENTS {
            let path = self.directory.join("socket");
            let address = format!("unix:{}", path.display()).parse().unwrap();
            let socket = ListenSocket::bind(&address).unwrap();
            let listener = self.engine.listen(socket, self.options.clone()).unwrap();
            let mut client = Client::connect(&path).unwrap();
            if script.once_in(8) {
                self.silent.extend(UnixStream::connect(&path));
            }
            fs::remove_file(&path).unwrap();
            client.queue(&client::request(script));
            self.clients.push((client, listener));
        }
    }

    fn act_as_client(&mut self, script: &mut Script) {
        if self.clients.is_empty() {
            return self.connect(script);
        }
        let index = script.below(self.clients.len());
        let (client, _) = &mut self.clients[index];
        match script.below(16) {
            0..3 => client.queue(&client::request(script)),
            3 | 4 => client.queue(script.text()),
            5..10 => drop(client.send(usize::MAX)),
            10..12 => drop(client.send(script.size())),
            12..14 => drop(client.receive(1 + script.size())),
            14 if script.once_in(2) => client.end_sending(),
            15 if script.once_in(2) => client.vanish(),
            _ => {}
        }
    }

    fn act_on_the_whole(&mut self, script: &mut Script) {
        let listener = match self.clients.len() {
            0 => None,
            count => Some(self.clients[script.below(count)].1),
        };
        let (engine, application) = (&mut self.engine, &mut self.application);
        match (script.below(16), listener) {
            (0, Some(listener)) => application.stop_listener(engine, listener),
            (1, Some(listener)) => application.start_listener(engine, listener),
            (2, Some(listener)) => application.close_listener(engine, listener),
            (3, _) => {
                let writer = writer(script);
                self.uses_threads |= writer != Writer::Inline;
                engine.set_writer(writer);
            }
            (4, _) => drop(application.files.pop()),
            (5 | 6, _) => self.keep_a_file(script),
            (7, _) => drop(application.descriptors.pop()),
            (8, _) if script.once_in(8) => {
                application.work.insert(engine.spawn(Box::new(|| Ok(()))));
            }
            (9, _) => engine.note_fork(),
            (10, _) => drop(self.silent.pop()),
            (11, _) if self.adopted.len() < MOST_CLIENTS => {
                self.adopted.push(Adopted::new(engine));
            }
            (12.., _) => {
                if let Some(adopted) = self.adopted.last_mut() {
                    let finished = adopted.act(engine, script);
                    application.adopted_and_finished.extend(finished);
                }
            }
            _ => {}
        }
    }

    fn keep_a_file(&mut self, script: &mut Script) {
        let Some(file) = self.application.files.last() else {
            return;
        };
        // A thread may be keeping it.
        if self.application.awaits_work() {
            return;
        }
        let to = self.directory.join(format!("kept-{}", self.kept));
        self.kept += 1;
        if script.once_in(8) {
            let work = self.engine.persist_later(file, to);
            self.application.work.insert(work);
            return;
        }
        let content = fs::read(file.path()).unwrap();
        file.persist(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), content);
        assert!(file.is_persisted());
    }

    fn act_on_a_request(&mut self, script: &mut Script) {
        let count = self.application.requests.len();
        if count == 0 {
            return;
        }
        // Of the latest ones, which are open more often.
        let index = count - 1 - script.below(count.min(5));
        let id = self.application.requests[index].id;
        if !self.engine.is_open(id) {
            self.check_stale(id);
        }
        let engine = &mut self.engine;
        match script.below(32) {
            0 => self.application.stop(engine, index),
            1 | 2 => self.application.start(engine, index),
            3 => self.application.drop_request(engine, index),
            4..7 => self.application.finish(engine, index),
            7 => self.application.detach(engine, id),
            8 => self.application.duplicate(engine, id),
            9 => self.application.notify_drained(engine, index),
            10 => self.application.watch(engine, index),
            11 | 12 => self.write(index, script),
            13..16 => self.write_head(index, script),
            16 => engine.flush_output(id),
            17 => drop(engine.take_unread(id)),
            18 => engine.set_flush_threshold(id, script.size() as u64),
            19 => engine.expose(id),
            20 => self.application.requests[index].forget_file(),
            21 => self.reply(index),
            22 => self.application.close_duplicates(engine, id),
            _ => self.application.acknowledge(engine, index),
        }
    }

    fn write(&mut self, index: usize, script: &mut Script) {
        let known = &mut self.application.requests[index];
        let record = format!("<{}>", known.id.number());
        let data = record.repeat(script.size() / 4);
        let accepts = self.engine.accepts_output(known.id);
        assert_eq!(self.engine.write(known.id, data.as_bytes()), accepts);
        if accepts && !data.is_empty() {
            known.written.data(data.as_bytes());
        }
    }

    fn write_head(&mut self, index: usize, script: &mut Script) {
        let known = &mut self.application.requests[index];
        let (status, head) = HEADS[script.below(HEADS.len())];
        let head = head.replace("{}", &known.id.number().to_string());
        if self.engine.write_head(known.id, head.as_bytes()) {
            known.written.head(status, head.as_bytes());
        }
    }

    /// As most applications do.
    fn reply(&mut self, index: usize) {
        let known = &mut self.application.requests[index];
        if known.stage == Stage::Complete {
            self.write_head(index, &mut Script::new(&[0]));
            self.write(index, &mut Script::new(&[100]));
            self.application.finish(&mut self.engine, index);
        }
    }

    /// The handle of a request that is over does nothing.
    fn check_stale(&mut self, id: RequestId) {
        let engine = &mut self.engine;
        assert!(!engine.stop(id) && !engine.start(id));
        assert!(!engine.write(id, b"stale") && !engine.write_head(id, b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!engine.accepts_output(id) && engine.output(id, 1).is_none());
        assert!(engine.peer(id).is_none() && engine.local(id).is_none());
        assert!(engine.descriptor(id).is_none() && engine.duplicate(id).is_none());
        assert!(engine.detach(id).is_none() && engine.take_unread(id).bytes().is_empty());
        assert_eq!(engine.pending_output(id), 0);
        engine.finish(id);
        engine.drop_request(id);
        engine.acknowledge(id);
    }

    fn turn(&mut self) {
        self.engine.turn().unwrap();
        self.see_events();
    }

    fn see_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.engine.next_event() {
            self.application.see(&self.engine, event);
            any = true;
        }
        any
    }

    /// Turns until the outer loop may sleep: it does not go round for ever.
    fn settle(&mut self) {
        for _ in 0..MOST_TURNS {
            self.turn();
            self.engine.flush();
            let has_more = self.see_events() || self.is_readable(Duration::ZERO);
            if !has_more && self.engine.wait_time() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("it never sleeps");
    }

    fn is_readable(&self, wait: Duration) -> bool {
        let wait = Timespec::try_from(wait).unwrap();
        let mut watched = [PollFd::new(&self.engine, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&wait)) {
            Ok(count) => count > 0,
            // A fuzzer has a clock that sends signals.
            Err(error) => {
                assert_eq!(error, Errno::INTR);
                false
            }
        }
    }

    /// Each request goes on, and is answered where it is complete.
    fn behave(&mut self) {
        self.settle();
        for index in 0..self.application.requests.len() {
            self.application.start(&mut self.engine, index);
            self.application.acknowledge(&mut self.engine, index);
            self.reply(index);
        }
        self.settle();
    }

    /// Everything that can still happen does, and everybody goes.
    fn end(mut self) {
        self.application.descriptors.clear();
        for adopted in &mut self.adopted {
            let finished = adopted.finish(&mut self.engine);
            self.application.adopted_and_finished.extend(finished);
        }
        for index in 0..self.clients.len() {
            let listener = self.clients[index].1;
            self.application.start_listener(&mut self.engine, listener);
        }
        for _ in 0..MOST_TURNS {
            if !self.go_on() {
                break;
            }
        }
        self.check_clients();
        self.close_everything();
        self.application.check_end();
        self.let_go_of_files();
    }

    /// Clients send and read what there is, and the application answers. Returns whether anything
    /// has moved.
    fn go_on(&mut self) -> bool {
        self.settle();
        let mut moved = false;
        for (client, _) in &mut self.clients {
            moved |= client.send(usize::MAX);
            moved |= client.receive(usize::MAX);
            client.leave_at_end();
        }
        for adopted in &mut self.adopted {
            moved |= adopted.receive();
        }
        let before = self.application.progress();
        self.behave();
        // What the writer threads have in hand comes back.
        if self.application.awaits_work() || self.engine.is_active() && self.uses_threads {
            moved |= self.is_readable(Duration::from_millis(1));
        }
        moved || before != self.application.progress()
    }

    fn check_clients(&self) {
        self.adopted.iter().for_each(Adopted::check);
        for (client, listener) in &self.clients {
            let requests = self.application.requests.iter();
            let known: Vec<_> = requests
                .filter(|known| known.listener == *listener)
                .collect();
            let behind = sent::check(&client.sent, &self.options, &known);
            let (end, refusal) = check_replies(client, &known);
            let last = known.last().copied();
            let is_complete = |known: &Known| known.stage == Stage::Complete;
            let rest = behind.filter(|_| last.is_none_or(is_complete));
            if let (Some(400), Some(rest)) = (refusal, rest) {
                sent::check_refused(rest, &self.options);
            }
            // Writer threads may still be at it.
            if !client.waits() || self.uses_threads {
                continue;
            }
            if let (End::Next, Some(rest)) = (end, rest) {
                sent::check_waiting(rest, &self.options);
            }
            if let (Some(last), Some(_)) = (last, behind) {
                let ends = last.stage != Stage::Receiving || !self.engine.is_open(last.id);
                assert!(ends, "a whole upload that never ends");
            }
        }
    }

    fn close_everything(&mut self) {
        self.silent.clear();
        for (client, listener) in &mut self.clients {
            client.vanish();
            self.application.close_listener(&mut self.engine, *listener);
        }
        for _ in 0..MOST_TURNS {
            if !self.engine.is_active() {
                return;
            }
            let before = self.application.progress();
            self.behave();
            for index in 0..self.application.requests.len() {
                self.application.finish(&mut self.engine, index);
            }
            self.settle();
            // What has come is the application's to answer, in the next round.
            if self.engine.is_active() && before == self.application.progress() {
                let wait = self.engine.wait_time().unwrap_or(PATIENCE);
                self.is_readable(wait.min(PATIENCE));
            }
        }
        panic!("it never ends");
    }

    fn let_go_of_files(self) {
        let World {
            engine,
            application,
            directory,
            kept,
            ..
        } = self;
        drop(application);
        drop(engine);
        for number in 0..kept {
            fs::remove_file(directory.join(format!("kept-{number}"))).ok();
        }
    }
}

/// What a client has got is what was written to its requests, in their order, framed as a client
/// takes it. Returns how the last of them ends, and the status of a refusal behind them.
fn check_replies(client: &Client, requests: &[&Known]) -> (End, Option<u16>) {
    let mut stream = &client.received[..];
    if client.vanished {
        stream = reply::without_cut_head(stream);
    }
    let mut end = End::Next;
    for (index, known) in requests.iter().enumerate() {
        assert!(index == 0 || known.id.number() > requests[index - 1].id.number());
        let mut written = known.written.clone();
        // To others no more than a part has to arrive.
        written.finished &= !client.vanished;
        end = reply::take(&written, &known.question(), &mut stream);
        if end != End::Next {
            break;
        }
    }
    if client.vanished && reply::is_cut(stream) {
        return (end, None);
    }
    (end, reply::refusal_at_end(stream))
}

/// For what takes the writer threads some time.
const PATIENCE: Duration = Duration::from_secs(10);

fn writer(script: &mut Script) -> Writer {
    match script.below(16) {
        0 => Writer::Threads,
        1 => Writer::ThreadsOnly,
        _ => Writer::Inline,
    }
}

fn options(script: &mut Script) -> ListenerOptions {
    let flags = script.byte();
    let limits = match flags & 3 {
        1 => Limits {
            field_value: 4,
            file_size: 1000,
            urlencoded_body: 100,
            ..Limits::default()
        },
        2 => Limits {
            parts: 2,
            body_size: 5000,
            headers: 3,
            ..Limits::default()
        },
        _ => Limits::default(),
    };
    ListenerOptions {
        limits,
        keepalive: Some(Duration::from_secs(if flags & 4 == 0 { 15 } else { 0 })),
        body_methods: match flags & 8 {
            0 => vec![b"POST".to_vec()],
            _ => vec![b"POST".to_vec(), b"GET".to_vec()],
        },
        max_connections: if flags & 64 == 0 { 0 } else { 1 },
        error_responses: flags & 16 != 0,
        report_file_data: flags & 32 != 0,
        ..ListenerOptions::default()
    }
}
