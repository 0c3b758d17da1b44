use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;
use crate::tree::{Directory, TreeWalk};
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

#[test]
fn unreadable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", "x");
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(dir.path().join("secret")).is_ok() {
        // Root can read everything: the same again as nobody, from where nobody may read.
        use std::os::unix::process::CommandExt as _;
        let program = dir.path().join("tests");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut again = std::process::Command::new(program);
        again.args(["--exact", "snapshot::tests::unreadable_files_are_named"]).uid(65534).gid(65534).current_dir("/");
        let answer = again.output().unwrap();
        let said = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let error = scan(dir.path(), &Rules::none(), &ScanOptions::default()).unwrap_err();
    let path: PathBuf = dir.path().join("secret");
    assert_eq!(error.to_string(), format!("read `{}`", path.display()));
    let rules = Rules::from_text(Path::new("r"), b"secret").unwrap();
    assert!(scan(dir.path(), &rules, &ScanOptions::default()).is_ok());
}
