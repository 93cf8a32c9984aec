//! Scalars: making, reading and changing them.

use std::collections::TryReserveError;
use std::ffi::c_int;
use std::fmt;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use perl_sys::{self as sys, Operation, Work};

use crate::border::operate;
use crate::interpreter::nowhere;
use crate::{Array, Code, Error, Hash, Perl, Result, attachment};

/// An owned reference to a Perl value, usually a scalar.
///
/// `Clone` takes another reference to the same value; `Drop` gives it up, which may run a `DESTROY`. See
/// [`copy`](Self::copy) for a value of one's own.
pub struct Scalar {
    perl: Perl,
    /// INVARIANT: a value of `perl`, of whose reference count one is ours, as long as that is live; nothing looks at it before
    /// it has asked for that. If it could not be made, its interpreter is `nowhere`.
    value: NonNull<sys::SV>,
}

/// Making new values.
impl Scalar {
    /// `undef`, in a variable of its own.
    pub fn undef(perl: Perl) -> Self {
        // SAFETY: the function makes a value.
        unsafe { Self::made(perl, |interpreter| sys::perl_shim_new_undef(interpreter)) }
    }

    /// A byte string.
    pub fn from_bytes(perl: Perl, bytes: &[u8]) -> Self {
        Self::new_string(perl, bytes, false)
    }

    /// A character string, with the UTF-8 flag on.
    pub fn from_text(perl: Perl, text: &str) -> Self {
        Self::new_string(perl, text.as_bytes(), true)
    }

    /// A character string from bytes that are UTF-8 as Perl has it (surrogates and code points above U+10FFFF included),
    /// else a byte string.
    pub fn from_perl_utf8(perl: Perl, bytes: &[u8]) -> Self {
        Self::new_string(perl, bytes, is_perl_utf8(perl, bytes))
    }

    /// An integer. One that the integers of a 32-bit perl cannot hold becomes a floating-point number.
    pub fn from_integer(perl: Perl, value: i64) -> Self {
        // SAFETY: the function makes a value.
        unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_new_integer(interpreter, value)
            })
        }
    }

    /// An unsigned integer, a size in bytes for example; otherwise as [`from_integer`](Self::from_integer).
    pub fn from_unsigned(perl: Perl, value: u64) -> Self {
        // SAFETY: the function makes a value.
        unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_new_unsigned(interpreter, value)
            })
        }
    }

    /// A floating-point number.
    pub fn from_number(perl: Perl, value: f64) -> Self {
        // SAFETY: the function makes a value.
        unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_new_number(interpreter, value)
            })
        }
    }

    /// Perl's own true (1) or false (the empty string and 0).
    pub fn from_boolean(perl: Perl, value: bool) -> Self {
        // SAFETY: the function makes a value.
        unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_new_boolean(interpreter, c_int::from(value))
            })
        }
    }
}

/// Reading. A tied value is fetched, and an overloaded object asked, at each call.
impl Scalar {
    /// Whether it is not `undef`.
    pub fn is_defined(&self) -> Result<bool> {
        let state = self.state()?;
        if state & sys::STATE_MAGICAL != 0 {
            return self.copy()?.is_defined();
        }
        Ok(state & sys::STATE_DEFINED != 0)
    }

    /// Whether Perl takes it for true.
    pub fn is_true(&self) -> Result<bool> {
        if self.is(sys::STATE_MAGICAL | sys::STATE_OVERLOADED) {
            return Ok(self.operate(Operation::IsTrue, Work::default())?.flag != 0);
        }
        let (perl, value) = self.live()?;
        // SAFETY: without magic and overloading, as the function asks.
        Ok(unsafe { sys::perl_shim_is_true(perl, value) } != 0)
    }

    /// Whether Perl takes it for a number without a warning (perlapi: `looks_like_number`).
    pub fn looks_like_number(&self) -> Result<bool> {
        if self.is(sys::STATE_MAGICAL | sys::STATE_OVERLOADED) {
            return Ok(self
                .operate(Operation::LooksLikeNumber, Work::default())?
                .flag
                != 0);
        }
        let (perl, value) = self.live()?;
        // SAFETY: without magic and overloading, as the function asks.
        Ok(unsafe { sys::perl_shim_looks_like_number(perl, value) } != 0)
    }

    /// Its string's internal bytes, whatever the UTF-8 flag says: UTF-8 if it is on. `undef` has none, silently.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.with_string(|bytes, _| bytes.to_vec())
    }

    /// How many bytes [`bytes`](Self::bytes) gives.
    pub fn byte_length(&self) -> Result<usize> {
        self.with_string(|bytes, _| bytes.len())
    }

    /// Appends what [`bytes`](Self::bytes) gives: the way of output, with one copy. An exception where there is no
    /// memory for it.
    pub fn append_bytes_to(&self, buffer: &mut Vec<u8>) -> Result<()> {
        self.try_append_bytes_to(buffer)?
            .map_err(|_| Error::croak("Out of memory for a string"))
    }

    /// The same, where the inner error is the want of memory.
    pub fn try_append_bytes_to(
        &self,
        buffer: &mut Vec<u8>,
    ) -> Result<std::result::Result<(), TryReserveError>> {
        self.with_string(|bytes, _| {
            buffer.try_reserve(bytes.len())?;
            buffer.extend_from_slice(bytes);
            Ok(())
        })
    }

    /// Whether reading it is more than that: it is tied, say.
    pub fn is_magical(&self) -> bool {
        self.is(sys::STATE_MAGICAL)
    }

    /// Whether it is a string without magic: then reading its bytes runs no Perl code.
    pub fn is_plain_string(&self) -> bool {
        self.state().is_ok_and(|state| {
            state & (sys::STATE_MAGICAL | sys::STATE_STRING) == sys::STATE_STRING
        })
    }

    /// Its characters. Those that Rust's strings cannot hold are replaced by U+FFFD.
    pub fn text(&self) -> Result<String> {
        self.with_string(characters)
    }

    /// Whether the UTF-8 flag is on. Of a tied value, this is known only after reading it.
    pub fn is_utf8(&self) -> bool {
        self.is(sys::STATE_UTF8)
    }

    /// The integer part of its number; beyond the range of `i64`, the nearest end of it. A string that is no number warns
    /// as in Perl.
    pub fn integer(&self) -> Result<i64> {
        if self.is(sys::STATE_MAGICAL) || !self.is(sys::STATE_INTEGER | sys::STATE_NUMBER) {
            return Ok(self.operate(Operation::Integer, Work::default())?.integer);
        }
        let (perl, value) = self.live()?;
        // SAFETY: it has an integer or a number, as the function asks.
        Ok(unsafe { sys::perl_shim_integer(perl, value) })
    }

    /// Its number. A string that is no number warns as in Perl.
    pub fn number(&self) -> Result<f64> {
        if self.is(sys::STATE_MAGICAL) || !self.is(sys::STATE_INTEGER | sys::STATE_NUMBER) {
            return Ok(self.operate(Operation::Number, Work::default())?.number);
        }
        let (_, value) = self.live()?;
        // SAFETY: it has an integer or a number, as the function asks.
        Ok(unsafe { sys::perl_shim_number(value) })
    }

    /// A new variable with the same value (perlapi: `newSVsv`).
    pub fn copy(&self) -> Result<Self> {
        let work = self.operate(Operation::Fetch, Work::default())?;
        // SAFETY: the operation gives an owned value.
        Ok(unsafe { Self::from_owned(self.perl, work.result) })
    }

    /// The descriptor of a handle: of a glob, a reference to one, an IO object. `None` for what is not open, for tied
    /// handles and those in memory (perlfunc: `fileno`).
    pub fn descriptor(&self) -> Option<RawFd> {
        let work = self.operate(Operation::Descriptor, Work::default()).ok()?;
        RawFd::try_from(work.integer)
            .ok()
            .filter(|&descriptor| descriptor >= 0)
    }
}

/// References and objects.
impl Scalar {
    /// Whether it is a reference; a tied value is fetched.
    pub fn is_reference(&self) -> bool {
        self.fetched()
            .is_some_and(|value| value.is(sys::STATE_REFERENCE))
    }

    /// The hash that it refers to, an object's too.
    pub fn as_hash(&self) -> Option<Hash> {
        self.referent_of_kind(sys::REFERENT_HASH)
            .map(Hash::from_scalar)
    }

    /// The array that it refers to.
    pub fn as_array(&self) -> Option<Array> {
        self.referent_of_kind(sys::REFERENT_ARRAY)
            .map(Array::from_scalar)
    }

    /// The sub that it refers to.
    pub fn as_code(&self) -> Option<Code> {
        self.referent_of_kind(sys::REFERENT_CODE)
            .map(Code::from_scalar)
    }

    /// Whatever it refers to.
    pub fn referent(&self) -> Option<Self> {
        self.referent_of_kind(sys::REFERENT_ANY)
    }

    /// Whether it is a reference to an object.
    pub fn is_object(&self) -> bool {
        self.blessed_package().is_some()
    }

    /// The class of the object that it refers to (Scalar::Util: `blessed`).
    pub fn blessed_package(&self) -> Option<String> {
        let fetched = self.fetched()?;
        let (perl, value) = fetched.live().ok()?;
        let mut length = 0;
        let mut is_utf8 = 0;
        // SAFETY: a live value; the name is read before anything can change it.
        let name = unsafe { sys::perl_shim_class(perl, value, &mut length, &mut is_utf8) };
        if name.is_null() {
            return None;
        }
        // SAFETY: the shim gives the length that belongs to the name.
        let name = unsafe { slice::from_raw_parts(name.cast::<u8>(), length) };
        Some(characters(name, is_utf8 != 0))
    }

    /// Whether it is an object of that class or of one that inherits from it, or the name of one (UNIVERSAL: `isa`).
    pub fn derived_from(&self, class: &str) -> Result<bool> {
        let class = Self::from_text(self.perl, class);
        let work = Work {
            other: class.raw(),
            ..Work::default()
        };
        Ok(self.operate(Operation::DerivedFrom, work)?.flag != 0)
    }

    /// A new reference to this value.
    pub fn reference(&self) -> Self {
        // SAFETY: the function makes a value; where the interpreter is live, ours is.
        unsafe {
            Self::made(self.perl, |interpreter| {
                sys::perl_shim_new_reference(interpreter, self.raw())
            })
        }
    }

    /// Makes this reference a weak one: it becomes `undef` when what it refers to goes.
    pub fn weaken(&self) -> Result<()> {
        let (perl, value) = self.live()?;
        // SAFETY: a live value.
        if unsafe { sys::perl_shim_weaken_plain(perl, value) } != 0 {
            return Ok(());
        }
        self.operate(Operation::Weaken, Work::default()).map(drop)
    }

    /// Whether both are the same variable.
    pub fn same_as(&self, other: &Self) -> bool {
        self.value == other.value
    }

    /// How many references there are to this value, ours included; 0 after the end of the interpreter.
    pub fn reference_count(&self) -> u32 {
        self.live().map_or(0, |(_, value)| {
            // SAFETY: a live value.
            unsafe { sys::perl_shim_reference_count(value) }
        })
    }
}

/// Changing.
impl Scalar {
    /// Assigns a copy of `value` to this variable; fails for a constant.
    pub fn assign(&self, value: &Self) -> Result<()> {
        self.operate(
            Operation::Assign,
            Work {
                other: value.raw_for(self.perl)?,
                ..Work::default()
            },
        )
        .map(drop)
    }

    /// Assigns an integer to this variable; fails for a constant.
    pub fn set_integer(&self, value: i64) -> Result<()> {
        let (perl, scalar) = self.live()?;
        // SAFETY: a live value.
        if unsafe { sys::perl_shim_set_integer(perl, scalar, value) } != 0 {
            return Ok(());
        }
        self.assign(&Self::from_integer(self.perl, value))
    }

    /// Assigns an unsigned integer to this variable; fails for a constant.
    pub fn set_unsigned(&self, value: u64) -> Result<()> {
        let (perl, scalar) = self.live()?;
        // SAFETY: a live value.
        if unsafe { sys::perl_shim_set_unsigned(perl, scalar, value) } != 0 {
            return Ok(());
        }
        self.assign(&Self::from_unsigned(self.perl, value))
    }

    /// Assigns a floating-point number to this variable; fails for a constant.
    pub fn set_number(&self, value: f64) -> Result<()> {
        let (perl, scalar) = self.live()?;
        // SAFETY: a live value.
        if unsafe { sys::perl_shim_set_number(perl, scalar, value) } != 0 {
            return Ok(());
        }
        self.assign(&Self::from_number(self.perl, value))
    }

    /// Hangs `data` on this value: it is dropped when Perl frees the value, and replaces earlier data of the same type.
    ///
    /// For an object this is done to its [`referent`](Self::referent), not to a reference, which Perl code copies. The
    /// data does not follow copies, `dclone`, or new threads. Perl is as fast on a new hash with data as on one without; do
    /// it before Perl code has the hash. A constant of Perl's is an error.
    ///
    /// ```no_run
    /// # use std::{cell::Cell, rc::Rc};
    /// # fn example(perl: perl_xs::Perl) -> perl_xs::Result<perl_xs::Scalar> {
    /// let object = perl_xs::Hash::new(perl);
    /// object.attach(Rc::new(Cell::new(0_u64)));
    /// object.bless("Counter")?;
    /// # Ok(
    /// object.reference()
    /// # ) }
    /// ```
    pub fn attach<T: 'static>(&self, data: Rc<T>) -> Result<()> {
        attachment::attach(self, data)
    }

    /// The data of that type that hangs on this value. The `Rc` keeps it alive whatever Perl does to the value.
    pub fn attached<T: 'static>(&self) -> Option<Rc<T>> {
        attachment::attached(self)
    }
}

impl Scalar {
    /// # Safety
    ///
    /// `value` is one of `perl`'s, not null, and a reference to it is handed over.
    pub(crate) unsafe fn from_owned(perl: Perl, value: *mut sys::SV) -> Self {
        // SAFETY: not null, as promised.
        let value = unsafe { NonNull::new_unchecked(value) };
        Self { perl, value }
    }

    /// # Safety
    ///
    /// As [`from_owned`](Self::from_owned), but null gives `None`.
    pub(crate) unsafe fn from_owned_or_null(perl: Perl, value: *mut sys::SV) -> Option<Self> {
        NonNull::new(value).map(|value| Self { perl, value })
    }

    /// # Safety
    ///
    /// `value` is a live one of `perl`'s, or null, which gives `None`.
    pub(crate) unsafe fn from_borrowed(perl: Perl, value: *mut sys::SV) -> Option<Self> {
        let value = NonNull::new(value)?;
        // SAFETY: live, as promised.
        Some(unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_retain(interpreter, value.as_ptr())
            })
        })
    }

    /// # Safety
    ///
    /// `make` gives an owned value of the interpreter that it gets, and not null.
    pub(crate) unsafe fn made(
        perl: Perl,
        make: impl FnOnce(*mut sys::PerlInterpreter) -> *mut sys::SV,
    ) -> Self {
        match perl.live() {
            // SAFETY: as promised.
            Ok(interpreter) => unsafe { Self::from_owned(perl, make(interpreter)) },
            Err(_) => Self {
                perl: Perl::new(nowhere()),
                value: NonNull::dangling(),
            },
        }
    }

    /// Gives the reference to `perl`.
    pub(crate) fn into_raw(self, perl: Perl) -> Result<*mut sys::SV> {
        let value = self.raw_for(perl)?;
        std::mem::forget(self);
        Ok(value)
    }

    /// The value, for something that `perl` does with it.
    pub(crate) fn raw_for(&self, perl: Perl) -> Result<*mut sys::SV> {
        perl.live()?;
        if self.perl != perl {
            return Err(Error::croak("A value of another interpreter"));
        }
        Ok(self.raw())
    }

    /// The interpreter and the value, for the plain functions: an error after the end, when neither may be looked at.
    pub(crate) fn live(&self) -> Result<(*mut sys::PerlInterpreter, *mut sys::SV)> {
        Ok((self.perl.live()?, self.raw()))
    }

    /// The value for a guarded operation, or for whoever knows that the interpreter is live.
    pub(crate) fn raw(&self) -> *mut sys::SV {
        self.value.as_ptr()
    }

    /// The interpreter that it belongs to; one that has ended, if the value could not be made.
    pub fn perl(&self) -> Perl {
        self.perl
    }

    /// Does a guarded operation on this value.
    pub(crate) fn operate(&self, operation: Operation, work: Work) -> Result<Work> {
        operate(
            self.perl,
            operation,
            Work {
                sv: self.raw(),
                ..work
            },
        )
    }

    /// Whether one of these states is on.
    fn is(&self, states: u32) -> bool {
        self.state().is_ok_and(|state| state & states != 0)
    }

    fn state(&self) -> Result<u32> {
        let (_, value) = self.live()?;
        // SAFETY: a live value.
        Ok(unsafe { sys::perl_shim_state(value) })
    }

    fn new_string(perl: Perl, bytes: &[u8], is_utf8: bool) -> Self {
        // SAFETY: the function makes a value; the pointer and the length are those of a slice.
        unsafe {
            Self::made(perl, |interpreter| {
                sys::perl_shim_new_string(
                    interpreter,
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    c_int::from(is_utf8),
                )
            })
        }
    }

    /// This value, or a copy that get magic does not trouble any more.
    fn fetched(&self) -> Option<Self> {
        if self.is(sys::STATE_MAGICAL) {
            self.copy().ok()
        } else {
            Some(self.clone())
        }
    }

    fn referent_of_kind(&self, kind: c_int) -> Option<Self> {
        if self.is_magical() {
            return self.copy().ok()?.referent_of_kind(kind);
        }
        let (_, value) = self.live().ok()?;
        // SAFETY: live values.
        unsafe { Self::from_borrowed(self.perl, sys::perl_shim_referent(value, kind)) }
    }

    /// Calls `reader` with the string's bytes and its UTF-8 flag. `reader` must not run Perl code: the bytes are Perl's.
    fn with_string<T>(&self, reader: impl FnOnce(&[u8], bool) -> T) -> Result<T> {
        let state = self.state()?;
        if state & (sys::STATE_MAGICAL | sys::STATE_STRING) == sys::STATE_STRING {
            // SAFETY: a string without magic, that nobody changes while `reader` looks at it.
            let bytes = unsafe { self.plain_bytes() };
            return Ok(reader(bytes, state & sys::STATE_UTF8 != 0));
        }
        if state & (sys::STATE_MAGICAL | sys::STATE_DEFINED) == 0 {
            return Ok(reader(&[], false));
        }
        let work = self.operate(Operation::String, Work::default())?;
        // SAFETY: the operation gives an owned plain string.
        let string = unsafe { Self::from_owned(self.perl, work.result) };
        // SAFETY: as it says.
        Ok(reader(unsafe { string.plain_bytes() }, string.is_utf8()))
    }

    /// # Safety
    ///
    /// The value is a live string without magic; nothing changes it while the slice is used.
    unsafe fn plain_bytes(&self) -> &[u8] {
        let mut length = 0;
        // SAFETY: a string, as promised.
        unsafe {
            let bytes = sys::perl_shim_string(self.raw(), &mut length);
            slice::from_raw_parts(bytes.cast(), length)
        }
    }
}

impl Clone for Scalar {
    fn clone(&self) -> Self {
        // SAFETY: where the interpreter is live, the value is, and the reference is ours.
        unsafe {
            Self::made(self.perl, |interpreter| {
                sys::perl_shim_retain(interpreter, self.raw())
            })
        }
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        if !self.perl.counts_references() {
            return;
        }
        // SAFETY: our reference, given up once: here, or by the operation.
        if unsafe { sys::perl_shim_release_plain(self.perl.raw(), self.raw()) } == 0 {
            // An exception in DESTROY is a warning of perl's; an `exit` waits, and goes on when Rust is left.
            let _ = self.operate(Operation::Release, Work::default());
        }
    }
}

impl fmt::Debug for Scalar {
    /// The address only: reading a value may run Perl code.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scalar({:p})", self.value)
    }
}

impl Error {
    /// The exception as a value to be given to Perl; null for an exit.
    pub(crate) fn into_raw(self, perl: Perl) -> *mut sys::SV {
        let value = match self {
            Self::Die(exception) => exception.into_raw(perl),
            Self::Croak(message) => Scalar::from_text(perl, &message).into_raw(perl),
            Self::Exit => return std::ptr::null_mut(),
        };
        value.unwrap_or_else(|error| error.into_raw(perl))
    }
}

/// What Perl's internal bytes mean.
fn characters(bytes: &[u8], is_utf8: bool) -> String {
    if is_utf8 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // A byte of a string without the flag is the character of that number.
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Whether these bytes are UTF-8 by Perl's measure.
pub(crate) fn is_perl_utf8(perl: Perl, bytes: &[u8]) -> bool {
    perl.live().is_ok_and(|interpreter| {
        // SAFETY: the pointer and the length are those of a slice.
        unsafe { sys::perl_shim_is_perl_utf8(interpreter, bytes.as_ptr().cast(), bytes.len()) != 0 }
    })
}
