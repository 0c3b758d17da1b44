use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::tree::{Directory, TreeEntry, TreeWalk};
use crate::walk::serial::{Found, FoundKind, Walk};
use crate::{Filter, FilterRequest};

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn scan_all(root: &Path) -> Scan {
    scan(root, &Rules::none(), &ScanOptions::default()).unwrap()
}

fn walked(scan: &Scan, filter: &Filter) -> Vec<String> {
    TreeWalk::new(&scan.tree(), filter, 10_000).unwrap().map(|entry| entry.unwrap().path).collect()
}

fn text(scan: &Scan, digest: &Digest) -> String {
    let mut text = String::new();
    scan.open(digest).unwrap().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn everything_of_a_small_tree() {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in [("a/b/one", "1"), ("a/copy", "1"), ("a-b", "22"), ("empty", "")] {
        write(dir.path(), path, content);
    }
    symlink("a/copy", dir.path().join("link")).unwrap();
    fs::create_dir(dir.path().join("void")).unwrap();
    let scan = scan_all(dir.path());
    assert_eq!(scan.totals(), Totals { files: 4, directories: 3, symlinks: 1, bytes: 4 });
    assert_eq!(walked(&scan, &Filter::default()), ["a", "a/b", "a/b/one", "a/copy", "a-b", "empty", "link", "void"]);
    // By the bytes of whole paths: `-` comes before `/`.
    let paths: Vec<String> = scan.paths().map(|entry| entry.path).collect();
    assert_eq!(paths, ["a-b", "a/b/one", "a/copy", "empty", "link"]);
    let one = Digest::of(b"1");
    assert_eq!(scan.paths().nth(1).unwrap().node, PathNode::File { digest: one, size: 1, chunked: false });
    assert_eq!(scan.sources().len(), 3);
    assert_eq!(&*scan.sources()[&one].path, Path::new("a/b/one"));
    assert!(scan.sources()[&one].mtime_seconds > 1_600_000_000);
    assert_eq!(text(&scan, &one), "1");
    assert!(scan.open(&Digest::of(b"other")).unwrap().is_none());
    assert_eq!(scan.nodes().len(), 4);
    for (digest, node) in scan.nodes() {
        assert_eq!(Directory::decode(&node.bytes).unwrap().digest(), *digest);
        assert_eq!(node.mtime_seconds, 0);
    }
    let checked = crate::tree::check(&scan.digest(), &crate::tree::TreeLimits::default(), |digest| {
        Ok::<_, io::Error>(scan.nodes().get(digest).map(|node| node.bytes.to_vec()))
    });
    let checked = checked.unwrap();
    assert_eq!((checked.files, checked.bytes, checked.entries), (4, 4, 8));
    assert_eq!(checked.contents.keys().collect::<Vec<_>>(), scan.sources().keys().collect::<Vec<_>>());
}

/// Bytes without a pattern, the same every time.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761).rotate_left(n % 7) >> 13) as u8).collect()
}

#[test]
fn large_files_are_kept_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let (large, whole) = (noise(5_000_000), noise(MAX_CHUNK));
    for (path, content) in [("d/large", &large), ("e/again", &large), ("whole", &whole)] {
        write(dir.path(), path, "");
        fs::write(dir.path().join(path), content).unwrap();
    }
    let seconds = |path: &str, seconds: u64| {
        let file = File::options().write(true).open(dir.path().join(path)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    seconds("d/large", 2_000);
    seconds("e/again", 1_000);
    let scan = scan_all(dir.path());
    assert_eq!(scan.totals().bytes, 10_000_000 + u64::from(MAX_CHUNK));
    let nodes: Vec<PathNode> = scan.paths().map(|entry| entry.node).collect();
    let PathNode::File { digest: list, size: 5_000_000, chunked: true } = nodes[0] else { panic!("{nodes:?}") };
    assert_eq!(nodes[1], nodes[0]);
    assert!(matches!(nodes[2], PathNode::File { digest, chunked: false, .. } if digest == Digest::of(&whole)));
    assert_eq!(scan.nodes()[&list].mtime_seconds, 1_000);
    let list = ChunkList::decode(&scan.nodes()[&list].bytes, 5_000_000).unwrap();
    assert_eq!(scan.sources().len(), list.chunks().len() + 1);
    let (mut all, mut bytes) = (Vec::<u8>::new(), Vec::new());
    for chunk in list.chunks() {
        let source = &scan.sources()[&chunk.digest];
        assert_eq!((&*source.path, source.mtime_seconds), (Path::new("d/large"), 2_000));
        assert_eq!((source.offset, source.size), (all.len() as u64, chunk.size.into()));
        bytes.clear();
        scan.open(&chunk.digest).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(Digest::of(&bytes), chunk.digest);
        all.extend(&bytes);
    }
    assert_eq!(all, large);
    let entries: Vec<PathEntry> = scan.paths().collect();
    assert_eq!(scan.whole_digest(&entries[0]).unwrap(), Some(Digest::of(&large)));
    let checked = crate::tree::check(&scan.digest(), &crate::tree::TreeLimits::default(), |digest| {
        Ok::<_, io::Error>(scan.nodes().get(digest).map(|node| node.bytes.to_vec()))
    });
    let sources: BTreeMap<Digest, u64> = scan.sources().iter().map(|(digest, source)| (*digest, source.size)).collect();
    assert_eq!(checked.unwrap().contents, sources);

    // What has another size is not opened; what has other bytes is for the reader to see.
    fs::write(dir.path().join("whole"), "less").unwrap();
    assert!(matches!(scan.open(&Digest::of(&whole)), Err(WalkError::Changed { .. })));
    fs::write(dir.path().join("d/large"), &large[1..]).unwrap();
    assert!(matches!(scan.whole_digest(&entries[0]), Err(WalkError::Changed { .. })));
}

#[test]
fn what_dominates_and_looks_unintended_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "src/main", "x");
    write(dir.path(), "web/node_modules/a/dist/x", "");
    let sparse = |path: &str, size: u64| {
        write(dir.path(), path, "");
        File::options().write(true).open(dir.path().join(path)).unwrap().set_len(size).unwrap();
    };
    let warnings = |rules: &str| {
        let rules = Rules::from_text(Path::new("the/rules"), rules.as_bytes()).unwrap();
        let scan = scan(dir.path(), &rules, &ScanOptions::default()).unwrap();
        scan.warnings().iter().map(Warning::to_string).collect::<Vec<_>>()
    };
    sparse("web/node_modules/a/dist/x", 9_999_999);
    assert_eq!(warnings(""), [""; 0]);
    sparse("web/node_modules/a/dist/x", 10_000_000);
    let text =
        "`web/node_modules` is 10 MB, 99% of what is sent; if that isn't meant, add the line `web/node_modules` to";
    assert_eq!(warnings(""), [format!("{text} the ignore file")]);
    assert_eq!(warnings("web/node_modules"), [""; 0]);
    sparse("src/data", 10_000_001);
    assert_eq!(warnings(""), [""; 0]);
    sparse("core.1234", 30_000_000);
    assert!(warnings("")[0].starts_with("`core.1234` is 30 MB, 59% "), "{:?}", warnings(""));
    let loaded = Rules::docker(dir.path(), &dir.path().join("Dockerfile")).unwrap();
    let scanned = scan(dir.path(), &loaded, &ScanOptions::default()).unwrap();
    assert!(
        scanned.warnings()[0].to_string().ends_with(&format!("to `{}`", dir.path().join(".dockerignore").display()))
    );
    for name in ["core", "core.1", "x.log", "disk.iso"] {
        assert!(suspects::is_unintended_file(name), "{name}");
    }
    for name in ["core.c", "core.", "score", "log", "a.rs"] {
        assert!(!suspects::is_unintended_file(name), "{name}");
    }
}

#[test]
fn what_is_asked_for_by_name_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["dist/app/x", "dist/node_modules/y", "web/node_modules/y", "big.log"] {
        write(dir.path(), path, "");
        File::options().write(true).open(dir.path().join(path)).unwrap().set_len(12_000_000).unwrap();
    }
    symlink("dist", dir.path().join("current")).unwrap();
    let warned = |only: &[&str]| {
        let only = only.iter().map(|path| (*path).to_owned()).collect();
        let scan = scan(dir.path(), &Rules::none(), &ScanOptions { only, ..ScanOptions::default() }).unwrap();
        let named = scan.warnings().iter().map(|warning| match warning {
            Warning::Dominant { path, .. } => path.clone(),
            other => panic!("{other}"),
        });
        named.collect::<Vec<_>>()
    };
    for meant in ["dist", "dist/app", "dist/app/x", "dist/*", "dist/a*", "current", "web/node_modules", "big.log"] {
        assert_eq!(warned(&[meant]), [""; 0], "{meant}");
    }
    assert_eq!(warned(&["web/node_modules/y"]), [""; 0]);
    for not_meant in ["web", "web/*", "we?"] {
        assert_eq!(warned(&[not_meant]), ["web/node_modules"], "{not_meant}");
    }
}

#[test]
fn every_kind_of_what_looks_unintended_is_named() {
    for (path, named) in [
        (".git/objects/pack/x", ".git"),
        ("web/node_modules/a/dist/x", "web/node_modules"),
        ("target/debug/x", "target"),
        ("core", "core"),
        ("a/core.77", "a/core.77"),
        ("heap.hprof", "heap.hprof"),
        // Too deep to be meant as such.
        ("a/b/c/d/target/x", ""),
        ("src/x", ""),
        ("targets/x", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "main", "x");
        write(dir.path(), path, "");
        File::options().write(true).open(dir.path().join(path)).unwrap().set_len(11_000_000).unwrap();
        let scan = scan_all(dir.path());
        let found: Vec<_> = scan.warnings().iter().map(Warning::place).collect();
        assert_eq!(found, if named.is_empty() { vec![] } else { vec![named] }, "{path}");
    }
}

#[test]
fn the_digest_depends_on_content_names_and_modes_only() {
    let make = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "d/x", "x");
        write(dir.path(), "y", "y");
        change(dir.path());
        scan_all(dir.path()).digest()
    };
    let plain = make(&|_| {});
    let old = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(plain, make(&|root| File::open(root.join("y")).unwrap().set_modified(old).unwrap()));
    let changes: [&dyn Fn(&Path); 5] = [
        &|root| write(root, "y", "z"),
        &|root| write(root, "z", "y"),
        &|root| fs::rename(root.join("d/x"), root.join("d/w")).unwrap(),
        &|root| fs::set_permissions(root.join("y"), fs::Permissions::from_mode(0o755)).unwrap(),
        &|root| fs::create_dir(root.join("e")).unwrap(),
    ];
    for change in changes {
        assert_ne!(plain, make(change));
    }
}

#[test]
fn many_files_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..300 {
        write(dir.path(), &format!("d{}/f{at}", at % 7), &at.to_string());
    }
    let digests = [1, 2, 8].map(|threads| {
        let scan = scan(dir.path(), &Rules::none(), &ScanOptions { threads: Some(threads), ..ScanOptions::default() })
            .unwrap();
        assert_eq!(scan.sources().len(), 300);
        scan.digest()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(scan_all(empty.path()).digest(), Directory::default().digest());
}

#[test]
fn what_vanishes_before_it_is_hashed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", "x");
    let root = Root::open(dir.path()).unwrap();
    let directory = root.open_directory(Path::new("")).unwrap();
    let mut reader = hash::ContentReader::default();
    let mut read = |name: &str| reader.read(&root, directory.as_fd(), Path::new(name));
    assert_eq!(read("a").unwrap().digest, Digest::of(b"x"));
    assert!(matches!(read("b").unwrap_err(), WalkError::Vanished { path } if path == dir.path().join("b")));
    fs::create_dir(dir.path().join("b")).unwrap();
    assert!(matches!(read("b").unwrap_err(), WalkError::Changed { path } if path == dir.path().join("b")));
}

#[test]
fn what_vanishes_during_a_scan_is_not_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (root, aside) = (dir.path().join("root"), dir.path().join("aside"));
    fs::create_dir(&aside).unwrap();
    for number in 0..50 {
        write(&root, &format!("d/stays-{number:02}"), "x");
        // Under names that nothing else gets, for a file doesn't become a directory here.
        write(&aside, &format!("file-{number:02}"), "y");
        write(&aside, &format!("directory-{number:02}/in/it"), "z");
        symlink("x", aside.join(format!("link-{number:02}"))).unwrap();
    }
    let names: Vec<_> = fs::read_dir(&aside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let scans: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (from, to) in [(&aside, root.join("d")), (&root.join("d"), aside.clone())] {
                    for name in &names {
                        fs::rename(from.join(name), to.join(name)).unwrap();
                    }
                }
            }
        });
        let options = |number: usize| ScanOptions { threads: Some(1 + number % 3), ..ScanOptions::default() };
        let scans = (0..100).map(|number| scan(&root, &Rules::none(), &options(number))).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        scans
    });
    for scan in scans {
        // Renamed while it was read, and once more the second time.
        let scan = match scan {
            Err(WalkError::Changed { .. }) => continue,
            scan => scan.unwrap(),
        };
        assert_eq!(scan.paths().filter(|entry| entry.path.starts_with("d/stays-")).count(), 50);
        walked(&scan, &Filter::default());
    }
}

#[test]
fn a_dockerfile_and_its_ignore_file() {
    let dir = tempfile::tempdir().unwrap();
    let dockerfile = dir.path().join("Dockerfile");
    let error = scan_dockerfile(&dockerfile).unwrap_err();
    assert_eq!(error.to_string(), format!("read `{}`", dockerfile.display()));
    write(dir.path(), "dockerfile", "FROM lower");
    let paths = |scan: &Scan| scan.paths().map(|entry| entry.path).collect::<Vec<_>>();
    assert_eq!(paths(&scan_dockerfile(&dockerfile).unwrap()), ["dockerfile"]);
    write(dir.path(), "real", "FROM scratch");
    symlink("real", &dockerfile).unwrap();
    for name in [".dockerignore", "Dockerfile.dockerignore"] {
        write(dir.path(), name, "x");
    }
    let scan = scan_dockerfile(&dockerfile).unwrap();
    assert_eq!(paths(&scan), ["Dockerfile", "Dockerfile.dockerignore"]);
    assert_eq!(text(&scan, &Digest::of(b"FROM scratch")), "FROM scratch");
    assert_eq!(walked(&scan, &Filter::default()), paths(&scan));
    fs::remove_file(&dockerfile).unwrap();
    fs::create_dir(&dockerfile).unwrap();
    // No file is in its place.
    assert_eq!(paths(&scan_dockerfile(&dockerfile).unwrap()), ["Dockerfile.dockerignore", "dockerfile"]);
    assert_eq!(find_dockerfile(&dockerfile), Some(dir.path().join("dockerfile")));
    fs::remove_file(dir.path().join("dockerfile")).unwrap();
    assert_eq!(find_dockerfile(&dockerfile), None);
    assert!(scan_dockerfile(&dockerfile).is_err());
}

/// What `BuildKit` would see if it read the ignore file from what we send.
fn as_buildkit(scan: &Scan) -> Vec<String> {
    let ignore = scan.paths().find_map(|entry| match &entry.node {
        PathNode::File { digest, .. } if entry.path == ".dockerignore" => Some(text(scan, digest)),
        _ => None,
    });
    let lines = crate::ignorefile::parse(ignore.unwrap_or_default().as_bytes()).unwrap();
    let request = FilterRequest {
        exclude_patterns: lines.into_iter().map(|line| line.pattern).collect(),
        ..FilterRequest::default()
    };
    walked(scan, &request.resolve(&scan.tree()).unwrap())
}

#[test]
fn ignore_rules_applied_twice_are_applied_once() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a/x", "a/y/z", "b/x", "b/keep/x", "c", "Dockerfile"] {
        write(dir.path(), path, path);
    }
    for rules in ["", "a", "*", "**\n!b/keep", "a\n!a/y/z", "b\n!b/keep\nb/keep/x", ".dockerignore\na", "**/x\n!.d*"] {
        write(dir.path(), ".dockerignore", rules);
        let whole = scan_all(dir.path());
        let loaded = Rules::docker(dir.path(), &dir.path().join("Dockerfile")).unwrap();
        let ours = scan(dir.path(), &loaded, &ScanOptions::default()).unwrap();
        // BuildKit alone, over everything; what we send; and BuildKit over what we send.
        let expected = as_buildkit(&whole);
        assert_eq!(walked(&ours, &Filter::default()), expected, "{rules:?}");
        assert_eq!(as_buildkit(&ours), expected, "{rules:?}");
    }
}

/// Root may do everything: runs a test once more as nobody, from where nobody may read.
pub(super) fn again_as_nobody(test: &str) {
    use std::os::unix::process::CommandExt as _;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut again = std::process::Command::new(program);
    again.args(["--exact", test]).uid(65534).gid(65534).current_dir("/");
    let answer = again.output().unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn unreadable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", "x");
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(dir.path().join("secret")).is_ok() {
        return again_as_nobody("snapshot::tests::unreadable_files_are_named");
    }
    let error = scan(dir.path(), &Rules::none(), &ScanOptions::default()).unwrap_err();
    let path: PathBuf = dir.path().join("secret");
    assert_eq!(error.to_string(), format!("read `{}`", path.display()));
    let rules = Rules::from_text(Path::new("r"), b"secret").unwrap();
    assert!(scan(dir.path(), &rules, &ScanOptions::default()).is_ok());
}

/// What a tree for a test is made of: paths, and what is there.
#[derive(Debug, Clone)]
enum Made {
    File(u8),
    Directory,
    Symlink(String),
    Fifo,
}

fn any_tree() -> impl Strategy<Value = Vec<(String, Made)>> {
    let made = prop_oneof![
        4 => any::<u8>().prop_map(Made::File),
        1 => Just(Made::Directory),
        2 => "(/|\\.\\./)?[a-c*](/[a-c]){0,2}".prop_map(Made::Symlink),
        1 => Just(Made::Fifo),
    ];
    prop::collection::vec(("[a-c](/[a-c]|/\\.x|/b-){0,3}", made), 0..24)
}

fn make(root: &Path, tree: &[(String, Made)]) {
    for (path, made) in tree {
        let path = root.join(path);
        // What is there already stays.
        if fs::symlink_metadata(&path).is_ok() || fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        match made {
            Made::File(byte) => drop(fs::write(&path, vec![*byte; usize::from(*byte) * 7])),
            Made::Directory => drop(fs::create_dir(&path)),
            Made::Symlink(target) => drop(symlink(target, &path)),
            Made::Fifo => {
                let _ = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0);
            }
        }
    }
}

fn any_rules() -> impl Strategy<Value = String> {
    prop::collection::vec("!?(\\*\\*/)?[a-c*](/[a-c*]){0,2}", 0..4).prop_map(|lines| lines.join("\n"))
}

fn entries(scan: &Scan, filter: &Filter) -> Vec<TreeEntry> {
    let tree = scan.tree();
    let all = TreeWalk::new(&tree, filter, 10_000).unwrap().map(Result::unwrap);
    // A directory's digest is of what is in it, and says nothing that the rest of the list doesn't.
    let nameless = |mut entry: TreeEntry| {
        if let crate::Node::Directory { digest } = &mut entry.entry.node {
            *digest = Digest::of(b"");
        }
        entry
    };
    all.map(nameless).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn several_threads_find_what_one_loop_finds(tree in any_tree(), rules in any_rules()) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &tree);
        let rules = Rules::from_text(Path::new("rules"), rules.as_bytes()).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut walk = Walk::new(&root, &rules).unwrap();
        let expected: Vec<Found> = walk.by_ref().map(Result::unwrap).collect();
        for threads in [1, 4] {
            let options = ScanOptions { threads: Some(threads), ..ScanOptions::default() };
            let scan = scan(dir.path(), &rules, &options).unwrap();
            let found: Vec<Found> = entries(&scan, &Filter::default())
                .into_iter()
                .map(|TreeEntry { path, entry }| {
                    let kind = match entry.node {
                        crate::Node::File { digest, size, .. } => {
                            assert_eq!(digest, Digest::of(&fs::read(dir.path().join(&path)).unwrap()));
                            FoundKind::File { size }
                        }
                        crate::Node::Directory { .. } => FoundKind::Directory,
                        crate::Node::Symlink { target } => FoundKind::Symlink { target },
                    };
                    Found { path, mode: entry.mode, kind }
                })
                .collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(scan.totals().files + scan.totals().directories + scan.totals().symlinks, found.len() as u64);
            prop_assert_eq!(scan.nodes().contains_key(&Directory::default().digest()), {
                let empty = |path: &str| !found.iter().any(|other| other.path.starts_with(path));
                found.is_empty()
                    || found.iter().any(|f| f.kind == FoundKind::Directory && empty(&format!("{}/", f.path)))
            });
        }
        let scan = scan(dir.path(), &rules, &ScanOptions::default()).unwrap();
        prop_assert_eq!(scan.warnings(), walk.take_warnings());
    }

    #[test]
    fn narrowing_is_filtering_the_complete_snapshot(
        tree in any_tree(),
        rules in any_rules(),
        only in prop::collection::vec("!?/?[a-c*.](/[a-c*?]){0,3}", 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &tree);
        let rules = Rules::from_text(Path::new("rules"), rules.as_bytes()).unwrap();
        let whole = scan(dir.path(), &rules, &ScanOptions::default()).unwrap();
        let request = FilterRequest { follow_paths: only.clone(), ..FilterRequest::default() };
        let narrowed = scan(dir.path(), &rules, &ScanOptions { only, ..ScanOptions::default() }).unwrap();
        let asked = |scan: &Scan| request.resolve(&scan.tree()).ok().map(|filter| (entries(scan, &filter), filter));
        // What BuildKit asks for is there, and is the same.
        prop_assert_eq!(asked(&narrowed).map(|(entries, _)| entries), asked(&whole).map(|(entries, _)| entries));
        // Names that start with `!` become exceptions, or bad patterns, for which nothing is narrowed.
        match asked(&whole) {
            Some((wanted, filter)) if !filter.has_include_exceptions() => {
                prop_assert_eq!(entries(&narrowed, &Filter::default()), wanted);
            }
            _ => prop_assert_eq!(narrowed.digest(), whole.digest()),
        }
    }
}

#[test]
fn what_is_not_asked_for_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["app/main", "shared/lib/x", "other/y"] {
        write(dir.path(), path, path);
    }
    symlink("../shared/lib", dir.path().join("app/lib")).unwrap();
    let narrowed = |only: &[&str]| {
        let only = only.iter().map(|path| (*path).to_owned()).collect();
        let scan = scan(dir.path(), &Rules::none(), &ScanOptions { only, ..ScanOptions::default() });
        scan.map(|scan| walked(&scan, &Filter::default()))
    };
    // Nothing but a look at it would find that it can't be in a snapshot.
    fs::write(dir.path().join("other").join(std::ffi::OsStr::from_bytes(b"\xFF")), "x").unwrap();
    assert!(matches!(narrowed(&[]), Err(WalkError::Name { .. })));
    assert_eq!(narrowed(&["app/main"]).unwrap(), ["app", "app/main"]);
    assert_eq!(narrowed(&["app/lib/x"]).unwrap(), ["app", "app/lib", "shared", "shared/lib", "shared/lib/x"]);
    assert_eq!(narrowed(&["gone"]).unwrap(), [""; 0]);
}
