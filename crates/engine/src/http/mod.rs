//! HTTP/1.x as bytes in, events out: heads of requests and replies, and the framing of bodies.

mod authority;
pub mod body;
pub mod body_decoder;
mod characters;
pub mod chunked;
pub mod date;
pub mod head_reader;
pub mod refusal;
pub mod reply_head;
pub mod request_head;
