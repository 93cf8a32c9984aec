//! `HTTP::Server::EV::Buffer`: the output of one reply.
//!
//! `$buffer->{status}`: undef or 0 at rest, 1 while a flush is under way, 2 in
//! `%HTTP::Server::EV::Buffer::buffers`, -1 once nobody will receive anything.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use engine::{Engine, RequestId};
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Context, Error, Hash, Lazy, Package, Perl, Result, Returned, Scalar};

use crate::names::Names;
use crate::server::Server;
use crate::value::defined;

const PACKAGE: &str = "HTTP::Server::EV::Buffer";

/// What a Buffer holds of the engine: the reply ends when it goes.
pub struct Reply {
    id: Cell<RequestId>,
    /// The handle that `fh` gave out.
    handle: RefCell<Option<Scalar>>,
}

impl Reply {
    fn new(id: RequestId) -> Rc<Reply> {
        Rc::new(Reply {
            id: Cell::new(id),
            handle: RefCell::default(),
        })
    }

    pub fn id(&self) -> RequestId {
        self.id.get()
    }

    /// The handle of the socket, made at the first call, and kept under the
    /// Buffer's key `fh` too.
    pub fn handle(&self, perl: Perl, buffer: &Hash) -> Result<Option<Scalar>> {
        if let Some(handle) = buffer.get("fh")? {
            return Ok(Some(handle));
        }
        let Some(server) = Server::current() else {
            return Ok(None);
        };
        let Some(Ok(socket)) = server.with_engine(|engine| engine.duplicate(self.id())) else {
            return Ok(None);
        };
        let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
        let unread = server.with_engine(|engine| engine.take_unread(self.id()));
        handle::unread(&handle, unread.bytes())?;
        buffer.insert("fh", handle.clone())?;
        self.handle.replace(Some(handle.clone()));
        Ok(Some(handle))
    }

    /// Whether nobody but the Buffer has the handle that `fh` gave out: it is
    /// closed with the Buffer, and the socket is the engine's alone again.
    fn has_handle_alone(&self) -> bool {
        let handle = self.handle.take();
        let glob = handle.as_ref().and_then(|handle| handle.referent());
        // The glob is held by one reference, shared between the Buffer's key and
        // this structure, and by the one just made to look at it.
        glob.is_some_and(|glob| glob.reference_count() == 2)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(server) = Server::current() else {
            return;
        };
        if self.has_handle_alone() {
            server.duplicates_closed(self.id());
        }
        server.finish(self.id());
    }
}

pub fn define(package: Package) -> Result<()> {
    package.define("new", new)?;
    package.define("print", print)?;
    package.define("PRINT", print)?;
    package.define("flush", flush)?;
    package.define("_flush_wait", flush_wait)?;
    package.define("give_up_handle", give_up_handle)
}

/// The Buffer of a request, made when it is first asked for. The reply ends when
/// it goes, be it made or not.
pub struct UnmadeBuffer {
    names: Rc<Names>,
    reply: Rc<Reply>,
    descriptor: Cell<i32>,
    threshold: Cell<i64>,
}

impl UnmadeBuffer {
    pub fn new(server: &Server, id: RequestId, descriptor: i32) -> Result<UnmadeBuffer> {
        let threshold = default_threshold(server)?;
        set_threshold(server, id, threshold);
        Ok(UnmadeBuffer {
            names: server.names().clone(),
            reply: Reply::new(id),
            descriptor: Cell::new(descriptor),
            threshold: Cell::new(threshold),
        })
    }

    /// Ends the reply, so that this can be the Buffer of another one; says no if
    /// somebody else knows this one, who has it end.
    pub fn end(this: &Rc<UnmadeBuffer>, server: &Server) -> bool {
        // The element of the request object has one, and the caller.
        if Rc::strong_count(this) != 2 || Rc::strong_count(&this.reply) != 1 {
            return false;
        }
        server.finish(this.reply.id());
        true
    }

    /// Begins another reply.
    pub fn begin(&self, server: &Server, id: RequestId, descriptor: i32) -> Result<()> {
        let threshold = default_threshold(server)?;
        set_threshold(server, id, threshold);
        self.reply.id.set(id);
        self.descriptor.set(descriptor);
        self.threshold.set(threshold);
        Ok(())
    }
}

impl Lazy for UnmadeBuffer {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let id = self.reply.id();
        let keys = &self.names.keys;
        let buffer = Hash::new(perl);
        let descriptor = Scalar::from_integer(perl, self.descriptor.get().into());
        buffer.insert(&keys.descriptor, descriptor)?;
        buffer.insert(
            &keys.flush,
            Scalar::from_integer(perl, self.threshold.get()),
        )?;
        buffer.insert(&keys.status, Scalar::undef(perl))?;
        buffer.attach(self.reply.clone());
        buffer.bless_into(&self.names.buffer_class)?;
        if let Some(server) = Server::current() {
            server.set_buffer(id, weak(&buffer)?);
            if !server.with_engine(|engine| engine.accepts_output(id)) {
                set_status(&buffer, Status::Dead)?;
            }
        }
        Ok(buffer.reference())
    }
}

/// Where the output of a request goes: its Buffer, made or not.
pub enum Output {
    Buffer(Hash),
    Unmade(Rc<Reply>),
}

impl Output {
    /// `None` once the reply was closed.
    pub fn of(request: &Hash) -> Result<Option<Output>> {
        if let Some(unmade) = request.unmade::<UnmadeBuffer>("buffer")? {
            return Ok(Some(Output::Unmade(unmade.reply.clone())));
        }
        let buffer = request.get("buffer")?.and_then(|buffer| buffer.as_hash());
        Ok(buffer.map(Output::Buffer))
    }

    pub fn reply(&self) -> Option<Rc<Reply>> {
        match self {
            Output::Buffer(buffer) => buffer.attached(),
            Output::Unmade(reply) => Some(reply.clone()),
        }
    }

    /// Appends the list as `print` does, joined with `$,` and ended with `$\`, and
    /// returns what printing returns.
    pub fn append(&self, arguments: &Arguments<'_>, values: &[Scalar]) -> Result<Returned> {
        let perl = arguments.perl();
        let is_bare =
            perl.output_field_separator().is_none() && perl.output_record_separator().is_none();
        if !is_bare || !values.iter().all(Scalar::is_plain_string) {
            let Some(bytes) = joined(perl, values)? else {
                return self.give(arguments, |engine, id| {
                    engine.abandon_output(id);
                    Ok(false)
                });
            };
            return self.write(arguments, &bytes);
        }
        // Nothing here runs Perl code, so it can be done while the engine is lent.
        let length = values.iter().map(Scalar::byte_length).sum::<Result<_>>()?;
        self.give(arguments, |engine, id| {
            let Some(output) = engine.output(id, length) else {
                return Ok(false);
            };
            let mut values = values.iter();
            values.try_for_each(|value| value.append_bytes_to(output))?;
            Ok(true)
        })
    }

    /// Appends bytes: true, or the empty list and the status -1 once nobody will
    /// receive them.
    pub fn write(&self, arguments: &Arguments<'_>, bytes: &[u8]) -> Result<Returned> {
        self.give(arguments, |engine, id| Ok(engine.write(id, bytes)))
    }

    /// Gives the head of the reply, which the engine completes; it returns as `write` does.
    pub fn write_head(&self, arguments: &Arguments<'_>, head: &[u8]) -> Result<Returned> {
        self.give(arguments, |engine, id| Ok(engine.write_head(id, head)))
    }

    fn give(
        &self,
        arguments: &Arguments<'_>,
        write: impl FnOnce(&mut Engine, RequestId) -> Result<bool>,
    ) -> Result<Returned> {
        let (Some(server), Some(reply)) = (Server::current(), self.reply()) else {
            return Ok(Returned::Nothing);
        };
        if server.with_engine(|engine| write(engine, reply.id()))? {
            return Ok(match arguments.context() {
                Context::Void => Returned::Nothing,
                _ => Scalar::from_integer(arguments.perl(), 1).into(),
            });
        }
        if let Output::Buffer(buffer) = self {
            set_status(buffer, Status::Dead)?;
        }
        Ok(Returned::Nothing)
    }
}

/// What `$buffer->{status}` says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Resting = 0,
    Flushing = 1,
    Draining = 2,
    Dead = -1,
}

pub fn set_status(buffer: &Hash, status: Status) -> Result<()> {
    buffer.insert("status", Scalar::from_integer(buffer.perl(), status as i64))
}

/// All output of the Buffer was sent, or never will be.
pub fn has_drained(buffer: &Hash) -> Result<()> {
    match buffer.get("status")? {
        Some(status) if status.is_defined()? && status.integer()? == Status::Flushing as i64 => {
            set_status(buffer, Status::Resting)
        }
        _ => Ok(()),
    }
}

/// Enters a reply that outlived its Buffer into `%HTTP::Server::EV::Buffer::buffers`
/// while its client takes the rest.
pub fn begin_draining(perl: Perl, descriptor: i32) -> Result<()> {
    let buffer = Hash::new(perl);
    buffer.insert("fd", Scalar::from_integer(perl, descriptor.into()))?;
    set_status(&buffer, Status::Draining)?;
    buffer.bless(PACKAGE)?;
    draining(perl).insert(descriptor.to_string(), buffer.reference())
}

pub fn end_draining(perl: Perl, descriptor: i32) -> Result<()> {
    draining(perl).remove(descriptor.to_string()).map(drop)
}

fn draining(perl: Perl) -> Hash {
    perl.hash_variable("HTTP::Server::EV::Buffer::buffers")
}

/// `None`: there is no memory for it.
fn joined(perl: Perl, values: &[Scalar]) -> Result<Option<Vec<u8>>> {
    let separator = perl.output_field_separator();
    let mut pieces = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            pieces.extend(separator.clone());
        }
        pieces.push(value.clone());
    }
    pieces.extend(perl.output_record_separator());

    let mut bytes = Vec::new();
    for piece in pieces {
        if piece.try_append_bytes_to(&mut bytes)?.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// `$HTTP::Server::EV::Buffer::autoflush` counts as it is when a Buffer comes
/// about.
fn default_threshold(server: &Server) -> Result<i64> {
    server.names().variables.autoflush.get().integer()
}

/// Bytes that may wait unsent.
fn set_threshold(server: &Server, id: RequestId, threshold: i64) {
    let bytes = u64::try_from(threshold).unwrap_or(0);
    server.with_engine(|engine| engine.set_flush_threshold(id, bytes));
}

fn weak(buffer: &Hash) -> Result<Scalar> {
    let weak = buffer.reference();
    weak.weaken()?;
    Ok(weak)
}

/// `HTTP::Server::EV::Buffer->new({ fd, fh, flush, onerror })`
fn new(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let class = arguments.required(0, "class")?.text()?;
    let options = arguments
        .required(1, "options")?
        .as_hash()
        .ok_or_else(|| Error::croak("HTTP::Server::EV::Buffer->new takes a hash reference"))?;
    let server = Server::start(perl)?;
    let descriptor = own_descriptor(&server, &options)?;
    let number = descriptor.as_raw_fd();
    let id = server
        .with_engine(|engine| engine.adopt(descriptor))
        .map_err(|_| Error::croak("Cant create filehandle from fd!"))?;
    if options.get("fd")?.is_none() {
        options.insert("fd", Scalar::from_integer(perl, number.into()))?;
    }
    let threshold = match options.get("flush")? {
        Some(given) => given.integer()?,
        None => default_threshold(&server)?,
    };
    options.insert("flush", Scalar::from_integer(perl, threshold))?;
    set_threshold(&server, id, threshold);
    options.attach(Reply::new(id));
    options.bless(&class)?;
    watch(&server, id, &options)?;
    Ok(options.reference().into())
}

/// A handle that is given keeps its descriptor, as a request does, and the Buffer
/// gets a duplicate; any other bare number becomes the Buffer's own.
fn own_descriptor(server: &Server, options: &Hash) -> Result<OwnedFd> {
    let bad = |_| Error::croak("Cant create filehandle from fd!");
    if let Some(number) = options.get("fh")?.and_then(|fh| fh.descriptor()) {
        return handle::duplicate(number).map_err(bad);
    }
    let number = match options.get("fd")? {
        Some(number) if number.looks_like_number()? => number.integer()?,
        _ => -1,
    };
    let number = i32::try_from(number).unwrap_or(-1);
    if server.with_engine(|engine| engine.owns(number)) {
        return handle::duplicate(number).map_err(bad);
    }
    handle::take_descriptor(number).map_err(bad)
}

/// Has the end of the peer reported to the Buffer's `onerror`.
fn watch(server: &Server, id: RequestId, buffer: &Hash) -> Result<()> {
    server.add_request(
        id,
        crate::server::Request {
            listener: None,
            object: None,
            file: None,
            buffer: Some(weak(buffer)?),
            watches_client: true,
        },
    );
    server.with_engine(|engine| engine.watch_disconnect(id));
    Ok(())
}

/// `$buffer->print(@list)`: true, or the empty list once the client is gone.
fn print(arguments: &Arguments<'_>) -> Result<Returned> {
    Output::Buffer(this(arguments)?).append(arguments, rest(arguments))
}

/// `$buffer->flush($threshold?)`
fn flush(arguments: &Arguments<'_>) -> Result<Returned> {
    let buffer = this(arguments)?;
    let Some(reply) = buffer.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    let server = Server::current();
    if let Some(threshold) = defined(arguments.get(1))? {
        let threshold = threshold.integer()?;
        let value = Scalar::from_integer(arguments.perl(), threshold);
        buffer.insert("flush", value)?;
        if let Some(server) = &server {
            set_threshold(server, reply.id(), threshold);
        }
    }
    let Some(server) = server else {
        return Ok(Returned::Nothing);
    };
    if server.with_engine(|engine| engine.pending_output(reply.id())) > 0 {
        set_status(&buffer, Status::Flushing)?;
        server.with_engine(|engine| engine.notify_drained(reply.id()));
    }
    Ok(Returned::Nothing)
}

/// `$buffer->_flush_wait($callback)`
fn flush_wait(arguments: &Arguments<'_>) -> Result<Returned> {
    let buffer = this(arguments)?;
    let callback = arguments
        .required(1, "callback")?
        .as_code()
        .ok_or_else(|| Error::croak("flush_wait takes a code reference"))?;
    let Some(server) = Server::current() else {
        return Ok(Returned::Nothing);
    };
    match buffer.attached::<Reply>() {
        Some(reply) => {
            if server.with_engine(|engine| engine.pending_output(reply.id())) > 0 {
                set_status(&buffer, Status::Flushing)?;
            }
            server.when_drained(reply.id(), buffer.reference(), callback);
        }
        None => server.defer(callback, Vec::new()),
    }
    Ok(Returned::Nothing)
}

/// `$cgi->{buffer}->give_up_handle`: hands the socket over, drops what was not
/// sent, and sets the variable it was called on to undef. What was read along with
/// the head is read from the handle first.
fn give_up_handle(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let Some(reply) = this(arguments)?.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    let Some(server) = Server::current() else {
        return Ok(Returned::Nothing);
    };
    let (unread, socket) = server.with_engine(|engine| {
        let unread = engine.take_unread(reply.id());
        (unread, engine.detach(reply.id()))
    });
    let Some(socket) = socket else {
        return Ok(Returned::Nothing);
    };
    let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
    handle::unread(&handle, unread.bytes())?;
    if let Some(variable) = arguments.get(0) {
        variable.assign(&Scalar::undef(perl))?;
    }
    Ok(handle.into())
}

/// The arguments after the object.
pub fn rest<'a>(arguments: &'a Arguments<'_>) -> &'a [Scalar] {
    arguments.as_slice().get(1..).unwrap_or_default()
}

fn this(arguments: &Arguments<'_>) -> Result<Hash> {
    arguments
        .get(0)
        .and_then(|buffer| buffer.as_hash())
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::Buffer"))
}
