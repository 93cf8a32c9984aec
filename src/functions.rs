//! The functions that stand below the objects, for programs that call them. What
//! they are given may be stale, or be nothing at all: then they do nothing.

use engine::{Engine, ListenerId, RequestId};
use perl_xs::{Arguments, Hash, Package, Result, Returned, Scalar};

use crate::listener;
use crate::server::Server;
use crate::value::{defined, truth};

pub fn define(package: Package) -> Result<()> {
    package.define("drop_req", drop_request)?;
    package.define("listen_socket", listen_socket)?;
    package.define("start_listen", start_listen)?;
    package.define("start_req", start_request)?;
    package.define("stop_listen", stop_listen)?;
    package.define("stop_req", stop_request)
}

/// `listen_socket($descriptor, $callback, $on_multipart, $on_error, $timeout)`: a
/// number that names the listener.
fn listen_socket(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let what = Hash::new(perl);
    what.insert("fd", arguments.required(0, "descriptor")?.copy()?)?;
    let options = Hash::new(perl);
    for (index, name) in [(2, "on_multipart"), (3, "on_error"), (4, "timeout")] {
        if let Some(value) = defined(arguments.get(index))? {
            options.insert(name, value.copy()?)?;
        }
    }
    let callback = truth(arguments.get(1))?;
    let id = listener::open(perl, &what.reference(), callback, &options)?;
    Ok(Scalar::from_unsigned(perl, id.number()).into())
}

fn start_listen(arguments: &Arguments<'_>) -> Result<Returned> {
    on_listener(arguments, listener::start_accepting)
}

fn stop_listen(arguments: &Arguments<'_>) -> Result<Returned> {
    on_listener(arguments, listener::stop_accepting)
}

/// `drop_req($number)`
fn drop_request(arguments: &Arguments<'_>) -> Result<Returned> {
    on_request(arguments, Engine::drop_request)
}

/// `start_req($number)`: undef, as no input waits in memory for the caller to see to.
fn start_request(arguments: &Arguments<'_>) -> Result<Returned> {
    on_request(arguments, |engine, id| {
        engine.start(id);
    })?;
    Ok(Scalar::undef(arguments.perl()).into())
}

/// `stop_req($number)`
fn stop_request(arguments: &Arguments<'_>) -> Result<Returned> {
    on_request(arguments, |engine, id| {
        engine.stop(id);
    })
}

fn on_listener(
    arguments: &Arguments<'_>,
    act: impl FnOnce(&Server, &Hash, ListenerId) -> Result<()>,
) -> Result<Returned> {
    let (Some(server), Some(number)) = (Server::current(), number(arguments)?) else {
        return Ok(Returned::Nothing);
    };
    let id = server.with_engine(|engine| engine.listener_numbered(number));
    if let Some((id, listener)) = id.and_then(|id| Some((id, server.listener(id)?))) {
        act(&server, &listener.hash, id)?;
    }
    Ok(Returned::Nothing)
}

fn on_request(
    arguments: &Arguments<'_>,
    act: impl FnOnce(&mut Engine, RequestId),
) -> Result<Returned> {
    let (Some(server), Some(number)) = (Server::current(), number(arguments)?) else {
        return Ok(Returned::Nothing);
    };
    server.with_engine(|engine| {
        if let Some(id) = engine.request_numbered(number) {
            act(engine, id);
        }
    });
    Ok(Returned::Nothing)
}

/// The first argument, if it is a number that can name anything.
fn number(arguments: &Arguments<'_>) -> Result<Option<u64>> {
    match defined(arguments.get(0))? {
        Some(number) if number.looks_like_number()? => Ok(u64::try_from(number.integer()?).ok()),
        _ => Ok(None),
    }
}
