//! Keys of hashes.

use std::ptr::null_mut;

use perl_sys as sys;

use crate::scalar::is_perl_utf8;
use crate::{Error, Perl, Result, Scalar};

/// A key as Perl has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The internal bytes.
    pub bytes: Vec<u8>,
    /// Whether they are UTF-8.
    pub is_utf8: bool,
}

/// A key that Perl has hashed and shares among its hashes (perlapi: `newSVpvn_share`): for keys that are asked for again
/// and again.
///
/// ```no_run
/// # use perl_xs::{Hash, SharedKey};
/// # fn example(perl: perl_xs::Perl, objects: &[Hash]) -> perl_xs::Result<()> {
/// let name = SharedKey::new(perl, "name");
/// for object in objects {
///     println!("{:?}", object.get(&name)?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SharedKey {
    bytes: Box<[u8]>,
    /// INVARIANT: the same key, made by `perl_shim_new_shared_key`. Nobody else has it.
    shared: Scalar,
}

impl SharedKey {
    /// The key of these bytes.
    pub fn new(perl: Perl, key: impl AsRef<[u8]>) -> Self {
        let bytes = key.as_ref();
        // SAFETY: the function makes a value; the pointer and the length are those of a slice.
        let shared = unsafe {
            Scalar::made(perl, |interpreter| {
                sys::perl_shim_new_shared_key(interpreter, bytes.as_ptr().cast(), bytes.len())
            })
        };
        Self {
            bytes: bytes.into(),
            shared,
        }
    }

    pub(crate) fn shared(&self) -> &Scalar {
        &self.shared
    }
}

/// What a hash can be asked for: bytes, or a [`SharedKey`].
pub trait AsKey {
    /// The key as a hash wants it.
    #[doc(hidden)]
    fn as_key(&self) -> KeyBytes<'_>;
}

impl<T: AsRef<[u8]> + ?Sized> AsKey for T {
    fn as_key(&self) -> KeyBytes<'_> {
        KeyBytes {
            bytes: self.as_ref(),
            is_utf8: false,
            shared: None,
        }
    }
}

impl AsKey for &SharedKey {
    fn as_key(&self) -> KeyBytes<'_> {
        KeyBytes {
            bytes: &self.bytes,
            is_utf8: false,
            shared: Some(&self.shared),
        }
    }
}

/// A key for the duration of one question.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct KeyBytes<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) is_utf8: bool,
    /// The same key, as a [`SharedKey`] has it.
    shared: Option<&'a Scalar>,
}

impl<'a> KeyBytes<'a> {
    pub(crate) fn text(key: &'a str) -> Self {
        Self {
            bytes: key.as_bytes(),
            is_utf8: true,
            shared: None,
        }
    }

    /// One that claims to be UTF-8 and is not, even by Perl's measure, is taken for bytes.
    pub(crate) fn of(key: &'a Key, perl: Perl) -> Self {
        Self {
            bytes: &key.bytes,
            is_utf8: key.is_utf8 && is_perl_utf8(perl, &key.bytes),
            shared: None,
        }
    }

    /// As the plain functions want it. It lives as long as `self`.
    pub(crate) fn raw(&self, perl: Perl) -> Result<sys::Key> {
        let length = i32::try_from(self.bytes.len())
            .map_err(|_| Error::croak("A hash key of more than 2 GiB"))?;
        // What another interpreter shares means nothing to this one.
        let shared = self.shared.and_then(|shared| shared.raw_for(perl).ok());
        // Perl takes the length of an empty UTF-8 key for unknown, and would look for its end.
        let is_empty = self.bytes.is_empty();
        Ok(sys::Key {
            bytes: match is_empty {
                true => c"".as_ptr(),
                false => self.bytes.as_ptr().cast(),
            },
            length,
            utf8: i32::from(self.is_utf8 && !is_empty),
            shared: shared.unwrap_or(null_mut()),
        })
    }
}
