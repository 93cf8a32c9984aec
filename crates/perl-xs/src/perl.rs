//! The interpreter and its packages.

use std::cell::Cell;

use perl_sys::{self as sys, Operation, Work};

use crate::border::operate;
use crate::function::NamedFunction;
use crate::{Arguments, Array, Code, Function, Hash, Result, Returned, Scalar, border};

/// The interpreter that called us.
///
/// A token: copy it freely. It comes from [`Arguments::perl`](crate::Arguments::perl), or as the argument of the boot
/// function, and cannot leave its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perl {
    /// INVARIANT: an interpreter of this thread that is live wherever safe code runs (but see `border::is_alive`), or null
    /// when perl was built without threads.
    interpreter: *mut sys::PerlInterpreter,
}

impl Perl {
    /// A package, by its full name. Nothing is made before something is defined in it.
    pub fn package(self, name: &str) -> Package {
        Package {
            perl: self,
            name: name.to_owned(),
        }
    }

    /// A scalar variable by its full name, made if it does not exist (perlapi: `get_sv` with `GV_ADD`).
    ///
    /// ```no_run
    /// # fn example(perl: perl_xs::Perl) -> perl_xs::Result<()> {
    /// let version = perl.scalar_variable("Greeting::VERSION").text()?;
    /// # Ok(()) }
    /// ```
    pub fn scalar_variable(self, name: &str) -> Scalar {
        self.variable(name, sys::REFERENT_ANY)
            .unwrap_or_else(|| Scalar::undef(self))
    }

    /// An array variable by its full name, made if it does not exist (perlapi: `get_av` with `GV_ADD`).
    pub fn array_variable(self, name: &str) -> Array {
        self.variable(name, sys::REFERENT_ARRAY)
            .map_or_else(|| Array::new(self), Array::from_scalar)
    }

    /// A hash variable by its full name, made if it does not exist (perlapi: `get_hv` with `GV_ADD`).
    pub fn hash_variable(self, name: &str) -> Hash {
        self.variable(name, sys::REFERENT_HASH)
            .map_or_else(|| Hash::new(self), Hash::from_scalar)
    }

    /// A sub that exists, by its full name (perlapi: `get_cv`).
    pub fn code(self, name: &str) -> Option<Code> {
        let name = Scalar::from_text(self, name);
        let work = operate(
            self,
            Operation::Code,
            Work {
                other: name.raw(),
                ..Work::default()
            },
        )
        .ok()?;
        // SAFETY: an owned sub, or null.
        unsafe { Scalar::from_owned_or_null(self, work.result) }.map(Code::from_scalar)
    }

    /// Loads a module by its name, as `require IO::Handle` does, if it is not loaded.
    pub fn require(self, module: &str) -> Result<()> {
        let module = Scalar::from_text(self, module);
        operate(
            self,
            Operation::Require,
            Work {
                other: module.raw(),
                ..Work::default()
            },
        )
        .map(drop)
    }

    /// Warns, through `$SIG{__WARN__}`; a message without a newline at its end gets file and line of the caller.
    pub fn warn(self, message: &[u8]) -> Result<()> {
        self.warn_with(&Scalar::from_perl_utf8(self, message))
    }

    /// Calls a method in scalar context; `invocant` is an object, or a scalar with the name of a class.
    pub fn call_method(
        self,
        invocant: &Scalar,
        method: &str,
        arguments: &[Scalar],
    ) -> Result<Scalar> {
        let mut all = Vec::with_capacity(arguments.len() + 1);
        all.push(invocant.clone());
        all.extend_from_slice(arguments);
        let method = Scalar::from_text(self, method);
        let result = border::call(self, &method, true, sys::CONTEXT_SCALAR, &all)?;
        // SAFETY: a call in scalar context gives an owned value.
        Ok(unsafe { Scalar::from_owned(self, result) })
    }

    /// Runs `function` after the program's `END` blocks, before its objects are destroyed; several in the order they were
    /// given. A Perl thread that ends does not run it, nor does a process that ends without its `END` blocks; a forked child
    /// that ends with them does.
    pub fn at_exit(self, function: impl FnOnce(Perl) + 'static) {
        let function = Cell::new(Some(function));
        let end_block = move |arguments: &Arguments<'_>| {
            if let Some(function) = function.take() {
                function(arguments.perl());
            }
            Ok(Returned::Nothing)
        };
        // Fails only while an `exit` waits for us to return; then a program is ending that is not set up yet.
        let _ = Code::from_function(self, Box::new(end_block)).and_then(|code| {
            code.as_scalar()
                .operate(Operation::EndBlock, Work::default())
        });
    }

    /// What `print` puts between values: `$,`, unless it is `undef`.
    pub fn output_field_separator(self) -> Option<Scalar> {
        // SAFETY: a live interpreter; the result is owned, or null.
        unsafe {
            let separator = sys::perl_shim_output_field_separator(self.interpreter);
            Scalar::from_owned_or_null(self, separator)
        }
    }

    /// What `print` puts at the end: `$\`, unless it is `undef`; a newline within `say`.
    pub fn output_record_separator(self) -> Option<Scalar> {
        // SAFETY: a live interpreter; the result is owned, or null.
        unsafe {
            let separator = sys::perl_shim_output_record_separator(self.interpreter);
            Scalar::from_owned_or_null(self, separator)
        }
    }

    /// Whether the interpreter is destroying its values (`${^GLOBAL_PHASE} eq 'DESTRUCT'`).
    pub fn is_destructing(self) -> bool {
        // SAFETY: a live interpreter, by the token.
        unsafe { sys::perl_shim_is_destructing(self.interpreter) != 0 }
    }

    /// # Safety
    ///
    /// See the invariant of the field.
    pub(crate) unsafe fn from_raw(interpreter: *mut sys::PerlInterpreter) -> Self {
        Self { interpreter }
    }

    /// The interpreter for C code of the extension's own; null when perl was built without threads.
    pub fn raw(self) -> *mut sys::PerlInterpreter {
        self.interpreter
    }

    pub(crate) fn warn_with(self, message: &Scalar) -> Result<()> {
        operate(
            self,
            Operation::Warn,
            Work {
                other: message.raw(),
                ..Work::default()
            },
        )
        .map(drop)
    }

    fn variable(self, name: &str, kind: std::ffi::c_int) -> Option<Scalar> {
        let name = Scalar::from_text(self, name);
        let work = Work {
            other: name.raw(),
            flag: kind,
            ..Work::default()
        };
        let work = operate(self, Operation::Variable, work).ok()?;
        // SAFETY: an owned variable of the kind asked for, or null.
        unsafe { Scalar::from_owned_or_null(self, work.result) }
    }
}

/// A package, to put functions into.
#[derive(Clone, Debug)]
pub struct Package {
    perl: Perl,
    name: String,
}

impl Package {
    /// Defines a sub that calls `function`. An existing one of that name is replaced, with a warning if those are on.
    pub fn define(&self, name: &str, function: Function) -> Result<()> {
        let full_name = format!("{}::{name}", self.name);
        let perl_name = Scalar::from_text(self.perl, &full_name);
        let function = NamedFunction::keep(full_name, function);
        let work = Work {
            other: perl_name.raw(),
            pointer: (&raw const *function).cast_mut().cast(),
            ..Work::default()
        };
        let work = operate(self.perl, Operation::Define, work)?;
        // SAFETY: an owned sub.
        drop(unsafe { Scalar::from_owned(self.perl, work.result) });
        Ok(())
    }

    /// Sets `@ISA`, the classes that this one inherits from.
    pub fn set_isa(&self, classes: &[&str]) -> Result<()> {
        let isa = self.perl.array_variable(&format!("{}::ISA", self.name));
        isa.clear()?;
        classes
            .iter()
            .try_for_each(|class| isa.push(Scalar::from_text(self.perl, class)))
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
