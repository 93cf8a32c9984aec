//! The hand-off between the loop and the threads of the store, in every way in which they can
//! overtake each other with up to two preemptions. A wake-up that is lost is a deadlock, which loom
//! reports.

#![cfg(test)]
#![forbid(unsafe_code)]

#[path = "../../../crates/engine/src/store/hand_off.rs"]
mod hand_off;

/// What `hand_off` is built on.
mod sync {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
}

use std::collections::HashMap;

use hand_off::HandOff;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{self, JoinHandle};

/// The number of a file whose jobs are in order, if any, and of the job.
type Job = (Option<u32>, u32);

/// A waker of the loop: however often it is woken, it turns once.
#[derive(Default)]
struct Waker {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Waker {
    fn wake(&self) {
        *self.is_woken.lock().unwrap() = true;
        self.woken.notify_one();
    }

    fn sleep(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !*is_woken {
            is_woken = self.woken.wait(is_woken).unwrap();
        }
        *is_woken = false;
    }
}

/// What the threads share with the loop.
struct Store {
    hand_off: HandOff<u32, Job, Job>,
    waker: Waker,
    /// Files of which a job is being done.
    at_work: Mutex<Vec<u32>>,
}

impl Store {
    fn perform(&self, job: Job) -> Job {
        if let Some(file) = job.0 {
            let mut at_work = self.at_work.lock().unwrap();
            assert!(!at_work.contains(&file), "two jobs of one file at a time");
            at_work.push(file);
            drop(at_work);
            thread::yield_now();
            self.at_work.lock().unwrap().retain(|other| *other != file);
        }
        job
    }
}

fn store(threads: usize) -> (Arc<Store>, Vec<JoinHandle<()>>) {
    let store = Arc::new(Store {
        hand_off: HandOff::new(),
        waker: Waker::default(),
        at_work: Mutex::default(),
    });
    let threads = (0..threads)
        .map(|_| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let perform = |job| Some(store.perform(job));
                store.hand_off.run(perform, || store.waker.wake());
            })
        })
        .collect();
    (store, threads)
}

fn push(store: &Store, jobs: &[Job]) {
    for job in jobs {
        let entrance = store.hand_off.entrance().expect("it is not finished");
        entrance.push(job.0, *job);
    }
}

/// The jobs of each file come back in the order they went.
fn assert_order(pushed: &[Job], done: &[Job]) {
    let by_file = |jobs: &[Job]| {
        let mut files = HashMap::<u32, Vec<u32>>::new();
        for (file, number) in jobs {
            if let Some(file) = file {
                files.entry(*file).or_default().push(*number);
            }
        }
        files
    };
    assert_eq!(by_file(pushed), by_file(done));
    assert_eq!(pushed.len(), done.len(), "each job is done once");
}

const JOBS: [&[Job]; 4] = [
    &[(None, 1)],
    &[(None, 1), (None, 2)],
    &[(Some(1), 1), (Some(1), 2)],
    &[(Some(1), 1), (Some(1), 2), (None, 3)],
];

#[test]
fn the_loop_is_woken_for_everything_that_is_done() {
    for jobs in JOBS {
        model(|| {
            let (store, threads) = store(2);
            push(&store, jobs);
            let mut done = Vec::new();
            while done.len() < jobs.len() {
                store.waker.sleep();
                done.extend(store.hand_off.take_done());
            }
            assert_order(jobs, &done);
            store.hand_off.finish();
            join(threads);
        });
    }
}

#[test]
fn finish_has_everything_done_and_ends_the_threads() {
    for jobs in JOBS {
        model(|| {
            let (store, threads) = store(2);
            push(&store, jobs);
            store.hand_off.finish();
            assert!(store.hand_off.entrance().is_none(), "it takes no more");
            join(threads);
            assert_order(jobs, &store.hand_off.take_done());
        });
    }
}

#[test]
fn a_job_that_tells_nothing_wakes_nobody() {
    model(|| {
        let (store, threads) = store(0);
        push(&store, &[(None, 1)]);
        store.hand_off.finish();
        store
            .hand_off
            .run(|_| None, || panic!("there is nothing to take"));
        assert!(store.hand_off.take_done().is_empty());
        join(threads);
    });
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// How often threads are interrupted where they need not be. LOOM_MAX_PREEMPTIONS sets another
/// number; three take minutes.
const PREEMPTIONS: usize = 2;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.check(test);
}
