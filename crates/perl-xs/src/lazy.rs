//! Elements of hashes that are made when they are first asked for.

use std::any::Any;
use std::rc::Rc;

use perl_sys as sys;

use crate::border::{guard_entry, warn_of};
use crate::function::failure;
use crate::{Error, Perl, Result, Scalar};

/// What an element of a hash can be made of; see [`Hash::insert_lazy`](crate::Hash::insert_lazy).
pub trait Lazy: 'static {
    /// Makes the value. Perl code that runs in here finds the element undefined.
    ///
    /// # Errors
    ///
    /// An exception where the element is asked for; it stays undefined then.
    fn make(&self, perl: Perl) -> Result<Scalar>;
}

/// What stands behind an element that is not made yet.
#[repr(C)]
struct Unmade {
    header: sys::Lazy,
    /// Whose thread the data belongs to, see [`crate::attachment`].
    perl: Perl,
    data: Rc<dyn Any>,
    make: fn(&Rc<dyn Any>, Perl) -> Result<Scalar>,
}

/// A value to be stored in `hash`.
pub(crate) fn new<T: Lazy>(hash: &Scalar, data: Rc<T>) -> Result<Scalar> {
    let perl = hash.perl();
    let (interpreter, sv) = hash.live()?;
    let unmade = Box::new(Unmade {
        header: sys::Lazy {
            make: make_value,
            finish: drop_unmade,
        },
        perl,
        data,
        make: make_of::<T>,
    });
    // SAFETY: a live hash; an Unmade begins with the header, and the value, which is ours, owns the box from now on.
    Ok(unsafe {
        let value = sys::perl_shim_new_lazy(interpreter, sv, Box::into_raw(unmade).cast());
        Scalar::from_owned(perl, value)
    })
}

/// What `value` will be made of, if it is lazy, of that type, and is not made yet.
pub(crate) fn unmade<T: 'static>(value: &Scalar) -> Option<Rc<T>> {
    let (perl, sv) = value.live().ok()?;
    // SAFETY: the shim looks for magic with its own table, behind which there is always an Unmade (or null). It lives until
    // somebody asks for the value, and so during this function.
    let unmade = unsafe { sys::perl_shim_unmade(perl, sv).cast::<Unmade>().as_ref() }?;
    if unmade.perl != value.perl() {
        return None;
    }
    Rc::clone(&unmade.data).downcast::<T>().ok()
}

fn make_of<T: Lazy>(data: &Rc<dyn Any>, perl: Perl) -> Result<Scalar> {
    match data.downcast_ref::<T>() {
        Some(data) => data.make(perl),
        None => Err(Error::croak("A lazy value of another type")),
    }
}

unsafe extern "C" fn make_value(
    perl: *mut sys::PerlInterpreter,
    unmade: *mut sys::Lazy,
    outcome: *mut sys::Outcome,
) {
    let make = |perl: Perl| {
        // SAFETY: the shim hands the box over, once.
        let Some(unmade) = (unsafe { take(perl, unmade) }) else {
            return Ok(sys::Outcome::default());
        };
        let value = (unmade.make)(&unmade.data, perl)?;
        Ok(sys::Outcome {
            value: value.into_raw(perl)?,
            ..sys::Outcome::default()
        })
    };
    // SAFETY: perl called; a valid place for the outcome.
    unsafe { *outcome = guard_entry(perl, make, failure) }
}

unsafe extern "C" fn drop_unmade(perl: *mut sys::PerlInterpreter, unmade: *mut sys::Lazy) {
    let free = |perl| {
        // SAFETY: the shim hands the box over, once.
        drop(unsafe { take(perl, unmade) });
        Ok(())
    };
    // There is nobody to croak at: perl is freeing or replacing a value.
    let warn = |perl, error| warn_of(perl, &Error::croak(format!("\t(in cleanup) {error}")));
    // SAFETY: perl called.
    unsafe { guard_entry(perl, free, warn) };
}

/// Only its own thread looks at the data: another one leaks it.
///
/// # Safety
///
/// `unmade` is one of ours, handed over.
unsafe fn take(perl: Perl, unmade: *mut sys::Lazy) -> Option<Box<Unmade>> {
    let unmade = unmade.cast::<Unmade>();
    // SAFETY: as promised.
    unsafe { ((*unmade).perl == perl).then(|| Box::from_raw(unmade)) }
}
