//! What commands do, as events.

use std::borrow::Cow;
use std::io;

use slipway_manifest::names::sanitise_application;
use slipway_manifest::plan::{Command, CommandsPlan};
use slipway_manifest::variables::looks_secret;
use slipway_mask::Masks;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{CommandDone, CommandLog, CommandStarted, JobDone, OutputStream, Warning};

use crate::left::Left;
use crate::text::{Pieces, Tail};

/// What is said where there are more secrets than can be masked.
pub const NOT_ALL_MASKED: &str = "there are too many secret values, or too large ones, for all of them to be masked";

/// Warnings of the agent's that are told, and their bytes.
const MAX_WARNINGS: usize = 100;
const MAX_WARNING: usize = 4 << 10;

/// Where events go.
pub trait Sink {
    /// Takes an event down before it returns; nothing that follows depends on it.
    fn emit(&self, kind: Kind);

    /// The same for who must not go on without it.
    fn try_emit(&self, kind: Kind) -> io::Result<()>;

    /// What is not to be seen of output. The rest is masked where it is taken down ([`masked`]).
    fn masks(&self) -> Masks;

    /// These values are not to be seen either, from now on.
    fn hide(&self, values: &[&str]);
}

/// Nothing to mask yet, and never what a job is called: its application, its services, its namespace and its owner are
/// everywhere, and no secret.
pub fn sparing<'n>(application: &'n str, others: impl IntoIterator<Item = &'n str>) -> Masks {
    let names = [application.to_owned(), sanitise_application(application)];
    Masks::sparing(names.into_iter().chain(others.into_iter().map(str::to_owned)))
}

/// The event as people may read it. Output has been masked by its streams ([`Pieces`]), which know what came before; references,
/// digests, names and paths are true.
pub fn masked(mut kind: Kind, masks: &Masks) -> Kind {
    if masks.is_empty() {
        return kind;
    }
    let mask = |text: &mut String| {
        if let Cow::Owned(masked) = masks.text(text) {
            *text = masked;
        }
    };
    match &mut kind {
        Kind::StepStarted(step) => mask(&mut step.name),
        Kind::StepDone(step) => {
            mask(&mut step.name);
            step.error.as_mut().map(mask);
        }
        Kind::CommandStarted(command) => mask(&mut command.name),
        Kind::BuildSkipped(skipped) => mask(&mut skipped.reason),
        Kind::Warning(warning) => mask(&mut warning.message),
        Kind::JobDone(JobDone { error: Some(error), .. }) => {
            mask(&mut error.message);
            error.hint.as_mut().map(mask);
        }
        _ => {}
    }
    kind
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// From 0.
    pub index: u32,
    /// What it is called in logs.
    pub name: String,
    /// As a shell reports it: 128 + the signal's number when a signal ended it.
    pub exit_code: i32,
    /// The end of its output.
    pub tail: String,
}

impl Failed {
    /// For people; `label` is what the section is called ([`CommandsPlan::label`]).
    pub fn message(&self, label: &str) -> String {
        let Self { index, name, exit_code, tail } = self;
        let mut message = format!("{label} command {} failed with exit code {exit_code}: {name}", index + 1);
        if !tail.trim().is_empty() {
            message.push_str("\nits last output:\n");
            message.push_str(tail.trim_end());
        }
        message
    }
}

/// Turns what the commands of a section do into events.
#[derive(Debug)]
pub struct Story<'a, S> {
    sink: &'a S,
    section: &'static str,
    test: Option<String>,
    pieces: Pieces<(u32, bool)>,
    current: (u32, String),
    tail: Tail,
    left: Left<'a>,
    /// More is to be masked than `pieces` know of.
    hides_more: bool,
    /// How many the agent has said.
    warnings: usize,
}

impl<'a, S: Sink> Story<'a, S> {
    /// Of these commands.
    pub fn new(sink: &'a S, commands: &CommandsPlan) -> Self {
        let (section, test) = (commands.section.as_str(), commands.test.clone());
        let pieces = Pieces::new(&sink.masks());
        let (current, tail, left) = ((0, String::new()), Tail::default(), Left::default());
        Self { sink, section, test, pieces, current, tail, left, hides_more: false, warnings: 0 }
    }

    /// The same; this becomes of what they leave in `$OKTETO_ENV`.
    #[must_use]
    pub fn leaving(self, left: Left<'a>) -> Self {
        Self { left, ..self }
    }

    /// The command that was started last, and what it is called.
    pub fn current(&self) -> (u32, &str) {
        (self.current.0, &self.current.1)
    }

    /// A command starts now: it has been written down when this returns well, and it is not started else.
    pub(crate) fn started(&mut self, index: u32, command: &Command) -> io::Result<()> {
        self.current = (index, command.name.clone());
        self.tail = Tail::default();
        let (section, test, name) = (self.section.to_owned(), self.test.clone(), command.name.clone());
        self.sink.try_emit(Kind::CommandStarted(CommandStarted { section, test, index, name }))
    }

    /// A piece of its output, split anywhere.
    pub(crate) fn output(&mut self, index: u32, stderr: bool, bytes: &[u8]) {
        let text = self.pieces.add((index, stderr), bytes);
        self.log(index, stderr, text);
    }

    /// What is held back of the output of the command that was started last.
    pub fn end_output(&mut self) {
        let index = self.current.0;
        for stderr in [false, true] {
            let text = self.pieces.end(&(index, stderr));
            self.log(index, stderr, text);
        }
    }

    /// It ended.
    pub(crate) fn done(&mut self, index: u32, exit_code: i32, duration_ms: u64) {
        self.end_output();
        if std::mem::take(&mut self.hides_more) {
            // What commands left behind may still say something.
            for (index, stderr) in self.pieces.open() {
                let text = self.pieces.end(&(index, stderr));
                self.log(index, stderr, text);
            }
            self.pieces = Pieces::new(&self.sink.masks());
        }
        let (section, test) = (self.section.to_owned(), self.test.clone());
        self.sink.emit(Kind::CommandDone(CommandDone { section, test, index, exit_code, duration_ms }));
    }

    /// How the command that was started last failed.
    pub(crate) fn failed(&self, exit_code: i32) -> Failed {
        let (index, name) = self.current.clone();
        Failed { index, name, exit_code, tail: self.tail.text() }
    }

    /// What the agent says that the user should know. It is in a container with the commands, so it is not believed to be brief.
    pub(crate) fn warn_of_agent(&mut self, mut message: String) {
        self.warnings += 1;
        if self.warnings > MAX_WARNINGS {
            return;
        }
        message.truncate(message.floor_char_boundary(MAX_WARNING));
        self.warn(message);
    }

    /// Something that the user should know.
    pub fn warn(&mut self, message: String) {
        self.sink.emit(Kind::Warning(Warning { message, place: None }));
    }

    /// The variables that a command has left in `$OKTETO_ENV`, for those after it. They are kept when this returns, and what
    /// their names say is secret is not seen of those after it.
    pub(crate) fn variables(&mut self, content: &[u8]) -> Vec<(String, String)> {
        let sink = self.sink;
        let taken = self.left.take(content, &mut |message| sink.emit(Kind::Warning(Warning { message, place: None })));
        let secret: Vec<_> =
            taken.iter().filter(|(name, _)| looks_secret(name)).map(|(_, value)| value.as_str()).collect();
        if !secret.is_empty() {
            let before = sink.masks().gaps().plain;
            sink.hide(&secret);
            self.hides_more = true;
            if sink.masks().gaps().plain > before {
                self.warn(NOT_ALL_MASKED.to_owned());
            }
        }
        taken
    }

    fn log(&mut self, index: u32, stderr: bool, text: Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.tail.add(&text);
        let stream = if stderr { OutputStream::Stderr } else { OutputStream::Stdout }.into();
        let (section, of) = (self.section.to_owned(), self.test.clone());
        self.sink.emit(Kind::CommandLog(CommandLog { section, test: of, index, stream, text }));
    }
}
