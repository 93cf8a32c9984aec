//! The interpreter and its packages.

use std::cell::Cell;

use perl_sys::{self as sys, Operation, Work};

use crate::border::operate;
use crate::function::NamedFunction;
use crate::interpreter::Interpreter;
use crate::{Arguments, Array, Code, Error, Function, Hash, Result, Returned, Scalar, border};

/// The interpreter that called us.
///
/// A token: copy it freely. It comes from [`Arguments::perl`](crate::Arguments::perl), or as the argument of the boot
/// function, and cannot leave its thread.
///
/// Copies of it, and values, may outlive the interpreter, in a thread local for example. After its end, that is when its
/// objects are destroyed, nothing touches it: what gives a [`Result`] gives [`Error::Exit`], what gives an [`Option`] gives
/// `None`, and new values are empty shells, of which all this is true too. The same holds while another interpreter calls on
/// this thread, in a `CLONE` method for example; what is dropped then is leaked.
#[derive(Clone, Copy, Debug)]
pub struct Perl {
    /// Its pointer is for [`live`](Self::live) to give out. Not `Send`, by its type.
    interpreter: &'static Interpreter,
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
        self.named(name, sys::REFERENT_ANY)
            .unwrap_or_else(|| Scalar::undef(self))
    }

    /// The same variable for whoever asks for it often; see [`Variable`].
    pub fn variable(self, name: &str) -> Variable {
        Variable {
            glob: self.named(name, sys::REFERENT_GLOB),
            perl: self,
        }
    }

    /// A class by its name, to make many objects of; see [`Hash::bless_into`].
    pub fn class(self, name: &str) -> Class {
        Class {
            stash: self.named(name, sys::REFERENT_STASH),
            name: name.to_owned(),
        }
    }

    /// An array variable by its full name, made if it does not exist (perlapi: `get_av` with `GV_ADD`).
    pub fn array_variable(self, name: &str) -> Array {
        self.named(name, sys::REFERENT_ARRAY)
            .map_or_else(|| Array::new(self), Array::from_scalar)
    }

    /// A hash variable by its full name, made if it does not exist (perlapi: `get_hv` with `GV_ADD`).
    pub fn hash_variable(self, name: &str) -> Hash {
        self.named(name, sys::REFERENT_HASH)
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
        let interpreter = self.live().ok()?;
        // SAFETY: a live interpreter; the result is owned, or null.
        unsafe {
            let separator = sys::perl_shim_output_field_separator(interpreter);
            Scalar::from_owned_or_null(self, separator)
        }
    }

    /// What `print` puts at the end: `$\`, unless it is `undef`; a newline within `say`.
    pub fn output_record_separator(self) -> Option<Scalar> {
        let interpreter = self.live().ok()?;
        // SAFETY: a live interpreter; the result is owned, or null.
        unsafe {
            let separator = sys::perl_shim_output_record_separator(interpreter);
            Scalar::from_owned_or_null(self, separator)
        }
    }

    /// Whether the interpreter is destroying its values (`${^GLOBAL_PHASE} eq 'DESTRUCT'`), or has done so.
    pub fn is_destructing(self) -> bool {
        self.live().map_or(true, |interpreter| {
            // SAFETY: a live interpreter.
            unsafe { sys::perl_shim_is_destructing(interpreter) != 0 }
        })
    }

    /// The interpreter for C code of the extension's own; null when perl was built without threads. It dangles after
    /// [the end](Self::has_ended).
    pub fn raw(self) -> *mut sys::PerlInterpreter {
        self.interpreter.raw()
    }

    /// Whether the interpreter has destroyed its objects, so that nothing can be done with it any more.
    pub fn has_ended(self) -> bool {
        self.interpreter.has_ended()
    }

    pub(crate) fn new(interpreter: &'static Interpreter) -> Self {
        Self { interpreter }
    }

    /// The way to the interpreter's memory: an error after its end, or while another one calls.
    pub(crate) fn live(self) -> Result<*mut sys::PerlInterpreter> {
        if self.interpreter.is_live() {
            return Ok(self.interpreter.raw());
        }
        Err(Error::Exit)
    }

    /// Whether a reference may be given up.
    pub(crate) fn counts_references(self) -> bool {
        self.interpreter.counts_references()
    }

    pub(crate) fn warn_with(self, message: &Scalar) -> Result<()> {
        operate(
            self,
            Operation::Warn,
            Work {
                other: message.raw_for(self)?,
                ..Work::default()
            },
        )
        .map(drop)
    }

    fn named(self, name: &str, kind: std::ffi::c_int) -> Option<Scalar> {
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

impl PartialEq for Perl {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.interpreter, other.interpreter)
    }
}

impl Eq for Perl {}

/// A scalar variable that was looked up once, as compiled Perl code has it: what is read is the value it has by then, be it
/// assigned, `local` or an alias.
#[derive(Clone, Debug)]
pub struct Variable {
    perl: Perl,
    /// INVARIANT: a glob.
    glob: Option<Scalar>,
}

impl Variable {
    /// The variable as it is now.
    pub fn get(&self) -> Scalar {
        let found = self.glob.as_ref().and_then(|glob| {
            let (interpreter, glob) = glob.live().ok()?;
            // SAFETY: a glob, which gives a live value, or null.
            unsafe {
                let variable = sys::perl_shim_glob_scalar(interpreter, glob);
                Scalar::from_borrowed(self.perl, variable)
            }
        });
        found.unwrap_or_else(|| Scalar::undef(self.perl))
    }
}

/// A class that was looked up once.
#[derive(Clone, Debug)]
pub struct Class {
    name: String,
    /// INVARIANT: the package's hash.
    stash: Option<Scalar>,
}

impl Class {
    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stash(&self) -> Option<&Scalar> {
        self.stash.as_ref()
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
