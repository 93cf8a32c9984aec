//! The declarations of `shim/perl_ev_shim.h`.

use std::ffi::{c_int, c_uint, c_void};

/// See the header.
#[repr(C)]
pub struct Sleep {
    pub seconds: f64,
    pub holds_loop: c_int,
}

/// See the header.
#[repr(C)]
pub struct GuestFunctions {
    pub ready: extern "C" fn(*mut c_void, *mut c_void),
    pub prepare: extern "C" fn(*mut c_void, *mut c_void, *mut Sleep),
    pub forked: extern "C" fn(*mut c_void, *mut c_void),
}

/// The C side's watchers, opaque here.
#[repr(C)]
pub struct Watchers {
    _private: [u8; 0],
}

/// See the header.
#[repr(C)]
pub struct ForkCounts {
    pub led_here: c_uint,
    pub from_here: c_uint,
}

unsafe extern "C" {
    pub fn perl_ev_bind(my_perl: *mut c_void) -> c_int;
    pub fn perl_ev_start(
        functions: *const GuestFunctions,
        guest: *mut c_void,
        descriptor: c_int,
    ) -> *mut Watchers;
    pub fn perl_ev_watch(watchers: *mut Watchers, descriptor: c_int);
    pub fn perl_ev_wake(watchers: *mut Watchers);
    pub fn perl_ev_stop(watchers: *mut Watchers);
    pub fn perl_ev_now() -> f64;
    pub fn perl_ev_depth() -> c_uint;
    pub fn perl_ev_forks() -> ForkCounts;
}
