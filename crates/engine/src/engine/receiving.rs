//! Receiving: what is read, when, and what comes of it.

use std::io;

use rustix::io::Errno;

use super::{Engine, find, mark_ready};
use crate::connection::{Connection, Phase, Progress};
use crate::event::{Event, RequestError, RequestId};
use crate::limits::Exceeded;
use crate::socket;
use crate::store::chunk::{BUFFER_SIZE, Chunk, Filled};
use crate::store::writer::Completion;

/// Bytes that are read at a time, other than for uploads.
const SHORT_READ: usize = 64 * 1024;

/// Bytes that are read for uploads, and to be thrown away, in one turn, give or take a read: what
/// others have sent meanwhile does not wait for more.
const MOST_BULK_READ: usize = 8 * 1024 * 1024;

/// Bytes of file data in queued events beyond which no upload is read.
const MOST_DATA_QUEUED: usize = 8 * 1024 * 1024;

/// Reading, and going on with what was read.
impl Engine {
    pub(super) fn take_completions(&mut self) {
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

    pub(super) fn read_ready(&mut self) {
        self.buffers_released = false;
        self.read_all_but_bulk();
        // What the application has to do comes before all but one of those, so that a reply waits
        // for little; and after some of them it is looked whether there is more of that. Those that
        // are left are first in the next turn.
        let most = match self.events.is_empty() {
            true => usize::MAX,
            false => 1,
        };
        self.bulk_read = 0;
        for _ in 0..self.bulk_ready.len().min(most) {
            if self.bulk_read >= MOST_BULK_READ {
                break;
            }
            if let Some(slot) = self.bulk_ready.pop_front() {
                self.read(slot);
            }
        }
        // Whatever became of those that were fed, the rest is not forgotten.
        while !self.store.is_writing() && self.feed_one() {}
    }

    fn read_all_but_bulk(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else {
                break;
            };
            let connection = self.connections.get(slot);
            match connection.is_some_and(Connection::reads_bulk) {
                true => self.bulk_ready.push_back(slot),
                false => self.read(slot),
            }
        }
    }

    /// Reads once.
    fn read(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.in_ready = false;
        if std::mem::take(&mut connection.resumes) {
            return self.advance(slot);
        }
        if !connection.readable {
            return;
        }
        if connection.discards_input() {
            return self.discard_while_replying(slot);
        }
        if connection.is_lingering() {
            return self.discard_while_lingering(slot);
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
        let limit = limit.min(connection.body.most_left());
        let carried = std::mem::take(&mut connection.unparsed);
        let filled = buffers.read(carried, limit, |space| {
            let received = socket::receive(&connection.socket, space)?;
            // A read that leaves space has emptied the socket, but for the end, which the system
            // has announced already and will not announce again.
            connection.readable = received == space.len() || connection.peer_ended;
            if received == 0 {
                return Ok(None);
            }
            if uploading {
                self.bulk_read += received;
            }
            let received = space.get_mut(..received).unwrap_or_default();
            let limits = &connection.options.limits;
            Ok(Some(connection.body.receive(received, limits)))
        });
        match filled {
            Filled::Chunk(chunk) => {
                connection.unparsed = chunk;
                if connection.idle {
                    connection.end_idling(self.now);
                }
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
                if std::mem::replace(&mut self.buffers_released, true) {
                    return self.starve(slot);
                }
                self.release_buffers();
                self.read(slot);
            }
            Filled::Unavailable(exceeded) => self.exceed(slot, exceeded),
        }
    }

    /// Buffers that are kept for requests whose application takes its time: a copy does. A request
    /// for which there is no memory for one is given up, since others need the buffer. To be called
    /// once a turn at most.
    fn release_buffers(&mut self) {
        let connections = self.connections.iter_mut();
        let without: Vec<_> = connections
            .filter_map(|(slot, connection)| Some((slot, connection.release_buffers().err()?)))
            .collect();
        for (slot, exceeded) in without {
            self.exceed(slot, exceeded);
        }
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
    pub(super) fn advance(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        match connection.advance(&mut self.heads, &mut self.store) {
            Progress::Event(event) => {
                self.data_queued += event.data_length();
                self.events.push_back(event);
                self.restart_deadline(slot);
            }
            Progress::NeedsInput => self.await_input(slot),
            Progress::Waiting if connection.is_receiving() => self.restart_deadline(slot),
            Progress::Waiting => {}
            Progress::NeedsDescriptor => {
                self.make_room();
                self.advance(slot);
            }
            Progress::Close => self.close_gently(slot),
            Progress::Linger => self.linger(slot),
            Progress::Refuse(status) => self.refuse(slot, status),
        }
    }

    pub(super) fn await_input(&mut self, slot: usize) {
        if self.close_if_stopped(slot) {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.readable {
            mark_ready(&mut self.ready, slot, connection);
        }
        if connection.take_continue() {
            self.send_continue(slot);
        }
        self.restart_deadline(slot);
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

    /// The request cannot be received for want of what it takes.
    fn exceed(&mut self, slot: usize, exceeded: Exceeded) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.unparsed = Chunk::default();
        match connection.phase {
            Phase::Multipart(_) => self.fail(slot, RequestError::Exceeded(exceeded)),
            Phase::Head(_) | Phase::Form(_) if connection.options.error_responses => {
                self.refuse(slot, exceeded.status());
            }
            _ => self.close_gently(slot),
        }
    }

    pub(super) fn fail(&mut self, slot: usize, error: RequestError) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.exchange.gate_closed = true;
            let event = connection.fail(error);
            self.events.push_back(event);
            self.restart_deadline(slot);
        }
    }

    /// The application has seen the failure.
    pub(super) fn end_failed(&mut self, slot: usize, status: Option<u16>) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        // The application that has answered by a descriptor of its own wants no second answer.
        let answer = status.filter(|_| connection.options.error_responses || !connection.bypassed);
        // One that has begun its answer cannot begin another.
        match answer.filter(|_| !connection.output.has_begun()) {
            Some(status) => self.refuse(slot, status),
            None => self.end_for_all(slot),
        }
    }
}
