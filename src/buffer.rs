//! `HTTP::Server::EV::Buffer`: the output of one connection.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use engine::RequestId;
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Error, Hash, Package, Perl, Result, Returned, Scalar};

use crate::server::Server;
use crate::value::defined;

const PACKAGE: &str = "HTTP::Server::EV::Buffer";

/// What a Buffer holds of the engine: the reply ends when it goes.
pub struct Reply {
    pub id: RequestId,
    /// The handle that `fh` gave out.
    handle: RefCell<Option<Scalar>>,
}

impl Reply {
    fn new(id: RequestId) -> Rc<Reply> {
        Rc::new(Reply {
            id,
            handle: RefCell::default(),
        })
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
        let Some(Ok(socket)) = server.with_engine(|engine| engine.duplicate(self.id)) else {
            return Ok(None);
        };
        let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
        let unread = server.with_engine(|engine| engine.take_unread(self.id));
        handle::unread(&handle, &unread)?;
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
            server.duplicates_closed(self.id);
        }
        server.finish(self.id);
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

/// Makes the Buffer of a request.
pub fn create(perl: Perl, id: RequestId, descriptor: i32) -> Result<Hash> {
    let buffer = Hash::new(perl);
    buffer.insert("fd", Scalar::from_integer(perl, descriptor.into()))?;
    buffer.insert("status", Scalar::undef(perl))?;
    take_threshold(perl, id, &buffer, None)?;
    buffer.attach(Reply::new(id));
    buffer.bless(PACKAGE)?;
    Ok(buffer)
}

/// Appends the list as `print` does, joined with `$,` and ended with `$\`, and
/// returns what printing returns.
pub fn append(perl: Perl, buffer: &Hash, values: &[Scalar]) -> Result<Returned> {
    let mut bytes = Vec::new();
    let separator = perl.output_field_separator();
    for (index, value) in values.iter().enumerate() {
        if let (Some(separator), true) = (&separator, index > 0) {
            separator.append_bytes_to(&mut bytes)?;
        }
        value.append_bytes_to(&mut bytes)?;
    }
    if let Some(end) = perl.output_record_separator() {
        end.append_bytes_to(&mut bytes)?;
    }
    write(perl, buffer, &bytes)
}

/// Appends bytes: true, or the empty list and the status -1 once nobody will
/// receive them.
pub fn write(perl: Perl, buffer: &Hash, bytes: &[u8]) -> Result<Returned> {
    let Some(reply) = buffer.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    let is_open = Server::current()
        .is_some_and(|server| server.with_engine(|engine| engine.write(reply.id, bytes)));
    if is_open {
        return Ok(Scalar::from_integer(perl, 1).into());
    }
    buffer.insert("status", Scalar::from_integer(perl, -1))?;
    Ok(Returned::Nothing)
}

/// Sets the threshold (bytes that may wait unsent) from `given`, or else from
/// `$HTTP::Server::EV::Buffer::autoflush`.
fn take_threshold(perl: Perl, id: RequestId, buffer: &Hash, given: Option<Scalar>) -> Result<()> {
    let threshold = match given {
        Some(given) => given.integer()?,
        None => perl
            .scalar_variable("HTTP::Server::EV::Buffer::autoflush")
            .integer()?,
    };
    buffer.insert("flush", Scalar::from_integer(perl, threshold))?;
    let bytes = u64::try_from(threshold).unwrap_or(0);
    if let Some(server) = Server::current() {
        server.with_engine(|engine| engine.set_flush_threshold(id, bytes));
    }
    Ok(())
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
    take_threshold(perl, id, &options, options.get("flush")?)?;
    options.attach(Reply::new(id));
    options.bless(&class)?;

    let buffer = options.reference();
    watch(&server, perl, id, &buffer)?;
    Ok(buffer.into())
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
fn watch(server: &Server, perl: Perl, id: RequestId, buffer: &Scalar) -> Result<()> {
    let weak = buffer.copy()?;
    weak.weaken()?;
    server.add_request(
        id,
        crate::server::Request {
            listener: Hash::new(perl),
            object: None,
            file: None,
            buffer: weak,
        },
    );
    server.with_engine(|engine| engine.watch_disconnect(id));
    Ok(())
}

/// `$buffer->print(@list)`: true, or the empty list once the client is gone.
fn print(arguments: &Arguments<'_>) -> Result<Returned> {
    append(arguments.perl(), &this(arguments)?, rest(arguments))
}

/// `$buffer->flush($threshold?)`
fn flush(arguments: &Arguments<'_>) -> Result<Returned> {
    let buffer = this(arguments)?;
    let Some(reply) = buffer.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    if let Some(threshold) = defined(arguments.get(1))? {
        take_threshold(arguments.perl(), reply.id, &buffer, Some(threshold))?;
    }
    if let Some(server) = Server::current() {
        server.with_engine(|engine| engine.flush_output(reply.id));
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
        Some(reply) => server.when_drained(reply.id, buffer.reference(), callback),
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
        let unread = engine.take_unread(reply.id);
        (unread, engine.detach(reply.id))
    });
    let Some(socket) = socket else {
        return Ok(Returned::Nothing);
    };
    let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
    handle::unread(&handle, &unread)?;
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
