//! Patterns of ignore files, with exactly the meaning that moby's `patternmatcher` (and so `BuildKit`) gives them.
//!
//! A list of patterns is read from first to last. A pattern without `!` that matches a path, or any directory above it,
//! makes the path match; one with `!` undoes that. `*` and `?` match within a component, `**` any number of components,
//! `[a-z]` one of a class, and a backslash takes the next character literally. Patterns are anchored at the root.
//!
//! Underneath, a pattern is a Go regular expression, or one of three simple comparisons where it needs none; what
//! characters like `|` or `{2}` do follows from that.

use regex::bytes::{Regex, RegexBuilder};

pub(crate) mod glob;
mod goregex;
pub(crate) mod path;
#[cfg(test)]
mod tests;

/// A list of patterns.
#[derive(Debug, Clone, Default)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
    exceptions: bool,
}

/// One pattern of a [`PatternMatcher`].
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    exception: bool,
    index: usize,
    test: Test,
}

/// Which patterns a directory matches, for the use of its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParentMatches(Vec<bool>);

/// A pattern that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad pattern `{pattern}`: {problem}")]
pub struct PatternError {
    /// The pattern as given.
    pub pattern: String,
    /// Its position in the list.
    pub index: usize,
    /// What is wrong.
    pub problem: PatternProblem,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// A lone `!`.
    #[error("`!` has to be followed by a pattern")]
    EmptyException,
    /// A `[` without its `]`, an empty class, or a backslash with nothing behind it.
    #[error("a `[` that nothing closes, an empty `[]`, or a `\\` at the end")]
    Malformed,
    /// It passes as a file pattern, but not as the regular expression that it becomes.
    #[error("a class, repetition or escape in it is not valid")]
    Regex,
}

/// How a path is compared with a pattern.
#[derive(Debug, Clone)]
enum Test {
    Exact,
    Prefix(String),
    Suffix(Vec<u8>),
    Regex(Regex),
    /// Reported only when a path is compared with it, as `BuildKit` does.
    Bad,
}

// === impl PatternMatcher ===

impl PatternMatcher {
    /// Reads patterns. Blank ones are left out.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for (index, given) in patterns.into_iter().enumerate() {
            let given = given.as_ref();
            if given.trim().is_empty() {
                continue;
            }
            let error = |problem| PatternError { pattern: given.to_owned(), index, problem };
            let mut text = path::clean(given.trim());
            let exception = text.starts_with('!');
            if exception {
                text.remove(0);
                if text.is_empty() {
                    return Err(error(PatternProblem::EmptyException));
                }
            }
            if glob::matches(&text, ".").is_err() {
                return Err(error(PatternProblem::Malformed));
            }
            list.exceptions |= exception;
            list.patterns.push(Pattern { test: compile(&text), text, exception, index });
        }
        Ok(list)
    }

    /// The patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether any of them starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.exceptions
    }

    /// Whether `path`, slash-separated and relative, matches.
    pub fn matches(&self, path: &str) -> Result<bool, PatternError> {
        Ok(self.matched_by(path)?.is_some())
    }

    /// The position in the list of the pattern by which `path` matches; none when it doesn't.
    pub fn matched_by(&self, path: &str) -> Result<Option<usize>, PatternError> {
        let mut matched = None;
        for pattern in &self.patterns {
            // A pattern that could change nothing isn't looked at, not even to find it bad.
            if pattern.exception == matched.is_some() && (pattern.test(path)? || pattern.matches_above(path)) {
                matched = (!pattern.exception).then_some(pattern.index);
            }
        }
        Ok(matched)
    }

    /// Whether `path` matches, given what its parent directory matched, and what to hand to its own entries.
    ///
    /// With `None`, as for an entry of the root, the directories above `path` are looked at too.
    pub fn matches_below(
        &self,
        path: &str,
        parent: Option<&ParentMatches>,
    ) -> Result<(bool, ParentMatches), PatternError> {
        let mut matched = false;
        let mut below = ParentMatches(vec![false; self.patterns.len()]);
        for (at, pattern) in self.patterns.iter().enumerate() {
            let mut found = parent.is_some_and(|parent| parent.0.get(at) == Some(&true));
            if !found {
                if pattern.exception != matched {
                    continue;
                }
                found = pattern.test(path)? || (parent.is_none() && pattern.matches_above(path));
            }
            below.0[at] = found;
            if found {
                matched = !pattern.exception;
            }
        }
        Ok((matched, below))
    }
}

// === impl Pattern ===

impl Pattern {
    /// The cleaned pattern, without `!`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it started with `!`.
    pub fn is_exception(&self) -> bool {
        self.exception
    }

    fn test(&self, path: &str) -> Result<bool, PatternError> {
        Ok(match &self.test {
            Test::Exact => path == self.text,
            Test::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Test::Suffix(suffix) => {
                path.as_bytes().ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|s| path.as_bytes() == s)
            }
            Test::Regex(regex) => regex.is_match(path.as_bytes()),
            Test::Bad => {
                let bang = if self.exception { "!" } else { "" };
                let pattern = format!("{bang}{}", self.text);
                return Err(PatternError { pattern, index: self.index, problem: PatternProblem::Regex });
            }
        })
    }

    /// Whether a directory above `path` matches.
    fn matches_above(&self, path: &str) -> bool {
        path.match_indices('/').any(|(at, _)| self.test(&path[..at]) == Ok(true))
    }
}

/// Finds the comparison that a cleaned pattern stands for.
fn compile(pattern: &str) -> Test {
    #[derive(PartialEq)]
    enum Kind {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let mut kind = Kind::Exact;
    let mut regex = String::from("^");
    // The scanner of the original skips a byte order mark at the start.
    let mut chars = pattern.strip_prefix('\u{FEFF}').unwrap_or(pattern).chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    kind = Kind::Regex;
                } else if kind == Kind::Exact {
                    kind = Kind::Prefix;
                } else {
                    regex.push_str(".*");
                    kind = Kind::Regex;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                regex.push_str("[^/]*");
                kind = Kind::Regex;
            }
            '?' => {
                regex.push_str("[^/]");
                kind = Kind::Regex;
            }
            // `|`, `{` and `}` are missing in the original, so they keep their meaning.
            '.' | '+' | '(' | ')' | '$' => regex.extend(['\\', c]),
            '\\' => {
                regex.push('\\');
                if let Some(escaped) = chars.next() {
                    regex.push(escaped);
                    kind = Kind::Regex;
                }
            }
            '[' | ']' => {
                regex.push(c);
                kind = Kind::Regex;
            }
            c => regex.push(c),
        }
        first = false;
    }
    match kind {
        Kind::Exact => Test::Exact,
        Kind::Prefix => Test::Prefix(pattern[..pattern.len() - 2].to_owned()),
        Kind::Suffix => Test::Suffix(pattern.as_bytes()[2..].to_vec()),
        Kind::Regex => {
            regex.push('$');
            let compiled =
                goregex::translate(&regex).and_then(|r| RegexBuilder::new(&r).size_limit(64 << 20).build().ok());
            compiled.map_or(Test::Bad, Test::Regex)
        }
    }
}
