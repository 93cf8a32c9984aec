//! HTTP/1.x as bytes in, events out: the request head, the framing of the body and its decoding.

mod authority;
pub mod body;
mod characters;
pub mod chunked;
pub mod request_head;
