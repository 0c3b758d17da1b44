//! What goes on now, as lines.

use std::collections::VecDeque;
use std::time::Instant;

use console::{strip_ansi_codes, truncate_str};

use crate::output::{seconds, size};

/// Lines of output below a step.
const TAIL: usize = 4;
/// Steps that are drawn at most, the oldest first.
const STEPS: usize = 8;
/// The longest line that is kept of a step's output.
const LONGEST: usize = 4096;

/// The steps that run, and what they said last.
#[derive(Debug)]
pub(super) struct View {
    since: Instant,
    /// The place in the queue, and what is waited for there.
    queued: Option<(u32, Option<String>)>,
    paused: bool,
    steps: Vec<Step>,
    done: usize,
}

#[derive(Debug)]
struct Step {
    service: String,
    number: u32,
    name: String,
    since: Instant,
    /// How much of its contents has come.
    moved: String,
    lines: VecDeque<String>,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl View {
    /// Nothing yet.
    pub(super) fn new(since: Instant) -> Self {
        Self { since, queued: None, paused: false, steps: Vec::new(), done: 0 }
    }

    pub(super) fn queued(&mut self, position: u32, waiting: Option<String>) {
        self.queued = Some((position, waiting));
    }

    pub(super) fn began(&mut self) {
        self.queued = None;
    }

    /// Nothing is drawn meanwhile.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn started(&mut self, service: &str, number: u32, name: &str, since: Instant) {
        self.queued = None;
        let (service, name) = (service.to_owned(), name.to_owned());
        let (moved, lines, rest) = (String::new(), VecDeque::new(), Vec::new());
        self.steps.push(Step { service, number, name, since, moved, lines, rest });
    }

    pub(super) fn moved(&mut self, service: &str, number: u32, bytes: u64, total: u64) {
        if let Some(step) = self.step(service, number) {
            step.moved =
                if total > 0 { format!("{} / {} ", size(bytes), size(total)) } else { format!("{} ", size(bytes)) };
        }
    }

    fn step(&mut self, service: &str, number: u32) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.service == service && step.number == number)
    }

    pub(super) fn log(&mut self, service: &str, number: u32, text: &[u8]) {
        let Some(step) = self.step(service, number) else { return };
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            step.rest.extend_from_slice(part);
            // Only its end is shown, and of a line that is drawn again and again only what it is now.
            let from = step.rest.len().saturating_sub(LONGEST);
            step.rest.drain(..from);
            if part.ends_with(b"\n") {
                let line = plain(&std::mem::take(&mut step.rest));
                if line.trim().is_empty() {
                    continue;
                }
                step.lines.push_back(line);
                if step.lines.len() > TAIL {
                    step.lines.pop_front();
                }
            }
        }
    }

    pub(super) fn done(&mut self, service: &str, number: u32) {
        self.done += 1;
        self.steps.retain(|step| step.service != service || step.number != number);
    }

    /// The build of a service has ended.
    pub(super) fn ended(&mut self, service: &str) {
        self.steps.retain(|step| step.service != service);
    }

    /// As it is now, for a terminal of so many columns and rows: never more than half of them.
    pub(super) fn lines(&self, now: Instant, (columns, rows): (u16, u16)) -> Vec<String> {
        let columns = usize::from(columns);
        let cut = |text: &str| truncate_str(text, columns, "…").into_owned();
        let elapsed = |since: Instant| seconds(now.saturating_duration_since(since).as_millis() as u64);
        if self.paused {
            return Vec::new();
        }
        if let Some((position, waiting)) = &self.queued {
            let place = if *position > 1 { format!("queued at position {position}") } else { "queued".to_owned() };
            let place = waiting.as_ref().unwrap_or(&place);
            return vec![cut(&format!("{place}, {}", elapsed(self.since)))];
        }
        if self.steps.is_empty() {
            return Vec::new();
        }
        let most = usize::from(rows / 2).max(1);
        let mut lines = vec![cut(&format!("{} done, {}", self.done, elapsed(self.since)))];
        let steps = self.steps.len().min(STEPS).min(most);
        // What is left is shared by the outputs of the steps.
        let mut room = most.saturating_sub(1 + steps);
        for step in self.steps.iter().take(steps) {
            let time = format!("{}{}", step.moved, elapsed(step.since));
            let name = truncate_str(&step.name, columns.saturating_sub(step.service.len() + time.len() + 4), "…");
            lines.push(cut(&format!("> {} {name} {time}", step.service)));
            let rest = Some(plain(&step.rest)).filter(|rest| !rest.trim().is_empty());
            let said: Vec<_> = step.lines.iter().cloned().chain(rest).collect();
            let shown = said.len().min(TAIL).min(room);
            room -= shown;
            lines.extend(said.iter().skip(said.len() - shown).map(|line| cut(&format!("    {line}"))));
        }
        if self.steps.len() > steps {
            lines.push(cut(&format!("  and {} more", self.steps.len() - steps)));
        }
        lines
    }
}

/// A line without what would move the cursor: of one that was written over itself, what is there now.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = strip_ansi_codes(text.trim_end_matches(['\r', '\n']));
    let last = text.rsplit('\r').next().unwrap_or_default();
    last.replace('\t', "    ").chars().filter(|character| !character.is_control()).collect()
}
