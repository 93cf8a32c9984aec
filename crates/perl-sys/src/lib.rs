//! The raw Perl API: a C shim over perl.h, and its declarations.
//!
//! Everything here mirrors the functions of `shim/*.c` one to one; `shim/shim.h` has their map. It is for the crate `perl-xs`, which makes a
//! safe API of it; an extension uses that one. Of the functions, those called *plain* must only get values they say they
//! are for; the two *guarded* ones, [`perl_shim_operate`] and [`perl_shim_call`], may run Perl code and never unwind.
//!
//! Crates with C of their own that enters Rust from foreign callbacks find, in their build script, the environment
//! variables `DEP_PERL_SHIM_INCLUDE` (the folder of `perl_shim.h` and `perl_xs_boot.h`), `DEP_PERL_SHIM_CORE` (of
//! `perl.h`), `DEP_PERL_SHIM_CC`, `DEP_PERL_SHIM_CCFLAGS` and `DEP_PERL_SHIM_PERL`, if they depend on this crate.

use std::ffi::{c_char, c_int, c_void};
use std::marker::{PhantomData, PhantomPinned};

/// An interpreter; its pointer is null with a perl that was built without threads.
#[repr(C)]
pub struct PerlInterpreter {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// A value of any kind: scalar, hash, array, sub or glob.
#[repr(C)]
pub struct SV {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The call worked.
pub const STATUS_OK: c_int = 0;
/// A Perl exception ended the call.
pub const STATUS_DIED: c_int = 1;
/// `exit` ended the call; it goes on when C is left, see `perl_shim_leave`.
pub const STATUS_EXITED: c_int = 2;

/// No result is wanted.
pub const CONTEXT_VOID: c_int = 0;
/// One result is wanted.
pub const CONTEXT_SCALAR: c_int = 1;
/// A list is wanted.
pub const CONTEXT_LIST: c_int = 2;

/// Anything may be referred to.
pub const REFERENT_ANY: c_int = 0;
/// A hash.
pub const REFERENT_HASH: c_int = 1;
/// An array.
pub const REFERENT_ARRAY: c_int = 2;
/// A sub.
pub const REFERENT_CODE: c_int = 3;
/// A glob; for a variable's name only.
pub const REFERENT_GLOB: c_int = 4;
/// The hash of a package; for its name only.
pub const REFERENT_STASH: c_int = 5;

/// Anything that is no reference.
pub const ELEMENT_SCALAR: c_int = 0;
/// A reference to an empty hash.
pub const ELEMENT_EMPTY_HASH: c_int = 1;
/// A reference to an empty array.
pub const ELEMENT_EMPTY_ARRAY: c_int = 2;
/// A weak reference to something given.
pub const ELEMENT_WEAK: c_int = 3;
/// A lazy element.
pub const ELEMENT_LAZY: c_int = 4;

/// Bit of [`perl_shim_state`]: reading the value runs get magic (it is tied, say).
pub const STATE_MAGICAL: u32 = 1;
/// Bit of [`perl_shim_state`]: the value is defined.
pub const STATE_DEFINED: u32 = 2;
/// Bit of [`perl_shim_state`]: the value has a string.
pub const STATE_STRING: u32 = 4;
/// Bit of [`perl_shim_state`]: the value has an integer.
pub const STATE_INTEGER: u32 = 8;
/// Bit of [`perl_shim_state`]: the value has a floating-point number.
pub const STATE_NUMBER: u32 = 16;
/// Bit of [`perl_shim_state`]: the value is a reference.
pub const STATE_REFERENCE: u32 = 32;
/// Bit of [`perl_shim_state`]: the value is a reference to an object whose class overloads operators.
pub const STATE_OVERLOADED: u32 = 64;
/// Bit of [`perl_shim_state`]: the string is in Perl's UTF-8.
pub const STATE_UTF8: u32 = 128;

/// What [`perl_shim_operate`] does; the shim says at each what of [`Work`] it uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Release,
    Fetch,
    String,
    Number,
    Integer,
    IsTrue,
    LooksLikeNumber,
    Assign,
    Weaken,
    DerivedFrom,
    Bless,
    HashFetch,
    HashStore,
    HashDelete,
    HashExists,
    HashClear,
    HashPairs,
    HashCount,
    ArrayFetch,
    ArrayStore,
    ArrayPush,
    ArrayCount,
    ArrayClear,
    ArrayValues,
    Variable,
    Code,
    Define,
    Warn,
    Require,
    Descriptor,
    Open,
    Unread,
    EndBlock,
}

/// Arguments and results of a guarded operation.
#[repr(C)]
#[derive(Debug)]
pub struct Work {
    /// The value worked on.
    pub sv: *mut SV,
    /// A second value.
    pub other: *mut SV,
    /// Bytes: a key, a mode, data.
    pub bytes: *const c_char,
    /// How many bytes.
    pub length: usize,
    /// An integer, in or out.
    pub integer: i64,
    /// A number out.
    pub number: f64,
    /// A structure of Rust's.
    pub pointer: *mut c_void,
    /// A truth, in or out.
    pub flag: c_int,
    /// A value out; owned.
    pub result: *mut SV,
    /// The exception, with [`STATUS_DIED`]; owned.
    pub error: *mut SV,
}

impl Default for Work {
    fn default() -> Self {
        use std::ptr::{null, null_mut};
        Self {
            sv: null_mut(),
            other: null_mut(),
            bytes: null(),
            length: 0,
            integer: 0,
            number: 0.0,
            pointer: null_mut(),
            flag: 0,
            result: null_mut(),
            error: null_mut(),
        }
    }
}

/// A key of a hash.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The internal bytes.
    pub bytes: *const c_char,
    /// How many bytes.
    pub length: i32,
    /// Not 0 if they are UTF-8.
    pub utf8: i32,
    /// The same key as [`perl_shim_new_shared_key`] made it, or null.
    pub shared: *mut SV,
}

/// An element of an object that is to be used again.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Its key, as [`perl_shim_new_shared_key`] made it.
    pub key: *mut SV,
    /// What it refers to, for `ELEMENT_WEAK`.
    pub referent: *mut SV,
    /// `ELEMENT_…`.
    pub kind: c_int,
    /// Which bit tells of it, 0 to 63.
    pub bit: c_int,
    /// What was found, if it is there; not owned.
    pub value: *mut SV,
}

/// An element of a hash that is to be used again.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Perl's own copy of the key; null without a keeper, which is that of no element.
    pub key: *const c_void,
    /// What keeps the key where it is, or null if nothing can.
    pub keeper: *mut SV,
    /// The value.
    pub value: *mut SV,
    /// How many keys of the hash have this value.
    pub keys: u32,
}

/// Arguments and results of a guarded call.
#[repr(C)]
#[derive(Debug)]
pub struct Call {
    /// A sub, or the name of a method.
    pub callable: *mut SV,
    /// Not 0 for a method.
    pub method: c_int,
    /// `CONTEXT_…`.
    pub context: c_int,
    /// The arguments; for a method the invocant is the first.
    pub arguments: *const *mut SV,
    /// How many arguments.
    pub count: usize,
    /// A scalar, an array in list context, or null; owned.
    pub result: *mut SV,
    /// The exception, with [`STATUS_DIED`]; owned.
    pub error: *mut SV,
}

/// What a function in Rust hands back to Perl; all values are owned.
#[repr(C)]
#[derive(Debug)]
pub struct Outcome {
    /// `STATUS_…`.
    pub status: c_int,
    /// One result, or null.
    pub value: *mut SV,
    /// An array of results, or null.
    pub list: *mut SV,
    /// The exception, with [`STATUS_DIED`].
    pub error: *mut SV,
}

impl Default for Outcome {
    fn default() -> Self {
        use std::ptr::null_mut;
        Self {
            status: STATUS_OK,
            value: null_mut(),
            list: null_mut(),
            error: null_mut(),
        }
    }
}

/// How an XSUB enters Rust.
pub type Entry = unsafe extern "C" fn(
    perl: *mut PerlInterpreter,
    function: *const Function,
    sub: *mut SV,
    arguments: *const *mut SV,
    count: usize,
    context: c_int,
    outcome: *mut Outcome,
);

/// Begins every structure that stands behind an XSUB.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Called when Perl calls the sub.
    pub entry: Entry,
}

/// Begins every structure that hangs on a value or waits for the end of the interpreter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// Called when the value is freed, or the interpreter ends.
    pub finish: unsafe extern "C" fn(perl: *mut PerlInterpreter, this: *mut Attachment),
}

/// Begins every structure that stands behind an element which is made when it is first asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lazy {
    /// Called when the element is asked for; takes the structure over.
    pub make:
        unsafe extern "C" fn(perl: *mut PerlInterpreter, this: *mut Lazy, outcome: *mut Outcome),
    /// Called when the element is replaced or freed unmade; takes the structure over.
    pub finish: unsafe extern "C" fn(perl: *mut PerlInterpreter, this: *mut Lazy),
}

#[allow(missing_docs)]
unsafe extern "C" {
    pub fn perl_shim_leave(perl: *mut PerlInterpreter);
    pub fn perl_shim_enter(perl: *mut PerlInterpreter) -> *mut c_void;
    pub fn perl_shim_return(outer: *mut c_void);
    pub fn perl_shim_exit_is_pending(perl: *mut PerlInterpreter) -> c_int;

    pub fn perl_shim_call(perl: *mut PerlInterpreter, call: *mut Call) -> c_int;
    pub fn perl_shim_operate(perl: *mut PerlInterpreter, number: c_int, work: *mut Work) -> c_int;

    pub fn perl_shim_new_undef(perl: *mut PerlInterpreter) -> *mut SV;
    pub fn perl_shim_new_string(
        perl: *mut PerlInterpreter,
        bytes: *const c_char,
        length: usize,
        utf8: c_int,
    ) -> *mut SV;
    pub fn perl_shim_new_integer(perl: *mut PerlInterpreter, value: i64) -> *mut SV;
    pub fn perl_shim_new_unsigned(perl: *mut PerlInterpreter, value: u64) -> *mut SV;
    pub fn perl_shim_new_number(perl: *mut PerlInterpreter, value: f64) -> *mut SV;
    pub fn perl_shim_new_boolean(perl: *mut PerlInterpreter, value: c_int) -> *mut SV;
    pub fn perl_shim_new_hash(perl: *mut PerlInterpreter) -> *mut SV;
    pub fn perl_shim_new_array(perl: *mut PerlInterpreter) -> *mut SV;
    pub fn perl_shim_new_reference(perl: *mut PerlInterpreter, sv: *mut SV) -> *mut SV;
    pub fn perl_shim_new_shared_key(
        perl: *mut PerlInterpreter,
        bytes: *const c_char,
        length: usize,
    ) -> *mut SV;
    pub fn perl_shim_is_perl_utf8(
        perl: *mut PerlInterpreter,
        bytes: *const c_char,
        length: usize,
    ) -> c_int;

    pub fn perl_shim_retain(perl: *mut PerlInterpreter, sv: *mut SV) -> *mut SV;
    pub fn perl_shim_reference_count(sv: *mut SV) -> u32;
    pub fn perl_shim_release_plain(perl: *mut PerlInterpreter, sv: *mut SV) -> c_int;

    pub fn perl_shim_state(sv: *mut SV) -> u32;
    pub fn perl_shim_string(sv: *mut SV, length: *mut usize) -> *const c_char;
    pub fn perl_shim_integer(perl: *mut PerlInterpreter, sv: *mut SV) -> i64;
    pub fn perl_shim_number(sv: *mut SV) -> f64;
    pub fn perl_shim_is_true(perl: *mut PerlInterpreter, sv: *mut SV) -> c_int;
    pub fn perl_shim_looks_like_number(perl: *mut PerlInterpreter, sv: *mut SV) -> c_int;
    pub fn perl_shim_referent(sv: *mut SV, kind: c_int) -> *mut SV;
    pub fn perl_shim_class(
        perl: *mut PerlInterpreter,
        sv: *mut SV,
        length: *mut usize,
        utf8: *mut c_int,
    ) -> *const c_char;

    pub fn perl_shim_weaken_plain(perl: *mut PerlInterpreter, sv: *mut SV) -> c_int;
    pub fn perl_shim_bless_plain(
        perl: *mut PerlInterpreter,
        referent: *mut SV,
        stash: *mut SV,
    ) -> c_int;
    pub fn perl_shim_glob_scalar(perl: *mut PerlInterpreter, glob: *mut SV) -> *mut SV;

    pub fn perl_shim_hash_fetch(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        key: *const Key,
        value: *mut *mut SV,
    ) -> c_int;
    pub fn perl_shim_hash_store(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        key: *const Key,
        value: *mut SV,
        replaced: *mut *mut SV,
    ) -> c_int;
    pub fn perl_shim_hash_delete(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        key: *const Key,
        value: *mut *mut SV,
    ) -> c_int;
    pub fn perl_shim_hash_exists(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        key: *const Key,
        exists: *mut c_int,
    ) -> c_int;
    pub fn perl_shim_hash_count(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        count: *mut usize,
    ) -> c_int;
    pub fn perl_shim_hash_reserve(perl: *mut PerlInterpreter, hash: *mut SV, keys: usize);
    pub fn perl_shim_array_fetch(
        perl: *mut PerlInterpreter,
        array: *mut SV,
        index: usize,
        value: *mut *mut SV,
    ) -> c_int;
    pub fn perl_shim_array_push(
        perl: *mut PerlInterpreter,
        array: *mut SV,
        value: *mut SV,
    ) -> c_int;
    pub fn perl_shim_array_count(
        perl: *mut PerlInterpreter,
        array: *mut SV,
        count: *mut usize,
    ) -> c_int;

    pub fn perl_shim_attach(
        perl: *mut PerlInterpreter,
        sv: *mut SV,
        attachment: *mut Attachment,
    ) -> c_int;
    pub fn perl_shim_attachment(perl: *mut PerlInterpreter, sv: *mut SV) -> *mut Attachment;
    pub fn perl_shim_new_lazy(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        lazy: *mut Lazy,
    ) -> *mut SV;
    pub fn perl_shim_unmade(perl: *mut PerlInterpreter, sv: *mut SV) -> *mut Lazy;
    pub fn perl_shim_await_end(perl: *mut PerlInterpreter, hook: *mut Attachment) -> c_int;

    pub fn perl_shim_examine(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        stash: *mut SV,
        elements: *mut Element,
        count: usize,
        intact: *mut u64,
    ) -> c_int;
    pub fn perl_shim_elements(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        places: *mut Place,
        count: usize,
    ) -> usize;
    pub fn perl_shim_is_unchanged(
        perl: *mut PerlInterpreter,
        hash: *mut SV,
        places: *const Place,
        count: usize,
    ) -> c_int;
    pub fn perl_shim_set_string(
        perl: *mut PerlInterpreter,
        sv: *mut SV,
        bytes: *const c_char,
        length: usize,
    ) -> c_int;
    pub fn perl_shim_set_undef(perl: *mut PerlInterpreter, sv: *mut SV) -> c_int;
    pub fn perl_shim_set_integer(perl: *mut PerlInterpreter, sv: *mut SV, value: i64) -> c_int;
    pub fn perl_shim_set_unsigned(perl: *mut PerlInterpreter, sv: *mut SV, value: u64) -> c_int;
    pub fn perl_shim_set_number(perl: *mut PerlInterpreter, sv: *mut SV, value: f64) -> c_int;

    pub fn perl_shim_output_field_separator(perl: *mut PerlInterpreter) -> *mut SV;
    pub fn perl_shim_output_record_separator(perl: *mut PerlInterpreter) -> *mut SV;

    pub fn perl_shim_is_destructing(perl: *mut PerlInterpreter) -> c_int;
    pub fn perl_shim_descriptor_is_open(descriptor: c_int) -> c_int;
}
