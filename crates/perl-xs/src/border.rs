//! The border between Rust and Perl: entering Rust, guarded work in Perl, panics, and the end of the interpreter.

use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::ptr::null_mut;
use std::sync::{Once, OnceLock};

use perl_sys as sys;

use crate::interpreter::Interpreter;
use crate::{Error, Perl, Result, Scalar};

/// How an entry into Rust ended; see [`enter`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The function returned; an exception or a panic in it has become a warning.
    Done,
    /// `exit` was called: `perl_shim_leave` will not return.
    Exit,
}

/// Enters Rust from the callback of a foreign C library, such as an event loop.
///
/// `function` may do whatever a function that Perl calls may. There is nobody to get an exception, so an error or a panic
/// becomes a Perl warning. An `exit` cannot go on while Rust frames are on the stack, therefore the C function that the
/// library calls must call `perl_shim_leave` (declared in `perl_shim.h`, in the folder `DEP_PERL_SHIM_INCLUDE` of a build
/// script) as its last deed:
///
/// ```c
/// static void ready(EV_P_ ev_io *watcher, int events)
/// {
///     ready_in_rust(watcher->data, events);   /* extern "C", calls perl_xs::enter */
///     perl_shim_leave(interpreter);
/// }
/// ```
///
/// # Safety
///
/// `perl` must be the interpreter that runs on this thread (null for a perl without threads), called back from C that Perl
/// called, and still whole. The caller returns to C that calls `perl_shim_leave` without further Rust frames between.
pub unsafe fn enter(
    perl: *mut sys::PerlInterpreter,
    function: impl FnOnce(Perl) -> Result<()>,
) -> Status {
    // SAFETY: the caller's promise is the same.
    unsafe { guard_entry(perl, function, |perl, error| warn_of(perl, &error)) };
    if exit_is_pending(perl) {
        Status::Exit
    } else {
        Status::Done
    }
}

/// Runs the boot function of an extension, for [`boot!`](crate::boot).
///
/// # Safety
///
/// To be called by `perl_shim_boot` only: a live interpreter, a C string that is a literal, a valid pointer for the error.
#[doc(hidden)]
pub unsafe fn boot(
    perl: *mut sys::PerlInterpreter,
    module: *const c_char,
    error: *mut *mut c_void,
    function: impl FnOnce(Perl) -> Result<()>,
) -> c_int {
    // SAFETY: a C string, as promised.
    let module = unsafe { CStr::from_ptr(module) }
        .to_string_lossy()
        .replace("__", "::");
    MODULE.get_or_init(|| module);
    install_panic_hook();

    let boot = |perl| function(perl).map(|()| sys::STATUS_OK);
    let fail = |perl, failure: Error| {
        let exception = failure.into_raw(perl);
        if exception.is_null() {
            return sys::STATUS_EXITED;
        }
        // SAFETY: the place for the error is valid, as promised.
        unsafe { *error = exception.cast() };
        sys::STATUS_DIED
    };
    // SAFETY: a live interpreter, as promised; its boot function has no Rust frames below.
    unsafe { guard_entry(perl, boot, fail) }
}

/// Runs `function` as called by Perl, and `otherwise` on its error, which a panic becomes too.
///
/// # Safety
///
/// `perl` is calling on this thread, and its memory is there until this function returns.
pub(crate) unsafe fn guard_entry<T>(
    perl: *mut sys::PerlInterpreter,
    function: impl FnOnce(Perl) -> Result<T>,
    otherwise: impl FnOnce(Perl, Error) -> T,
) -> T {
    let guarded = |perl: Perl| {
        let result = catch_unwind(AssertUnwindSafe(|| function(perl)));
        result
            .unwrap_or_else(|payload| Err(internal_error(payload)))
            .unwrap_or_else(|error| otherwise(perl, error))
    };
    // SAFETY: the interpreter is there, as promised.
    let outer = unsafe { sys::perl_shim_enter(perl) };
    // SAFETY: as promised.
    let result = unsafe { Interpreter::call(perl, |interpreter| guarded(Perl::new(interpreter))) };
    // SAFETY: what the entry gave; whatever was entered after it has returned.
    unsafe { sys::perl_shim_return(outer) };
    result
}

/// Does one guarded operation. While an `exit` waits to go on, nothing but releasing is still done; at the end of the
/// interpreter, nothing.
pub(crate) fn operate(
    perl: Perl,
    operation: sys::Operation,
    mut work: sys::Work,
) -> Result<sys::Work> {
    let interpreter = perl.live()?;
    if operation != sys::Operation::Release && exit_is_pending(interpreter) {
        return Err(Error::Exit);
    }
    // SAFETY: a live interpreter; the callers in this crate fill in what the operation uses, with values of the right kind
    // that they own.
    let status = unsafe { sys::perl_shim_operate(interpreter, operation as c_int, &mut work) };
    result_of(perl, status, work.error).map(|()| work)
}

/// Makes one guarded call. The result is null in void context.
pub(crate) fn call(
    perl: Perl,
    callable: &Scalar,
    is_method: bool,
    context: c_int,
    arguments: &[Scalar],
) -> Result<*mut sys::SV> {
    let interpreter = perl.live()?;
    if exit_is_pending(interpreter) {
        return Err(Error::Exit);
    }
    let mut few = [null_mut(); 8];
    let mut many = Vec::new();
    let raw: &[*mut sys::SV] = match few.get_mut(..arguments.len()) {
        Some(few) => {
            for (raw, argument) in few.iter_mut().zip(arguments) {
                *raw = argument.raw_for(perl)?;
            }
            few
        }
        None => {
            for argument in arguments {
                many.push(argument.raw_for(perl)?);
            }
            &many
        }
    };
    let mut call = sys::Call {
        callable: callable.raw_for(perl)?,
        method: c_int::from(is_method),
        context,
        arguments: raw.as_ptr(),
        count: raw.len(),
        result: null_mut(),
        error: null_mut(),
    };
    // SAFETY: a live interpreter; the callable and the arguments are owned by the caller until the call returns.
    let status = unsafe { sys::perl_shim_call(interpreter, &mut call) };
    result_of(perl, status, call.error).map(|()| call.result)
}

thread_local! {
    /// Message and place of the panic that is unwinding.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

static MODULE: OnceLock<String> = OnceLock::new();

fn exit_is_pending(interpreter: *mut sys::PerlInterpreter) -> bool {
    // SAFETY: asks for a flag of this thread.
    unsafe { sys::perl_shim_exit_is_pending(interpreter) != 0 }
}

fn result_of(perl: Perl, status: c_int, error: *mut sys::SV) -> Result<()> {
    match status {
        sys::STATUS_OK => Ok(()),
        // SAFETY: with this status the error is an owned value.
        sys::STATUS_DIED => Err(Error::Die(unsafe { Scalar::from_owned(perl, error) })),
        _ => Err(Error::Exit),
    }
}

/// Warns of an error that nobody gets. What a warning handler then does is nobody's business either.
pub(crate) fn warn_of(perl: Perl, error: &Error) {
    let _ = match error {
        Error::Die(exception) => perl.warn_with(exception),
        Error::Croak(message) => perl.warn_with(&Scalar::from_text(perl, message)),
        Error::Exit => Ok(()),
    };
}

/// Once for the process: the hook is Rust's, and every extension has its own copy of Rust's library.
fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            let wants_backtrace = env::var_os("RUST_BACKTRACE")
                .is_some_and(|value| !value.is_empty() && value != "0");
            if wants_backtrace || !Interpreter::is_at_hand() {
                default(information);
            }
            note_panic(information);
        }));
    });
}

fn note_panic(information: &PanicHookInfo<'_>) {
    let place = information
        .location()
        .map(|place| format!(" at {}:{}", place.file(), place.line()));
    let message = format!(
        "{}{}",
        panic_message(information.payload()),
        place.unwrap_or_default()
    );
    let _ = PANIC.try_with(|panic| panic.replace(Some(message)));
}

fn internal_error(payload: Box<dyn Any + Send>) -> Error {
    let noted = PANIC.try_with(RefCell::take).ok().flatten();
    let message = noted.unwrap_or_else(|| panic_message(payload.as_ref()).to_owned());
    let module = MODULE.get().map_or("perl-xs", String::as_str);
    // The destructor of a payload that is no message may panic in its turn.
    if !(payload.is::<String>() || payload.is::<&'static str>()) {
        std::mem::forget(payload);
    }
    Error::Croak(format!("{module}: internal error: {message}"))
}

fn panic_message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&'static str>().copied())
        .unwrap_or("a panic without a message")
}
