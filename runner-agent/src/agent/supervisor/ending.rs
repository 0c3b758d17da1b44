//! The end of all that runs: TERM, the grace period, KILL until nothing is left.

use std::time::{Duration, Instant};

use crate::FromAgent;
use rustix::process::Signal;

use super::{LAST_WORDS, LONGEST_GRACE, Supervisor};
use crate::agent::{diagnose, output::Drain, tree};

/// How often KILL is sent to what is left, or has been started since.
const KILL_AGAIN: Duration = Duration::from_millis(10);
/// When KILL is known not to help: another user's processes, or ones that hang in the kernel.
const KILL_IN_VAIN: Duration = Duration::from_secs(5);
/// How often the last frames are looked after.
const FLUSH: Duration = Duration::from_millis(5);

/// An end that is under way.
pub(super) struct Ending {
    /// Whether `Stopped` is waited for.
    answer: bool,
    /// What to exit with, unless more commands may come.
    exit: Option<u8>,
    /// The end of the grace period.
    kill_at: Instant,
    /// Since when nothing is left, and what of the output is.
    drain: Option<Drain>,
    /// When to go even if not all could be said.
    leave_at: Option<Instant>,
    said_all: bool,
}

impl Ending {
    /// A job's process that has sent `Finish` may close its end.
    pub(super) fn closed_after_finish(&mut self) -> bool {
        let finishing = self.exit == Some(0);
        if finishing {
            self.leave_at.get_or_insert(self.kill_at.max(Instant::now()) + LAST_WORDS);
        }
        finishing
    }

    /// Whether something may come after it.
    pub(super) fn may_go_on(&self) -> bool {
        self.exit.is_none()
    }

    pub(super) fn look_again(&self) -> Instant {
        let now = Instant::now();
        match &self.drain {
            _ if self.said_all => now + FLUSH,
            Some(drain) => drain.look_again(),
            None if now >= self.kill_at => now + KILL_AGAIN,
            None => self.kill_at,
        }
    }
}

impl Supervisor {
    /// The job's process wants an end, or has waited long enough for it; whoever names another grace period may shorten it.
    pub(super) fn stop(&mut self, grace_ms: Option<u64>) {
        let named = grace_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_GRACE));
        let own = if self.ending.is_some() { Duration::ZERO } else { self.grace() };
        self.end(named.unwrap_or(own)).answer = true;
    }

    /// Our own end: the first reason decides the status, except that nothing is finished well that is cut off.
    pub(super) fn exit_with(&mut self, code: u8, grace: Duration) {
        let ending = self.end(grace);
        if ending.exit.is_none_or(|code| code == 0) {
            ending.exit = Some(code);
        }
        if code != 0 {
            ending.leave_at.get_or_insert(ending.kill_at.max(Instant::now()) + LAST_WORDS);
        }
    }

    /// Begins to end everything; a shorter grace period counts when it has begun.
    pub(super) fn end(&mut self, grace: Duration) -> &mut Ending {
        let kill_at = Instant::now() + grace;
        // Its last words are not to wait.
        self.outbox.pace.set(0);
        if self.ending.is_none() && self.has_children {
            if let Err(error) = tree::signal_all(Signal::TERM) {
                diagnose(&format!("read /proc: {error}"));
                self.signal_running(Signal::TERM);
            }
            // What is stopped can't act on TERM.
            let _ = tree::signal_all(Signal::CONT);
        }
        let ending = self.ending.get_or_insert(Ending {
            answer: false,
            exit: None,
            kill_at,
            drain: None,
            leave_at: None,
            said_all: false,
        });
        ending.kill_at = ending.kill_at.min(kill_at);
        ending
    }

    /// The next step of an end; a status when there's nothing more to do.
    pub(super) fn go_on_ending(&mut self) -> Option<u8> {
        let now = Instant::now();
        let kill_at = self.ending.as_ref()?.kill_at;
        if self.has_children && now >= kill_at {
            if now < kill_at + KILL_IN_VAIN {
                if tree::signal_all(Signal::KILL).is_err() {
                    self.signal_running(Signal::KILL);
                }
                return None;
            }
            self.give_up();
        } else if self.has_children {
            return None;
        }
        if self.drain(now) { self.conclude(now) } else { None }
    }

    fn signal_running(&self, signal: Signal) {
        if let Some(running) = self.running.as_ref().filter(|running| running.is_alive()) {
            tree::signal_child(running.pid, signal);
        }
    }

    fn give_up(&mut self) {
        if let Some(running) = &mut self.running {
            running.given_up();
        }
        if self.ending.as_ref().is_some_and(|ending| ending.drain.is_none()) {
            self.outbox.warn("some processes could not be ended");
        }
    }

    /// Whether all that the ended processes had written has been passed on, and `Exit` sent.
    fn drain(&mut self, now: Instant) -> bool {
        let Some(ending) = &mut self.ending else { return false };
        let drain = ending.drain.get_or_insert_with(|| Drain::start(&self.pumps));
        let late = ending.leave_at.is_some_and(|at| now >= at);
        late || (drain.is_done() && self.running.is_none())
    }

    fn conclude(&mut self, now: Instant) -> Option<u8> {
        let ending = self.ending.as_mut()?;
        if std::mem::take(&mut ending.answer) {
            self.outbox.say(&FromAgent::Stopped);
        }
        ending.said_all = true;
        let Some(code) = ending.exit else {
            self.ending = None;
            if let Some(collect) = self.collect_then.take() {
                self.collect(collect);
            }
            return None;
        };
        let late = ending.leave_at.is_some_and(|at| now >= at);
        (late || self.outbox.flush(Duration::ZERO)).then_some(code)
    }
}
