//! Looking into a snapshot by path.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Directory, InvalidDirectory, Node};
use crate::digest::Digest;
use crate::follow::TreeReader;

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

/// How many entries of directories are kept at most, but for those of one directory.
const KEPT: usize = 1 << 18;

/// A store that keeps the directories that it was asked for last, decoded.
#[derive(Debug)]
pub(crate) struct Kept<'s, S> {
    store: &'s S,
    directories: RefCell<HashMap<Digest, Arc<Directory>>>,
    /// What they count for.
    entries: Cell<usize>,
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

// === impl Kept ===

impl<'s, S> Kept<'s, S> {
    /// None yet.
    pub(crate) fn new(store: &'s S) -> Self {
        Self { store, directories: RefCell::default(), entries: Cell::default() }
    }
}

impl<S: DirectoryStore> DirectoryStore for Kept<'_, S> {
    type Error = S::Error;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, Self::Error> {
        if let Some(known) = self.directories.borrow().get(digest) {
            return Ok(known.clone());
        }
        let directory = self.store.directory(digest)?;
        let mut kept = self.directories.borrow_mut();
        // An empty one has its price, too.
        let more = 1 + directory.entries().len();
        if self.entries.get() + more > KEPT {
            kept.clear();
            self.entries.set(0);
        }
        self.entries.set(self.entries.get() + more);
        kept.insert(*digest, directory.clone());
        Ok(directory)
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

    fn link(&self, path: &str) -> Result<Option<String>, S::Error> {
        Ok(match self.node(path)? {
            Some(Node::Symlink { target }) => Some(target),
            _ => None,
        })
    }

    fn links(&self, path: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<(String, String)>, S::Error> {
        let Some(Node::Directory { digest }) = self.node(path)? else { return Ok(Vec::new()) };
        let directory = self.store.directory(&digest)?;
        let mut links = Vec::new();
        for entry in directory.entries().iter().filter(|entry| wanted(&entry.name)) {
            if let Node::Symlink { target } = &entry.node {
                links.push((entry.name.clone(), target.clone()));
            }
        }
        Ok(links)
    }
}
