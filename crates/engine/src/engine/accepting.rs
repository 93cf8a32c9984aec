//! Accepting: connections coming and going.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use mio::Interest;
use rustix::io::Errno;

use super::{Engine, deregister, find_listener, idles, is_started, register, token_of};
use crate::address::SocketAddress;
use crate::connection::{Connection, later};
use crate::event::{Event, ListenerId, RequestId};
use crate::listener::{Listener, ListenerOptions};
use crate::memory;
use crate::socket;

/// Connections that a listener accepts in one turn.
const ACCEPTS_A_TURN: usize = 64;

/// Connections that are closed at a time, since they idle, where descriptors run short.
const MOST_CLOSED_FOR_ROOM: usize = 32;

/// Connections beyond the listener's maximum that may be told so at a time.
const REFUSED_AT_A_TIME: u64 = 64;

/// Connections coming and going.
impl Engine {
    pub(super) fn accept_ready(&mut self) {
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
            Err(error) => self.accepted_none(id, error),
        }
    }

    fn accepted_none(&mut self, id: ListenerId, error: Errno) {
        let Some(listener) = find_listener(&mut self.listeners, id) else {
            return;
        };
        match Reason::of(error) {
            Reason::NobodyWaits => listener.nobody_waits(),
            Reason::ClientHasGone if listener.has_lost_client() < ACCEPTS_A_TURN => {}
            // The system wants a descriptor before it looks whether somebody waits.
            Reason::NoDescriptor if !socket::has_input(&listener.socket) => {
                listener.nobody_waits();
            }
            Reason::NoDescriptor => self.find_room(id),
            // So many clients do not go at a time.
            Reason::ClientHasGone | Reason::UnfitSocket => {
                let (listener, error) = (id, error.into());
                self.accept_later(id, Event::AcceptFailed { listener, error });
            }
        }
    }

    /// No descriptor is left for a client that waits.
    fn find_room(&mut self, id: ListenerId) {
        if self.make_room() {
            // The listener is ready still, so the next attempt follows at once.
            return;
        }
        self.accept_later(id, Event::OutOfDescriptors { listener: id });
    }

    /// Nobody can be accepted for now, which the application is told by this event if it is news.
    fn accept_later(&mut self, id: ListenerId, event: Event) {
        let listener = find_listener(&mut self.listeners, id);
        if listener.is_some_and(|listener| listener.has_failed(self.now)) {
            self.events.push_back(event);
        }
    }

    fn accepted(&mut self, id: ListenerId, socket: OwnedFd, peer: SocketAddress) {
        self.make_room_on(id);
        let Some(listener) = find_listener(&mut self.listeners, id) else {
            return;
        };
        let full = listener.is_full();
        let options = Rc::clone(&listener.options);
        if full && (!options.error_responses || listener.refused >= REFUSED_AT_A_TIME) {
            return;
        }
        let local = listener.socket.address();
        let Ok(request) = self.insert(socket, peer, Rc::clone(&options)) else {
            return;
        };
        if let Some(listener) = find_listener(&mut self.listeners, id) {
            match full {
                true => listener.refused += 1,
                false => listener.connections += 1,
            }
        }
        let Some(connection) = self.connections.get_mut(request.slot) else {
            return;
        };
        connection.listener = id;
        connection.refused = full;
        connection.local =
            Some(local).filter(|local| !local.ip().is_some_and(|address| address.is_unspecified()));
        connection.head_deadline = later(self.now, options.header_timeout);
        if full {
            return self.refuse(request.slot, 503);
        }
        // The request often is there already.
        self.await_input(request.slot);
    }

    /// A listener that has all the connections it may have closes one that idles.
    fn make_room_on(&mut self, id: ListenerId) {
        while find_listener(&mut self.listeners, id).is_some_and(|found| found.is_full()) {
            let Some(slot) = self.take_longest_idle_of(id.slot) else {
                return;
            };
            self.close_if_silent(slot);
        }
    }

    /// The process has no descriptor left: closes some connections that idle. Returns whether there
    /// was any.
    pub(super) fn make_room(&mut self) -> bool {
        let mut closed = 0;
        while closed < MOST_CLOSED_FOR_ROOM {
            let Some(slot) = self.take_longest_idle() else {
                break;
            };
            closed += usize::from(self.close_if_silent(slot));
        }
        closed > 0
    }

    pub(super) fn insert(
        &mut self,
        socket: OwnedFd,
        peer: SocketAddress,
        options: Rc<ListenerOptions>,
    ) -> io::Result<RequestId> {
        self.refuse_if_lost()?;
        self.make_room_for_another()?;
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

    /// The table of connections doubles when it is full, and cannot be asked to fail.
    fn make_room_for_another(&self) -> io::Result<()> {
        let connections = self.connections.capacity();
        if self.connections.len() < connections {
            return Ok(());
        }
        let room = memory::has_room::<Option<Connection>>(2 * connections);
        room.map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn close(&mut self, slot: usize) {
        let Some(connection) = self.remove(slot) else {
            return;
        };
        // Otherwise the system would report what happens to the duplicate.
        if connection.duplicated || connection.forked {
            deregister(&self.poll, &connection.socket);
        }
        if connection.forked && !connection.duplicated {
            socket::shut_down(&connection.socket);
        }
        drop(connection);
        self.resume_listeners();
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Connection> {
        let mut connection = self.connections.try_remove(slot)?;
        if connection.report_drained() {
            let request = connection.request;
            self.events.push_back(Event::Drained { request });
        }
        if let Some(listener) = find_listener(&mut self.listeners, connection.listener) {
            let count = match connection.refused {
                true => &mut listener.refused,
                false => &mut listener.connections,
            };
            *count = count.saturating_sub(1);
        }
        self.report_drained_listener(connection.listener);
        Some(connection)
    }

    pub(super) fn report_drained_listener(&mut self, listener: ListenerId) {
        let found = find_listener(&mut self.listeners, listener);
        if found.is_some_and(Listener::take_drained) {
            self.events.push_back(Event::ListenerDrained { listener });
        }
    }

    /// The connection that has idled the longest of all; it is no longer looked for, as it is going
    /// to be closed, or has got a request that was not read yet.
    fn take_longest_idle(&mut self) -> Option<usize> {
        let connections = &self.connections;
        let firsts = self.listeners.iter_mut().filter_map(|(slot, listener)| {
            let first = listener.idle.first(|request| idles(connections, request))?;
            Some((first.generation, slot))
        });
        let (_, listener) = firsts.min()?;
        self.take_longest_idle_of(listener)
    }

    fn take_longest_idle_of(&mut self, listener: usize) -> Option<usize> {
        let idle = &mut self.listeners.get_mut(listener)?.idle;
        let first = idle.first(|request| idles(&self.connections, request))?;
        idle.pop();
        Some(first.slot)
    }

    /// Closes the connections of this listener that are at no request.
    pub(super) fn close_those_without_request(&mut self, listener: ListenerId) {
        let connections = self.connections.iter();
        let slots: Vec<_> = connections
            .filter(|(_, found)| found.listener == listener && found.awaits_request())
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.close_if_silent(slot);
        }
    }

    /// Unless a request has come that was not read yet. Returns whether it was closed.
    fn close_if_silent(&mut self, slot: usize) -> bool {
        let connection = self.connections.get(slot);
        let is_silent = connection.is_some_and(|found| !socket::has_input(&found.socket));
        if is_silent {
            self.close(slot);
        }
        is_silent
    }

    /// Closes a connection that awaits another request, if its listener was stopped meanwhile.
    /// Returns whether it was closed.
    pub(super) fn close_if_stopped(&mut self, slot: usize) -> bool {
        let Some(connection) = self.connections.get(slot).filter(|found| found.idle) else {
            return false;
        };
        !is_started(&self.listeners, connection.listener) && self.close_if_silent(slot)
    }

    /// A descriptor has become free.
    pub(super) fn resume_listeners(&mut self) {
        for (_, listener) in &mut self.listeners {
            listener.resume();
        }
    }
}

/// Why accept(2) has brought no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NobodyWaits,
    /// The client has given up, or its network, before it was accepted: the next one may do
    /// better (accept(2), "Error handling").
    ClientHasGone,
    /// The process or the system has none left, or no memory for one.
    NoDescriptor,
    /// And it may stay so. Also where the system forbids it (EPERM), whoever the client is.
    UnfitSocket,
}

impl Reason {
    fn of(error: Errno) -> Reason {
        match error {
            Errno::AGAIN => Reason::NobodyWaits,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Reason::NoDescriptor,
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP => Reason::ClientHasGone,
            _ => Reason::UnfitSocket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_accept_tells_what_to_do() {
        let expected = [
            (Errno::AGAIN, Reason::NobodyWaits),
            (Errno::CONNABORTED, Reason::ClientHasGone),
            (Errno::INTR, Reason::ClientHasGone),
            (Errno::HOSTUNREACH, Reason::ClientHasGone),
            (Errno::MFILE, Reason::NoDescriptor),
            (Errno::NFILE, Reason::NoDescriptor),
            (Errno::NOMEM, Reason::NoDescriptor),
            (Errno::INVAL, Reason::UnfitSocket),
            (Errno::PERM, Reason::UnfitSocket),
            (Errno::ACCESS, Reason::UnfitSocket),
            (Errno::NOTSOCK, Reason::UnfitSocket),
        ];
        for (error, reason) in expected {
            assert_eq!(Reason::of(error), reason, "{error}");
        }
    }
}
