//! The application: what it knows of its requests, and the rules that their events keep.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;

use engine::http::request_head::Version;
use engine::{Engine, Event, Head, ListenerId, RequestId, TemporaryFile};

use super::reply::{Question, Written};

/// What the application knows.
#[derive(Default)]
pub(super) struct Application {
    /// In the order in which it has heard of them.
    pub(super) requests: Vec<Known>,
    /// Whose end of output is to be told.
    awaits_drained: HashSet<RequestId>,
    /// How often it may be told: where several wishes are there, once or more.
    wishes: HashMap<RequestId, usize>,
    /// Descriptors that it has brought, whose output may still be on its way.
    pub(super) adopted_and_finished: HashSet<RequestId>,
    /// Listeners that were stopped, whose end of connections is to be told.
    stopped: HashSet<ListenerId>,
    /// Listeners that were closed meanwhile, of which it may be told.
    closed: HashSet<ListenerId>,
    /// Files that were received.
    pub(super) files: Vec<TemporaryFile>,
    /// Descriptors that it was given, and of which request.
    pub(super) descriptors: Vec<(RequestId, OwnedFd)>,
    /// Pieces of work whose end is to be told.
    pub(super) work: HashSet<engine::WorkId>,
    reports_data: bool,
    /// How many events have come.
    seen: usize,
}

/// What is known of a request.
pub(super) struct Known {
    pub(super) id: RequestId,
    pub(super) listener: ListenerId,
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) version: Version,
    pub(super) parts: Vec<Received>,
    /// The file that is being received.
    pub(super) file: Option<Receiving>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) is_multipart: bool,
    pub(super) stage: Stage,
    pub(super) gate_closed: bool,
    /// How many events may still come until it is started again.
    events_left: Option<u8>,
    dropped: bool,
    watched: bool,
    pub(super) written: Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Receiving,
    Complete,
    Failed,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Field(Vec<u8>, Vec<u8>),
    /// Name, file name, and content, unless the application has let go of the file.
    File(Vec<u8>, Vec<u8>, Option<Vec<u8>>),
}

pub(super) struct Receiving {
    name: Vec<u8>,
    file_name: Vec<u8>,
    handle: Option<TemporaryFile>,
    reported: Vec<u8>,
}

impl Known {
    fn new(id: RequestId, head: &Head) -> Known {
        Known {
            id,
            listener: head.listener,
            method: head.request.method().to_vec(),
            target: head.request.target().to_vec(),
            version: head.request.version(),
            parts: Vec::new(),
            file: None,
            body: None,
            is_multipart: false,
            stage: Stage::Receiving,
            gate_closed: false,
            events_left: None,
            dropped: false,
            watched: false,
            written: Written::default(),
        }
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            number: self.id.number(),
            method: &self.method,
            version: self.version,
        }
    }

    pub(super) fn forget_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.handle = None;
        }
    }

    /// Closes the gate for an event that may come now.
    fn meet(&mut self, failed: bool) {
        assert!(!self.gate_closed || failed, "an event passes the gate");
        assert_eq!(self.stage, Stage::Receiving, "an event behind the last");
        assert!(!self.dropped || failed, "an event of a dropped request");
        if let Some(left) = &mut self.events_left {
            assert!(failed || *left > 0, "an event of a stopped request");
            *left = left.saturating_sub(1);
        }
        self.gate_closed = true;
    }

    fn receive(&mut self, event: Event, reports_data: bool) -> Option<TemporaryFile> {
        match event {
            Event::Field { name, value, .. } => {
                assert!(self.file.is_none(), "a field within a file");
                self.parts.push(Received::Field(name, value.into_bytes()));
            }
            Event::FileOpened {
                name,
                file_name,
                file,
                ..
            } => {
                assert_eq!(file.size(), 0);
                let receiving = Receiving {
                    name,
                    file_name: file_name.into_bytes(),
                    handle: Some(file),
                    reported: Vec::new(),
                };
                let before = self.file.replace(receiving);
                assert!(before.is_none(), "a file within a file");
            }
            Event::FileData { data, size, .. } => {
                assert!(reports_data && !data.is_empty() && data.len() <= 1 << 20);
                let file = self.file.as_mut().expect("a file");
                file.reported.extend_from_slice(&data);
                assert_eq!(size, file.reported.len() as u64);
            }
            Event::FileReceived { size, .. } => {
                let file = self.file.take().expect("a file");
                let content = file.check(size, reports_data);
                self.parts
                    .push(Received::File(file.name, file.file_name, content));
                return file.handle;
            }
            other => panic!("unexpected {other:?}"),
        }
        None
    }
}

impl Receiving {
    fn check(&self, size: u64, reports_data: bool) -> Option<Vec<u8>> {
        let on_disk = self.handle.as_ref().map(|handle| {
            assert_eq!(handle.size(), size);
            fs::read(handle.path()).unwrap()
        });
        let reported = reports_data.then_some(&self.reported);
        for content in on_disk.iter().chain(reported) {
            assert_eq!(content.len() as u64, size);
        }
        if let (Some(on_disk), Some(reported)) = (&on_disk, reported) {
            assert_eq!(on_disk, reported);
        }
        on_disk.or_else(|| reported.cloned())
    }
}

impl Application {
    pub(super) fn new(reports_data: bool) -> Application {
        Application {
            reports_data,
            ..Application::default()
        }
    }

    /// Takes notice of an event, and holds it to the rules.
    pub(super) fn see(&mut self, engine: &Engine, event: Event) {
        self.seen += 1;
        match event {
            Event::ListenerDrained { listener } => {
                let was_stopped = self.stopped.remove(&listener) || self.closed.remove(&listener);
                assert!(was_stopped, "a listener that was not stopped");
            }
            Event::WorkDone { work, .. } => assert!(self.work.remove(&work), "unknown work"),
            Event::OutOfDescriptors { .. } => panic!("descriptors are there"),
            Event::AcceptFailed { error, .. } => panic!("{error}"),
            Event::Drained { request } => {
                self.awaits_drained.remove(&request);
                let wishes = self.wishes.get_mut(&request).filter(|count| **count > 0);
                *wishes.expect("somebody has asked") -= 1;
            }
            Event::Draining { request, .. } => {
                let is_finished = self.adopted_and_finished.remove(&request)
                    || self.find(request).written.finished;
                assert!(is_finished, "draining before its end");
                self.wish_drained(request);
            }
            Event::Disconnected { request } => {
                let known = self.find(request);
                assert!(std::mem::take(&mut known.watched), "nobody has asked");
            }
            event => self.see_progress(engine, event),
        }
    }

    fn see_progress(&mut self, engine: &Engine, event: Event) {
        let id = event.request().unwrap();
        assert!(engine.is_open(id), "an event of a request that is over");
        match event {
            Event::Multipart { head, .. } => {
                let known = self.begin(engine, id, &head);
                known.is_multipart = true;
                known.meet(false);
            }
            Event::Request { head, body, .. } => {
                let known = match head {
                    Some(head) => self.begin(engine, id, &head),
                    None => self.find(id),
                };
                assert!(known.file.is_none(), "the end within a file");
                known.meet(false);
                known.body = body;
                known.stage = Stage::Complete;
            }
            Event::Failed { .. } => {
                let known = self.find(id);
                assert!(known.is_multipart);
                known.meet(true);
                known.stage = Stage::Failed;
            }
            event => {
                let reports_data = self.reports_data;
                let known = self.find(id);
                assert!(known.is_multipart);
                known.meet(false);
                let file = known.receive(event, reports_data);
                self.files.extend(file);
            }
        }
    }

    fn begin(&mut self, engine: &Engine, id: RequestId, head: &Head) -> &mut Known {
        let same_slot = |known: &&Known| known.id.slot() == id.slot();
        let mut others = self.requests.iter().filter(same_slot);
        assert!(
            others.all(|known| known.id != id && !engine.is_open(known.id)),
            "one request at a time on a connection"
        );
        assert_eq!(engine.request_numbered(id.number()), Some(id));
        self.requests.push(Known::new(id, head));
        self.requests.last_mut().unwrap()
    }

    fn find(&mut self, id: RequestId) -> &mut Known {
        let known = self.requests.iter_mut().find(|known| known.id == id);
        known.expect("a request that has begun")
    }

    pub(super) fn stop_listener(&mut self, engine: &mut Engine, listener: ListenerId) {
        if engine.listener_numbered(listener.number()).is_some() {
            self.stopped.insert(listener);
        }
        engine.stop_listener(listener);
    }

    pub(super) fn start_listener(&mut self, engine: &mut Engine, listener: ListenerId) {
        let started = engine.start_listener(listener);
        started.expect("the system has room for one more");
        self.stopped.remove(&listener);
    }

    pub(super) fn close_listener(&mut self, engine: &mut Engine, listener: ListenerId) {
        engine.close_listener(listener);
        if self.stopped.remove(&listener) {
            self.closed.insert(listener);
        }
    }

    pub(super) fn acknowledge(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        if std::mem::take(&mut known.gate_closed) {
            engine.acknowledge(known.id);
        }
    }

    pub(super) fn stop(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        let is_open = engine.is_open(known.id);
        assert_eq!(engine.stop(known.id), is_open);
        if known.events_left.is_none() {
            // One may be in the queue already.
            known.events_left = Some(u8::from(!known.gate_closed));
        }
    }

    pub(super) fn start(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        let is_open = engine.is_open(known.id);
        known.events_left = None;
        assert_eq!(engine.start(known.id), is_open);
    }

    pub(super) fn drop_request(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        known.dropped |= engine.is_open(known.id);
        engine.drop_request(known.id);
    }

    pub(super) fn detach(&mut self, engine: &mut Engine, id: RequestId) {
        let socket = engine.detach(id);
        assert!(!engine.is_open(id));
        self.descriptors.extend(socket.map(|socket| (id, socket)));
    }

    pub(super) fn duplicate(&mut self, engine: &mut Engine, id: RequestId) {
        let duplicate = engine.duplicate(id).transpose().unwrap();
        let duplicate = duplicate.map(|duplicate| (id, duplicate));
        self.descriptors.extend(duplicate);
    }

    pub(super) fn close_duplicates(&mut self, engine: &mut Engine, id: RequestId) {
        self.descriptors.retain(|(of, _)| *of != id);
        engine.duplicates_closed(id);
    }

    /// What it has written is to arrive, if anything can.
    pub(super) fn finish(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        let accepts = engine.accepts_output(known.id);
        engine.finish(known.id);
        known.written.finished |= accepts && !engine.is_open(known.id);
    }

    pub(super) fn watch(&mut self, engine: &mut Engine, index: usize) {
        let known = &mut self.requests[index];
        if engine.is_open(known.id) {
            known.watched = true;
        }
        engine.watch_disconnect(known.id);
    }

    pub(super) fn notify_drained(&mut self, engine: &mut Engine, index: usize) {
        let id = self.requests[index].id;
        // Where it is open, only one of those that wait is answered.
        if !engine.is_open(id) || !self.awaits_drained.contains(&id) {
            self.wish_drained(id);
        }
        engine.notify_drained(id);
    }

    fn wish_drained(&mut self, id: RequestId) {
        self.awaits_drained.insert(id);
        *self.wishes.entry(id).or_default() += 1;
    }

    /// How many events have come, and how many replies are finished: whether anything has happened.
    pub(super) fn progress(&self) -> (usize, usize) {
        let finished = |known: &&Known| known.written.finished;
        (self.seen, self.requests.iter().filter(finished).count())
    }

    pub(super) fn awaits_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Nothing is to be told any more.
    pub(super) fn check_end(&self) {
        assert!(self.awaits_drained.is_empty(), "output that never ends");
        assert!(self.stopped.is_empty(), "listeners that never end");
        assert!(self.work.is_empty(), "work that never ends");
    }
}
