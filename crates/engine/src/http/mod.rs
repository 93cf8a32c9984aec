//! HTTP/1.x as bytes in, events out: the request head and the framing of the body.

pub mod body;
pub mod request_head;
