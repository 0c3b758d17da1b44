//! From a directory on disk to a snapshot: walk it, hash what is in it, build the Merkle tree.
//!
//! For a build there are two snapshots. [`scan`] makes the one of the context, after its rules. [`scan_dockerfile`] makes
//! the one of the Dockerfile and its ignore file, which `BuildKit` asks for under the name `dockerfile`; that way an
//! ignored Dockerfile is sent and still can't be copied into an image. What happens when `BuildKit` applies the ignore
//! file again is told in [`rules`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::digest::Digest;
use crate::rules::{self, Rules};
use crate::tree::MerkleTree;
use crate::walk::{FoundKind, Root, Walk, WalkError};
use crate::warning::Warning;

mod build;
mod hash;
#[cfg(test)]
mod tests;

use build::Builder;

/// The largest Dockerfile.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// How to scan.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// How many threads hash files; unset, as many as there are processors, between 2 and 8.
    pub threads: Option<usize>,
}

/// A snapshot of a directory, and where its contents are.
#[derive(Debug)]
pub struct Scan {
    root: Option<Root>,
    digest: Digest,
    directories: BTreeMap<Digest, Vec<u8>>,
    sources: BTreeMap<Digest, Source>,
    /// Contents that are kept in memory.
    inline: BTreeMap<Digest, Vec<u8>>,
    paths: Vec<PathEntry>,
    totals: Totals,
    warnings: Vec<Warning>,
}

/// A file that has a content, when several may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path below the root.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last changed, in whole seconds since 1970.
    pub mtime_seconds: i64,
}

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
        /// Digest of its bytes.
        digest: Digest,
        /// How many bytes.
        size: u64,
    },
    /// A symlink.
    Symlink {
        /// Where it points.
        target: String,
    },
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

/// The bytes of a content, opened again.
#[derive(Debug)]
pub enum Content {
    /// From a file. It may have changed since the scan: verify the digest.
    File(File),
    /// From memory.
    Bytes(Cursor<Vec<u8>>),
}

/// Makes a snapshot of the directory `root` after `rules`.
pub fn scan(root: &Path, rules: &Rules, options: &ScanOptions) -> Result<Scan, WalkError> {
    let root = Root::open(root)?;
    let mut walk = Walk::new(&root, rules)?;
    let found = walk.by_ref().collect::<Result<Vec<_>, _>>()?;
    let warnings = walk.take_warnings();
    let files: Vec<&str> = found
        .iter()
        .filter(|found| matches!(found.kind, FoundKind::File { .. }))
        .map(|found| found.path.as_str())
        .collect();
    let mut hashed = hash::hash_files(&root, &files, options.threads)?.into_iter();
    let mut builder = Builder::default();
    for found in found {
        match found.kind {
            FoundKind::Directory => builder.directory(&root, &found.path, found.mode)?,
            FoundKind::Symlink { target } => builder.symlink(&root, &found.path, found.mode, target)?,
            FoundKind::File { .. } => {
                // There is one for each file, in the same order.
                let Some(file) = hashed.next() else { break };
                builder.file(&root, &found.path, found.mode, file)?;
            }
        }
    }
    builder.finish(root, warnings)
}

/// Makes a snapshot of a Dockerfile and, if there is one, of its `<Dockerfile>.dockerignore`: under their own names, with
/// mode 644, symlinks resolved. Where `Dockerfile` is missing, `dockerfile` will do, as for `BuildKit`.
///
/// `.dockerignore` isn't in it: `BuildKit` looks for it in the context only.
pub fn scan_dockerfile(dockerfile: &Path) -> Result<Scan, WalkError> {
    let mut path = dockerfile.to_owned();
    if path.file_name().is_some_and(|name| name == "Dockerfile") && !path.exists() {
        let lower = path.with_file_name("dockerfile");
        if lower.exists() {
            path = lower;
        }
    }
    let read_error = |source| WalkError::Read { path: path.clone(), source };
    let mut text = Vec::new();
    let file = File::open(&path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(read_error(io::Error::other("not a regular file")));
    }
    file.take(MAX_DOCKERFILE + 1).read_to_end(&mut text).map_err(read_error)?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(read_error(io::ErrorKind::FileTooLarge.into()));
    }
    let mut files = vec![(path.clone(), text, mtime(&metadata))];
    let ignore = rules::dockerignore_of(dockerfile);
    if let Some(text) = rules::read(&ignore)? {
        let mtime = fs::metadata(&ignore).map_or(0, |metadata| mtime(&metadata));
        files.push((ignore, text, mtime));
    }
    build::in_memory(files)
}

fn mtime(metadata: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mtime()
}

// === impl Scan ===

impl Scan {
    /// Digest of the root directory: the name of the snapshot.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Encoded directories by digest, each once.
    pub fn directories(&self) -> &BTreeMap<Digest, Vec<u8>> {
        &self.directories
    }

    /// Contents by digest, each once, with a file that has it.
    pub fn sources(&self) -> &BTreeMap<Digest, Source> {
        &self.sources
    }

    /// Files and symlinks, sorted by the bytes of their paths; directories aren't listed.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &PathEntry> {
        self.paths.iter()
    }

    /// What it holds in all.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What was skipped. The rules have warnings of their own.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The snapshot as a tree that can be looked into and walked.
    pub fn tree(&self) -> MerkleTree<&BTreeMap<Digest, Vec<u8>>> {
        MerkleTree { root: self.digest, store: &self.directories }
    }

    /// Opens a content for upload, without following symlinks; `None` if it isn't part of the snapshot.
    pub fn open(&self, digest: &Digest) -> Result<Option<Content>, WalkError> {
        if let Some(bytes) = self.inline.get(digest) {
            return Ok(Some(Content::Bytes(Cursor::new(bytes.clone()))));
        }
        match (&self.root, self.sources.get(digest)) {
            (Some(root), Some(source)) => Ok(Some(Content::File(root.open_file(Path::new(&source.path))?))),
            _ => Ok(None),
        }
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
