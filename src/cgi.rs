//! `HTTP::Server::EV::CGI`: the methods of the request object that need the
//! engine. Those that only read the hash are in `CGI.pm`.

use std::rc::Rc;

use engine::form::charset::Text;
use engine::form::urlencoded;
use engine::{Engine, RequestId};
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Error, Hash, Package, Result, Returned, Scalar};

use crate::buffer::{self, Reply};
use crate::header;
use crate::server::Server;
use crate::text;

pub fn define(package: Package) -> Result<()> {
    package.define("copy", copy)?;
    package.define("drop", drop_request)?;
    package.define("fd", fd)?;
    package.define("fh", fh)?;
    package.define("header", header)?;
    package.define("print", print)?;
    package.define("set_cookies", set_cookies)?;
    package.define("start", start)?;
    package.define("stop", stop)?;
    package.define("urldecode", urldecode)
}

/// `$cgi->copy(*FH)`: the handle becomes one of the socket, past the Buffer.
fn copy(arguments: &Arguments<'_>) -> Result<Returned> {
    let cannot = || Error::croak("Can`t attach socket handle");
    let object = this(arguments)?;
    let reply = reply(&object)?.ok_or_else(cannot)?;
    let handle = arguments.required(1, "handle")?;
    let socket = duplicate(reply.id).ok_or_else(cannot)?;
    handle::open_onto(&handle, socket, Mode::ReadWrite).map_err(|_| cannot())?;
    Ok(Scalar::from_integer(arguments.perl(), 1).into())
}

/// `$cgi->drop`: ends the request at once; the empty list.
fn drop_request(arguments: &Arguments<'_>) -> Result<Returned> {
    act(arguments, Engine::drop_request)?;
    Ok(Returned::Nothing)
}

/// `$cgi->fd`: the number of the socket.
fn fd(arguments: &Arguments<'_>) -> Result<Returned> {
    match this(arguments)?.get("fd")? {
        Some(number) => Ok(number.into()),
        None => Ok(Returned::Nothing),
    }
}

/// `$cgi->fh`: a handle of the socket. What was read of the body along with the
/// head is read from it first.
fn fh(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let closed = || Error::croak("Can`t get fh of closed socket!");
    let buffer = buffer(&this(arguments)?)?.ok_or_else(closed)?;
    if let Some(handle) = buffer.get("fh")? {
        return Ok(handle.into());
    }
    let reply = buffer.attached::<Reply>().ok_or_else(closed)?;
    let socket = duplicate(reply.id).ok_or_else(closed)?;
    let handle = handle::open(perl, socket, Mode::ReadWrite, Some("IO::Handle"))?;
    if let Some(server) = Server::current() {
        let unread = server.with_engine(|engine| engine.take_unread(reply.id));
        handle::unread(&handle, &unread)?;
    }
    buffer.insert("fh", handle.clone())?;
    Ok(handle.into())
}

/// `$cgi->header(\%fields?)`: prints the head of the reply.
fn header(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let object = this(arguments)?;
    let reply =
        reply(&object)?.ok_or_else(|| Error::croak("Can`t print headers to closed socket!"))?;
    let fields = match arguments.get(1) {
        Some(fields) if fields.is_defined()? => Some(
            fields
                .as_hash()
                .ok_or_else(|| Error::croak("header takes a hash reference"))?,
        ),
        _ => None,
    };
    let cookies = match object.get("cookiesbuffer")? {
        Some(cookies) if cookies.is_defined()? => cookies.bytes()?,
        _ => Vec::new(),
    };
    let head = header::head(fields.as_ref(), &cookies)?;
    Ok(buffer::answer(perl, write(reply.id, &head)))
}

/// `$cgi->print(@list)`
fn print(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let reply =
        reply(&this(arguments)?)?.ok_or_else(|| Error::croak("Can`t print to closed socket!"))?;
    let is_open = buffer::append(perl, reply.id, buffer::rest(arguments))?;
    Ok(buffer::answer(perl, is_open))
}

/// `$cgi->set_cookies(\%cookies, $lifetime?)`: `header` sends them.
fn set_cookies(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let object = this(arguments)?;
    let cookies = arguments
        .required(1, "cookies")?
        .as_hash()
        .ok_or_else(|| Error::croak("set_cookies takes a hash reference"))?;
    let lifetime = match arguments.get(2) {
        Some(seconds) if seconds.is_defined()? => seconds.integer()?,
        _ => perl
            .scalar_variable("HTTP::Server::EV::CGI::cookies_lifetime")
            .integer()?,
    };
    let mut lines = match object.get("cookiesbuffer")? {
        Some(lines) if lines.is_defined()? => lines.bytes()?,
        _ => Vec::new(),
    };
    lines.extend(header::cookies(&cookies, lifetime)?);
    object.insert("cookiesbuffer", Scalar::from_bytes(perl, &lines))?;
    Ok(Returned::Nothing)
}

/// `$cgi->start`: takes up the body where `stop` left it.
fn start(arguments: &Arguments<'_>) -> Result<Returned> {
    act(arguments, |engine, id| {
        engine.start(id);
    })?;
    Ok(Scalar::from_integer(arguments.perl(), 1).into())
}

/// `$cgi->stop`: reads no more of the body until `start`.
fn stop(arguments: &Arguments<'_>) -> Result<Returned> {
    act(arguments, |engine, id| {
        engine.stop(id);
    })?;
    Ok(Scalar::from_integer(arguments.perl(), 1).into())
}

/// `$cgi->urldecode($text)`: percent-decoded, in the charset it is in.
fn urldecode(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let text = arguments.required(1, "text")?;
    if !text.is_defined()? || text.bytes()?.is_empty() {
        return Ok(Scalar::undef(perl).into());
    }
    let (bytes, _) = urlencoded::decode(&text.bytes()?);
    Ok(text::scalar(perl, &Text::decide(bytes)).into())
}

fn this(arguments: &Arguments<'_>) -> Result<Hash> {
    arguments
        .get(0)
        .and_then(|object| object.as_hash())
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::CGI"))
}

/// The Buffer, unless the reply was closed.
fn buffer(object: &Hash) -> Result<Option<Hash>> {
    Ok(object.get("buffer")?.and_then(|buffer| buffer.as_hash()))
}

fn reply(object: &Hash) -> Result<Option<Rc<Reply>>> {
    Ok(buffer(object)?.and_then(|buffer| buffer.attached::<Reply>()))
}

/// Acts on the request, if there still is one.
fn act(arguments: &Arguments<'_>, act: impl FnOnce(&mut Engine, RequestId)) -> Result<()> {
    if let (Some(server), Some(reply)) = (Server::current(), reply(&this(arguments)?)?) {
        server.with_engine(|engine| act(engine, reply.id));
    }
    Ok(())
}

fn duplicate(id: RequestId) -> Option<std::os::fd::OwnedFd> {
    let server = Server::current()?;
    server.with_engine(|engine| engine.duplicate(id))?.ok()
}

fn write(id: RequestId, bytes: &[u8]) -> bool {
    Server::current().is_some_and(|server| server.with_engine(|engine| engine.write(id, bytes)))
}
