//! A safe Perl API for Perl extensions written in Rust.
//!
//! An extension is a static library crate, one line of C, and a `Makefile.PL`; `t/example` in this crate's folder is a
//! complete one. This is the Rust of it:
//!
//! ```no_run
//! #![forbid(unsafe_code)]
//! use perl_xs::{Arguments, Perl, Result, Returned, Scalar};
//!
//! perl_xs::boot!(greeting_boot, boot);
//!
//! fn boot(perl: Perl) -> Result<()> {
//!     perl.package("Greeting").define("hello", hello)
//! }
//!
//! fn hello(arguments: &Arguments<'_>) -> Result<Returned> {
//!     let name = arguments.required(0, "name")?.text()?;
//!     Ok(Scalar::from_text(arguments.perl(), &format!("Hello, {name}")).into())
//! }
//! # fn main() {}
//! ```
//!
//! # What can go wrong
//!
//! **Errors must travel.** Whatever may run Perl code returns [`Result`]: an exception ([`Error::Die`]) or an `exit`
//! ([`Error::Exit`]) in it comes back as a value, and goes on in Perl when the function returns it. An `exit` that is
//! swallowed goes on nevertheless, when Rust is left: it cannot be stopped, Perl has already unwound its own stacks.
//!
//! **Perl code can do anything**: free the values you were given, call your functions again, change the hash you walk.
//! Values here own a reference each, and [`Scalar::attached`] hands out an [`Rc`](std::rc::Rc), so memory stays sound;
//! but do not hold a `RefCell` borrow across a call into Perl, or the nested call panics. Reading a tied or overloaded
//! value, storing into a tied hash and dropping the last reference to an object are calls into Perl too.
//!
//! **A [`Scalar`] is the variable, not its value.** An argument is the caller's own variable: keep a copy if you keep
//! it for later ([`Scalar::copy`]).
//!
//! **A lazy element** ([`Hash::insert_lazy`]) is like any other for Perl code, and for C code that gets it by its key. C code
//! that walks the hash and does not read values as perlapi tells it (`SvGETMAGIC`), such as Storable, sees a reference to an
//! empty hash. A class whose objects have lazy elements helps Storable by a `STORABLE_freeze`.
//!
//! **Bytes or text.** [`Scalar::bytes`] gives the internal bytes, whatever the UTF-8 flag says; [`Scalar::text`] gives
//! characters, as Perl sees them.
//!
//! **Panics** become Perl exceptions that name the module, so the crate must be built with `panic = "unwind"`. A panic
//! while another one unwinds aborts the process.
//!
//! **Threads.** Nothing here is `Send`. Rust data on a value does not follow it into a new Perl thread: there,
//! [`Scalar::attached`] gives `None`. Nor does it go to the thread that joins a Perl thread and destroys the objects that
//! this one has left: there it is not found, and is never dropped. An interpreter that runs on two threads at once, or that
//! an embedding program moves between threads, is not provided for; in particular, keep no value of a `CLONE` method, which
//! runs in the old thread with the new interpreter.
//!
//! **The end.** Values may outlive the interpreter, in a thread local say. Then they are refused: see [`Perl`].
//!
//! **Running out of memory** ends the process, in Rust and in Perl.

mod array;
mod attachment;
mod border;
mod code;
mod error;
mod function;
pub mod handle;
mod hash;
mod interpreter;
mod key;
mod lazy;
mod perl;
mod refill;
mod scalar;
mod shape;

pub use array::Array;
pub use border::{Status, enter};
pub use code::{Closure, Code};
pub use error::{Error, Result};
pub use function::{Arguments, Context, Function, Returned};
pub use hash::Hash;
pub use key::{AsKey, Key, SharedKey};
pub use lazy::Lazy;
pub use perl::{Class, Package, Perl, Variable};
pub use refill::{Place, Refill, Refillable, Value};
pub use scalar::Scalar;
pub use shape::{Element, Intact, Shape};

/// For the expansion of [`boot!`].
#[doc(hidden)]
pub mod private {
    pub use crate::border::boot;
    pub use perl_sys::PerlInterpreter;
}

/// Defines the function that the C line `PERL_XS_BOOT(Module, symbol)` calls when Perl loads the module.
///
/// The first argument is a symbol, unique in the extension; the second a `fn(Perl) -> Result<()>`, usually defining the
/// packages' functions. Its error becomes the error of `require`.
///
/// ```no_run
/// perl_xs::boot!(greeting_boot, |perl: perl_xs::Perl| perl.require("IO::Handle"));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! boot {
    ($symbol:ident, $function:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(
            perl: *mut $crate::private::PerlInterpreter,
            module: *const ::std::ffi::c_char,
            error: *mut *mut ::std::ffi::c_void,
        ) -> ::std::ffi::c_int {
            // SAFETY: only perl_shim_boot calls this symbol, with what `boot` asks for.
            unsafe { $crate::private::boot(perl, module, error, $function) }
        }
    };
}

/// Keeps the README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
