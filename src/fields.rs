//! What forms bring: the hashes `get` and `get_a`, `post` and `post_a`, and
//! `cookies`. Those of urlencoded forms are made when they are first asked for.

use std::cell::RefCell;
use std::rc::Rc;

use engine::form::charset::Text;
use engine::form::cookies;
use engine::form::urlencoded::{self, Field};
use perl_xs::{Array, Hash, Key, Lazy, Perl, Result, Scalar};

use crate::names::Keys;
use crate::source::Source;
use crate::text;

/// Bytes of a form in which a name is searched for, and not all of them read.
const MOST_SEARCHED: usize = 1024;

/// The element `get`: the last value of each name in the query.
pub struct Parameters(pub Rc<Source>);

/// The element `get_a`: all values of each name in the query.
pub struct AllParameters(pub Rc<Source>);

/// The element `post` of an urlencoded request.
pub struct Fields(pub Rc<Source>);

/// The element `post_a` of an urlencoded request.
pub struct AllFields(pub Rc<Source>);

/// The element `REQUEST_BODY`: the body of an urlencoded request as it came.
pub struct Body(pub Rc<Source>);

/// The element `cookies`.
pub struct Cookies(pub Rc<Source>);

impl Lazy for Parameters {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        with_query(&self.0, |query| {
            let options = &self.0.terms().options;
            self.0.parameters.last(perl, query, options)
        })
    }
}

impl Lazy for AllParameters {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        with_query(&self.0, |query| {
            let options = &self.0.terms().options;
            self.0.parameters.all(perl, query, options)
        })
    }
}

impl Lazy for Fields {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let options = &self.0.terms().options;
        self.0.fields.last(perl, form(&self.0.body()), options)
    }
}

impl Lazy for AllFields {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let options = &self.0.terms().options;
        self.0.fields.all(perl, form(&self.0.body()), options)
    }
}

impl Lazy for Body {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        Ok(Scalar::from_bytes(perl, &self.0.body()))
    }
}

impl Lazy for Cookies {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let all = Hash::new(perl);
        let head = self.0.head();
        let line = head.as_ref().and_then(|head| head.request.header("Cookie"));
        let max_cookies = self.0.terms().max_cookies;
        for field in cookies::parse(line.unwrap_or_default(), max_cookies) {
            let value = field_value(perl, &field);
            all.insert_key(&text::key(&field.name), value)?;
        }
        Ok(all.reference())
    }
}

fn with_query<T>(source: &Source, read: impl FnOnce(&[u8]) -> T) -> T {
    let head = source.head();
    let query = head.as_ref().and_then(|head| head.request.query());
    read(query.unwrap_or_default())
}

/// The text of a form in a body.
fn form(body: &[u8]) -> &[u8] {
    match body {
        // Perl takes this for false, and programs for a body without fields.
        b"0" => b"",
        body => body,
    }
}

/// What was made of the one of a pair of hashes that was asked for, of each name's
/// last value and of all its values, for the other one: they share their values.
#[derive(Default)]
pub struct Made {
    /// In the order of the fields.
    values: RefCell<Option<Vec<Scalar>>>,
}

impl Made {
    fn last(&self, perl: Perl, form: &[u8], options: &urlencoded::Options) -> Result<Scalar> {
        let last = Hash::new(perl);
        self.make(perl, form, options, |name, value| {
            last.insert_key(name, value)
        })?;
        Ok(last.reference())
    }

    fn all(&self, perl: Perl, form: &[u8], options: &urlencoded::Options) -> Result<Scalar> {
        let all = Hash::new(perl);
        self.make(perl, form, options, |name, value| add(&all, name, value))?;
        Ok(all.reference())
    }

    /// Adds each field with the value that the other hash has of it.
    fn make(
        &self,
        perl: Perl,
        form: &[u8],
        options: &urlencoded::Options,
        mut add: impl FnMut(&Key, Scalar) -> Result<()>,
    ) -> Result<()> {
        let mut made_before = self.values.take().map(Vec::into_iter);
        let mut values = Vec::new();
        for field in urlencoded::parse(form, options) {
            let known = made_before.as_mut().and_then(Iterator::next);
            let value = known.unwrap_or_else(|| field_value(perl, &field));
            if made_before.is_none() {
                values.push(value.clone());
            }
            add(&text::key(&field.name), value)?;
        }
        if made_before.is_none() {
            self.values.replace(Some(values));
        }
        Ok(())
    }

    pub fn forget(&self) {
        drop(self.values.take());
    }
}

/// The values of a name in the query, or else in the body, as they are found without
/// making the hashes that nobody has asked for. `None`: they were made, or searching
/// again would cost more than that.
pub fn values_of(keys: &Keys, object: &Hash, name: &[u8]) -> Result<Option<Vec<Option<Text>>>> {
    let parameters = match object.unmade::<AllParameters>(&keys.all_parameters)? {
        Some(unmade) => with_query(&unmade.0, |query| search(query, name, &unmade.0)),
        None if object.contains_key(&keys.all_parameters)? => None,
        None => Some(Vec::new()),
    };
    match parameters {
        Some(values) if values.is_empty() => {
            let unmade = object.unmade::<AllFields>(&keys.all_fields)?;
            Ok(unmade.and_then(|unmade| search(form(&unmade.0.body()), name, &unmade.0)))
        }
        parameters => Ok(parameters),
    }
}

fn search(text: &[u8], name: &[u8], source: &Source) -> Option<Vec<Option<Text>>> {
    if text.len() > MOST_SEARCHED {
        return None;
    }
    let fields = urlencoded::named(text, name, &source.terms().options);
    Some(fields.map(|field| field.value).collect())
}

/// Adds a part of a multipart form to the hashes `kind` and `kind_a` of the request
/// object. Its name stays the bytes that came.
pub fn add_part(object: &Hash, kind: &str, name: &[u8], value: Scalar) -> Result<()> {
    let last = child_hash(object, kind)?;
    let all = child_hash(object, &format!("{kind}_a"))?;
    let name = Key {
        bytes: name.to_vec(),
        is_utf8: false,
    };
    last.insert_key(&name, value.clone())?;
    add(&all, &name, value)
}

/// The hash under this key, made if the application has put something else there.
fn child_hash(object: &Hash, name: &str) -> Result<Hash> {
    if let Some(hash) = object.get(name)?.and_then(|value| value.as_hash()) {
        return Ok(hash);
    }
    let hash = Hash::new(object.perl());
    object.insert(name, hash.reference())?;
    Ok(hash)
}

/// Adds to the values of a name.
fn add(all: &Hash, name: &Key, value: Scalar) -> Result<()> {
    if let Some(list) = all.get_key(name)?.and_then(|list| list.as_array()) {
        return list.push(value);
    }
    let list = Array::new(all.perl());
    list.push(value)?;
    all.insert_key(name, list.reference())
}

fn field_value(perl: Perl, field: &Field) -> Scalar {
    match &field.value {
        Some(value) => text::scalar(perl, value),
        None => Scalar::undef(perl),
    }
}
