//! Arrays.

use std::ptr::null_mut;
use std::rc::Rc;

use perl_sys::{self as sys, Operation, Work};

use crate::{Error, Perl, Result, Scalar};

/// A Perl array. Values are stored as they are, not copied.
#[derive(Clone, Debug)]
pub struct Array {
    /// INVARIANT: an array.
    value: Scalar,
}

impl Array {
    /// A new empty array.
    pub fn new(perl: Perl) -> Self {
        // SAFETY: the function makes an array.
        Self::from_scalar(unsafe {
            Scalar::made(perl, |interpreter| sys::perl_shim_new_array(interpreter))
        })
    }

    /// Adds a value at the end.
    pub fn push(&self, value: Scalar) -> Result<()> {
        let (perl, array) = self.value.live()?;
        let pushed = value.raw_for(self.perl())?;
        // SAFETY: an array, and a value that lives on.
        if unsafe { sys::perl_shim_array_push(perl, array, pushed) } != 0 {
            // Our reference is the array's now.
            std::mem::forget(value);
            return Ok(());
        }
        self.value
            .operate(
                Operation::ArrayPush,
                Work {
                    other: pushed,
                    ..Work::default()
                },
            )
            .map(drop)
    }

    /// The value at an index from 0, if there is one. It is the variable in the array; of a tied one, a copy.
    pub fn get(&self, index: usize) -> Result<Option<Scalar>> {
        let (perl, array) = self.value.live()?;
        let signed_index = signed(index)?;
        let mut value = null_mut();
        // SAFETY: an array.
        if unsafe { sys::perl_shim_array_fetch(perl, array, index, &mut value) } != 0 {
            // SAFETY: a value that the array holds, or null.
            return Ok(unsafe { Scalar::from_borrowed(self.perl(), value) });
        }
        let work = self.value.operate(
            Operation::ArrayFetch,
            Work {
                integer: signed_index,
                ..Work::default()
            },
        )?;
        // SAFETY: owned, or null.
        Ok(unsafe { Scalar::from_owned_or_null(self.perl(), work.result) })
    }

    /// Stores a value at an index from 0.
    pub fn set(&self, index: usize, value: Scalar) -> Result<()> {
        let work = Work {
            integer: signed(index)?,
            other: value.raw_for(self.perl())?,
            ..Work::default()
        };
        self.value.operate(Operation::ArrayStore, work).map(drop)
    }

    /// How many values there are.
    pub fn len(&self) -> Result<usize> {
        if let Some(count) = self.plain_len() {
            return Ok(count);
        }
        let count = self
            .value
            .operate(Operation::ArrayCount, Work::default())?
            .integer;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Removes all values.
    pub fn clear(&self) -> Result<()> {
        self.value
            .operate(Operation::ArrayClear, Work::default())
            .map(drop)
    }

    /// All values; what was never stored is `undef`.
    pub fn values(&self) -> Result<Vec<Scalar>> {
        let perl = self.perl();
        if let Some(count) = self.plain_len() {
            return (0..count)
                .map(|index| Ok(self.get(index)?.unwrap_or_else(|| Scalar::undef(perl))))
                .collect();
        }
        let work = self
            .value
            .operate(Operation::ArrayValues, Work::default())?;
        // SAFETY: an owned plain array.
        Self::from_scalar(unsafe { Scalar::from_owned(perl, work.result) }).values()
    }

    /// A new reference to it.
    pub fn reference(&self) -> Scalar {
        self.value.reference()
    }

    /// The array as a value of any kind.
    pub fn as_scalar(&self) -> &Scalar {
        &self.value
    }

    /// See [`Scalar::attach`].
    pub fn attach<T: 'static>(&self, data: Rc<T>) {
        // Only constants refuse, and there are no constant arrays.
        let _ = self.value.attach(data);
    }

    /// See [`Scalar::attached`].
    pub fn attached<T: 'static>(&self) -> Option<Rc<T>> {
        self.value.attached()
    }

    /// The interpreter that it belongs to.
    pub fn perl(&self) -> Perl {
        self.value.perl()
    }

    /// `value` is an array.
    pub(crate) fn from_scalar(value: Scalar) -> Self {
        Self { value }
    }

    /// Gives the array to `perl`.
    pub(crate) fn into_raw(self, perl: Perl) -> Result<*mut sys::SV> {
        self.value.into_raw(perl)
    }

    /// How many values there are, if the array is neither tied nor constant.
    fn plain_len(&self) -> Option<usize> {
        let (perl, array) = self.value.live().ok()?;
        let mut count = 0;
        // SAFETY: an array.
        let is_done = unsafe { sys::perl_shim_array_count(perl, array, &mut count) };
        (is_done != 0).then_some(count)
    }
}

fn signed(index: usize) -> Result<i64> {
    i32::try_from(index)
        .map(i64::from)
        .map_err(|_| Error::croak("An array index of more than 31 bits"))
}
