//! Which entries of a tree are in, decided one by one in walk order: fsutil's filter, without a file system.
//!
//! The same machine drives the walk over a directory on disk and the walk over a snapshot. Its rules:
//!
//! - an entry is in if the include patterns (if there are any) match it and the exclude patterns don't;
//! - a directory that is out is not entered, unless a pattern might match something beneath it;
//! - a directory that is out, but has an entry that is in, is emitted after all, just before that entry.
//!
//! Whether an entry is in depends on its path and on which of the paths above it are directories, on nothing else in the
//! tree. So a filter applied again to its own result keeps all of it.

use crate::pattern::{ParentMatches, Pattern, PatternError, PatternMatcher};

/// Include and exclude patterns.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
    /// No include pattern has wildcards but at its end, so that its text tells which directories to enter.
    plain_includes: bool,
    /// The same for the exceptions among the exclude patterns.
    plain_exceptions: bool,
}

/// A bad pattern, and which list it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Among the include patterns.
    #[error("include patterns")]
    Include(#[source] PatternError),
    /// Among the exclude patterns.
    #[error("exclude patterns")]
    Exclude(#[source] PatternError),
}

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in. Emit the directories that [`FilterWalk::take_parents`] gives, then the entry.
    Include,
    /// It is out. If it is a directory, enter it all the same.
    Skip,
    /// A directory that is out with all that it holds: don't enter it.
    Prune,
}

/// What a directory matched, for the verdicts on what is beneath it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Below {
    include: Option<ParentMatches>,
    exclude: Option<ParentMatches>,
}

/// A walk over one tree. `D` is what the caller wants back of a directory that is emitted late.
#[derive(Debug)]
pub struct FilterWalk<'f, D> {
    filter: &'f Filter,
    /// The directories that the walk is in.
    above: Vec<Visited<D>>,
}

#[derive(Debug)]
struct Visited<D> {
    /// With a slash at the end.
    prefix: String,
    below: Below,
    /// `None` once it was emitted.
    pending: Option<D>,
}

// === impl Filter ===

impl Default for Filter {
    /// A filter that lets everything through.
    fn default() -> Self {
        Self { include: None, exclude: None, plain_includes: true, plain_exceptions: true }
    }
}

impl Filter {
    /// A filter of these patterns. An empty list doesn't filter.
    pub fn new<I: AsRef<str>, E: AsRef<str>>(include: &[I], exclude: &[E]) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        if !include.is_empty() {
            let matcher = PatternMatcher::new(include).map_err(FilterError::Include)?;
            filter.plain_includes = matcher.patterns().iter().all(|p| p.is_exception() || is_plain(p));
            filter.include = Some(matcher);
        }
        if !exclude.is_empty() {
            let matcher = PatternMatcher::new(exclude).map_err(FilterError::Exclude)?;
            filter.plain_exceptions = matcher.patterns().iter().all(|p| !p.is_exception() || is_plain(p));
            filter.exclude = Some(matcher);
        }
        Ok(filter)
    }

    /// Whether some include patterns start with `!`.
    pub(crate) fn has_include_exceptions(&self) -> bool {
        self.include.as_ref().is_some_and(PatternMatcher::has_exceptions)
    }

    /// The verdict on an entry, and what to judge those beneath it by. `above` is what came with the verdict on its parent
    /// directory, nothing for an entry of the root. Needs no order; that a directory that is out has something that is in,
    /// and is in after all, is for the caller to see.
    pub(crate) fn judge(
        &self,
        path: &str,
        is_directory: bool,
        above: Option<&Below>,
    ) -> Result<(Verdict, Below), FilterError> {
        let mut below = Below::default();
        let mut skip = false;
        if let Some(matcher) = &self.include {
            let above = above.and_then(|above| above.include.as_ref());
            let (matched, matches) = matcher.matches_below(path, above).map_err(FilterError::Include)?;
            below.include = Some(matches);
            if !matched {
                if is_directory && self.plain_includes && !any_below(matcher, path, false) {
                    return Ok((Verdict::Prune, below));
                }
                skip = true;
            }
        }
        if let Some(matcher) = &self.exclude {
            let above = above.and_then(|above| above.exclude.as_ref());
            let (matched, matches) = matcher.matches_below(path, above).map_err(FilterError::Exclude)?;
            below.exclude = Some(matches);
            if matched {
                if is_directory && self.plain_exceptions && !any_below(matcher, path, true) {
                    return Ok((Verdict::Prune, below));
                }
                skip = true;
            }
        }
        Ok((if skip { Verdict::Skip } else { Verdict::Include }, below))
    }

    /// A walk from the root of a tree.
    pub fn walk<D>(&self) -> FilterWalk<'_, D> {
        FilterWalk { filter: self, above: Vec::new() }
    }
}

// === impl FilterWalk ===

impl<D> FilterWalk<'_, D> {
    /// The verdict on the next entry in walk order: parents before children, siblings in byte order. `directory` is
    /// given for a directory.
    pub fn enter(&mut self, path: &str, directory: Option<D>) -> Result<Verdict, FilterError> {
        while self.above.last().is_some_and(|last| !path.starts_with(&last.prefix)) {
            self.above.pop();
        }
        let above = self.above.last().map(|above| &above.below);
        let (verdict, below) = self.filter.judge(path, directory.is_some(), above)?;
        if let Some(directory) = directory
            && verdict != Verdict::Prune
        {
            let pending = (verdict == Verdict::Skip).then_some(directory);
            self.above.push(Visited { prefix: format!("{path}/"), below, pending });
        }
        Ok(verdict)
    }

    /// The directories above the entry just included that have not been emitted yet, outermost first. They count as
    /// emitted from now on.
    pub fn take_parents(&mut self) -> impl Iterator<Item = (String, D)> {
        self.above.iter_mut().filter_map(|directory| {
            let pending = directory.pending.take()?;
            Some((directory.prefix[..directory.prefix.len() - 1].to_owned(), pending))
        })
    }
}

/// Whether the text of a pattern, but for a glob at its end, can be compared with paths.
fn is_plain(pattern: &Pattern) -> bool {
    !without_trailing_glob(pattern).contains(['*', '[', ']', '?', '^', '\\'])
}

/// Whether a pattern of the wanted sort starts with the directory.
fn any_below(matcher: &PatternMatcher, directory: &str, exceptions: bool) -> bool {
    matcher.patterns().iter().filter(|pattern| pattern.is_exception() == exceptions).any(|pattern| {
        let rest = without_trailing_glob(pattern).strip_prefix(directory);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn without_trailing_glob(pattern: &Pattern) -> &str {
    let text = pattern.text();
    let text = text.strip_suffix("/**").unwrap_or(text);
    text.strip_suffix("/*").unwrap_or(text)
}

#[cfg(test)]
mod tests;
