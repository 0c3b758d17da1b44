use slipway_context::tree::Entry;
use slipway_context::{Chunk, ChunkList};

use super::*;
use crate::store::tests::{blobs, put};

fn entry(name: &str, node: Node) -> Entry {
    Entry { name: name.to_owned(), mode: 0o755, node }
}

fn file(name: &str, content: &[u8]) -> Entry {
    entry(name, Node::File { digest: Digest::of(content), size: content.len() as u64, chunked: false })
}

fn below(name: &str, directory: &Directory) -> Entry {
    entry(name, Node::Directory { digest: directory.digest() })
}

fn directory(entries: Vec<Entry>) -> Directory {
    Directory::new(entries).unwrap()
}

/// Every pack's bytes become others.
fn spoil(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir.join("blobs/dev/packs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            let bytes: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_chunk_list_is_read_once_whoever_names_it() {
    let list = ChunkList::new(vec![Chunk { digest: Digest::of(b"chunk"), size: 5 }]).unwrap();
    let named = |size| entry("large", Node::File { digest: Digest::of(&list.encode()), size, chunked: true });
    let named_again = |size| Entry { name: "again".to_owned(), ..named(size) };
    let (good, lie) = (directory(vec![named(5)]), directory(vec![named(7)]));
    for first in [&good, &lie] {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        put(&blobs, &[&list.encode(), b"chunk", &first.encode()]);
        let mut needed = Reachable::default();
        needed.add(&blobs, &first.digest()).unwrap();
        assert!(needed.blobs.contains(&Digest::of(b"chunk")), "also when only another file can be the right one");
        // From here on nobody can read the list without noticing.
        spoil(dir.path());
        let others = [5, 7, 8].map(|size| directory(vec![named_again(size), named(size)]));
        for other in &others {
            put(&blobs, &[&other.encode()]);
            needed.add(&blobs, &other.digest()).unwrap();
        }
        let known = blobs.catalog().now();
        assert!(known.find(&Digest::of(&list.encode()), |_| false).is_some(), "it was not read again");
        needed.look_again();
        needed.add(&blobs, &others[0].digest()).unwrap();
        assert!(!blobs.has(&Digest::of(&list.encode())), "now it was");
    }
}

#[test]
fn a_tree_that_nobody_has_checked_adds_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    let lower = directory(vec![file("here", b"here"), file("not", b"not sent yet")]);
    let root = directory(vec![below("gone", &directory(vec![file("x", b"")])), below("lower", &lower)]);
    put(&blobs, &[&root.encode(), &lower.encode(), b"here"]);
    let mut needed = Reachable::default();
    needed.add_unchecked(&blobs, &root.digest()).unwrap();
    assert_eq!(needed.blobs, HashSet::from([root.digest(), lower.digest(), Digest::of(b"here")]));
}

#[test]
fn a_tree_with_too_many_entries_takes_nothing_from_one_that_is_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    let content = |n: u32| n.to_be_bytes();
    // The good tree, and others that name its directories and go on for ever.
    let leaves: Vec<_> = (0..4).map(|n| directory(vec![file("leaf", &content(n))])).collect();
    let good = directory(leaves.iter().enumerate().map(|(n, leaf)| below(&n.to_string(), leaf)).collect());
    for leaf in &leaves {
        put(&blobs, &[&leaf.encode()]);
    }
    let contents: Vec<_> = (0..4).map(content).collect();
    put(&blobs, &contents.iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>());
    let long = directory((0..20).map(|n| file(&format!("{n:02}"), &content(n + 100))).collect());
    let (first, last) =
        (directory(vec![below("a", &good), below("b", &long)]), directory(vec![below("a", &long), below("b", &good)]));
    put(&blobs, &[&good.encode(), &long.encode(), &first.encode(), &last.encode()]);
    for most in 0..40 {
        let mut needed = Reachable::default();
        for root in [&first, &last] {
            needed.add_at_most(&blobs, &root.digest(), most).unwrap();
        }
        needed.add_unchecked(&blobs, &good.digest()).unwrap();
        let all = leaves.iter().map(Directory::digest).chain((0..4).map(|n| Digest::of(&content(n))));
        assert!(all.into_iter().all(|digest| needed.blobs.contains(&digest)), "{most}");
    }
}
