//! One connection: what it has received so far, and what it does next.
//!
//! Here is how far it is and whom it waits for.
//!
//! - `receiving`: what it makes of its input.
//! - `replying`: what frames its replies, and what comes behind them.

mod receiving;
mod replying;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::address::SocketAddress;
use crate::event::{Event, Head, ListenerId, RequestError, RequestId};
use crate::exchange::Exchange;
use crate::http::chunked::ChunkedError;
use crate::http::head_reader::HeadReader;
use crate::incoming::IncomingBody;
use crate::limits::Exceeded;
use crate::listener::ListenerOptions;
use crate::output::Output;
use crate::store::chunk::Chunk;
use crate::upload::Upload;

/// How long input may fail to come while it is thrown away after a reply.
const LINGER_IDLE: Duration = Duration::from_secs(2);

/// Bytes of a body nobody has read that are rather skipped than the connection ended.
const MOST_SKIPPED: u64 = 64 * 1024;

/// A connection, and the request on it: one at a time, so that replies come in the order of their
/// requests, and a client that takes no reply is not read from.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) token: Token,
    pub(crate) listener: ListenerId,
    pub(crate) options: Rc<ListenerOptions>,
    pub(crate) request: RequestId,
    pub(crate) peer: SocketAddress,
    /// Known from the start where the listener has one address only.
    pub(crate) local: Option<SocketAddress>,
    pub(crate) phase: Phase,
    /// Received and not parsed yet.
    pub(crate) unparsed: Chunk,
    pub(crate) body: IncomingBody,
    pub(crate) output: Output,

    /// The socket may have something to read.
    pub(crate) readable: bool,
    /// The client has ended its side: whatever is readable ends with that.
    pub(crate) peer_ended: bool,
    /// Nothing can be sent any more.
    pub(crate) gone: bool,
    /// Sending waits for the client.
    pub(crate) blocked: bool,

    pub(crate) exchange: Exchange,
    /// It is one too many, and told so.
    pub(crate) refused: bool,
    /// A reply was sent on it.
    pub(crate) served: bool,
    /// A reply was sent, and nothing of another request has come yet.
    pub(crate) idle: bool,
    /// Its listener knows that it idles.
    pub(crate) in_idle_queue: bool,
    /// What was read along with the last request is to be parsed.
    pub(crate) resumes: bool,
    /// The writer threads have as much of the upload as they may have.
    suspended: bool,
    /// The upload waits until the writer threads have done some of their work.
    pub(crate) starved: bool,
    /// Somebody else has a descriptor of this socket.
    pub(crate) duplicated: bool,
    /// The application may have written to a duplicate, whoever has it now.
    pub(crate) bypassed: bool,
    /// A forked child may have a descriptor of this socket.
    pub(crate) forked: bool,
    /// Such a child may have the application's duplicate, too, and write to it at any time.
    pub(crate) duplicate_forked: bool,
    pub(crate) in_ready: bool,
    pub(crate) in_dirty: bool,
    pub(crate) deadline: Option<Instant>,
    /// When the head has to be complete.
    pub(crate) head_deadline: Option<Instant>,
}

/// How far the request is.
pub(crate) enum Phase {
    /// Its head is being received.
    Head(HeadReader),
    /// Its body is being received into memory.
    Form(Form),
    /// Its body is being received into fields and files.
    Multipart(Box<Upload>),
    /// The application has it, and may reply.
    Handling,
    /// [`Event::Failed`] was queued, and delivered or not. The status is for the client.
    Failing {
        status: Option<u16>,
        delivered: bool,
    },
    /// The reply is complete and is being sent.
    Replying { then: AfterReply },
    /// The reply was sent, and the body that nobody has read is skipped.
    Skipping,
    /// The reply was sent; input is thrown away for a moment, since closing a socket with unread
    /// input resets the connection, and the client may lose the reply.
    Lingering { until: Instant },
}

/// What comes behind a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterReply {
    /// The next request.
    Next,
    /// The end, for which the client is given time.
    Linger,
    /// The end.
    Close,
}

/// A body that is collected whole.
pub(crate) struct Form {
    head: Rc<Head>,
    body: Vec<u8>,
}

/// What a connection wants next.
pub(crate) enum Progress {
    /// Its application is to see this; the gate is closed.
    Event(Event),
    /// More input.
    NeedsInput,
    /// Somebody else: the application, or the writer threads.
    Waiting,
    /// A descriptor for a file, for which it is tried once more.
    NeedsDescriptor,
    /// To be closed without a word.
    Close,
    /// To be closed when the client has had time to take the last reply.
    Linger,
    /// To be closed after a short reply of this status.
    Refuse(u16),
}

impl Connection {
    pub(crate) fn new(
        socket: OwnedFd,
        token: Token,
        request: RequestId,
        peer: SocketAddress,
        options: Rc<ListenerOptions>,
    ) -> Connection {
        Connection {
            socket,
            token,
            listener: ListenerId::NONE,
            options,
            request,
            peer,
            local: None,
            phase: Phase::Head(HeadReader::default()),
            unparsed: Chunk::default(),
            body: IncomingBody::default(),
            output: Output::default(),
            readable: true,
            peer_ended: false,
            gone: false,
            blocked: false,
            exchange: Exchange::default(),
            refused: false,
            served: false,
            idle: false,
            in_idle_queue: false,
            resumes: false,
            suspended: false,
            starved: false,
            duplicated: false,
            bypassed: false,
            forked: false,
            duplicate_forked: false,
            in_ready: false,
            in_dirty: false,
            deadline: None,
            head_deadline: None,
        }
    }

    /// Whether a request is being received, be it paused or not.
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(
            self.phase,
            Phase::Head(_) | Phase::Form(_) | Phase::Multipart(_) | Phase::Skipping
        )
    }

    /// Whether nothing of a request has been read.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self.phase, Phase::Head(_)) && self.unparsed.is_empty()
    }

    pub(crate) fn is_uploading(&self) -> bool {
        matches!(self.phase, Phase::Multipart(_))
    }

    /// Whether neither the application nor its failure keeps the request from going on.
    pub(crate) fn may_advance(&self) -> bool {
        self.is_receiving() && !self.exchange.gate_closed && !self.exchange.stopped
    }

    pub(crate) fn may_be_read(&self) -> bool {
        self.may_advance() && !self.suspended && !self.starved && !self.has_whole_body()
    }

    /// Whether all that is still to be received is here already.
    fn has_whole_body(&self) -> bool {
        !matches!(self.phase, Phase::Head(_)) && self.body.is_complete()
    }

    /// Whether what counts is how fast the client takes the output.
    pub(crate) fn is_replying(&self) -> bool {
        matches!(self.phase, Phase::Handling | Phase::Replying { .. })
    }

    /// Whether what comes while the last reply is being sent is thrown away.
    pub(crate) fn discards_input(&self) -> bool {
        matches!(
            self.phase,
            Phase::Replying {
                then: AfterReply::Linger
            }
        )
    }

    /// Whether what comes after the last reply is thrown away.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether it may have a lot to be read.
    pub(crate) fn reads_bulk(&self) -> bool {
        self.is_uploading() || self.discards_input() || self.is_lingering()
    }

    /// When its patience with the client ends if nothing moves from now on; `None` if it waits
    /// for somebody else, or without limit.
    pub(crate) fn deadline_from(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            _ if self.is_receiving() && !self.may_be_read() => None,
            Phase::Head(_) if self.idle => later(now, self.options.keepalive),
            Phase::Head(_) => {
                let idle = later(now, self.options.timeout);
                idle.into_iter().chain(self.head_deadline).min()
            }
            Phase::Form(_) | Phase::Multipart(_) | Phase::Skipping => {
                later(now, self.options.timeout)
            }
            Phase::Handling | Phase::Replying { .. } if self.blocked => {
                later(now, self.options.write_timeout)
            }
            Phase::Handling | Phase::Replying { .. } | Phase::Failing { .. } => None,
            Phase::Lingering { until } => Some(until.min(now + LINGER_IDLE)),
        }
    }

    pub(crate) fn accepts_output(&self) -> bool {
        !self.gone && !matches!(self.phase, Phase::Failing { .. })
    }

    /// Copies what it keeps of the read buffers, so that they can be used by others.
    pub(crate) fn release_buffers(&mut self) -> Result<(), Exceeded> {
        self.unparsed.compact()?;
        self.body.compact()?;
        match &mut self.phase {
            Phase::Multipart(upload) => upload.compact(),
            _ => Ok(()),
        }
    }

    /// The request has failed, and the application that knows of it is told.
    pub(crate) fn fail(&mut self, error: RequestError) -> Event {
        let excess = |status| Some(status).filter(|_| self.options.error_responses);
        let status = match &error {
            RequestError::TimedOut => excess(408),
            RequestError::Exceeded(exceeded) => excess(exceeded.status()),
            RequestError::Malformed(malformed) => Some(malformed.status()),
            RequestError::Transfer(ChunkedError::Exceeded(exceeded)) => excess(exceeded.status()),
            RequestError::Transfer(malformed) => Some(malformed.status()),
            RequestError::Store(failure) => excess(status_of_failure(failure)),
            RequestError::Dropped | RequestError::Disconnected => None,
        };
        self.phase = Phase::Failing {
            status,
            delivered: false,
        };
        self.forget_input();
        self.output.discard();
        Event::Failed {
            request: self.request,
            error,
        }
    }

    /// Whether the client's end is to be reported now.
    pub(crate) fn take_disconnect(&mut self) -> bool {
        let due = self.exchange.watched
            && self.peer_ended
            && !self.exchange.released
            && !self.exchange.disconnect_reported;
        self.exchange.disconnect_reported |= due;
        due
    }

    /// The output is empty, or never will be taken: whether that is to be reported now.
    pub(crate) fn report_drained(&mut self) -> bool {
        let due =
            std::mem::take(&mut self.exchange.notify_drained) && !self.exchange.drained_queued;
        self.exchange.drained_queued |= due;
        due
    }

    /// Whether the application is to see [`Event::Drained`] now. Not if there is more output by
    /// now and another wish, which this would seem to fulfil.
    pub(crate) fn take_drained(&mut self) -> bool {
        self.exchange.drained_queued = false;
        !self.exchange.notify_drained
    }

    /// Whether `100 Continue` is to be sent; only once (RFC 9110 §10.1.1).
    pub(crate) fn take_continue(&mut self) -> bool {
        // Once the body comes, the client waits no longer.
        std::mem::take(&mut self.exchange.expects_continue) && self.unparsed.is_empty()
    }

    fn forget_input(&mut self) {
        self.unparsed = Chunk::default();
        self.body.end();
    }
}

/// `None` also where the time lies beyond what can be counted.
pub(crate) fn later(now: Instant, timeout: Option<Duration>) -> Option<Instant> {
    now.checked_add(timeout?)
}

/// What a client is told whose file could not be stored (RFC 9110 §15.6, RFC 4918 §11.5).
fn status_of_failure(failure: &io::Error) -> u16 {
    match failure.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            507
        }
        io::ErrorKind::OutOfMemory => 503,
        _ => 500,
    }
}
