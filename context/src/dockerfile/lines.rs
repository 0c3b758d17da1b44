//! A Dockerfile with each instruction on one line and without here-documents, for a parser that reads both in its own way.
//!
//! `BuildKit` (`parser.Parse`) joins lines that end in the escape character, leaves out comments among them, and takes
//! what follows ADD, COPY and RUN for here-documents wherever a `<<NAME` stands. What can't be told is an [`Unknown`].

use std::str::SplitInclusive;

use super::heredoc::{Heredoc, Unclear, heredocs};
use super::{MAX_INSTRUCTIONS, Unknown};

/// Stands for `<<`. No instruction has one of its own.
pub(super) const MARK: char = '\0';

/// How often the end of something that may be no here-document is looked for: each time goes through the whole file.
const MAX_MISSES: usize = 16;

/// What a parser may read.
#[derive(Debug)]
pub(super) struct Plain {
    /// The same instructions at the same lines. Here-documents are gone; a `<<` of ADD, COPY and RUN is two [`MARK`]s.
    pub(super) text: String,
    /// The escape character.
    pub(super) escape: char,
    /// How many instructions there are.
    pub(super) instructions: usize,
}

/// Where a line begins an instruction that can have here-documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AddOrCopy,
    Run,
    /// One that can have none, but whose end matters.
    Read,
    Other,
}

struct Reader<'t> {
    lines: SplitInclusive<'t, char>,
    /// Of the last line that was taken.
    number: usize,
    escape: char,
    misses: usize,
}

/// The plain form of a Dockerfile.
pub(super) fn plain(text: &str) -> Result<Plain, Unknown> {
    let escape = escape(text);
    let mut reader = Reader { lines: text.split_inclusive('\n'), number: 0, escape, misses: 0 };
    let mut plain = Plain { text: String::with_capacity(text.len()), escape, instructions: 0 };
    while let Some(line) = reader.next() {
        let first = reader.number;
        let line = line.trim_start();
        if line.starts_with('#') {
            // It may be the escape directive.
            plain.text.push_str(line);
        } else if !line.is_empty() {
            plain.instructions += 1;
            if plain.instructions > MAX_INSTRUCTIONS {
                // What one tenant sends must not keep the service busy.
                return Err(Unknown {
                    reason: "it has too many instructions to be looked into".to_owned(),
                    line: first,
                });
            }
            let instruction = reader.instruction(line);
            let unknown = |reason: &str| Unknown { reason: reason.to_owned(), line: first };
            plain.text.push_str(&reader.without_heredocs(instruction).map_err(unknown)?);
        }
        plain.text.extend(std::iter::repeat_n('\n', reader.number + 1 - first));
    }
    Ok(plain)
}

/// The escape character that the directives at the top choose.
fn escape(text: &str) -> char {
    let mut seen = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim_start().strip_prefix('#').and_then(|line| line.split_once('=')) else {
            break;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if value.is_empty() || !matches!(key.as_str(), "syntax" | "escape" | "check") || seen.contains(&key) {
            break;
        }
        if key == "escape" {
            return if value == "`" { '`' } else { '\\' };
        }
        seen.push(key);
    }
    '\\'
}

// === impl Reader ===

impl<'t> Reader<'t> {
    /// The next line, without its end.
    fn next(&mut self) -> Option<&'t str> {
        let line = self.lines.next()?;
        self.number += 1;
        Some(line.trim_end_matches(['\r', '\n']))
    }

    /// All lines of an instruction in one.
    fn instruction(&mut self, first: &str) -> String {
        let (part, mut more) = self.continuation(first);
        let mut joined = part.to_owned();
        while more {
            let Some(line) = self.next() else { break };
            let trimmed = line.trim_start();
            if !trimmed.is_empty() && !trimmed.starts_with('#') {
                let (part, again) = self.continuation(line);
                joined.push_str(part);
                more = again;
            }
        }
        joined
    }

    /// The line, and whether it goes on: it ends in one escape character, not in two.
    fn continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(part) if !part.ends_with(self.escape) => (part, true),
            _ => (line, false),
        }
    }

    /// Takes the here-documents of an instruction; gives it so that nobody looks for them again.
    fn without_heredocs(&mut self, mut line: String) -> Result<String, &'static str> {
        if line.contains(|character: char| character.is_control() && character != '\t') {
            return Err("it has a control character");
        }
        let kind = Kind::of(&line);
        if kind == Kind::AddOrCopy && line.contains("\\u0000") {
            return Err("a source has a control character");
        }
        if matches!(kind, Kind::AddOrCopy | Kind::Run) && line.contains("<<") {
            let found = heredocs(&line).map_err(|Unclear| "whether it has a here-document can't be told")?;
            // ADD and COPY tell their sources by other words than those of a shell.
            let words = line.split([' ', '\t']).filter(|word| word.contains("<<"));
            if kind == Kind::AddOrCopy && !words.eq(found.iter().map(|heredoc| heredoc.word.as_str())) {
                return Err("whether a source is a here-document can't be told");
            }
            for heredoc in &found {
                self.take(heredoc)?;
            }
            line = line.replace("<<", &String::from_iter([MARK, MARK]));
        }
        if line.trim_end_matches([' ', '\t']).ends_with(self.escape) {
            if kind != Kind::Run && kind != Kind::Other {
                return Err("it ends in an escape character that is no continuation");
            }
            // A parser may take it for a continuation, and what RUN runs is of no interest.
            line.truncate(line.trim_end_matches([self.escape, ' ', '\t']).len());
        }
        Ok(line)
    }

    /// Takes the lines of a here-document.
    fn take(&mut self, heredoc: &Heredoc) -> Result<(), &'static str> {
        let mut ahead = Self { lines: self.lines.clone(), ..*self };
        let mut sure = true;
        while let Some(line) = ahead.next() {
            let end = if heredoc.tabs { line.trim_start_matches('\t') } else { line };
            if end != heredoc.name {
                sure &= !line.contains("<<") && !ahead.continuation(line).1;
                continue;
            }
            // A frontend that takes the lines for instructions fails at the end line, if it gets to see that.
            if heredoc.spaced && !(sure && Kind::of(end) == Kind::Other && !is_instruction(end)) {
                return Err("whether it has a here-document depends on the frontend");
            }
            *self = ahead;
            return Ok(());
        }
        self.misses += 1;
        if !heredoc.spaced || self.misses > MAX_MISSES {
            return Err("a here-document has no end");
        }
        // Only an older frontend builds this, and for that it is none.
        Ok(())
    }
}

// === impl Kind ===

impl Kind {
    fn of(line: &str) -> Self {
        let mut words = line.split_whitespace().map(str::to_ascii_lowercase);
        let first = words.next().unwrap_or_default();
        let word = if first == "onbuild" { words.next().unwrap_or_default() } else { first };
        match word.as_str() {
            "add" | "copy" => Self::AddOrCopy,
            "run" => Self::Run,
            "arg" | "env" | "from" => Self::Read,
            _ => Self::Other,
        }
    }
}

/// Whether a line of one word may be an instruction.
fn is_instruction(word: &str) -> bool {
    let known = [
        "cmd",
        "entrypoint",
        "expose",
        "healthcheck",
        "label",
        "maintainer",
        "onbuild",
        "shell",
        "stopsignal",
        "user",
        "volume",
        "workdir",
    ];
    let first = word.split_whitespace().next().unwrap_or_default();
    known.iter().any(|known| first.eq_ignore_ascii_case(known))
}
