//! The event loop, HTTP parser and multipart-to-file writer of HTTP::Server::EV; knows no Perl.

#![forbid(unsafe_code)]

pub mod address;
mod connection;
mod engine;
mod event;
pub mod form;
pub mod http;
pub mod limits;
mod listener;
mod reply;
mod socket;
mod store;
mod timer;
mod upload;

pub use address::{ListenAddress, SocketAddress};
pub use engine::Engine;
pub use event::{Event, Head, ListenerId, RequestError, RequestId, WorkId};
pub use limits::{Exceeded, Limits};
pub use listener::ListenerOptions;
pub use socket::ListenSocket;
pub use store::{TemporaryFile, Writer};
