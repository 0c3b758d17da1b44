//! Looking into a snapshot by path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Directory, InvalidDirectory, Node};
use crate::digest::Digest;
use crate::follow::{Kind, TreeReader};

/// Where directories of snapshots are kept.
pub trait DirectoryStore {
    /// Why one can't be had.
    type Error;

    /// The directory of a digest. That there is none is an error too.
    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, Self::Error>;
}

/// A snapshot: a root in a store.
#[derive(Debug, Clone)]
pub struct MerkleTree<S> {
    /// Digest of the root directory.
    pub root: Digest,
    /// Where its directories are.
    pub store: S,
}

impl<S: DirectoryStore + ?Sized> DirectoryStore for &S {
    type Error = S::Error;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, Self::Error> {
        (**self).directory(digest)
    }
}

/// Encoded directories in memory, as a scan yields them.
impl<B: AsRef<[u8]>> DirectoryStore for BTreeMap<Digest, B> {
    type Error = InvalidDirectory;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, InvalidDirectory> {
        let bytes = self.get(digest).ok_or(InvalidDirectory::Truncated)?;
        Directory::decode(bytes.as_ref()).map(Arc::new)
    }
}

// === impl MerkleTree ===

impl<S: DirectoryStore> MerkleTree<S> {
    /// The node at a clean relative path; the root is `.`.
    pub fn node(&self, path: &str) -> Result<Option<Node>, S::Error> {
        let mut node = Node::Directory { digest: self.root };
        if path != "." {
            for name in path.split('/') {
                let Node::Directory { digest } = node else { return Ok(None) };
                match self.store.directory(&digest)?.get(name) {
                    Some(entry) => node = entry.node.clone(),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(node))
    }
}

impl<S: DirectoryStore> TreeReader for MerkleTree<S> {
    type Error = S::Error;

    fn lookup(&self, path: &str) -> Result<Option<Kind>, S::Error> {
        Ok(self.node(path)?.map(|node| match node {
            Node::File { .. } => Kind::File,
            Node::Directory { .. } => Kind::Directory,
            Node::Symlink { target } => Kind::Symlink(target),
        }))
    }

    fn read_dir(&self, path: &str) -> Result<Option<Vec<String>>, S::Error> {
        let Some(Node::Directory { digest }) = self.node(path)? else { return Ok(None) };
        let directory = self.store.directory(&digest)?;
        Ok(Some(directory.entries().iter().map(|entry| entry.name.clone()).collect()))
    }
}
