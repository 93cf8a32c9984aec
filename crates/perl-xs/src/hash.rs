//! Hashes.

use std::ptr::null_mut;
use std::rc::Rc;

use perl_sys::{self as sys, Operation, Work};

use crate::key::{AsKey, Key, KeyBytes};
use crate::{Array, Class, Lazy, Perl, Result, Scalar, lazy};

/// A Perl hash.
///
/// Values are stored as they are, not copied: the hash then shares the variable with whoever else holds it. Keys are bytes,
/// in which characters above 127 mean Latin-1, as in Perl, or a [`SharedKey`](crate::SharedKey), which is faster; the
/// functions named `…_text` take Unicode keys.
#[derive(Clone, Debug)]
pub struct Hash {
    /// INVARIANT: a hash.
    value: Scalar,
}

impl Hash {
    /// A new empty hash.
    ///
    /// ```no_run
    /// # use perl_xs::{Hash, Scalar};
    /// # fn example(perl: perl_xs::Perl) -> perl_xs::Result<()> {
    /// let hash = Hash::new(perl);
    /// hash.insert("size", Scalar::from_unsigned(perl, 1024))?;
    /// assert!(hash.contains_key("size")?);
    /// # Ok(()) }
    /// ```
    pub fn new(perl: Perl) -> Self {
        // SAFETY: the function makes a hash.
        Self::from_scalar(unsafe {
            Scalar::made(perl, |interpreter| sys::perl_shim_new_hash(interpreter))
        })
    }

    /// The value of a key. It is the variable in the hash; of a tied hash, a copy of what it gave.
    pub fn get(&self, key: impl AsKey) -> Result<Option<Scalar>> {
        self.fetch(key.as_key())
    }

    /// The value of a Unicode key.
    pub fn get_text(&self, key: &str) -> Result<Option<Scalar>> {
        self.fetch(KeyBytes::text(key))
    }

    /// Stores a value, sharing it.
    pub fn insert(&self, key: impl AsKey, value: Scalar) -> Result<()> {
        self.store(key.as_key(), value)
    }

    /// Stores an element that is made of `data` when it is first asked for: for what costs more than it is often asked for.
    /// To Perl code, and to C code that it is handed to, it is like any other element, before and after.
    ///
    /// Replacing or removing the element drops `data` unused. One weakened unread (Scalar::Util: `weaken`) is undefined, as one
    /// whose only reference it was. A new thread finds it undefined. The hash must not be tied.
    ///
    /// ```no_run
    /// # use std::rc::Rc;
    /// # use perl_xs::{Hash, Lazy, Perl, Result, Scalar};
    /// struct Environment;
    ///
    /// impl Lazy for Environment {
    ///     fn make(&self, perl: Perl) -> Result<Scalar> {
    ///         let all = Hash::new(perl);
    ///         for (name, value) in std::env::vars() {
    ///             all.insert_text_key(&name, Scalar::from_text(perl, &value))?;
    ///         }
    ///         Ok(all.reference())
    ///     }
    /// }
    ///
    /// # fn example(object: Hash) -> Result<()> {
    /// object.insert_lazy("environment", Rc::new(Environment))
    /// # }
    /// ```
    pub fn insert_lazy<T: Lazy>(&self, key: impl AsKey, data: Rc<T>) -> Result<()> {
        self.store(key.as_key(), lazy::new(&self.value, data)?)
    }

    /// What the element will be made of, if it is lazy and of that type, and nobody has asked for it yet. To get it is not to
    /// ask for it, reading what [`get`](Self::get) gives is.
    pub fn unmade<T: Lazy>(&self, key: impl AsKey) -> Result<Option<Rc<T>>> {
        Ok(self.get(key)?.and_then(|value| lazy::unmade(&value)))
    }

    /// Stores a value under a Unicode key.
    pub fn insert_text_key(&self, key: &str, value: Scalar) -> Result<()> {
        self.store(KeyBytes::text(key), value)
    }

    /// The value of a key that is bytes, or text in Perl's UTF-8.
    pub fn get_key(&self, key: &Key) -> Result<Option<Scalar>> {
        self.fetch(KeyBytes::of(key, self.perl()))
    }

    /// Stores a value under a key that is bytes, or text in Perl's UTF-8, as [`pairs`](Self::pairs) gives it.
    pub fn insert_key(&self, key: &Key, value: Scalar) -> Result<()> {
        self.store(KeyBytes::of(key, self.perl()), value)
    }

    /// Removes a key, and gives the value that it had.
    pub fn remove(&self, key: impl AsKey) -> Result<Option<Scalar>> {
        let key = key.as_key();
        let (perl, hash) = self.value.live()?;
        let plain_key = key.raw(self.perl())?;
        let mut value = null_mut();
        // SAFETY: a hash and a key that are live.
        let is_done = unsafe { sys::perl_shim_hash_delete(perl, hash, &plain_key, &mut value) };
        if is_done == 0 {
            value = self
                .value
                .operate(Operation::HashDelete, key_work(key))?
                .result;
        }
        // SAFETY: owned, or null, either way.
        Ok(unsafe { Scalar::from_owned_or_null(self.perl(), value) })
    }

    /// Whether the key exists.
    pub fn contains_key(&self, key: impl AsKey) -> Result<bool> {
        let key = key.as_key();
        let (perl, hash) = self.value.live()?;
        let plain_key = key.raw(self.perl())?;
        let mut exists = 0;
        // SAFETY: a hash and a key that are live.
        let is_done = unsafe { sys::perl_shim_hash_exists(perl, hash, &plain_key, &mut exists) };
        if is_done == 0 {
            exists = self
                .value
                .operate(Operation::HashExists, key_work(key))?
                .flag;
        }
        Ok(exists != 0)
    }

    /// How many keys there are. A tied hash is counted key by key.
    pub fn len(&self) -> Result<usize> {
        let (perl, hash) = self.value.live()?;
        let mut count = 0;
        // SAFETY: a hash.
        if unsafe { sys::perl_shim_hash_count(perl, hash, &mut count) } != 0 {
            return Ok(count);
        }
        let count = self
            .value
            .operate(Operation::HashCount, Work::default())?
            .integer;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Removes all keys.
    pub fn clear(&self) -> Result<()> {
        self.value
            .operate(Operation::HashClear, Work::default())
            .map(drop)
    }

    /// All keys and values, in Perl's order; `each` of Perl code starts anew.
    pub fn pairs(&self) -> Result<Vec<(Key, Scalar)>> {
        let work = self.value.operate(Operation::HashPairs, Work::default())?;
        // SAFETY: an owned array of keys and values in turn.
        let flat =
            Array::from_scalar(unsafe { Scalar::from_owned(self.perl(), work.result) }).values()?;
        let mut flat = flat.into_iter();
        let mut pairs = Vec::with_capacity(flat.len() / 2);
        while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
            pairs.push((
                Key {
                    bytes: key.bytes()?,
                    is_utf8: key.is_utf8(),
                },
                value,
            ));
        }
        Ok(pairs)
    }

    /// Makes room for that many keys: worth it before storing more than eight (perlapi: `hv_ksplit`).
    pub fn reserve(&self, keys: usize) {
        let Ok((perl, hash)) = self.value.live() else {
            return;
        };
        // SAFETY: a hash.
        unsafe { sys::perl_shim_hash_reserve(perl, hash, keys) }
    }

    /// Makes it an object of that class, given by its name.
    pub fn bless(&self, package: &str) -> Result<()> {
        let package = Scalar::from_text(self.perl(), package);
        self.value
            .operate(
                Operation::Bless,
                Work {
                    other: package.raw(),
                    ..Work::default()
                },
            )
            .map(drop)
    }

    /// Makes it an object of a class that was looked up before.
    pub fn bless_into(&self, class: &Class) -> Result<()> {
        let (perl, hash) = self.value.live()?;
        let is_blessed = class.stash().is_some_and(|stash| {
            stash.raw_for(self.perl()).is_ok_and(|stash| {
                // SAFETY: a hash and a package's hash that are live.
                unsafe { sys::perl_shim_bless_plain(perl, hash, stash) != 0 }
            })
        });
        match is_blessed {
            true => Ok(()),
            false => self.bless(class.name()),
        }
    }

    /// A new reference to it.
    pub fn reference(&self) -> Scalar {
        self.value.reference()
    }

    /// The hash as a value of any kind.
    pub fn as_scalar(&self) -> &Scalar {
        &self.value
    }

    /// See [`Scalar::attach`].
    pub fn attach<T: 'static>(&self, data: Rc<T>) {
        // Only constants refuse, and there are no constant hashes.
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

    /// `value` is a hash.
    pub(crate) fn from_scalar(value: Scalar) -> Self {
        Self { value }
    }

    fn fetch(&self, key: KeyBytes<'_>) -> Result<Option<Scalar>> {
        let (perl, hash) = self.value.live()?;
        let plain_key = key.raw(self.perl())?;
        let mut value = null_mut();
        // SAFETY: a hash and a key that are live.
        let is_done = unsafe { sys::perl_shim_hash_fetch(perl, hash, &plain_key, &mut value) };
        if is_done != 0 {
            // SAFETY: a value that the hash holds, or null.
            return Ok(unsafe { Scalar::from_borrowed(self.perl(), value) });
        }
        let work = self.value.operate(Operation::HashFetch, key_work(key))?;
        // SAFETY: owned, or null.
        Ok(unsafe { Scalar::from_owned_or_null(self.perl(), work.result) })
    }

    fn store(&self, key: KeyBytes<'_>, value: Scalar) -> Result<()> {
        let (perl, hash) = self.value.live()?;
        let plain_key = key.raw(self.perl())?;
        let stored = value.raw_for(self.perl())?;
        let mut replaced = null_mut();
        // SAFETY: a hash, a key and a value that are live.
        let is_done =
            unsafe { sys::perl_shim_hash_store(perl, hash, &plain_key, stored, &mut replaced) };
        if is_done == 0 {
            let work = Work {
                other: stored,
                ..key_work(key)
            };
            return self.value.operate(Operation::HashStore, work).map(drop);
        }
        // Our reference is the hash's now.
        std::mem::forget(value);
        // SAFETY: owned, or null; the hash has given it up.
        drop(unsafe { Scalar::from_owned_or_null(self.perl(), replaced) });
        Ok(())
    }
}

/// A key for the guarded operations.
fn key_work(key: KeyBytes<'_>) -> Work {
    Work {
        bytes: key.bytes.as_ptr().cast(),
        length: key.bytes.len(),
        flag: i32::from(key.is_utf8),
        ..Work::default()
    }
}
