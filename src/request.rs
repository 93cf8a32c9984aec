//! Builds the request object: a plain hash, most of whose elements are made when
//! they are first asked for.

use std::rc::Rc;

use engine::{Head, RequestId};
use perl_xs::{Array, Error, Hash, Perl, Result, Scalar};

use crate::buffer::UnmadeBuffer;
use crate::environment::Environment;
use crate::fields::{self, Form, RequestBody};
use crate::listener::Listening;

const PACKAGE: &str = "HTTP::Server::EV::CGI";

/// Makes the request object. `body` is that of an urlencoded request.
pub fn create(
    perl: Perl,
    id: RequestId,
    head: Rc<Head>,
    listener: &Hash,
    body: Option<Vec<u8>>,
) -> Result<Hash> {
    let listening = listener
        .attached::<Listening>()
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::PortListener"))?;
    let forms = &listening.forms;
    let options = fields::options(perl, forms)?;

    let object = Hash::new(perl);
    object.reserve(24);
    object.insert("fd", Scalar::from_integer(perl, head.descriptor.into()))?;
    object.insert("stack_pos", Scalar::from_unsigned(perl, id.number()))?;
    object.insert("timer", Scalar::from_number(perl, perl_ev::now()))?;
    object.insert("stdout_guard", Array::new(perl).reference())?;
    object.insert("parent_listener", weak(listener)?)?;
    for name in ["file", "file_a"] {
        object.insert(name, Hash::new(perl).reference())?;
    }

    let environment = Environment {
        head: head.clone(),
        is_backend: is_backend(perl)?,
    };
    object.insert_lazy("headers", Rc::new(environment))?;
    fields::insert_query(&object, &head, options)?;
    fields::insert_cookies(&object, &head, forms.max_cookies)?;
    match body {
        Some(body) => insert_body(&object, Rc::new(body), options)?,
        None => insert_empty_post(&object)?,
    }
    let buffer = UnmadeBuffer::new(perl, id, head.descriptor)?;
    object.insert_lazy("buffer", Rc::new(buffer))?;
    object.bless(PACKAGE)?;
    Ok(object)
}

fn insert_body(
    object: &Hash,
    body: Rc<Vec<u8>>,
    options: engine::form::urlencoded::Options,
) -> Result<()> {
    fields::insert_form(object, "post", Form::Body(body.clone()), options)?;
    object.insert_lazy("REQUEST_BODY", Rc::new(RequestBody(body)))
}

/// For the parts of a multipart form, as they come.
fn insert_empty_post(object: &Hash) -> Result<()> {
    for name in ["post", "post_a"] {
        object.insert(name, Hash::new(object.perl()).reference())?;
    }
    Ok(())
}

fn weak(listener: &Hash) -> Result<Scalar> {
    let parent = listener.reference();
    parent.weaken()?;
    Ok(parent)
}

/// `$HTTP::Server::EV::backend` counts as it is when the request comes.
fn is_backend(perl: Perl) -> Result<bool> {
    perl.scalar_variable("HTTP::Server::EV::backend").is_true()
}
