//! The interpreters that have called this thread, and the end of each.

use std::cell::Cell;

use perl_sys as sys;

/// An interpreter as one thread knows it, from its first call to its end. Another that is later made at the same address is
/// another one.
///
/// It is leaked, so that whatever still names it after the end finds out.
#[derive(Debug)]
pub(crate) struct Interpreter {
    /// INVARIANT: the interpreter that Perl's own functions use on this thread if `state` is `Live`; null when perl was built
    /// without threads.
    raw: *mut sys::PerlInterpreter,
    state: Cell<State>,
    /// How many calls have come, each within the one before, from a perl that cleans up after its end.
    late_calls: Cell<u32>,
    next: Option<&'static Interpreter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// Another one is calling, within a call of this one.
    Suspended,
    /// Perl code can no longer run: the objects are destroyed, and the rest goes in no order.
    Ended,
}

impl Interpreter {
    /// Runs `function`, which does not panic, as called by the interpreter.
    ///
    /// # Safety
    ///
    /// `raw` is calling on this thread, and its memory is there until this function returns.
    pub(crate) unsafe fn call<T>(
        raw: *mut sys::PerlInterpreter,
        function: impl FnOnce(&'static Self) -> T,
    ) -> T {
        match CURRENT.get() {
            Some(current) if current.raw == raw && current.is_live() => function(current),
            outer => {
                // SAFETY: as promised.
                let interpreter = unsafe { find_or_note(raw) };
                interpreter.call_within(outer.filter(|outer| outer.is_live()), function)
            }
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state.get() == State::Live
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.get() == State::Ended
    }

    /// Whether reference counts mean something to us: after the end they do not, unless perl itself called us while it cleans
    /// up.
    pub(crate) fn counts_references(&self) -> bool {
        self.is_live() || (self.late_calls.get() > 0 && self.has_ended())
    }

    pub(crate) fn raw(&self) -> *mut sys::PerlInterpreter {
        self.raw
    }

    /// Whether this thread has an interpreter, to which a panic can be told.
    pub(crate) fn is_at_hand() -> bool {
        CURRENT.get().is_some_and(Self::counts_references)
    }

    /// The way of a call from another interpreter than the last one, and of one after the end, when no Perl code runs any
    /// more, so that such calls end in the reverse order of their beginning.
    fn call_within<T>(
        &'static self,
        outer: Option<&'static Self>,
        function: impl FnOnce(&'static Self) -> T,
    ) -> T {
        change(outer, State::Live, State::Suspended);
        change(Some(self), State::Suspended, State::Live);
        CURRENT.set(Some(self));
        let late_calls = self.late_calls.get();
        self.late_calls
            .set(late_calls + u32::from(self.has_ended()));
        let result = function(self);
        self.late_calls.set(late_calls);
        if outer.is_some() {
            change(Some(self), State::Live, State::Suspended);
            change(outer, State::Suspended, State::Live);
            CURRENT.set(outer);
        }
        result
    }
}

/// The interpreter of values that could not be made: it has ended, for good.
pub(crate) fn nowhere() -> &'static Interpreter {
    struct Nowhere(Interpreter);

    // SAFETY: nothing changes it, as nothing finds it among the interpreters that call.
    unsafe impl Sync for Nowhere {}

    static NOWHERE: Nowhere = Nowhere(Interpreter {
        raw: std::ptr::null_mut(),
        state: Cell::new(State::Ended),
        late_calls: Cell::new(0),
        next: None,
    });
    &NOWHERE.0
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

fn change(interpreter: Option<&Interpreter>, from: State, to: State) {
    if let Some(interpreter) = interpreter.filter(|interpreter| interpreter.state.get() == from) {
        interpreter.state.set(to);
    }
}

/// # Safety
///
/// See [`Interpreter::call`].
unsafe fn find_or_note(raw: *mut sys::PerlInterpreter) -> &'static Interpreter {
    // SAFETY: its memory is there, as promised; the hook is static, and its function only reads it.
    let will_end =
        unsafe { sys::perl_shim_await_end(raw, (&raw const END_HOOK).cast_mut().cast()) != 0 };
    known(raw, will_end).unwrap_or_else(|| {
        let interpreter: &'static Interpreter = Box::leak(Box::new(Interpreter {
            raw,
            state: Cell::new(if will_end { State::Live } else { State::Ended }),
            late_calls: Cell::new(0),
            next: KNOWN.get(),
        }));
        KNOWN.set(Some(interpreter));
        interpreter
    })
}

/// The latest at this address whose end is still to come, or is past.
fn known(raw: *mut sys::PerlInterpreter, will_end: bool) -> Option<&'static Interpreter> {
    std::iter::successors(KNOWN.get(), |interpreter| interpreter.next)
        .find(|interpreter| interpreter.raw == raw && interpreter.has_ended() != will_end)
}

unsafe extern "C" fn note_the_end(raw: *mut sys::PerlInterpreter, _hook: *mut sys::Attachment) {
    if let Some(interpreter) = known(raw, true) {
        interpreter.state.set(State::Ended);
    }
}
