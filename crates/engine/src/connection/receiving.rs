//! What a connection makes of its input: request heads and their bodies.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;

use super::{Connection, Form, MOST_SKIPPED, Phase, Progress, later};
use crate::address::SocketAddress;
use crate::event::{Event, Head, RequestError};
use crate::form::multipart::{Multipart, MultipartError};
use crate::head_pool::HeadPool;
use crate::http::body::{BodyKind, Framing};
use crate::http::chunked::ChunkedError;
use crate::http::head_reader::HeadReader;
use crate::http::request_head::{HeadError, RequestHead, Version};
use crate::limits::Exceeded;
use crate::memory;
use crate::socket;
use crate::store::chunk::Chunk;
use crate::store::writer::Store;
use crate::upload::{Step, Upload};

/// Unparsed input that is rather copied than kept in the read buffer it came in.
const COPIED_INPUT: usize = 64 * 1024;

/// Going on with what was received.
impl Connection {
    /// Goes on with what was received.
    pub(crate) fn advance(&mut self, heads: &mut HeadPool, store: &mut Store) -> Progress {
        self.suspended = false;
        let progress = self.advance_phase(heads, store);
        self.tidy(&progress);
        progress
    }

    /// Another request may come.
    pub(super) fn expect_head(&mut self, now: Instant) {
        self.phase = Phase::Head(HeadReader::default());
        self.idle = self.unparsed.is_empty();
        self.head_deadline = match self.idle {
            true => None,
            false => later(now, self.options.header_timeout),
        };
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
                Phase::Skipping => self.skip(),
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
        if let Err(exceeded) = memory::append(&mut form.body, self.unparsed.bytes()) {
            return self.refuse_head(&exceeded.into());
        }
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
            Step::NeedsDescriptor => Progress::NeedsDescriptor,
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
        self.unparsed = Chunk::default();
        if self.body.exceeds(MOST_SKIPPED) || self.body.take_failure().is_some() {
            return Some(Progress::Linger);
        }
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
        // Where there is no memory for a copy, whoever needs the buffer does without.
        if !keeps_buffer {
            self.unparsed.compact().ok();
        }
        self.body.compact().ok();
    }
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
