//! What a client sends in a form: charset, urlencoded fields, cookies, multipart bodies.

pub mod charset;
pub mod cookies;
pub mod multipart;
pub mod urlencoded;
