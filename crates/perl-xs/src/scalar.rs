//! Scalars: making, reading and changing them.

use std::ffi::c_int;
use std::fmt;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use perl_sys::{self as sys, Operation, Work};

use crate::border::{is_alive, operate};
use crate::{Array, Code, Error, Hash, Perl, Result, attachment};

/// An owned reference to a Perl value, usually a scalar.
///
/// `Clone` takes another reference to the same value; `Drop` gives it up, which may run a `DESTROY`. See
/// [`copy`](Self::copy) for a value of one's own.
pub struct Scalar {
    perl: Perl,
    /// INVARIANT: a value of `perl`, of whose reference count one is ours.
    value: NonNull<sys::SV>,
}

/// Making new values.
impl Scalar {
    /// `undef`, in a variable of its own.
    pub fn undef(perl: Perl) -> Self {
        // SAFETY: a live interpreter; the result is owned.
        unsafe { Self::from_owned(perl, sys::perl_shim_new_undef(perl.raw())) }
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
        // SAFETY: the pointer and the length are those of a slice.
        let is_utf8 =
            unsafe { sys::perl_shim_is_perl_utf8(perl.raw(), bytes.as_ptr().cast(), bytes.len()) };
        Self::new_string(perl, bytes, is_utf8 != 0)
    }

    /// An integer. One that the integers of a 32-bit perl cannot hold becomes a floating-point number.
    pub fn from_integer(perl: Perl, value: i64) -> Self {
        // SAFETY: a live interpreter; the result is owned.
        unsafe { Self::from_owned(perl, sys::perl_shim_new_integer(perl.raw(), value)) }
    }

    /// An unsigned integer, a size in bytes for example; otherwise as [`from_integer`](Self::from_integer).
    pub fn from_unsigned(perl: Perl, value: u64) -> Self {
        // SAFETY: a live interpreter; the result is owned.
        unsafe { Self::from_owned(perl, sys::perl_shim_new_unsigned(perl.raw(), value)) }
    }

    /// A floating-point number.
    pub fn from_number(perl: Perl, value: f64) -> Self {
        // SAFETY: a live interpreter; the result is owned.
        unsafe { Self::from_owned(perl, sys::perl_shim_new_number(perl.raw(), value)) }
    }

    /// Perl's own true (1) or false (the empty string and 0).
    pub fn from_boolean(perl: Perl, value: bool) -> Self {
        // SAFETY: a live interpreter; the result is owned.
        unsafe {
            Self::from_owned(
                perl,
                sys::perl_shim_new_boolean(perl.raw(), c_int::from(value)),
            )
        }
    }
}

/// Reading. A tied value is fetched, and an overloaded object asked, at each call.
impl Scalar {
    /// Whether it is not `undef`.
    pub fn is_defined(&self) -> Result<bool> {
        if self.is(sys::STATE_MAGICAL) {
            return self.copy()?.is_defined();
        }
        Ok(self.is(sys::STATE_DEFINED))
    }

    /// Whether Perl takes it for true.
    pub fn is_true(&self) -> Result<bool> {
        if self.is(sys::STATE_MAGICAL | sys::STATE_OVERLOADED) {
            return Ok(self.operate(Operation::IsTrue, Work::default())?.flag != 0);
        }
        // SAFETY: without magic and overloading, as the function asks.
        Ok(unsafe { sys::perl_shim_is_true(self.perl.raw(), self.raw()) } != 0)
    }

    /// Whether Perl takes it for a number without a warning (perlapi: `looks_like_number`).
    pub fn looks_like_number(&self) -> Result<bool> {
        if self.is(sys::STATE_MAGICAL | sys::STATE_OVERLOADED) {
            return Ok(self
                .operate(Operation::LooksLikeNumber, Work::default())?
                .flag
                != 0);
        }
        // SAFETY: without magic and overloading, as the function asks.
        Ok(unsafe { sys::perl_shim_looks_like_number(self.perl.raw(), self.raw()) } != 0)
    }

    /// Its string's internal bytes, whatever the UTF-8 flag says: UTF-8 if it is on. `undef` has none, silently.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.with_string(|bytes, _| bytes.to_vec())
    }

    /// Appends what [`bytes`](Self::bytes) gives: the way of output, with one copy.
    pub fn append_bytes_to(&self, buffer: &mut Vec<u8>) -> Result<()> {
        self.with_string(|bytes, _| buffer.extend_from_slice(bytes))
    }

    /// Its characters. Those that Rust's strings cannot hold are replaced by U+FFFD.
    pub fn text(&self) -> Result<String> {
        self.with_string(|bytes, is_utf8| {
            if is_utf8 {
                return String::from_utf8_lossy(bytes).into_owned();
            }
            // A byte of a string without the flag is the character of that number.
            bytes.iter().map(|&byte| char::from(byte)).collect()
        })
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
        // SAFETY: it has an integer or a number, as the function asks.
        Ok(unsafe { sys::perl_shim_integer(self.perl.raw(), self.raw()) })
    }

    /// Its number. A string that is no number warns as in Perl.
    pub fn number(&self) -> Result<f64> {
        if self.is(sys::STATE_MAGICAL) || !self.is(sys::STATE_INTEGER | sys::STATE_NUMBER) {
            return Ok(self.operate(Operation::Number, Work::default())?.number);
        }
        // SAFETY: it has an integer or a number, as the function asks.
        Ok(unsafe { sys::perl_shim_number(self.raw()) })
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
        let value = self.fetched()?;
        let mut length = 0;
        // SAFETY: a live value; the name is read before anything can change it.
        let name = unsafe { sys::perl_shim_class(self.perl.raw(), value.raw(), &mut length) };
        if name.is_null() {
            return None;
        }
        // SAFETY: the shim gives the length that belongs to the name.
        let name = unsafe { slice::from_raw_parts(name.cast::<u8>(), length) };
        Some(String::from_utf8_lossy(name).into_owned())
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
        // SAFETY: a live value; the result is owned.
        unsafe {
            Self::from_owned(
                self.perl,
                sys::perl_shim_new_reference(self.perl.raw(), self.raw()),
            )
        }
    }

    /// Makes this reference a weak one: it becomes `undef` when what it refers to goes.
    pub fn weaken(&self) -> Result<()> {
        self.operate(Operation::Weaken, Work::default()).map(drop)
    }

    /// Whether both are the same variable.
    pub fn same_as(&self, other: &Self) -> bool {
        self.value == other.value
    }

    /// How many references there are to this value, ours included.
    pub fn reference_count(&self) -> u32 {
        // SAFETY: a live value.
        unsafe { sys::perl_shim_reference_count(self.raw()) }
    }
}

/// Changing.
impl Scalar {
    /// Assigns a copy of `value` to this variable; fails for a constant.
    pub fn assign(&self, value: &Self) -> Result<()> {
        self.operate(
            Operation::Assign,
            Work {
                other: value.raw(),
                ..Work::default()
            },
        )
        .map(drop)
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
        unsafe { sys::perl_shim_retain(perl.raw(), value.as_ptr()) };
        Some(Self { perl, value })
    }

    /// Gives the reference away.
    pub(crate) fn into_raw(self) -> *mut sys::SV {
        let value = self.raw();
        std::mem::forget(self);
        value
    }

    pub(crate) fn raw(&self) -> *mut sys::SV {
        self.value.as_ptr()
    }

    /// The interpreter that it belongs to.
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
        // SAFETY: a live value.
        unsafe { sys::perl_shim_state(self.raw()) & states != 0 }
    }

    fn new_string(perl: Perl, bytes: &[u8], is_utf8: bool) -> Self {
        // SAFETY: the pointer and the length are those of a slice; the result is owned.
        unsafe {
            let string = sys::perl_shim_new_string(
                perl.raw(),
                bytes.as_ptr().cast(),
                bytes.len(),
                c_int::from(is_utf8),
            );
            Self::from_owned(perl, string)
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
        let value = self.fetched()?;
        // SAFETY: live values.
        unsafe { Self::from_borrowed(self.perl, sys::perl_shim_referent(value.raw(), kind)) }
    }

    /// Calls `reader` with the string's bytes and its UTF-8 flag. `reader` must not run Perl code: the bytes are Perl's.
    fn with_string<T>(&self, reader: impl FnOnce(&[u8], bool) -> T) -> Result<T> {
        // SAFETY: a live value.
        let state = unsafe { sys::perl_shim_state(self.raw()) };
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
    /// The value is a string without magic; nothing changes it while the slice is used.
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
        // SAFETY: a live value.
        unsafe { sys::perl_shim_retain(self.perl.raw(), self.raw()) };
        Self { ..*self }
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        if !is_alive(self.perl) {
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
        match self {
            Self::Die(exception) => exception.into_raw(),
            Self::Croak(message) => Scalar::from_text(perl, &message).into_raw(),
            Self::Exit => std::ptr::null_mut(),
        }
    }
}
