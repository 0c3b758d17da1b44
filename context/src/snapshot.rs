//! From a directory on disk to a snapshot: walk it, hash what is in it, build the Merkle tree.
//!
//! For a build there are two snapshots. [`scan`] makes the one of the context, after its rules. [`scan_dockerfile`] makes
//! the one of the Dockerfile and its ignore file, which `BuildKit` asks for under the name `dockerfile`; that way an
//! ignored Dockerfile is sent and still can't be copied into an image. What happens when `BuildKit` applies the ignore
//! file again is told in [`crate::rules`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chunk::{ChunkList, MAX_CHUNK};
use crate::digest::{Digest, Hasher};
use crate::rules::Rules;
use crate::tree::MerkleTree;
use crate::walk::{Root, WalkError};
use crate::warning::Warning;

mod build;
mod cache;
mod dockerfile;
mod hash;
mod narrow;
mod paths;
mod survey;
mod suspects;
#[cfg(test)]
mod tests;

use build::Builder;
use cache::{CacheFile, StatCache};
use narrow::Narrowed;
use survey::{Item, ItemKind, Survey};

pub use dockerfile::{find_dockerfile, scan_dockerfile};
pub use paths::{PathEntry, PathNode, Paths};

/// How to scan.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// How many threads walk and hash; unset, as many as there are processors, between 2 and 8.
    pub threads: Option<usize>,
    /// Where to remember what files held, so that those that are as they were aren't read again; unset, nowhere. It is made
    /// with mode 0700. It has to be the caller's own: what is in it is believed.
    pub cache_dir: Option<PathBuf>,
    /// Scan only what these paths lead to: `followpaths`, as `BuildKit` asks for them (wildcards and symlinks are followed),
    /// within what the rules leave. Empty: everything. More than asked for is in if it can't be told what they lead to.
    pub only: Vec<String>,
}

/// A snapshot of a directory, and where its contents are.
#[derive(Debug)]
pub struct Scan {
    root: Option<Root>,
    digest: Digest,
    nodes: BTreeMap<Digest, NodeBlob>,
    sources: BTreeMap<Digest, Source>,
    /// Contents that are kept in memory.
    inline: BTreeMap<Digest, Vec<u8>>,
    totals: Totals,
    warnings: Vec<Warning>,
}

/// A blob that tells what a snapshot consists of: an encoded directory, or an encoded chunk list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBlob {
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// Of a chunk list: when its file was last changed, in whole seconds since 1970. Of a directory: 0.
    pub mtime_seconds: i64,
}

/// Where a content is, when several places may have it: a whole file, or a chunk of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path below the root.
    pub path: Arc<Path>,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// When the file was last changed, in whole seconds since 1970.
    pub mtime_seconds: i64,
}

/// What a snapshot holds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories, without the root.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Bytes of all files, equal ones counted each time.
    pub bytes: u64,
}

/// The bytes of a content, opened again: as many as it had, at most.
#[derive(Debug)]
pub enum Content {
    /// From a file. It may have changed since the scan: verify the digest.
    File(io::Take<File>),
    /// From memory.
    Bytes(Cursor<Vec<u8>>),
}

/// Makes a snapshot of the directory `root` after `rules`.
pub fn scan(root: &Path, rules: &Rules, options: &ScanOptions) -> Result<Scan, WalkError> {
    let cache = StatCache::load(options.cache_dir.as_deref(), root, rules, &options.only);
    let root = Root::open(root)?;
    let narrowed = narrow::narrow(&root, rules, &options.only)?;
    let (only, named) = match narrowed {
        Some(Narrowed { filter, targets }) => (Some(filter), targets),
        None => (None, options.only.clone()),
    };
    let survey = Survey { root: &root, rules, only: only.as_ref(), cache: &cache, threads: options.threads };
    let survey::Surveyed { listings, mut warnings, known, fresh } = survey.run()?;
    let changed = fresh > 0 || known != cache.entries();
    let settled = cache.settled();
    // What comes now needs memory of its own.
    let mut writer = cache.into_file().filter(|_| changed).and_then(CacheFile::rewrite);
    let keep = |path: &Path, items: &[Item]| {
        let files = items.iter().filter_map(|item| match &item.kind {
            ItemKind::File(Some(content)) if settled.includes(&content.stamp) => Some((&*item.name, content)),
            _ => None,
        });
        // Without a cache the next scan takes longer, and that is all.
        if let Some(open) = &mut writer
            && open.directory(path, files).is_err()
        {
            writer = None;
        }
    };
    let mut builder = Builder::new(named);
    let digest = builder.listings(&root, listings, keep)?;
    if let Some(writer) = writer {
        let _ = writer.finish();
    }
    warnings.extend(builder.warning(rules));
    Ok(builder.into_scan(Some(root), digest, BTreeMap::new(), warnings))
}

// === impl Scan ===

impl Scan {
    /// Digest of the root directory: the name of the snapshot.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Encoded directories and chunk lists by digest, each once.
    pub fn nodes(&self) -> &BTreeMap<Digest, NodeBlob> {
        &self.nodes
    }

    /// Contents by digest, each once, with a place that has it: small files as a whole, large ones chunk by chunk.
    pub fn sources(&self) -> &BTreeMap<Digest, Source> {
        &self.sources
    }

    /// Files and symlinks, sorted by the bytes of their paths; directories aren't listed.
    pub fn paths(&self) -> Paths<'_> {
        Paths::new(self)
    }

    /// What it holds in all.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What was skipped, and what looks unintended. The rules have warnings of their own.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The snapshot as a tree that can be looked into and walked.
    pub fn tree(&self) -> MerkleTree<&BTreeMap<Digest, NodeBlob>> {
        MerkleTree { root: self.digest, store: &self.nodes }
    }

    /// Opens a content for upload, without following symlinks; `None` if it isn't part of the snapshot. A file whose size
    /// tells that it isn't what was scanned is [`WalkError::Changed`].
    pub fn open(&self, digest: &Digest) -> Result<Option<Content>, WalkError> {
        if let Some(bytes) = self.inline.get(digest) {
            return Ok(Some(Content::Bytes(Cursor::new(bytes.clone()))));
        }
        let (Some(root), Some(source)) = (&self.root, self.sources.get(digest)) else { return Ok(None) };
        let mut file = root.open_file(&source.path)?;
        let read = |source_error| WalkError::Read { path: root.full(&source.path), source: source_error };
        let length = file.metadata().map_err(read)?.len();
        // A whole file is no longer than its content; one in chunks is long enough for each.
        let whole = source.offset == 0 && length <= MAX_CHUNK.into();
        if length < source.offset + source.size || whole && length != source.size {
            return Err(WalkError::Changed { path: root.full(&source.path) });
        }
        file.seek(SeekFrom::Start(source.offset)).map_err(read)?;
        Ok(Some(Content::File(file.take(source.size))))
    }

    /// SHA-256 of all bytes of a file of the snapshot, which is read again if it is kept in chunks.
    pub fn whole_digest(&self, file: &PathEntry) -> Result<Option<Digest>, WalkError> {
        let (list, size) = match file.node {
            PathNode::File { digest, size, chunked: true } => (digest, size),
            PathNode::File { digest, .. } => return Ok(Some(digest)),
            PathNode::Symlink { .. } => return Ok(None),
        };
        let path = Path::new(&file.path);
        let full = || self.root.as_ref().map_or_else(|| path.to_owned(), |root| root.full(path));
        let changed = || WalkError::Changed { path: full() };
        let list =
            self.nodes.get(&list).and_then(|node| ChunkList::decode(&node.bytes, size).ok()).ok_or_else(changed)?;
        let mut whole = Hasher::default();
        let mut bytes = Vec::new();
        for chunk in list.chunks() {
            bytes.clear();
            let mut content = self.open(&chunk.digest)?.ok_or_else(changed)?;
            content.read_to_end(&mut bytes).map_err(|source| WalkError::Read { path: full(), source })?;
            if Digest::of(&bytes) != chunk.digest {
                return Err(changed());
            }
            whole.update(&bytes);
        }
        Ok(Some(whole.finish()))
    }
}

impl AsRef<[u8]> for NodeBlob {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
        }
    }
}
