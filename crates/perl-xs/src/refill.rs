//! Hashes whose values are filled again.

use std::ptr::null_mut;

use perl_sys as sys;

use crate::{Hash, Perl, Result, Scalar};

/// Which elements a plain hash had when it was filled, to fill it again where nobody kept anything of it: with many keys that
/// costs a fraction of making another one.
///
/// It holds the keys alone: what becomes of the hash and of its values meanwhile, and when they go, does not depend on it.
///
/// ```no_run
/// # use perl_xs::{Hash, Refill, Result, Scalar, Value};
/// # fn example(perl: perl_xs::Perl, show: fn(&Hash)) -> Result<()> {
/// let hash = Hash::new(perl);
/// let value = Scalar::from_bytes(perl, b"one");
/// hash.insert("key", value.clone())?;
/// let refill = Refill::of(&hash)?;
/// let place = refill.place(&value);
/// drop(value);
/// show(&hash);
/// if let Some(mut refillable) = refill.reclaim(hash) {
///     if place.is_some_and(|place| refillable.set(place, Value::Bytes(b"two"))) {
///         let (hash, _refill) = refillable.release();
///         show(&hash);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Refill {
    places: Vec<sys::Place>,
    /// The values and the indices of their places, in the order of the values' addresses.
    by_value: Vec<(*mut sys::SV, usize)>,
    /// The keepers of the places' keys, which are known by where they are.
    _keys: Vec<Scalar>,
}

/// Which value of a [`Refill`]'s hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// What a value is replaced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `undef`.
    Undef,
    /// A byte string.
    Bytes(&'a [u8]),
    /// An integer.
    Integer(i64),
}

impl Value<'_> {
    /// The same as a value of its own.
    pub fn to_scalar(self, perl: Perl) -> Scalar {
        match self {
            Self::Undef => Scalar::undef(perl),
            Self::Bytes(bytes) => Scalar::from_bytes(perl, bytes),
            Self::Integer(value) => Scalar::from_integer(perl, value),
        }
    }
}

impl Refill {
    /// Notes the elements of a hash that is neither tied nor magical.
    pub fn of(hash: &Hash) -> Result<Self> {
        let (perl, raw_hash) = hash.as_scalar().live()?;
        let nothing = sys::Place {
            key: std::ptr::null(),
            keeper: null_mut(),
            value: null_mut(),
            keys: 0,
        };
        let mut places = vec![nothing; hash.len()?];
        // SAFETY: a hash, and a slice's pointer and length.
        let count =
            unsafe { sys::perl_shim_elements(perl, raw_hash, places.as_mut_ptr(), places.len()) };
        places.truncate(count);
        let keep = |place: &sys::Place| {
            // SAFETY: owned, or null.
            unsafe { Scalar::from_owned_or_null(hash.perl(), place.keeper) }
        };
        let keys = places.iter().filter_map(keep).collect();
        let values = places.iter().map(|place| place.value);
        let mut by_value: Vec<_> = values.zip(0..).collect();
        by_value.sort_unstable();
        for same in by_value.chunk_by(|one, other| one.0 == other.0) {
            for (_, index) in same {
                places[*index].keys = u32::try_from(same.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(Self {
            places,
            by_value,
            _keys: keys,
        })
    }

    /// The place of a value, if the hash has it.
    pub fn place(&self, value: &Scalar) -> Option<Place> {
        let raw = value.raw();
        let found = self
            .by_value
            .binary_search_by_key(&raw, |(value, _)| *value);
        found.ok().map(|found| Place(self.by_value[found].1))
    }

    /// Takes the hash, of which this is the last reference, if it has the elements still that it had, and no others, and
    /// nobody else has one of its values.
    pub fn reclaim(self, hash: Hash) -> Option<Refillable> {
        let (perl, raw_hash) = hash.as_scalar().live().ok()?;
        let (places, count) = (self.places.as_ptr(), self.places.len());
        // SAFETY: a hash, and a slice's pointer and length.
        let is_unchanged =
            unsafe { sys::perl_shim_is_unchanged(perl, raw_hash, places, count) != 0 };
        is_unchanged.then_some(Refillable { hash, refill: self })
    }
}

/// A hash that nobody else has, with what it had when it was filled.
#[derive(Debug)]
pub struct Refillable {
    hash: Hash,
    /// INVARIANT: its values are those of the hash, if the interpreter is live, and plain.
    refill: Refill,
}

impl Refillable {
    /// Replaces the value; says no, and leaves it, where that is not possible.
    #[must_use]
    pub fn set(&mut self, place: Place, value: Value<'_>) -> bool {
        let (Some(place), Ok((perl, _))) = (
            self.refill.places.get(place.0),
            self.hash.as_scalar().live(),
        ) else {
            return false;
        };
        // SAFETY: a value that the hash has; the pointer and the length are those of a slice.
        let is_set = unsafe {
            match value {
                Value::Undef => sys::perl_shim_set_undef(perl, place.value),
                Value::Bytes(bytes) => {
                    sys::perl_shim_set_string(perl, place.value, bytes.as_ptr().cast(), bytes.len())
                }
                Value::Integer(value) => sys::perl_shim_set_integer(perl, place.value, value),
            }
        };
        is_set != 0
    }

    /// The hash, for others to have, and its elements, to reclaim it once more.
    pub fn release(self) -> (Hash, Refill) {
        (self.hash, self.refill)
    }
}
