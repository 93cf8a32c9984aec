//! The event loop, HTTP parser and multipart-to-file writer of HTTP::Server::EV; knows no Perl.
//!
//! [`Engine`] is where to begin. It has no loop of its own and never calls out: an outer loop
//! drives it, and takes from it one [`Event`] at a time.
//!
//! - `engine`: the poll, the listeners and connections, the events; the whole public behaviour,
//!   in a file each for driving, commands, accepting, receiving and sending.
//! - `event`: what is reported, and the handles requests are known by.
//! - `connection`: how far its request is, and what it does next; `exchange`: what is known of one
//!   request and its reply.
//! - `incoming`: a body on its way from the socket; `upload`: a multipart body on its way to fields
//!   and files.
//! - `output`: replies, how they are framed and sent.
//! - `listener`, `socket`, `address`: accepting, the socket calls, and where they go.
//! - `timer`: deadlines; `memory`: what to do where there is none; `write_signals`: writes that would
//!   raise a signal.
//! - `store`: temporary files and how they are written; nothing else touches files.
//! - [`http`], [`form`]: the parsers, bytes in, events out.
//! - [`limits`]: every limit, its default, its error.

#![forbid(unsafe_code)]
// Sizes come from clients: none is cut off in silence.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod address;
mod connection;
mod engine;
mod event;
mod exchange;
pub mod form;
mod head_pool;
pub mod http;
mod idle_queue;
mod incoming;
pub mod limits;
mod listener;
mod memory;
mod output;
mod output_pool;
mod socket;
mod store;
mod timer;
mod upload;
mod write_signals;

pub use address::{ListenAddress, SocketAddress};
pub use engine::{Engine, Unread};
pub use event::{Event, Head, ListenerId, RequestError, RequestId, WorkId};
pub use limits::{Exceeded, Limits};
pub use listener::ListenerOptions;
pub use socket::ListenSocket;
pub use store::{TemporaryFile, Writer};
