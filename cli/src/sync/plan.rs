//! What is sent next.

use std::collections::HashSet;
use std::sync::Arc;

use slipway_context::Digest;

use super::blobs::{Blobs, Item};
use super::memory::Known;
use super::{FRUITLESS, SyncError};

/// Contents that are sent unasked when they are new since the last sync: a question costs a round trip.
const UNASKED: u64 = 1 << 20;
/// All there is, sent unasked where nothing is remembered.
const SMALL: u64 = 256 << 10;

/// Decides what is sent, over all calls of a sync.
#[derive(Debug)]
pub(super) struct Plan {
    blobs: Arc<Blobs>,
    /// The first bytes of what was asked for: enough to tell whether there was anything new.
    asked: HashSet<[u8; 8]>,
    /// How much the last answer named.
    before: usize,
    fruitless: u32,
    /// Whether all nodes have gone out in the call that goes on.
    all_nodes: bool,
}

impl Plan {
    /// Of these blobs.
    pub(super) fn new(blobs: Arc<Blobs>) -> Self {
        Self { blobs, asked: HashSet::new(), before: usize::MAX, fruitless: 0, all_nodes: false }
    }

    /// What the service will most likely ask for.
    pub(super) fn guess(&mut self, known: &Known) -> Vec<Item> {
        let new = |item: &Item| !known.has(&item.digest);
        let bytes = |nodes: bool| -> u64 {
            self.blobs.all().filter(|item| (nodes || !item.node) && new(item)).map(|item| item.size).sum()
        };
        let unasked = if known.is_empty() { bytes(true) <= SMALL } else { bytes(false) <= UNASKED };
        self.all_nodes = known.is_empty();
        self.blobs.items(|item| new(item) && (item.node || unasked))
    }

    /// Another call begins: what was under way is lost.
    pub(super) fn cut(&mut self) {
        self.all_nodes = false;
    }

    /// What the service asks for.
    pub(super) fn answer(&mut self, missing: &[Digest]) -> Result<Vec<Item>, SyncError> {
        let mut items = Vec::with_capacity(missing.len());
        let mut news = missing.len() < self.before;
        for digest in missing {
            let item = self.blobs.find(digest);
            let item = item.ok_or_else(|| SyncError::Unknown { digest: digest.hex() })?;
            news |= digest.as_bytes().first_chunk().is_some_and(|first| self.asked.insert(*first));
            items.push(item);
        }
        self.before = missing.len();
        self.fruitless = if news { 0 } else { self.fruitless + 1 };
        if self.fruitless >= FRUITLESS {
            return Err(SyncError::Fruitless { count: missing.len() });
        }
        // What is below a missing node is most likely missing too, and to ask level by level takes long.
        if items.iter().any(|item| item.node) && !std::mem::replace(&mut self.all_nodes, true) {
            items.retain(|item| !item.node);
            items.extend(self.blobs.all().filter(|item| item.node));
        }
        self.blobs.sort(&mut items);
        items.dedup_by_key(|item| item.digest);
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use slipway_context::{Rules, ScanOptions, scan};

    use super::*;
    use crate::roots::Tree;
    use crate::sync::memory::Memory;

    fn blobs(dir: &std::path::Path) -> Arc<Blobs> {
        let scan = scan(dir, &Rules::none(), &ScanOptions::default()).unwrap();
        let mut blobs = Blobs::default();
        blobs.add(&Arc::new(Tree::complete("t".to_owned(), dir.to_owned(), scan)));
        Arc::new(blobs)
    }

    #[test]
    fn little_is_sent_unasked_and_much_is_asked_for() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/small"), "small").unwrap();
        let all = blobs(dir.path());
        assert_eq!(Plan::new(all.clone()).guess(&Known::default()).len(), 3, "all of a small tree");
        fs::write(dir.path().join("large"), vec![0; 300 << 10]).unwrap();
        let all = blobs(dir.path());
        let nodes = Plan::new(all.clone()).guess(&Known::default());
        assert_eq!((nodes.len(), nodes.iter().all(|item| item.node)), (2, true), "the nodes of a large one");
        let memory = Memory::new(Some(cache.path().to_owned()), "s", "n");
        memory.save(&all);
        fs::write(dir.path().join("large"), vec![1; 300 << 10]).unwrap();
        let guess = Plan::new(blobs(dir.path())).guess(&memory.load(&all));
        assert_eq!(
            guess.iter().map(|item| item.node).collect::<Vec<_>>(),
            [true, false],
            "the root and the new content"
        );
        fs::write(dir.path().join("large"), vec![1; 2 << 20]).unwrap();
        let guess = Plan::new(blobs(dir.path())).guess(&memory.load(&all));
        assert_eq!(guess.iter().map(|item| item.node).collect::<Vec<_>>(), [true], "the root alone");
    }

    #[test]
    fn answers_are_served_unless_they_make_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), "a").unwrap();
        let mut plan = Plan::new(blobs(dir.path()));
        let (a, root) = (Digest::of(b"a"), plan.blobs.trees()[0].scan.digest());
        let names = |items: Vec<Item>| items.iter().map(|item| item.node).collect::<Vec<_>>();
        assert_eq!(names(plan.answer(&[a, root]).unwrap()), [true, true, false], "a missing node brings all");
        assert_eq!(names(plan.answer(std::slice::from_ref(&root)).unwrap()), [true], "once");
        for _ in 1..FRUITLESS {
            plan.answer(std::slice::from_ref(&root)).unwrap();
        }
        assert!(matches!(plan.answer(&[root]), Err(SyncError::Fruitless { count: 1 })));
        assert!(matches!(plan.answer(&[a, Digest::of(b"unknown")]), Err(SyncError::Unknown { .. })));
    }
}
