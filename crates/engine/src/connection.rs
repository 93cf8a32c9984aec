//! One connection: what it has received so far, and what it does next.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::address::SocketAddress;
use crate::event::{Event, Head, ListenerId, RequestError, RequestId};
use crate::exchange::Exchange;
use crate::form::multipart::{Multipart, MultipartError};
use crate::head_pool::HeadPool;
use crate::http::body::{BodyKind, Framing};
use crate::http::chunked::ChunkedError;
use crate::http::head_reader::HeadReader;
use crate::http::request_head::{HeadError, RequestHead, Version};
use crate::incoming::IncomingBody;
use crate::limits::Exceeded;
use crate::listener::ListenerOptions;
use crate::output::{Output, Terms};
use crate::socket;
use crate::store::chunk::Chunk;
use crate::store::writer::Store;
use crate::upload::{Step, Upload};

/// Unparsed input that is rather copied than kept in the read buffer it came in.
const COPIED_INPUT: usize = 64 * 1024;

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
    /// A reply was sent, and nothing of another request has come yet.
    pub(crate) idle: bool,
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
    /// The reply was sent, and the body that nobody has read is skipped: so many bytes of it at most.
    Skipping { left: u64 },
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
            idle: false,
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
            Phase::Head(_) | Phase::Form(_) | Phase::Multipart(_) | Phase::Skipping { .. }
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
            Phase::Form(_) | Phase::Multipart(_) | Phase::Skipping { .. } => {
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

    /// Goes on with what was received.
    pub(crate) fn advance(&mut self, heads: &mut HeadPool, store: &mut Store) -> Progress {
        self.suspended = false;
        let progress = self.advance_phase(heads, store);
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
            RequestError::Transfer(ChunkedError::Exceeded(exceeded)) => excess(exceeded.status()),
            RequestError::Transfer(malformed) => Some(malformed.status()),
            RequestError::Store(_) | RequestError::Dropped | RequestError::Disconnected => None,
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

    /// What the framing of the reply depends on. `listener_persists`: the listener would go on with
    /// its connections.
    pub(crate) fn terms<'a>(&self, date: &'a [u8], listener_persists: bool) -> Terms<'a> {
        Terms {
            date,
            knows_chunks: self.exchange.knows_chunks,
            answers_head: self.exchange.answers_head,
            may_persist: listener_persists && self.may_persist(),
        }
    }

    /// The reply is complete: what is to be sent of it is sent, then comes the next request, or the
    /// end of the connection.
    pub(crate) fn finish_reply(&mut self, terms: Terms<'_>) {
        self.output.finish(terms);
        if self.output.persists() && terms.may_persist {
            self.phase = Phase::Replying {
                then: AfterReply::Next,
            };
            self.exchange.released = true;
            self.exchange.stopped = false;
            return;
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
        self.output.begin_next();
        match exchange.left_body {
            Framing::None => self.expect_head(now),
            left => {
                let received = std::mem::take(&mut self.unparsed);
                self.unparsed = self.body.begin(left, received, &self.options.limits);
                self.phase = Phase::Skipping { left: MOST_SKIPPED };
            }
        }
        // A body in chunks may be here in full and have no data.
        let skips = matches!(self.phase, Phase::Skipping { .. });
        self.resumes = skips || !self.unparsed.is_empty();
    }

    /// The first bytes of a request have come.
    pub(crate) fn end_idling(&mut self, now: Instant) {
        self.idle = false;
        self.head_deadline = later(now, self.options.header_timeout);
    }

    /// Whether `100 Continue` is to be sent; only once (RFC 9110 §10.1.1).
    pub(crate) fn take_continue(&mut self) -> bool {
        // Once the body comes, the client waits no longer.
        std::mem::take(&mut self.exchange.expects_continue) && self.unparsed.is_empty()
    }

    fn expect_head(&mut self, now: Instant) {
        self.phase = Phase::Head(HeadReader::default());
        self.idle = self.unparsed.is_empty();
        self.head_deadline = match self.idle {
            true => None,
            false => later(now, self.options.header_timeout),
        };
    }

    fn forget_input(&mut self) {
        self.unparsed = Chunk::default();
        self.body.end();
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

    fn advance_phase(&mut self, heads: &mut HeadPool, store: &mut Store) -> Progress {
        loop {
            if !self.may_advance() {
                return Progress::Waiting;
            }
            let next = match &mut self.phase {
                Phase::Head(_) => self.advance_head(heads),
                Phase::Form(_) => Some(self.advance_form()),
                Phase::Multipart(_) => Some(self.advance_upload(store)),
                Phase::Skipping { .. } => self.skip(),
                _ => return Progress::Waiting,
            };
            if let Some(progress) = next {
                return progress;
            }
        }
    }

    /// `None`: the body can be received.
    fn advance_head(&mut self, heads: &mut HeadPool) -> Option<Progress> {
        let Phase::Head(reader) = &mut self.phase else {
            return Some(Progress::Waiting);
        };
        if self.unparsed.is_empty() {
            return Some(Progress::NeedsInput);
        }
        let mut head = heads.take();
        let filled = Rc::make_mut(&mut head);
        let limits = &self.options.limits;
        match reader.read(&mut filled.request, self.unparsed.bytes(), limits) {
            Ok(None) => {
                heads.give_back(head);
                Some(Progress::NeedsInput)
            }
            Ok(Some(consumed)) => {
                filled.listener = self.listener;
                filled.peer = self.peer;
                filled.local = self.local_address();
                filled.descriptor = self.socket.as_raw_fd();
                heads.share(&head);
                self.unparsed.advance(consumed);
                self.begin(head)
            }
            Err(error) => {
                heads.give_back(head);
                Some(self.refuse_head(&error))
            }
        }
    }

    /// The head is complete. `None`: its body can be received.
    fn begin(&mut self, head: Rc<Head>) -> Option<Progress> {
        let request = &head.request;
        let framing = match Framing::of(request, &self.options.limits) {
            Ok(framing) => framing,
            Err(error) => return Some(self.refuse_head(&error)),
        };
        self.exchange.note_head(request);
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        self.exchange.expects_continue = match expectation(request) {
            Expectation::None => false,
            Expectation::Continue => has_body,
            Expectation::Unknown => return Some(Progress::Refuse(417)),
        };
        let Some(kind) = BodyKind::of(request, &self.options.body_methods) else {
            if has_body {
                self.exchange.left_body = framing;
            }
            return Some(self.hand_over(Some(head), None));
        };
        if request.method() == b"POST" {
            if framing == Framing::None {
                return Some(self.refuse_silently(411));
            }
            if request.content_type().is_none() {
                return Some(self.refuse_silently(415));
            }
        }
        let urlencoded_limit = self.options.limits.urlencoded_body;
        match (kind, framing) {
            (BodyKind::Multipart, _) => Some(self.begin_multipart(head, framing)),
            (BodyKind::Urlencoded, Framing::Length(length)) if length > urlencoded_limit => {
                Some(self.refuse_head(&Exceeded::UrlencodedBody.into()))
            }
            (BodyKind::Urlencoded, _) => {
                self.phase = Phase::Form(Form {
                    head,
                    body: Vec::new(),
                });
                self.begin_body(framing);
                None
            }
        }
    }

    fn begin_body(&mut self, framing: Framing) {
        let received = std::mem::take(&mut self.unparsed);
        self.unparsed = self.body.begin(framing, received, &self.options.limits);
    }

    fn end_body(&mut self) {
        self.unparsed = self.body.end();
        // It came without the word that its client would have waited for.
        self.exchange.expects_continue = false;
    }

    fn begin_multipart(&mut self, head: Rc<Head>, framing: Framing) -> Progress {
        let content_type = head.request.content_type().unwrap_or_default();
        let parser = match Multipart::new(content_type, &self.options.limits) {
            Ok(parser) => parser,
            Err(MultipartError::Exceeded(exceeded)) => return self.refuse_head(&exceeded.into()),
            Err(error) => return Progress::Refuse(error.status()),
        };
        let report = self.options.report_file_data;
        let upload = Upload::new(self.request, parser, report);
        self.phase = Phase::Multipart(Box::new(upload));
        self.begin_body(framing);
        self.exchange.gate_closed = true;
        Progress::Event(Event::Multipart {
            request: self.request,
            head,
        })
    }

    fn advance_form(&mut self) -> Progress {
        if let Some(error) = self.body.take_failure() {
            return self.refuse_body(&error);
        }
        let Phase::Form(form) = &mut self.phase else {
            return Progress::Waiting;
        };
        form.body.extend_from_slice(self.unparsed.bytes());
        self.unparsed = Chunk::default();
        let least = self
            .body
            .least_left()
            .saturating_add(form.body.len() as u64);
        if least > self.options.limits.urlencoded_body {
            return self.refuse_head(&Exceeded::UrlencodedBody.into());
        }
        if !self.body.is_complete() {
            return Progress::NeedsInput;
        }
        self.end_body();
        match std::mem::replace(&mut self.phase, Phase::Handling) {
            Phase::Form(form) => self.hand_over(Some(form.head), Some(form.body)),
            _ => Progress::Waiting,
        }
    }

    fn advance_upload(&mut self, store: &mut Store) -> Progress {
        if let Some(error) = self.body.take_failure() {
            return self.fail_upload(RequestError::Transfer(error));
        }
        let is_last = self.body.is_complete();
        let Phase::Multipart(upload) = &mut self.phase else {
            return Progress::Waiting;
        };
        match upload.advance(&mut self.unparsed, is_last, store) {
            Step::NeedsInput => Progress::NeedsInput,
            Step::Suspended => {
                self.suspended = true;
                Progress::Waiting
            }
            Step::Complete => {
                self.end_body();
                self.hand_over(None, None)
            }
            Step::Event(event) => {
                self.exchange.gate_closed = true;
                Progress::Event(event)
            }
            Step::Failed(error) => self.fail_upload(error),
        }
    }

    fn fail_upload(&mut self, error: RequestError) -> Progress {
        self.exchange.gate_closed = true;
        Progress::Event(self.fail(error))
    }

    /// `None`: the next request may be read.
    fn skip(&mut self) -> Option<Progress> {
        let Phase::Skipping { left } = &mut self.phase else {
            return Some(Progress::Waiting);
        };
        let length = self.unparsed.len() as u64;
        self.unparsed = Chunk::default();
        if length > *left || self.body.take_failure().is_some() {
            return Some(Progress::Linger);
        }
        *left -= length;
        if !self.body.is_complete() {
            return Some(Progress::NeedsInput);
        }
        self.unparsed = self.body.end();
        self.expect_head(Instant::now());
        None
    }

    fn hand_over(&mut self, head: Option<Rc<Head>>, body: Option<Vec<u8>>) -> Progress {
        self.phase = Phase::Handling;
        self.exchange.gate_closed = true;
        self.exchange.completion_queued = head.is_none();
        Progress::Event(Event::Request {
            request: self.request,
            head,
            body,
        })
    }

    fn refuse_head(&self, error: &HeadError) -> Progress {
        match error {
            HeadError::Exceeded(_) => self.refuse_silently(error.status()),
            _ => Progress::Refuse(error.status()),
        }
    }

    fn refuse_body(&self, error: &ChunkedError) -> Progress {
        match error {
            ChunkedError::Exceeded(_) => self.refuse_silently(error.status()),
            _ => Progress::Refuse(error.status()),
        }
    }

    /// Without a word, unless the listener has the client told.
    fn refuse_silently(&self, status: u16) -> Progress {
        match self.options.error_responses {
            true => Progress::Refuse(status),
            false => Progress::Close,
        }
    }

    fn local_address(&self) -> SocketAddress {
        self.local
            .unwrap_or_else(|| socket::local_address(&self.socket).unwrap_or(SocketAddress::Unix))
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

/// `None` also where the time lies beyond what can be counted.
pub(crate) fn later(now: Instant, timeout: Option<Duration>) -> Option<Instant> {
    now.checked_add(timeout?)
}

/// What a client wants to be told before it sends the body (RFC 9110 §10.1.1).
enum Expectation {
    None,
    Continue,
    Unknown,
}

/// HTTP/1.0 knows none.
fn expectation(head: &RequestHead) -> Expectation {
    match head.header("Expect") {
        Some(_) if head.version() == Version::Http10 => Expectation::None,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Expectation::Continue,
        Some(_) => Expectation::Unknown,
        None => Expectation::None,
    }
}
