//! The bar on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::line;

/// Who needs less sees none.
const QUIET: Duration = Duration::from_millis(300);

/// What is shown where there are so many columns, the widest first.
const STYLES: [(u16, &str); 3] = [
    (70, "sync {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"),
    (45, "sync {decimal_bytes} of {decimal_total_bytes}, {eta} left"),
    (0, "sync {percent}%"),
];

/// Shows how far the sync is, after a while. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Bar {
    drawn: ProgressBar,
    wanted: bool,
    style: Option<&'static str>,
    began: Instant,
    before: u64,
}

impl Bar {
    /// Not shown yet; not at all unless `wanted`, which takes a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        let drawn = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        Self { drawn, wanted, style: None, began: Instant::now(), before: 0 }
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
        if self.wanted && self.began.elapsed() >= QUIET {
            self.show();
        }
        self.drawn.set_position(self.before + bytes);
    }

    /// Shows it, in the style that fits the terminal now.
    fn show(&mut self) {
        let columns = line::columns();
        let style = STYLES.iter().find(|(least, _)| columns >= *least).map(|(_, style)| *style);
        if style == self.style {
            return;
        }
        if let Some(Ok(style)) = style.map(ProgressStyle::with_template) {
            self.drawn.set_style(style);
        }
        if std::mem::replace(&mut self.style, style).is_none() {
            line::show(line::Kind::Sync, &self.drawn);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.style.is_some() {
            line::hide(line::Kind::Sync);
        }
    }
}
