//! How fast output may come, on the average: what is over that waits, and with it who writes.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::agent::lock;

/// What may come at once after a pause, as time at the rate.
const BURST: Duration = Duration::from_secs(1);

/// The rate of all output together.
#[derive(Default)]
pub(crate) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes a second; 0: any.
    rate: u64,
    /// When all that has passed would have, at the rate.
    passed_at: Option<Instant>,
    told: bool,
}

impl Pace {
    /// Lets so many bytes a second pass from now on; 0: any, also what waits.
    pub(crate) fn set(&self, rate: u64) {
        lock(&self.state).rate = rate;
        self.changed.notify_all();
    }

    /// Waits until these bytes may have passed. The first time that it has to, `slow` hears the rate.
    pub(crate) fn pass(&self, bytes: usize, slow: impl FnOnce(u64)) {
        let mut state = lock(&self.state);
        if state.rate == 0 {
            return;
        }
        let now = Instant::now();
        let from = state.passed_at.map_or(now, |at| at.max(now.checked_sub(BURST).unwrap_or(now)));
        let at = from + Duration::from_secs_f64(bytes as f64 / state.rate as f64);
        state.passed_at = Some(at);
        if at > now && !std::mem::replace(&mut state.told, true) {
            slow(state.rate);
        }
        let wait = at.saturating_duration_since(now);
        let early = |state: &mut State| state.rate > 0;
        drop(self.changed.wait_timeout_while(state, wait, early).unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn only_what_is_over_the_rate_waits() {
        let (pace, told) = (Pace::default(), AtomicU32::new(0));
        let took = |bytes| {
            let began = Instant::now();
            pace.pass(bytes, |_| {
                told.fetch_add(1, Ordering::Relaxed);
            });
            began.elapsed()
        };
        assert!(took(1 << 30) < Duration::from_millis(50), "without a rate");
        pace.set(1_000_000);
        assert!(took(100_000) > Duration::from_millis(90));
        std::thread::sleep(Duration::from_millis(300));
        assert!(took(200_000) < Duration::from_millis(90), "what was not used counts");
        assert!(took(300_000) > Duration::from_millis(150));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| took(60_000_000));
            std::thread::sleep(Duration::from_millis(100));
            pace.set(0);
            assert!(waits.join().unwrap() < Duration::from_secs(5), "it waits no longer once nothing is limited");
        });
    }
}
