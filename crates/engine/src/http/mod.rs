//! HTTP/1.x as bytes in, events out: heads of requests and replies, and the framing of bodies.
//!
//! - [`head_reader`] reads the head of a request, [`request_head`] is what it has read;
//!   `authority` and `characters` have parts of the grammar, `field_value` the values of fields.
//! - [`body`] tells how a request's body is framed, [`body_decoder`] and [`chunked`] free it of that.
//! - [`reply_head`] tells what the head of a reply says of its framing, [`date`] what time it is,
//!   [`refusal`] is the reply to a request that the application never sees.

mod authority;
pub mod body;
pub mod body_decoder;
mod characters;
pub mod chunked;
pub mod date;
pub(crate) mod field_value;
pub mod head_reader;
pub mod refusal;
pub mod reply_head;
pub mod request_head;
