use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use super::serial::{Found, FoundKind, Walk};
use super::*;
use crate::{Rules, Warning};

fn walk(root: &Path, rules: &str) -> Result<(Vec<Found>, Vec<Warning>), WalkError> {
    let rules = Rules::from_text(Path::new("rules"), rules.as_bytes())?;
    let root = Root::open(root)?;
    let mut walk = Walk::new(&root, &rules)?;
    let found = walk.by_ref().collect::<Result<_, _>>()?;
    Ok((found, walk.take_warnings()))
}

fn paths(root: &Path, rules: &str) -> Vec<String> {
    walk(root, rules).unwrap().0.into_iter().map(|found| found.path).collect()
}

fn error(root: &Path, rules: &str) -> WalkError {
    walk(root, rules).unwrap_err()
}

fn write(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn order_and_late_parents() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a/x", "a/b/y", "a-b", "a.b", "B", "é", "z/empty/.keep"] {
        write(dir.path(), path);
    }
    fs::create_dir(dir.path().join("void")).unwrap();
    assert_eq!(
        paths(dir.path(), ""),
        ["B", "a", "a/b", "a/b/y", "a/x", "a-b", "a.b", "void", "z", "z/empty", "z/empty/.keep", "é"]
    );
    assert_eq!(paths(dir.path(), "*\n!a/b/y"), ["a", "a/b", "a/b/y"]);
    assert_eq!(paths(dir.path(), "*\n!**/y"), ["a", "a/b", "a/b/y"]);
    assert_eq!(paths(dir.path(), "*\n!void"), ["void"]);
    assert_eq!(paths(dir.path(), "**"), [""; 0]);
}

#[test]
fn links_are_recorded_and_modes_kept() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "real/file");
    fs::set_permissions(dir.path().join("real/file"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(dir.path().join("real"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    symlink("/nowhere/../x", dir.path().join("out")).unwrap();
    fs::hard_link(dir.path().join("real/file"), dir.path().join("hard")).unwrap();
    let target = |target: &str| FoundKind::Symlink { target: target.to_owned() };
    let found = |path: &str, mode, kind| Found { path: path.to_owned(), mode, kind };
    let expected = [
        found("hard", 0o4750, FoundKind::File { size: 1 }),
        found("link", 0o777, target("real")),
        found("out", 0o777, target("/nowhere/../x")),
        found("real", 0o1777, FoundKind::Directory),
        found("real/file", 0o4750, FoundKind::File { size: 1 }),
    ];
    assert_eq!(walk(dir.path(), "").unwrap().0, expected);
    // The root itself may be a link.
    assert_eq!(paths(&dir.path().join("link"), ""), ["file"]);
}

#[test]
fn special_files_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "d/file");
    let _listener = UnixListener::bind(dir.path().join("d/socket")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), fifo, 0o600.into(), 0).unwrap();
    let (found, warnings) = walk(dir.path(), "").unwrap();
    assert_eq!(found.into_iter().map(|found| found.path).collect::<Vec<_>>(), ["d", "d/file"]);
    let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(texts, ["skipped socket `d/socket`", "skipped fifo `fifo`"]);
    // Not worth a word when they are ignored; a directory isn't emitted for their sake.
    assert_eq!(walk(dir.path(), "**\n!d/socket").unwrap().0, []);
    assert_eq!(walk(dir.path(), "fifo\nd").unwrap().1, []);
}

#[test]
fn what_a_context_cant_hold_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let strange = OsStr::from_bytes(b"caf\xE9");
    fs::write(dir.path().join(strange), "x").unwrap();
    assert!(matches!(error(dir.path(), ""), WalkError::Name { path } if path.ends_with(strange)));
    assert_eq!(error(dir.path(), "").to_string(), format!("the name of {:?} is not UTF-8", dir.path().join(strange)));
    // Ignored, it may be what it likes.
    assert_eq!(paths(dir.path(), "caf?"), [""; 0]);
    fs::remove_file(dir.path().join(strange)).unwrap();

    fs::create_dir(dir.path().join(strange)).unwrap();
    write(dir.path(), "ok");
    fs::write(dir.path().join(strange).join("child"), "x").unwrap();
    assert!(matches!(error(dir.path(), "caf*\n!caf*/child"), WalkError::Name { .. }));
    fs::remove_dir_all(dir.path().join(strange)).unwrap();

    symlink(strange, dir.path().join("link")).unwrap();
    assert!(matches!(error(dir.path(), ""), WalkError::Target { path } if path.ends_with("link")));
    assert_eq!(paths(dir.path(), "link"), ["ok"]);

    assert!(matches!(error(&dir.path().join("ok"), ""), WalkError::Root { .. }));
    assert!(matches!(error(&dir.path().join("gone"), ""), WalkError::Root { .. }));
    assert!(matches!(error(dir.path(), "[z-a]"), WalkError::Rules(RulesError::Pattern { line: 1, .. })));
}

#[test]
fn too_long_a_path_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let mut at = root.open_directory(Path::new("")).unwrap();
    let name = "d".repeat(250);
    for _ in 0..17 {
        rustix::fs::mkdirat(&at, &name, 0o755.into()).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap();
    }
    assert!(matches!(error(dir.path(), ""), WalkError::TooLong { what: "path", .. }));
    assert_eq!(paths(dir.path(), "d*"), [""; 0]);
}

#[test]
fn what_is_gone_or_replaced_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a", "d/x"] {
        write(dir.path(), path);
    }
    let root = Root::open(dir.path()).unwrap();
    let rules = Rules::none();
    let mut walk = Walk::new(&root, &rules).unwrap();
    assert_eq!(walk.next().unwrap().unwrap().path, "a");
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    assert_eq!(walk.next().unwrap().unwrap_err().to_string(), {
        format!("`{}` vanished while the context was read", dir.path().join("d").display())
    });
    assert!(walk.next().is_none());

    write(dir.path(), "d/x");
    let mut walk = Walk::new(&root, &rules).unwrap();
    walk.next();
    fs::remove_dir_all(dir.path().join("d")).unwrap();
    symlink("/etc", dir.path().join("d")).unwrap();
    assert!(matches!(walk.next(), Some(Err(WalkError::Changed { path })) if path.ends_with("d")));
}

#[test]
fn nothing_is_opened_outside() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/file");
    write(dir.path(), "outside/file");
    symlink("../outside", dir.path().join("in/link")).unwrap();
    symlink("../outside/file", dir.path().join("in/filelink")).unwrap();
    let root = Root::open(&dir.path().join("in")).unwrap();
    assert!(root.open_file(Path::new("file")).is_ok());
    for path in ["link/file", "filelink"] {
        assert!(matches!(root.open_file(Path::new(path)), Err(WalkError::Changed { .. })), "{path}");
    }
    for path in ["../outside/file", "/etc/passwd", "..", "", "x/../../outside/file"] {
        let result = root.open_file(Path::new(path));
        assert!(matches!(result, Err(WalkError::Escapes { .. } | WalkError::Vanished { .. })), "{path}: {result:?}");
    }
}
