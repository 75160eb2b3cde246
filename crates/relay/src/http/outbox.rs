//! What waits to be written to one socket: a queue bounded by bytes, and the way to tell a connection to end.
//!
//! What always holds: pushes are refused beyond [`PUSH_BYTES`], answers never are (the session stops reading requests instead); the
//! connection's task is woken only when the queue goes from empty to non-empty.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::core::Sink;

/// Pushes that may wait for one socket, in bytes (protocol rule 11).
pub const PUSH_BYTES: usize = 256 << 10;

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Ending {
    /// It goes on.
    #[default]
    No,
    /// What is queued and in flight is finished, then the socket is closed.
    Orderly,
    /// Now.
    AtOnce,
}

/// The queue of one connection: the core pushes, the session takes all of it at once.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Bytes>,
    /// Bytes of pushes in `frames`.
    queued: usize,
    /// Bytes of pushes that were taken and are not flushed yet.
    writing: usize,
    /// A push was refused since the queue was last empty.
    refused: bool,
    ending: Ending,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's task hears of new frames.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Puts the `Hello` in front of whatever was pushed since the core knows of the connection.
    pub fn first(&self, frame: Bytes) {
        self.state().frames.insert(0, frame);
    }

    /// Queues an answer. Called by the session itself, which writes before it sleeps: nobody is woken.
    pub fn answer(&self, frame: Bytes) {
        self.state().frames.push(frame);
    }

    /// Takes everything that waits by swapping it for the empty `into`.
    pub fn take(&self, into: &mut Vec<Bytes>) {
        let mut state = self.state();
        std::mem::swap(&mut state.frames, into);
        state.writing += std::mem::take(&mut state.queued);
    }

    /// What was taken has been written. True if pushes were refused since and the queue is empty now: there is room again.
    pub fn flushed(&self) -> bool {
        let mut state = self.state();
        state.writing = 0;
        state.frames.is_empty() && std::mem::take(&mut state.refused)
    }

    /// Tells the session to end; `last` is queued before. Never takes back an earlier word that was stronger.
    pub fn end(&self, ending: Ending, last: Option<Bytes>) {
        {
            let mut state = self.state();
            state.frames.extend(last);
            state.ending = state.ending.max(ending);
        }
        self.waker.wake();
    }

    /// How the connection is to end.
    pub fn ending(&self) -> Ending {
        self.state().ending
    }
}

impl Sink for Outbox {
    fn push(&self, frame: Bytes) -> bool {
        let was_empty = {
            let mut state = self.state();
            let waiting = state.queued + state.writing;
            // A single frame larger than the bound passes when nothing waits: a large commit must reach its subscribers.
            if waiting > 0 && waiting + frame.len() > PUSH_BYTES {
                state.refused = true;
                return false;
            }
            state.queued += frame.len();
            let was_empty = state.frames.is_empty();
            state.frames.push(frame);
            was_empty
        };
        if was_empty {
            self.waker.wake();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_are_bounded_until_they_are_flushed_and_answers_are_not() {
        let outbox = Outbox::default();
        let half = Bytes::from(vec![0; PUSH_BYTES / 2]);
        assert!(outbox.push(half.clone()) && outbox.push(half.clone()));
        assert!(!outbox.push(Bytes::from_static(b"x")));
        outbox.answer(half.clone());

        let mut taken = Vec::new();
        outbox.take(&mut taken);
        assert_eq!(taken.len(), 3);
        assert!(!outbox.push(Bytes::from_static(b"x")), "what is being written still counts");
        assert!(outbox.flushed(), "there is room again, and somebody waits for it");
        assert!(outbox.push(Bytes::from_static(b"x")));
        assert!(!outbox.flushed(), "nobody was refused since");
    }

    #[test]
    fn one_frame_larger_than_the_bound_passes_alone() {
        let outbox = Outbox::default();
        let large = Bytes::from(vec![0; 2 * PUSH_BYTES]);
        assert!(outbox.push(large.clone()));
        assert!(!outbox.push(large));
    }

    #[test]
    fn an_ending_is_never_weakened() {
        let outbox = Outbox::default();
        outbox.end(Ending::AtOnce, None);
        outbox.end(Ending::Orderly, Some(Bytes::from_static(b"bye")));
        assert_eq!(outbox.ending(), Ending::AtOnce);
    }
}
