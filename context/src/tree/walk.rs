//! Walking a snapshot through a filter: the list of entries that `BuildKit` gets.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Directory, DirectoryStore, Entry, MAX_PATH, MerkleTree, Node};
use crate::filter::{Filter, FilterError, FilterWalk, Verdict};

/// The entries of a snapshot that a filter lets through, parents before children, siblings in byte order: an iterator
/// that holds no more than the directories it is in.
#[derive(Debug)]
pub struct TreeWalk<'a, S> {
    store: &'a S,
    filter: FilterWalk<'a, Entry>,
    open: Vec<OpenDirectory>,
    ready: VecDeque<TreeEntry>,
    /// Entries that may still be looked at.
    left: u64,
    failed: bool,
}

/// An entry and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Path below the root, slash-separated.
    pub path: String,
    /// The entry.
    pub entry: Entry,
}

/// Why a walk ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum TreeWalkError<E> {
    /// A directory could not be had.
    #[error("read directory `{path}` of the snapshot")]
    Store {
        /// Path of the directory.
        path: String,
        /// Why.
        source: E,
    },
    /// A pattern is bad.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The tree is larger than it may be.
    #[error("the snapshot has too many entries or too long paths")]
    TooLarge,
}

#[derive(Debug)]
struct OpenDirectory {
    /// Empty for the root, else with a slash at the end.
    prefix: String,
    directory: Arc<Directory>,
    next: usize,
}

// === impl TreeWalk ===

impl<'a, S: DirectoryStore> TreeWalk<'a, S> {
    /// Starts at the root of a tree. After `limit` entries, filtered ones included, it gives up: a few directories can
    /// stand for more than anyone could walk.
    pub fn new(tree: &'a MerkleTree<S>, filter: &'a Filter, limit: u64) -> Result<Self, TreeWalkError<S::Error>> {
        let directory =
            tree.store.directory(&tree.root).map_err(|source| TreeWalkError::Store { path: ".".to_owned(), source })?;
        let open = vec![OpenDirectory { prefix: String::new(), directory, next: 0 }];
        Ok(Self { store: &tree.store, filter: filter.walk(), open, ready: VecDeque::new(), left: limit, failed: false })
    }

    fn step(&mut self) -> Result<bool, TreeWalkError<S::Error>> {
        let Some(current) = self.open.last_mut() else { return Ok(false) };
        let Some(entry) = current.directory.entries().get(current.next).cloned() else {
            self.open.pop();
            return Ok(true);
        };
        current.next += 1;
        let path = format!("{}{}", current.prefix, entry.name);
        self.left = self.left.checked_sub(1).filter(|_| path.len() <= MAX_PATH).ok_or(TreeWalkError::TooLarge)?;
        let below = if let Node::Directory { digest } = &entry.node { Some(*digest) } else { None };
        let verdict = self.filter.enter(&path, below.map(|_| entry.clone()))?;
        if verdict == Verdict::Include {
            self.ready.extend(self.filter.take_parents().map(|(path, entry)| TreeEntry { path, entry }));
            self.ready.push_back(TreeEntry { path: path.clone(), entry });
        }
        if let Some(digest) = below
            && verdict != Verdict::Prune
        {
            let directory =
                self.store.directory(&digest).map_err(|source| TreeWalkError::Store { path: path.clone(), source })?;
            self.open.push(OpenDirectory { prefix: path + "/", directory, next: 0 });
        }
        Ok(true)
    }
}

impl<S: DirectoryStore> Iterator for TreeWalk<'_, S> {
    type Item = Result<TreeEntry, TreeWalkError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
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
