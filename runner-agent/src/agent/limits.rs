//! What all that runs may use together, and when that is looked at.

mod usage;

use std::time::{Duration, Instant};

use crate::frames::{Exceeded, Limit, Limits};

use self::usage::Meter;

/// How often usage is looked at: a limit is exceeded for so long before anything is done about it.
const EVERY: Duration = Duration::from_millis(500);

/// The limits, from the first command on.
pub(crate) struct Watch {
    limits: Limits,
    meter: Meter,
    began: Option<Instant>,
    looked: Option<Instant>,
    exceeded: Option<Exceeded>,
}

impl Watch {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, meter: Meter::find(), began: None, looked: None, exceeded: None }
    }

    /// A command starts.
    pub(crate) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// What was exceeded.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    /// When to look again.
    pub(crate) fn look_again(&self) -> Option<Instant> {
        let began = self.began.filter(|_| self.exceeded.is_none())?;
        let ends = Some(self.limits.time_ms).filter(|ms| *ms > 0).map(|ms| began + Duration::from_millis(ms));
        let usage = self.limits.watches_usage().then(|| self.looked.map_or(began, |at| at + EVERY));
        ends.into_iter().chain(usage).min()
    }

    /// Looks, where it is time to. What is exceeded is given once.
    pub(crate) fn check(&mut self) -> Option<Exceeded> {
        let (began, now) = (self.began?, Instant::now());
        if self.look_again().is_none_or(|at| now < at) {
            return None;
        }
        let mut found = over(Limit::Time, self.limits.time_ms, now.duration_since(began).as_millis() as u64);
        if found.is_none() && self.limits.watches_usage() {
            self.looked = Some(now);
            // Without /proc nothing is known; the engine's own limits are there, too.
            let usage = self.meter.read().ok()?;
            found = over(Limit::Memory, self.limits.memory_bytes, usage.memory_bytes)
                .or_else(|| over(Limit::Cpu, self.limits.cpu_ms, usage.cpu_ms))
                .or_else(|| over(Limit::Pids, self.limits.pids, usage.pids));
        }
        self.exceeded = found;
        found
    }
}

fn over(limit: Limit, allowed: u64, found: u64) -> Option<Exceeded> {
    let exceeded = match limit {
        // It has been reached when the time has come.
        Limit::Time => found >= allowed,
        _ => found > allowed,
    };
    (allowed > 0 && exceeded).then_some(Exceeded { limit, allowed, found })
}
