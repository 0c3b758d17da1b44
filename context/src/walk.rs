//! Reading a directory tree: what may be opened, what an entry is, and what a context can't hold.
//!
//! Symlinks are recorded, never followed. Hard links are files like any other. Sockets, devices and fifos are skipped with
//! a warning. What a context can't hold is an error that names it: a name or link target that isn't UTF-8, an entry that
//! can't be read. Entries that the rules leave out can be any of these. An entry that vanishes between the look at its
//! directory and its own was never there, as for `docker build`.
//!
//! The walk itself is [`snapshot`](crate::snapshot)'s, on several threads. Walk order, wherever it is spoken of: parents
//! come before children, siblings in byte order.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::rules::RulesError;
use crate::tree::{MAX_NAME, MAX_PATH, MAX_TARGET};

mod root;
#[cfg(test)]
pub(crate) mod serial;
mod stamp;
#[cfg(test)]
mod tests;

pub(crate) use root::{Listed, ListedKind, Root};
pub(crate) use stamp::{Stamp, Time};

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
    /// An entry was there when it was looked at and is gone. A scan goes on without it.
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

// === impl WalkError ===

impl WalkError {
    /// Whether a directory of which nothing is wanted may be like that.
    pub(crate) fn is_tolerable(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Vanished { .. } => true,
            _ => false,
        }
    }
}

/// The path of an entry that is in, if a snapshot can hold it.
pub(crate) fn check_path<'p>(root: &Root, path: &'p Path) -> Result<&'p str, WalkError> {
    let text = path.to_str().ok_or_else(|| WalkError::Name { path: root.full(path) })?;
    check_length(root, path, path.file_name().map_or(0, OsStr::len), "name", MAX_NAME)?;
    check_length(root, path, text.len(), "path", MAX_PATH)?;
    Ok(text)
}

/// The target of a symlink that is in, if a snapshot can hold it.
pub(crate) fn check_target(root: &Root, path: &Path, target: Result<OsString, Errno>) -> Result<String, WalkError> {
    let target = target.map_err(|error| root.error(path, error))?;
    check_length(root, path, target.len(), "target", MAX_TARGET)?;
    target.into_string().map_err(|_| WalkError::Target { path: root.full(path) })
}

fn check_length(root: &Root, path: &Path, length: usize, what: &'static str, limit: usize) -> Result<(), WalkError> {
    if length > limit { Err(WalkError::TooLong { path: root.full(path), what, limit }) } else { Ok(()) }
}

/// The order in which a walk meets two paths: that of their components.
pub(crate) fn walk_order<'p>(a: &'p Path, b: &'p Path) -> Ordering {
    let names = |path: &'p Path| path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    names(a).cmp(names(b))
}
