//! What of a folder arrives: ignore rules, modes, links, names.

use slipway_journeys::files::{Node, Tree, paths, under};
use slipway_journeys::{Project, Run, Service, image, peer};
use std::os::unix::ffi::OsStrExt as _;

/// Rules with everything that can go wrong in them.
const RULES: &str = "\u{feff}# a comment\n\n  node_modules  \n**/*.log\n!important/keep.log\n/rooted.txt\ndocs/\n!docs/README.md\n\
    a?c.txt\n[x-z]*.tmp\nvendor/*\n!vendor/keep\nvendor/keep/no.bin\n**/cache/**\n!**/cache/ok\n./dotted/x\ntrailing/ \nab\\*c\n*/deep.txt\r\n";

const FILES: &[&str] = &[
    "a.txt",
    "abc.txt",
    "abbc.txt",
    "sub/abc.txt",
    "x1.tmp",
    "w1.tmp",
    "sub/x1.tmp",
    "rooted.txt",
    "sub/rooted.txt",
    "node_modules/p/index.js",
    "sub/node_modules/q.js",
    "one.log",
    "important/keep.log",
    "important/other.log",
    "docs/README.md",
    "docs/other.md",
    "docs/in/README.md",
    "vendor/a/x",
    "vendor/keep/yes.bin",
    "vendor/keep/no.bin",
    "s/cache/a",
    "s/cache/ok",
    "s/cache/b/ok",
    "cache/ok",
    "dotted/x",
    "dotted/y",
    "trailing/t",
    "ab*c",
    "abXc",
    "deep.txt",
    "sub/deep.txt",
    "sub/sub/deep.txt",
    "with space.txt",
    "ünïcode/ñ.txt",
    "#hash",
    "!bang",
    "-dash",
];

fn fill(app: &Project) {
    for path in FILES {
        app.file(path, format!("this is {path}"));
    }
}

fn built(app: &Project) -> Tree {
    image::pull(&app.team, &app.build_app()).files
}

fn listed(run: &Run) -> Vec<String> {
    run.out().lines().map(str::to_owned).collect()
}

#[test]
fn dockerignore_means_what_it_means_to_docker() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY . /src\n").file(".dockerignore", RULES);
    fill(&app);
    let (ours, theirs) = (built(&app), peer::build(&app.path(), "Dockerfile"));
    assert_eq!(paths(&ours), paths(&theirs));
    assert_eq!(under(&ours, "src"), under(&theirs, "src"), "modes, owners and contents as well");
    assert!(ours.contains_key("src/docs/README.md") && !ours.contains_key("src/docs/other.md"));

    // What the CLI says it sends is what is there.
    let inside = under(&ours, "src");
    assert_eq!(listed(&app.slipway(["files"]).ok()), paths(&inside));
    assert_eq!(listed(&app.slipway(["files", "--for", "build:app"]).ok()), paths(&inside));
}

#[test]
fn a_dockerfile_may_have_an_ignore_file_of_its_own() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("build:\n  app:\n    context: .\n    dockerfile: docker/App.Dockerfile\n")
        .file("docker/App.Dockerfile", "FROM scratch\nCOPY . /src\n")
        .file("docker/App.Dockerfile.dockerignore", "*\n!only\n")
        .file(".dockerignore", "only\n")
        .file("only/this", "x")
        .file("not/that", "x");
    let ours = built(&app);
    assert_eq!(paths(&ours), ["src/only/this"]);
    assert_eq!(ours, peer::build(&app.path(), "docker/App.Dockerfile"));
}

#[test]
fn an_ignored_dockerfile_builds_and_can_not_be_copied() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY . /src\n")
        .file(".dockerignore", "Dockerfile\n.dockerignore\nokteto.yaml\n")
        .file("x", "x");
    assert_eq!(paths(&built(&app)), ["src/x"]);
    app.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["message"].as_str().unwrap().contains("Dockerfile:2"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("slipway files"), "{error}");
}

#[test]
fn modes_links_and_names_arrive_in_images() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY in /src\n").link("in/link", "missing/../target").link("in/dir-link", "modes");
    app.link("in/absolute", "/etc/passwd").file("in/empty", "").file("in/line\nend", "odd").file("in/ \t", "space");
    app.file("in/unï/日本", "wide");
    for mode in [0o4755, 0o2711, 0o600, 0o755, 0o444, 0o000, 0o777] {
        app.file(&format!("in/modes/{mode:04o}"), "m").mode(&format!("in/modes/{mode:04o}"), mode);
    }
    app.file("in/sticky/x", "x").mode("in/sticky", 0o1777);
    std::fs::create_dir(app.path().join("in/hollow")).unwrap();
    let (ours, theirs) = (under(&built(&app), "src"), under(&peer::build(&app.path(), "Dockerfile"), "src"));
    assert_eq!(ours, theirs);
    assert_eq!(ours["modes/4755"].mode, 0o4755);
    assert_eq!(ours["sticky"].mode, 0o1777);
    assert_eq!(ours["absolute"].node, Node::Symlink("/etc/passwd".to_owned()));
    assert_eq!(ours["hollow"].node, Node::Directory);
    assert!(ours.values().all(|entry| entry.owner == (0, 0)));
}

#[test]
fn copies_of_single_files_and_patterns_follow_links_as_docker_does() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY link /a\nCOPY d*/x.* /b/\nCOPY dir-link/x.txt /c/\nCOPY --link run.sh /d/\n")
        .file("d1/x.txt", "one")
        .file("d2/x.md", "two")
        .link("dir-link", "d1")
        .link("link", "d2/x.md")
        .file("run.sh", "#!/bin/sh\n")
        .mode("run.sh", 0o755)
        .file("unused/large", slipway_journeys::random(100_000));
    let run = app.events(&["build"]).ok();
    let ours = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap()).files;
    assert_eq!(ours, peer::build(&app.path(), "Dockerfile"));
    assert!(run.last("build.done")["engine_bytes"].as_u64().unwrap() < 1000, "the engine asks for what is copied only");
}

#[test]
fn oktetoignore_has_sections_and_dockerignore_does_not_count_for_commands() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["find . -type f -o -type l | LC_ALL=C sort"])
        .file(
            ".oktetoignore",
            "*.secret\n[deploy]\nbuild-only\n!keep.secret\n[destroy]\nkeep.txt\n[test.unit]\nrun.sh\n",
        )
        .file(".dockerignore", "keep.txt\n")
        .link("link", "keep.txt");
    for path in ["a.secret", "keep.secret", "build-only/x", "keep.txt", "run.sh"] {
        app.file(path, path);
    }
    let said = app.events(&["deploy"]).ok().said();
    let expected =
        ["./.dockerignore", "./.oktetoignore", "./keep.secret", "./keep.txt", "./link", "./okteto.yaml", "./run.sh"];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let files = listed(&app.slipway(["files", "--for", "deploy"]).ok());
    assert_eq!(files, expected.map(|path| path.trim_start_matches("./").to_owned()));
    let destroy = listed(&app.slipway(["files", "--for", "destroy"]).ok());
    assert!(!destroy.contains(&"keep.txt".to_owned()) && destroy.contains(&"build-only/x".to_owned()), "{destroy:?}");
}

#[test]
fn what_a_context_can_not_hold_is_named() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY . /\n").file("x", "x");
    let _socket = std::os::unix::net::UnixListener::bind(app.path().join("a.sock")).unwrap();
    let run = app.slipway(["build"]).ok();
    assert!(run.stderr.contains("a.sock"), "a socket is skipped with a warning: {}", run.stderr);

    let name = std::ffi::OsStr::from_bytes(b"not-\xff-utf8");
    std::fs::write(app.path().join(name), "x").unwrap();
    let run = app.slipway(["build"]).expect(2);
    assert!(run.stderr.contains("not-"), "{}", run.stderr);
}
