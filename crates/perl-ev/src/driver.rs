//! The watchers of one guest, and the way from libev's callbacks into Rust.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use perl_xs::{Error, Perl, Result};

use crate::sys;

/// What runs inside EV's default loop.
///
/// An error that a method returns is a Perl exception: it is warned about, and
/// the loop goes on. `exit` ends the process once all of Rust has returned.
pub trait Guest: 'static {
    /// The descriptor is readable, or the time asked for has passed.
    fn ready(&self, perl: Perl) -> Result<()>;

    /// The loop is about to sleep.
    fn prepare(&self, perl: Perl) -> Sleep;

    /// This process is the child of a `fork`: build anew what must not be
    /// shared, and tell the driver of a new descriptor with [`Driver::watch`].
    /// May be called more than once for one `fork`.
    fn forked(&self, perl: Perl) -> Result<()>;
}

/// What a guest asks of the loop that is about to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// The longest time to sleep; zero polls again at once, `None` is no wish.
    pub at_most: Option<Duration>,
    /// Whether `EV::run` goes on although nothing else is being watched.
    pub holds_loop: bool,
}

/// The watchers of one guest. They are stopped when it is dropped.
pub struct Driver {
    watchers: *mut sys::Watchers,
    /// Reached by the C side as a pointer to this box, so it lives as long as
    /// the watchers.
    _guest: Box<Rc<dyn Guest>>,
}

impl Driver {
    /// Loads EV and starts to watch the descriptor for its default loop.
    ///
    /// # Errors
    ///
    /// A Perl exception, if EV cannot be loaded, is of another ABI than the one
    /// this crate was built with, or has no default loop.
    pub fn start(perl: Perl, descriptor: RawFd, guest: Rc<dyn Guest>) -> Result<Driver> {
        perl.require("EV")?;
        // SAFETY: `perl` is the interpreter of this thread.
        if unsafe { sys::perl_ev_bind(perl.raw().cast()) } != 0 {
            return Err(Error::croak(
                "EV has another C interface than at build time: build this module again",
            ));
        }

        let guest = Box::new(guest);
        let data = (&raw const *guest).cast_mut().cast::<c_void>();
        // SAFETY: EV's interface is bound. `FUNCTIONS` is static, and `data`
        // points into a box that `Driver` keeps until the watchers are stopped.
        let watchers = unsafe { sys::perl_ev_start(&FUNCTIONS, data, descriptor) };
        if watchers.is_null() {
            return Err(Error::croak("out of memory for the watchers of EV"));
        }
        Ok(Driver {
            watchers,
            _guest: guest,
        })
    }

    /// Watches another descriptor instead, as after `fork`.
    pub fn watch(&self, descriptor: RawFd) {
        // SAFETY: the watchers live until `self` is dropped.
        unsafe { sys::perl_ev_watch(self.watchers, descriptor) }
    }

    /// Has the loop go round once more, without sleeping, although [`Guest::prepare`] has said
    /// otherwise: for what came up after it, in another module's prepare watcher or in the last
    /// callback of a loop that is about to end.
    pub fn wake(&self) {
        // SAFETY: the watchers live until `self` is dropped.
        unsafe { sys::perl_ev_wake(self.watchers) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `perl_ev_start` and is used no more.
        unsafe { sys::perl_ev_stop(self.watchers) }
    }
}

/// The loop's time, in seconds since the epoch, as `EV::now` tells it. Zero
/// before the first [`Driver::start`].
pub fn now() -> f64 {
    // SAFETY: reads a number; answers zero while EV is not bound.
    unsafe { sys::perl_ev_now() }
}

/// How many loops run, one within the other, as `EV::depth` tells it. Zero before the first
/// [`Driver::start`].
pub fn depth() -> u32 {
    // SAFETY: reads a number; answers zero while EV is not bound.
    unsafe { sys::perl_ev_depth() }
}

/// The calls of `fork` since the library was loaded, seen from this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forks {
    /// Those that led to this process. It differs from a number noted earlier if, and only if,
    /// this is another process.
    pub led_here: u32,
    /// Those that made a child of this process, which may hold on to every descriptor of then.
    pub from_here: u32,
}

/// Counts the calls of `fork` since the library was loaded, in Perl or in C.
pub fn forks() -> Forks {
    // SAFETY: reads two numbers.
    let counts = unsafe { sys::perl_ev_forks() };
    Forks {
        led_here: counts.led_here,
        from_here: counts.from_here,
    }
}

static FUNCTIONS: sys::GuestFunctions = sys::GuestFunctions {
    ready,
    prepare,
    forked,
};

extern "C" fn ready(my_perl: *mut c_void, guest: *mut c_void) {
    enter(my_perl, guest, |guest, perl| guest.ready(perl));
}

extern "C" fn prepare(my_perl: *mut c_void, guest: *mut c_void, sleep: *mut sys::Sleep) {
    enter(my_perl, guest, |guest, perl| {
        let wish = guest.prepare(perl);
        let answer = sys::Sleep {
            seconds: wish.at_most.map_or(-1.0, |time| time.as_secs_f64()),
            holds_loop: wish.holds_loop.into(),
        };
        // SAFETY: the C side passes a struct on its stack.
        unsafe { sleep.write(answer) };
        Ok(())
    });
}

extern "C" fn forked(my_perl: *mut c_void, guest: *mut c_void) {
    enter(my_perl, guest, |guest, perl| guest.forked(perl));
}

/// Keeps a reference of its own to the guest, which a callback may stop.
fn enter(
    my_perl: *mut c_void,
    guest: *mut c_void,
    act: impl FnOnce(&dyn Guest, Perl) -> Result<()>,
) {
    // SAFETY: `guest` is the pointer that `Driver::start` made, and the C side
    // calls nothing once the watchers are stopped.
    let guest = unsafe { &*guest.cast::<Rc<dyn Guest>>() }.clone();
    // SAFETY: the C side passes the interpreter of this thread.
    unsafe { perl_xs::enter(my_perl.cast(), |perl| act(&*guest, perl)) };
}
