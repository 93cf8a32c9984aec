//! Objects that are used again.

use std::cell::RefCell;

use perl_sys as sys;

use crate::{Class, Hash, Scalar, SharedKey};

/// What the objects of a class look like when they are made, to use one for another where nobody kept anything of it.
///
/// Making an object with many keys costs more than looking whether an old one can take its place: that is so if nobody has a
/// reference to it, strong or weak, it is of the class still, has no other keys, was not walked, and no `DESTROY` wants to
/// be told of its end. Of such an object [`examine`](Self::examine) says which elements are as they were made, and so need
/// not be made anew; the others are to be replaced, which gives up their values as the end of the object would.
///
/// ```no_run
/// # use perl_xs::{Class, Element, Hash, Result, Scalar, Shape, SharedKey};
/// # fn example(class: &Class, name: &SharedKey, object: Hash, spares: &mut Vec<Hash>) -> Result<()> {
/// let shape = Shape::new(class, [(name, Element::Scalar)]);
/// // The last reference but for the application's.
/// if let Some(intact) = shape.examine(&object) {
///     if !intact.contains(0) {
///         object.insert(name, Scalar::undef(object.perl()))?;
///     }
///     spares.push(object);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Shape {
    class: Class,
    /// In the order in which objects were seen to have them.
    elements: RefCell<Vec<sys::Element>>,
    /// What the elements name.
    _kept: Vec<Scalar>,
    /// All of that is of the interpreter of the class.
    is_sound: bool,
}

/// What an element is as it was made.
#[derive(Clone, Debug)]
pub enum Element {
    /// Any value that is no reference.
    Scalar,
    /// A reference to an empty hash.
    EmptyHash,
    /// A reference to an empty array.
    EmptyArray,
    /// A weak reference to this value.
    Weak(Scalar),
    /// A lazy element, which nobody has asked for.
    Lazy,
}

/// Which elements of an object are as they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intact(u64);

/// Elements that a shape can have.
const MOST_ELEMENTS: u8 = 64;

impl Shape {
    /// The shape of a class's objects with these elements. Objects have at least one that is lazy, and there are 64 at most.
    pub fn new<'a>(
        class: &Class,
        elements: impl IntoIterator<Item = (&'a SharedKey, Element)>,
    ) -> Self {
        let mut shape = Self {
            class: class.clone(),
            elements: RefCell::default(),
            _kept: Vec::new(),
            is_sound: true,
        };
        for (bit, (key, element)) in (0..MOST_ELEMENTS).zip(elements) {
            shape.add(bit, key.shared(), element);
        }
        shape
    }

    /// Which elements of `object` are as they were made, in the order of [`new`](Self::new), if it can be used again and
    /// `object` is the only reference to it.
    pub fn examine(&self, object: &Hash) -> Option<Intact> {
        self.examine_for(object, []).map(|(intact, [])| intact)
    }

    /// The same, with the elements at these indices, as far as they are as they were made.
    pub fn examine_for<const N: usize>(
        &self,
        object: &Hash,
        indices: [usize; N],
    ) -> Option<(Intact, [Option<Scalar>; N])> {
        if !self.is_sound {
            return None;
        }
        let (perl, hash) = object.as_scalar().live().ok()?;
        let stash = self.class.stash()?.raw_for(object.perl()).ok()?;
        let mut elements = self.elements.borrow_mut();
        let mut intact = 0;
        // SAFETY: a hash, a package's hash, and a slice's pointer and length; keys and referents are kept, and of the
        // interpreter of the class, which is the object's.
        let can_be_used = unsafe {
            sys::perl_shim_examine(
                perl,
                hash,
                stash,
                elements.as_mut_ptr(),
                elements.len(),
                &mut intact,
            )
        };
        let intact = (can_be_used != 0).then_some(Intact(intact))?;
        let values = indices.map(|index| {
            let is_it = |element: &&sys::Element| usize::try_from(element.bit) == Ok(index);
            let element = elements.iter().find(is_it)?;
            // SAFETY: it is there, as it is intact, and nothing has changed the hash since it was found.
            let value = || unsafe { Scalar::from_borrowed(object.perl(), element.value) };
            intact.contains(index).then(value).flatten()
        });
        Some((intact, values))
    }

    fn add(&mut self, bit: u8, key: &Scalar, element: Element) {
        let perl = self.class.stash().map(Scalar::perl);
        let mut referent = std::ptr::null_mut();
        self.is_sound &= perl.is_some_and(|perl| key.raw_for(perl).is_ok());
        let kind = match element {
            Element::Scalar => sys::ELEMENT_SCALAR,
            Element::EmptyHash => sys::ELEMENT_EMPTY_HASH,
            Element::EmptyArray => sys::ELEMENT_EMPTY_ARRAY,
            Element::Weak(value) => {
                referent = value.raw();
                self._kept.push(value);
                sys::ELEMENT_WEAK
            }
            Element::Lazy => sys::ELEMENT_LAZY,
        };
        self.elements.get_mut().push(sys::Element {
            key: key.raw(),
            referent,
            kind,
            bit: bit.into(),
            value: std::ptr::null_mut(),
        });
        self._kept.push(key.clone());
    }
}

impl Intact {
    /// Whether the element at this index is.
    pub fn contains(self, index: usize) -> bool {
        index < usize::from(MOST_ELEMENTS) && self.0 & (1 << index) != 0
    }
}
