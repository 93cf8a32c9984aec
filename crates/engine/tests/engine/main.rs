//! Drives an engine over real sockets from plain clients.
//!
//! - `support`: the server and the clients of these tests.
//! - `requests`: heads, bodies that are not multipart, refusals.
//! - `uploads`: multipart bodies to files.
//! - `chaos`: anything in any order.
//! - `control`: stopping, starting, dropping, handing over.
//! - `output`: what is sent when, and what becomes of it.
//! - `persistence`: many requests on a connection.
//! - `listeners`: addresses, stopping, limits on connections.
//! - `neighbours`: that one client costs the others nothing.
//! - `time`: timeouts.
//! - `failures`: clients that vanish, disks that are full.

#![forbid(unsafe_code)]

mod chaos;
mod control;
mod failures;
mod listeners;
mod neighbours;
mod output;
mod persistence;
mod requests;
mod support;
mod time;
mod uploads;
