//! What the lazy elements of one request object are made of.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use engine::Head;
use engine::form::urlencoded;

use crate::environment::Environments;
use crate::fields::Made;

/// Shared by the lazy elements of one object. It is filled again when the object is
/// used again; until then nobody but they has it.
pub struct Source {
    head: RefCell<Option<Rc<Head>>>,
    /// That of an urlencoded request.
    body: RefCell<Vec<u8>>,
    terms: Cell<Terms>,
    pub environments: Environments,
    /// What was made of the query, and of the body.
    pub parameters: Made,
    pub fields: Made,
}

/// By what the request is read, as it was when it came.
#[derive(Clone, Copy)]
pub struct Terms {
    pub options: urlencoded::Options,
    pub max_cookies: u64,
    /// Whether a proxy in front tells the client's address.
    pub is_backend: bool,
}

impl Source {
    pub fn new(terms: Terms) -> Rc<Source> {
        Rc::new(Source {
            head: RefCell::default(),
            body: RefCell::default(),
            terms: Cell::new(terms),
            environments: Environments::default(),
            parameters: Made::default(),
            fields: Made::default(),
        })
    }

    pub fn fill(&self, head: Rc<Head>, body: Option<Vec<u8>>, terms: Terms) {
        self.head.replace(Some(head));
        self.body.replace(body.unwrap_or_default());
        self.terms.set(terms);
    }

    /// Lets go of the request.
    pub fn clear(&self) {
        self.head.take();
        self.body.take();
        self.parameters.forget();
        self.fields.forget();
    }

    /// The head, unless the request was let go of.
    pub fn head(&self) -> Option<Rc<Head>> {
        self.head.borrow().clone()
    }

    pub fn body(&self) -> Ref<'_, Vec<u8>> {
        self.body.borrow()
    }

    pub fn terms(&self) -> Terms {
        self.terms.get()
    }
}
