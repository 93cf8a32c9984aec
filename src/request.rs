//! The request object: a plain hash, most of whose elements are made when they are
//! first asked for, and which serves another request where nobody kept it.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use engine::form::{cookies, urlencoded};
use engine::{Head, RequestId};
use perl_xs::{Array, Element, Hash, Intact, Result, Scalar, Shape, SharedKey};

use crate::buffer::UnmadeBuffer;
use crate::environment::Environment;
use crate::fields::{AllFields, AllParameters, Body, Cookies, Fields, Parameters};
use crate::names::{Keys, Names};
use crate::options::FormOptions;
use crate::server::{Listener, Server};
use crate::source::{Source, Terms};

/// Objects of one kind that wait for a request.
const MOST_SPARES: usize = 16;

/// A request object, and what has to be known to use it again.
#[derive(Clone)]
pub struct Object {
    pub hash: Hash,
    source: Rc<Source>,
    pool: Rc<Pool>,
}

/// Makes the object of a request, or takes a spare one. `body` is that of an
/// urlencoded request.
pub fn begin(
    server: &Server,
    listener: &Listener,
    id: RequestId,
    head: Rc<Head>,
    body: Option<Vec<u8>>,
) -> Result<Object> {
    let names = server.names();
    let terms = terms(names, &listener.forms)?;
    let kind = Kind::of(&head, body.is_some(), &terms);
    let pool = listener.pools.of(kind, names, &listener.hash);
    let spare = pool.spares.borrow_mut().pop();
    let spare = match spare {
        Some(spare) => spare,
        None => pool.make(names, &listener.hash, terms)?,
    };
    let (hash, source) = spare.begin(server, id, head, body, terms)?;
    Ok(Object { hash, source, pool })
}

/// Has the object serve another request, if nobody has anything of it, and its
/// reply end. `object` is the last reference to it but for the application's.
pub fn end(server: &Server, listener: &Listener, object: Object) -> Result<()> {
    let Object { hash, source, pool } = object;
    if let Some(spare) = pool.reclaim(server, &listener.hash, hash, source)? {
        pool.put_back(spare);
    }
    Ok(())
}

/// How the request is to be read.
fn terms(names: &Names, forms: &FormOptions) -> Result<Terms> {
    let variables = &names.variables;
    let max_fields = match forms.max_fields {
        Some(max_fields) => max_fields,
        None => u64::try_from(variables.max_urlencoded_fields.get().integer()?).unwrap_or(0),
    };
    Ok(Terms {
        options: urlencoded::Options {
            max_fields,
            plus_as_space: forms.plus_as_space,
        },
        max_cookies: forms.max_cookies,
        is_backend: variables.backend.get().is_true()?,
    })
}

/// Which of the elements that not every object has this one has.
#[derive(Clone, Copy)]
struct Kind {
    has_parameters: bool,
    has_cookies: bool,
    has_body: bool,
}

const KINDS: usize = 8;

impl Kind {
    fn of(head: &Head, has_body: bool, terms: &Terms) -> Kind {
        let query = head.request.query().unwrap_or_default();
        let line = head.request.header("Cookie").unwrap_or_default();
        Kind {
            has_parameters: urlencoded::has_fields(query, &terms.options),
            has_cookies: cookies::has_cookies(line, terms.max_cookies),
            has_body,
        }
    }

    fn index(self) -> usize {
        usize::from(self.has_parameters)
            | usize::from(self.has_cookies) << 1
            | usize::from(self.has_body) << 2
    }

    fn parts(self) -> impl Iterator<Item = Part> {
        PARTS.into_iter().filter(move |part| match part {
            Part::Parameters | Part::AllParameters => self.has_parameters,
            Part::Cookies => self.has_cookies,
            Part::Body => self.has_body,
            _ => true,
        })
    }
}

/// An element of the request object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    AllFields,
    AllFiles,
    AllParameters,
    Attached,
    Body,
    Buffer,
    Cookies,
    Descriptor,
    Fields,
    Files,
    Headers,
    Listener,
    Number,
    Parameters,
    Received,
    Timer,
}

const PARTS: [Part; 16] = [
    Part::AllFields,
    Part::AllFiles,
    Part::AllParameters,
    Part::Attached,
    Part::Body,
    Part::Buffer,
    Part::Cookies,
    Part::Descriptor,
    Part::Fields,
    Part::Files,
    Part::Headers,
    Part::Listener,
    Part::Number,
    Part::Parameters,
    Part::Received,
    Part::Timer,
];

/// Those that every request has a number for, in the order in which they are set.
const NUMBERS: [Part; 4] = [Part::Descriptor, Part::Number, Part::Received, Part::Timer];

impl Part {
    fn key(self, keys: &Keys) -> &SharedKey {
        match self {
            Part::AllFields => &keys.all_fields,
            Part::AllFiles => &keys.all_files,
            Part::AllParameters => &keys.all_parameters,
            Part::Attached => &keys.attached,
            Part::Body => &keys.body,
            Part::Buffer => &keys.buffer,
            Part::Cookies => &keys.cookies,
            Part::Descriptor => &keys.descriptor,
            Part::Fields => &keys.fields,
            Part::Files => &keys.files,
            Part::Headers => &keys.headers,
            Part::Listener => &keys.listener,
            Part::Number => &keys.number,
            Part::Parameters => &keys.parameters,
            Part::Received => &keys.received,
            Part::Timer => &keys.timer,
        }
    }

    /// What it is when the object is made. The fields of a multipart body are put
    /// into empty hashes, as they come.
    fn element(self, listener: &Hash, kind: Kind) -> Element {
        match self {
            Part::AllFields | Part::Fields if kind.has_body => Element::Lazy,
            Part::AllFields | Part::AllFiles | Part::Fields | Part::Files => Element::EmptyHash,
            Part::Attached => Element::EmptyArray,
            Part::Descriptor | Part::Number | Part::Received | Part::Timer => Element::Scalar,
            Part::Listener => Element::Weak(listener.as_scalar().clone()),
            _ => Element::Lazy,
        }
    }

    /// Whether it is made of the source when it is asked for.
    fn has_source(self, kind: Kind) -> bool {
        match self {
            Part::AllFields | Part::Fields => kind.has_body,
            Part::AllParameters | Part::Parameters => true,
            Part::Body | Part::Cookies | Part::Headers => true,
            _ => false,
        }
    }

    /// Puts it into the object as it is when that is made. The Buffer comes with the
    /// request.
    fn insert(
        self,
        names: &Names,
        listener: &Hash,
        object: &Hash,
        source: &Rc<Source>,
        kind: Kind,
    ) -> Result<()> {
        let (perl, key) = (object.perl(), self.key(&names.keys));
        let source = || source.clone();
        match self {
            Part::AllFields if kind.has_body => {
                object.insert_lazy(key, Rc::new(AllFields(source())))
            }
            Part::Fields if kind.has_body => object.insert_lazy(key, Rc::new(Fields(source()))),
            Part::AllFields | Part::AllFiles | Part::Fields | Part::Files => {
                object.insert(key, Hash::new(perl).reference())
            }
            Part::AllParameters => object.insert_lazy(key, Rc::new(AllParameters(source()))),
            Part::Attached => object.insert(key, Array::new(perl).reference()),
            Part::Body => object.insert_lazy(key, Rc::new(Body(source()))),
            Part::Buffer => Ok(()),
            Part::Cookies => object.insert_lazy(key, Rc::new(Cookies(source()))),
            Part::Descriptor | Part::Number | Part::Timer => {
                object.insert(key, Scalar::from_integer(perl, 0))
            }
            Part::Headers => object.insert_lazy(key, Rc::new(Environment(source()))),
            Part::Listener => object.insert(key, weak(listener)?),
            Part::Parameters => object.insert_lazy(key, Rc::new(Parameters(source()))),
            Part::Received => object.insert(key, Scalar::from_integer(perl, 1)),
        }
    }

    /// The application is through with this value of it.
    fn take_back(self, value: Option<Scalar>, source: &Source) {
        let plain = value.filter(|value| self == Part::Headers && !value.is_magical());
        let environment = plain.and_then(|value| value.as_hash());
        if let Some(environment) = environment {
            source.environments.reclaim(environment);
        }
    }
}

fn weak(listener: &Hash) -> Result<Scalar> {
    let parent = listener.reference();
    parent.weaken()?;
    Ok(parent)
}

/// The objects of a listener, by their kinds.
#[derive(Default)]
pub struct Pools([OnceCell<Rc<Pool>>; KINDS]);

impl Pools {
    fn of(&self, kind: Kind, names: &Names, listener: &Hash) -> Rc<Pool> {
        let pool = || Rc::new(Pool::new(kind, names, listener));
        match self.0.get(kind.index()) {
            Some(place) => place.get_or_init(pool).clone(),
            None => pool(),
        }
    }
}

/// Spare objects of one kind.
struct Pool {
    kind: Kind,
    parts: Vec<Part>,
    /// Which of the parts are those of `NUMBERS`.
    numbers: [usize; NUMBERS.len()],
    shape: Shape,
    spares: RefCell<Vec<Spare>>,
}

/// An object without a request, which nobody else has. Its elements are as they are
/// made, but for those that `begin` sees to.
struct Spare {
    hash: Hash,
    source: Rc<Source>,
    numbers: [Option<Scalar>; NUMBERS.len()],
    /// The element `buffer`, if it is there.
    buffer: Option<Rc<UnmadeBuffer>>,
}

impl Pool {
    fn new(kind: Kind, names: &Names, listener: &Hash) -> Pool {
        let parts: Vec<Part> = kind.parts().collect();
        let elements = parts
            .iter()
            .map(|part| (part.key(&names.keys), part.element(listener, kind)));
        Pool {
            kind,
            shape: Shape::new(&names.request_class, elements),
            numbers: NUMBERS.map(|number| {
                let found = parts.iter().position(|part| *part == number);
                found.unwrap_or(parts.len())
            }),
            parts,
            spares: RefCell::default(),
        }
    }

    fn make(&self, names: &Names, listener: &Hash, terms: Terms) -> Result<Spare> {
        let hash = Hash::new(listener.perl());
        hash.reserve(PARTS.len());
        let source = Source::new(terms);
        for part in &self.parts {
            part.insert(names, listener, &hash, &source, self.kind)?;
        }
        hash.bless_into(&names.request_class)?;
        Ok(Spare {
            numbers: self.numbers_of(names, &hash, NUMBERS.map(|_| None))?,
            hash,
            source,
            buffer: None,
        })
    }

    /// Makes a spare of the object, if nobody else has anything of it. What is not as
    /// it was made is replaced, and so ends as it would with the object.
    fn reclaim(
        &self,
        server: &Server,
        listener: &Hash,
        hash: Hash,
        source: Rc<Source>,
    ) -> Result<Option<Spare>> {
        let Some((intact, numbers)) = self.shape.examine_for(&hash, self.numbers) else {
            return Ok(None);
        };
        // Somebody else has an element that was not read, and knows this request still.
        if Rc::strong_count(&source) != 1 + self.unread(intact) {
            return Ok(None);
        }
        let names = server.names();
        for (index, part) in self.parts.iter().enumerate() {
            if !intact.contains(index) {
                let replaced = hash.get(part.key(&names.keys))?;
                part.insert(names, listener, &hash, &source, self.kind)?;
                part.take_back(replaced, &source);
            }
        }
        let key = &names.keys.buffer;
        let buffer = match self.is_intact(Part::Buffer, intact) {
            true => hash.unmade::<UnmadeBuffer>(key)?,
            false => None,
        };
        match &buffer {
            Some(buffer) if !UnmadeBuffer::end(buffer, server) => return Ok(None),
            Some(_) => {}
            None => drop(hash.remove(key)?),
        }
        source.clear();
        Ok(Some(Spare {
            numbers: self.numbers_of(names, &hash, numbers)?,
            hash,
            source,
            buffer,
        }))
    }

    /// The elements that are numbers, of which some are at hand.
    fn numbers_of(
        &self,
        names: &Names,
        hash: &Hash,
        mut numbers: [Option<Scalar>; NUMBERS.len()],
    ) -> Result<[Option<Scalar>; NUMBERS.len()]> {
        for (number, part) in numbers.iter_mut().zip(NUMBERS) {
            if number.is_none() {
                *number = hash.get(part.key(&names.keys))?;
            }
        }
        Ok(numbers)
    }

    fn is_intact(&self, part: Part, intact: Intact) -> bool {
        let index = self.parts.iter().position(|known| *known == part);
        index.is_some_and(|index| intact.contains(index))
    }

    /// How many of the elements are as they were made, and so hold the source.
    fn unread(&self, intact: Intact) -> usize {
        let parts = self.parts.iter().enumerate();
        parts
            .filter(|(index, part)| part.has_source(self.kind) && intact.contains(*index))
            .count()
    }

    fn put_back(&self, spare: Spare) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < MOST_SPARES {
            return spares.push(spare);
        }
        drop(spares);
        drop(spare);
    }
}

impl Spare {
    /// Fills it for a request.
    fn begin(
        self,
        server: &Server,
        id: RequestId,
        head: Rc<Head>,
        body: Option<Vec<u8>>,
        terms: Terms,
    ) -> Result<(Hash, Rc<Source>)> {
        let descriptor = head.descriptor;
        self.source.fill(head, body, terms);
        if let [Some(fd), Some(number), Some(received), Some(timer)] = &self.numbers {
            fd.set_integer(descriptor.into())?;
            number.set_unsigned(id.number())?;
            received.set_integer(1)?;
            timer.set_number(perl_ev::now())?;
        }
        match self.buffer {
            Some(buffer) => buffer.begin(server, id, descriptor)?,
            None => {
                let buffer = UnmadeBuffer::new(server, id, descriptor)?;
                let key = &server.names().keys.buffer;
                self.hash.insert_lazy(key, Rc::new(buffer))?;
            }
        }
        Ok((self.hash, self.source))
    }
}
