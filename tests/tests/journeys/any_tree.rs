//! Any tree comes out of a build as the engine's own client builds it from the same folder, times aside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use slipway_journeys::{Project, Service, image, peer};

/// Each costs two builds and a pull; `PROPTEST_CASES` asks for more.
const CASES: u32 = 16;

#[derive(Debug, Clone)]
enum Node {
    /// Length and mode; the bytes come from the path.
    File(usize, u32),
    Directory(u32),
    Symlink(String),
}

fn name() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just(" ".to_owned()),
        Just("new\nline".to_owned()),
        Just("\t".to_owned()),
        Just("ünï 日本 🚢".to_owned()),
        Just("e\u{301}".to_owned()),
        Just("-rf".to_owned()),
        Just("a\\b".to_owned()),
        Just("*?[x]".to_owned()),
        Just("%2e".to_owned()),
        Just("...".to_owned()),
        Just("x".repeat(255)),
    ];
    // Archives of layers give meaning to names that begin with .wh.
    let any = "[^/\\x00]{1,12}".prop_filter("a name", |name| {
        ![".", ".."].contains(&name.as_str()) && !name.starts_with(".wh.") && name.len() <= 255
    });
    prop_oneof![4 => "[a-c]{1,2}", 2 => odd, 1 => any]
}

fn node() -> impl Strategy<Value = Node> {
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o4755), Just(0o2711), Just(0o600), Just(0o444), Just(0o777)];
    let folder = prop_oneof![Just(0o755), Just(0o1777), Just(0o2775), Just(0o700)];
    let length = prop_oneof![4 => 0_usize..3, 4 => 3_usize..5000, 1 => Just(3 << 20), 1 => Just((2 << 20) + 1)];
    let target = prop_oneof![
        Just("a".to_owned()),
        Just("../a/b".to_owned()),
        Just("/etc/passwd".to_owned()),
        Just("../../../../outside".to_owned()),
        Just(".".to_owned()),
        Just("no where\n".to_owned()),
    ];
    prop_oneof![
        5 => (length, mode).prop_map(|(length, mode)| Node::File(length, mode)),
        2 => folder.prop_map(Node::Directory),
        2 => target.prop_map(Node::Symlink),
    ]
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Node>> {
    let path = prop::collection::vec(name(), 1..5).prop_map(|names| names.join("/"));
    prop::collection::btree_map(path, node(), 0..25)
}

/// Puts a tree on disk; what is below a file or a symlink has no place.
fn write(app: &Project, tree: &BTreeMap<String, Node>) {
    let mut modes = Vec::new();
    for (path, node) in tree {
        let target = app.path().join("in").join(path);
        let above = target.ancestors().skip(1).take_while(|above| *above != app.path());
        let blocked = above.map(fs::symlink_metadata).any(|found| found.is_ok_and(|found| !found.is_dir()));
        if blocked || fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match node {
            Node::File(length, mode) => {
                let bytes: Vec<u8> =
                    path.bytes().cycle().zip(0_u32..).map(|(a, b)| a ^ (b >> 9) as u8).take(*length).collect();
                fs::write(&target, bytes).unwrap();
                modes.push((target, *mode));
            }
            Node::Directory(mode) => {
                fs::create_dir_all(&target).unwrap();
                modes.push((target, *mode));
            }
            Node::Symlink(to) => std::os::unix::fs::symlink(to, &target).unwrap(),
        }
    }
    for (path, mode) in modes {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn fixed() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

#[test]
fn any_tree_is_built_as_the_engines_own_client_builds_it() {
    let service = Service::shared();
    let team = service.team();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    // The same trees each time, unless more are asked for.
    let random = std::env::var_os("PROPTEST_CASES").is_some();
    let mut runner = if random { TestRunner::new(config) } else { TestRunner::new_with_rng(config, fixed()) };
    let result = runner.run(&tree(), |tree| {
        let app = team.project();
        app.manifest("build:\n  app:\n    context: in\n    dockerfile: ../Dockerfile\n")
            .file("Dockerfile", "FROM scratch\nCOPY . /\n");
        fs::create_dir_all(app.path().join("in")).unwrap();
        write(&app, &tree);
        // COPY of an empty context is an error of its own.
        app.file("in/there is always one", "");
        let ours = image::pull(&app.team, &app.build_app()).files;
        fs::copy(app.path().join("Dockerfile"), app.path().join("in/Dockerfile")).unwrap();
        fs::write(app.path().join("in/Dockerfile.dockerignore"), "/Dockerfile\n/Dockerfile.dockerignore\n").unwrap();
        let theirs = peer::build(&app.path().join("in"), "Dockerfile");
        prop_assert_eq!(ours, theirs);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
