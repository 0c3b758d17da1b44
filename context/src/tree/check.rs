//! Checking a whole tree that someone sent, before anything walks it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Directory, InvalidDirectory, MAX_PATH, Node};
use crate::chunk::{ChunkList, InvalidChunkList};
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

/// What a valid tree holds. Entries are counted as often as they appear; what is beneath a missing node isn't counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedTree {
    /// All entries.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Every content that the tree needs, once, with its size: files that are kept whole, and chunks.
    pub contents: BTreeMap<Digest, u64>,
    /// Directories and chunk lists that aren't there. Nothing beneath them is known.
    pub missing_nodes: Vec<Digest>,
}

/// Why a tree can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckError<E> {
    /// A directory or chunk list could not be fetched.
    #[error("fetch node {digest}")]
    Fetch {
        /// The node.
        digest: Digest,
        /// Why.
        source: E,
    },
    /// A directory's bytes are not what they should be.
    #[error("directory {digest}")]
    Invalid {
        /// The directory.
        digest: Digest,
        /// What is wrong.
        source: InvalidDirectory,
    },
    /// A chunk list's bytes are not what they should be.
    #[error("chunk list {digest}")]
    Chunks {
        /// The list.
        digest: Digest,
        /// What is wrong.
        source: InvalidChunkList,
    },
    /// A node's bytes don't have the digest that it goes by.
    #[error("node {digest} has other content than its digest says")]
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
#[derive(Clone, Copy, Default)]
struct Totals {
    entries: u64,
    files: u64,
    bytes: u64,
    /// Length of the longest path.
    path: usize,
}

/// Checks everything beneath `root`, each distinct directory once, so that a small message can't stand for a huge tree.
/// `fetch` gives the encoded bytes of a directory or chunk list, which aren't trusted. What is missing doesn't end it.
pub fn check<E>(
    root: &Digest,
    limits: &TreeLimits,
    fetch: impl FnMut(&Digest) -> Result<Option<Vec<u8>>, E>,
) -> Result<CheckedTree, CheckError<E>> {
    let mut found = Found {
        fetch,
        limit: limits.entries,
        entries: 0,
        contents: BTreeMap::new(),
        lists: HashSet::new(),
        missing: BTreeSet::new(),
    };
    let mut done: HashMap<Digest, Totals> = HashMap::new();
    // Directories being looked at, outermost first, each with the subdirectories that are still to be counted.
    let mut open = vec![found.load(root)?];
    loop {
        let depth = open.len();
        let Some(current) = open.last_mut() else { break };
        if let Some((child, named)) = current.waiting.last() {
            if let Some(totals) = done.get(child) {
                current.totals.add(named, totals);
                current.waiting.pop();
            } else if depth > MAX_PATH / 2 {
                return Err(CheckError::TooDeep);
            } else {
                let child = *child;
                open.push(found.load(&child)?);
            }
        } else if let Some(finished) = open.pop() {
            if finished.totals.entries > limits.entries {
                return Err(CheckError::TooMany { limit: limits.entries });
            }
            if finished.totals.path > MAX_PATH {
                return Err(CheckError::TooDeep);
            }
            done.insert(finished.digest, finished.totals);
        }
    }
    // The root was finished last.
    let Totals { entries, files, bytes, .. } = done.get(root).copied().unwrap_or_default();
    let missing_nodes = found.missing.into_iter().collect();
    Ok(CheckedTree { entries, files, bytes, contents: found.contents, missing_nodes })
}

struct Open {
    digest: Digest,
    totals: Totals,
    /// Each once, however many names it has.
    waiting: Vec<(Digest, Named)>,
}

/// How one directory appears in another.
#[derive(Default)]
struct Named {
    times: u64,
    /// Length of the longest name.
    longest: usize,
}

/// What was seen so far.
struct Found<F> {
    fetch: F,
    limit: u64,
    /// Of all directories that were looked at. Each appears in the tree once at least.
    entries: u64,
    contents: BTreeMap<Digest, u64>,
    /// Chunk lists that were looked at, each with the size it was looked at for.
    lists: HashSet<(Digest, u64)>,
    missing: BTreeSet<Digest>,
}

// === impl Found ===

impl<E, F: FnMut(&Digest) -> Result<Option<Vec<u8>>, E>> Found<F> {
    /// A directory; a missing one is as if it were empty.
    fn load(&mut self, digest: &Digest) -> Result<Open, CheckError<E>> {
        let mut open = Open { digest: *digest, totals: Totals::default(), waiting: Vec::new() };
        let Some(bytes) = self.node(digest)? else { return Ok(open) };
        let directory = Directory::decode(&bytes).map_err(|source| CheckError::Invalid { digest: *digest, source })?;
        open.totals.entries = directory.entries().len() as u64;
        // Not only when it is finished: until then everything that it is in is in memory.
        self.entries += open.totals.entries;
        self.bounded(self.entries)?;
        let mut waiting: BTreeMap<Digest, Named> = BTreeMap::new();
        for entry in directory.entries() {
            open.totals.path = open.totals.path.max(entry.name.len());
            match &entry.node {
                Node::File { digest, size, chunked } => {
                    open.totals.files += 1;
                    open.totals.bytes = open.totals.bytes.saturating_add(*size);
                    if *chunked { self.chunks(digest, *size)? } else { self.content(*digest, *size)? }
                }
                Node::Directory { digest } => {
                    let named = waiting.entry(*digest).or_default();
                    named.times += 1;
                    named.longest = named.longest.max(entry.name.len());
                }
                Node::Symlink { .. } => {}
            }
        }
        open.waiting = waiting.into_iter().collect();
        Ok(open)
    }

    fn chunks(&mut self, digest: &Digest, size: u64) -> Result<(), CheckError<E>> {
        if !self.lists.insert((*digest, size)) {
            return Ok(());
        }
        let Some(bytes) = self.node(digest)? else { return Ok(()) };
        let list = ChunkList::decode(&bytes, size).map_err(|source| CheckError::Chunks { digest: *digest, source })?;
        list.chunks().iter().try_for_each(|chunk| self.content(chunk.digest, chunk.size.into()))
    }

    fn content(&mut self, digest: Digest, size: u64) -> Result<(), CheckError<E>> {
        if *self.contents.entry(digest).or_insert(size) != size {
            return Err(CheckError::Sizes { digest });
        }
        self.bounded(self.contents.len() as u64)
    }

    /// The bytes of a node, which has that digest; `None`, and noted, if it is missing.
    fn node(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>, CheckError<E>> {
        match (self.fetch)(digest).map_err(|source| CheckError::Fetch { digest: *digest, source })? {
            Some(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Some(_) => Err(CheckError::Digest { digest: *digest }),
            None => {
                self.missing.insert(*digest);
                self.bounded(self.missing.len() as u64)?;
                Ok(None)
            }
        }
    }

    fn bounded(&self, count: u64) -> Result<(), CheckError<E>> {
        if count > self.limit { Err(CheckError::TooMany { limit: self.limit }) } else { Ok(()) }
    }
}

// === impl Totals ===

impl Totals {
    fn add(&mut self, named: &Named, child: &Self) {
        let times = |count: u64| count.saturating_mul(named.times);
        self.entries = self.entries.saturating_add(times(child.entries));
        self.files = self.files.saturating_add(times(child.files));
        self.bytes = self.bytes.saturating_add(times(child.bytes));
        let below = if child.path == 0 { 0 } else { 1 + child.path };
        self.path = self.path.max(named.longest + below);
    }
}
