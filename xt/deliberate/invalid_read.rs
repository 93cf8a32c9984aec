//! What reads freed memory in `invalid_read.c`, which passes it.

use std::ffi::c_char;

#[unsafe(no_mangle)]
pub extern "C" fn read_in_rust(memory: *const c_char) -> c_char {
    // SAFETY: there is none. That is what has to be found.
    unsafe { memory.read_volatile() }
}
