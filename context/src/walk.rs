//! Walking a directory: every entry that the rules leave, in walk order.
//!
//! Parents come before children, siblings in byte order. Symlinks are recorded, never followed. Hard links are files
//! like any other. Sockets, devices and fifos are skipped with a warning. What a context can't hold is an error that
//! names it: a name or link target that isn't UTF-8, an entry that can't be read or that vanished meanwhile. Entries
//! that the rules leave out can be any of these.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::vec;

use crate::filter::{FilterWalk, Verdict};
use crate::ignorefile::lossy;
use crate::mode::SYMLINK_MODE;
use crate::rules::{Rules, RulesError};
use crate::tree::{MAX_NAME, MAX_PATH, MAX_TARGET};
use crate::warning::Warning;

mod root;
#[cfg(test)]
mod tests;

use root::{Listed, ListedKind};

pub(crate) use root::Root;

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

/// Why a tree can't be walked or read.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The root is no directory that can be read.
    #[error("open context directory `{path}`")]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry can't be read.
    #[error("read `{path}`")]
    Read {
        /// The entry, root included.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry was there when its directory was listed and is gone.
    #[error("`{path}` vanished while the context was read")]
    Vanished {
        /// The entry.
        path: PathBuf,
    },
    /// A file keeps changing, or was replaced by something else.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A name isn't UTF-8.
    #[error("the name of {path:?} is not UTF-8")]
    Name {
        /// The entry.
        path: PathBuf,
    },
    /// A symlink's target isn't UTF-8.
    #[error("the target of symlink `{path}` is not UTF-8")]
    Target {
        /// The symlink.
        path: PathBuf,
    },
    /// A name, path or link target is longer than the engine's Linux can hold.
    #[error("the {what} of `{path}` is longer than {limit} bytes")]
    TooLong {
        /// The entry.
        path: PathBuf,
        /// What is too long.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A directory holds more than a snapshot can.
    #[error("directory `{path}` has too many entries")]
    TooManyEntries {
        /// The directory.
        path: PathBuf,
    },
    /// A path leads out of the root.
    #[error("path `{path}` leads out of the context")]
    Escapes {
        /// The path.
        path: PathBuf,
    },
    /// An ignore pattern is bad.
    #[error(transparent)]
    Rules(#[from] RulesError),
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
                Err(WalkError::Read { source, .. })
                    if verdict == Verdict::Skip && source.kind() == io::ErrorKind::PermissionDenied => {}
                Err(WalkError::Vanished { .. }) if verdict == Verdict::Skip => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn found(&self, path: &Path, entry: Listed) -> Result<Found, WalkError> {
        let full = || self.root.full(path);
        let text = path.to_str().ok_or_else(|| WalkError::Name { path: full() })?;
        check_length(&entry.name, "name", MAX_NAME, full)?;
        check_length(path.as_os_str(), "path", MAX_PATH, full)?;
        let mut mode = entry.mode.map_err(|error| self.root.error(path, error))?;
        let kind = match entry.kind {
            ListedKind::Directory => FoundKind::Directory,
            ListedKind::Symlink(target) => {
                mode = SYMLINK_MODE;
                let target = target.map_err(|error| self.root.error(path, error))?;
                check_length(&target, "target", MAX_TARGET, full)?;
                let target = target.into_string().map_err(|_| WalkError::Target { path: full() })?;
                FoundKind::Symlink { target }
            }
            ListedKind::File { size } => FoundKind::File { size },
            // Special files don't get here; those whose kind is unknown have failed for want of a mode.
            ListedKind::Special(_) => return Err(WalkError::Changed { path: full() }),
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

fn check_length(
    text: &OsStr,
    what: &'static str,
    limit: usize,
    path: impl FnOnce() -> PathBuf,
) -> Result<(), WalkError> {
    if text.len() > limit { Err(WalkError::TooLong { path: path(), what, limit }) } else { Ok(()) }
}
