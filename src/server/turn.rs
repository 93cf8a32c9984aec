//! The server's part in EV's loop: what it does when it is woken up, how long it
//! may sleep, and what becomes of it in a forked process.

use std::io;
use std::time::Duration;

use engine::{Engine, Event};
use perl_ev::{Guest, Sleep};
use perl_xs::{Error, Perl, Result};

use super::{HAS_ENDED, SERVER, Server, cannot};
use crate::buffer;
use crate::dispatch;

/// Polls once more while the last round brought several events, so that a burst
/// costs one turn of EV's loop; bounded, so that EV's other watchers are served.
const ROUNDS_PER_WAKE_UP: usize = 8;

/// Events that may come of handling others before it is looked again who else waits: each
/// part of a body is one, and there are thousands in what was read of it.
const MOST_FOLLOWING_EVENTS: usize = 64;

impl Guest for Server {
    fn ready(&self, perl: Perl) -> Result<()> {
        self.last_sleep.set(None);
        for _ in 0..ROUNDS_PER_WAKE_UP {
            let events = self
                .with_engine(Engine::turn)
                .map_err(|error| Error::croak(cannot("poll", &error)))?;
            self.deliver_events(perl)?;
            // The loop may end here, with replies that are complete.
            self.with_engine(Engine::flush);
            if events < 2 {
                break;
            }
        }
        Ok(())
    }

    fn prepare(&self, _perl: Perl) -> Sleep {
        self.with_engine(Engine::flush);
        let sleep = self.sleep();
        self.last_sleep.set(Some(sleep));
        sleep
    }

    fn forked(&self, _perl: Perl) -> Result<()> {
        self.follow_fork();
        Ok(())
    }
}

impl Server {
    /// Sees to a `fork` since the last call. In the child the connections are the
    /// parent's: they are let go, and the listeners are watched with a poll of our
    /// own. The parent notes that its connections are shared now.
    pub(super) fn follow_fork(&self) {
        let forks = perl_ev::forks();
        let known = self.forks.replace(forks);
        if known.led_here != forks.led_here {
            self.become_child();
        } else if known.from_here != forks.from_here {
            self.engine.borrow_mut().note_fork();
        }
    }

    fn become_child(&self) {
        let rebuilt = self.engine.borrow_mut().after_fork();
        if let (Ok(()), Some(driver)) = (&rebuilt, &*self.driver.borrow()) {
            driver.watch(self.engine.borrow().as_raw_fd());
        }
        let inherited = (
            self.requests.take(),
            self.waiting_for_drain.take(),
            self.waiting_for_stop.take(),
            self.works.take(),
            self.deferred.take(),
        );
        drop(inherited);
        self.forget_draining();
        if let Err(error) = rebuilt {
            self.retire(&error);
        }
    }

    /// The replies that the parent's clients are still taking are the parent's.
    fn forget_draining(&self) {
        for (_, descriptor) in self.draining.take() {
            // The application may have put a tied hash in its place.
            let _ = buffer::end_draining(self.perl, descriptor);
        }
    }

    /// Without a poll of its own the child must leave the parent's alone.
    fn retire(&self, error: &io::Error) {
        HAS_ENDED.set(true);
        drop(SERVER.take());
        drop(self.driver.take());
        let message = format!("{}\n", cannot("serve after fork", error));
        // A handler of `$SIG{__WARN__}` may die; there is nobody left to tell.
        let _ = self.perl.warn(message.as_bytes());
    }

    /// Has the loop go round again if it must not sleep, or end, as it was told:
    /// a Coro thread may print after `prepare`, and the last callback of a loop
    /// that is about to end may listen.
    pub(super) fn wake_loop(&self) {
        let driver = self.driver.borrow();
        let (Some(told), Some(driver)) = (self.last_sleep.get(), &*driver) else {
            return;
        };
        let sleep = self.sleep();
        let is_late = sleep.at_most == Some(Duration::ZERO);
        if is_late || (sleep.holds_loop && !told.holds_loop) {
            driver.wake();
            self.last_sleep.set(None);
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
        let queued = self.with_engine(|engine| engine.events_queued());
        for _ in 0..queued.saturating_add(MOST_FOLLOWING_EVENTS) {
            let Some(event) = self.next_event() else {
                break;
            };
            dispatch::dispatch(self, perl, event)?;
        }
        Ok(())
    }

    fn next_event(&self) -> Option<Event> {
        let late_commands = self.late_commands.take();
        self.with_engine(|engine| {
            for (id, command) in late_commands {
                command(engine, id);
            }
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
}
