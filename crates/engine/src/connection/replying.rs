//! A connection's replies: what frames them, and what comes behind them.

use std::time::Instant;

use super::{AfterReply, Connection, MOST_SKIPPED, Phase, later};
use crate::event::RequestId;
use crate::http::body::Framing;
use crate::limits::Exceeded;
use crate::output::Terms;

/// Ending a reply, and going on behind it.
impl Connection {
    /// What the framing of the reply depends on. `listener_persists`: the listener would go on with
    /// its connections.
    pub(crate) fn terms<'a>(&self, date: &'a [u8], listener_persists: bool) -> Terms<'a> {
        Terms {
            date,
            knows_chunks: self.exchange.knows_chunks,
            answers_head: self.exchange.answers_head,
            answers_connect: self.exchange.answers_connect,
            may_persist: listener_persists && self.may_persist(),
        }
    }

    /// The reply is complete: what is to be sent of it is sent, then comes the next request, or the
    /// end of the connection.
    ///
    /// # Errors
    ///
    /// There is no memory for what frames the reply.
    pub(crate) fn finish_reply(&mut self, terms: Terms<'_>) -> Result<(), Exceeded> {
        self.output.finish(terms)?;
        if self.output.persists() && terms.may_persist {
            self.phase = Phase::Replying {
                then: AfterReply::Next,
            };
            self.exchange.released = true;
            self.exchange.stopped = false;
            return Ok(());
        }
        // Whoever has a duplicate may go on using it, so nothing may be shut down.
        let lingers = self.has_input_left() && !self.duplicated;
        self.phase = Phase::Replying {
            then: match lingers {
                true => AfterReply::Linger,
                false => AfterReply::Close,
            },
        };
        self.release();
        Ok(())
    }

    /// The application's handle is of no use any more, and nothing that came is of interest.
    pub(crate) fn release(&mut self) {
        self.forget_input();
        self.exchange.released = true;
        self.exchange.stopped = false;
    }

    /// Goes on to the next request: the reply was sent.
    pub(crate) fn begin_next(&mut self, request: RequestId, now: Instant) {
        let exchange = std::mem::take(&mut self.exchange);
        self.request = request;
        self.in_idle_queue = false;
        self.served = true;
        self.output.begin_next();
        match exchange.left_body {
            Framing::None => self.expect_head(now),
            left => {
                let received = std::mem::take(&mut self.unparsed);
                self.unparsed = self.body.begin(left, received, &self.options.limits);
                self.phase = Phase::Skipping;
            }
        }
        // A body in chunks may be here in full and have no data.
        let skips = matches!(self.phase, Phase::Skipping);
        self.resumes = skips || !self.unparsed.is_empty();
    }

    /// The first bytes of a request have come.
    pub(crate) fn end_idling(&mut self, now: Instant) {
        self.idle = false;
        self.head_deadline = later(now, self.options.header_timeout);
    }

    /// Whether the client may still send what nobody will read.
    fn has_input_left(&self) -> bool {
        self.is_receiving()
            || self.exchange.left_body != Framing::None
            || self.readable
            || !self.unparsed.is_empty()
    }

    /// Whether, from all that is known by now, another request may follow.
    fn may_persist(&self) -> bool {
        let leaves_little = match self.exchange.left_body {
            Framing::Length(length) => length <= MOST_SKIPPED,
            Framing::None | Framing::Chunked => true,
        };
        // A client that has not been told to go on may leave the body out.
        let is_read = leaves_little && !self.exchange.expects_continue;
        let is_ours = !self.bypassed && !self.duplicated && !self.exchange.exposed;
        self.options.keepalive.is_some_and(|idle| !idle.is_zero())
            && self.exchange.client_persists
            && is_read
            && is_ours
            && !self.is_receiving()
    }
}
