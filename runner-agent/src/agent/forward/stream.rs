//! One connection: a thread for each direction, and a window for each.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::{BLOCK, FromAgent, StreamFrame, WINDOW};
use rustix::net::sockopt::set_socket_linger;

use super::Forward;
use crate::agent::lock;

/// How long a write waits before it looks whether the stream has been broken off.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a process inside may go on writing what nobody reads.
const LINGER: Duration = Duration::from_secs(10);

/// An accepted connection.
pub(super) struct Stream {
    pub(super) id: u32,
    socket: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// How much we may still send.
    credit: u32,
    /// What came and waits to be written to the socket.
    queue: VecDeque<Vec<u8>>,
    /// What came and has not been given back as credit.
    owed: usize,
    /// The job's side has sent its last byte.
    ended: bool,
    /// Directions that are done, of two.
    done: u8,
    aborted: bool,
    /// The job's side reads no more: what the process inside writes is dropped.
    unread: bool,
}

impl Stream {
    pub(super) fn new(id: u32, socket: TcpStream) -> Self {
        // Without these it's slower to answer and to break off, but it works.
        let _ = socket.set_nodelay(true);
        let _ = socket.set_write_timeout(Some(PATIENCE));
        let state = State {
            credit: WINDOW,
            queue: VecDeque::new(),
            owed: 0,
            ended: false,
            done: 0,
            aborted: false,
            unread: false,
        };
        Self { id, socket, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes bytes for the socket; `false` if they are more than was allowed.
    pub(super) fn queue(&self, bytes: Vec<u8>) -> bool {
        let mut state = lock(&self.state);
        if state.ended || state.owed + bytes.len() > WINDOW as usize {
            return false;
        }
        // An empty one would be free of charge.
        if !bytes.is_empty() {
            state.owed += bytes.len();
            state.queue.push_back(bytes);
            self.changed.notify_all();
        }
        true
    }

    /// No more bytes will come.
    pub(super) fn ended(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// More may be sent.
    pub(super) fn credit(&self, credit: u32) {
        let mut state = lock(&self.state);
        state.credit = state.credit.saturating_add(credit);
        self.changed.notify_all();
    }

    /// The job's side reads no more, and has said all that it has to say: that still reaches the process inside. `false` if it
    /// has not.
    pub(super) fn not_read(&self) -> bool {
        let mut state = lock(&self.state);
        state.unread |= state.ended && !state.aborted;
        self.changed.notify_all();
        state.unread
    }

    /// Breaks the connection off, so that the process inside sees a reset and not an end; `false` if it was already.
    pub(super) fn abort(&self) -> bool {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.aborted, true) {
            return false;
        }
        state.queue.clear();
        let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
        // Wakes the sender. The other direction isn't shut down: that would look like an end.
        let _ = self.socket.shutdown(Shutdown::Read);
        self.changed.notify_all();
        true
    }

    /// From the socket to the job's side.
    pub(super) fn send(&self, forward: &Forward) {
        let mut block = vec![0; BLOCK];
        loop {
            let credit = {
                let broke = |state: &mut State| state.credit == 0 && !state.aborted && !state.unread;
                let state = self.changed.wait_while(lock(&self.state), broke).unwrap_or_else(PoisonError::into_inner);
                if state.unread { BLOCK } else { state.credit as usize }
            };
            let most = credit.min(BLOCK);
            let result = (&self.socket).read(block.get_mut(..most).unwrap_or_default());
            let (aborted, unread) = {
                let state = lock(&self.state);
                (state.aborted, state.unread)
            };
            // The read ends, too, because of an abort.
            if aborted {
                return;
            }
            let frame = match result {
                Ok(0) if unread => return self.direction_done(forward),
                // Read to its end: to close a connection with something unread in it would break it off.
                Ok(_) if unread => continue,
                Ok(0) => StreamFrame::End { id: self.id },
                Ok(count) => {
                    let mut state = lock(&self.state);
                    state.credit = state.credit.saturating_sub(count as u32);
                    drop(state);
                    StreamFrame::Data { id: self.id, bytes: block.get(..count).unwrap_or_default().to_vec() }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return forward.reset(self),
            };
            let last = matches!(frame, StreamFrame::End { .. });
            if !forward.outbox.carry(&FromAgent::Stream(frame)) {
                return;
            }
            if last {
                return self.direction_done(forward);
            }
        }
    }

    /// From the job's side to the socket.
    pub(super) fn pass_on(&self, forward: &Forward) {
        let mut passed = 0;
        while let Some(bytes) = self.next() {
            if self.write(&bytes).is_err() {
                return forward.reset(self);
            }
            passed += bytes.len();
            // Credit in large pieces: one small frame for many. What is kept back is less than a window.
            if passed >= WINDOW as usize / 4 {
                lock(&self.state).owed -= passed;
                let credit = StreamFrame::Window { id: self.id, credit: passed as u32 };
                forward.outbox.say(&FromAgent::Stream(credit));
                passed = 0;
            }
        }
        if !lock(&self.state).aborted {
            // It fails if the process inside has gone, which ends this direction as well.
            let _ = self.socket.shutdown(Shutdown::Write);
            self.direction_done(forward);
            self.linger(forward);
        }
    }

    /// Who has the answer may go on writing for a while, as with any server that reads no more; then it learns of that.
    fn linger(&self, forward: &Forward) {
        let quiet = |state: &mut State| !state.unread && state.done < 2 && !state.aborted;
        let state = self.changed.wait_while(lock(&self.state), quiet).unwrap_or_else(PoisonError::into_inner);
        let writes = |state: &mut State| state.done < 2 && !state.aborted;
        let waited = self.changed.wait_timeout_while(state, LINGER, writes);
        let is_late = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        if is_late && self.abort() {
            forward.remove(self.id);
        }
    }

    /// What to write next; `None` when all is written, or there's no point in writing more.
    fn next(&self) -> Option<Vec<u8>> {
        let idle = |state: &mut State| state.queue.is_empty() && !state.ended && !state.aborted;
        let mut state = self.changed.wait_while(lock(&self.state), idle).unwrap_or_else(PoisonError::into_inner);
        if state.aborted { None } else { state.queue.pop_front() }
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.socket).write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !lock(&self.state).aborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn direction_done(&self, forward: &Forward) {
        let mut state = lock(&self.state);
        state.done += 1;
        let gone = state.done == 2;
        drop(state);
        self.changed.notify_all();
        if gone {
            forward.remove(self.id);
        }
    }
}
