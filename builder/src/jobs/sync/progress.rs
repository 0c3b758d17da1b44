//! The figures of `sync.progress`.

use std::time::{Duration, Instant};

use slipway_proto::v1::SyncProgress;

/// Between two events; who needs less in all gets none.
const EVERY: Duration = Duration::from_secs(1);

/// How far a call has come.
#[derive(Debug)]
pub(super) struct Progress {
    scanned: u64,
    new: u64,
    sent: u64,
    /// When the current stretch began, and what had arrived before it.
    stretch: (Instant, u64),
    told: Instant,
}

impl Progress {
    /// For roots of so many bytes.
    pub(super) fn new(scanned: u64, now: Instant) -> Self {
        Self { scanned, new: 0, sent: 0, stretch: (now, 0), told: now }
    }

    /// A check has told what is missing, and what of the job's contents had to be sent so far.
    pub(super) fn checked(&mut self, sent: u64, missing: u64, now: Instant) {
        self.sent = sent;
        self.new = sent.saturating_add(missing);
        self.stretch = (now, sent);
    }

    /// More has arrived; gives an event when it is time for one.
    pub(super) fn received(&mut self, bytes: u64, now: Instant) -> Option<SyncProgress> {
        self.sent += bytes;
        // Before the first check nobody knows what is new but by what comes.
        self.new = self.new.max(self.sent);
        if bytes == 0 || now.duration_since(self.told) < EVERY {
            return None;
        }
        self.told = now;
        let (began, before) = self.stretch;
        let ms = u64::try_from(now.duration_since(began).as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes_per_second = (self.sent - before).saturating_mul(1000) / ms;
        let left_ms = (self.new - self.sent).saturating_mul(1000).checked_div(bytes_per_second).unwrap_or(0);
        let scanned_bytes = self.scanned.max(self.new);
        let reused_bytes = scanned_bytes - self.new;
        let (new_bytes, sent_bytes) = (self.new, self.sent);
        Some(SyncProgress { scanned_bytes, new_bytes, sent_bytes, reused_bytes, bytes_per_second, left_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_second_and_none_for_a_short_sync() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = Progress::new(10_000, start);
        assert_eq!(progress.received(100, at(500)), None);
        progress.checked(0, 8_000, at(600));
        assert_eq!(progress.received(1_000, at(999)), None);
        let told = progress.received(1_000, at(1_600)).unwrap();
        assert_eq!(
            (told.scanned_bytes, told.new_bytes, told.sent_bytes, told.reused_bytes),
            (10_000, 8_000, 2_000, 2_000)
        );
        assert_eq!((told.bytes_per_second, told.left_ms), (2_000, 3_000));
        assert_eq!(progress.received(1_000, at(2_500)), None);
        assert_eq!(progress.received(0, at(9_000)), None, "nothing new");
        assert!(progress.received(1_000, at(9_000)).is_some());
    }

    #[test]
    fn a_client_that_lies_about_its_size_breaks_nothing() {
        let start = Instant::now();
        let mut progress = Progress::new(0, start);
        let told = progress.received(u64::MAX / 2, start + EVERY).unwrap();
        assert_eq!((told.scanned_bytes, told.reused_bytes, told.left_ms), (u64::MAX / 2, 0, 0));
    }
}
