//! What waits to be written to the channel, in order.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::{Frame, FrameError, FromAgent};

use crate::agent::{diagnose, lock, pace::Pace};

/// Data waits while this much is pending: a job's process that reads slowly slows the commands, not fills the memory.
const LIMIT: usize = 256 * 1024;

/// The frames that wait, already as bytes.
#[derive(Default)]
pub(crate) struct Outbox {
    /// How fast output may come.
    pub(crate) pace: Pace,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    writing: bool,
    closed: bool,
}

impl Outbox {
    /// Sends what the agent itself has to say. It never waits: the supervisor must be able to end commands whatever the
    /// other side does, and there are few such frames.
    pub(crate) fn say(&self, frame: &FromAgent) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        if let Err(error) = frame.encode(&mut state.pending) {
            unencodable(&error);
        }
        self.changed.notify_all();
    }

    /// Sends a warning for the job's log.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.say(&FromAgent::Warning(message.into()));
    }

    /// Sends what commands and connections cause; waits for room. `false` when the channel is closed.
    pub(crate) fn carry(&self, frame: &FromAgent) -> bool {
        let full = |state: &mut State| !state.closed && state.pending.len() >= LIMIT;
        let mut state = self.changed.wait_while(lock(&self.state), full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        if let Err(error) = frame.encode(&mut state.pending) {
            unencodable(&error);
        }
        self.changed.notify_all();
        true
    }

    /// Swaps all that waits with an empty buffer, as soon as there's something; `false` when the channel is closed.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let mut state = lock(&self.state);
        state.writing = false;
        self.changed.notify_all();
        let idle = |state: &mut State| !state.closed && state.pending.is_empty();
        let mut state = self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        std::mem::swap(&mut state.pending, buffer);
        state.writing = true;
        self.changed.notify_all();
        true
    }

    /// Drops what waits and all that comes.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.pending = Vec::new();
        // Nothing is to be spared any more.
        self.pace.set(0);
        self.changed.notify_all();
    }

    /// Waits until all is written, or the channel is closed, or for `limit`.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let busy = |state: &mut State| !state.closed && (state.writing || !state.pending.is_empty());
        let (_state, result) =
            self.changed.wait_timeout_while(lock(&self.state), limit, busy).unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

/// All that the agent sends is bounded below the limits, so this is a fault of ours, and better told than lost.
fn unencodable(error: &FrameError) {
    diagnose(&format!("encode: {error}"));
}
