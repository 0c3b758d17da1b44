//! What people and scripts read: events on standard output, diagnostics on standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use slipway_proto::v1::{Event, JobBefore, JobError, JobStatus, event::Kind};

use crate::settings::Show;

mod json;
pub(crate) mod line;
mod plain;
mod quiet;
mod table;
mod tty;
mod units;

pub(crate) use table::Table;
pub(crate) use units::{seconds, size, time};

/// Shows a job's events.
pub(crate) trait Renderer: Send {
    /// These events come next. What is drawn can be taken away here, and not in [`Renderer::event`], which writes above it.
    fn before(&mut self, _events: &[Event]) {}

    /// Shows one event: results to `out`, diagnostics to `err`.
    fn event(&mut self, event: &Event, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()>;

    /// Shows what is held back: a log's last line that has no end.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// A renderer and the process's own streams.
pub(crate) struct Screen {
    renderer: Box<dyn Renderer>,
    out: BufWriter<Box<dyn Write + Send>>,
    /// Something else shows how far the sync is.
    without_progress: bool,
    /// Something comes after the job.
    without_success: bool,
}

impl Screen {
    /// A screen of this kind.
    pub(crate) fn new(show: Show) -> Self {
        let renderer: Box<dyn Renderer> = match show {
            Show::Plain => Box::new(plain::Plain::default()),
            Show::Tty => Box::new(tty::Tty::new()),
            Show::Quiet => Box::new(quiet::Quiet),
            Show::Json => Box::new(json::Json),
        };
        Self { renderer, out: BufWriter::new(Box::new(io::stdout())), without_progress: false, without_success: false }
    }

    /// The same, on standard error where something else goes to standard output.
    pub(crate) fn off_stdout(mut self, off: bool) -> Self {
        if off {
            self.out = BufWriter::new(Box::new(io::stderr()));
        }
        self
    }

    /// The same, without the progress of the sync where something else shows it.
    pub(crate) fn without_progress(mut self, without: bool) -> Self {
        self.without_progress = without;
        self
    }

    /// The same, without the end of a job that succeeds, where something comes after it.
    pub(crate) fn without_success(mut self, without: bool) -> Self {
        self.without_success = without;
        self
    }

    /// Shows events that came together.
    pub(crate) fn show(&mut self, events: &[Event]) -> io::Result<()> {
        // It says how the sync ended; the answer to the sync's own call may be later.
        if events.iter().any(|event| matches!(event.kind, Some(Kind::SyncDone(_)))) {
            line::close();
        }
        self.renderer.before(events);
        line::above(|| {
            for event in events {
                self.event(event)?;
            }
            self.out.flush()
        })
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.without_progress && matches!(event.kind, Some(Kind::SyncProgress(_))) {
            return Ok(());
        }
        if let Some(Kind::JobDone(done)) = &event.kind
            && self.without_success
            && done.status() == JobStatus::Succeeded
        {
            return Ok(());
        }
        let mut err = Vec::new();
        self.renderer.event(event, &mut self.out, &mut err)?;
        if !err.is_empty() {
            // In the order of the events, for those who see both streams in one place.
            self.out.flush()?;
            write_diagnostics(&err);
        }
        Ok(())
    }

    /// Shows what is held back.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        line::above(|| {
            self.renderer.finish(&mut self.out)?;
            self.out.flush()
        })
    }
}

/// Says something about the command's own work.
pub(crate) fn note(message: impl Display) {
    diagnose(format!("slipway: {message}\n").as_bytes());
}

/// Says that something may not be as meant.
pub(crate) fn warn(message: impl Display) {
    diagnose(format!("warning: {message}\n").as_bytes());
}

/// Writes text to standard error as it is.
pub(crate) fn diagnose(text: &[u8]) {
    line::above(|| write_diagnostics(text));
}

fn write_diagnostics(text: &[u8]) {
    // Nobody can be told that standard error is gone.
    let _ = io::stderr().write_all(text);
}

/// Standard error for slipway's own log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        diagnose(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a result to standard output.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    line::above(|| {
        let mut out = io::stdout().lock();
        write!(out, "{text}")?;
        out.flush()
    })
}

/// Writes one JSON value and a line end to standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    line::above(|| {
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        out.flush()
    })
}

/// What a job in the queue waits for.
fn waiting_for(first: &JobBefore) -> String {
    let JobBefore { job, kind, environment } = first;
    format!("waiting for job {job} ({kind} of {environment})")
}

/// A job's error as people read it.
pub(crate) fn job_error(error: &JobError) -> String {
    let mut text = format!("error: {}\n", error.message.trim_end());
    if let Some(hint) = error.hint.as_deref().filter(|hint| !hint.is_empty()) {
        text.push_str("hint: ");
        text.push_str(hint.trim_end());
        text.push('\n');
    }
    text
}
