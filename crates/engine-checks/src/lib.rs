//! What the engine keeps for any input, as checks that panic where it does not.
//!
//! Each parser is held against a naive reading of the same format: one that is written for
//! clarity, has all of the input at once, and shares no code with the parser. The checks are fed by
//! the fuzz targets, by the corpora these have gathered, and by the property tests of the engine.
//!
//! - `input`: takes apart what a fuzzer gives: the bytes for the parser, and what to do with them.
//! - [`request_head`], [`chunked`], [`multipart`], [`urlencoded`], [`cookies`]: a parser each.
//! - [`charset`]: the text that the last three of them make.
//! - [`connection`]: an engine, with clients and an application that do anything.

#![forbid(unsafe_code)]

pub mod charset;
pub mod chunked;
pub mod connection;
pub mod cookies;
mod input;
pub mod multipart;
pub mod request_head;
pub mod urlencoded;

pub use input::pieces;
