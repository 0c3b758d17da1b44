//! Building the directories of a snapshot from entries in walk order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::hash::Hashed;
use super::{PathEntry, PathNode, Scan, Source, Totals};
use crate::digest::Digest;
use crate::tree::{Directory, Entry, InvalidDirectory, Node};
use crate::walk::{Root, WalkError};
use crate::warning::Warning;

/// Mode of what is in a snapshot that was not made from a tree.
const PLAIN_MODE: u32 = 0o644;

/// Takes entries in walk order.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Entries of the root, then the directories that are being filled, outermost first.
    entries: Vec<Entry>,
    open: Vec<Open>,
    directories: BTreeMap<Digest, Vec<u8>>,
    sources: BTreeMap<Digest, Source>,
    paths: Vec<PathEntry>,
    totals: Totals,
}

#[derive(Debug)]
struct Open {
    path: String,
    mode: u32,
    /// What was in its parent before it.
    siblings: Vec<Entry>,
}

// === impl Builder ===

impl Builder {
    pub(super) fn directory(&mut self, root: &Root, path: &str, mode: u32) -> Result<(), WalkError> {
        self.close(path).map_err(|error| error.at(root))?;
        self.totals.directories += 1;
        let siblings = std::mem::take(&mut self.entries);
        self.open.push(Open { path: path.to_owned(), mode, siblings });
        Ok(())
    }

    pub(super) fn symlink(&mut self, root: &Root, path: &str, mode: u32, target: String) -> Result<(), WalkError> {
        self.close(path).map_err(|error| error.at(root))?;
        self.totals.symlinks += 1;
        self.entries.push(Entry { name: name(path), mode, node: Node::Symlink { target: target.clone() } });
        self.paths.push(PathEntry { path: path.to_owned(), mode, node: PathNode::Symlink { target } });
        Ok(())
    }

    pub(super) fn file(&mut self, root: &Root, path: &str, mode: u32, file: Hashed) -> Result<(), WalkError> {
        self.close(path).map_err(|error| error.at(root))?;
        self.add_file(path, mode, file);
        Ok(())
    }

    pub(super) fn finish(mut self, root: Root, warnings: Vec<Warning>) -> Result<Scan, WalkError> {
        match self.close_root() {
            Ok(digest) => Ok(self.into_scan(Some(root), digest, BTreeMap::new(), warnings)),
            Err(error) => Err(error.at(&root)),
        }
    }

    fn add_file(&mut self, path: &str, mode: u32, file: Hashed) {
        let Hashed { digest, size, mtime_seconds } = file;
        self.totals.files += 1;
        self.totals.bytes += size;
        self.entries.push(Entry { name: name(path), mode, node: Node::File { digest, size } });
        self.paths.push(PathEntry { path: path.to_owned(), mode, node: PathNode::File { digest, size } });
        self.sources.entry(digest).or_insert_with(|| Source { path: path.to_owned(), size, mtime_seconds });
    }

    /// Closes the directories that `path` isn't in.
    fn close(&mut self, path: &str) -> Result<(), BadDirectory> {
        while let Some(last) = self.open.last() {
            if path.strip_prefix(&last.path).is_some_and(|rest| rest.starts_with('/')) {
                break;
            }
            let Some(last) = self.open.pop() else { break };
            let entries = std::mem::replace(&mut self.entries, last.siblings);
            let digest = self.store(entries).map_err(|error| BadDirectory { path: last.path.clone(), error })?;
            self.entries.push(Entry { name: name(&last.path), mode: last.mode, node: Node::Directory { digest } });
        }
        Ok(())
    }

    fn close_root(&mut self) -> Result<Digest, BadDirectory> {
        // No path is below this one, so that all directories are closed.
        self.close("")?;
        let entries = std::mem::take(&mut self.entries);
        self.store(entries).map_err(|error| BadDirectory { path: String::new(), error })
    }

    fn store(&mut self, entries: Vec<Entry>) -> Result<Digest, InvalidDirectory> {
        let bytes = Directory::new(entries)?.encode();
        let digest = Digest::of(&bytes);
        self.directories.insert(digest, bytes);
        Ok(digest)
    }

    fn into_scan(
        mut self,
        root: Option<Root>,
        digest: Digest,
        inline: BTreeMap<Digest, Vec<u8>>,
        warnings: Vec<Warning>,
    ) -> Scan {
        self.paths.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let Self { directories, sources, paths, totals, .. } = self;
        Scan { root, digest, directories, sources, inline, paths, totals, warnings }
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
    let mut inline = BTreeMap::new();
    for (name, (bytes, mtime_seconds)) in named {
        let digest = Digest::of(&bytes);
        builder.add_file(&name, PLAIN_MODE, Hashed { digest, size: bytes.len() as u64, mtime_seconds });
        inline.insert(digest, bytes);
    }
    match builder.close_root() {
        Ok(digest) => Ok(builder.into_scan(None, digest, inline, Vec::new())),
        Err(error) => Err(error.into_walk_error(&directory)),
    }
}

struct BadDirectory {
    path: String,
    error: InvalidDirectory,
}

// === impl BadDirectory ===

impl BadDirectory {
    fn at(self, root: &Root) -> WalkError {
        self.into_walk_error(&root.full(Path::new("")))
    }

    fn into_walk_error(self, root: &Path) -> WalkError {
        let path = root.join(self.path);
        match self.error {
            InvalidDirectory::TooLarge => WalkError::TooManyEntries { path },
            // The walk yields valid entries in order; should it ever not, the tree has changed under it.
            _ => WalkError::Changed { path },
        }
    }
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
