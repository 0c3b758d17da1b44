//! For people at a terminal: what has been done goes up, line by line, and below it is drawn what goes on now.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slipway_proto::v1::{
    ArtifactSaved, CommandLog, Event, JobDone, JobError, OutputStream, StepDone, Warning, event::Kind,
};

use self::tame::Tame;
use self::view::View;
use super::plain::Plain;
use super::{Renderer, line, seconds, waiting_for};

mod tame;
mod view;

/// How often it is drawn again: the times in it go on.
const TICK: Duration = Duration::from_millis(100);
/// Steps of the engine's own that are shorter are not worth a line.
const WORTH_TELLING: u64 = 1000;

/// Lines of what has been done, and a view of what goes on.
#[derive(Debug)]
pub(crate) struct Tty {
    plain: Plain,
    /// What commands write, by test (those that run at the same time) and stream.
    tame: BTreeMap<(String, bool), Tame>,
    shared: Arc<Mutex<View>>,
    ticker: tokio::task::JoinHandle<()>,
    /// A line for each image, for the end.
    summary: Vec<String>,
}

impl Tty {
    /// Draws until it is dropped.
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Mutex::new(View::new(Instant::now())));
        let ticker = tokio::spawn(draw(shared.clone()));
        Self { plain: Plain::default(), tame: BTreeMap::default(), shared, ticker, summary: Vec::new() }
    }

    /// Ends what the output of a test's command has begun, or that of all commands.
    fn calm(&mut self, test: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        let ended = self.tame.extract_if(.., |(of, _), _| test.is_none_or(|test| test == of));
        ended.into_iter().try_for_each(|(_, mut tame)| out.write_all(tame.end()))
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.ticker.abort();
        line::hide(line::Kind::View);
    }
}

async fn draw(view: Arc<Mutex<View>>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    // The template is a constant.
    bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (mut ticks, mut drawn) = (tokio::time::interval(TICK), false);
    loop {
        ticks.tick().await;
        let lines = view.lock().unwrap_or_else(PoisonError::into_inner).lines(Instant::now(), line::size());
        if lines.is_empty() {
            if std::mem::take(&mut drawn) {
                line::hide(line::Kind::View);
            }
            continue;
        }
        bar.set_message(lines.join("\n"));
        if !std::mem::replace(&mut drawn, true) {
            bar.reset();
            line::show(line::Kind::View, &bar);
        }
        bar.tick();
    }
}

impl Renderer for Tty {
    fn before(&mut self, events: &[Event]) {
        // What commands write has no line of its own to be drawn below.
        let alone = |event: &Event| matches!(event.kind, Some(Kind::CommandStarted(_) | Kind::JobDone(_)));
        if events.iter().any(alone) {
            self.view().pause(true);
            line::hide(line::Kind::View);
        }
    }

    fn event(&mut self, event: &Event, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        let now = Instant::now();
        match &event.kind {
            // Drawn, as long as it is so.
            Some(Kind::JobQueued(queued)) => {
                self.view().queued(queued.position, queued.behind.as_ref().map(waiting_for));
                return Ok(());
            }
            Some(Kind::BuildStarted(_)) => return Ok(()),
            Some(Kind::StepStarted(step)) => {
                self.view().started(&step.service, step.step, &step.name, now);
                return Ok(());
            }
            Some(Kind::StepProgress(progress)) => {
                self.view().moved(&progress.service, progress.step, progress.bytes, progress.total_bytes);
                return Ok(());
            }
            Some(Kind::StepLog(log)) => {
                self.view().log(&log.service, log.step, &log.text);
                return Ok(());
            }
            Some(Kind::StepDone(step)) => {
                self.view().done(&step.service, step.step);
                return step_done(step, out);
            }
            Some(Kind::CommandLog(log)) => {
                let key = (log.test().to_owned(), log.stream() == OutputStream::Stderr);
                let text = self.tame.entry(key).or_default().piece(&log.text);
                let kind = Some(Kind::CommandLog(CommandLog { text, ..log.clone() }));
                return self.plain.event(&Event { kind, ..event.clone() }, out, err);
            }
            // What commands have written is in these, too.
            Some(Kind::Warning(warning)) => {
                let warning = Warning { message: tame::text(&warning.message), ..warning.clone() };
                return self.plain.event(&Event { kind: Some(Kind::Warning(warning)), ..event.clone() }, out, err);
            }
            Some(Kind::ArtifactSaved(artifact)) => {
                let artifact = ArtifactSaved { path: tame::text(&artifact.path), ..artifact.clone() };
                return self.plain.event(
                    &Event { kind: Some(Kind::ArtifactSaved(artifact)), ..event.clone() },
                    out,
                    err,
                );
            }
            Some(Kind::CommandDone(done)) => {
                self.view().pause(false);
                self.calm(Some(done.test()), out)?;
            }
            Some(Kind::JobStarted(_)) => self.view().began(),
            Some(Kind::BuildDone(build)) => {
                self.view().ended(&build.service);
                let time = seconds(build.duration_ms);
                self.summary.push(format!("  {}  built in {time}  {}", build.service, build.image));
            }
            Some(Kind::BuildSkipped(build)) => {
                self.summary.push(format!("  {}  not changed  {}", build.service, build.image));
            }
            // One image was just named.
            Some(Kind::JobDone(_)) if self.summary.len() > 1 => {
                writeln!(out, "images:\n{}", self.summary.join("\n"))?;
            }
            _ => {}
        }
        // The last output of a command.
        if let Some(Kind::JobDone(done)) = &event.kind
            && let Some(error) = &done.error
        {
            let error = Some(JobError { message: tame::text(&error.message), ..error.clone() });
            let kind = Some(Kind::JobDone(JobDone { error, ..done.clone() }));
            return self.plain.event(&Event { kind, ..event.clone() }, out, err);
        }
        self.plain.event(event, out, err)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.view().pause(true);
        // Also where nobody said that the command has ended.
        self.calm(None, out)?;
        self.plain.finish(out)
    }
}

fn step_done(step: &StepDone, out: &mut dyn Write) -> io::Result<()> {
    let (service, name) = (&step.service, &step.name);
    match &step.error {
        // The job's end says more.
        Some(_) => writeln!(out, "{service} ERROR {name}"),
        None if name.starts_with("[internal]") && step.duration_ms < WORTH_TELLING => Ok(()),
        None if step.cached => writeln!(out, "{service} CACHED {name}"),
        None => writeln!(out, "{service} {name} {}", seconds(step.duration_ms)),
    }
}

#[cfg(test)]
mod tests;
