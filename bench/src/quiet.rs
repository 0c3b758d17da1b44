//! What others and the build before still do, on the disk and on the processors, is not to be timed.

use std::fs;
use std::time::{Duration, Instant};

/// Looks at the processors this often.
const PERIOD: Duration = Duration::from_millis(250);
/// Quiet is when this much of a period was idle.
const IDLE: f64 = 0.85;
/// Somebody else's machine may never be quiet.
const PATIENCE: Duration = Duration::from_secs(4);

/// Waits until what is written is on the disk and the machine is quiet, within reason.
pub(crate) async fn wait() {
    let _ = tokio::task::spawn_blocking(rustix::fs::sync).await;
    let start = Instant::now();
    let mut before = processors();
    while start.elapsed() < PATIENCE {
        tokio::time::sleep(PERIOD).await;
        let now = processors();
        let (Some((idle, all)), Some((idle_before, all_before))) = (now, before) else { return };
        before = now;
        if all > all_before && (idle - idle_before) as f64 >= IDLE * (all - all_before) as f64 {
            return;
        }
    }
}

/// Ticks of all processors since the machine has started: idle ones, and all.
fn processors() -> Option<(u64, u64)> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; those of guests are in user already (proc(5)).
    let fields: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    // A processor that waits for the disk is not quiet.
    Some((*fields.get(3)?, fields.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_idle_ticks_are_idle() {
        assert_eq!(parse("cpu  1 2 3 40 5 6 7 8 9 9\ncpu0 1\n"), Some((40, 72)));
        assert_eq!(parse("intr 1"), None);
        assert!(processors().is_some());
    }
}
