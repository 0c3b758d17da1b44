//! A Dockerfile as it is written, beside another one.

use std::collections::BTreeSet;

use super::environment::names_any;
use crate::dockerfile::interpret::{Base, bases, global_scope, reachable, target};
use crate::dockerfile::lines::{MARK, Plain};
use crate::dockerfile::stages::{Dockerfile, Stage};
use crate::dockerfile::{Found, Input};

/// One stage as it is written; the first line is its FROM.
#[derive(Debug)]
pub(super) struct Written {
    name: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// An instruction as it is written.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// What counts of it.
    pub(super) text: String,
    /// What it begins with, for people.
    pub(super) first: String,
    pub(super) kind: Kind,
}

/// What an instruction does to the steps after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes files, or is what a stage starts from.
    Step,
    /// It changes what steps are run with.
    Environment,
    /// It is noted in the image only.
    Note,
}

/// The Dockerfile of before.
#[derive(Debug)]
pub(super) struct Before {
    stages: Vec<Written>,
    /// Of each, whether it was built.
    built: Vec<bool>,
}

/// What is known of a stage before.
#[derive(Debug)]
pub(super) enum Known<'k> {
    /// It is new.
    New,
    /// It was there, and nothing needed it.
    NotBuilt,
    /// These lines are left of it, without notes.
    Lines(Vec<&'k Line>),
}

/// The stages of a Dockerfile.
pub(super) fn stages(text: &str, plain: &Plain, dockerfile: &Dockerfile<'_>) -> Vec<Written> {
    let original: Vec<&str> = text.lines().collect();
    // Every instruction is on one line of the plain text.
    let is_instruction = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    let instructions: Vec<_> = plain.text.lines().enumerate().filter(|(_, line)| is_instruction(line)).collect();
    let mut next = instructions.iter().enumerate().skip(dockerfile.global.len());
    let written = |stage: &Stage<'_>| {
        let lines = next.by_ref().take(1 + stage.instructions.len()).map(|(index, (at, line))| {
            let end = instructions.get(index + 1).map_or(original.len(), |(end, _)| *end);
            // A here-document is not in the plain text.
            let text = if line.contains(MARK) {
                original.get(*at..end).unwrap_or_default().join("\n").trim_end().to_owned()
            } else {
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let first = original.get(*at).map(|line| line.trim().to_owned()).unwrap_or_default();
            Line { number: at + 1, text, first, kind: Kind::of(line) }
        });
        Written { name: stage.name.clone(), lines: lines.collect() }
    };
    dockerfile.stages.iter().map(written).collect()
}

// === impl Kind ===

impl Kind {
    fn of(line: &str) -> Self {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "run" | "copy" | "add" | "workdir" | "from" => Self::Step,
            "arg" | "env" | "user" | "shell" => Self::Environment,
            _ => Self::Note,
        }
    }
}

// === impl Before ===

impl Before {
    /// `input` has the target of before, `globals` are names of the global scope that had other values.
    pub(super) fn new(
        stages: Vec<Written>,
        dockerfile: &Dockerfile<'_>,
        input: &Input<'_>,
        globals: &BTreeSet<String>,
    ) -> Self {
        let platform = input.platforms.first().map(String::as_str);
        let global = global_scope(dockerfile, input, platform, &mut Found::default());
        let (names, mut bases) = (dockerfile.names(), bases(dockerfile, &global));
        for (base, stage) in bases.iter_mut().zip(&dockerfile.stages) {
            if names_any(&stage.from.image.value, globals).is_some() {
                *base = Base::Hidden("it was another one".to_owned());
            }
        }
        let built = target(dockerfile, &names, input.target)
            .map_or_else(|| vec![false; stages.len()], |target| reachable(dockerfile, &names, &bases, target));
        Self { stages, built }
    }

    /// The stage of the same name; of one without a name, that at the same place.
    pub(super) fn like(&self, stage: &Written, index: usize) -> Known<'_> {
        let at = match &stage.name {
            Some(_) => self.stages.iter().rposition(|known| known.name == stage.name),
            None => self.stages.get(index).filter(|known| known.name.is_none()).map(|_| index),
        };
        match at.map(|at| (self.stages.get(at), self.built.get(at))) {
            Some((Some(stage), Some(true))) => {
                // The last one is taken first.
                Known::Lines(stage.lines.iter().filter(|line| line.kind != Kind::Note).rev().collect())
            }
            Some((Some(_), _)) => Known::NotBuilt,
            _ => Known::New,
        }
    }
}

// === impl Known ===

impl<'k> Known<'k> {
    /// Whether the line was there before, after those that were already found; what came between isn't there any more.
    pub(super) fn has(&mut self, line: &Line, gone: &mut Vec<&'k Line>) -> bool {
        let Self::Lines(lines) = self else { return false };
        let Some(at) = lines.iter().rposition(|before| before.text == line.text) else { return false };
        gone.extend(lines.drain(at..).skip(1).rev());
        true
    }

    /// What is left of it when the stage is at its end.
    pub(super) fn rest(self) -> Vec<&'k Line> {
        match self {
            Self::Lines(lines) => lines.into_iter().rev().collect(),
            Self::New | Self::NotBuilt => Vec::new(),
        }
    }
}
