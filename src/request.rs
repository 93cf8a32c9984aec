//! Builds the request object: a plain hash, most of whose elements are made when
//! they are first asked for.

use std::rc::Rc;

use engine::{Head, RequestId};
use perl_xs::{Array, Error, Hash, Result, Scalar};

use crate::buffer::UnmadeBuffer;
use crate::environment::Environment;
use crate::fields::{self, Form, RequestBody};
use crate::listener::Listening;
use crate::names::Keys;
use crate::server::Server;

/// Makes the request object. `body` is that of an urlencoded request.
pub fn create(
    server: &Server,
    id: RequestId,
    head: Rc<Head>,
    listener: &Hash,
    body: Option<Vec<u8>>,
) -> Result<Hash> {
    let (perl, names) = (listener.perl(), server.names());
    let keys = &names.keys;
    let listening = listener
        .attached::<Listening>()
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::PortListener"))?;
    let forms = &listening.forms;
    let options = fields::options(names, forms)?;

    let object = Hash::new(perl);
    object.reserve(24);
    object.insert(
        &keys.descriptor,
        Scalar::from_integer(perl, head.descriptor.into()),
    )?;
    object.insert(&keys.number, Scalar::from_unsigned(perl, id.number()))?;
    object.insert(&keys.timer, Scalar::from_number(perl, perl_ev::now()))?;
    object.insert(&keys.attached, Array::new(perl).reference())?;
    object.insert(&keys.listener, weak(listener)?)?;
    for key in [&keys.files, &keys.all_files] {
        object.insert(key, Hash::new(perl).reference())?;
    }

    let environment = Environment {
        head: head.clone(),
        is_backend: names.variables.backend.get().is_true()?,
    };
    object.insert_lazy(&keys.headers, Rc::new(environment))?;
    fields::insert_query(keys, &object, &head, options)?;
    fields::insert_cookies(keys, &object, &head, forms.max_cookies)?;
    match body {
        Some(body) => insert_body(keys, &object, Rc::new(body), options)?,
        None => insert_empty_post(keys, &object)?,
    }
    let buffer = UnmadeBuffer::new(server, id, head.descriptor)?;
    object.insert_lazy(&keys.buffer, Rc::new(buffer))?;
    object.bless_into(&names.request_class)?;
    Ok(object)
}

fn insert_body(
    keys: &Keys,
    object: &Hash,
    body: Rc<Vec<u8>>,
    options: engine::form::urlencoded::Options,
) -> Result<()> {
    let (last, all) = (&keys.fields, &keys.all_fields);
    fields::insert_form(object, last, all, Form::Body(body.clone()), options)?;
    object.insert_lazy(&keys.body, Rc::new(RequestBody(body)))
}

/// For the parts of a multipart form, as they come.
fn insert_empty_post(keys: &Keys, object: &Hash) -> Result<()> {
    for key in [&keys.fields, &keys.all_fields] {
        object.insert(key, Hash::new(object.perl()).reference())?;
    }
    Ok(())
}

fn weak(listener: &Hash) -> Result<Scalar> {
    let parent = listener.reference();
    parent.weaken()?;
    Ok(parent)
}
