//! Commands: what the application does with a request.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::{Engine, deregister, find, mark_dirty, terms};
use crate::address::SocketAddress;
use crate::connection::{Connection, Phase};
use crate::event::{Event, RequestError, RequestId, WorkId};
use crate::listener::ListenerOptions;
use crate::output::Output;
use crate::socket;
use crate::store::TemporaryFile;
use crate::store::chunk::Chunk;

/// Bytes that were read and are of no use to the engine.
#[derive(Debug, Default)]
pub struct Unread(Chunk);

impl Unread {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// What the application does with a request. A handle whose request is over does nothing.
impl Engine {
    /// Pauses the receiving of the request: nothing is read, nothing reported, no time runs.
    pub fn stop(&mut self, request: RequestId) -> bool {
        let Some(connection) = find(&mut self.connections, request) else {
            return false;
        };
        connection.exchange.stopped = true;
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
        if std::mem::replace(&mut connection.exchange.stopped, false) {
            self.now = Instant::now();
            self.advance(request.slot);
        }
        true
    }

    /// Ends the request at once, its output discarded.
    ///
    /// While its multipart body is being received, and until [`Event::Request`], [`Event::Failed`]
    /// comes next, and the descriptor stays open until that is acknowledged.
    pub fn drop_request(&mut self, request: RequestId) {
        let Some(connection) = find(&mut self.connections, request) else {
            return;
        };
        match connection.phase {
            Phase::Failing { .. } => {}
            _ if connection.is_uploading() || connection.exchange.completion_queued => {
                let event = connection.fail(RequestError::Dropped);
                self.events.push_back(event);
                self.restart_deadline(request.slot);
            }
            _ => {
                connection.output.discard();
                self.end_for_all(request.slot);
            }
        }
    }

    /// Appends to the output. Returns whether anybody may still receive it: nobody may where there
    /// is no memory for it.
    ///
    /// What begins without a head ([`write_head`](Engine::write_head)) is sent as it is, and the
    /// end of the connection is its end.
    pub fn write(&mut self, request: RequestId, bytes: &[u8]) -> bool {
        match self.output(request, bytes.len()) {
            Some(output) => {
                output.extend_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Begins the reply with its head: the status line of HTTP/1.1, header lines, an empty line,
    /// each ended by CRLF. Returns whether anybody may still receive it.
    ///
    /// What follows is the body. `Date` is added, and once some of the reply is to be sent, what
    /// frames it (RFC 9112 §6): `Content-Length` if the reply is finished by then; else chunks, or,
    /// for HTTP/1.0, the end of the connection. The head's own `Content-Length`,
    /// `Transfer-Encoding`, `Connection` and `Date` are left as they are, but `Connection: close`
    /// is added where the connection ends; a body beyond its `Content-Length` is cut off. Replies
    /// to HEAD, and those of status 204 and 304, are sent without their bodies. A head of status
    /// 101 is sent as it is, and what follows is of another protocol. One of another status below
    /// 200 is followed by a further head; a client of HTTP/1.0 gets that alone.
    ///
    /// Where something was written before, the head is a part of that.
    pub fn write_head(&mut self, request: RequestId, head: &[u8]) -> bool {
        match self.writable(request, head.len()) {
            Some(output) => {
                output.write_head(head);
                true
            }
            None => false,
        }
    }

    /// The output, for so many bytes to be appended to it in place; `None` if nobody will receive
    /// it.
    pub fn output(&mut self, request: RequestId, length: usize) -> Option<&mut Vec<u8>> {
        self.writable(request, length).map(Output::bytes_mut)
    }

    fn writable(&mut self, request: RequestId, length: usize) -> Option<&mut Output> {
        let connection = find(&mut self.connections, request)?;
        if !connection.accepts_output() {
            return None;
        }
        mark_dirty(&mut self.dirty, request.slot, connection);
        if connection.output.has_no_memory() {
            connection.output.give_memory(self.outputs.take());
        }
        if connection.output.reserve(length).is_err() {
            self.abandon_output(request);
            return None;
        }
        Some(&mut find(&mut self.connections, request)?.output)
    }

    /// Some of the output could not be made: as a reply with a gap is none, nobody will receive
    /// what was written or will be.
    pub fn abandon_output(&mut self, request: RequestId) {
        if find(&mut self.connections, request).is_some() {
            self.lose(request.slot);
        }
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
    /// will be. Until it has come, a further call adds nothing. The reply may be finished, and
    /// be waited for all the same; once nothing is left of it, the event comes at once.
    pub fn notify_drained(&mut self, request: RequestId) {
        let connection = self.connections.get_mut(request.slot);
        match connection.filter(|found| found.request == request) {
            None => self.events.push_back(Event::Drained { request }),
            Some(connection) => {
                connection.exchange.notify_drained = true;
                // What is written from now on is not to be waited for.
                if connection.output.is_empty() && connection.report_drained() {
                    self.events.push_back(Event::Drained { request });
                }
                self.flush_output(request);
            }
        }
    }

    /// Bytes of output that were not sent yet.
    pub fn pending_output(&self, request: RequestId) -> u64 {
        self.find(request)
            .map_or(0, |connection| connection.output.pending())
    }

    /// The reply is complete: the rest is sent, then comes the next request on the connection, or
    /// its end, by the engine alone. It ends if the client or the listener wants so, if the reply
    /// has no end of its own or the request was not received in full, and if nothing was written.
    /// The handle is of no use any more. If the client does not take all of it at once,
    /// [`Event::Draining`] comes, and [`Event::Drained`] at the end.
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
        self.now = Instant::now();
        let terms = terms(&mut self.clock, self.now, &self.listeners, connection);
        if connection.finish_reply(terms).is_err() {
            return self.close(request.slot);
        }
        connection.exchange.notify_draining = true;
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

    /// The application may use the socket by its number: the connection ends with this reply.
    pub fn expose(&mut self, request: RequestId) {
        if let Some(connection) = find(&mut self.connections, request) {
            connection.exchange.exposed = true;
        }
    }

    /// Whether the descriptor of this number is the engine's: that of its poll, of a listener, or
    /// of a connection. Nobody else may close it.
    pub fn owns(&self, descriptor: RawFd) -> bool {
        let listeners = self.listeners.iter().map(|(_, found)| found.socket.as_fd());
        let connections = self
            .connections
            .iter()
            .map(|(_, found)| found.socket.as_fd());
        self.poll.as_raw_fd() == descriptor
            || listeners
                .chain(connections)
                .any(|owned| owned.as_raw_fd() == descriptor)
    }

    /// Another descriptor of the socket, closed on exec, for the application to use as it
    /// likes. The engine's part in the connection then ends with closing its own. Only where
    /// the request fails ([`Event::Failed`]) is the connection ended for all: what was written
    /// before the failure was acknowledged still arrives.
    ///
    /// The connection ends with this request. A client that waits for the word to send a body
    /// that is left to the application is given it (RFC 9110 §10.1.1).
    pub fn duplicate(&mut self, request: RequestId) -> Option<io::Result<OwnedFd>> {
        let connection = self.find(request)?;
        let mut duplicate = socket::duplicate(&connection.socket);
        if duplicate
            .as_ref()
            .is_err_and(socket::is_short_of_descriptors)
            && self.make_room()
        {
            duplicate = socket::duplicate(&self.find(request)?.socket);
        }
        let connection = find(&mut self.connections, request)?;
        connection.duplicated |= duplicate.is_ok();
        connection.bypassed |= duplicate.is_ok();
        if matches!(connection.phase, Phase::Handling) && connection.take_continue() {
            self.send_continue(request.slot);
        }
        Some(duplicate)
    }

    /// The application has closed what [`duplicate`](Engine::duplicate) gave it, every one of
    /// them: the connection is the engine's alone again, unless a child was forked meanwhile.
    pub fn duplicates_closed(&mut self, request: RequestId) {
        if let Some(connection) = find(&mut self.connections, request) {
            connection.duplicated = connection.duplicate_forked;
        }
    }

    /// What was read along with the head of a request whose body is left to the application.
    /// The rest is in the socket, and the connection ends with this request. Empty at any other
    /// time, and at the second call.
    pub fn take_unread(&mut self, request: RequestId) -> Unread {
        match find(&mut self.connections, request) {
            Some(connection) if matches!(connection.phase, Phase::Handling) => {
                // How much of the body is still to be skipped is not known any more.
                connection.exchange.exposed = true;
                Unread(std::mem::take(&mut connection.unparsed))
            }
            _ => Unread::default(),
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
            connection.output.leave_unframed();
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
        connection.exchange.watched = true;
        self.report_disconnect(request.slot);
    }

    /// Has something done that blocks, by a thread; [`Event::WorkDone`] tells the outcome.
    pub fn spawn(&mut self, perform: Box<dyn FnOnce() -> io::Result<()> + Send>) -> WorkId {
        self.spawn_for(None, perform)
    }

    /// [`TemporaryFile::persist`], by a thread; [`Event::WorkDone`] tells the outcome. What is
    /// wanted of one file is done in the order of the calls. It counts whether the file is complete
    /// now, not when a thread comes to it; so do the umask and the working directory of now.
    pub fn persist_later(&mut self, file: &TemporaryFile, to: PathBuf) -> WorkId {
        let persist = file.persist_later(to, &mut self.store.working_directory);
        self.spawn_for(Some(file), Box::new(move || persist?()))
    }

    fn spawn_for(
        &mut self,
        file: Option<&TemporaryFile>,
        perform: Box<dyn FnOnce() -> io::Result<()> + Send>,
    ) -> WorkId {
        let work = WorkId(self.next_generation());
        if let Err(perform) = self.store.spawn(work, file, perform) {
            let result = perform();
            self.events.push_back(Event::WorkDone { work, result });
        }
        work
    }
}
