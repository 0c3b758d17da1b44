//! What is wrong with a file, and where.

pub(crate) mod concern;
mod mark;

use std::fmt;

pub use concern::{Concern, Concerned};

/// A position in a file: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line, from 1; 0: no line, but the whole.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One finding in a file, an error or a warning. Displays as `FILE:LINE:COL: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1; 0: no line, but the whole.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to fix it, when we know.
    pub hint: Option<String>,
}

/// Every error of one file, in the order of the file; never empty. Displays one a line, hints indented below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// Gathers findings while a file is read.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    errors: Vec<Concerned>,
    warnings: Vec<Problem>,
    /// Whom errors stop that are found now.
    concern: Concern,
    /// How many there are, by whom they stop.
    found: [usize; Concern::COUNT],
}

/// More than anybody reads; keeps a hostile file from making a huge report.
const MAX_PROBLEMS: usize = 200;
/// Of a message, and of a hint, in characters.
const MAX_TEXT: usize = 1000;

impl Place {
    /// Of what has no lines.
    pub const WHOLE: Self = Self { line: 0, column: 0 };

    /// A position from line and column, both from 1.
    pub fn new(line: usize, column: usize) -> Self {
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Problem {
    /// A finding without a hint.
    pub fn new(file: impl Into<String>, place: Place, message: impl Into<String>) -> Self {
        let message = one_line(message.into());
        Self { file: file.into(), line: place.line, column: place.column, message, hint: None }
    }

    /// The same finding with a way to fix it.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(|hint| one_line(hint.into()));
        self
    }

    /// Where it is, without the file.
    pub fn place(&self) -> Place {
        Place::new(self.line, self.column)
    }

    /// `FILE:LINE:COL`, as warning events carry it.
    pub fn location(&self) -> String {
        if self.place() == Place::WHOLE { self.file.clone() } else { format!("{}:{}", self.file, self.place()) }
    }

    /// The error with the line of the source that it is about, and the hint.
    pub fn render(&self, source: &str) -> String {
        self.with_line(&mark::lines(source), "")
    }

    /// The same for a warning.
    pub fn render_warning(&self, source: &str) -> String {
        self.with_line(&mark::lines(source), "warning: ")
    }

    fn with_line(&self, lines: &[&str], what: &str) -> String {
        let mut text = format!("{}: {what}{}", self.location(), self.message);
        if let Some(marked) = mark::line(lines, self.place()) {
            text.push('\n');
            text.push_str(&marked);
        }
        if let Some(hint) = &self.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }
}

/// A key or a value that is quoted may hold anything.
fn one_line(message: String) -> String {
    if !message.contains(mark::needs_escape) {
        return message;
    }
    message.chars().map(mark::visible).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location(), self.message)
    }
}

impl Problems {
    /// The findings, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Each with its line of the source; see [`Problem::render`].
    pub fn render(&self, source: &str) -> String {
        // Once for all of them: the file may be large.
        let lines = mark::lines(source);
        self.0.iter().map(|problem| problem.with_line(&lines, "")).collect::<Vec<_>>().join("\n")
    }

    /// The findings, in the order of the file.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The text as long as anybody reads it.
fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
        text.push('…');
    }
    text
}

impl Report {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            errors: Vec::new(),
            warnings: Vec::new(),
            concern: Concern::Everybody,
            found: [0; Concern::COUNT],
        }
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.error_with(place, message, None::<String>);
    }

    pub(crate) fn error_with(&mut self, place: Place, message: impl Into<String>, hint: Option<impl Into<String>>) {
        if !self.is_full() {
            let problem = self.problem(place, message.into(), hint.map(Into::into));
            self.errors.push(Concerned { problem, concern: self.concern });
            self.found[self.concern as usize] += 1;
        }
    }

    /// Does something whose errors stop only these.
    pub(crate) fn concerning<T>(&mut self, concern: Concern, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.concern, concern);
        let result = check(self);
        self.concern = before;
        result
    }

    /// Forgets what was found, for a file that is read another way.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(&self.file);
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether another error would be left out; saves making up hints for it. Each concern has room of its own: what stops
    /// nobody must not hide what does.
    pub(crate) fn is_full(&self) -> bool {
        self.found[self.concern as usize] >= MAX_PROBLEMS
    }

    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.warn_with(place, message, None::<String>);
    }

    pub(crate) fn warn_with(&mut self, place: Place, message: impl Into<String>, hint: Option<impl Into<String>>) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push(self.problem(place, message.into(), hint.map(Into::into)));
        }
    }

    /// Names in it may be as long as the file.
    fn problem(&self, place: Place, message: String, hint: Option<String>) -> Problem {
        Problem::new(&self.file, place, cut(message)).with_hint(hint.map(cut))
    }

    /// The warnings of a file without errors, or its errors.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Problems> {
        let (warnings, errors) = self.sorted();
        if errors.is_empty() { Ok(warnings) } else { Err(problems(errors)) }
    }

    /// The same, but that errors which don't concern everybody are beside the warnings; where there are others, all are errors.
    pub(crate) fn finish_for_some(self) -> Result<(Vec<Problem>, Vec<Concerned>), Problems> {
        let (warnings, errors) = self.sorted();
        if errors.iter().any(|error| error.concern == Concern::Everybody) {
            return Err(problems(errors));
        }
        Ok((warnings, errors))
    }

    fn sorted(mut self) -> (Vec<Problem>, Vec<Concerned>) {
        self.warnings.sort_by_key(Problem::place);
        // Stable: two errors at one place stay in the order they were found in. An alias repeats its anchor's errors.
        self.errors.sort_by_key(|error| error.problem.place());
        self.errors.dedup();
        (self.warnings, self.errors)
    }
}

/// There are some. Of too many, those that stop everybody come before the others.
fn problems(mut errors: Vec<Concerned>) -> Problems {
    errors.sort_by_key(|error| error.concern != Concern::Everybody);
    errors.truncate(MAX_PROBLEMS);
    errors.sort_by_key(|error| error.problem.place());
    Problems(errors.into_iter().map(|error| error.problem).collect())
}
