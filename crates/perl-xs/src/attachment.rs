//! Rust data on Perl values, by extension magic.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use perl_sys as sys;

use crate::border::{guard_entry, warn_of};
use crate::{Error, Perl, Result, Scalar};

/// What hangs on one value; at most one of each type.
#[repr(C)]
struct Attachment {
    header: sys::Attachment,
    /// Whose thread the data belongs to. A Perl thread's last values are freed by the thread that joins it, which is another
    /// `Perl` to us and gets nothing of this.
    perl: Perl,
    data: RefCell<Vec<Rc<dyn Any>>>,
}

pub(crate) fn attach<T: 'static>(value: &Scalar, data: Rc<T>) -> Result<()> {
    if find(value).is_none() {
        hang_empty(value)?;
    }
    let attachment = find(value).ok_or_else(|| Error::croak("Cannot attach data to this value"))?;
    let mut all = attachment.data.borrow_mut();
    let replaced = all
        .iter()
        .position(|data| data.is::<T>())
        .map(|index| all.swap_remove(index));
    all.push(data);
    // What it does when dropped may come back here.
    drop(all);
    drop(replaced);
    Ok(())
}

pub(crate) fn attached<T: 'static>(value: &Scalar) -> Option<Rc<T>> {
    let all = find(value)?.data.borrow();
    all.iter()
        .find_map(|data| Rc::clone(data).downcast::<T>().ok())
}

/// The reference must not be used after `value` may have been freed.
fn find(value: &Scalar) -> Option<&Attachment> {
    let (perl, sv) = value.live().ok()?;
    // SAFETY: the shim looks for magic with its own table, behind which there is always an Attachment (or null). It lives
    // as long as the value, of which `value` holds a reference.
    let attachment = unsafe {
        sys::perl_shim_attachment(perl, sv)
            .cast::<Attachment>()
            .as_ref()
    };
    attachment.filter(|attachment| attachment.perl == value.perl())
}

fn hang_empty(value: &Scalar) -> Result<()> {
    let (perl, sv) = value.live()?;
    let attachment = Box::new(Attachment {
        header: sys::Attachment { finish: free },
        perl: value.perl(),
        data: RefCell::default(),
    });
    let attachment = Box::into_raw(attachment);
    // SAFETY: an Attachment begins with the header; the shim owns it now, unless it says that it does not.
    let hangs = unsafe { sys::perl_shim_attach(perl, sv, attachment.cast()) };
    if hangs == 0 {
        // SAFETY: still ours.
        drop(unsafe { Box::from_raw(attachment) });
        return Err(Error::croak("Cannot attach data to a constant"));
    }
    Ok(())
}

unsafe extern "C" fn free(perl: *mut sys::PerlInterpreter, attachment: *mut sys::Attachment) {
    let attachment = attachment.cast::<Attachment>();
    let free = |perl| {
        // SAFETY: the shim hands the box over, once. Only its own thread looks at the data: another one leaks it.
        unsafe {
            if (*attachment).perl == perl {
                drop(Box::from_raw(attachment));
            }
        }
        Ok(())
    };
    // There is nobody to croak at: perl is freeing a value.
    let warn = |perl, error| warn_of(perl, &Error::croak(format!("\t(in cleanup) {error}")));
    // SAFETY: perl called.
    unsafe { guard_entry(perl, free, warn) };
}
