//! The files of a snapshot, listed. Nothing is kept for it: the directories have it all.

use std::sync::Arc;

use super::Scan;
use crate::digest::Digest;
use crate::tree::{Directory, DirectoryStore as _, Node};

/// A file or symlink of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathEntry {
    /// Path below the root.
    pub path: String,
    /// Permissions, setuid, setgid and sticky bits.
    pub mode: u32,
    /// What it is.
    pub node: PathNode,
}

/// What a [`PathEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathNode {
    /// A regular file.
    File {
        /// Digest of its bytes, or of its encoded chunk list; [`Scan::whole_digest`] is always of the bytes.
        digest: Digest,
        /// How many bytes.
        size: u64,
        /// Whether it is kept in chunks.
        chunked: bool,
    },
    /// A symlink.
    Symlink {
        /// Where it points.
        target: String,
    },
}

/// Files and symlinks of a snapshot, sorted by the bytes of their paths.
#[derive(Debug)]
pub struct Paths<'s> {
    scan: &'s Scan,
    /// The directories being listed, outermost first.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    /// Empty for the root, else with a slash at the end.
    prefix: String,
    directory: Arc<Directory>,
    /// Places of the entries that are left, the next one last.
    left: Vec<u32>,
}

// === impl Paths ===

impl<'s> Paths<'s> {
    pub(super) fn new(scan: &'s Scan) -> Self {
        let mut paths = Self { scan, open: Vec::new() };
        paths.enter(String::new(), &scan.digest);
        paths
    }

    fn enter(&mut self, prefix: String, digest: &Digest) {
        // A scan has all its directories, and made them itself.
        let Ok(directory) = self.scan.nodes.directory(digest) else { return };
        let mut left: Vec<u32> = (0..directory.entries().len() as u32).collect();
        // What is in a directory is sorted as if its name had a slash at the end.
        left.sort_unstable_by(|a, b| {
            let key = |at: &u32| {
                let entry = &directory.entries()[*at as usize];
                let slash = matches!(entry.node, Node::Directory { .. }).then_some(b'/');
                entry.name.bytes().chain(slash)
            };
            key(b).cmp(key(a))
        });
        self.open.push(Open { prefix, directory, left });
    }
}

impl Iterator for Paths<'_> {
    type Item = PathEntry;

    fn next(&mut self) -> Option<PathEntry> {
        loop {
            let current = self.open.last_mut()?;
            let Some(entry) = current.left.pop().and_then(|at| current.directory.entries().get(at as usize)) else {
                self.open.pop();
                continue;
            };
            let path = format!("{}{}", current.prefix, entry.name);
            let mode = entry.mode;
            let node = match entry.node.clone() {
                Node::Directory { digest } => {
                    self.enter(path + "/", &digest);
                    continue;
                }
                Node::File { digest, size, chunked } => PathNode::File { digest, size, chunked },
                Node::Symlink { target } => PathNode::Symlink { target },
            };
            return Some(PathEntry { path, mode, node });
        }
    }
}
