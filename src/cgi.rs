//! `HTTP::Server::EV::CGI`: the methods of the request object that need the
//! engine. Those that only read the hash are in `CGI.pm`.

use std::rc::Rc;

use engine::form::charset::Text;
use engine::form::urlencoded;
use engine::{Engine, RequestId};
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Context, Error, Hash, Package, Result, Returned, Scalar};

use crate::buffer::{self, Output, Reply};
use crate::fields;
use crate::header;
use crate::server::Server;
use crate::text;
use crate::value::defined;

pub fn define(package: Package) -> Result<()> {
    package.define("copy", copy)?;
    package.define("drop", drop_request)?;
    package.define("fd", fd)?;
    package.define("fh", fh)?;
    package.define("header", header)?;
    package.define("param", param)?;
    package.define("print", print)?;
    package.define("set_cookies", set_cookies)?;
    package.define("start", start)?;
    package.define("stop", stop)?;
    package.define("urldecode", urldecode)?;
    package.define("_finish", finish)?;
    package.define("_is_in_nested_loop", is_in_nested_loop)
}

/// `$cgi->copy(*FH)`: the handle becomes one of the socket, past the Buffer.
fn copy(arguments: &Arguments<'_>) -> Result<Returned> {
    let cannot = || Error::croak("Can`t attach socket handle");
    let object = this(arguments)?;
    let reply = reply(&object)?.ok_or_else(cannot)?;
    let handle = arguments.required(1, "handle")?;
    let socket = duplicate(reply.id()).ok_or_else(cannot)?;
    handle::open_onto(&handle, socket, Mode::ReadWrite).map_err(|_| cannot())?;
    Ok(Scalar::from_integer(arguments.perl(), 1).into())
}

/// `$cgi->drop`: ends the request at once; the empty list.
fn drop_request(arguments: &Arguments<'_>) -> Result<Returned> {
    act(arguments, Engine::drop_request)?;
    Ok(Returned::Nothing)
}

/// `$cgi->fd`: the number of the socket, which the application may use as it likes.
fn fd(arguments: &Arguments<'_>) -> Result<Returned> {
    act(arguments, Engine::expose)?;
    match this(arguments)?.get("fd")? {
        Some(number) => Ok(number.into()),
        None => Ok(Returned::Nothing),
    }
}

/// `$cgi->fh`: a handle of the socket. What was read of the body along with the
/// head is read from it first.
fn fh(arguments: &Arguments<'_>) -> Result<Returned> {
    let closed = || Error::croak("Can`t get fh of closed socket!");
    let buffer = buffer(&this(arguments)?)?.ok_or_else(closed)?;
    let reply = buffer.attached::<Reply>().ok_or_else(closed)?;
    let handle = reply.handle(arguments.perl(), &buffer)?;
    Ok(handle.ok_or_else(closed)?.into())
}

/// `$cgi->header(\%fields?)`: prints the head of the reply.
fn header(arguments: &Arguments<'_>) -> Result<Returned> {
    let object = this(arguments)?;
    let output = Output::of(&object)?
        .ok_or_else(|| Error::croak("Can`t print headers to closed socket!"))?;
    let fields = match defined(arguments.get(1))? {
        Some(fields) => Some(
            fields
                .as_hash()
                .ok_or_else(|| Error::croak("header takes a hash reference"))?,
        ),
        None => None,
    };
    let Some(server) = Server::current() else {
        return Ok(Returned::Nothing);
    };
    let keys = &server.names().keys;
    let cookies = defined(object.get(&keys.cookie_lines)?)?;
    let mut head = server.take_scratch();
    header::append_head(&mut head, keys, fields.as_ref(), cookies.as_ref())?;
    let returned = output.write_head(arguments, &head);
    server.put_back_scratch(head);
    returned
}

/// `$cgi->param($name)`: all values, or the last one.
fn param(arguments: &Arguments<'_>) -> Result<Returned> {
    let Some(values) = unmade_values(arguments)? else {
        return param_of_lists(arguments);
    };
    let value = |value: &Option<Text>| match value {
        Some(value) => text::scalar(arguments.perl(), value),
        None => Scalar::undef(arguments.perl()),
    };
    Ok(match arguments.context() {
        Context::List => values.iter().map(value).collect::<Vec<_>>().into(),
        _ => values.last().map(value).into(),
    })
}

/// The values of a plain name in hashes that were not made.
fn unmade_values(arguments: &Arguments<'_>) -> Result<Option<Vec<Option<Text>>>> {
    let object = this(arguments)?;
    let name = arguments.get(1).filter(Scalar::is_plain_string);
    let (Some(server), Some(name)) = (Server::current(), name) else {
        return Ok(None);
    };
    let name = name.bytes()?;
    match name.is_ascii() {
        true => fields::values_of(&server.names().keys, &object, &name),
        false => Ok(None),
    }
}

/// The same from the hashes that were made.
fn param_of_lists(arguments: &Arguments<'_>) -> Result<Returned> {
    let name = "HTTP::Server::EV::CGI::_param";
    let look = match Server::current() {
        Some(server) => server.names().param_of_lists.clone(),
        None => arguments.perl().code(name),
    };
    let look = look.ok_or_else(|| Error::croak(format!("There is no {name}")))?;
    Ok(match arguments.context() {
        Context::List => look.call_list(arguments.as_slice())?.into(),
        _ => look.call_scalar(arguments.as_slice())?.into(),
    })
}

/// `$cgi->print(@list)`
fn print(arguments: &Arguments<'_>) -> Result<Returned> {
    let output = Output::of(&this(arguments)?)?
        .ok_or_else(|| Error::croak("Can`t print to closed socket!"))?;
    output.append(arguments, buffer::rest(arguments))
}

/// `$cgi->set_cookies(\%cookies, $lifetime?)`: `header` sends them.
fn set_cookies(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let object = this(arguments)?;
    let cookies = arguments
        .required(1, "cookies")?
        .as_hash()
        .ok_or_else(|| Error::croak("set_cookies takes a hash reference"))?;
    let lifetime = match defined(arguments.get(2))? {
        Some(seconds) => seconds.integer()?,
        None => perl
            .scalar_variable("HTTP::Server::EV::CGI::cookies_lifetime")
            .integer()?,
    };
    let mut lines = cookie_lines(&object)?;
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

/// `$cgi->_finish`: the reply ends with what was printed, whoever still has its
/// Buffer.
fn finish(arguments: &Arguments<'_>) -> Result<Returned> {
    if let (Some(server), Some(reply)) = (Server::current(), reply(&this(arguments)?)?) {
        server.finish(reply.id());
    }
    Ok(Returned::Nothing)
}

/// `_is_in_nested_loop()`: whether a loop runs within the main callback that is being called.
fn is_in_nested_loop(arguments: &Arguments<'_>) -> Result<Returned> {
    let depth = Server::current().and_then(|server| server.callback_depth.get());
    let is_nested = depth.is_some_and(|depth| depth != perl_ev::depth());
    Ok(Scalar::from_integer(arguments.perl(), is_nested.into()).into())
}

/// The Buffer, unless the reply was closed.
fn buffer(object: &Hash) -> Result<Option<Hash>> {
    Ok(object.get("buffer")?.and_then(|buffer| buffer.as_hash()))
}

fn reply(object: &Hash) -> Result<Option<Rc<Reply>>> {
    Ok(Output::of(object)?.and_then(|output| output.reply()))
}

/// Acts on the request, if there still is one.
fn act(arguments: &Arguments<'_>, act: impl FnOnce(&mut Engine, RequestId)) -> Result<()> {
    if let (Some(server), Some(reply)) = (Server::current(), reply(&this(arguments)?)?) {
        server.with_engine(|engine| act(engine, reply.id()));
    }
    Ok(())
}

fn duplicate(id: RequestId) -> Option<std::os::fd::OwnedFd> {
    let server = Server::current()?;
    server.with_engine(|engine| engine.duplicate(id))?.ok()
}

/// The `Set-Cookie` lines of the next `header`.
fn cookie_lines(object: &Hash) -> Result<Vec<u8>> {
    defined(object.get("cookiesbuffer")?)?.map_or_else(|| Ok(Vec::new()), |lines| lines.bytes())
}
