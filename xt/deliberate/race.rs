//! Two threads add to one number with nothing between them that orders it. `xt/tsan` has to find it.

use std::thread;

static mut NUMBER: u32 = 0;

fn add() {
    for _ in 0..1000 {
        // SAFETY: there is none. That is what has to be found.
        unsafe { (&raw mut NUMBER).write_volatile((&raw const NUMBER).read_volatile() + 1) };
    }
}

fn main() {
    let other = thread::spawn(add);
    add();
    other.join().unwrap();
}
