//! What lies between the loop and the threads: jobs on their way there, what was done on its way
//! back. Knows neither what the jobs are nor who starts the threads.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard};

/// Jobs of the same `Series` are done one by one, in the order they came; others at once.
pub(super) struct HandOff<Series, Job, Done> {
    queue: Mutex<Queue<Series, Job>>,
    /// Something can be taken that could not before, or nothing will come any more.
    changed: Condvar,
    done: Mutex<Vec<Done>>,
}

struct Queue<Series, Job> {
    jobs: VecDeque<(Option<Series>, Job)>,
    /// Of which a job is being done.
    busy: Vec<Series>,
    finished: bool,
}

impl<Series: Copy + PartialEq, Job, Done> HandOff<Series, Job, Done> {
    pub(super) fn new() -> Self {
        HandOff {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                busy: Vec::new(),
                finished: false,
            }),
            changed: Condvar::new(),
            done: Mutex::new(Vec::new()),
        }
    }

    /// The way in, unless it is finished.
    pub(super) fn entrance(&self) -> Option<Entrance<'_, Series, Job>> {
        let queue = lock(&self.queue);
        (!queue.finished).then_some(Entrance {
            queue,
            changed: &self.changed,
        })
    }

    /// What was done since the last call.
    pub(super) fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut *lock(&self.done))
    }

    /// Takes no more jobs. Those that were pushed are done; then each `run` returns.
    pub(super) fn finish(&self) {
        lock(&self.queue).finished = true;
        self.changed.notify_all();
    }

    /// What a thread does: all jobs it can get. Where there is something to take with `take_done`,
    /// it calls `wake` afterwards.
    pub(super) fn run(&self, perform: impl Fn(Job) -> Option<Done>, wake: impl Fn()) {
        while let Some((series, job)) = self.next_job() {
            let done = perform(job);
            let is_told = done.is_some();
            lock(&self.done).extend(done);
            if let Some(series) = series {
                lock(&self.queue).busy.retain(|busy| *busy != series);
                self.changed.notify_all();
            }
            if is_told {
                wake();
            }
        }
    }

    fn next_job(&self) -> Option<(Option<Series>, Job)> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.take_job() {
                return Some(job);
            }
            if queue.finished && queue.jobs.is_empty() {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Nobody finishes the hand-off, nor takes a job, while there is one.
pub(super) struct Entrance<'a, Series, Job> {
    queue: MutexGuard<'a, Queue<Series, Job>>,
    changed: &'a Condvar,
}

impl<Series, Job> Entrance<'_, Series, Job> {
    pub(super) fn push(mut self, series: Option<Series>, job: Job) {
        self.queue.jobs.push_back((series, job));
        drop(self.queue);
        self.changed.notify_one();
    }
}

impl<Series: Copy + PartialEq, Job> Queue<Series, Job> {
    /// The first job that need not wait for another one.
    fn take_job(&mut self) -> Option<(Option<Series>, Job)> {
        let index = self
            .jobs
            .iter()
            .position(|(series, _)| series.is_none_or(|series| !self.busy.contains(&series)))?;
        let job = self.jobs.remove(index)?;
        self.busy.extend(job.0);
        Some(job)
    }
}

/// A panic elsewhere leaves these lists as they were: each change is a single push or take.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
