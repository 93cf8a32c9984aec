//! The engine's events become calls of Perl code, one at a time.
//!
//! An exception in one of the application's callbacks is warned about and costs
//! that request; `exit` is passed on.

use std::rc::Rc;

use engine::form::charset::Text;
use engine::{Event, Head, ListenerId, RequestError, RequestId, TemporaryFile};
use perl_xs::{Code, Error, Hash, Perl, Result, Scalar};

use crate::buffer::{self, Status};
use crate::fields;
use crate::multipart_file;
use crate::request;
use crate::server::{Request, Server, cannot, reason};
use crate::text;

const OUT_OF_DESCRIPTORS: &str = "HTTP::Server::EV ERROR: Can`t accept connection. \
    Run out of open file descriptors! \
    Listening stopped until one of the server connection will be closed!\n";

const CANNOT_ACCEPT: &str = "HTTP::Server::EV ERROR: Can`t accept connection";

const NO_DIRECTORY: &str = "HTTP::Server::EV->new was not called, which says where files go\n";

/// Acts on one event, and acknowledges it. A Perl exception is warned about and
/// drops the request; only `exit` is an error.
pub fn dispatch(server: &Server, perl: Perl, event: Event) -> Result<()> {
    let request = event.request();
    let Err(error) = act(server, perl, event) else {
        return Ok(());
    };
    if let Some(id) = request {
        server.with_engine(|engine| {
            engine.drop_request(id);
            engine.acknowledge(id);
        });
    }
    warn_of(perl, error)
}

fn act(server: &Server, perl: Perl, event: Event) -> Result<()> {
    match event {
        Event::Multipart { request, head } => multipart(server, request, head),
        Event::Field {
            request,
            name,
            value,
        } => field(server, perl, request, &name, &value),
        Event::FileOpened {
            request,
            name,
            file_name,
            file,
        } => file_opened(server, perl, request, &name, &file_name, file),
        Event::FileData {
            request,
            data,
            size,
        } => file_data(server, perl, request, &data, size),
        Event::FileReceived { request, size } => file_received(server, perl, request, size),
        Event::Request {
            request,
            head,
            body,
        } => complete(server, perl, request, head, body),
        Event::Failed { request, error } => {
            warn_of_disk(server, perl, &error)?;
            failed(server, request)
        }
        Event::Disconnected { request } => disconnected(server, request),
        Event::Draining {
            request,
            descriptor,
        } => {
            server.note_draining(request, descriptor);
            buffer::begin_draining(perl, descriptor)
        }
        Event::Drained { request } => drained(server, perl, request),
        Event::WorkDone { work, result } => match server.take_work(work) {
            Some(callback) => call_or_warn(&callback, &multipart_file::outcome(perl, result)),
            None => Ok(()),
        },
        Event::ListenerDrained { listener } => listener_drained(server, listener),
        Event::OutOfDescriptors { .. } => perl.warn(OUT_OF_DESCRIPTORS.as_bytes()),
        Event::AcceptFailed { error, .. } => {
            let message = format!("{CANNOT_ACCEPT}: {}\n", reason(&error));
            perl.warn(message.as_bytes())
        }
    }
}

/// Calls back; a Perl exception is warned about, and only `exit` is an error.
pub fn call_or_warn(callback: &Code, arguments: &[Scalar]) -> Result<()> {
    match callback.call(arguments) {
        Err(error) => warn_of(callback.perl(), error),
        Ok(()) => Ok(()),
    }
}

fn warn_of(perl: Perl, error: Error) -> Result<()> {
    if let Error::Exit = error {
        return Err(error);
    }
    let mut message = b"ERROR IN CALLBACK: ".to_vec();
    message.extend(error.message_bytes());
    warn(perl, &message)
}

/// A handler of `$SIG{__WARN__}` may die; there is nobody left to tell.
fn warn(perl: Perl, message: &[u8]) -> Result<()> {
    match perl.warn(message) {
        Err(Error::Exit) => Err(Error::Exit),
        _ => Ok(()),
    }
}

/// Once until a file is complete, so that no log is filled: whoever runs the server learns why
/// uploads fail, as `on_error` cannot tell that from a client that has gone.
fn warn_of_disk(server: &Server, perl: Perl, error: &RequestError) -> Result<()> {
    let RequestError::Store(failure) = error else {
        return Ok(());
    };
    if server.disk_fails.replace(true) {
        return Ok(());
    }
    let directory = server.temporary_directory();
    let what = format!("write in {}", String::from_utf8_lossy(&directory));
    warn(perl, format!("{}\n", cannot(&what, failure)).as_bytes())
}

fn multipart(server: &Server, id: RequestId, head: Rc<Head>) -> Result<()> {
    let Some(request) = begin(server, id, head, None)? else {
        return Ok(());
    };
    if let Some(object) = &request.object {
        drop(object.hash.remove(&server.names().keys.received)?);
    }
    call_hook(&request, "on_multipart", &[])?;
    server.acknowledge(id)
}

fn field(server: &Server, perl: Perl, id: RequestId, name: &[u8], value: &Text) -> Result<()> {
    if let Some(object) = object(server, id) {
        fields::add_part(&object, "post", name, text::scalar(perl, value))?;
    }
    server.acknowledge(id)
}

fn file_opened(
    server: &Server,
    perl: Perl,
    id: RequestId,
    name: &[u8],
    file_name: &Text,
    file: TemporaryFile,
) -> Result<()> {
    let Some(request) = server.request(id) else {
        return Ok(());
    };
    let Some(object) = request.object.clone() else {
        return Ok(());
    };
    if server.temporary_directory().is_empty() {
        return Err(Error::croak(NO_DIRECTORY));
    }
    let part = multipart_file::create(perl, &object.hash, file_name, file)?;
    drop(server.set_file(id, Some(part.clone())));
    // An application that opens files at once, in the loop, is told first.
    if server.writes_inline() {
        call_hook(&request, "on_file_open", &[part.reference()])?;
        fields::add_part(&object.hash, "file", name, part.reference())?;
    } else {
        fields::add_part(&object.hash, "file", name, part.reference())?;
        call_hook(&request, "on_file_open", &[part.reference()])?;
    }
    server.acknowledge(id)
}

fn file_data(server: &Server, perl: Perl, id: RequestId, data: &[u8], size: u64) -> Result<()> {
    if let Some((request, part)) = request_and_file(server, id) {
        multipart_file::set_size(perl, &part, size)?;
        let data = Scalar::from_bytes(perl, data);
        call_hook(&request, "on_file_write", &[part.reference(), data])?;
    }
    server.acknowledge(id)
}

fn file_received(server: &Server, perl: Perl, id: RequestId, size: u64) -> Result<()> {
    if let Some((request, part)) = request_and_file(server, id) {
        multipart_file::set_size(perl, &part, size)?;
        multipart_file::insert_handle(&part)?;
        drop(server.set_file(id, None));
        server.disk_fails.set(false);
        call_hook(&request, "on_file_received", &[part.reference()])?;
    }
    server.acknowledge(id)
}

/// The request is complete: its main callback is called.
fn complete(
    server: &Server,
    perl: Perl,
    id: RequestId,
    head: Option<Rc<Head>>,
    body: Option<Vec<u8>>,
) -> Result<()> {
    let request = match head {
        Some(head) => begin(server, id, head, body)?,
        None => received(server, perl, id).map_err(|error| give_up(server, id, error))?,
    };
    let Some(request) = request else {
        return Ok(());
    };
    if request.watches_client {
        server.with_engine(|engine| engine.watch_disconnect(id));
    }
    if let (Some(listener), Some(object)) = (request.listener, request.object) {
        call_main(server, &listener.hash, &object.hash)?;
        drop(server.release_object(id));
        request::end(server, &listener, object)?;
    }
    server.with_engine(|engine| engine.acknowledge(id));
    Ok(())
}

/// The multipart request whose body is complete now.
fn received(server: &Server, perl: Perl, id: RequestId) -> Result<Option<Request>> {
    let request = server.request(id);
    if let Some(object) = request.as_ref().and_then(|request| request.object.as_ref()) {
        let truth = Scalar::from_integer(perl, 1);
        object.hash.insert(&server.names().keys.received, truth)?;
    }
    Ok(request)
}

/// The application has made its request object such that it cannot be completed.
fn give_up(server: &Server, id: RequestId, error: Error) -> Error {
    server.with_engine(|engine| engine.drop_request(id));
    failed(server, id).err().unwrap_or(error)
}

/// Calls `HTTP::Server::EV::PortListener::_run_callback`, which has the label
/// that `$cgi->next` jumps to, or its sister that makes a Coro thread first.
fn call_main(server: &Server, listener: &Hash, object: &Hash) -> Result<()> {
    let names = server.names();
    let threading = match listener.get(&names.keys.threading)? {
        Some(threading) => threading.is_true()?,
        None => false,
    };
    let (runner, depth) = match threading {
        true => (&names.run_callback_in_thread, None),
        false => (&names.run_callback, Some(perl_ev::depth())),
    };
    let callback = listener.get(&names.keys.callback)?;
    let (Some(runner), Some(callback)) = (runner, callback) else {
        return Ok(());
    };
    let arguments = [callback, object.reference()];
    let outer_depth = server.callback_depth.replace(depth);
    let result = runner.call_scalar(&arguments);
    server.callback_depth.set(outer_depth);
    match result {
        // A thread has only begun.
        Ok(was_left) if !threading && was_left.is_true()? => {
            // The callback may have assigned to its argument.
            let request = object.reference();
            let closed = request.perl().call_method(&request, "close", &[]);
            closed
                .map(drop)
                .or_else(|error| warn_of(request.perl(), error))
        }
        Ok(_) => Ok(()),
        Err(error) => warn_of(object.perl(), error),
    }
}

fn failed(server: &Server, id: RequestId) -> Result<()> {
    let request = server.request(id);
    server.forget(id);
    if let Some(request) = &request {
        call_hook(request, "on_error", &[])?;
    }
    server.with_engine(|engine| engine.acknowledge(id));
    Ok(())
}

fn disconnected(server: &Server, id: RequestId) -> Result<()> {
    let Some(request) = server.request(id) else {
        return Ok(());
    };
    let Some(buffer) = request.buffer.and_then(|buffer| buffer.as_hash()) else {
        return Ok(());
    };
    if !server.with_engine(|engine| engine.accepts_output(id)) {
        buffer::set_status(&buffer, Status::Dead)?;
    }
    match buffer.get("onerror")?.and_then(|onerror| onerror.as_code()) {
        Some(onerror) => call_or_warn(&onerror, &[]),
        None => Ok(()),
    }
}

fn drained(server: &Server, perl: Perl, id: RequestId) -> Result<()> {
    if let Some(descriptor) = server.take_draining(id) {
        buffer::end_draining(perl, descriptor)?;
    }
    let known = server.request(id).and_then(|request| request.buffer);
    if let Some(buffer) = known.and_then(|buffer| buffer.as_hash()) {
        buffer::has_drained(&buffer)?;
    }
    let (callbacks, buffer) = server.take_drain_callbacks(id);
    for callback in callbacks {
        call_or_warn(&callback, &[])?;
    }
    drop(buffer);
    Ok(())
}

/// The last connection of a listener that was stopped is closed.
fn listener_drained(server: &Server, id: ListenerId) -> Result<()> {
    let waiting = server.take_stop_callbacks(id);
    let Some(listener) = server.listener(id) else {
        return Ok(());
    };
    let hook = listener.hash.get("on_drained")?;
    let hook = hook.and_then(|hook| hook.as_code());
    for callback in hook.into_iter().chain(waiting) {
        call_or_warn(&callback, &[listener.hash.reference()])?;
    }
    Ok(())
}

/// Makes the request object and enters the request into the table.
fn begin(
    server: &Server,
    id: RequestId,
    head: Rc<Head>,
    body: Option<Vec<u8>>,
) -> Result<Option<Request>> {
    let Some(listener) = server.listener(head.listener) else {
        server.with_engine(|engine| engine.drop_request(id));
        return Ok(None);
    };
    // Of these methods nothing more is expected from the client.
    let watches_client = matches!(head.request.method(), b"GET" | b"POST");
    let object = request::begin(server, &listener, id, head, body)?;
    let request = Request {
        listener: Some(listener),
        object: Some(object),
        file: None,
        buffer: None,
        watches_client,
    };
    server.add_request(id, request.clone());
    Ok(Some(request))
}

/// Calls one of the listener's `on_*` with the request object and what follows.
fn call_hook(request: &Request, name: &str, rest: &[Scalar]) -> Result<()> {
    let (Some(listener), Some(object)) = (&request.listener, &request.object) else {
        return Ok(());
    };
    let Some(hook) = listener.hash.get(name)?.and_then(|hook| hook.as_code()) else {
        return Ok(());
    };
    let mut arguments = vec![object.hash.reference()];
    arguments.extend_from_slice(rest);
    hook.call(&arguments)
}

fn request_and_file(server: &Server, id: RequestId) -> Option<(Request, Hash)> {
    let request = server.request(id)?;
    let file = request.file.clone()?;
    Some((request, file))
}

fn object(server: &Server, id: RequestId) -> Option<Hash> {
    Some(server.request(id)?.object?.hash)
}
