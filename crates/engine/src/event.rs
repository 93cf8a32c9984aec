//! What the engine reports to the application, and the handles the two talk by.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::address::SocketAddress;
use crate::form::charset::Text;
use crate::form::multipart::MultipartError;
use crate::http::chunked::ChunkedError;
use crate::http::request_head::RequestHead;
use crate::limits::Exceeded;
use crate::store::TemporaryFile;

macro_rules! handle {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        ///
        /// A slot and a generation: a handle that has outlived what it named does nothing,
        /// whoever has the slot now.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            pub(crate) slot: usize,
            pub(crate) generation: u64,
        }

        impl $name {
            /// A small number that is used again once its owner is gone.
            pub fn slot(&self) -> usize {
                self.slot
            }

            /// The handle as one number above 0, which is never used again.
            pub fn number(&self) -> u64 {
                self.generation
            }
        }
    };
}

handle! {
    /// Names one request and its reply.
    RequestId
}
handle! {
    /// Names one listener.
    ListenerId
}
impl ListenerId {
    /// Names none: the listener of what was not accepted.
    pub(crate) const NONE: ListenerId = ListenerId {
        slot: usize::MAX,
        generation: 0,
    };
}

/// Names one piece of work given to [`Engine::spawn`](crate::Engine::spawn) or
/// [`Engine::persist_later`](crate::Engine::persist_later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(pub(crate) u64);

/// Something that happened. Each event is complete in itself and owns its data.
///
/// The events `Multipart`, `Field`, `FileOpened`, `FileData`, `FileReceived`, `Request` and
/// `Failed` close the gate of their request: it goes no further, and no later event of it is
/// seen, until [`Engine::acknowledge`](crate::Engine::acknowledge).
#[derive(Debug)]
pub enum Event {
    /// The head of a multipart request is complete; its body comes next.
    Multipart {
        /// The request that begins.
        request: RequestId,
        /// What the client sent first.
        head: Rc<Head>,
    },
    /// An ordinary field of a multipart body is complete.
    Field {
        /// The request it belongs to.
        request: RequestId,
        /// The field's name, as the bytes that came.
        name: Vec<u8>,
        /// The field's value, its charset decided.
        value: Text,
    },
    /// A file of a multipart body begins; it has been created and is empty.
    FileOpened {
        /// The request it belongs to.
        request: RequestId,
        /// The field's name, as the bytes that came.
        name: Vec<u8>,
        /// The name the file has at the client, cleaned.
        file_name: Text,
        /// Where the data goes.
        file: TemporaryFile,
    },
    /// A piece of the file has been written. Only where
    /// [`report_file_data`](crate::ListenerOptions::report_file_data) is on.
    FileData {
        /// The request it belongs to.
        request: RequestId,
        /// The piece, at most 1 MiB.
        data: Vec<u8>,
        /// Bytes in the file by now.
        size: u64,
    },
    /// The file is complete and its last byte has been written.
    FileReceived {
        /// The request it belongs to.
        request: RequestId,
        /// Bytes in the file.
        size: u64,
    },
    /// The request is complete, and a reply is wanted.
    Request {
        /// The request.
        request: RequestId,
        /// What the client sent first; `None` if a `Multipart` event brought it already.
        head: Option<Rc<Head>>,
        /// The body, where it is neither multipart nor left to the application.
        body: Option<Vec<u8>>,
    },
    /// A multipart request has failed. It is over once this is acknowledged; until then its
    /// descriptor is still open.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        error: RequestError,
    },
    /// The client has ended its side, or is gone altogether. Reported once, and only after
    /// [`Engine::watch_disconnect`](crate::Engine::watch_disconnect).
    Disconnected {
        /// The request.
        request: RequestId,
    },
    /// The reply is finished, and its client has not taken all of it yet.
    Draining {
        /// The request, which is over for the application.
        request: RequestId,
        /// The number of the socket, the engine's until [`Event::Drained`] comes.
        descriptor: RawFd,
    },
    /// The output is empty, because it was sent or because nobody will ever take it.
    /// Comes after each [`Engine::notify_drained`](crate::Engine::notify_drained), even if the
    /// request is over by then, and after [`Event::Draining`]; once for all that waits for the
    /// same end.
    Drained {
        /// The request.
        request: RequestId,
    },
    /// Work given to [`Engine::spawn`](crate::Engine::spawn) or
    /// [`Engine::persist_later`](crate::Engine::persist_later) is done.
    WorkDone {
        /// What either of them returned.
        work: WorkId,
        /// What the work returned.
        result: io::Result<()>,
    },
    /// The listener was stopped, and the last of its connections is closed. Reported once after
    /// each [`Engine::stop_listener`](crate::Engine::stop_listener), unless it was started again.
    ListenerDrained {
        /// The listener that was stopped.
        listener: ListenerId,
    },
    /// No descriptor is left for another connection. Accepting goes on once one is closed,
    /// and is tried again from time to time. Reported once until accepting has succeeded.
    OutOfDescriptors {
        /// Whose client has to wait.
        listener: ListenerId,
    },
    /// No connection can be accepted, for want of something else than a descriptor, and it may stay
    /// so. It is tried again from time to time. Reported once until accepting has succeeded.
    AcceptFailed {
        /// Whose clients have to wait.
        listener: ListenerId,
        /// What accept(2) said.
        error: io::Error,
    },
}

/// The head of a request and where it came from. Its memory is used again for another request once
/// it was let go of.
#[derive(Clone, Debug)]
pub struct Head {
    /// Request line and header fields.
    pub request: RequestHead,
    /// Who accepted the connection.
    pub listener: ListenerId,
    /// The client's address.
    pub peer: SocketAddress,
    /// The address the client connected to.
    pub local: SocketAddress,
    /// The number of the socket. It is the engine's: see
    /// [`Engine::duplicate`](crate::Engine::duplicate) and
    /// [`Engine::detach`](crate::Engine::detach).
    pub descriptor: RawFd,
}

impl Default for Head {
    /// The head of no request.
    fn default() -> Head {
        Head {
            request: RequestHead::default(),
            listener: ListenerId::NONE,
            peer: SocketAddress::Unix,
            local: SocketAddress::Unix,
            descriptor: -1,
        }
    }
}

/// Why a multipart request has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The application dropped it.
    #[error("the application dropped the request")]
    Dropped,
    /// The connection ended before the body did.
    #[error("the client went away before the request was complete")]
    Disconnected,
    /// Nothing came for too long.
    #[error("the client sent nothing for too long")]
    TimedOut,
    /// The chunks of the body are not what RFC 9112 §7.1 describes, or exceed a limit.
    #[error(transparent)]
    Transfer(ChunkedError),
    /// The body is not what RFC 7578 describes.
    #[error(transparent)]
    Malformed(MultipartError),
    /// A limit.
    #[error(transparent)]
    Exceeded(Exceeded),
    /// The file could not be created or written.
    #[error("a file could not be stored: {0}")]
    Store(#[source] io::Error),
}

impl Event {
    /// Bytes of file data it carries.
    pub(crate) fn data_length(&self) -> usize {
        match self {
            Event::FileData { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// The request it belongs to, if it belongs to one.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Event::Multipart { request, .. }
            | Event::Field { request, .. }
            | Event::FileOpened { request, .. }
            | Event::FileData { request, .. }
            | Event::FileReceived { request, .. }
            | Event::Request { request, .. }
            | Event::Failed { request, .. }
            | Event::Disconnected { request }
            | Event::Draining { request, .. }
            | Event::Drained { request } => Some(*request),
            Event::WorkDone { .. }
            | Event::OutOfDescriptors { .. }
            | Event::AcceptFailed { .. }
            | Event::ListenerDrained { .. } => None,
        }
    }
}
