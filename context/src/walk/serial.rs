//! The walk as one loop: what the walk on several threads is compared with.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::vec;

use super::{Listed, ListedKind, Root, WalkError, check_path, check_target};
use crate::filter::{FilterWalk, Verdict};
use crate::ignorefile::lossy;
use crate::mode::SYMLINK_MODE;
use crate::rules::Rules;
use crate::warning::Warning;

/// An entry of a directory tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path below the root, slash-separated.
    pub(crate) path: String,
    /// Permissions, setuid, setgid and sticky bits.
    pub(crate) mode: u32,
    /// What it is.
    pub(crate) kind: FoundKind,
}

/// What an entry of a directory tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundKind {
    /// A regular file.
    File {
        /// Its size when it was listed.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symlink.
    Symlink {
        /// Where it points.
        target: String,
    },
}

/// A walk: an iterator of the entries that the rules leave.
#[derive(Debug)]
pub(crate) struct Walk<'r> {
    root: &'r Root,
    rules: &'r Rules,
    filter: FilterWalk<'r, Listed>,
    /// The directories that the walk is in, and what is left of them.
    open: Vec<OpenDirectory>,
    ready: VecDeque<Found>,
    warnings: Vec<Warning>,
    failed: bool,
}

#[derive(Debug)]
struct OpenDirectory {
    /// Path below the root; empty for the root.
    path: PathBuf,
    entries: vec::IntoIter<Listed>,
}

// === impl Walk ===

impl<'r> Walk<'r> {
    /// Starts at the root.
    pub(crate) fn new(root: &'r Root, rules: &'r Rules) -> Result<Self, WalkError> {
        let entries = root.list(Path::new(""))?.into_iter();
        let open = vec![OpenDirectory { path: PathBuf::new(), entries }];
        let filter = rules.filter().walk();
        Ok(Self { root, rules, filter, open, ready: VecDeque::new(), warnings: Vec::new(), failed: false })
    }

    /// What was skipped so far.
    pub(crate) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes the next entry. `false`: there is none.
    fn step(&mut self) -> Result<bool, WalkError> {
        let Some(directory) = self.open.last_mut() else { return Ok(false) };
        let Some(entry) = directory.entries.next() else {
            self.open.pop();
            return Ok(true);
        };
        let path = directory.path.join(&entry.name);
        let text = lossy(path.as_os_str().as_bytes());
        let is_directory = matches!(entry.kind, ListedKind::Directory);
        let verdict =
            self.filter.enter(&text, is_directory.then(|| entry.clone())).map_err(|error| self.rules.locate(error))?;
        if verdict == Verdict::Include {
            let kind = entry.kind.special();
            if let Some(kind) = kind {
                self.warnings.push(Warning::SpecialFile { path: text, kind });
                return Ok(true);
            }
            let parents: Vec<(String, Listed)> = self.filter.take_parents().collect();
            for (parent, listed) in parents {
                let found = self.found(Path::new(&parent), listed)?;
                self.ready.push_back(found);
            }
            let found = self.found(&path, entry)?;
            self.ready.push_back(found);
        }
        if is_directory && verdict != Verdict::Prune {
            match self.root.list(&path) {
                Ok(entries) => self.open.push(OpenDirectory { path, entries: entries.into_iter() }),
                // A directory that is out may be unreadable or gone, for nothing of it is wanted.
                Err(error) if verdict == Verdict::Skip && error.is_tolerable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn found(&self, path: &Path, entry: Listed) -> Result<Found, WalkError> {
        let text = check_path(self.root, path)?;
        let mut mode = entry.mode.map_err(|error| self.root.error(path, error))?;
        let kind = match entry.kind {
            ListedKind::Directory => FoundKind::Directory,
            ListedKind::Symlink(target) => {
                mode = SYMLINK_MODE;
                FoundKind::Symlink { target: check_target(self.root, path, target)? }
            }
            ListedKind::File(stamp) => FoundKind::File { size: stamp.size },
            // Special files don't get here; those whose kind is unknown have failed for want of a mode.
            ListedKind::Special(_) => return Err(WalkError::Changed { path: self.root.full(path) }),
        };
        Ok(Found { path: text.to_owned(), mode, kind })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(Ok(found));
            }
            if self.failed {
                return None;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    self.ready.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
