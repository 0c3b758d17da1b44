//! Building the directories of a snapshot from what a survey found.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::hash::Content;
use super::survey::{Item, ItemKind, Listing};
use super::suspects::Suspects;
use super::{NodeBlob, Scan, Source, Totals};
use crate::chunk::ChunkList;
use crate::digest::Digest;
use crate::rules::Rules;
use crate::tree::{Directory, Entry, InvalidDirectory, Node};
use crate::walk::{Root, Stamp, Time, WalkError, walk_order};
use crate::warning::Warning;

/// Mode of what is in a snapshot that was not made from a tree.
const PLAIN_MODE: u32 = 0o644;

/// What a snapshot consists of, as far as it is built.
#[derive(Debug, Default)]
pub(super) struct Builder {
    nodes: BTreeMap<Digest, NodeBlob>,
    sources: BTreeMap<Digest, Source>,
    totals: Totals,
    suspects: Suspects,
}

/// A directory that is built.
#[derive(Debug, Clone, Copy)]
struct Built {
    digest: Digest,
    bytes: u64,
    empty: bool,
    /// It vanished before it could be opened.
    gone: bool,
    /// The rules leave something beneath it, wanted or not.
    occupied: bool,
}

// === impl Builder ===

impl Builder {
    /// Builds what was asked for by these names.
    pub(super) fn new(named: Vec<String>) -> Self {
        Self { suspects: Suspects::new(named), ..Self::default() }
    }

    /// Builds from the listings of a survey; gives the root's digest, and the files to `keep`.
    pub(super) fn listings(
        &mut self,
        root: &Root,
        listings: Vec<Listing>,
        mut keep: impl FnMut(&Path, &[Item]),
    ) -> Result<Digest, WalkError> {
        let mut built: Vec<Built> = Vec::with_capacity(listings.len());
        let last = listings.len().saturating_sub(1);
        // From the last to the first: what is in a directory comes after it.
        for listing in listings.into_iter().rev() {
            keep(&listing.path, &listing.items);
            let inner = |number: u32| last.checked_sub(number as usize).and_then(|at| built.get(at)).copied();
            let directory = self.directory(root, listing, inner)?;
            built.push(directory);
        }
        match built.last() {
            Some(root) => Ok(root.digest),
            None => Err(WalkError::Changed { path: root.full(Path::new("")) }),
        }
    }

    fn directory(
        &mut self,
        root: &Root,
        listing: Listing,
        inner: impl Fn(u32) -> Option<Built>,
    ) -> Result<Built, WalkError> {
        let Listing { mut path, items, mut occupied, gone } = listing;
        let is_root = path.as_os_str().is_empty();
        let mut entries = Vec::with_capacity(items.len());
        let mut bytes = 0;
        for Item { name, mode, kind } in items {
            let node = match kind {
                ItemKind::Gone => continue,
                ItemKind::Symlink(target) => {
                    self.totals.symlinks += 1;
                    Node::Symlink { target: target.into() }
                }
                ItemKind::File(Some(content)) => {
                    bytes += content.stamp.size;
                    path.push(&*name);
                    self.suspects.file(&path, content.stamp.size);
                    let node = self.file(&path, content);
                    path.pop();
                    node
                }
                // All have been read, or there was an error.
                ItemKind::File(None) => return Err(WalkError::Changed { path: root.full(&path.join(&*name)) }),
                ItemKind::Directory { listing, ruled_in, wanted, problem } => {
                    let Some(inner) = inner(listing).filter(|inner| !inner.gone) else { continue };
                    occupied |= inner.occupied;
                    // One that is out is in after all if something in it is.
                    if inner.empty && !(wanted && (ruled_in || inner.occupied)) {
                        continue;
                    }
                    if let Some(problem) = problem {
                        return Err(*problem);
                    }
                    if inner.empty {
                        self.store(&Directory::default());
                    }
                    bytes += inner.bytes;
                    self.totals.directories += 1;
                    self.suspects.directory(&path.join(&*name), inner.bytes);
                    Node::Directory { digest: inner.digest }
                }
            };
            entries.push(Entry { name: name.into(), mode, node });
        }
        let empty = entries.is_empty();
        let directory = Directory::new(entries).map_err(|error| bad_directory(root.full(&path), &error))?;
        // An empty one may turn out not to be in.
        let digest = if empty && !is_root { directory.digest() } else { self.store(&directory) };
        Ok(Built { digest, bytes, empty, gone, occupied })
    }

    fn file(&mut self, path: &Path, content: Content) -> Node {
        let Content { digest, stamp, chunks } = content;
        let mtime_seconds = stamp.modified.seconds;
        self.totals.files += 1;
        self.totals.bytes += stamp.size;
        let Some(list) = chunks else {
            self.source(digest, path, || path.into(), 0, stamp.size, mtime_seconds);
            return Node::File { digest, size: stamp.size, chunked: false };
        };
        let shared: Arc<Path> = path.into();
        let mut offset = 0;
        for chunk in ChunkList::decode(&list, stamp.size).iter().flat_map(ChunkList::chunks) {
            self.source(chunk.digest, path, || shared.clone(), offset, chunk.size.into(), mtime_seconds);
            offset += u64::from(chunk.size);
        }
        // Of several equal files the oldest, so that nothing depends on who was first.
        let node = self.nodes.entry(digest).or_insert_with(|| NodeBlob { bytes: list, mtime_seconds });
        node.mtime_seconds = node.mtime_seconds.min(mtime_seconds);
        Node::File { digest, size: stamp.size, chunked: true }
    }

    /// Notes where a content is; the first place in walk order counts.
    fn source(
        &mut self,
        digest: Digest,
        path: &Path,
        shared: impl Fn() -> Arc<Path>,
        offset: u64,
        size: u64,
        mtime_seconds: i64,
    ) {
        let new = || Source { path: shared(), offset, size, mtime_seconds };
        match self.sources.entry(digest) {
            Occupied(mut known) => {
                let order = walk_order(path, &known.get().path).then(offset.cmp(&known.get().offset));
                if order == Ordering::Less {
                    known.insert(new());
                }
            }
            Vacant(place) => {
                place.insert(new());
            }
        }
    }

    /// What looks unintended.
    pub(super) fn warning(&mut self, rules: &Rules) -> Option<Warning> {
        std::mem::take(&mut self.suspects).warning(self.totals.bytes, rules)
    }

    fn store(&mut self, directory: &Directory) -> Digest {
        let bytes = directory.encode();
        let digest = Digest::of(&bytes);
        self.nodes.entry(digest).or_insert(NodeBlob { bytes: bytes.into(), mtime_seconds: 0 });
        digest
    }

    pub(super) fn into_scan(
        self,
        root: Option<Root>,
        digest: Digest,
        inline: BTreeMap<Digest, Vec<u8>>,
        warnings: Vec<Warning>,
    ) -> Scan {
        let Self { nodes, sources, totals, .. } = self;
        Scan { root, digest, nodes, sources, inline, totals, warnings }
    }
}

/// A snapshot of a few files of one directory: path, content and mtime of each.
pub(super) fn in_memory(files: Vec<(PathBuf, Vec<u8>, i64)>) -> Result<Scan, WalkError> {
    let mut named = BTreeMap::new();
    let mut directory = PathBuf::new();
    for (path, bytes, mtime) in files {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| WalkError::Name { path: path.clone() })?;
        path.parent().unwrap_or(Path::new("")).clone_into(&mut directory);
        named.insert(name, (bytes, mtime));
    }
    let mut builder = Builder::default();
    let (mut inline, mut entries) = (BTreeMap::new(), Vec::new());
    for (name, (bytes, seconds)) in named {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let stamp = Stamp { size, modified: Time { seconds, nanos: 0 }, ..Stamp::default() };
        // Kept whole whatever its size: it is never more than a few MiB.
        let node = builder.file(Path::new(&name), Content { digest, stamp, chunks: None });
        entries.push(Entry { name, mode: PLAIN_MODE, node });
        inline.insert(digest, bytes);
    }
    let root = Directory::new(entries).map_err(|error| bad_directory(directory, &error))?;
    let digest = builder.store(&root);
    Ok(builder.into_scan(None, digest, inline, Vec::new()))
}

fn bad_directory(path: PathBuf, error: &InvalidDirectory) -> WalkError {
    match error {
        InvalidDirectory::TooLarge => WalkError::TooManyEntries { path },
        // The survey yields valid entries in order; should it ever not, the tree has changed under it.
        _ => WalkError::Changed { path },
    }
}
