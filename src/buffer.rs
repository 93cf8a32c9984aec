//! `HTTP::Server::EV::Buffer`: the output of one connection.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use engine::RequestId;
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Error, Hash, Package, Perl, Result, Returned, Scalar};

use crate::server::Server;

const PACKAGE: &str = "HTTP::Server::EV::Buffer";

/// What a Buffer holds of the engine: the reply ends when it goes.
pub struct Reply {
    pub id: RequestId,
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(server) = Server::current() {
            server.finish(self.id);
        }
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
    buffer.attach(Rc::new(Reply { id }));
    buffer.bless(PACKAGE)?;
    Ok(buffer)
}

/// The reply that a Buffer, or a reference to one, stands for.
pub fn reply(value: &Scalar) -> Option<Rc<Reply>> {
    value.as_hash()?.attached::<Reply>()
}

/// Appends the list as `print` does: joined with `$,` and ended with `$\`.
pub fn append(perl: Perl, id: RequestId, values: &[Scalar]) -> Result<bool> {
    let Some(server) = Server::current() else {
        return Ok(false);
    };
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
    Ok(server.with_engine(|engine| engine.write(id, &bytes)))
}

/// What printing returns: true, or the empty list once the client is gone.
pub fn answer(perl: Perl, is_open: bool) -> Returned {
    match is_open {
        true => Scalar::from_integer(perl, 1).into(),
        false => Returned::Nothing,
    }
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
    let options = arguments
        .required(1, "options")?
        .as_hash()
        .ok_or_else(|| Error::croak("HTTP::Server::EV::Buffer->new takes a hash reference"))?;
    let descriptor = own_descriptor(&options)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&descriptor);

    let server = Server::start(perl)?;
    let id = server
        .with_engine(|engine| engine.adopt(descriptor))
        .map_err(|_| Error::croak("Cant create filehandle from fd!"))?;
    if options.get("fd")?.is_none() {
        options.insert("fd", Scalar::from_integer(perl, number.into()))?;
    }
    take_threshold(perl, id, &options, options.get("flush")?)?;
    options.attach(Rc::new(Reply { id }));
    options.bless(PACKAGE)?;

    let buffer = options.reference();
    watch(&server, perl, id, &buffer)?;
    Ok(buffer.into())
}

/// A handle that is given keeps its descriptor, and the Buffer gets a duplicate;
/// a bare number becomes the Buffer's own.
fn own_descriptor(options: &Hash) -> Result<OwnedFd> {
    let bad = |_| Error::croak("Cant create filehandle from fd!");
    if let Some(number) = options.get("fh")?.and_then(|fh| fh.descriptor()) {
        return handle::duplicate(number).map_err(bad);
    }
    let number = match options.get("fd")? {
        Some(fd) if fd.is_defined()? => fd.integer()?,
        _ => return Err(Error::croak("Cant create filehandle from fd!")),
    };
    let number = i32::try_from(number).unwrap_or(-1);
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
    let perl = arguments.perl();
    let Some(reply) = arguments.get(0).and_then(|buffer| reply(&buffer)) else {
        return Ok(Returned::Nothing);
    };
    let is_open = append(perl, reply.id, rest(arguments))?;
    Ok(answer(perl, is_open))
}

/// `$buffer->flush($threshold?)`
fn flush(arguments: &Arguments<'_>) -> Result<Returned> {
    let buffer = this(arguments)?;
    let Some(reply) = buffer.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    match arguments.get(1) {
        Some(threshold) if threshold.is_defined()? => {
            take_threshold(arguments.perl(), reply.id, &buffer, Some(threshold))?;
        }
        _ => {}
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
    let server = Server::start(arguments.perl())?;
    match buffer.attached::<Reply>() {
        Some(reply) => server.when_drained(reply.id, buffer.reference(), callback),
        None => server.defer(callback, Vec::new()),
    }
    Ok(Returned::Nothing)
}

/// `$cgi->{buffer}->give_up_handle`: hands the socket over, drops what was not
/// sent, and sets the variable it was called on to undef.
fn give_up_handle(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let Some(reply) = this(arguments)?.attached::<Reply>() else {
        return Ok(Returned::Nothing);
    };
    let socket =
        Server::current().and_then(|server| server.with_engine(|engine| engine.detach(reply.id)));
    let Some(socket) = socket else {
        return Ok(Returned::Nothing);
    };
    let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
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
