//! One connection: what it has received so far, and what it does next.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::address::SocketAddress;
use crate::event::{Event, Head, ListenerId, RequestError, RequestId};
use crate::form::multipart::{Multipart, MultipartError};
use crate::http::body::{BodyKind, Framing};
use crate::http::request_head::{HeadError, HeadReader, Parsed, RequestHead, Version};
use crate::limits::Exceeded;
use crate::listener::ListenerOptions;
use crate::reply::Output;
use crate::socket;
use crate::store::chunk::Chunk;
use crate::store::writer::Store;
use crate::upload::{Step, Upload};

/// Unparsed input that is rather copied than kept in the read buffer it came in.
const COPIED_INPUT: usize = 64 * 1024;

/// How long input may fail to come while it is thrown away after a reply.
const LINGER_IDLE: Duration = Duration::from_secs(2);

/// A connection and the request on it.
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
    pub(crate) output: Output,

    /// The socket may have something to read.
    pub(crate) readable: bool,
    /// The client has ended its side: whatever is readable ends with that.
    pub(crate) peer_ended: bool,
    /// Nothing can be sent any more.
    pub(crate) gone: bool,
    /// Sending waits for the client.
    pub(crate) blocked: bool,

    /// The application has an event and has not acknowledged it.
    pub(crate) gate_closed: bool,
    /// The application knows the request, and [`Event::Request`] was queued and not taken yet.
    pub(crate) completion_queued: bool,
    /// The application has stopped the request.
    pub(crate) stopped: bool,
    /// The writer threads have as much of the upload as they may have.
    suspended: bool,
    /// The upload waits until the writer threads have done some of their work.
    pub(crate) starved: bool,
    /// The application's handle is of no use any more.
    pub(crate) released: bool,
    /// Somebody else has a descriptor of this socket.
    pub(crate) duplicated: bool,
    /// The application may have written to a duplicate, whoever has it now.
    pub(crate) bypassed: bool,
    /// A forked child may have a descriptor of this socket.
    pub(crate) forked: bool,
    /// Such a child may have the application's duplicate, too, and write to it at any time.
    pub(crate) duplicate_forked: bool,
    pub(crate) watched: bool,
    /// The client's end is reported once.
    disconnect_reported: bool,
    pub(crate) notify_drained: bool,
    /// [`Event::Draining`] is to come if the client does not take the finished reply at once.
    pub(crate) notify_draining: bool,
    /// [`Event::Drained`] was queued and not taken yet.
    drained_queued: bool,
    /// The client waits for the word before it sends the body.
    expects_continue: bool,
    /// Some of the body is in the socket, or may still come.
    body_left: bool,

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
    Replying { linger: bool },
    /// The reply was sent; input is thrown away for a moment, since closing a socket with unread
    /// input resets the connection, and the client may lose the reply.
    Lingering { until: Instant },
}

/// A body that is collected whole.
pub(crate) struct Form {
    head: Box<Head>,
    body: Vec<u8>,
    body_left: u64,
}

/// What a connection wants next.
pub(crate) enum Progress {
    /// Its application is to see this; the gate is closed.
    Event(Event),
    /// More input.
    NeedsInput,
    /// Somebody else: the application, or the writer threads.
    Waiting,
    /// To be closed without a word.
    Close,
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
            output: Output::default(),
            readable: true,
            peer_ended: false,
            gone: false,
            blocked: false,
            gate_closed: false,
            completion_queued: false,
            stopped: false,
            suspended: false,
            starved: false,
            released: false,
            duplicated: false,
            bypassed: false,
            forked: false,
            duplicate_forked: false,
            watched: false,
            disconnect_reported: false,
            notify_drained: false,
            notify_draining: false,
            drained_queued: false,
            expects_continue: false,
            body_left: false,
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
            Phase::Head(_) | Phase::Form(_) | Phase::Multipart(_)
        )
    }

    pub(crate) fn is_uploading(&self) -> bool {
        matches!(self.phase, Phase::Multipart(_))
    }

    /// Whether neither the application nor its failure keeps the request from going on.
    pub(crate) fn may_advance(&self) -> bool {
        self.is_receiving() && !self.gate_closed && !self.stopped
    }

    pub(crate) fn may_be_read(&self) -> bool {
        self.may_advance() && !self.suspended && !self.starved
    }

    /// Whether what counts is how fast the client takes the output.
    pub(crate) fn is_replying(&self) -> bool {
        matches!(self.phase, Phase::Handling | Phase::Replying { .. })
    }

    /// When its patience with the client ends if nothing moves from now on; `None` if it waits
    /// for somebody else, or without limit.
    pub(crate) fn deadline_from(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Head(_) | Phase::Form(_) | Phase::Multipart(_) if !self.may_be_read() => None,
            Phase::Head(_) => {
                let idle = later(now, self.options.timeout);
                idle.into_iter().chain(self.head_deadline).min()
            }
            Phase::Form(_) | Phase::Multipart(_) => later(now, self.options.timeout),
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

    /// Goes on with what was received.
    pub(crate) fn advance(&mut self, store: &mut Store) -> Progress {
        self.suspended = false;
        let progress = self.advance_phase(store);
        self.tidy(&progress);
        progress
    }

    /// Copies what it keeps of the read buffers, so that they can be used by others.
    pub(crate) fn release_buffers(&mut self) {
        self.unparsed.compact();
        if let Phase::Multipart(upload) = &mut self.phase {
            upload.compact();
        }
    }

    /// The request has failed, and the application that knows of it is told.
    pub(crate) fn fail(&mut self, error: RequestError) -> Event {
        let excess = |status| Some(status).filter(|_| self.options.error_responses);
        let status = match &error {
            RequestError::TimedOut => excess(408),
            RequestError::Exceeded(exceeded) => excess(exceeded.status()),
            RequestError::Malformed(malformed) => Some(malformed.status()),
            RequestError::Store(_) | RequestError::Dropped | RequestError::Disconnected => None,
        };
        self.phase = Phase::Failing {
            status,
            delivered: false,
        };
        self.unparsed = Chunk::default();
        self.output.discard();
        Event::Failed {
            request: self.request,
            error,
        }
    }

    /// Whether the client's end is to be reported now.
    pub(crate) fn take_disconnect(&mut self) -> bool {
        let due = self.watched && self.peer_ended && !self.released && !self.disconnect_reported;
        self.disconnect_reported |= due;
        due
    }

    /// The output is empty, or never will be taken: whether that is to be reported now.
    pub(crate) fn report_drained(&mut self) -> bool {
        let due = std::mem::take(&mut self.notify_drained) && !self.drained_queued;
        self.drained_queued |= due;
        due
    }

    /// Whether the application is to see [`Event::Drained`] now. Not if there is more output by
    /// now and another wish, which this would seem to fulfil.
    pub(crate) fn take_drained(&mut self) -> bool {
        self.drained_queued = false;
        !self.notify_drained
    }

    /// The reply is complete: what is to be sent of it is sent, then the connection ends.
    pub(crate) fn reply_is_complete(&mut self) {
        // Whoever has a duplicate may go on using it, so nothing may be shut down.
        let input_left =
            self.is_receiving() || self.body_left || self.readable || !self.unparsed.is_empty();
        self.phase = Phase::Replying {
            linger: input_left && !self.duplicated,
        };
        self.release();
        self.output.send_all();
    }

    /// The application's handle is of no use any more.
    pub(crate) fn release(&mut self) {
        self.unparsed = Chunk::default();
        self.released = true;
        self.stopped = false;
    }

    /// Whether `100 Continue` is to be sent; only once (RFC 9110 §10.1.1).
    pub(crate) fn take_continue(&mut self) -> bool {
        // Once the body comes, the client waits no longer.
        std::mem::take(&mut self.expects_continue) && self.unparsed.is_empty()
    }

    fn advance_phase(&mut self, store: &mut Store) -> Progress {
        loop {
            if !self.may_advance() {
                return Progress::Waiting;
            }
            let next = match &mut self.phase {
                Phase::Head(reader) => {
                    if self.unparsed.is_empty() {
                        return Progress::NeedsInput;
                    }
                    match reader.read(self.unparsed.bytes(), &self.options.limits) {
                        Ok(Parsed::Partial) => return Progress::NeedsInput,
                        Ok(Parsed::Complete { head, consumed }) => {
                            self.unparsed.advance(consumed);
                            self.begin(head)
                        }
                        Err(error) => Some(self.refuse_head(&error)),
                    }
                }
                Phase::Form(form) => match form.take(&mut self.unparsed) {
                    true => Some(self.hand_over_form()),
                    false => return Progress::NeedsInput,
                },
                Phase::Multipart(upload) => {
                    let step = upload.advance(&mut self.unparsed, store);
                    Some(self.follow_upload(step))
                }
                _ => return Progress::Waiting,
            };
            if let Some(progress) = next {
                return progress;
            }
        }
    }

    /// The head is complete. `None`: its body can be received.
    fn begin(&mut self, head: RequestHead) -> Option<Progress> {
        let framing = match Framing::of(&head, &self.options.limits) {
            Ok(Framing::Chunked) => return Some(self.refuse_head(&HeadError::NotImplemented)),
            Ok(framing) => framing,
            Err(error) => return Some(self.refuse_head(&error)),
        };
        let Some(kind) = BodyKind::of(&head, &self.options.body_methods) else {
            self.body_left = !matches!(framing, Framing::None | Framing::Length(0));
            return Some(self.hand_over(Some(self.head_of(head)), None));
        };
        let length = match framing {
            Framing::Length(length) => length,
            Framing::None if head.method() == b"POST" => return Some(Progress::Close),
            Framing::None | Framing::Chunked => 0,
        };
        if head.method() == b"POST" && head.content_type().is_none() {
            return Some(Progress::Close);
        }
        self.expects_continue = length > 0 && expects_continue(&head);
        match kind {
            BodyKind::Multipart => Some(self.begin_multipart(head, length)),
            BodyKind::Urlencoded if length > self.options.limits.urlencoded_body => {
                Some(self.refuse_head(&Exceeded::UrlencodedBody.into()))
            }
            BodyKind::Urlencoded => {
                self.phase = Phase::Form(Form {
                    head: self.head_of(head),
                    body: Vec::new(),
                    body_left: length,
                });
                None
            }
        }
    }

    fn begin_multipart(&mut self, head: RequestHead, length: u64) -> Progress {
        let content_type = head.content_type().unwrap_or_default();
        let parser = match Multipart::new(content_type, &self.options.limits) {
            Ok(parser) => parser,
            Err(MultipartError::Exceeded(exceeded)) => return self.refuse_head(&exceeded.into()),
            Err(error) => return Progress::Refuse(error.status()),
        };
        let report = self.options.report_file_data;
        let upload = Upload::new(self.request, parser, length, report);
        self.phase = Phase::Multipart(Box::new(upload));
        self.gate_closed = true;
        Progress::Event(Event::Multipart {
            request: self.request,
            head: self.head_of(head),
        })
    }

    fn follow_upload(&mut self, step: Step) -> Progress {
        match step {
            Step::NeedsInput => Progress::NeedsInput,
            Step::Suspended => {
                self.suspended = true;
                Progress::Waiting
            }
            Step::Complete => {
                // What comes behind the body is nobody's.
                self.unparsed = Chunk::default();
                self.hand_over(None, None)
            }
            Step::Event(event) => {
                self.gate_closed = true;
                Progress::Event(event)
            }
            Step::Failed(error) => {
                self.body_left = true;
                self.gate_closed = true;
                Progress::Event(self.fail(error))
            }
        }
    }

    fn hand_over_form(&mut self) -> Progress {
        match std::mem::replace(&mut self.phase, Phase::Handling) {
            Phase::Form(form) => {
                // What comes behind the body is nobody's.
                self.unparsed = Chunk::default();
                self.hand_over(Some(form.head), Some(form.body))
            }
            _ => Progress::Waiting,
        }
    }

    fn hand_over(&mut self, head: Option<Box<Head>>, body: Option<Vec<u8>>) -> Progress {
        self.phase = Phase::Handling;
        self.gate_closed = true;
        self.completion_queued = head.is_none();
        Progress::Event(Event::Request {
            request: self.request,
            head,
            body,
        })
    }

    fn refuse_head(&self, error: &HeadError) -> Progress {
        match error {
            HeadError::Exceeded(_) if !self.options.error_responses => Progress::Close,
            _ => Progress::Refuse(error.status()),
        }
    }

    fn head_of(&self, request: RequestHead) -> Box<Head> {
        let local = self
            .local
            .unwrap_or_else(|| socket::local_address(&self.socket).unwrap_or(SocketAddress::Unix));
        Box::new(Head {
            request,
            listener: self.listener,
            peer: self.peer,
            local,
            descriptor: self.socket.as_raw_fd(),
        })
    }

    /// Read buffers are shared by all connections, so nobody keeps one for a few bytes.
    fn tidy(&mut self, progress: &Progress) {
        let keeps_buffer = !matches!(progress, Progress::NeedsInput)
            && self.unparsed.len() > COPIED_INPUT
            && !self.unparsed.is_wasteful();
        if !keeps_buffer {
            self.unparsed.compact();
        }
    }
}

impl Form {
    /// Whether the body is complete.
    fn take(&mut self, input: &mut Chunk) -> bool {
        let length = self.body_left.min(input.len() as u64);
        let part = input.part(0..length as usize);
        self.body.extend_from_slice(part.bytes());
        input.advance(part.len());
        self.body_left -= length;
        self.body_left == 0
    }
}

/// `None` also where the time lies beyond what can be counted.
pub(crate) fn later(now: Instant, timeout: Option<Duration>) -> Option<Instant> {
    now.checked_add(timeout?)
}

fn expects_continue(head: &RequestHead) -> bool {
    head.version() == Version::Http11
        && head
            .header("Expect")
            .is_some_and(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
}
