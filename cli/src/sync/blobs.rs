//! Everything that a job's roots consist of, each content once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use slipway_context::Digest;

use crate::roots::Tree;

/// One content, and the tree that has it.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// Its name.
    pub(super) digest: Digest,
    /// Its bytes.
    pub(super) size: u64,
    pub(super) tree: Arc<Tree>,
    pub(super) kind: BlobKind,
}

/// What a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobKind {
    /// An encoded directory or chunk list.
    Node {
        /// When the file of a chunk list was last changed; 0 for a directory.
        seconds: i64,
    },
    /// Bytes of a file, which are read again when they are sent.
    File {
        /// When the file was last changed.
        seconds: i64,
    },
}

impl Blob {
    /// The file that it is read from; for messages.
    pub(super) fn path(&self) -> PathBuf {
        let source = self.tree.scan.sources().get(&self.digest);
        source.map_or_else(|| self.tree.dir.clone(), |source| crate::project::tidy(&self.tree.dir.join(&source.path)))
    }
}

/// All contents, by digest.
#[derive(Debug, Default)]
pub(crate) struct Blobs(BTreeMap<Digest, Blob>);

impl Blobs {
    /// Adds everything that a tree consists of.
    pub(crate) fn add(&mut self, tree: &Arc<Tree>) {
        for (digest, node) in tree.scan.nodes() {
            self.insert(tree, *digest, node.bytes.len() as u64, BlobKind::Node { seconds: node.mtime_seconds });
        }
        for (digest, source) in tree.scan.sources() {
            self.insert(tree, *digest, source.size, BlobKind::File { seconds: source.mtime_seconds });
        }
    }

    fn insert(&mut self, tree: &Arc<Tree>, digest: Digest, size: u64, kind: BlobKind) {
        self.0.entry(digest).or_insert_with(|| Blob { digest, size, tree: Arc::clone(tree), kind });
    }

    /// The content of that name.
    pub(super) fn get(&self, digest: &Digest) -> Option<&Blob> {
        self.0.get(digest)
    }

    /// All names.
    pub(super) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.0.keys()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
