//! What this thread serves: the engine, its place in EV's loop, and which Perl
//! objects belong to which request.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use engine::{Engine, Event, ListenerId, RequestId, WorkId, Writer};
use perl_ev::{Driver, Guest, Sleep};
use perl_xs::{Arguments, Code, Error, Hash, Perl, Result, Returned, Scalar};

use crate::dispatch;

/// Polls once more while the last round brought several events, so that a burst
/// costs one turn of EV's loop; bounded, so that EV's other watchers are served.
const ROUNDS_PER_WAKE_UP: usize = 8;

thread_local! {
    static SERVER: RefCell<Option<Rc<Server>>> = const { RefCell::new(None) };
}

/// The engine and the Perl objects it is known by.
pub struct Server {
    engine: RefCell<Engine>,
    driver: RefCell<Option<Driver>>,
    fork_generation: Cell<u32>,
    /// What the loop was told in `prepare`, until it calls back.
    told: Cell<Option<Sleep>>,
    listeners: RefCell<HashMap<ListenerId, Hash>>,
    requests: RefCell<HashMap<RequestId, Request>>,
    waiting_for_drain: RefCell<HashMap<RequestId, DrainWait>>,
    works: RefCell<HashMap<WorkId, Code>>,
    deferred: RefCell<VecDeque<(Code, Vec<Scalar>)>>,
    /// Replies whose owner went while the engine was in use.
    finished: RefCell<Vec<RequestId>>,
    temporary_directory: RefCell<Vec<u8>>,
    temporary_directory_variable: Scalar,
}

/// What is known of a request until its reply is finished.
#[derive(Clone)]
pub struct Request {
    pub listener: Hash,
    /// The request object, held until the main callback has returned.
    pub object: Option<Hash>,
    /// The file being received.
    pub file: Option<Hash>,
    /// A weak reference to the Buffer.
    pub buffer: Scalar,
}

/// Who waits for a Buffer to be sent; the Buffer is kept until it is.
struct DrainWait {
    callbacks: Vec<Code>,
    _buffer: Scalar,
}

impl Server {
    /// The server of this thread, started at the first call.
    pub fn start(perl: Perl) -> Result<Rc<Server>> {
        if let Some(server) = Server::current() {
            return Ok(server);
        }
        let engine = Engine::new().map_err(|error| Error::croak(cannot("start", &error)))?;
        let descriptor = engine.as_raw_fd();
        let server = Rc::new(Server {
            engine: RefCell::new(engine),
            driver: RefCell::default(),
            fork_generation: Cell::new(perl_ev::fork_generation()),
            told: Cell::new(None),
            listeners: RefCell::default(),
            requests: RefCell::default(),
            waiting_for_drain: RefCell::default(),
            works: RefCell::default(),
            deferred: RefCell::default(),
            finished: RefCell::default(),
            temporary_directory: RefCell::default(),
            temporary_directory_variable: perl.scalar_variable("HTTP::Server::EV::tmp_path"),
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

    pub fn add_listener(&self, id: ListenerId, listener: Hash) {
        self.listeners.borrow_mut().insert(id, listener);
    }

    pub fn listener(&self, id: ListenerId) -> Option<Hash> {
        self.listeners.borrow().get(&id).cloned()
    }

    pub fn add_request(&self, id: RequestId, request: Request) {
        self.requests.borrow_mut().insert(id, request);
    }

    pub fn request(&self, id: RequestId) -> Option<Request> {
        self.requests.borrow().get(&id).cloned()
    }

    /// Sets the file that is being received, and returns the one before it.
    pub fn set_file(&self, id: RequestId, file: Option<Hash>) -> Option<Hash> {
        let mut requests = self.requests.borrow_mut();
        let request = requests.get_mut(&id)?;
        std::mem::replace(&mut request.file, file)
    }

    /// Lets go of the request object, whose life is now the application's.
    pub fn release_object(&self, id: RequestId) {
        let object = self
            .requests
            .borrow_mut()
            .get_mut(&id)
            .and_then(|request| request.object.take());
        drop(object);
    }

    /// Nobody holds the Buffer of this reply any more: send the rest and close.
    pub fn finish(&self, id: RequestId) {
        self.follow_fork();
        match self.engine.try_borrow_mut() {
            Ok(mut engine) => engine.finish(id),
            Err(_) => self.finished.borrow_mut().push(id),
        }
        self.wake_loop();
        self.forget(id);
    }

    /// Drops what is known of the request.
    pub fn forget(&self, id: RequestId) {
        let request = self.requests.borrow_mut().remove(&id);
        drop(request);
    }

    /// Calls back once all output of the Buffer is sent, or can never be.
    pub fn when_drained(&self, id: RequestId, buffer: Scalar, callback: Code) {
        self.waiting_for_drain
            .borrow_mut()
            .entry(id)
            .or_insert_with(|| DrainWait {
                callbacks: Vec::new(),
                _buffer: buffer,
            })
            .callbacks
            .push(callback);
        self.with_engine(|engine| engine.notify_drained(id));
    }

    /// The callbacks that waited for this, together with what kept the Buffer.
    pub fn take_drain_callbacks(&self, id: RequestId) -> (Vec<Code>, Option<Scalar>) {
        let wait = self.waiting_for_drain.borrow_mut().remove(&id);
        match wait {
            Some(wait) => (wait.callbacks, Some(wait._buffer)),
            None => (Vec::new(), None),
        }
    }

    /// Runs file work on a thread and calls back with its result.
    pub fn spawn(&self, work: Box<dyn FnOnce() -> io::Result<()> + Send>, callback: Code) {
        let id = self.with_engine(|engine| engine.spawn(work));
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
        let path = self.temporary_directory_variable.bytes()?;
        if path.is_empty() || *self.temporary_directory.borrow() == path {
            return Ok(());
        }
        let directory = PathBuf::from(OsStr::from_bytes(&path));
        self.with_engine(|engine| engine.set_temporary_directory(directory));
        self.temporary_directory.replace(path);
        Ok(())
    }

    /// In the child of a `fork` the connections are the parent's: they are let
    /// go, and the listeners are watched with a poll of our own.
    fn follow_fork(&self) {
        let generation = perl_ev::fork_generation();
        if self.fork_generation.replace(generation) == generation {
            return;
        }
        let rebuilt = self.engine.borrow_mut().after_fork();
        if let (Ok(()), Some(driver)) = (&rebuilt, &*self.driver.borrow()) {
            driver.watch(self.engine.borrow().as_raw_fd());
        }
        let inherited = (
            self.requests.take(),
            self.waiting_for_drain.take(),
            self.works.take(),
            self.deferred.take(),
        );
        drop(inherited);
        if let Err(error) = rebuilt {
            self.retire(&error);
        }
    }

    /// Without a poll of its own the child must leave the parent's alone.
    fn retire(&self, error: &io::Error) {
        drop(self.driver.take());
        let perl = self.temporary_directory_variable.perl();
        let message = format!("{}\n", cannot("serve after fork", error));
        // A handler of `$SIG{__WARN__}` may die; there is nobody left to tell.
        let _ = perl.warn(message.as_bytes());
    }

    /// Has the loop go round again if it must not sleep, or end, as it was told:
    /// a Coro thread may print after `prepare`, and the last callback of a loop
    /// that is about to end may listen.
    fn wake_loop(&self) {
        let driver = self.driver.borrow();
        let (Some(told), Some(driver)) = (self.told.get(), &*driver) else {
            return;
        };
        let sleep = self.sleep();
        let is_late = sleep.at_most == Some(Duration::ZERO);
        if is_late || (sleep.holds_loop && !told.holds_loop) {
            driver.wake();
            self.told.set(None);
        }
    }

    fn sleep(&self) -> Sleep {
        let has_deferred = !self.deferred.borrow().is_empty();
        let Ok(engine) = self.engine.try_borrow() else {
            return Sleep {
                at_most: None,
                holds_loop: true,
            };
        };
        let at_most = match has_deferred {
            true => Some(Duration::ZERO),
            false => engine.wait_time(),
        };
        Sleep {
            at_most,
            holds_loop: has_deferred || engine.is_active(),
        }
    }

    fn deliver_events(&self, perl: Perl) -> Result<()> {
        self.run_deferred()?;
        while let Some(event) = self.next_event() {
            dispatch::dispatch(self, perl, event)?;
        }
        Ok(())
    }

    fn next_event(&self) -> Option<Event> {
        let finished = self.finished.take();
        self.with_engine(|engine| {
            finished.into_iter().for_each(|id| engine.finish(id));
            engine.next_event()
        })
    }

    /// Runs those deferred so far: one that defers again waits for its round. They
    /// are taken one by one, as each may run a nested loop that waits for the next.
    fn run_deferred(&self) -> Result<()> {
        let count = self.deferred.borrow().len();
        for _ in 0..count {
            let next = self.deferred.borrow_mut().pop_front();
            let Some((callback, arguments)) = next else {
                break;
            };
            dispatch::call_or_warn(&callback, &arguments)?;
        }
        Ok(())
    }

    fn shut_down() {
        let Some(server) = SERVER.take() else { return };
        server.with_engine(Engine::shut_down);
        let known = (
            server.listeners.take(),
            server.requests.take(),
            server.waiting_for_drain.take(),
            server.works.take(),
            server.deferred.take(),
        );
        drop(known);
    }
}

impl Guest for Server {
    fn ready(&self, perl: Perl) -> Result<()> {
        self.told.set(None);
        for _ in 0..ROUNDS_PER_WAKE_UP {
            let events = self
                .with_engine(Engine::turn)
                .map_err(|error| Error::croak(cannot("poll", &error)))?;
            self.deliver_events(perl)?;
            if events < 2 {
                break;
            }
        }
        Ok(())
    }

    fn prepare(&self, _perl: Perl) -> Sleep {
        self.with_engine(Engine::flush);
        let sleep = self.sleep();
        self.told.set(Some(sleep));
        sleep
    }

    fn forked(&self, _perl: Perl) -> Result<()> {
        self.follow_fork();
        Ok(())
    }
}

/// `_defer($callback, @arguments)`: calls it in the loop's next round.
pub fn defer(arguments: &Arguments<'_>) -> Result<Returned> {
    let callback = arguments
        .required(0, "callback")?
        .as_code()
        .ok_or_else(|| Error::croak("callback takes a code reference"))?;
    let values = arguments.iter().skip(1).cloned().collect();
    Server::start(arguments.perl())?.defer(callback, values);
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

fn cannot(what: &str, error: &io::Error) -> String {
    format!("HTTP::Server::EV cannot {what}: {error}")
}
