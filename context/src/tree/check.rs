//! Checking a whole tree that someone sent, before anything walks it.

use std::collections::{BTreeMap, HashMap};

use super::{Directory, InvalidDirectory, MAX_PATH, Node};
use crate::digest::Digest;

/// How much a tree may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLimits {
    /// Most entries, directories included, each counted as often as it appears.
    pub entries: u64,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self { entries: 2_000_000 }
    }
}

/// What a valid tree holds. Entries are counted as often as they appear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedTree {
    /// All entries.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Every content that the tree needs, once, with its size.
    pub contents: BTreeMap<Digest, u64>,
}

/// Why a tree can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckError<E> {
    /// A directory could not be fetched.
    #[error("fetch directory {digest}")]
    Fetch {
        /// The directory.
        digest: Digest,
        /// Why.
        source: E,
    },
    /// A directory isn't there.
    #[error("directory {digest} is missing")]
    Missing {
        /// The directory.
        digest: Digest,
    },
    /// A directory's bytes are not what they should be.
    #[error("directory {digest}")]
    Invalid {
        /// The directory.
        digest: Digest,
        /// What is wrong.
        source: InvalidDirectory,
    },
    /// A directory's bytes don't have the digest that it goes by.
    #[error("directory {digest} has other content than its digest says")]
    Digest {
        /// The digest it goes by.
        digest: Digest,
    },
    /// One content is given two sizes.
    #[error("content {digest} has two sizes")]
    Sizes {
        /// The content.
        digest: Digest,
    },
    /// There are too many entries.
    #[error("the tree has more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// A path is too long for any file system.
    #[error("the tree has paths longer than {MAX_PATH} bytes")]
    TooDeep,
}

/// What is beneath one directory.
#[derive(Clone, Copy)]
struct Totals {
    entries: u64,
    files: u64,
    bytes: u64,
    /// Length of the longest path.
    path: usize,
}

/// Checks everything beneath `root`, each distinct directory once, so that a small message can't stand for a huge tree.
/// `fetch` gives the encoded bytes of a directory, which aren't trusted.
pub fn check<E>(
    root: &Digest,
    limits: &TreeLimits,
    mut fetch: impl FnMut(&Digest) -> Result<Option<Vec<u8>>, E>,
) -> Result<CheckedTree, CheckError<E>> {
    let mut done: HashMap<Digest, Totals> = HashMap::new();
    let mut contents = BTreeMap::new();
    // Directories being looked at, outermost first, each with the subdirectories that are still to be counted.
    let mut open = vec![load(root, &mut fetch, &mut contents)?];
    loop {
        let depth = open.len();
        let Some(current) = open.last_mut() else { break };
        if let Some((name_length, child)) = current.waiting.last() {
            if let Some(totals) = done.get(child) {
                current.totals.add(*name_length, totals);
                current.waiting.pop();
            } else if depth > MAX_PATH / 2 {
                return Err(CheckError::TooDeep);
            } else {
                let child = *child;
                open.push(load(&child, &mut fetch, &mut contents)?);
            }
        } else if let Some(finished) = open.pop() {
            if finished.totals.entries > limits.entries || contents.len() as u64 > limits.entries {
                return Err(CheckError::TooMany { limit: limits.entries });
            }
            if finished.totals.path > MAX_PATH {
                return Err(CheckError::TooDeep);
            }
            done.insert(finished.digest, finished.totals);
        }
    }
    // The root was finished last.
    let Some(totals) = done.get(root) else { return Err(CheckError::Missing { digest: *root }) };
    Ok(CheckedTree { entries: totals.entries, files: totals.files, bytes: totals.bytes, contents })
}

struct Open {
    digest: Digest,
    totals: Totals,
    /// Lengths of names, and digests.
    waiting: Vec<(usize, Digest)>,
}

fn load<E>(
    digest: &Digest,
    fetch: &mut impl FnMut(&Digest) -> Result<Option<Vec<u8>>, E>,
    contents: &mut BTreeMap<Digest, u64>,
) -> Result<Open, CheckError<E>> {
    let bytes = fetch(digest)
        .map_err(|source| CheckError::Fetch { digest: *digest, source })?
        .ok_or(CheckError::Missing { digest: *digest })?;
    if Digest::of(&bytes) != *digest {
        return Err(CheckError::Digest { digest: *digest });
    }
    let directory = Directory::decode(&bytes).map_err(|source| CheckError::Invalid { digest: *digest, source })?;
    let mut totals = Totals { entries: directory.entries().len() as u64, files: 0, bytes: 0, path: 0 };
    let mut waiting = Vec::new();
    for entry in directory.entries() {
        totals.path = totals.path.max(entry.name.len());
        match &entry.node {
            Node::File { digest, size } => {
                totals.files += 1;
                totals.bytes = totals.bytes.saturating_add(*size);
                if *contents.entry(*digest).or_insert(*size) != *size {
                    return Err(CheckError::Sizes { digest: *digest });
                }
            }
            Node::Directory { digest } => waiting.push((entry.name.len(), *digest)),
            Node::Symlink { .. } => {}
        }
    }
    Ok(Open { digest: *digest, totals, waiting })
}

// === impl Totals ===

impl Totals {
    fn add(&mut self, name_length: usize, child: &Self) {
        self.entries = self.entries.saturating_add(child.entries);
        self.files = self.files.saturating_add(child.files);
        self.bytes = self.bytes.saturating_add(child.bytes);
        let below = if child.path == 0 { 0 } else { 1 + child.path };
        self.path = self.path.max(name_length + below);
    }
}
