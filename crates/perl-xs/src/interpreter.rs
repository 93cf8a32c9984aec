//! The interpreters that have called this thread, and the end of each.

use std::cell::Cell;

use perl_sys as sys;

/// An interpreter as one thread knows it, from its first call to its end. Another that is later made at the same address is
/// another one.
///
/// It is leaked, so that whatever still names it after the end finds out.
#[derive(Debug)]
pub(crate) struct Interpreter {
    /// INVARIANT: an interpreter of this thread, and live unless `has_ended`; null when perl was built without threads.
    raw: *mut sys::PerlInterpreter,
    has_ended: Cell<bool>,
    /// How many calls have come, each within the one before, from a perl that cleans up after its end.
    late_calls: Cell<u32>,
    next: Option<&'static Interpreter>,
}

impl Interpreter {
    /// The interpreter that is calling.
    ///
    /// # Safety
    ///
    /// `raw` runs on this thread, and its memory is still there.
    pub(crate) unsafe fn that_calls(raw: *mut sys::PerlInterpreter) -> &'static Self {
        match CURRENT.get() {
            Some(current) if current.raw == raw && !current.has_ended.get() => current,
            _ => {
                // SAFETY: as promised.
                let found = unsafe { find_or_note(raw) };
                CURRENT.set(Some(found));
                found
            }
        }
    }

    /// Runs `function` as a part of a call from this interpreter.
    pub(crate) fn during_call<T>(&self, function: impl FnOnce() -> T) -> T {
        if !self.has_ended.get() {
            return function();
        }
        // At the end no Perl code runs any more, so that calls end in the reverse order of their beginning.
        self.late_calls.set(self.late_calls.get() + 1);
        let result = function();
        self.late_calls.set(self.late_calls.get() - 1);
        result
    }

    /// Whether Perl code can no longer run: the objects are destroyed, and the rest goes in no order.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Whether reference counts still mean something to us: after the end they do not, unless perl itself called us while it
    /// cleans up.
    pub(crate) fn counts_references(&self) -> bool {
        !self.has_ended.get() || self.late_calls.get() > 0
    }

    pub(crate) fn raw(&self) -> *mut sys::PerlInterpreter {
        self.raw
    }

    /// Whether this thread has a live interpreter, to which a panic can be told.
    pub(crate) fn is_at_hand() -> bool {
        CURRENT.get().is_some_and(Self::counts_references)
    }
}

thread_local! {
    // Without destructors, since values may be dropped by the destructors of other thread locals.
    /// The interpreter that called last.
    static CURRENT: Cell<Option<&'static Interpreter>> = const { Cell::new(None) };
    /// All, the latest first.
    static KNOWN: Cell<Option<&'static Interpreter>> = const { Cell::new(None) };
}

/// What perl calls at the end of any interpreter that has this extension, those of threads included.
#[repr(transparent)]
struct EndHook(sys::Attachment);

static END_HOOK: EndHook = EndHook(sys::Attachment {
    finish: note_the_end,
});

/// # Safety
///
/// See [`Interpreter::that_calls`].
unsafe fn find_or_note(raw: *mut sys::PerlInterpreter) -> &'static Interpreter {
    // SAFETY: its memory is there, as promised; the hook is static, and its function only reads it.
    let will_end =
        unsafe { sys::perl_shim_await_end(raw, (&raw const END_HOOK).cast_mut().cast()) != 0 };
    known(raw, !will_end).unwrap_or_else(|| {
        let interpreter: &'static Interpreter = Box::leak(Box::new(Interpreter {
            raw,
            has_ended: Cell::new(!will_end),
            late_calls: Cell::new(0),
            next: KNOWN.get(),
        }));
        KNOWN.set(Some(interpreter));
        interpreter
    })
}

/// The latest at this address that has ended, or has not.
fn known(raw: *mut sys::PerlInterpreter, has_ended: bool) -> Option<&'static Interpreter> {
    std::iter::successors(KNOWN.get(), |interpreter| interpreter.next)
        .find(|interpreter| interpreter.raw == raw && interpreter.has_ended.get() == has_ended)
}

unsafe extern "C" fn note_the_end(raw: *mut sys::PerlInterpreter, _hook: *mut sys::Attachment) {
    if let Some(interpreter) = known(raw, false) {
        interpreter.has_ended.set(true);
    }
}
