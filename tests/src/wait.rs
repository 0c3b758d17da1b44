//! Waiting for something, not longer than it may take.

use std::time::{Duration, Instant};

/// What should happen almost at once, on a machine that has other things to do as well.
pub const SOON: Duration = Duration::from_secs(30);
/// What takes its time.
pub const LONG: Duration = Duration::from_mins(3);

/// Looks again and again; for what sends no event.
///
/// # Panics
/// When the time is over, with what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}
