//! What makes up most of a context and probably isn't meant to be in it.

use std::path::Path;

use crate::pattern::glob;
use crate::rules::Rules;
use crate::warning::Warning;

/// Nothing smaller is worth a word.
const WORTH: u64 = 10_000_000;

/// How deep in the tree such things are looked for.
const DEPTH: usize = 3;

/// Directories that tools make, and that builds make again.
const DIRECTORIES: [&str; 19] = [
    ".git",
    ".gradle",
    ".hg",
    ".mypy_cache",
    ".next",
    ".nuxt",
    ".pytest_cache",
    ".svn",
    ".terraform",
    ".tox",
    ".venv",
    "__pycache__",
    "bower_components",
    "build",
    "coverage",
    "dist",
    "node_modules",
    "target",
    "venv",
];

/// Ends of the names of files that builds seldom want.
const ENDS: [&str; 8] = [".core", ".dmp", ".hprof", ".img", ".iso", ".log", ".qcow2", ".vmdk"];

/// The largest of what looks unintended.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// What is meant to be there, since it was asked for by name.
    named: Vec<String>,
    largest: Option<(String, u64)>,
}

// === impl Suspects ===

impl Suspects {
    /// None yet. What is named may end in wildcards.
    pub(super) fn new(named: Vec<String>) -> Self {
        Self { named, largest: None }
    }

    /// Takes note of a directory, with the bytes of all that is in it.
    pub(super) fn directory(&mut self, path: &Path, bytes: u64) {
        if bytes >= WORTH && name(path).is_some_and(|name| DIRECTORIES.contains(&name)) {
            self.note(path, bytes);
        }
    }

    /// Takes note of a file.
    pub(super) fn file(&mut self, path: &Path, bytes: u64) {
        if bytes >= WORTH && name(path).is_some_and(is_unintended_file) {
            self.note(path, bytes);
        }
    }

    /// The warning, if there is one that makes up more than half of all bytes.
    pub(super) fn warning(self, total: u64, rules: &Rules) -> Option<Warning> {
        let (path, bytes) = self.largest.filter(|(_, bytes)| *bytes > total / 2)?;
        Some(Warning::Dominant { path, bytes, total, ignore_file: rules.file().map(Path::to_owned) })
    }

    /// Whether leaving it out would leave out something named, or take away from a suspect that is named itself. What is
    /// in an ordinary directory that is named may well not be meant.
    fn is_meant(&self, path: &Path) -> bool {
        self.named.iter().map(|named| literal(named)).any(|named| {
            let is_suspect = name(named).is_some_and(|name| DIRECTORIES.contains(&name));
            named.starts_with(path) || is_suspect && path.starts_with(named)
        })
    }

    fn note(&mut self, path: &Path, bytes: u64) {
        let deep = path.components().count() > DEPTH;
        if let Some(text) = path.to_str().filter(|_| !deep && !self.is_meant(path)) {
            // What is in a suspect is no larger than it; when it is as large, the outer one is what has to be named.
            let larger = |(known, size): &(String, u64)| bytes > *size || bytes == *size && text.len() < known.len();
            if self.largest.as_ref().is_none_or(larger) {
                self.largest = Some((text.to_owned(), bytes));
            }
        }
    }
}

/// The part of a path before its first wildcard.
fn literal(path: &str) -> &Path {
    let names = path.split_inclusive('/').take_while(|name| !glob::has_wildcard(name));
    Path::new(path.get(..names.map(str::len).sum()).unwrap_or_default())
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

pub(super) fn is_unintended_file(name: &str) -> bool {
    let dump = name.strip_prefix("core").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
    });
    dump || ENDS.iter().any(|end| name.ends_with(end))
}
