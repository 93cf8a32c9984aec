//! Sending: what is due, what a refused client is told, and how a reply ends.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Engine, mark_dirty, mark_ready, terms};
use crate::connection::{AfterReply, Phase};
use crate::event::{Event, RequestId};
use crate::http::refusal::refusal;
use crate::output::Sent;
use crate::socket;
use crate::store::chunk::{BUFFER_SIZE, Chunk, Filled};

/// How long input is thrown away after a reply.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes of output up to which it is sent at once, whatever others have.
const MOST_AT_ONCE: u64 = 64 * 1024;

/// Bytes of larger outputs that are sent in one turn, give or take what is sent of one at a time.
const MOST_BULK_SENT: usize = 8 * 1024 * 1024;

/// What became of input that nobody wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Discarded {
    Some,
    Nothing,
    /// Nothing will come any more.
    End,
}

/// Sending, and ending replies.
impl Engine {
    pub(super) fn refuse(&mut self, slot: usize, status: u16) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.release();
        connection.phase = Phase::Replying {
            then: AfterReply::Linger,
        };
        connection.output.discard();
        *connection.output.bytes_mut() = refusal(status, self.clock.tell(self.now));
        if connection.exchange.answers_head {
            connection.output.cut_body();
        }
        connection.output.send_all();
        // The client may have taken nothing before; its time begins anew.
        connection.blocked = false;
        self.send(slot);
    }

    /// Sends the small outputs that are due. The large ones wait for their turn.
    pub(super) fn send_dirty(&mut self) {
        let mut due = std::mem::take(&mut self.dirty);
        for slot in due.drain(..) {
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            if connection.output.pending() > MOST_AT_ONCE {
                self.bulk_dirty.push_back(slot);
                continue;
            }
            connection.in_dirty = false;
            self.send(slot);
        }
        // What is due again by now waits for the next time.
        due.append(&mut self.dirty);
        self.dirty = due;
    }

    /// Sends some of the large outputs that are due, those first that have waited longest: one of
    /// them where the application has something to do, else as much as a turn sends. What is left
    /// is due in the next turn.
    pub(super) fn send_bulk(&mut self) {
        let most = match self.events.is_empty() {
            true => usize::MAX,
            false => 1,
        };
        for _ in 0..self.bulk_dirty.len().min(most) {
            if self.bulk_sent >= MOST_BULK_SENT {
                break;
            }
            self.send_next_bulk();
        }
    }

    /// Sends some of the large output that has waited longest. Returns whether there was one.
    pub(super) fn send_next_bulk(&mut self) -> bool {
        let Some(slot) = self.bulk_dirty.pop_front() else {
            return false;
        };
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.in_dirty = false;
            self.bulk_sent += self.send(slot);
        }
        true
    }

    /// Sends what is due, or as much of it as is sent at a time. Returns how many bytes.
    pub(super) fn send(&mut self, slot: usize) -> usize {
        let Some(connection) = self.connections.get_mut(slot) else {
            return 0;
        };
        let was_blocked = connection.blocked;
        let terms = terms(&mut self.clock, self.now, &self.listeners, connection);
        let (sent, length) = connection.output.send(&connection.socket, terms);
        connection.blocked = matches!(sent, Sent::Blocked { .. });
        if connection.blocked && connection.readable && connection.discards_input() {
            mark_ready(&mut self.ready, slot, connection);
        }
        if connection.blocked && std::mem::take(&mut connection.exchange.notify_draining) {
            connection.exchange.notify_drained = true;
            // One that is queued already tells of an earlier end of output.
            connection.exchange.drained_queued = false;
            self.events.push_back(Event::Draining {
                request: connection.request,
                descriptor: connection.socket.as_raw_fd(),
            });
        }
        let moved = match sent {
            Sent::Failed => {
                self.lose(slot);
                return length;
            }
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
        length
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
        if let Phase::Replying { then } = connection.phase {
            self.end_reply(slot, then);
        }
    }

    fn end_reply(&mut self, slot: usize, then: AfterReply) {
        match then {
            AfterReply::Next => {
                self.begin_next(slot);
                // The listener may have been stopped after the client was told that it may go on.
                self.close_if_stopped(slot);
            }
            AfterReply::Linger => self.linger(slot),
            AfterReply::Close => self.close(slot),
        }
    }

    fn begin_next(&mut self, slot: usize) {
        let generation = self.next_generation();
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.begin_next(RequestId { slot, generation }, self.now);
        // The end is not announced twice.
        connection.readable |= connection.peer_ended;
        if connection.readable || connection.resumes {
            mark_ready(&mut self.ready, slot, connection);
        }
        self.outputs.give(connection.output.take_memory());
        self.restart_deadline(slot);
    }

    /// Asks for the body (RFC 9110 §15.2.1).
    pub(super) fn send_continue(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.output.interim(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.send(slot);
        }
    }

    /// A request that failed or was dropped is over for everybody, whoever has a duplicate of its
    /// descriptor; but what was written to one is to arrive.
    pub(super) fn end_for_all(&mut self, slot: usize) {
        match self.connections.get(slot) {
            Some(connection) if connection.bypassed => self.linger(slot),
            _ => self.close_gently(slot),
        }
        self.drained(slot);
    }

    /// Whatever request there was is over.
    pub(super) fn linger(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.release();
        socket::shut_down_sending(&connection.socket);
        if connection.output.is_empty() {
            self.outputs.give(connection.output.take_memory());
        }
        connection.phase = Phase::Lingering {
            until: Instant::now() + LINGER,
        };
        connection.readable = true;
        mark_ready(&mut self.ready, slot, connection);
        self.restart_deadline(slot);
    }

    pub(super) fn discard_while_lingering(&mut self, slot: usize) {
        match self.discard_input(slot) {
            Discarded::Some => {}
            Discarded::Nothing => return,
            Discarded::End => return self.close(slot),
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let is_over = matches!(connection.phase, Phase::Lingering { until } if self.now >= until);
        if connection.readable && !is_over {
            mark_ready(&mut self.ready, slot, connection);
        }
        self.restart_deadline(slot);
    }

    /// A client that sends all of its request before it reads the reply is not left waiting.
    pub(super) fn discard_while_replying(&mut self, slot: usize) {
        let discarded = self.discard_input(slot);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if discarded == Discarded::Some && connection.readable {
            mark_ready(&mut self.ready, slot, connection);
        }
    }

    fn discard_input(&mut self, slot: usize) -> Discarded {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Discarded::End;
        };
        let filled = self
            .short_buffers
            .read(Chunk::default(), BUFFER_SIZE, |space| {
                let received = socket::receive(&connection.socket, space)?;
                connection.readable = received == space.len() || connection.peer_ended;
                self.bulk_read += received;
                Ok(Some(received).filter(|received| *received > 0))
            });
        match filled {
            Filled::Chunk(_) => Discarded::Some,
            Filled::Failed(_, Errno::AGAIN) => {
                connection.readable = false;
                Discarded::Nothing
            }
            _ => {
                connection.readable = false;
                Discarded::End
            }
        }
    }

    /// Closes without a word; but where there was one before, the client is given time to take it.
    pub(super) fn close_gently(&mut self, slot: usize) {
        match self.connections.get(slot) {
            Some(connection) if connection.served => self.linger(slot),
            _ => self.close(slot),
        }
    }

    /// Nothing can be sent to the client any more.
    pub(super) fn lose(&mut self, slot: usize) {
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

    pub(super) fn report_disconnect(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.take_disconnect() {
            let request = connection.request;
            self.events.push_back(Event::Disconnected { request });
        }
    }
}
