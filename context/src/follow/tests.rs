use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::*;
use crate::digest::Digest;
use crate::tree::{Directory, Entry, InvalidDirectory, Node};

/// Paths of links and files; directories are implied.
struct Paths(BTreeMap<&'static str, Option<&'static str>>);

impl TreeReader for Paths {
    type Error = Infallible;

    fn link(&self, path: &str) -> Result<Option<String>, Infallible> {
        Ok(self.0.get(path).copied().flatten().map(str::to_owned))
    }

    fn links(&self, path: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<(String, String)>, Infallible> {
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let below = self.0.iter().filter_map(|(key, target)| Some((key.strip_prefix(&prefix)?, (*target)?)));
        let links = below.filter(|(name, _)| !name.contains('/') && wanted(name));
        Ok(links.map(|(name, target)| (name.to_owned(), target.to_owned())).collect())
    }
}

fn tree(entries: &[(&'static str, Option<&'static str>)]) -> Paths {
    Paths(entries.iter().copied().collect())
}

#[test]
fn follows() {
    let tree = tree(&[
        ("app/main.c", None),
        ("app/lib", Some("../shared/lib")),
        ("shared/lib/x.c", None),
        ("abs", Some("/app/main.c")),
        ("out", Some("../../../etc/passwd")),
        ("loop", Some("loop")),
        ("grow", Some("grow/more")),
        ("chain", Some("abs")),
        ("d1/link", Some("../shared")),
        ("d2/plain", None),
        ("root", Some("/")),
        ("star", Some("app/*")),
    ]);
    let cases: &[(&[&str], Option<&[&str]>)] = &[
        (&[], Some(&[])),
        (&["app"], Some(&["app"])),
        (&["/app/"], Some(&["app"])),
        (&["app", "app/main.c"], Some(&["app"])),
        (&["app/lib/x.c"], Some(&["app/lib", "shared/lib/x.c"])),
        (&["abs"], Some(&["abs", "app/main.c"])),
        (&["chain"], Some(&["abs", "app/main.c", "chain"])),
        (&["out"], Some(&["etc/passwd", "out"])),
        (&["../../app"], Some(&["../../app"])),
        (&["loop", "loop/x"], Some(&["loop"])),
        (&["grow"], Some(&["grow"])),
        (&["nothing/here"], Some(&["nothing/here"])),
        (&["d*"], Some(&["d*"])),
        (&["d*/*"], Some(&["d*/*"])),
        (&["d1/*"], Some(&["d1/*", "shared"])),
        (&["ab?"], Some(&["ab?", "app/main.c"])),
        (&["star"], Some(&["app/*", "shared/lib", "star"])),
        (&["."], None),
        (&["app", ""], None),
        (&["root"], None),
    ];
    for (paths, expected) in cases {
        let found = follow_links(&tree, paths).unwrap();
        let expected = expected.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{paths:?}");
    }
}

#[test]
fn becomes_include_patterns() {
    let tree = tree(&[("a", Some("b")), ("b", None), ("c", None)]);
    let included = |request: FilterRequest| {
        let filter = request.resolve_in(&tree).unwrap();
        let mut walk = filter.walk::<()>();
        ["a", "b", "c"]
            .into_iter()
            .filter(|path| walk.enter(path, None).unwrap() == crate::filter::Verdict::Include)
            .collect::<Vec<_>>()
    };
    let follow = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(included(FilterRequest::default()), ["a", "b", "c"]);
    assert_eq!(included(FilterRequest { follow_paths: follow(&["a"]), ..Default::default() }), ["a", "b"]);
    assert_eq!(included(FilterRequest { follow_paths: follow(&["."]), ..Default::default() }), ["a", "b", "c"]);
    let both = FilterRequest {
        include_patterns: follow(&["c"]),
        follow_paths: follow(&["a"]),
        exclude_patterns: follow(&["b"]),
    };
    assert_eq!(included(both), ["a", "c"]);
}

/// Directories, and how often one was asked for.
#[derive(Default)]
struct Counting {
    directories: BTreeMap<Digest, Vec<u8>>,
    reads: Cell<usize>,
}

impl DirectoryStore for Counting {
    type Error = InvalidDirectory;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, InvalidDirectory> {
        self.reads.set(self.reads.get() + 1);
        self.directories.directory(digest)
    }
}

#[test]
fn a_directory_is_read_once_however_many_names_match() {
    let reads = |names: usize| {
        let mut store = Counting::default();
        let mut add = |entries: Vec<Entry>| {
            let bytes = Directory::new(entries).unwrap().encode();
            let digest = Digest::of(&bytes);
            store.directories.insert(digest, bytes);
            digest
        };
        let entry = |name: String, node| Entry { name, mode: 0o644, node };
        let file = || Node::File { digest: Digest::of(b""), size: 0, chunked: false };
        let link = |target: String| Node::Symlink { target };
        let files = add((0..names).map(|name| entry(format!("{name:06}.json"), file())).collect());
        let links = (0..names).map(|name| entry(format!("{name:06}"), link(format!("../deep/files/{name:06}.json"))));
        let links = add(links.collect());
        let deep = add(vec![entry("files".to_owned(), Node::Directory { digest: files })]);
        let inner = |(name, digest): (&str, _)| entry(name.to_owned(), Node::Directory { digest });
        let root = add([("deep", deep), ("links", links)].map(inner).into());
        let tree = MerkleTree { root, store };
        let follow_paths = ["deep/files/*.json", "links/0*"].map(str::to_owned).into();
        FilterRequest { follow_paths, ..FilterRequest::default() }.resolve(&tree).unwrap();
        tree.store.reads.get()
    };
    assert_eq!((reads(1), reads(500)), (4, 4));
}

#[test]
fn hostile_links_end() {
    struct Endless;
    impl TreeReader for Endless {
        type Error = Infallible;

        fn link(&self, path: &str) -> Result<Option<String>, Infallible> {
            Ok(Some(format!("/{path}x")))
        }

        fn links(&self, _: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<(String, String)>, Infallible> {
            while wanted("name") {}
            Ok(Vec::new())
        }
    }
    assert!(matches!(follow_links(&Endless, &["a"]), Err(FollowError::TooFar { .. })));
    let deep = "a/".repeat(3000);
    assert!(matches!(follow_links(&Endless, &[deep]), Err(FollowError::TooFar { .. })));
    // Names count, too.
    assert!(matches!(follow_links(&Endless, &["n*"]), Err(FollowError::TooFar { .. })));
}
