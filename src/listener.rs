//! `listen`, and `HTTP::Server::EV::PortListener`.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use engine::{ListenAddress, ListenSocket, ListenerId, ListenerOptions};
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Error, Hash, Package, Perl, Result, Returned, Scalar};

use crate::options::Options;
use crate::server::{Server, cannot, reason};
use crate::value::{defined, truth};

const PACKAGE: &str = "HTTP::Server::EV::PortListener";

/// The keys that `listen` sets for itself.
const OWN_KEYS: [&[u8]; 5] = [b"cb", b"port", b"ptr", b"socket", b"stopped"];

/// What a PortListener holds of the engine. The server keeps each for as long as
/// the process runs.
pub struct Listening {
    id: ListenerId,
    /// The first argument of `listen`. A reference is the listener's name by its
    /// place in memory, which therefore must not be taken by another one.
    _what: Scalar,
}

/// Marks the handle under the key `socket` as made by `listen`, which makes no
/// option of it when the hash is used or copied for another address.
struct OwnHandle;

pub fn define(package: Package) -> Result<()> {
    package.define("start", start)?;
    package.define("stop", stop)
}

/// `HTTP::Server::EV->listen($what, $callback, \%options)`
pub fn listen(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let what = truth(arguments.get(1))?.ok_or_else(|| Error::croak("Port undefined!"))?;
    let listeners = perl.hash_variable("HTTP::Server::EV::listeners");
    let key = what.bytes()?;
    if listeners.contains_key(&key)? {
        return Err(Error::croak("You can`t bind two listeners on one port!\n"));
    }

    let listener = options_hash(perl, truth(arguments.get(3))?)?;
    open(perl, &what, truth(arguments.get(2))?, &listener)?;
    listeners.insert(&key, listener.reference())?;
    Ok(listener.reference().into())
}

/// `_listeners()`: all PortListeners there are.
pub fn listeners(_: &Arguments<'_>) -> Result<Returned> {
    let listeners = Server::current().map_or_else(Vec::new, |server| server.all_listeners());
    let references = listeners.iter().map(Hash::reference).collect();
    Ok(Returned::List(references))
}

/// Listens, and makes the hash of options the PortListener.
pub fn open(
    perl: Perl,
    what: &Scalar,
    callback: Option<Scalar>,
    listener: &Hash,
) -> Result<ListenerId> {
    let instance = perl.scalar_variable("HTTP::Server::EV::instance").as_hash();
    let options = Options {
        listener,
        server: instance.as_ref(),
    };
    let (forms, options) = (options.read_forms()?, options.read()?);
    let socket = socket(what, listener)?;

    let callback = callback.ok_or_else(|| Error::croak("No callback!"))?;
    if callback.as_code().is_none() {
        return Err(Error::croak(
            "listen takes a code reference as its callback",
        ));
    }
    describe(perl, listener, what, &socket)?;
    listener.insert("cb", callback.copy()?)?;
    listener.insert("stopped", Scalar::from_integer(perl, 0))?;

    let (server, id) = watch(listener, what, socket, options).inspect_err(|_| {
        // Otherwise the handle in it would keep the address in use.
        let _ = forget_own_handle(listener);
    })?;
    listener.insert("ptr", Scalar::from_unsigned(perl, id.number()))?;
    listener.attach(Rc::new(Listening {
        id,
        _what: what.copy()?,
    }));
    listener.bless(PACKAGE)?;
    server.add_listener(id, listener.clone(), forms);
    Ok(id)
}

/// For an application that has made no server, as `new` does it.
fn choose_disk_backend(perl: Perl) -> Result<()> {
    match perl.code("HTTP::Server::EV::_use_default_disk_backend") {
        Some(choose) => choose.call(&[]),
        None => Ok(()),
    }
}

/// Calls `fork_hook`, and has the engine accept. The children that are forked
/// there share the socket, and none has watched it yet.
fn watch(
    listener: &Hash,
    what: &Scalar,
    socket: ListenSocket,
    options: ListenerOptions,
) -> Result<(Rc<Server>, ListenerId)> {
    if let Some(fork_hook) = listener.get("fork_hook")?.and_then(|hook| hook.as_code()) {
        fork_hook.call(&[])?;
    }
    let server = Server::start(listener.perl())?;
    choose_disk_backend(listener.perl())?;
    let id = server
        .with_engine(|engine| engine.listen(socket, options))
        .map_err(|error| cannot_listen(what, &error))?;
    Ok((server, id))
}

/// The hash that becomes the PortListener: the application's own, or a copy where
/// that is a PortListener already because its options serve a second address.
fn options_hash(perl: Perl, given: Option<Scalar>) -> Result<Hash> {
    let Some(given) = given else {
        return Ok(Hash::new(perl));
    };
    let given = given
        .as_hash()
        .ok_or_else(|| Error::croak("listen takes a hash reference of options"))?;
    if given.attached::<Listening>().is_none() {
        return Ok(given);
    }
    let copy = Hash::new(perl);
    for (key, value) in given.pairs()? {
        if !OWN_KEYS.contains(&key.bytes.as_slice()) {
            copy.insert_key(&key, value.copy()?)?;
        }
    }
    Ok(copy)
}

/// The keys `port`, which tells the number even if the system chose it, and
/// `socket`, a handle of the listening socket.
fn describe(perl: Perl, listener: &Hash, what: &Scalar, socket: &ListenSocket) -> Result<()> {
    let port = match socket.address().port() {
        Some(port) => Scalar::from_integer(perl, port.into()),
        None => what.copy()?,
    };
    listener.insert("port", port)?;
    if brought_socket(listener)?.is_none() {
        let descriptor = socket.as_fd().try_clone_to_owned()?;
        let handle = handle::open(perl, descriptor, Mode::ReadWrite, Some("IO::Handle"))?;
        if let Some(glob) = handle.referent() {
            glob.attach(Rc::new(OwnHandle))?;
        }
        listener.insert("socket", handle)?;
    }
    Ok(())
}

fn forget_own_handle(listener: &Hash) -> Result<()> {
    if brought_socket(listener)?.is_none() {
        drop(listener.remove("socket")?);
    }
    Ok(())
}

/// The option `socket`.
fn brought_socket(listener: &Hash) -> Result<Option<Scalar>> {
    let socket = truth(listener.get("socket")?)?;
    Ok(socket.filter(|socket| {
        socket
            .referent()
            .is_none_or(|glob| glob.attached::<OwnHandle>().is_none())
    }))
}

/// `$listener->start`: connections are accepted again.
fn start(arguments: &Arguments<'_>) -> Result<Returned> {
    let (server, listener, id) = this(arguments)?;
    start_accepting(&server, &listener, id)?;
    Ok(Returned::Nothing)
}

/// `$listener->stop($callback?)`: none is accepted until `start`; those there are
/// finish the request they are at. Then comes the callback.
fn stop(arguments: &Arguments<'_>) -> Result<Returned> {
    let (server, listener, id) = this(arguments)?;
    if let Some(callback) = defined(arguments.get(1))? {
        let callback = callback
            .as_code()
            .ok_or_else(|| Error::croak("stop takes a code reference"))?;
        server.when_stopped(id, callback);
    }
    stop_accepting(&server, &listener, id)?;
    Ok(Returned::Nothing)
}

pub fn start_accepting(server: &Server, listener: &Hash, id: ListenerId) -> Result<()> {
    server
        .with_engine(|engine| engine.start_listener(id))
        .map_err(|error| Error::croak(cannot("accept again", &error)))?;
    set_stopped(server, listener, id, 0)
}

pub fn stop_accepting(server: &Server, listener: &Hash, id: ListenerId) -> Result<()> {
    server.with_engine(|engine| engine.stop_listener(id));
    set_stopped(server, listener, id, 1)
}

/// In the object itself, and in the copy of it that was given.
fn set_stopped(server: &Server, given: &Hash, id: ListenerId, stopped: i64) -> Result<()> {
    let own = server.listener(id);
    let own = own.iter().map(|listener| &listener.hash);
    for listener in own.chain([given]) {
        listener.insert("stopped", Scalar::from_integer(given.perl(), stopped))?;
    }
    Ok(())
}

fn this(arguments: &Arguments<'_>) -> Result<(Rc<Server>, Hash, ListenerId)> {
    let wrong = || Error::croak("not an HTTP::Server::EV::PortListener");
    let listener = arguments
        .get(0)
        .and_then(|listener| listener.as_hash())
        .ok_or_else(wrong)?;
    let server = Server::start(arguments.perl())?;
    let id = match listener.attached::<Listening>() {
        Some(listening) => listening.id,
        None => copied(&server, &listener)?.ok_or_else(wrong)?,
    };
    Ok((server, listener, id))
}

/// The listener that this hash is a copy of: `ptr` is copied too.
fn copied(server: &Server, listener: &Hash) -> Result<Option<ListenerId>> {
    let Some(number) = truth(listener.get("ptr")?)? else {
        return Ok(None);
    };
    let number = u64::try_from(number.integer()?).ok();
    Ok(number.and_then(|number| server.with_engine(|engine| engine.listener_numbered(number))))
}

/// Binds the address, or takes over the socket the application brought: as the
/// first argument, as `{ fd => N }` there, or as the option `socket`.
fn socket(what: &Scalar, listener: &Hash) -> Result<ListenSocket> {
    let brought = brought_socket(listener)?;
    let descriptor = match (&brought, what.as_hash()) {
        (Some(socket), _) => Some(socket.descriptor().ok_or_else(|| {
            Error::croak("HTTP::Server::EV: socket takes a listening socket handle")
        })?),
        (None, Some(options)) if !what.is_object() => Some(numbered_descriptor(&options)?),
        (None, _) => what.descriptor(),
    };
    let Some(descriptor) = descriptor else {
        return match what.is_reference() {
            true => Err(cannot_listen(what, &io::Error::other("no open handle"))),
            false => bind(what),
        };
    };
    // The engine has a descriptor of its own, whatever becomes of the handle.
    handle::duplicate(descriptor)
        .and_then(ListenSocket::from_descriptor)
        .map_err(|error| cannot_listen(what, &error))
}

fn numbered_descriptor(options: &Hash) -> Result<i32> {
    let wrong = || Error::croak("HTTP::Server::EV: fd takes the number of a listening socket");
    let number = options.get("fd")?.ok_or_else(wrong)?;
    if !number.looks_like_number()? {
        return Err(wrong());
    }
    i32::try_from(number.integer()?).map_err(|_| wrong())
}

fn bind(what: &Scalar) -> Result<ListenSocket> {
    let address = what.text()?;
    address
        .parse::<ListenAddress>()
        .and_then(|address| ListenSocket::bind(&address))
        .map_err(|error| cannot_listen(what, &error))
}

fn cannot_listen(what: &Scalar, error: &io::Error) -> Error {
    let what = match what.as_hash().filter(|_| !what.is_object()) {
        Some(options) => match numbered_descriptor(&options) {
            Ok(number) => format!("descriptor {number}"),
            Err(error) => return error,
        },
        None => what.text().unwrap_or_default(),
    };
    let reason = reason(error);
    Error::croak(format!(
        "HTTP::Server::EV cannot listen on {what}: {reason}"
    ))
}
