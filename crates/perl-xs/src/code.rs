//! Subs: calling those of Perl, and making subs of Rust closures.

use std::ptr::null_mut;
use std::rc::Rc;

use perl_sys::{self as sys, Operation, Work};

use crate::array::Array;
use crate::border::{call, operate};
use crate::function::{Arguments, CLOSURE, Returned};
use crate::{Perl, Result, Scalar};

/// What an anonymous sub made of Rust holds.
pub type Closure = Box<dyn Fn(&Arguments<'_>) -> Result<Returned>>;

/// A Perl sub.
///
/// The arguments of a call are passed as they are: the sub can change them through `@_`. Exceptions and `exit` come back as
/// errors; `last`, `next`, `goto LABEL` cannot leave the sub, and are exceptions. The caller's `$@` does not change.
#[derive(Clone, Debug)]
pub struct Code {
    /// INVARIANT: a sub.
    value: Scalar,
}

impl Code {
    /// An anonymous sub that calls `function`; what that holds is dropped with the sub.
    ///
    /// ```no_run
    /// # use perl_xs::{Code, Returned, Scalar};
    /// # fn example(perl: perl_xs::Perl) -> perl_xs::Result<Scalar> {
    /// let seven = Code::from_function(perl, Box::new(|arguments| {
    ///     Ok(Scalar::from_integer(arguments.perl(), 7).into())
    /// }))?;
    /// # Ok(
    /// seven.reference()
    /// # ) }
    /// ```
    pub fn from_function(perl: Perl, function: Closure) -> Result<Self> {
        let work = Work {
            other: null_mut(),
            pointer: (&raw const CLOSURE).cast_mut().cast(),
            ..Work::default()
        };
        let work = operate(perl, Operation::Define, work)?;
        // SAFETY: an owned sub.
        let code = Self::from_scalar(unsafe { Scalar::from_owned(perl, work.result) });
        code.value.attach(Rc::new(function))?;
        Ok(code)
    }

    /// Calls it in void context.
    pub fn call(&self, arguments: &[Scalar]) -> Result<()> {
        call(
            self.perl(),
            &self.value,
            false,
            sys::CONTEXT_VOID,
            arguments,
        )
        .map(drop)
    }

    /// Calls it in scalar context.
    pub fn call_scalar(&self, arguments: &[Scalar]) -> Result<Scalar> {
        let result = call(
            self.perl(),
            &self.value,
            false,
            sys::CONTEXT_SCALAR,
            arguments,
        )?;
        // SAFETY: a call in scalar context gives an owned value.
        Ok(unsafe { Scalar::from_owned(self.perl(), result) })
    }

    /// Calls it in list context.
    pub fn call_list(&self, arguments: &[Scalar]) -> Result<Vec<Scalar>> {
        let result = call(
            self.perl(),
            &self.value,
            false,
            sys::CONTEXT_LIST,
            arguments,
        )?;
        // SAFETY: a call in list context gives an owned array.
        Array::from_scalar(unsafe { Scalar::from_owned(self.perl(), result) }).values()
    }

    /// A new reference to it.
    pub fn reference(&self) -> Scalar {
        self.value.reference()
    }

    /// The sub as a value of any kind.
    pub fn as_scalar(&self) -> &Scalar {
        &self.value
    }

    /// The interpreter that it belongs to.
    pub fn perl(&self) -> Perl {
        self.value.perl()
    }

    /// `value` is a sub.
    pub(crate) fn from_scalar(value: Scalar) -> Self {
        Self { value }
    }
}
