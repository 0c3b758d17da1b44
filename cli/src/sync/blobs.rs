//! Everything that a job's roots consist of. This is the only place of the sync that looks into a scan.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use slipway_context::snapshot::NodeBlob;
use slipway_context::{Content, Digest, WalkError};

use super::SyncError;
use crate::roots::Tree;

/// One blob, and the tree that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    /// Its name.
    pub(super) digest: Digest,
    /// Its bytes.
    pub(super) size: u64,
    /// Modification time, whole seconds since 1970.
    pub(super) seconds: i64,
    /// An encoded directory, rather than a content.
    pub(super) node: bool,
    tree: usize,
}

/// The trees of a job that have to be synced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blobs(Vec<Arc<Tree>>);

impl Blobs {
    /// Adds a tree.
    pub(crate) fn add(&mut self, tree: &Arc<Tree>) {
        self.0.push(Arc::clone(tree));
    }

    /// Leaves trees out.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&Tree) -> bool) {
        self.0.retain(|tree| wanted(tree));
    }

    /// Bytes of all files.
    pub(super) fn scanned_bytes(&self) -> u64 {
        self.0.iter().map(|tree| tree.scan.totals().bytes).sum()
    }

    /// The trees.
    pub(super) fn trees(&self) -> &[Arc<Tree>] {
        &self.0
    }

    /// All blobs, each once.
    pub(super) fn all(&self) -> impl Iterator<Item = Item> {
        let trees = self.0.iter().enumerate();
        let all = trees.flat_map(|(at, tree)| {
            let nodes = tree.scan.nodes().iter().map(move |(digest, found)| node(at, digest, found));
            nodes.chain(tree.scan.sources().iter().map(move |(digest, source)| content(at, digest, source)))
        });
        // What several have belongs to the first; nobody keeps a list of hundreds of thousands for that.
        all.filter(|item| self.find(&item.digest).as_ref() == Some(item))
    }

    /// Those that are wanted: nodes first, then contents by path, as they lie on the disk.
    pub(super) fn items(&self, wanted: impl Fn(&Item) -> bool) -> Vec<Item> {
        let mut items: Vec<_> = self.all().filter(wanted).collect();
        self.sort(&mut items);
        items
    }

    /// The blob of that name, if it is one of ours.
    pub(super) fn find(&self, digest: &Digest) -> Option<Item> {
        self.0.iter().enumerate().find_map(|(at, tree)| {
            let found = tree.scan.nodes().get(digest).map(|found| node(at, digest, found));
            found.or_else(|| tree.scan.sources().get(digest).map(|source| content(at, digest, source)))
        })
    }

    /// Nodes first, then contents by path.
    pub(super) fn sort(&self, items: &mut [Item]) {
        items.sort_by_cached_key(|item| (!item.node, item.tree, self.place(item)));
    }

    /// The bytes of a node.
    pub(super) fn node(&self, item: &Item) -> &[u8] {
        let tree = self.0.get(item.tree);
        tree.and_then(|tree| tree.scan.nodes().get(&item.digest)).map(|node| &*node.bytes).unwrap_or_default()
    }

    /// Opens a content.
    pub(super) fn open(&self, item: &Item) -> Result<Content, SyncError> {
        let opened = self.0.get(item.tree).map(|tree| tree.scan.open(&item.digest));
        match opened {
            Some(Ok(Some(content))) => Ok(content),
            Some(Err(WalkError::Read { source, .. })) => Err(SyncError::Read { path: self.path(item), source }),
            Some(Ok(None) | Err(_)) | None => Err(SyncError::Changed { path: self.path(item) }),
        }
    }

    /// The file that a content is read from; for messages.
    pub(super) fn path(&self, item: &Item) -> PathBuf {
        self.0.get(item.tree).map(|tree| crate::project::tidy(&tree.dir.join(self.place(item).0))).unwrap_or_default()
    }

    /// Where a content lies: its file and where in it.
    fn place(&self, item: &Item) -> (&Path, u64) {
        let source = self.0.get(item.tree).and_then(|tree| tree.scan.sources().get(&item.digest));
        source.filter(|_| !item.node).map_or((Path::new(""), 0), |source| (&source.path, source.offset))
    }
}

fn node(tree: usize, digest: &Digest, node: &NodeBlob) -> Item {
    Item { digest: *digest, size: node.bytes.len() as u64, seconds: node.mtime_seconds, node: true, tree }
}

fn content(tree: usize, digest: &Digest, source: &slipway_context::Source) -> Item {
    Item { digest: *digest, size: source.size, seconds: source.mtime_seconds, node: false, tree }
}
