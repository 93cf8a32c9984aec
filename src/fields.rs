//! What forms bring: the hashes `get` and `get_a`, `post` and `post_a`, and
//! `cookies`. Those of urlencoded forms are made when they are first asked for.

use std::cell::RefCell;
use std::rc::Rc;

use engine::Head;
use engine::form::cookies;
use engine::form::urlencoded::{self, Field};
use perl_xs::{Array, Hash, Key, Lazy, Perl, Result, Scalar, SharedKey};

use crate::names::{Keys, Names};
use crate::options::FormOptions;
use crate::text;

/// Where the text of a form is.
pub enum Form {
    Query(Rc<Head>),
    Body(Rc<Vec<u8>>),
}

impl Form {
    fn text(&self) -> &[u8] {
        match self {
            Form::Query(head) => head.request.query().unwrap_or_default(),
            // Perl takes this for false, and programs for a body without fields.
            Form::Body(body) if **body == *b"0" => b"",
            Form::Body(body) => body,
        }
    }
}

/// What a pair of hashes, of each name's last value and of all its values, is
/// made of. They share their values, and so are made together.
struct Fields {
    form: Form,
    options: urlencoded::Options,
    /// The one that was not asked for when the other one was.
    other: RefCell<Option<Scalar>>,
}

struct LastValues(Rc<Fields>);

struct AllValues(Rc<Fields>);

impl Lazy for LastValues {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        self.0.make(perl, |last, all| (last, all))
    }
}

impl Lazy for AllValues {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        self.0.make(perl, |last, all| (all, last))
    }
}

impl Fields {
    fn make(
        &self,
        perl: Perl,
        wanted_first: impl FnOnce(Scalar, Scalar) -> (Scalar, Scalar),
    ) -> Result<Scalar> {
        if let Some(made_before) = self.other.take() {
            return Ok(made_before);
        }
        let (last, all) = (Hash::new(perl), Hash::new(perl));
        for field in urlencoded::parse(self.form.text(), &self.options) {
            let value = field_value(perl, &field);
            add_to(&last, &all, &text::key(&field.name), value)?;
        }
        let (wanted, other) = wanted_first(last.reference(), all.reference());
        self.other.replace(Some(other));
        Ok(wanted)
    }
}

/// Gives the request object the two hashes of a form under these keys.
pub fn insert_form(
    object: &Hash,
    last: &SharedKey,
    all: &SharedKey,
    form: Form,
    options: urlencoded::Options,
) -> Result<()> {
    let fields = Rc::new(Fields {
        form,
        options,
        other: RefCell::default(),
    });
    object.insert_lazy(last, Rc::new(LastValues(fields.clone())))?;
    object.insert_lazy(all, Rc::new(AllValues(fields)))
}

/// Gives the request object the hashes `get` and `get_a`, if its query has fields.
pub fn insert_query(
    keys: &Keys,
    object: &Hash,
    head: &Rc<Head>,
    options: urlencoded::Options,
) -> Result<()> {
    let query = head.request.query().unwrap_or_default();
    if !urlencoded::has_fields(query, &options) {
        return Ok(());
    }
    let (last, all) = (&keys.parameters, &keys.all_parameters);
    insert_form(object, last, all, Form::Query(head.clone()), options)
}

/// The body of an urlencoded request as it came.
pub struct RequestBody(pub Rc<Vec<u8>>);

impl Lazy for RequestBody {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        Ok(Scalar::from_bytes(perl, &self.0))
    }
}

/// What `cookies` is made of.
struct Cookies {
    head: Rc<Head>,
    max_cookies: u64,
}

impl Lazy for Cookies {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let all = Hash::new(perl);
        let line = self.head.request.header("Cookie").unwrap_or_default();
        for field in cookies::parse(line, self.max_cookies) {
            let value = field_value(perl, &field);
            all.insert_key(&text::key(&field.name), value)?;
        }
        Ok(all.reference())
    }
}

/// Gives the request object the hash `cookies`, if there are any.
pub fn insert_cookies(keys: &Keys, object: &Hash, head: &Rc<Head>, max_cookies: u64) -> Result<()> {
    let line = head.request.header("Cookie").unwrap_or_default();
    if !cookies::has_cookies(line, max_cookies) {
        return Ok(());
    }
    let cookies = Cookies {
        head: head.clone(),
        max_cookies,
    };
    object.insert_lazy(&keys.cookies, Rc::new(cookies))
}

/// How the fields of this request are to be read.
pub fn options(names: &Names, forms: &FormOptions) -> Result<urlencoded::Options> {
    let max_fields = match forms.max_fields {
        Some(max_fields) => max_fields,
        None => {
            let fields = names.variables.max_urlencoded_fields.get().integer()?;
            u64::try_from(fields).unwrap_or(0)
        }
    };
    Ok(urlencoded::Options {
        max_fields,
        plus_as_space: forms.plus_as_space,
    })
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
    add_to(&last, &all, &name, value)
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

fn add_to(last: &Hash, all: &Hash, name: &Key, value: Scalar) -> Result<()> {
    last.insert_key(name, value.clone())?;
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
