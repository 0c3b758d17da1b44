use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

fn file(name: &str, content: &str) -> Entry {
    let node = Node::File { digest: Digest::of(content.as_bytes()), size: content.len() as u64, chunked: false };
    Entry { name: name.to_owned(), mode: 0o644, node }
}

fn link(name: &str, target: &str) -> Entry {
    Entry { name: name.to_owned(), mode: 0o777, node: Node::Symlink { target: target.to_owned() } }
}

fn subdirectory(name: &str, digest: Digest) -> Entry {
    Entry { name: name.to_owned(), mode: 0o755, node: Node::Directory { digest } }
}

#[test]
fn encoding_is_fixed() {
    let digest = Digest::of(b"hi");
    let directory = Directory::new(vec![file("a", "hi"), link("b", "a"), subdirectory("c", digest)]).unwrap();
    let mut expected = b"slipway-dir-v1\n\0f\x01\xA4\x01a\0\0\0\0\0\0\0\x02".to_vec();
    expected.extend(digest.as_bytes());
    expected.extend(b"l\x01\xFF\x01b\0\x01a");
    expected.extend(b"d\x01\xED\x01c");
    expected.extend(digest.as_bytes());
    assert_eq!(directory.encode(), expected);
    assert_eq!(Directory::decode(&expected).unwrap(), directory);
    assert_eq!(directory.digest(), Digest::of(&expected));
    assert_eq!(Directory::default().encode(), b"slipway-dir-v1\n\0");
}

#[test]
fn refuses_entries_that_no_directory_has() {
    use InvalidDirectory as E;
    let mode = |mode| Entry { mode, ..file("x", "") };
    let size = |size| Entry { node: Node::File { digest: Digest::of(b""), size, chunked: false }, ..file("x", "") };
    let name = |name: &str| E::Name { name: name.to_owned() };
    let long = "n".repeat(256);
    let cases = [
        (vec![file("", "")], name("")),
        (vec![file(".", "")], name(".")),
        (vec![file("..", "")], name("..")),
        (vec![file("a/b", "")], name("a/b")),
        (vec![file("/", "")], name("/")),
        (vec![file("a\0b", "")], name("a\0b")),
        (vec![file(&long, "")], name(&long[1..])),
        (vec![file("b", ""), file("a", "")], E::Order { name: "a".into() }),
        (vec![file("a", ""), link("a", "x")], E::Order { name: "a".into() }),
        (vec![mode(0o100_644)], E::Mode { name: "x".into(), mode: 0o100_644 }),
        (vec![size(u64::MAX)], E::Size { name: "x".into(), size: u64::MAX }),
        (vec![link("x", "")], E::Target { name: "x".into() }),
        (vec![link("x", "a\0")], E::Target { name: "x".into() }),
        (vec![link("x", &"t".repeat(4096))], E::Target { name: "x".into() }),
    ];
    for (entries, expected) in cases {
        // What can be written down at all is refused when it is read, too.
        let fits = entries.iter().all(|entry| entry.name.len() < 256 && entry.mode < 0x1_0000);
        let bytes = fits.then(|| Directory { entries: entries.clone() }.encode());
        assert_eq!(Directory::new(entries), Err(expected.clone()));
        if let Some(bytes) = bytes {
            assert_eq!(Directory::decode(&bytes), Err(expected));
        }
    }
    let odd = vec![file("...", ""), file("-", ""), file("\n", ""), file("\\", ""), file("é", "")];
    let mut odd: Vec<Entry> = odd;
    odd.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(Directory::new(odd).is_ok());
}

#[test]
fn refuses_other_bytes() {
    use InvalidDirectory as E;
    let good = Directory::new(vec![file("a", "hi"), link("b", "a")]).unwrap().encode();
    assert_eq!(Directory::decode(b""), Err(E::Magic));
    assert_eq!(Directory::decode(b"slipway-dir-v2\n\0"), Err(E::Magic));
    for end in 17..good.len() {
        // The end of the first entry is a proper end.
        assert_eq!(Directory::decode(&good[..end]).is_ok(), end == 61, "{end}");
    }
    let mut bad = good.clone();
    bad[16] = b'x';
    assert_eq!(Directory::decode(&bad), Err(E::Kind { kind: b'x' }));
    let mut bad = good;
    bad[20] = 0xFF;
    assert_eq!(Directory::decode(&bad), Err(E::Utf8));
    assert_eq!(Directory::decode(&vec![0; MAX_ENCODED + 1]), Err(E::TooLarge));
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let node = prop_oneof![
        (any::<[u8; 32]>(), 0..=i64::MAX as u64, any::<bool>()).prop_map(|(digest, size, chunked)| Node::File {
            digest: Digest::from_bytes(digest),
            size,
            chunked
        }),
        any::<[u8; 32]>().prop_map(|digest| Node::Directory { digest: Digest::from_bytes(digest) }),
        "[^\0]{1,20}".prop_map(|target| Node::Symlink { target }),
    ];
    ("[^/\0]{1,12}", 0..=MODE_BITS, node)
        .prop_filter("dots", |(name, ..)| name != "." && name != "..")
        .prop_map(|(name, mode, node)| Entry { name, mode, node })
}

fn any_directory() -> impl Strategy<Value = Directory> {
    prop::collection::vec(any_entry(), 0..8).prop_map(|entries| {
        let sorted: BTreeMap<String, Entry> = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        Directory::new(sorted.into_values().collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn decodes_what_it_encodes(directory in any_directory()) {
        prop_assert_eq!(Directory::decode(&directory.encode()).unwrap(), directory);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let bytes = if magic { [encoding::MAGIC.as_slice(), &bytes].concat() } else { bytes };
        if let Ok(directory) = Directory::decode(&bytes) {
            prop_assert_eq!(directory.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_goes_unnoticed(directory in any_directory(), at in any::<prop::sample::Index>(), new in any::<u8>()) {
        let mut bytes = directory.encode();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != new);
        bytes[at] = new;
        if let Ok(other) = Directory::decode(&bytes) {
            prop_assert_ne!(&other, &directory);
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

/// Directories by digest.
#[derive(Default)]
struct Store(BTreeMap<Digest, Vec<u8>>);

impl Store {
    fn add(&mut self, entries: Vec<Entry>) -> Digest {
        let directory = Directory::new(entries).unwrap();
        self.0.insert(directory.digest(), directory.encode());
        directory.digest()
    }

    fn check(&self, root: &Digest, entries: u64) -> Result<CheckedTree, CheckError<Infallible>> {
        check(root, &TreeLimits { entries }, |digest| Ok(self.0.get(digest).cloned()))
    }
}

#[test]
fn checks_whole_trees() {
    let mut store = Store::default();
    let leaf = store.add(vec![file("one", "1"), file("same", "1"), link("up", "../..")]);
    let root = store.add(vec![subdirectory("a", leaf), subdirectory("b", leaf), file("two", "22")]);
    let checked = store.check(&root, 9).unwrap();
    assert_eq!((checked.entries, checked.files, checked.bytes), (9, 5, 6));
    let contents = [(Digest::of(b"1"), 1), (Digest::of(b"22"), 2)];
    assert_eq!(checked.contents, contents.into_iter().collect());
    assert!(matches!(store.check(&root, 8), Err(CheckError::TooMany { limit: 8 })));

    let lone = store.add(vec![subdirectory("gone", Digest::of(b"gone"))]);
    assert_eq!(store.check(&lone, 9).unwrap().missing_nodes, [Digest::of(b"gone")]);
    store.0.insert(Digest::of(b"gone"), Directory::default().encode());
    assert!(matches!(store.check(&lone, 9), Err(CheckError::Digest { .. })));
    store.0.insert(Digest::of(b"junk"), b"junk".to_vec());
    assert!(matches!(store.check(&Digest::of(b"junk"), 9), Err(CheckError::Invalid { .. })));
    let mut lie = file("z", "1");
    lie.node = Node::File { digest: Digest::of(b"1"), size: 2, chunked: false };
    let sizes = store.add(vec![file("a", "1"), lie]);
    assert!(matches!(store.check(&sizes, 9), Err(CheckError::Sizes { .. })));
}

fn in_chunks(name: &str, list: Digest, size: u64) -> Entry {
    Entry { name: name.to_owned(), mode: 0o644, node: Node::File { digest: list, size, chunked: true } }
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let mut store = Store::default();
    let (gone, list) = (Digest::of(b"gone"), Digest::of(b"list"));
    let there = store.add(vec![file("x", "1"), subdirectory("y", gone)]);
    let root = store.add(vec![in_chunks("a", list, 7), subdirectory("b", gone), subdirectory("c", there)]);
    let checked = store.check(&root, 9).unwrap();
    let mut missing = vec![gone, list];
    missing.sort();
    assert_eq!(checked.missing_nodes, missing);
    assert_eq!(checked.contents.keys().collect::<Vec<_>>(), [&Digest::of(b"1")]);
    assert_eq!(store.check(&gone, 9).unwrap().missing_nodes, [gone]);
}

#[test]
fn chunk_lists_have_to_add_up() {
    let mut store = Store::default();
    let chunk = |content: &[u8]| crate::Chunk { digest: Digest::of(content), size: content.len() as u32 };
    let list = crate::ChunkList::new(vec![chunk(b"one"), chunk(b"three"), chunk(b"one")]).unwrap().encode();
    let digest = Digest::of(&list);
    store.0.insert(digest, list);
    let root = store.add(vec![in_chunks("a", digest, 11), in_chunks("b", digest, 11)]);
    let checked = store.check(&root, 9).unwrap();
    assert_eq!((checked.files, checked.bytes, checked.contents.len()), (2, 22, 2));
    assert_eq!(checked.contents[&Digest::of(b"three")], 5);
    let root = store.add(vec![in_chunks("a", digest, 11), in_chunks("b", digest, 12)]);
    assert!(matches!(store.check(&root, 9), Err(CheckError::Chunks { .. })));
    // Many chunks may hide behind few entries.
    let many: Vec<_> = (0..20_u8).map(|n| chunk(&[n])).collect();
    let list = crate::ChunkList::new(many).unwrap().encode();
    let root = store.add(vec![in_chunks("a", Digest::of(&list), 20)]);
    store.0.insert(Digest::of(&list), list);
    assert!(store.check(&root, 20).is_ok());
    assert!(matches!(store.check(&root, 19), Err(CheckError::TooMany { .. })));
}

#[test]
fn a_few_directories_can_stand_for_too_many_entries() {
    let mut store = Store::default();
    let mut digest = store.add(vec![file("x", "")]);
    for _ in 0..100 {
        digest = store.add(vec![subdirectory("a", digest), subdirectory("b", digest)]);
    }
    assert!(matches!(store.check(&digest, 1_000_000), Err(CheckError::TooMany { .. })));
    let tree = MerkleTree { root: digest, store: store.0 };
    let filter = crate::Filter::default();
    let walked = TreeWalk::new(&tree, &filter, 1000).unwrap().collect::<Result<Vec<_>, _>>();
    assert!(matches!(walked, Err(TreeWalkError::TooLarge)));
}

#[test]
fn too_many_entries_are_noticed_on_the_way_down() {
    let mut store = Store::default();
    let mut digest = store.add(vec![]);
    for _ in 0..100 {
        let below = digest;
        digest = store.add((0..10).map(|n| subdirectory(&n.to_string(), below)).collect());
    }
    let mut fetched = 0;
    let fetch = |digest: &Digest| {
        fetched += 1;
        Ok::<_, Infallible>(store.0.get(digest).cloned())
    };
    let checked = check(&digest, &TreeLimits { entries: 29 }, fetch);
    assert!(matches!(checked, Err(CheckError::TooMany { limit: 29 })));
    assert_eq!(fetched, 3);
}

/// Entries, files and bytes of a tree, each directory looked at as often as it appears.
fn count(store: &Store, root: &Digest) -> (u64, u64, u64) {
    let directory = Directory::decode(&store.0[root]).unwrap();
    let (mut entries, mut files, mut bytes) = (0, 0, 0);
    for entry in directory.entries() {
        entries += 1;
        match &entry.node {
            Node::File { size, .. } => (files, bytes) = (files + 1, bytes + size),
            Node::Directory { digest } => {
                let below = count(store, digest);
                (entries, files, bytes) = (entries + below.0, files + below.1, bytes + below.2);
            }
            Node::Symlink { .. } => {}
        }
    }
    (entries, files, bytes)
}

proptest! {
    #[test]
    fn entries_count_as_often_as_they_appear(
        levels in prop::collection::vec(prop::collection::btree_map("[a-c]{1,3}", 0usize..6, 0..4), 1..5),
    ) {
        let mut store = Store::default();
        let mut made: Vec<Digest> = Vec::new();
        for level in levels {
            let entry = |(name, what): (&String, &usize)| match made.get(*what) {
                Some(below) => subdirectory(name, *below),
                None => file(name, &"x".repeat(*what)),
            };
            let digest = store.add(level.iter().map(entry).collect());
            made.push(digest);
        }
        let root = made.last().unwrap();
        let (entries, files, bytes) = count(&store, root);
        let checked = store.check(root, entries).unwrap();
        prop_assert_eq!((checked.entries, checked.files, checked.bytes), (entries, files, bytes));
        if let Some(less) = entries.checked_sub(1) {
            let too_many = matches!(store.check(root, less), Err(CheckError::TooMany { .. }));
            prop_assert!(too_many);
        }
    }
}

#[test]
fn paths_have_a_limit() {
    let mut store = Store::default();
    let long = "d".repeat(255);
    let mut digest = store.add(vec![]);
    for _ in 0..15 {
        digest = store.add(vec![subdirectory(&long, digest)]);
    }
    // 15 names and slashes make 3,840 bytes.
    let fits = store.add(vec![subdirectory(&"d".repeat(255), digest)]);
    assert!(store.check(&fits, 100).is_ok());
    let deep = store.add(vec![subdirectory("d", fits)]);
    assert!(matches!(store.check(&deep, 100), Err(CheckError::TooDeep)));
    let mut deep = store.add(vec![]);
    for _ in 0..10_000 {
        deep = store.add(vec![subdirectory("d", deep)]);
    }
    assert!(matches!(store.check(&deep, 1_000_000), Err(CheckError::TooDeep)));
}

#[test]
fn reads_and_walks() {
    let mut store = Store::default();
    let lib = store.add(vec![file("x.c", "x"), file("x.h", "h")]);
    let root = store.add(vec![subdirectory("lib", lib), link("link", "lib"), file("main.c", "m")]);
    let tree = MerkleTree { root, store: store.0 };
    assert!(matches!(tree.node("lib/x.c").unwrap(), Some(Node::File { size: 1, .. })));
    assert!(matches!(tree.node(".").unwrap(), Some(Node::Directory { .. })));
    for path in ["nothing", "lib/nothing", "main.c/x", "link/x.c", "..", "", "/"] {
        assert_eq!(tree.node(path).unwrap(), None, "{path:?}");
    }
    let request = crate::FilterRequest {
        follow_paths: vec!["link".into()],
        exclude_patterns: vec!["**/*.h".into()],
        ..Default::default()
    };
    let filter = request.resolve(&tree).unwrap();
    let walk = TreeWalk::new(&tree, &filter, 100).unwrap();
    let paths: Vec<String> = walk.map(|entry| entry.unwrap().path).collect();
    assert_eq!(paths, ["lib", "lib/x.c", "link"]);
}
