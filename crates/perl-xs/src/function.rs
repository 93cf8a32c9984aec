//! Functions that Perl calls: their arguments, their results, and the way in.

use std::ffi::c_int;
use std::slice;
use std::sync::{Mutex, PoisonError};

use perl_sys as sys;

use crate::border::guard_entry;
use crate::{Array, Closure, Error, Perl, Result, Scalar};

/// A function that Perl can call.
///
/// An `Err` becomes an exception in the caller, after everything in Rust is dropped; a panic does too.
pub type Function = fn(&Arguments<'_>) -> Result<Returned>;

/// The arguments of a call from Perl, and its circumstances.
///
/// They are the caller's variables (`@_` in Perl), and stay alive for the call whatever Perl code does meanwhile.
#[derive(Debug)]
pub struct Arguments<'a> {
    perl: Perl,
    values: Vec<Scalar>,
    context: Context,
    function_name: &'a str,
}

/// What the caller does with the result (perlfunc: `wantarray`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Nothing.
    Void,
    /// It wants one value.
    Scalar,
    /// It wants a list.
    List,
}

/// What a function gives back.
#[derive(Clone, Debug)]
pub enum Returned {
    /// The empty list; `undef` in scalar context.
    Nothing,
    /// One value.
    Scalar(Scalar),
    /// A list; its last value in scalar context.
    List(Vec<Scalar>),
}

impl Arguments<'_> {
    /// The interpreter that calls.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The argument at an index from 0: the caller's variable.
    pub fn get(&self, index: usize) -> Option<Scalar> {
        self.values.get(index).cloned()
    }

    /// The argument at an index from 0, or an exception that names function and argument.
    pub fn required(&self, index: usize, name: &str) -> Result<Scalar> {
        self.get(index).ok_or_else(|| {
            Error::croak(format!(
                "Usage: {}: argument {} ({name}) is missing",
                self.function_name,
                index + 1
            ))
        })
    }

    /// All arguments in order.
    pub fn iter(&self) -> slice::Iter<'_, Scalar> {
        self.values.iter()
    }

    /// All arguments, to call a sub with them.
    pub fn as_slice(&self) -> &[Scalar] {
        &self.values
    }

    /// What the caller does with the result.
    pub fn context(&self) -> Context {
        self.context
    }

    /// The function's full name, for messages.
    pub fn function_name(&self) -> &str {
        self.function_name
    }
}

impl<'a> IntoIterator for &'a Arguments<'_> {
    type Item = &'a Scalar;
    type IntoIter = slice::Iter<'a, Scalar>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Returned {
    /// Perl's true or false.
    pub fn boolean(perl: Perl, value: bool) -> Self {
        Self::Scalar(Scalar::from_boolean(perl, value))
    }

    fn into_outcome(self, perl: Perl) -> Result<sys::Outcome> {
        let mut outcome = sys::Outcome::default();
        match self {
            Self::Nothing => {}
            Self::Scalar(value) => outcome.value = value.into_raw(perl)?,
            Self::List(values) => {
                let list = Array::new(perl);
                values.into_iter().try_for_each(|value| list.push(value))?;
                outcome.list = list.into_raw(perl)?;
            }
        }
        Ok(outcome)
    }
}

impl From<()> for Returned {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<Scalar> for Returned {
    fn from(value: Scalar) -> Self {
        Self::Scalar(value)
    }
}

impl From<Option<Scalar>> for Returned {
    fn from(value: Option<Scalar>) -> Self {
        value.map_or(Self::Nothing, Self::Scalar)
    }
}

impl From<Vec<Scalar>> for Returned {
    fn from(values: Vec<Scalar>) -> Self {
        Self::List(values)
    }
}

/// What stands behind a sub with a name.
#[repr(C)]
pub(crate) struct NamedFunction {
    header: sys::Function,
    function: Function,
    name: String,
}

impl NamedFunction {
    /// Lives for good, as the sub may, which threads copy; and where a leak checker finds it.
    pub(crate) fn keep(name: String, function: Function) -> &'static Self {
        static KEPT: Mutex<Vec<&'static NamedFunction>> = Mutex::new(Vec::new());
        let kept: &'static Self = Box::leak(Box::new(Self {
            header: sys::Function { entry: enter_named },
            function,
            name,
        }));
        KEPT.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
        kept
    }
}

/// What stands behind every anonymous sub: the closure hangs on the sub itself, so that a thread's copy of it has none.
pub(crate) static CLOSURE: sys::Function = sys::Function {
    entry: enter_closure,
};

unsafe extern "C" fn enter_named(
    perl: *mut sys::PerlInterpreter,
    function: *const sys::Function,
    _sub: *mut sys::SV,
    arguments: *const *mut sys::SV,
    count: usize,
    context: c_int,
    outcome: *mut sys::Outcome,
) {
    // SAFETY: the header is that of a NamedFunction which is kept for good, see Package::define; the rest is as the shim promises.
    unsafe {
        let function = &*function.cast::<NamedFunction>();
        enter_function(
            perl,
            &function.name,
            arguments,
            count,
            context,
            outcome,
            function.function,
        );
    }
}

unsafe extern "C" fn enter_closure(
    perl: *mut sys::PerlInterpreter,
    _function: *const sys::Function,
    sub: *mut sys::SV,
    arguments: *const *mut sys::SV,
    count: usize,
    context: c_int,
    outcome: *mut sys::Outcome,
) {
    // SAFETY: as the shim promises; the sub that is being called is live.
    unsafe {
        enter_function(
            perl,
            "a Rust closure",
            arguments,
            count,
            context,
            outcome,
            |arguments: &Arguments<'_>| {
                let sub = Scalar::from_borrowed(arguments.perl, sub);
                // The Rc keeps the closure, should the call free the sub.
                let closure = sub.as_ref().and_then(Scalar::attached::<Closure>);
                let closure = closure.ok_or_else(|| {
                    Error::croak("A Rust closure does not work in another thread")
                })?;
                closure(arguments)
            },
        );
    }
}

/// # Safety
///
/// To be called with what the shim gave: a live interpreter, `count` live arguments (or null), a valid outcome.
unsafe fn enter_function(
    perl: *mut sys::PerlInterpreter,
    name: &str,
    arguments: *const *mut sys::SV,
    count: usize,
    context: c_int,
    outcome: *mut sys::Outcome,
    function: impl FnOnce(&Arguments<'_>) -> Result<Returned>,
) {
    let call = |perl| {
        let arguments = Arguments {
            perl,
            // SAFETY: live arguments of the interpreter that calls, as promised.
            values: unsafe { take_arguments(perl, arguments, count) },
            context: match context {
                sys::CONTEXT_VOID => Context::Void,
                sys::CONTEXT_SCALAR => Context::Scalar,
                _ => Context::List,
            },
            function_name: name,
        };
        function(&arguments)?.into_outcome(perl)
    };
    // SAFETY: a live interpreter, as promised, and a valid place for the outcome.
    unsafe { *outcome = guard_entry(perl, call, failure) }
}

pub(crate) fn failure(perl: Perl, error: Error) -> sys::Outcome {
    let exception = error.into_raw(perl);
    sys::Outcome {
        status: if exception.is_null() {
            sys::STATUS_EXITED
        } else {
            sys::STATUS_DIED
        },
        error: exception,
        ..sys::Outcome::default()
    }
}

/// The arguments with a reference of ours each, off Perl's stack, which may move.
///
/// # Safety
///
/// See [`enter_function`].
unsafe fn take_arguments(perl: Perl, arguments: *const *mut sys::SV, count: usize) -> Vec<Scalar> {
    if count == 0 {
        return Vec::new();
    }
    // SAFETY: the shim gives a part of Perl's stack, which nothing moves now; its values are live, or null.
    unsafe {
        slice::from_raw_parts(arguments, count)
            .iter()
            .map(|&value| Scalar::from_borrowed(perl, value).unwrap_or_else(|| Scalar::undef(perl)))
            .collect()
    }
}
