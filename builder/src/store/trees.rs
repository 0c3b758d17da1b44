//! Trees of directory nodes in a namespace's blobs.

use std::collections::HashSet;
use std::sync::Arc;

use slipway_context::tree::{
    self, CheckError, CheckedTree, Directory, DirectoryStore, InvalidDirectory, Node, TreeLimits,
};
use slipway_context::{ChunkList, Digest, InvalidChunkList};

use super::blobs::{BlobError, Blobs};
use super::catalog::Known;
use super::pack::charge;

/// Why a directory node can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It can't be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It is no directory.
    #[error("directory {digest}: {source}")]
    Invalid {
        /// The node.
        digest: Digest,
        /// What is wrong.
        source: InvalidDirectory,
    },
}

impl DirectoryStore for Blobs {
    type Error = DirectoryError;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, DirectoryError> {
        let bytes = self.read_all(digest, tree::MAX_ENCODED as u64)?;
        let directory =
            Directory::decode(&bytes).map_err(|source| DirectoryError::Invalid { digest: *digest, source })?;
        Ok(Arc::new(directory))
    }
}

/// Why a tree can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is not what a tree should be.
    #[error("{0}")]
    Invalid(#[from] CheckError<BlobError>),
    /// A content can't be read, or has another size than the tree says.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// A tree, and what the namespace lacks of it.
#[derive(Debug)]
pub struct Checked {
    /// What it holds.
    pub tree: CheckedTree,
    /// Directory nodes, chunk lists and contents that are missing.
    pub missing: Vec<Digest>,
}

/// Checks a whole tree, contents by presence and size. What is beneath a missing node can't be known; a node that turns out
/// to be damaged is missing.
pub fn check(blobs: &Blobs, root: &Digest) -> Result<Checked, TreeError> {
    let fetch = |digest: &Digest| match blobs.read_all(digest, tree::MAX_ENCODED as u64) {
        Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => Ok(None),
        bytes => bytes.map(Some),
    };
    let tree = tree::check(root, &TreeLimits::default(), fetch)?;
    let mut missing = tree.missing_nodes.clone();
    // One look at the disk for all: thousands may be missing.
    blobs.look();
    let known = blobs.catalog().now();
    for (digest, size) in &tree.contents {
        match known.find(digest, |_| false).map(|(_, entry)| u64::from(entry.size)) {
            Some(bytes) if bytes == *size => {}
            // Verified when it was written: the tree lies.
            Some(bytes) => return Err(BlobError::Size { digest: *digest, bytes, expected: *size }.into()),
            None => missing.push(*digest),
        }
    }
    Ok(Checked { tree, missing })
}

/// What trees need, of the blobs that the namespace has and those that it lacks.
#[derive(Debug, Default)]
pub struct Reachable {
    /// Contents and directory nodes.
    pub blobs: HashSet<Digest>,
    /// Directory nodes beneath which everything was added. Some content may have the bytes of one that was not looked into.
    directories: HashSet<Digest>,
    /// Chunk lists whose chunks were added.
    lists: HashSet<Digest>,
    /// Something was added that nobody has checked.
    unchecked: bool,
    bytes: u64,
    charge: u64,
}

/// What is known of a tree that is walked.
#[derive(Debug)]
enum Walk {
    /// It was complete.
    Checked,
    /// It may be anything: it can make memory hold no more than what there is, and no more entries are looked at.
    Unchecked { there: Arc<Known>, most: u64 },
}

impl Reachable {
    /// Bytes of those that the namespace has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What those count for where a sum bounds uploads ([`charge`]).
    pub fn charge(&self) -> u64 {
        self.charge
    }

    /// Adds a blob, and nothing that it may refer to.
    pub fn insert(&mut self, blobs: &Blobs, digest: Digest) {
        if self.blobs.insert(digest)
            && let Ok((bytes, _)) = blobs.stat(&digest)
        {
            self.bytes += bytes;
            self.charge += charge(bytes);
        }
    }

    /// Adds what a tree needs that was complete when it was checked; such trees come before those that nobody has checked. What
    /// is beneath a directory that is missing can't be known, and is not added. A tree that was added before is not walked
    /// again.
    pub fn add(&mut self, blobs: &Blobs, root: &Digest) -> Result<(), BlobError> {
        debug_assert!(!self.unchecked, "what was left out before would be left out here");
        self.walk(blobs, root, &Walk::Checked)
    }

    /// Adds what is there of a tree that nobody has checked. One with more entries than a tree may have is left in the middle:
    /// no job can ever use it, so it needs nothing.
    pub fn add_unchecked(&mut self, blobs: &Blobs, root: &Digest) -> Result<(), BlobError> {
        self.add_at_most(blobs, root, TreeLimits::default().entries)
    }

    /// Walks everything again that is added from now on: what was missing beneath it may have come.
    pub fn look_again(&mut self) {
        self.directories.clear();
        self.lists.clear();
        self.unchecked = false;
    }

    fn add_at_most(&mut self, blobs: &Blobs, root: &Digest, most: u64) -> Result<(), BlobError> {
        self.unchecked = true;
        // One look at the disk for all: millions may be missing.
        blobs.look();
        self.walk(blobs, root, &Walk::Unchecked { there: blobs.catalog().now(), most })
    }

    fn walk(&mut self, blobs: &Blobs, root: &Digest, walk: &Walk) -> Result<(), BlobError> {
        let (mut waiting, mut met, mut walked) = (vec![*root], HashSet::from([*root]), Vec::new());
        let mut entries: u64 = 0;
        while let Some(digest) = waiting.pop() {
            if self.directories.contains(&digest) || !self.names(blobs, digest, walk) {
                continue;
            }
            let directory = match blobs.directory(&digest) {
                Ok(directory) => directory,
                Err(
                    DirectoryError::Blob(BlobError::Missing(_) | BlobError::Damaged { .. } | BlobError::Size { .. })
                    | DirectoryError::Invalid { .. },
                ) => continue,
                Err(DirectoryError::Blob(error)) => return Err(error),
            };
            entries += directory.entries().len() as u64;
            if let Walk::Unchecked { most, .. } = walk
                && entries > *most
            {
                tracing::warn!(%root, "tree {root}, which is being sent, has more than {most} entries");
                // What still waits is beneath directories that may be part of good trees: none of them counts as walked.
                return Ok(());
            }
            walked.push(digest);
            for entry in directory.entries() {
                match &entry.node {
                    // All fields, so that a new one can't be overlooked: what isn't added here is removed.
                    Node::File { digest, size, chunked } => {
                        if self.names(blobs, *digest, walk) && *chunked {
                            self.add_chunks(blobs, digest, *size, walk)?;
                        }
                    }
                    Node::Directory { digest } => {
                        if met.insert(*digest) {
                            waiting.push(*digest);
                        }
                    }
                    Node::Symlink { target: _ } => {}
                }
            }
        }
        self.directories.extend(walked);
        Ok(())
    }

    /// A list is read once, whatever sizes its files are said to have: only one can be right.
    fn add_chunks(&mut self, blobs: &Blobs, digest: &Digest, size: u64, walk: &Walk) -> Result<(), BlobError> {
        if self.lists.contains(digest) {
            return Ok(());
        }
        let bytes = match blobs.read_all(digest, tree::MAX_ENCODED as u64) {
            Err(BlobError::Missing(_) | BlobError::Damaged { .. } | BlobError::Size { .. }) => return Ok(()),
            bytes => bytes?,
        };
        self.lists.insert(*digest);
        let list = match ChunkList::decode(&bytes, size) {
            Err(InvalidChunkList::Total { actual, .. }) => ChunkList::decode(&bytes, actual),
            list => list,
        };
        for chunk in list.iter().flat_map(ChunkList::chunks) {
            self.names(blobs, chunk.digest, walk);
        }
        Ok(())
    }

    /// The tree names this blob. Whether there is anything to be looked for in it.
    fn names(&mut self, blobs: &Blobs, digest: Digest, walk: &Walk) -> bool {
        let added = match walk {
            Walk::Checked => true,
            Walk::Unchecked { there, .. } => there.find(&digest, |_| false).is_some(),
        };
        if added {
            self.insert(blobs, digest);
        }
        added
    }
}

#[cfg(test)]
mod tests;
