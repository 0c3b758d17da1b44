//! Peaks of anonymous memory, by looking often: the kernel keeps a peak only of all resident memory, files' pages included.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::processes;

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(20);

/// The most that each had at any look, in KiB.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Peaks {
    /// slipwayd.
    pub(crate) service: u64,
    /// The job's process.
    pub(crate) job: u64,
    /// slipway.
    pub(crate) cli: u64,
    /// How often it looked.
    pub(crate) looks: u32,
    /// The longest time between two looks: on a busy machine it is not always the period.
    pub(crate) longest_gap: Duration,
}

/// A thread that looks. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Peaks>>,
}

impl Sampler {
    /// Starts looking at slipwayd, at slipway, and at the job of the service in this folder as soon as there is one.
    pub(crate) fn start(service: u32, cli: u32, folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (Arc::clone(&stop), folder.to_owned());
        let thread = thread::spawn(move || {
            let mut peaks = Peaks::default();
            let (mut job, mut last) = (None, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                job = job.or_else(|| processes::job(&folder));
                let now = |pid: Option<u32>| pid.and_then(processes::anonymous_kib).unwrap_or(0);
                peaks.service = peaks.service.max(now(Some(service)));
                peaks.cli = peaks.cli.max(now(Some(cli)));
                peaks.job = peaks.job.max(now(job));
                peaks.looks += 1;
                peaks.longest_gap = peaks.longest_gap.max(last.elapsed());
                last = Instant::now();
                thread::sleep(PERIOD);
            }
            peaks
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and gives what it saw.
    pub(crate) fn finish(mut self) -> Result<Peaks> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("the sampler has ended"))?;
        thread.join().map_err(|_| anyhow!("the sampler panicked"))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
