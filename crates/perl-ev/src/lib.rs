//! Runs a mio poll, or any event source behind one descriptor, inside the
//! default loop of the Perl module [EV](https://metacpan.org/pod/EV).
//!
//! A [`Guest`] is told when its descriptor is readable, asked before the loop
//! sleeps how long it may, and told in the child of a `fork`. It is called with
//! an interpreter at hand and may call Perl, run a nested loop and fork.
//!
//! Pitfalls first:
//!
//! - After `fork`, parent and child share the epoll instance behind the
//!   descriptor. The guest compares [`forks`] with the numbers it noted
//!   before it polls, and builds a new one in a child, as Perl code
//!   may have forked in the middle of a callback; [`Guest::forked`] alone comes
//!   too late for that.
//! - Watchers of this crate never keep `EV::run` running. [`Sleep::holds_loop`]
//!   does.
//!
//! ```no_run
//! use std::rc::Rc;
//! use std::time::Duration;
//!
//! struct Ticker;
//!
//! impl perl_ev::Guest for Ticker {
//!     fn ready(&self, _perl: perl_xs::Perl) -> perl_xs::Result<()> {
//!         Ok(())
//!     }
//!     fn prepare(&self, _perl: perl_xs::Perl) -> perl_ev::Sleep {
//!         let at_most = Some(Duration::from_secs(1));
//!         perl_ev::Sleep { at_most, holds_loop: true }
//!     }
//!     fn forked(&self, _perl: perl_xs::Perl) -> perl_xs::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! fn start(perl: perl_xs::Perl, descriptor: std::os::fd::RawFd) -> perl_xs::Result<()> {
//!     let driver = perl_ev::Driver::start(perl, descriptor, Rc::new(Ticker))?;
//!     std::mem::forget(driver);
//!     Ok(())
//! }
//! ```

mod driver;
mod sys;

pub use driver::{Driver, Forks, Guest, Sleep, depth, forks, now};
