//! What this thread serves: the engine, and which Perl objects belong to which
//! request. Its part in EV's loop is in `turn.rs`, its tables are of `slots.rs`.

mod slots;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use engine::{Engine, ListenerId, RequestId, TemporaryFile, WorkId, Writer};
use perl_ev::{Driver, Sleep};
use perl_xs::{Arguments, Code, Error, Hash, Perl, Result, Returned, Scalar};

use self::slots::Slots;
use crate::names::Names;
use crate::options::FormOptions;
use crate::request::{Object, Pools};

thread_local! {
    static SERVER: RefCell<Option<Rc<Server>>> = const { RefCell::new(None) };
    /// The interpreter ends, or has: nothing is started any more.
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that are kept for texts to come.
const MOST_SCRATCH: usize = 16 * 1024;

/// The engine and the Perl objects it is known by.
pub struct Server {
    perl: Perl,
    names: Rc<Names>,
    engine: RefCell<Engine>,
    driver: RefCell<Option<Driver>>,
    forks: Cell<perl_ev::Forks>,
    /// How many loops ran when the main callback was called; not known of threads, which outlive
    /// the loop they were made in.
    pub callback_depth: Cell<Option<u32>>,
    /// What the loop was told before it last slept, until it calls back.
    last_sleep: Cell<Option<Sleep>>,
    listeners: RefCell<Slots<ListenerId, Rc<Listener>>>,
    requests: RefCell<Slots<RequestId, Request>>,
    waiting_for_drain: RefCell<HashMap<RequestId, DrainWait>>,
    waiting_for_stop: RefCell<HashMap<ListenerId, Vec<Code>>>,
    /// Finished replies that their clients are still taking, by descriptor.
    draining: RefCell<HashMap<RequestId, i32>>,
    works: RefCell<HashMap<WorkId, Code>>,
    deferred: RefCell<VecDeque<(Code, Vec<Scalar>)>>,
    late_commands: RefCell<Vec<(RequestId, Command)>>,
    temporary_directory: RefCell<Vec<u8>>,
    /// No file has been completed since one could not be stored.
    pub disk_fails: Cell<bool>,
    /// Memory for the next text that is made for the engine.
    scratch: RefCell<Vec<u8>>,
}

/// What is known of a request until its reply is finished.
#[derive(Clone)]
pub struct Request {
    /// Nobody, for a Buffer that was made of a socket.
    pub listener: Option<Rc<Listener>>,
    /// The request object, held until the main callback has returned.
    pub object: Option<Object>,
    /// The file being received.
    pub file: Option<Hash>,
    /// A weak reference to the Buffer, if that is made.
    pub buffer: Option<Scalar>,
    /// Whether the client's hanging up is told to the Buffer.
    pub watches_client: bool,
}

/// What is known of a listener.
pub struct Listener {
    pub hash: Hash,
    pub forms: FormOptions,
    pub pools: Pools,
}

type Command = fn(&mut Engine, RequestId);

/// Who waits for a Buffer to be sent; the Buffer is kept until it is.
struct DrainWait {
    callbacks: Vec<Code>,
    buffer: Scalar,
}

impl Server {
    /// The server of this thread, started at the first call.
    pub fn start(perl: Perl) -> Result<Rc<Server>> {
        if let Some(server) = Server::current() {
            return Ok(server);
        }
        if HAS_ENDED.get() {
            return Err(Error::croak("HTTP::Server::EV has ended with the program"));
        }
        let engine = Engine::new().map_err(|error| Error::croak(cannot("start", &error)))?;
        let descriptor = engine.as_raw_fd();
        let server = Rc::new(Server {
            perl,
            names: Rc::new(Names::new(perl)),
            engine: RefCell::new(engine),
            driver: RefCell::default(),
            forks: Cell::new(perl_ev::forks()),
            callback_depth: Cell::new(None),
            last_sleep: Cell::new(None),
            listeners: RefCell::default(),
            requests: RefCell::default(),
            waiting_for_drain: RefCell::default(),
            waiting_for_stop: RefCell::default(),
            draining: RefCell::default(),
            works: RefCell::default(),
            deferred: RefCell::default(),
            late_commands: RefCell::default(),
            temporary_directory: RefCell::default(),
            disk_fails: Cell::new(false),
            scratch: RefCell::default(),
        });
        let driver = Driver::start(perl, descriptor, server.clone())?;
        server.driver.replace(Some(driver));
        SERVER.set(Some(server.clone()));
        perl.at_exit(|_| Server::shut_down());
        Ok(server)
    }

    /// The server of this thread, if it was started.
    pub fn current() -> Option<Rc<Server>> {
        SERVER.with_borrow(|server| server.clone())
    }

    pub fn names(&self) -> &Rc<Names> {
        &self.names
    }

    /// An empty buffer, with memory if another was put back.
    pub fn take_scratch(&self) -> Vec<u8> {
        self.scratch.take()
    }

    /// The text was handed on: its memory is for the next one, unless it is much.
    pub fn put_back_scratch(&self, mut text: Vec<u8>) {
        text.clear();
        text.shrink_to(MOST_SCRATCH);
        self.scratch.replace(text);
    }

    /// Lends the engine to `act`, which must not call Perl or drop its values.
    pub fn with_engine<T>(&self, act: impl FnOnce(&mut Engine) -> T) -> T {
        self.follow_fork();
        let result = act(&mut self.engine.borrow_mut());
        self.wake_loop();
        result
    }

    /// Runs what the application was promised "later, from the loop".
    pub fn defer(&self, callback: Code, arguments: Vec<Scalar>) {
        self.deferred.borrow_mut().push_back((callback, arguments));
        self.wake_loop();
    }

    pub fn add_listener(&self, id: ListenerId, hash: Hash, forms: FormOptions) {
        let pools = Pools::default();
        let listener = Rc::new(Listener { hash, forms, pools });
        let replaced = self.listeners.borrow_mut().insert(id, listener);
        drop(replaced);
    }

    pub fn all_listeners(&self) -> Vec<Hash> {
        self.listeners
            .borrow()
            .values()
            .map(|listener| listener.hash.clone())
            .collect()
    }

    pub fn listener(&self, id: ListenerId) -> Option<Rc<Listener>> {
        self.listeners.borrow().get(id).cloned()
    }

    pub fn add_request(&self, id: RequestId, request: Request) {
        let replaced = self.requests.borrow_mut().insert(id, request);
        drop(replaced);
    }

    pub fn request(&self, id: RequestId) -> Option<Request> {
        self.requests.borrow().get(id).cloned()
    }

    /// The Buffer of the request was made.
    pub fn set_buffer(&self, id: RequestId, weak: Scalar) {
        let mut requests = self.requests.borrow_mut();
        let replaced = match requests.get_mut(id) {
            Some(request) => request.buffer.replace(weak),
            None => None,
        };
        drop(requests);
        drop(replaced);
    }

    /// Notes that the finished reply is still being taken by its client.
    pub fn note_draining(&self, id: RequestId, descriptor: i32) {
        self.draining.borrow_mut().insert(id, descriptor);
    }

    /// The descriptor of a finished reply that has been taken now.
    pub fn take_draining(&self, id: RequestId) -> Option<i32> {
        self.draining.borrow_mut().remove(&id)
    }

    /// Whether files are written by the loop itself.
    pub fn writes_inline(&self) -> bool {
        self.with_engine(|engine| engine.writer() == Writer::Inline)
    }

    /// Sets the file that is being received, and returns the one before it.
    pub fn set_file(&self, id: RequestId, file: Option<Hash>) -> Option<Hash> {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get_mut(id)?;
        std::mem::replace(&mut request.file, file)
    }

    /// Lets go of the request object, whose life is now the application's.
    pub fn release_object(&self, id: RequestId) -> Option<Object> {
        let mut requests = self.requests.borrow_mut();
        requests.get_mut(id)?.object.take()
    }

    /// Nobody holds the Buffer of this reply any more: send the rest and close.
    pub fn finish(&self, id: RequestId) {
        self.command(id, Engine::finish);
        self.forget(id);
    }

    /// Nobody holds a duplicate of this request's socket any more.
    pub fn duplicates_closed(&self, id: RequestId) {
        self.command(id, Engine::duplicates_closed);
    }

    /// A command that comes from a destructor, and so perhaps while the engine is
    /// in use: it is then carried out later.
    fn command(&self, id: RequestId, command: Command) {
        self.follow_fork();
        match self.engine.try_borrow_mut() {
            Ok(mut engine) => command(&mut engine, id),
            Err(_) => self.late_commands.borrow_mut().push((id, command)),
        }
        self.wake_loop();
    }

    /// Drops what is known of the request.
    pub fn forget(&self, id: RequestId) {
        let request = self.requests.borrow_mut().remove(id);
        drop(request);
    }

    /// Calls back once all output of the Buffer is sent, or can never be.
    pub fn when_drained(&self, id: RequestId, buffer: Scalar, callback: Code) {
        self.waiting_for_drain
            .borrow_mut()
            .entry(id)
            .or_insert_with(|| DrainWait {
                callbacks: Vec::new(),
                buffer,
            })
            .callbacks
            .push(callback);
        self.with_engine(|engine| engine.notify_drained(id));
    }

    /// The callbacks that waited for this, together with what kept the Buffer.
    pub fn take_drain_callbacks(&self, id: RequestId) -> (Vec<Code>, Option<Scalar>) {
        let wait = self.waiting_for_drain.borrow_mut().remove(&id);
        match wait {
            Some(wait) => (wait.callbacks, Some(wait.buffer)),
            None => (Vec::new(), None),
        }
    }

    /// Calls back once the listener, which is being stopped, has no connection any more.
    pub fn when_stopped(&self, id: ListenerId, callback: Code) {
        let mut waiting = self.waiting_for_stop.borrow_mut();
        waiting.entry(id).or_default().push(callback);
    }

    pub fn take_stop_callbacks(&self, id: ListenerId) -> Vec<Code> {
        let waiting = self.waiting_for_stop.borrow_mut().remove(&id);
        waiting.unwrap_or_default()
    }

    /// Persists the file on a thread and calls back with the result.
    pub fn persist_later(&self, file: &TemporaryFile, to: PathBuf, callback: Code) {
        let id = self.with_engine(|engine| engine.persist_later(file, to));
        self.works.borrow_mut().insert(id, callback);
    }

    pub fn take_work(&self, id: WorkId) -> Option<Code> {
        self.works.borrow_mut().remove(&id)
    }

    /// The application is through with an event: the connection goes on.
    pub fn acknowledge(&self, id: RequestId) -> Result<()> {
        self.follow_temporary_directory()?;
        self.with_engine(|engine| engine.acknowledge(id));
        Ok(())
    }

    /// `$HTTP::Server::EV::tmp_path` counts as it is when a file is created.
    fn follow_temporary_directory(&self) -> Result<()> {
        let path = self.names.variables.temporary_directory.get().bytes()?;
        if path.is_empty() || *self.temporary_directory.borrow() == path {
            return Ok(());
        }
        let directory = PathBuf::from(OsStr::from_bytes(&path));
        self.with_engine(|engine| engine.set_temporary_directory(directory));
        self.temporary_directory.replace(path);
        Ok(())
    }

    /// Where files go; empty before the application has said it.
    pub fn temporary_directory(&self) -> Vec<u8> {
        self.temporary_directory.borrow().clone()
    }

    /// Removes what dead processes have left in the directory of temporary files.
    pub fn prepare_temporary_directory(&self) -> Result<()> {
        self.follow_temporary_directory()?;
        self.with_engine(|engine| engine.prepare_temporary_directory());
        Ok(())
    }

    /// The program ends: complete replies get one more chance to be sent,
    /// temporary files go, and whatever Perl code still runs finds nothing here.
    fn shut_down() {
        HAS_ENDED.set(true);
        let Some(server) = SERVER.take() else { return };
        server.with_engine(|engine| {
            engine.flush_all();
            engine.shut_down();
        });
        server.let_go();
        drop(server.driver.take());
    }

    /// Drops every Perl value that is held for a request or a listener.
    fn let_go(&self) {
        let known = (
            self.listeners.take(),
            self.requests.take(),
            self.waiting_for_drain.take(),
            self.waiting_for_stop.take(),
            self.works.take(),
            self.deferred.take(),
        );
        drop(known);
    }
}

/// `_defer($callback, @arguments)`: calls it in the loop's next round. At the end
/// of the program there is none.
pub fn defer(arguments: &Arguments<'_>) -> Result<Returned> {
    let callback = arguments
        .required(0, "callback")?
        .as_code()
        .ok_or_else(|| Error::croak("callback takes a code reference"))?;
    let values = arguments.iter().skip(1).cloned().collect();
    if let Some(server) = Server::current() {
        server.defer(callback, values);
    }
    Ok(Returned::Nothing)
}

/// `_set_writer('inline' | 'threads')`: how the next files are written.
pub fn set_writer(arguments: &Arguments<'_>) -> Result<Returned> {
    let writer = match arguments.required(0, "writer")?.bytes()?.as_slice() {
        b"inline" => Writer::Inline,
        b"threads" => Writer::Threads,
        _ => return Err(Error::croak("writer takes 'inline' or 'threads'")),
    };
    Server::start(arguments.perl())?.with_engine(|engine| engine.set_writer(writer));
    Ok(Returned::Nothing)
}

/// `_prepare_directory()`: removes what dead processes have left in `$tmp_path`.
pub fn prepare_directory(arguments: &Arguments<'_>) -> Result<Returned> {
    Server::start(arguments.perl())?.prepare_temporary_directory()?;
    Ok(Returned::Nothing)
}

/// What is said where the system refuses something.
pub fn cannot(what: &str, error: &io::Error) -> String {
    format!("HTTP::Server::EV cannot {what}: {}", reason(error))
}

/// The error's text as Perl's `$!` has it, without the number that Rust appends.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
