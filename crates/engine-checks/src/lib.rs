//! What the engine keeps for any input, as checks that panic where it does not.
//!
//! Each parser is held against a naive reading of the same format: one that is written for
//! clarity, and has all of the input at once. It shares no code with the parser, but for what becomes
//! of text and of names of files (`Text`, `is_valid`, `clean_file_name`), whose own tests are the
//! engine's. The checks are fed by the fuzz targets, by the corpora these have gathered, and by the
//! property tests of the engine.
//!
//! - `input`: takes apart what a fuzzer gives: the bytes for the parser, and what to do with them.
//! - [`request_head`], [`chunked`], [`multipart`], [`urlencoded`], [`cookies`]: a parser each.
//! - [`connection`]: an engine, with clients and an application that do anything.

#![forbid(unsafe_code)]

pub mod chunked;
pub mod connection;
pub mod cookies;
mod input;
pub mod multipart;
pub mod request_head;
pub mod urlencoded;

pub use input::pieces;
