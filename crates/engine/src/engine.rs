//! The engine: one poll, its listeners and connections, and the events for the application.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use slab::Slab;

use crate::address::SocketAddress;
use crate::connection::{Connection, Phase, Progress, later};
use crate::event::{Event, ListenerId, RequestError, RequestId, WorkId};
use crate::listener::{Listener, ListenerOptions};
use crate::reply::{self, Sent};
use crate::socket::{self, ListenSocket};
use crate::store::Writer;
use crate::store::chunk::{BUFFER_SIZE, BufferPool, Chunk, Filled};
use crate::store::writer::{Completion, Store};
use crate::timer::Timers;

/// Events of the system that are looked at in one turn.
const EVENTS_A_TURN: usize = 1024;

/// Connections that a listener accepts in one turn.
const ACCEPTS_A_TURN: usize = 64;

/// Bytes that are read at a time, other than for uploads.
const SHORT_READ: usize = 64 * 1024;

/// How long input is thrown away after a reply.
const LINGER: Duration = Duration::from_secs(10);

/// Connections beyond the listener's maximum that may be told so at a time.
const REFUSED_AT_A_TIME: u64 = 64;

/// Bytes of file data in queued events beyond which no upload is read.
const MOST_DATA_QUEUED: usize = 8 * 1024 * 1024;

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
    /// Uploads that wait for the writer threads to catch up.
    starved: VecDeque<usize>,
    /// Nobody but the writer threads has read buffers, or had when this turn looked.
    buffers_released: bool,
    /// Connections whose output may have become due.
    dirty: Vec<usize>,
    timers: Timers,
    store: Store,
    /// Uploads may keep a buffer for some time; the others never do.
    upload_buffers: BufferPool,
    short_buffers: BufferPool,
    generation: u64,
    now: Instant,
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
            starved: VecDeque::new(),
            buffers_released: false,
            dirty: Vec::new(),
            timers: Timers::default(),
            store: Store::new(std::env::temp_dir(), waker),
            upload_buffers: BufferPool::for_uploads(),
            short_buffers: BufferPool::for_short_reads(),
            generation: 0,
            now: Instant::now(),
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
    /// wait in the backlog; connections that are there go on.
    pub fn stop_listener(&mut self, listener: ListenerId) {
        let Some(stopping) = find_listener(&mut self.listeners, listener) else {
            return;
        };
        if std::mem::replace(&mut stopping.started, false) {
            stopping.ready = false;
            deregister(&self.poll, &stopping.socket);
        }
    }

    /// Accepts again.
    pub fn start_listener(&mut self, listener: ListenerId) {
        let Some(starting) = find_listener(&mut self.listeners, listener) else {
            return;
        };
        if starting.started {
            return;
        }
        let token = Token(FIRST_LISTENER - listener.slot);
        starting.started =
            register(&self.poll, &starting.socket, token, Interest::READABLE).is_ok();
        starting.resume();
        starting.ready = starting.started;
    }

    /// Closes the listening socket; connections that are there go on.
    pub fn close_listener(&mut self, listener: ListenerId) {
        if find_listener(&mut self.listeners, listener).is_none() {
            return;
        }
        self.stop_listener(listener);
        self.listeners.remove(listener.slot);
        self.resume_listeners();
    }

    /// Where new temporary files are created, from the next file on.
    pub fn set_temporary_directory(&mut self, directory: PathBuf) {
        self.store.set_directory(directory);
    }

    /// How file data is written, from the next file on.
    pub fn set_writer(&mut self, writer: Writer) {
        self.store.set_writer(writer);
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
        let queued = self.events.len();
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
                connection.gate_closed = false;
                self.now = Instant::now();
                self.advance(request.slot);
            }
        }
    }

    /// Sends whatever output has become due. To be called before the outer loop sleeps.
    pub fn flush(&mut self) {
        let mut due = std::mem::take(&mut self.dirty);
        for slot in due.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.in_dirty = false;
                self.send(slot);
            }
        }
        // What is due again by now waits for the next time.
        due.append(&mut self.dirty);
        self.dirty = due;
    }

    /// How long the outer loop may sleep at most: zero if there is something to do at once,
    /// `None` if nothing but the descriptor can wake it.
    pub fn wait_time(&self) -> Option<Duration> {
        let at_once = !self.events.is_empty()
            || !self.ready.is_empty()
            || !self.dirty.is_empty()
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
    /// What epoll_create1(2), eventfd(2) or epoll_ctl(2) said. The engine then still is the
    /// parent's and must not be used.
    pub fn after_fork(&mut self) -> io::Result<()> {
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
        self.store.after_fork(waker);
        self.connections.clear();
        self.events.clear();
        self.data_queued = 0;
        self.ready.clear();
        self.starved.clear();
        self.dirty.clear();
        self.timers = Timers::default();
        self.upload_buffers = BufferPool::for_uploads();
        Ok(())
    }

    /// The process has forked: until the child lets go of them, all connections of now have a
    /// second owner, who must not keep a client waiting for the end of its reply.
    pub fn note_fork(&mut self) {
        for (_, connection) in &mut self.connections {
            connection.forked = true;
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
        self.starved.clear();
        self.dirty.clear();
        self.store.shut_down();
    }
}

/// What the application does with a request. A handle whose request is over does nothing.
impl Engine {
    /// Pauses the receiving of the request: nothing is read, nothing reported, no time runs.
    pub fn stop(&mut self, request: RequestId) -> bool {
        let Some(connection) = find(&mut self.connections, request) else {
            return false;
        };
        connection.stopped = true;
        if connection.is_receiving() {
            self.restart_deadline(request.slot);
        }
        true
    }

    /// Ends the pause. Returns whether the request is still there.
    pub fn start(&mut self, request: RequestId) -> bool {
        let Some(connection) = find(&mut self.connections, request) else {
            return false;
        };
        if std::mem::replace(&mut connection.stopped, false) {
            self.now = Instant::now();
            self.advance(request.slot);
        }
        true
    }

    /// Ends the request at once, its output discarded.
    ///
    /// While its multipart body is being received, [`Event::Failed`] comes next, and the
    /// descriptor stays open until that is acknowledged.
    pub fn drop_request(&mut self, request: RequestId) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        match connection.phase {
            Phase::Failing { .. } => {}
            Phase::Multipart(_) => {
                let event = connection.fail(RequestError::Dropped);
                self.events.push_back(event);
                self.restart_deadline(request.slot);
            }
            _ => self.close(request.slot),
        }
    }

    /// Appends to the output. Returns whether anybody may still receive it.
    pub fn write(&mut self, request: RequestId, bytes: &[u8]) -> bool {
        match self.output(request) {
            Some(output) => {
                output.extend_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// The output, to be appended to in place; `None` if nobody will receive it.
    pub fn output(&mut self, request: RequestId) -> Option<&mut Vec<u8>> {
        let connection = find(&mut self.connections, request)?;
        if !connection.accepts_output() {
            return None;
        }
        mark_dirty(&mut self.dirty, request.slot, connection);
        Some(connection.output.bytes_mut())
    }

    /// Sending starts by itself once more than this is pending, and stops when no more is left;
    /// 0 sends everything. Default 51200 bytes.
    pub fn set_flush_threshold(&mut self, request: RequestId, bytes: u64) {
        if let Some(connection) = find(&mut self.connections, request) {
            connection.output.set_threshold(bytes);
            mark_dirty(&mut self.dirty, request.slot, connection);
        }
    }

    /// All output written by now is to be sent.
    pub fn flush_output(&mut self, request: RequestId) {
        if let Some(connection) = find(&mut self.connections, request) {
            connection.output.send_all();
            mark_dirty(&mut self.dirty, request.slot, connection);
        }
    }

    /// All output is to be sent, and [`Event::Drained`] to come when it is, or when it never
    /// will be. Until it has come, a further call adds nothing.
    pub fn notify_drained(&mut self, request: RequestId) {
        match find(&mut self.connections, request) {
            None => self.events.push_back(Event::Drained { request }),
            Some(connection) => {
                connection.notify_drained = true;
                self.flush_output(request);
            }
        }
    }

    /// Bytes of output that were not sent yet.
    pub fn pending_output(&self, request: RequestId) -> u64 {
        self.find(request)
            .map_or(0, |connection| connection.output.pending())
    }

    /// The reply is complete: the rest is sent, then the connection is closed, by the engine
    /// alone. The handle is of no use any more.
    pub fn finish(&mut self, request: RequestId) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        match connection.phase {
            // The failure is reported first, and the request over with its acknowledgement.
            Phase::Failing { .. } => return,
            _ if connection.gone => return self.close(request.slot),
            _ => {}
        }
        connection.reply_is_complete();
        mark_dirty(&mut self.dirty, request.slot, connection);
        self.restart_deadline(request.slot);
    }

    /// Whether the handle still names a request.
    pub fn is_open(&self, request: RequestId) -> bool {
        self.find(request).is_some()
    }

    /// Whether output may still reach the client. Not so after a send has failed, the client
    /// has reset the connection, or it has taken nothing for too long.
    pub fn accepts_output(&self, request: RequestId) -> bool {
        self.find(request).is_some_and(Connection::accepts_output)
    }

    /// The client's address.
    pub fn peer(&self, request: RequestId) -> Option<SocketAddress> {
        Some(self.find(request)?.peer)
    }

    /// The address the client connected to.
    pub fn local(&self, request: RequestId) -> Option<SocketAddress> {
        let connection = self.find(request)?;
        connection
            .local
            .or_else(|| socket::local_address(&connection.socket).ok())
    }

    /// The number of the socket, which stays the engine's.
    pub fn descriptor(&self, request: RequestId) -> Option<RawFd> {
        Some(self.find(request)?.socket.as_raw_fd())
    }

    /// Another descriptor of the socket, closed on exec, for the application to use as it
    /// likes. The engine's part in the connection then ends with closing its own. Only where
    /// the request fails ([`Event::Failed`]) is the connection ended for all: what was written
    /// before the failure was acknowledged still arrives.
    pub fn duplicate(&mut self, request: RequestId) -> Option<io::Result<OwnedFd>> {
        let connection = find(&mut self.connections, request)?;
        let duplicate = socket::duplicate(&connection.socket);
        connection.duplicated |= duplicate.is_ok();
        connection.bypassed |= duplicate.is_ok();
        Some(duplicate)
    }

    /// The application has closed what [`duplicate`](Engine::duplicate) gave it, every one of
    /// them: the connection is the engine's alone again.
    pub fn duplicates_closed(&mut self, request: RequestId) {
        if let Some(connection) = find(&mut self.connections, request) {
            connection.duplicated = false;
        }
    }

    /// What was read along with the head of a request whose body is left to the application.
    /// The rest is in the socket. Empty at any other time, and at the second call.
    pub fn take_unread(&mut self, request: RequestId) -> Vec<u8> {
        match find(&mut self.connections, request) {
            Some(connection) if matches!(connection.phase, Phase::Handling) => {
                std::mem::take(&mut connection.unparsed).bytes().to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Hands over the socket. Output that is pending is dropped, and the handle of no use any
    /// more. See also [`take_unread`](Engine::take_unread).
    pub fn detach(&mut self, request: RequestId) -> Option<OwnedFd> {
        find(&mut self.connections, request)?;
        let connection = self.remove(request.slot)?;
        deregister(&self.poll, &connection.socket);
        Some(connection.socket)
    }

    /// Takes a descriptor that the application brought, for output alone: a socket, a pipe, a
    /// file. It is made non-blocking, which whoever shares it will notice.
    ///
    /// # Errors
    ///
    /// What fcntl(2) or epoll_ctl(2) said; the descriptor is closed then. A regular file, which
    /// epoll_ctl(2) refuses, is taken: it is always ready.
    pub fn adopt(&mut self, descriptor: OwnedFd) -> io::Result<RequestId> {
        socket::set_nonblocking(&descriptor)?;
        let peer = socket::peer_address(&descriptor).unwrap_or(SocketAddress::Unix);
        let options = Rc::new(ListenerOptions {
            write_timeout: None,
            ..ListenerOptions::default()
        });
        let request = self.insert(descriptor, peer, options)?;
        if let Some(connection) = self.connections.get_mut(request.slot) {
            connection.phase = Phase::Handling;
            connection.readable = false;
            // Whoever brought it may have it still.
            connection.duplicated = true;
        }
        Ok(request)
    }

    /// From now on the client's end is reported, once, by [`Event::Disconnected`]. Output is
    /// still attempted after that, since a client may end its side first.
    pub fn watch_disconnect(&mut self, request: RequestId) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        connection.watched = true;
        self.report_disconnect(request.slot);
    }

    /// Has something done that blocks, by a thread; [`Event::WorkDone`] tells the outcome.
    pub fn spawn(&mut self, perform: Box<dyn FnOnce() -> io::Result<()> + Send>) -> WorkId {
        let work = WorkId(self.next_generation());
        if let Err(perform) = self.store.spawn(work, perform) {
            let result = perform();
            self.events.push_back(Event::WorkDone { work, result });
        }
        work
    }
}

/// What a turn consists of.
impl Engine {
    fn poll_system(&mut self) -> io::Result<()> {
        let mut polled = std::mem::replace(&mut self.polled, Events::with_capacity(0));
        let result = self.poll.poll(&mut polled, Some(Duration::ZERO));
        self.now = Instant::now();
        if result.is_ok() {
            for event in &polled {
                self.note(event);
            }
        }
        self.polled = polled;
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
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
            Phase::Head(_) | Phase::Form(_) | Phase::Multipart(_) | Phase::Lingering { .. } => {
                mark_ready(&mut self.ready, slot, connection);
            }
            _ if broken => self.lose(slot),
            _ if ended => self.report_disconnect(slot),
            _ => {}
        }
    }

    fn take_completions(&mut self) {
        if !self.store.is_busy() {
            return;
        }
        let completions = self.store.completions();
        if completions.is_empty() {
            return;
        }
        for _ in &completions {
            self.feed_one();
        }
        for completion in completions {
            match completion {
                Completion::Work { work, result } => {
                    self.events.push_back(Event::WorkDone { work, result });
                }
                Completion::Write {
                    request,
                    chunk,
                    result,
                } => self.written(request, chunk, result),
            }
        }
    }

    fn written(&mut self, request: RequestId, chunk: Chunk, result: io::Result<()>) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        if let Phase::Multipart(upload) = &mut connection.phase {
            upload.written(chunk, result);
            self.advance(request.slot);
        }
    }

    fn read_ready(&mut self) {
        self.buffers_released = false;
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else {
                break;
            };
            self.read(slot);
        }
        // Whatever became of those that were fed, the rest is not forgotten.
        while !self.store.is_writing() && self.feed_one() {}
    }

    /// Reads once.
    fn read(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.in_ready = false;
        if !connection.readable {
            return;
        }
        if let Phase::Lingering { until } = connection.phase {
            return self.discard_input(slot, until);
        }
        if !connection.may_be_read() {
            return;
        }
        let uploading = connection.is_uploading();
        if uploading && self.data_queued >= MOST_DATA_QUEUED {
            return mark_ready(&mut self.ready, slot, connection);
        }
        if uploading && self.store.is_saturated() {
            return self.starve(slot);
        }
        let (buffers, limit) = match uploading {
            true => (&mut self.upload_buffers, BUFFER_SIZE),
            false => (&mut self.short_buffers, SHORT_READ),
        };
        let carried = std::mem::take(&mut connection.unparsed);
        let filled = buffers.read(carried, limit, |space| {
            socket::receive(&connection.socket, space)
        });
        match filled {
            Filled::Chunk { chunk, full } => {
                connection.unparsed = chunk;
                // A read that leaves space has emptied the socket, but for the end, which the
                // system has announced already and will not announce again.
                connection.readable = full || connection.peer_ended;
                self.advance(slot);
            }
            Filled::Failed(carried, Errno::AGAIN) => {
                connection.unparsed = carried;
                connection.readable = false;
                if connection.deadline.is_none() {
                    self.restart_deadline(slot);
                }
            }
            Filled::End | Filled::Failed(..) => self.receiving_ended(slot),
            Filled::NoBuffer(carried) => {
                connection.unparsed = carried;
                match self.release_buffers() {
                    true => self.read(slot),
                    false => self.starve(slot),
                }
            }
        }
    }

    /// Buffers that are kept for requests whose application takes its time: a copy does.
    /// Once a turn at most; returns whether it was done now.
    fn release_buffers(&mut self) -> bool {
        if self.buffers_released {
            return false;
        }
        self.buffers_released = true;
        for (_, connection) in &mut self.connections {
            connection.release_buffers();
        }
        true
    }

    /// The upload waits for the writer threads, through no fault of its client.
    fn starve(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.starved = true;
        self.starved.push_back(slot);
        self.restart_deadline(slot);
    }

    /// The upload that has waited longest for the writer threads may go on. Returns whether
    /// there was one.
    fn feed_one(&mut self) -> bool {
        while let Some(slot) = self.starved.pop_front() {
            let connection = self.connections.get_mut(slot);
            if let Some(connection) = connection.filter(|found| found.starved) {
                connection.starved = false;
                mark_ready(&mut self.ready, slot, connection);
                return true;
            }
        }
        false
    }

    /// Parses on, and does what comes of it.
    fn advance(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        match connection.advance(&mut self.store) {
            Progress::Event(event) => {
                self.data_queued += event.data_length();
                self.events.push_back(event);
                self.restart_deadline(slot);
            }
            Progress::NeedsInput => self.await_input(slot),
            Progress::Waiting if connection.is_receiving() => self.restart_deadline(slot),
            Progress::Waiting => {}
            Progress::Close => self.close(slot),
            Progress::Refuse(status) => self.refuse(slot, status),
        }
    }

    fn await_input(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.readable {
            mark_ready(&mut self.ready, slot, connection);
        }
        if connection.take_continue() {
            connection.output.interim(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.send(slot);
        }
        self.restart_deadline(slot);
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
    }

    /// The client has ended its side within a request.
    fn receiving_ended(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.peer_ended = true;
        match connection.phase {
            Phase::Multipart(_) => self.fail(slot, RequestError::Disconnected),
            _ => self.close(slot),
        }
    }

    fn fail(&mut self, slot: usize, error: RequestError) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.gate_closed = true;
            let event = connection.fail(error);
            self.events.push_back(event);
            self.restart_deadline(slot);
        }
    }

    /// The application has seen the failure.
    fn end_failed(&mut self, slot: usize, status: Option<u16>) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        match status {
            Some(status) if connection.options.error_responses => self.refuse(slot, status),
            // What the application has written to a descriptor of its own is to arrive. A failed
            // request is over for everybody, so that sending may be shut down for all.
            _ if connection.bypassed && !connection.peer_ended => {
                connection.release();
                self.linger(slot);
            }
            _ => self.close(slot),
        }
    }

    fn refuse(&mut self, slot: usize, status: u16) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.release();
        connection.phase = Phase::Replying { linger: true };
        connection.output.discard();
        *connection.output.bytes_mut() = reply::refusal(status);
        connection.output.send_all();
        self.send(slot);
    }

    fn send(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let was_blocked = connection.blocked;
        let sent = connection.output.send(&connection.socket);
        connection.blocked = matches!(sent, Sent::Blocked { .. });
        let moved = match sent {
            Sent::Failed => return self.lose(slot),
            Sent::Blocked { progress } => progress || !was_blocked,
            Sent::Enough => true,
            Sent::Interrupted => {
                mark_dirty(&mut self.dirty, slot, connection);
                true
            }
        };
        // Where a request is being received, or input thrown away, that alone counts.
        if moved && connection.is_replying() {
            self.restart_deadline(slot);
        }
        self.drained(slot);
    }

    /// If nothing is left to be sent, tells so, and ends a complete reply.
    fn drained(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if !connection.output.is_empty() {
            return;
        }
        if connection.report_drained() {
            let request = connection.request;
            self.events.push_back(Event::Drained { request });
        }
        match connection.phase {
            Phase::Replying { linger: true } => self.linger(slot),
            Phase::Replying { linger: false } => self.close(slot),
            _ => {}
        }
    }

    fn linger(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        socket::shut_down_sending(&connection.socket);
        connection.phase = Phase::Lingering {
            until: Instant::now() + LINGER,
        };
        connection.readable = true;
        mark_ready(&mut self.ready, slot, connection);
        self.restart_deadline(slot);
    }

    fn discard_input(&mut self, slot: usize, until: Instant) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let filled = self
            .short_buffers
            .read(Chunk::default(), BUFFER_SIZE, |space| {
                socket::receive(&connection.socket, space)
            });
        match filled {
            Filled::Chunk { full, .. } => {
                connection.readable = full || connection.peer_ended;
                if connection.readable && self.now < until {
                    mark_ready(&mut self.ready, slot, connection);
                }
                self.restart_deadline(slot);
            }
            Filled::Failed(_, Errno::AGAIN) => connection.readable = false,
            _ => self.close(slot),
        }
    }

    /// Nothing can be sent to the client any more.
    fn lose(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.gone = true;
        connection.peer_ended = true;
        connection.blocked = false;
        connection.output.discard();
        if connection.is_replying() {
            self.restart_deadline(slot);
        }
        self.report_disconnect(slot);
        match self.connections.get(slot).map(|found| &found.phase) {
            Some(Phase::Replying { .. }) => self.close(slot),
            _ => self.drained(slot),
        }
    }

    fn report_disconnect(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.take_disconnect() {
            let request = connection.request;
            self.events.push_back(Event::Disconnected { request });
        }
    }

    fn expire(&mut self) {
        while let Some(slot) = self.timers.pop_due(self.now) {
            let deadline = self.connections.get(slot).and_then(|found| found.deadline);
            match deadline {
                None => {}
                Some(deadline) if deadline > self.now => self.timers.arm(slot, deadline),
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
            Phase::Multipart(_) => self.fail(slot, RequestError::TimedOut),
            Phase::Head(_) | Phase::Form(_) if connection.options.error_responses => {
                self.refuse(slot, 408);
            }
            Phase::Head(_) | Phase::Form(_) | Phase::Lingering { .. } => self.close(slot),
            Phase::Handling | Phase::Replying { .. } => self.lose(slot),
            Phase::Failing { .. } => {}
        }
    }
}

/// Connections coming and going.
impl Engine {
    fn accept_ready(&mut self) {
        for slot in 0..self.listeners.capacity() {
            for _ in 0..ACCEPTS_A_TURN {
                if !self.listeners.get(slot).is_some_and(|found| found.ready) {
                    break;
                }
                self.accept(slot);
            }
        }
    }

    fn accept(&mut self, slot: usize) {
        let Some(listener) = self.listeners.get_mut(slot) else {
            return;
        };
        let id = ListenerId {
            slot,
            generation: listener.generation,
        };
        match socket::accept(&listener.socket) {
            Ok((socket, peer)) => {
                listener.has_accepted();
                self.accepted(id, socket, peer);
            }
            Err(Errno::AGAIN) => listener.ready = false,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                if listener.pause(self.now) {
                    self.events
                        .push_back(Event::OutOfDescriptors { listener: id });
                }
            }
            Err(error) if is_client_fault(error) => {}
            // The socket itself is unfit, and may stay so.
            Err(_) => {
                listener.pause(self.now);
            }
        }
    }

    fn accepted(&mut self, id: ListenerId, socket: OwnedFd, peer: SocketAddress) {
        let Some(listener) = find_listener(&mut self.listeners, id) else {
            return;
        };
        let full = listener.is_full();
        let beyond = listener
            .connections
            .saturating_sub(listener.options.max_connections);
        let options = Rc::clone(&listener.options);
        if full && (!options.error_responses || beyond >= REFUSED_AT_A_TIME) {
            return;
        }
        let local = listener.socket.address();
        let Ok(request) = self.insert(socket, peer, Rc::clone(&options)) else {
            return;
        };
        if let Some(listener) = find_listener(&mut self.listeners, id) {
            listener.connections += 1;
        }
        let Some(connection) = self.connections.get_mut(request.slot) else {
            return;
        };
        connection.listener = id;
        connection.local =
            Some(local).filter(|local| !local.ip().is_some_and(|address| address.is_unspecified()));
        connection.head_deadline = later(self.now, options.header_timeout);
        if full {
            return self.refuse(request.slot, 503);
        }
        // The request often is there already.
        self.await_input(request.slot);
    }

    fn insert(
        &mut self,
        socket: OwnedFd,
        peer: SocketAddress,
        options: Rc<ListenerOptions>,
    ) -> io::Result<RequestId> {
        let generation = self.next_generation();
        let entry = self.connections.vacant_entry();
        let slot = entry.key();
        let token = token_of(slot, generation);
        let interest = Interest::READABLE | Interest::WRITABLE;
        match register(&self.poll, &socket, token, interest) {
            // A regular file is always ready.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
        let request = RequestId { slot, generation };
        entry.insert(Connection::new(socket, token, request, peer, options));
        Ok(request)
    }

    fn close(&mut self, slot: usize) {
        let Some(connection) = self.remove(slot) else {
            return;
        };
        // Otherwise the system would report what happens to the duplicate.
        if connection.duplicated || connection.forked {
            deregister(&self.poll, &connection.socket);
        }
        if connection.forked && !connection.duplicated {
            socket::shut_down_sending(&connection.socket);
        }
        drop(connection);
        self.resume_listeners();
    }

    fn remove(&mut self, slot: usize) -> Option<Connection> {
        let mut connection = self.connections.try_remove(slot)?;
        if connection.report_drained() {
            let request = connection.request;
            self.events.push_back(Event::Drained { request });
        }
        if let Some(listener) = find_listener(&mut self.listeners, connection.listener) {
            listener.connections = listener.connections.saturating_sub(1);
        }
        Some(connection)
    }

    /// A descriptor has become free.
    fn resume_listeners(&mut self) {
        for (_, listener) in &mut self.listeners {
            listener.resume();
        }
    }

    fn is_current(&mut self, event: &Event) -> bool {
        let Some(request) = event.request() else {
            return true;
        };
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
            _ => true,
        }
    }

    fn find(&self, request: RequestId) -> Option<&Connection> {
        self.connections
            .get(request.slot)
            .filter(|found| found.request == request && !found.released)
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
        .filter(|found| found.request == request && !found.released)
}

/// The client has given up, or its network, before it was accepted: the next one may do better
/// (accept(2), "Error handling").
fn is_client_fault(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::PERM
    )
}

fn find_listener(listeners: &mut Slab<Listener>, id: ListenerId) -> Option<&mut Listener> {
    listeners
        .get_mut(id.slot)
        .filter(|found| found.generation == id.generation)
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
