//! Events as lines of text.
//!
//! A line of a build begins with its service and step, since builds run side by side: `app #3 0.4 …` is 0.4 seconds into the
//! step. What commands write is shown as it is, unless tests run side by side: then each of its lines begins with the test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use prost_types::Timestamp;
use slipway_proto::v1::{
    CommandDone, CommandLog, CommandStarted, Event, JobQueued, JobStatus, OutputStream, StepDone, StepLog, event::Kind,
};

use super::{Renderer, job_error, seconds, size, waiting_for};

/// A step's line without an end is shown once it is this long.
const LONGEST_LINE: usize = 64 << 10;

/// Lines of text.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    introduced: bool,
    /// Where the job began.
    engine: String,
    steps: HashMap<(String, u32), Step>,
    /// Whether the last thing shown is output of a command that has not ended its line.
    in_line: bool,
    tests: Tests,
}

/// What is known of tests.
#[derive(Debug, Default)]
struct Tests {
    /// Those of which a command runs.
    running: BTreeSet<String>,
    /// Two of them have run at a time.
    side_by_side: bool,
    /// The beginning of a line, by test and stream.
    lines: BTreeMap<(String, i32), Vec<u8>>,
}

#[derive(Debug, Default)]
struct Step {
    started: Option<Timestamp>,
    /// The beginning of a line, by stream: its end comes with a later event.
    lines: [Vec<u8>; 2],
}

impl Renderer for Plain {
    fn event(&mut self, event: &Event, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        let Some(kind) = &event.kind else { return Ok(()) };
        if let Kind::CommandLog(log) = kind {
            return self.command_log(log, out);
        }
        self.end_line(out)?;
        self.follow_tests(kind, out)?;
        if !self.introduced {
            self.introduced = true;
            writeln!(out, "job {}", event.job)?;
        }
        match kind {
            Kind::JobQueued(JobQueued { behind: Some(first), .. }) => {
                writeln!(out, "job queued: {}", waiting_for(first))
            }
            Kind::JobQueued(queued) if queued.position <= 1 => writeln!(out, "job queued"),
            Kind::JobQueued(queued) => writeln!(out, "job queued at position {}", queued.position),
            Kind::JobStarted(started) => {
                self.engine.clone_from(&started.engine);
                writeln!(out, "job started on {}", started.engine)
            }
            Kind::SyncProgress(progress) => {
                writeln!(out, "sync: sent {} of {}", size(progress.sent_bytes), size(progress.new_bytes))
            }
            Kind::SyncDone(sync) => writeln!(
                out,
                "sync: {} files, {}; sent {}, reused {} in {}",
                sync.files,
                size(sync.bytes),
                size(sync.sent_bytes),
                size(sync.reused_bytes),
                seconds(sync.duration_ms)
            ),
            // Empty from a service that has one engine and does not say it.
            Kind::BuildStarted(build) if build.engine.is_empty() || build.engine == self.engine => {
                writeln!(out, "{} build started", build.service)
            }
            Kind::BuildStarted(build) => writeln!(out, "{} build started on {}", build.service, build.engine),
            Kind::BuildSkipped(build) => {
                writeln!(out, "{} build skipped: {}\n{0} image {}", build.service, build.reason, build.image)
            }
            Kind::StepStarted(step) => {
                let entry = self.steps.entry((step.service.clone(), step.step)).or_default();
                entry.started = event.time;
                writeln!(out, "{} #{} {}", step.service, step.step, step.name)
            }
            Kind::StepLog(log) => self.step_log(log, event.time.as_ref(), out),
            Kind::StepDone(step) => self.step_done(step, event.time.as_ref(), out),
            Kind::BuildDone(build) => writeln!(
                out,
                "{} build done in {}; the engine asked for {}\n{0} image {}",
                build.service,
                seconds(build.duration_ms),
                size(build.engine_bytes),
                build.image
            ),
            Kind::BuildExported(export) => {
                writeln!(out, "{} exported {}: {}", export.service, export.kind, size(export.bytes))
            }
            Kind::ArtifactSaved(artifact) => {
                writeln!(out, "test {} artifact {}: {}", artifact.test, artifact.path, size(artifact.bytes))
            }
            Kind::TestSkipped(skipped) => {
                writeln!(out, "test {} skipped: nothing changed since job {}", skipped.test, skipped.job)
            }
            Kind::CommandStarted(command) => {
                let section = section(&command.section, command.test.as_deref());
                writeln!(out, "{section} #{} {}", command.index + 1, one_line(&command.name))
            }
            // The command's output was shown above, without the line end that others need before them; progress is for who watches.
            Kind::CommandLog(_) | Kind::StepProgress(_) | Kind::ArtifactsExported(_) => Ok(()),
            Kind::CommandDone(command) => {
                let section = section(&command.section, command.test.as_deref());
                let how = match command.exit_code {
                    0 => "DONE".to_owned(),
                    code => format!("FAILED (exit code: {code})"),
                };
                writeln!(out, "{section} #{} {how} {}", command.index + 1, seconds(command.duration_ms))
            }
            Kind::Warning(warning) => {
                let place = warning.place.as_deref().filter(|place| !place.is_empty());
                let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
                writeln!(err, "warning: {place}{}", warning.message.trim_end())
            }
            Kind::JobDone(done) => {
                self.finish(out)?;
                writeln!(
                    out,
                    "job {}",
                    match done.status() {
                        JobStatus::Succeeded => "succeeded",
                        JobStatus::Cancelled => "cancelled",
                        JobStatus::Failed | JobStatus::Unspecified => "failed",
                    }
                )?;
                match &done.error {
                    Some(error) => err.write_all(job_error(error).as_bytes()),
                    None => Ok(()),
                }
            }
        }
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.end_line(out)?;
        for ((test, _), line) in std::mem::take(&mut self.tests.lines) {
            write_test_line(out, &test, &line)?;
        }
        let mut steps: Vec<_> = self.steps.drain().collect();
        steps.sort_by(|a, b| a.0.cmp(&b.0));
        for ((service, number), step) in steps {
            for line in step.lines.iter().filter(|line| !line.is_empty()) {
                write_line(out, &service, number, "", line)?;
            }
        }
        Ok(())
    }
}

impl Plain {
    fn end_line(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.in_line) { out.write_all(b"\n") } else { Ok(()) }
    }

    /// Where one ends, what it has not ended of a line does.
    fn follow_tests(&mut self, kind: &Kind, out: &mut dyn Write) -> io::Result<()> {
        let tests = &mut self.tests;
        match kind {
            Kind::CommandStarted(CommandStarted { test: Some(test), .. }) => {
                tests.running.insert(test.clone());
                tests.side_by_side |= tests.running.len() > 1;
            }
            Kind::CommandDone(CommandDone { test: Some(test), .. }) => {
                tests.running.remove(test);
                for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                    if let Some(line) = tests.lines.remove(&(test.clone(), stream.into())) {
                        write_test_line(out, test, &line)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn command_log(&mut self, log: &CommandLog, out: &mut dyn Write) -> io::Result<()> {
        if let Some(test) = log.test.as_ref().filter(|_| self.tests.side_by_side) {
            self.end_line(out)?;
            let key = (test.clone(), log.stream);
            let line = self.tests.lines.entry(key.clone()).or_default();
            for part in log.text.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.ends_with(b"\n") || line.len() >= LONGEST_LINE {
                    write_test_line(out, test, line)?;
                    line.clear();
                }
            }
            if line.is_empty() {
                self.tests.lines.remove(&key);
            }
            return Ok(());
        }
        let Some(last) = log.text.last() else { return Ok(()) };
        self.in_line = *last != b'\n';
        out.write_all(&log.text)
    }

    fn step_log(&mut self, log: &StepLog, time: Option<&Timestamp>, out: &mut dyn Write) -> io::Result<()> {
        let step = self.steps.entry((log.service.clone(), log.step)).or_default();
        let at = since(step.started.as_ref(), time);
        let Some(line) = step.lines.get_mut(usize::from(log.stream == 2)) else { return Ok(()) };
        for part in log.text.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") || line.len() >= LONGEST_LINE {
                write_line(out, &log.service, log.step, &at, line)?;
                line.clear();
            }
        }
        Ok(())
    }

    fn step_done(&mut self, done: &StepDone, time: Option<&Timestamp>, out: &mut dyn Write) -> io::Result<()> {
        if let Some(step) = self.steps.remove(&(done.service.clone(), done.step)) {
            let at = since(step.started.as_ref(), time);
            for line in step.lines.iter().filter(|line| !line.is_empty()) {
                write_line(out, &done.service, done.step, &at, line)?;
            }
        }
        let (service, number) = (&done.service, done.step);
        match &done.error {
            Some(error) => writeln!(out, "{service} #{number} ERROR: {}", error.trim_end()),
            None if done.cached => writeln!(out, "{service} #{number} CACHED {}", done.name),
            None => writeln!(out, "{service} #{number} DONE {}", seconds(done.duration_ms)),
        }
    }
}

fn write_line(out: &mut dyn Write, service: &str, step: u32, at: &str, line: &[u8]) -> io::Result<()> {
    write!(out, "{service} #{step} {at}")?;
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    out.write_all(line.strip_suffix(b"\r").unwrap_or(line))?;
    out.write_all(b"\n")
}

fn write_test_line(out: &mut dyn Write, test: &str, line: &[u8]) -> io::Result<()> {
    write!(out, "{test} | ")?;
    out.write_all(line.strip_suffix(b"\n").unwrap_or(line))?;
    out.write_all(b"\n")
}

/// `0.4 `: seconds into a step; nothing where its start was not seen.
fn since(start: Option<&Timestamp>, now: Option<&Timestamp>) -> String {
    let (Some(start), Some(now)) = (start, now) else { return String::new() };
    let millis = |time: &Timestamp| i128::from(time.seconds) * 1000 + i128::from(time.nanos / 1_000_000);
    let elapsed = (millis(now) - millis(start)).max(0);
    format!("{}.{} ", elapsed / 1000, elapsed % 1000 / 100)
}

fn section(section: &str, test: Option<&str>) -> String {
    test.map_or_else(|| section.to_owned(), |test| format!("{section} {test}"))
}

/// A command's name is its text by default, which may have many lines.
fn one_line(name: &str) -> String {
    let name = name.trim();
    match name.split_once('\n') {
        Some((first, _)) => format!("{} …", first.trim_end()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
