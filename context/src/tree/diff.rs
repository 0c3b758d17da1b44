//! What differs between two snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Directory, DirectoryStore, Entry, MerkleTree, Node};
use crate::digest::Digest;

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, from the root. What is beneath a folder that came or went is not listed.
    pub path: String,
    /// How.
    pub kind: ChangeKind,
    /// Whether it is (or was) a folder.
    pub folder: bool,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another content, or is something else now.
    Changed,
    /// Only its permissions are others.
    Mode,
}

/// What is known so far about two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In order of paths within each folder.
    pub changes: Vec<Change>,
    /// Folders of the earlier snapshot that have to be known before all can be said.
    pub needs: BTreeSet<Digest>,
    /// There are more than were asked for.
    pub cut: bool,
}

/// What `now` has otherwise than the snapshot before it, whose folders `known` may lack. At most `limit` changes.
pub fn diff<S: DirectoryStore>(
    before: Digest,
    known: &BTreeMap<Digest, Arc<Directory>>,
    now: &MerkleTree<S>,
    limit: usize,
) -> Result<Diff, S::Error> {
    let mut walk = Walk { known, store: &now.store, limit, diff: Diff::default() };
    walk.folders("", before, now.root)?;
    Ok(walk.diff)
}

struct Walk<'w, S> {
    known: &'w BTreeMap<Digest, Arc<Directory>>,
    store: &'w S,
    limit: usize,
    diff: Diff,
}

// === impl Walk ===

impl<S: DirectoryStore> Walk<'_, S> {
    fn folders(&mut self, path: &str, before: Digest, now: Digest) -> Result<(), S::Error> {
        if before == now {
            return Ok(());
        }
        let Some(before) = self.known.get(&before) else {
            self.diff.needs.insert(before);
            return Ok(());
        };
        let now = self.store.directory(&now)?;
        let (mut old, mut new) = (before.entries().iter().peekable(), now.entries().iter().peekable());
        loop {
            if self.diff.cut {
                return Ok(());
            }
            // Both are in byte order of names.
            match (old.peek(), new.peek()) {
                (Some(one), other) if other.is_none_or(|other| one.name < other.name) => {
                    self.change(path, one, ChangeKind::Removed);
                    old.next();
                }
                (one, Some(other)) if one.is_none_or(|one| other.name < one.name) => {
                    self.change(path, other, ChangeKind::Added);
                    new.next();
                }
                (Some(one), Some(other)) => {
                    self.both(path, one, other)?;
                    old.next();
                    new.next();
                }
                // Only one of them is done: that is above.
                (_, None) | (None, _) => return Ok(()),
            }
        }
    }

    /// Two entries of one name.
    fn both(&mut self, path: &str, before: &Entry, now: &Entry) -> Result<(), S::Error> {
        let name = &now.name;
        let same_content = match (&before.node, &now.node) {
            (Node::Directory { digest: before }, Node::Directory { digest: now }) => {
                self.folders(&join(path, name), *before, *now)?;
                true
            }
            (one, other) => one == other,
        };
        if !same_content {
            self.change(path, now, ChangeKind::Changed);
        } else if before.mode != now.mode {
            self.change(path, now, ChangeKind::Mode);
        }
        Ok(())
    }

    fn change(&mut self, path: &str, entry: &Entry, kind: ChangeKind) {
        if self.diff.changes.len() >= self.limit {
            self.diff.cut = true;
            return;
        }
        let folder = matches!(entry.node, Node::Directory { .. });
        self.diff.changes.push(Change { path: join(path, &entry.name), kind, folder });
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in memory: encoded folders by digest.
    #[derive(Default)]
    struct Made(BTreeMap<Digest, Vec<u8>>);

    impl Made {
        fn folder(&mut self, entries: &[(&str, u32, Node)]) -> Digest {
            let entry = |(name, mode, node): &(&str, u32, Node)| Entry {
                name: (*name).to_owned(),
                mode: *mode,
                node: node.clone(),
            };
            let directory = Directory::new(entries.iter().map(entry).collect()).unwrap();
            let digest = directory.digest();
            self.0.insert(digest, directory.encode());
            digest
        }

        fn known(&self) -> BTreeMap<Digest, Arc<Directory>> {
            self.0.iter().map(|(digest, bytes)| (*digest, Arc::new(Directory::decode(bytes).unwrap()))).collect()
        }
    }

    fn file(content: &str) -> Node {
        Node::File { digest: Digest::of(content.as_bytes()), size: content.len() as u64, chunked: false }
    }

    fn change(path: &str, kind: ChangeKind, folder: bool) -> Change {
        Change { path: path.to_owned(), kind, folder }
    }

    #[test]
    fn each_kind_of_change_is_told_and_equal_folders_are_not_looked_into() {
        let (mut before, mut now) = (Made::default(), Made::default());
        let same = Digest::of(b"never looked at");
        let src = before.folder(&[("a", 0o644, file("1")), ("b", 0o644, file("2")), ("c", 0o644, file("3"))]);
        let root = [
            ("gone", 0o755, Node::Directory { digest: same }),
            ("link", 0o777, Node::Symlink { target: "a".to_owned() }),
            ("same", 0o755, Node::Directory { digest: same }),
            ("src", 0o755, Node::Directory { digest: src }),
        ];
        let old = before.folder(&root);
        let src = now.folder(&[("a", 0o755, file("1")), ("b", 0o644, file("other")), ("d", 0o644, file("4"))]);
        let root = [
            ("link", 0o777, Node::Symlink { target: "b".to_owned() }),
            ("new", 0o755, Node::Directory { digest: same }),
            ("same", 0o755, Node::Directory { digest: same }),
            ("src", 0o700, Node::Directory { digest: src }),
        ];
        let new = now.folder(&root);
        let tree = MerkleTree { root: new, store: now.0 };
        let found = diff(old, &before.known(), &tree, 100).unwrap();
        let expected = [
            change("gone", ChangeKind::Removed, true),
            change("link", ChangeKind::Changed, false),
            change("new", ChangeKind::Added, true),
            change("src/a", ChangeKind::Mode, false),
            change("src/b", ChangeKind::Changed, false),
            change("src/c", ChangeKind::Removed, false),
            change("src/d", ChangeKind::Added, false),
            change("src", ChangeKind::Mode, true),
        ];
        assert_eq!(found.changes, expected);
        assert!(found.needs.is_empty() && !found.cut);
        let cut = diff(old, &before.known(), &tree, 3).unwrap();
        assert!(cut.cut && cut.changes == expected[..3]);
        assert_eq!(diff(new, &BTreeMap::new(), &tree, 3).unwrap(), Diff::default());
    }

    #[test]
    fn folders_that_are_not_known_yet_are_asked_for() {
        let (mut before, mut now) = (Made::default(), Made::default());
        let old_sub = before.folder(&[("f", 0o644, file("1"))]);
        let old = before.folder(&[("sub", 0o755, Node::Directory { digest: old_sub })]);
        let new_sub = now.folder(&[("f", 0o644, file("2"))]);
        let new = now.folder(&[("sub", 0o755, Node::Directory { digest: new_sub })]);
        let tree = MerkleTree { root: new, store: now.0 };
        let (all, mut known) = (before.known(), BTreeMap::new());
        for asked in [old, old_sub] {
            let found = diff(old, &known, &tree, 100).unwrap();
            assert_eq!(found.needs, BTreeSet::from([asked]));
            known.insert(asked, all[&asked].clone());
        }
        assert_eq!(diff(old, &known, &tree, 100).unwrap().changes, [change("sub/f", ChangeKind::Changed, false)]);
    }
}
