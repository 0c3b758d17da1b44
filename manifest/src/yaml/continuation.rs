//! Lines of a text in quotes that begin at the left: yaml.v2 takes them, YAML 1.2 and our parser don't.
//!
//! White space at the begin of such a line means nothing, so the line is moved to where the parser takes it, and places in it
//! are told as if it had not been.

use std::{borrow::Cow, collections::BTreeMap};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScanError, StrInput};

use super::MAX_DEPTH;
use crate::problem::Place;

/// How far a line is moved at first, and at most: beyond the block that it is in.
const WIDTHS: [usize; 4] = [64, 256, 1024, 4096];
/// Bytes that are parsed to find all of them, one after the other.
const MOST: usize = 4 * 1024 * 1024;

/// Lines that were moved, and how far.
#[derive(Debug, Default)]
pub(super) struct Moved(BTreeMap<usize, usize>);

impl Moved {
    /// A place in the text as it was. The parser counts columns from 0.
    pub(super) fn place(&self, marker: &Marker) -> Place {
        let line = marker.line().max(1);
        let by = self.0.get(&line).copied().unwrap_or_default();
        Place::new(line, marker.col().saturating_sub(by) + 1)
    }
}

/// Reads a text as everything here does.
pub(super) fn parser(text: &str) -> Parser<'_, StrInput<'_>> {
    let mut options = granit_parser::options! { block_nesting_limit: MAX_DEPTH + 1, flow_nesting_limit: MAX_DEPTH + 1 };
    options.set_emit_comments(false);
    Parser::new_from_str_with_options(text, options)
}

/// Whether the parser stopped at such a line.
pub(super) fn is_cause(error: &ScanError) -> bool {
    matches!(error.kind(), ErrorKind::InvalidQuotedScalarIndent)
}

/// The text with such lines moved; none: there are too many.
pub(super) fn moved(text: &str) -> Option<(String, Moved)> {
    let mut moved = Moved::default();
    let mut left = MOST;
    loop {
        let changed = moved.applied_to(text);
        left = left.checked_sub(changed.len())?;
        let Some(line) = next(&changed) else { return Some((changed.into_owned(), moved)) };
        // The text ends within the quotes: without what is behind the last word the parser says so.
        let words = changed.trim_end();
        if line > words.lines().count() {
            return Some((words.to_owned(), moved));
        }
        let width = moved.0.entry(line).or_default();
        *width = WIDTHS.into_iter().find(|wider| wider > width)?;
    }
}

/// The first such line of the first document.
fn next(text: &str) -> Option<usize> {
    for event in parser(text) {
        match event {
            Ok((Event::DocumentEnd, _)) => return None,
            Ok(_) => {}
            Err(error) => return is_cause(&error).then(|| error.marker().line()),
        }
    }
    None
}

impl Moved {
    fn applied_to<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.0.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut changed = String::with_capacity(text.len() + self.0.values().sum::<usize>());
        let (mut rest, mut line) = (text, 1);
        while !rest.is_empty() {
            changed.extend(std::iter::repeat_n(' ', self.0.get(&line).copied().unwrap_or_default()));
            let end = match rest.find(['\n', '\r']) {
                None => rest.len(),
                Some(at) => at + if rest[at..].starts_with("\r\n") { 2 } else { 1 },
            };
            changed.push_str(&rest[..end]);
            (rest, line) = (&rest[end..], line + 1);
        }
        Cow::Owned(changed)
    }
}
