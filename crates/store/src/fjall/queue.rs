//! How callers hand work to the writer's thread and get their answers: a queue that is taken whole, and one slot an answer.
//!
//! What always holds: a job that was pushed is answered once, also when the writer ends or panics (`OutcomeUnknown` then).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::StoreError;

/// At most so often does the writer let others go first.
const YIELDS: usize = 16;
/// With so many jobs a sync is a small part of their batch already.
const ENOUGH: usize = 128;

/// Work in the order in which it was handed in.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    jobs: Vec<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { jobs: Vec::new(), closed: false }), filled: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a job. After [`Queue::close`] it is dropped, which answers it.
    pub(super) fn push(&self, job: T) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            drop(job);
            return;
        }
        let was_empty = state.jobs.is_empty();
        state.jobs.push(job);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Takes all work into `jobs`, which must be empty; with `wait` it waits for some. False once the queue is closed and empty.
    pub(super) fn take(&self, jobs: &mut Vec<T>, wait: bool) -> bool {
        let mut state = self.state();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            if !wait {
                return true;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.jobs, jobs);
        true
    }

    /// Waits for a job and takes it; for several threads with one queue. None once the queue is closed and empty.
    pub(super) fn take_one(&self) -> Option<T> {
        let mut state = self.state();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let job = state.jobs.remove(0);
        // Who handed in what is left has woken nobody.
        if !state.jobs.is_empty() {
            self.filled.notify_one();
        }
        Some(job)
    }

    /// Lets those who were just answered hand in what they do next, as long as more comes in and it isn't enough yet. Without it
    /// the writer would take the first of them and make the others wait for a sync that they could have shared. No timer: where
    /// nobody has anything to hand in it costs one yield.
    pub(super) fn settle(&self) {
        let mut before = self.state().jobs.len();
        for _ in 0..YIELDS {
            if before >= ENOUGH {
                return;
            }
            std::thread::yield_now();
            let now = self.state().jobs.len();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Nothing is accepted from now on; what is queued is still taken.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }
}

type Outcome<T> = Result<T, StoreError>;

struct Slot<T> {
    outcome: Option<Outcome<T>>,
    waker: Option<Waker>,
}

/// The writer's end of an answer. Dropped without one, it answers `OutcomeUnknown`.
pub(super) struct Reply<T>(Option<Arc<Mutex<Slot<T>>>>);

/// The caller's end of an answer.
pub(super) struct Answer<T>(Arc<Mutex<Slot<T>>>);

/// Both ends of one answer.
pub(super) fn answer<T>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot { outcome: None, waker: None }));
    (Reply(Some(Arc::clone(&slot))), Answer(slot))
}

impl<T> Reply<T> {
    pub(super) fn send(mut self, outcome: Outcome<T>) {
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome<T>) {
        let Some(slot) = self.0.take() else { return };
        let waker = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.outcome = Some(outcome);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.put(Err(StoreError::OutcomeUnknown));
    }
}

impl<T> Future for Answer<T> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
