//! The bar on a terminal.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Who needs less sees none.
const QUIET: Duration = Duration::from_millis(300);

/// Shows how far the sync is, after a while. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Bar {
    drawn: ProgressBar,
    wanted: bool,
    shown: bool,
    began: Instant,
    before: u64,
}

impl Bar {
    /// Not shown yet; not at all unless `wanted` and on a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let style = "sync {bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { drawn: bar, wanted, shown: false, began: Instant::now(), before: 0 }
    }

    /// A call begins: it counts from 0 again.
    pub(super) fn begin_call(&mut self) {
        self.before = self.drawn.position();
        self.drawn.set_length(self.before);
    }

    /// So much more will be sent.
    pub(super) fn more(&mut self, bytes: u64) {
        self.drawn.inc_length(bytes);
    }

    /// The call has come so far.
    pub(super) fn at(&mut self, bytes: u64) {
        if self.wanted && !self.shown && self.began.elapsed() >= QUIET {
            self.shown = true;
            // Draws nothing where standard error is no terminal.
            self.drawn.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.drawn.set_position(self.before + bytes);
    }

    /// Says something without mixing it up with the bar.
    pub(super) fn note(&self, message: impl Display) {
        self.drawn.suspend(|| output::note(message));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.finish_and_clear();
    }
}
