//! Listeners: the options of one, and its accepting side.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::idle_queue::IdleQueue;
use crate::limits::Limits;
use crate::socket::ListenSocket;

/// How the connections of one listener are treated.
///
/// ```
/// use engine::ListenerOptions;
/// use std::time::Duration;
///
/// let options = ListenerOptions {
///     timeout: Some(Duration::from_secs(10)),
///     ..ListenerOptions::default()
/// };
/// assert_eq!(options.body_methods, [b"POST"]);
/// ```
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// The largest request that is accepted.
    pub limits: Limits,
    /// How long a client may send nothing while its request is received. It starts anew with
    /// every read and pauses while the request is stopped or the application has an event of
    /// it. Default 60 seconds; `None` for no limit.
    pub timeout: Option<Duration>,
    /// How long the head of a request may take altogether. Default `None`: no limit.
    pub header_timeout: Option<Duration>,
    /// How long a connection is kept for another request after a reply. Default 15 seconds; `None`
    /// or zero for one request per connection.
    pub keepalive: Option<Duration>,
    /// How long a client may take nothing of the output that is due. Default 60 seconds; `None`
    /// for no limit.
    pub write_timeout: Option<Duration>,
    /// The methods whose bodies are received, in capitals. Default `POST` alone.
    pub body_methods: Vec<Vec<u8>>,
    /// Whether a client that exceeds a limit is told so (408, 413, 414, 431, 503) instead of
    /// finding the connection closed. Default `false`.
    pub error_responses: bool,
    /// Whether the data of files is reported by [`Event::FileData`](crate::Event::FileData)
    /// besides being written. Default `false`.
    pub report_file_data: bool,
    /// How many connections the listener has at a time at most. Default 0: no limit.
    pub max_connections: u64,
}

impl Default for ListenerOptions {
    fn default() -> ListenerOptions {
        ListenerOptions {
            limits: Limits::default(),
            timeout: Some(Duration::from_secs(60)),
            header_timeout: None,
            keepalive: Some(Duration::from_secs(15)),
            write_timeout: Some(Duration::from_secs(60)),
            body_methods: vec![b"POST".to_vec()],
            error_responses: false,
            report_file_data: false,
            max_connections: 0,
        }
    }
}

/// How soon accepting is tried again when no descriptor was left, and the longest it can grow to.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listener of the engine.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: ListenSocket,
    pub(crate) options: Rc<ListenerOptions>,
    pub(crate) generation: u64,
    pub(crate) started: bool,
    /// It was stopped, and the application is to be told when its last connection is closed.
    pub(crate) draining: bool,
    /// That was queued and not taken yet.
    pub(crate) drained_queued: bool,
    /// Clients may be waiting.
    pub(crate) ready: bool,
    /// Connections that are open and served.
    pub(crate) connections: u64,
    /// Connections that are open and told that they are too many.
    pub(crate) refused: u64,
    /// Those of its connections that idle.
    pub(crate) idle: IdleQueue,
    pause: Duration,
    paused_until: Option<Instant>,
    /// Clients wait because none can be accepted, which the application knows.
    failure_reported: bool,
    /// Clients that had gone before they were accepted, in a row.
    clients_gone: usize,
}

impl Listener {
    pub(crate) fn new(socket: ListenSocket, options: ListenerOptions, generation: u64) -> Listener {
        Listener {
            socket,
            options: Rc::new(options),
            generation,
            started: true,
            draining: false,
            drained_queued: false,
            ready: true,
            connections: 0,
            refused: 0,
            idle: IdleQueue::default(),
            pause: FIRST_PAUSE,
            paused_until: None,
            failure_reported: false,
            clients_gone: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        let maximum = self.options.max_connections;
        maximum > 0 && self.connections >= maximum
    }

    /// Whether it is to be reported now that it has been stopped and has no connection.
    pub(crate) fn take_drained(&mut self) -> bool {
        let is_drained = self.connections + self.refused == 0;
        is_drained
            && std::mem::take(&mut self.draining)
            && !std::mem::replace(&mut self.drained_queued, true)
    }

    /// Accepts nobody for some time, and longer the next time in a row.
    fn pause(&mut self, now: Instant) {
        self.ready = false;
        self.paused_until = Some(now + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    /// No client can be accepted. Returns whether this is news.
    pub(crate) fn has_failed(&mut self, now: Instant) -> bool {
        self.pause(now);
        !std::mem::replace(&mut self.failure_reported, true)
    }

    /// A client that was to be accepted had gone. Returns how many in a row.
    pub(crate) fn has_lost_client(&mut self) -> usize {
        self.clients_gone = self.clients_gone.saturating_add(1);
        self.clients_gone
    }

    /// Everybody has been accepted.
    pub(crate) fn nobody_waits(&mut self) {
        self.ready = false;
        self.failure_reported = false;
        self.clients_gone = 0;
    }

    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.started)
    }

    /// A descriptor may be there again.
    pub(crate) fn resume(&mut self) {
        if self.paused_until.take().is_some() {
            self.ready = self.started;
        }
    }

    /// The child has no connections, and descriptors of its own.
    pub(crate) fn after_fork(&mut self) {
        self.connections = 0;
        self.refused = 0;
        self.idle.clear();
        self.draining = false;
        self.drained_queued = false;
        self.ready = self.started;
        self.pause = FIRST_PAUSE;
        self.paused_until = None;
        self.failure_reported = false;
        self.clients_gone = 0;
    }

    pub(crate) fn has_accepted(&mut self) {
        self.pause = FIRST_PAUSE;
        self.clients_gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        let socket = ListenSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        Listener::new(socket, ListenerOptions::default(), 0)
    }

    #[test]
    fn a_pause_is_not_inherited() {
        let mut listener = listener();
        assert!(listener.has_failed(Instant::now()));
        listener.after_fork();
        assert_eq!((listener.paused_until(), listener.ready), (None, true));
        assert!(listener.has_failed(Instant::now()));
    }

    #[test]
    fn a_failure_is_news_once_until_everybody_is_accepted() {
        let now = Instant::now();
        let mut listener = listener();
        assert!(listener.has_failed(now));
        assert!(!listener.has_failed(now));
        listener.has_accepted();
        assert!(!listener.has_failed(now));
        listener.nobody_waits();
        assert!(listener.has_failed(now));
    }

    #[test]
    fn clients_that_have_gone_are_counted_until_one_is_there_or_nobody() {
        let mut listener = listener();
        assert_eq!(
            [listener.has_lost_client(), listener.has_lost_client()],
            [1, 2]
        );
        listener.has_accepted();
        assert_eq!(
            [listener.has_lost_client(), listener.has_lost_client()],
            [1, 2]
        );
        listener.nobody_waits();
        assert_eq!(listener.has_lost_client(), 1);
    }

    #[test]
    fn pauses_grow_to_a_second_until_a_client_is_accepted() {
        let now = Instant::now();
        let mut listener = listener();
        let mut pause = || {
            listener.pause(now);
            let until = listener.paused_until().unwrap();
            listener.resume();
            (until - now).as_millis()
        };
        let pauses: Vec<_> = (0..6).map(|_| pause()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        listener.has_accepted();
        listener.pause(now);
        assert_eq!(listener.paused_until(), Some(now + FIRST_PAUSE));
    }
}
