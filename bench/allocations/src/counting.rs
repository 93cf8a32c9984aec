//! An allocator that counts while it is told to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// The system's allocator, with a look at what is asked of it.
pub struct CountingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);

/// What was allocated.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How many times memory was asked for, or more of it.
    pub allocations: u64,
    /// Bytes that were asked for and not given back.
    pub held: i64,
}

/// What was counted until now.
pub fn counts() -> Counts {
    Counts {
        allocations: ALLOCATIONS.load(Relaxed),
        held: HELD.load(Relaxed),
    }
}

/// Counts what is allocated within the call.
pub fn counted<T>(call: impl FnOnce() -> T) -> T {
    COUNTING.store(true, Relaxed);
    let outcome = call();
    COUNTING.store(false, Relaxed);
    outcome
}

fn note(allocations: u64, held: i64) {
    if COUNTING.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        HELD.fetch_add(held, Relaxed);
    }
}

fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

// SAFETY: every call is handed on as it came to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, bytes(layout.size()));
        // SAFETY: the caller keeps the contract of this method, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, bytes(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, -bytes(layout.size()));
        // SAFETY: as above; the memory came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, bytes(new_size) - bytes(layout.size()));
        // SAFETY: as above; the memory came from the system's allocator.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}
