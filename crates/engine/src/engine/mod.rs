//! The engine: one poll, its listeners and connections, and the events for the application.
//!
//! Here is what it consists of, what drives it, and what a turn does.
//!
//! - `commands`: what the application does with a request.
//! - `accepting`: connections coming and going.
//! - `receiving`: what is read, when, and what comes of it.
//! - `sending`: what is due, what a refused client is told, and how a reply ends.
//! - `told`: what the system has told of by now.

mod accepting;
mod commands;
mod receiving;
mod sending;
mod told;

pub use commands::Unread;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::connection::{Connection, Phase};
use crate::event::{Event, ListenerId, RequestError, RequestId};
use crate::head_pool::HeadPool;
use crate::http::date::DateClock;
use crate::listener::{Listener, ListenerOptions};
use crate::output::Terms;
use crate::output_pool::OutputPool;
use crate::socket::ListenSocket;
use crate::store::Writer;
use crate::store::chunk::BufferPool;
use crate::store::writer::Store;
use crate::timer::Timers;
use told::Told;

/// Events of the system that are looked at in one turn.
const EVENTS_A_TURN: usize = 1024;

const WAKER: Token = Token(usize::MAX);

/// Listeners have the tokens below the waker's, downwards.
const FIRST_LISTENER: usize = usize::MAX - 1;
const MOST_LISTENERS: usize = 1 << 16;

/// An event-driven HTTP server without a loop of its own and without callbacks.
///
/// It is driven by an outer loop, which watches [`as_raw_fd`](Engine::as_raw_fd) for
/// readability (level-triggered) and wakes up after [`wait_time`](Engine::wait_time) at the
/// latest. Then it calls [`turn`](Engine::turn), takes the events one by one, and calls
/// [`flush`](Engine::flush) before it sleeps again. The engine does nothing outside these
/// calls; what the application tells it in between it does at once or notes.
///
/// # Pitfalls
///
/// - Most events close the gate of their request: call [`acknowledge`](Engine::acknowledge), or
///   it stands still and its timeout with it.
/// - After the request is complete, nothing closes it but [`finish`](Engine::finish),
///   [`drop_request`](Engine::drop_request) or [`detach`](Engine::detach).
/// - After fork(2), the child calls [`after_fork`](Engine::after_fork) before anything else.
///
/// # Example
///
/// ```
/// use engine::{Engine, Event, ListenSocket, ListenerOptions};
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// let mut engine = Engine::new()?;
/// let socket = ListenSocket::bind(&"127.0.0.1:0".parse()?)?;
/// let address = socket.address();
/// engine.listen(socket, ListenerOptions::default())?;
///
/// let mut client = TcpStream::connect(address.to_string())?;
/// client.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")?;
///
/// let request = loop {
///     engine.turn()?;
///     if let Some(Event::Request { request, .. }) = engine.next_event() {
///         break request;
///     }
/// };
/// engine.write(request, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
/// engine.finish(request);
/// engine.flush();
///
/// let mut reply = String::new();
/// client.read_to_string(&mut reply)?;
/// assert!(reply.ends_with("hello"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Engine {
    poll: Poll,
    polled: Events,
    listeners: Slab<Listener>,
    connections: Slab<Connection>,
    events: VecDeque<Event>,
    /// Bytes of file data in the events.
    data_queued: usize,
    /// Connections that are to be read or parsed on.
    ready: VecDeque<usize>,
    /// Connections that may have a lot to be read, and share what a turn reads: uploads, and those
    /// whose input is thrown away.
    bulk_ready: VecDeque<usize>,
    /// Bytes that were read for them in this turn.
    bulk_read: usize,
    /// Uploads that wait for the writer threads to catch up.
    starved: VecDeque<usize>,
    /// Nobody but the writer threads has read buffers, or had when this turn looked.
    buffers_released: bool,
    /// Connections whose output may have become due.
    dirty: Vec<usize>,
    /// Those of them that have a lot of it, and share what a turn sends.
    bulk_dirty: VecDeque<usize>,
    /// Bytes that were sent of theirs in this turn.
    bulk_sent: usize,
    timers: Timers,
    store: Store,
    heads: HeadPool,
    /// Uploads may keep a buffer for some time; the others never do.
    upload_buffers: BufferPool,
    short_buffers: BufferPool,
    /// Memory for output, of connections that idle.
    outputs: OutputPool,
    generation: u64,
    now: Instant,
    told: Told,
    clock: DateClock,
    /// In a forked child that could get no poll of its own, which leaves the parent's alone.
    is_lost: bool,
}

/// Setting up, driving, and ending.
impl Engine {
    /// An engine without listeners. Temporary files go to the system's directory for them.
    ///
    /// # Errors
    ///
    /// What epoll_create1(2) or eventfd(2) said.
    pub fn new() -> io::Result<Engine> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok(Engine {
            poll,
            polled: Events::with_capacity(EVENTS_A_TURN),
            listeners: Slab::new(),
            connections: Slab::new(),
            events: VecDeque::new(),
            data_queued: 0,
            ready: VecDeque::new(),
            bulk_ready: VecDeque::new(),
            bulk_read: 0,
            starved: VecDeque::new(),
            buffers_released: false,
            dirty: Vec::new(),
            bulk_dirty: VecDeque::new(),
            bulk_sent: 0,
            timers: Timers::default(),
            store: Store::new(std::env::temp_dir(), waker),
            heads: HeadPool::default(),
            upload_buffers: BufferPool::for_uploads(),
            short_buffers: BufferPool::for_short_reads(),
            outputs: OutputPool::default(),
            generation: 0,
            now: Instant::now(),
            told: Told::new(Instant::now()),
            clock: DateClock::new(Instant::now()),
            is_lost: false,
        })
    }

    /// The descriptor that the outer loop watches. It changes in
    /// [`after_fork`](Engine::after_fork).
    pub fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Accepts connections on the socket from the next turn on.
    ///
    /// # Errors
    ///
    /// What epoll_ctl(2) said.
    pub fn listen(
        &mut self,
        socket: ListenSocket,
        options: ListenerOptions,
    ) -> io::Result<ListenerId> {
        self.refuse_if_lost()?;
        if self.listeners.len() >= MOST_LISTENERS {
            return Err(io::Error::other("there are too many listeners"));
        }
        let generation = self.next_generation();
        let entry = self.listeners.vacant_entry();
        let slot = entry.key();
        register(
            &self.poll,
            &socket,
            Token(FIRST_LISTENER - slot),
            Interest::READABLE,
        )?;
        entry.insert(Listener::new(socket, options, generation));
        Ok(ListenerId { slot, generation })
    }

    /// Accepts no further connections until [`start_listener`](Engine::start_listener). Clients
    /// wait in the backlog. Of the connections that are there, those that are at no request are
    /// closed, and the others after the request they are at; then comes [`Event::ListenerDrained`],
    /// again if the listener was stopped before.
    pub fn stop_listener(&mut self, listener: ListenerId) {
        let Some(stopping) = find_listener(&mut self.listeners, listener) else {
            return;
        };
        stopping.draining = true;
        self.accept_nobody(listener);
        self.close_those_without_request(listener);
        self.report_drained_listener(listener);
    }

    /// Accepts again.
    ///
    /// # Errors
    ///
    /// What epoll_ctl(2) said; the listener is as it was.
    pub fn start_listener(&mut self, listener: ListenerId) -> io::Result<()> {
        let Some(starting) = find_listener(&mut self.listeners, listener) else {
            return Ok(());
        };
        if starting.started {
            return Ok(());
        }
        let token = Token(FIRST_LISTENER - listener.slot);
        register(&self.poll, &starting.socket, token, Interest::READABLE)?;
        starting.started = true;
        starting.resume();
        starting.ready = true;
        starting.draining = false;
        Ok(())
    }

    /// Closes the listening socket; connections that are there go on.
    pub fn close_listener(&mut self, listener: ListenerId) {
        if find_listener(&mut self.listeners, listener).is_none() {
            return;
        }
        self.accept_nobody(listener);
        self.listeners.remove(listener.slot);
        self.resume_listeners();
    }

    /// Where new temporary files are created, from the next file on.
    pub fn set_temporary_directory(&mut self, directory: PathBuf) {
        self.store.set_directory(directory);
    }

    /// Removes the temporary files that processes have left in the directory which ended without
    /// a chance to do so: killed, or by a crash of the machine. Those of the living stay. What is
    /// done here happens anyway when the first file is created, then by a thread if there is one.
    ///
    /// From then on the directory is kept open. On file systems without the locks that this
    /// needs, nothing is removed.
    pub fn prepare_temporary_directory(&mut self) {
        self.store.prepare_directory();
    }

    /// How file data is written, from the next file on.
    pub fn set_writer(&mut self, writer: Writer) {
        self.store.set_writer(writer);
    }

    /// How file data is written now.
    pub fn writer(&self) -> Writer {
        self.store.writer()
    }

    /// The request of this number, if it is still there; see [`RequestId::number`].
    pub fn request_numbered(&self, number: u64) -> Option<RequestId> {
        let mut requests = self.connections.iter().map(|(_, found)| found.request);
        requests.find(|request| request.number() == number && self.find(*request).is_some())
    }

    /// The listener of this number; see [`ListenerId::number`].
    pub fn listener_numbered(&self, number: u64) -> Option<ListenerId> {
        let mut ids = self.listeners.iter().map(|(slot, listener)| ListenerId {
            slot,
            generation: listener.generation,
        });
        ids.find(|id| id.number() == number)
    }

    /// Does what can be done without waiting: accepts, reads once from each connection that has
    /// something, parses, writes file data, sends, and expires deadlines. Returns how many
    /// events were queued.
    ///
    /// It may be called while events are unhandled, also from a loop that runs within the
    /// handling of one.
    ///
    /// # Errors
    ///
    /// What epoll_wait(2) said; never for the sake of one connection.
    pub fn turn(&mut self) -> io::Result<usize> {
        if self.is_lost {
            return Ok(0);
        }
        let queued = self.events.len();
        self.bulk_sent = 0;
        self.poll_system()?;
        self.take_completions();
        // Before reading, because the requests of new connections often are there already.
        self.accept_ready();
        self.read_ready();
        self.expire();
        self.flush();
        Ok(self.events.len() - queued)
    }

    /// The next event, in the order in which they came about. Events of requests that were
    /// dropped or finished meanwhile are left out.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.events.pop_front() {
            self.data_queued -= event.data_length();
            if self.is_current(&event) {
                return Some(event);
            }
        }
        None
    }

    /// How many events wait to be taken, those that will be left out included.
    pub fn events_queued(&self) -> usize {
        self.events.len()
    }

    /// The application is through with the event it was given: the request goes on, unless it
    /// is stopped, and a failed one is over.
    pub fn acknowledge(&mut self, request: RequestId) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        match connection.phase {
            // The failure came about while another event was being handled.
            Phase::Failing {
                delivered: false, ..
            } => {}
            Phase::Failing { status, .. } => self.end_failed(request.slot, status),
            _ => {
                connection.exchange.gate_closed = false;
                self.now = Instant::now();
                self.advance(request.slot);
            }
        }
    }

    /// Sends whatever output has become due, but of many large replies together no more than a
    /// share in a turn. To be called before the outer loop sleeps.
    pub fn flush(&mut self) {
        if self.dirty.is_empty() && self.bulk_dirty.is_empty() {
            return;
        }
        self.now = Instant::now();
        self.send_dirty();
        self.send_bulk();
    }

    /// As [`flush`](Engine::flush), but sends some of every reply: no turn follows. To be called
    /// before [`shut_down`](Engine::shut_down).
    pub fn flush_all(&mut self) {
        self.flush();
        while self.send_next_bulk() {}
    }

    /// How long the outer loop may sleep at most: zero if there is something to do at once,
    /// `None` if nothing but the descriptor can wake it.
    pub fn wait_time(&self) -> Option<Duration> {
        let at_once = !self.events.is_empty()
            || !self.ready.is_empty()
            || !self.bulk_ready.is_empty()
            || !self.dirty.is_empty()
            || !self.bulk_dirty.is_empty()
            || self.listeners.iter().any(|(_, listener)| listener.ready);
        if at_once {
            return Some(Duration::ZERO);
        }
        let paused = self
            .listeners
            .iter()
            .filter_map(|(_, listener)| listener.paused_until());
        let next = paused.chain(self.timers.next()).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Whether something can still happen: a started listener, an open connection, or file work
    /// under way.
    pub fn is_active(&self) -> bool {
        !self.connections.is_empty()
            || !self.events.is_empty()
            || self.store.is_busy()
            || self.listeners.iter().any(|(_, listener)| listener.started)
    }

    /// Makes the engine the forked child's own: listeners stay, connections are closed here
    /// without touching the parent's, queued events are forgotten, and no file is removed.
    ///
    /// # Errors
    ///
    /// What epoll_create1(2), eventfd(2) or epoll_ctl(2) said. The engine then has lost its
    /// listeners and does nothing any more.
    pub fn after_fork(&mut self) -> io::Result<()> {
        self.connections.clear();
        self.events.clear();
        self.data_queued = 0;
        self.ready.clear();
        self.bulk_ready.clear();
        self.starved.clear();
        self.dirty.clear();
        self.bulk_dirty.clear();
        self.timers = Timers::default();
        self.upload_buffers = BufferPool::for_uploads();
        match self.poll_anew() {
            Ok(waker) => {
                self.store.after_fork(Some(waker));
                Ok(())
            }
            Err(error) => {
                self.is_lost = true;
                self.listeners.clear();
                self.store.after_fork(None);
                Err(error)
            }
        }
    }

    /// The process has forked: until the child lets go of them, all connections of now have a
    /// second owner, who must not keep a client waiting for the end of its reply.
    pub fn note_fork(&mut self) {
        for (_, connection) in &mut self.connections {
            connection.forked = true;
            connection.duplicate_forked |= connection.duplicated;
        }
    }

    /// The process ends: finishes what the writer threads have begun and ends them, removes
    /// every temporary file that was not kept, and closes everything.
    pub fn shut_down(&mut self) {
        self.connections.clear();
        self.events.clear();
        self.data_queued = 0;
        self.listeners.clear();
        self.ready.clear();
        self.bulk_ready.clear();
        self.starved.clear();
        self.dirty.clear();
        self.bulk_dirty.clear();
        self.store.shut_down();
    }
}

/// What a turn consists of.
impl Engine {
    fn accept_nobody(&mut self, listener: ListenerId) {
        let Some(stopping) = find_listener(&mut self.listeners, listener) else {
            return;
        };
        if std::mem::replace(&mut stopping.started, false) {
            stopping.ready = false;
            deregister(&self.poll, &stopping.socket);
        }
    }

    fn refuse_if_lost(&self) -> io::Result<()> {
        if self.is_lost {
            return Err(io::Error::other("this forked process has no poll"));
        }
        Ok(())
    }

    fn poll_anew(&mut self) -> io::Result<Waker> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        for (slot, listener) in &mut self.listeners {
            listener.after_fork();
            if listener.started {
                let token = Token(FIRST_LISTENER - slot);
                register(&poll, &listener.socket, token, Interest::READABLE)?;
            }
        }
        self.poll = poll;
        Ok(waker)
    }

    fn poll_system(&mut self) -> io::Result<()> {
        let mut polled = std::mem::replace(&mut self.polled, Events::with_capacity(0));
        // What comes after this time may not be told.
        self.now = Instant::now();
        let result = self.poll.poll(&mut polled, Some(Duration::ZERO));
        if result.is_ok() {
            let mut told = 0;
            for event in &polled {
                told += 1;
                self.note(event);
            }
            match told < EVENTS_A_TURN {
                true => self.told.of_all(self.now),
                false => self.told.of_some(self.now, told, self.descriptors()),
            }
        }
        self.polled = polled;
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// How many there are at most of which the system may tell.
    fn descriptors(&self) -> usize {
        let waker = 1;
        self.connections.len() + self.listeners.len() + waker
    }

    fn note(&mut self, event: &mio::event::Event) {
        let token = event.token();
        if token == WAKER {
            return;
        }
        if let Some(listener) = self.listeners.get_mut(FIRST_LISTENER.wrapping_sub(token.0)) {
            listener.ready |= listener.started && listener.paused_until().is_none();
            return;
        }
        let slot = slot_of(token);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        // A descriptor that somebody else has as well is reported even after it was closed here.
        if connection.token != token {
            return;
        }
        connection.readable |= event.is_readable();
        let broken = event.is_error() || event.is_write_closed();
        connection.peer_ended |= event.is_read_closed() || broken;
        let ended = connection.peer_ended;
        // An error is noticed by reading; whoever reads nothing has to be told.
        connection.readable |= broken;
        if event.is_writable() && connection.blocked {
            mark_dirty(&mut self.dirty, slot, connection);
        }
        match connection.phase {
            _ if connection.is_receiving() => mark_ready(&mut self.ready, slot, connection),
            Phase::Lingering { .. } => mark_ready(&mut self.ready, slot, connection),
            _ if broken => self.lose(slot),
            _ if connection.discards_input() => mark_ready(&mut self.ready, slot, connection),
            _ if ended => self.report_disconnect(slot),
            _ => {}
        }
    }

    /// Something has moved, or the connection waits for something else: nowhere else is its
    /// deadline set.
    fn restart_deadline(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.deadline = connection.deadline_from(Instant::now());
        if let Some(deadline) = connection.deadline {
            self.timers.arm(slot, deadline);
        }
        if connection.idle && !std::mem::replace(&mut connection.in_idle_queue, true) {
            let (request, listener) = (connection.request, connection.listener);
            if let Some(listener) = find_listener(&mut self.listeners, listener) {
                let connections = &self.connections;
                listener
                    .idle
                    .push(request, |request| idles(connections, request));
            }
        }
    }

    fn expire(&mut self) {
        // Those that are late may have sent in time what the system has not told yet.
        let until = self.told.until();
        while let Some(slot) = self.timers.pop_due(until) {
            let deadline = self.connections.get(slot).and_then(|found| found.deadline);
            match deadline {
                None => {}
                Some(deadline) if deadline > until => self.timers.arm(slot, deadline),
                Some(_) => self.expire_connection(slot),
            }
        }
        for (_, listener) in &mut self.listeners {
            if listener
                .paused_until()
                .is_some_and(|until| until <= self.now)
            {
                listener.resume();
            }
        }
    }

    fn expire_connection(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.deadline = None;
        match connection.phase {
            // What it has sent waits to be read, through no fault of the client.
            Phase::Multipart(_) if connection.in_ready => self.restart_deadline(slot),
            Phase::Lingering { until } if connection.in_ready && self.now < until => {
                self.restart_deadline(slot);
            }
            Phase::Multipart(_) => self.fail(slot, RequestError::TimedOut),
            Phase::Head(_) if connection.idle => self.close(slot),
            Phase::Head(_) | Phase::Form(_) if connection.options.error_responses => {
                self.refuse(slot, 408);
            }
            Phase::Head(_) | Phase::Form(_) | Phase::Skipping | Phase::Lingering { .. } => {
                self.close(slot)
            }
            Phase::Handling | Phase::Replying { .. } => self.lose(slot),
            Phase::Failing { .. } => {}
        }
    }

    fn is_current(&mut self, event: &Event) -> bool {
        if let Event::ListenerDrained { listener } = event {
            let found = find_listener(&mut self.listeners, *listener);
            return found.is_none_or(|listener| {
                listener.drained_queued = false;
                !listener.started
            });
        }
        let Some(request) = event.request() else {
            return true;
        };
        if matches!(event, Event::Draining { .. }) {
            return true;
        }
        if matches!(event, Event::Drained { .. }) {
            let connection = self.connections.get_mut(request.slot);
            return connection
                .filter(|found| found.request == request)
                .is_none_or(Connection::take_drained);
        }
        let Some(connection) = find(&mut self.connections, request) else {
            return false;
        };
        match (&mut connection.phase, event) {
            (Phase::Failing { delivered, .. }, Event::Failed { .. }) => {
                *delivered = true;
                true
            }
            (Phase::Failing { .. }, _) => false,
            (_, Event::Request { .. }) => {
                connection.exchange.completion_queued = false;
                true
            }
            _ => true,
        }
    }

    fn find(&self, request: RequestId) -> Option<&Connection> {
        self.connections
            .get(request.slot)
            .filter(|found| found.request == request && !found.exchange.released)
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }
}
impl AsFd for Engine {
    /// The same as [`as_raw_fd`](Engine::as_raw_fd).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn find(connections: &mut Slab<Connection>, request: RequestId) -> Option<&mut Connection> {
    connections
        .get_mut(request.slot)
        .filter(|found| found.request == request && !found.exchange.released)
}

fn find_listener(listeners: &mut Slab<Listener>, id: ListenerId) -> Option<&mut Listener> {
    listeners
        .get_mut(id.slot)
        .filter(|found| found.generation == id.generation)
}

/// Whether the connection waits for this request, of which nothing has come.
fn idles(connections: &Slab<Connection>, request: RequestId) -> bool {
    let connection = connections.get(request.slot);
    connection.is_some_and(|found| found.request == request && found.idle)
}

/// What the framing of the connection's reply depends on.
fn terms<'a>(
    clock: &'a mut DateClock,
    now: Instant,
    listeners: &Slab<Listener>,
    connection: &Connection,
) -> Terms<'a> {
    connection.terms(clock.tell(now), is_started(listeners, connection.listener))
}

/// Whether the listener goes on with its connections.
fn is_started(listeners: &Slab<Listener>, id: ListenerId) -> bool {
    let listener = listeners.get(id.slot);
    listener.is_some_and(|listener| listener.generation == id.generation && listener.started)
}

fn mark_ready(ready: &mut VecDeque<usize>, slot: usize, connection: &mut Connection) {
    if !std::mem::replace(&mut connection.in_ready, true) {
        ready.push_back(slot);
    }
}

fn mark_dirty(dirty: &mut Vec<usize>, slot: usize, connection: &mut Connection) {
    if !std::mem::replace(&mut connection.in_dirty, true) {
        dirty.push(slot);
    }
}

/// The slot, and where the token has room for it, a part of the generation, so that what the
/// system reports is not taken for another connection's. Clear of the listeners' tokens.
#[expect(
    clippy::cast_possible_truncation,
    reason = "where a pointer has 32 bits, the slot is all that is meant to be left"
)]
fn token_of(slot: usize, generation: u64) -> Token {
    let serial = generation & 0x7fff_ffff;
    Token((serial << 32 | slot as u64) as usize)
}

fn slot_of(token: Token) -> usize {
    token.0 & 0xffff_ffff
}

fn register(poll: &Poll, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
    let descriptor = source.as_fd().as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&descriptor), token, interest)
}

/// Fails only for what was never registered, such as a regular file.
fn deregister(poll: &Poll, source: impl AsFd) {
    let descriptor = source.as_fd().as_raw_fd();
    poll.registry().deregister(&mut SourceFd(&descriptor)).ok();
}
