//! The event loop, HTTP parser and multipart-to-file writer of HTTP::Server::EV; knows no Perl.

#![forbid(unsafe_code)]

pub mod form;
pub mod http;
pub mod limits;
