//! The runner image's own manifest, as far as it can be looked at without building it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("runner-image")
}

fn read(name: &str) -> String {
    fs::read_to_string(source().join(name)).unwrap()
}

fn slipway(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    let output = command.current_dir(dir).env_clear().env("HOME", dir).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn one_build_is_for_both_architectures() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let programs = ["slipway/amd64/slipway", "slipway/arm64/slipway", "tools/amd64/cue", "tools/arm64/helm"];
    for program in programs {
        let path = dir.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, program).unwrap();
    }
    let printed = slipway(dir.path(), &["build", "--print", "--platform", "linux/amd64,linux/arm64"]);
    let plan: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(plan["services"][0]["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    let sent = slipway(dir.path(), &["files", "--for", "build:runner"]);
    let expected = [&["dpkg.cfg", "packages.sh", "packages.txt"][..], &programs].concat();
    assert_eq!(sent.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_dockerfile_asks_for_the_targets_architecture_only() {
    let dockerfile = read("Dockerfile");
    let names = ["amd64", "arm64", "x86_64", "aarch64", "uname", "BUILDARCH", "BUILDPLATFORM"];
    for line in dockerfile.lines().filter(|line| !line.starts_with('#') && names.iter().any(|name| line.contains(name)))
    {
        let both = line.contains("packages.sh list amd64 arm64") || line.starts_with("ARG HELM_SHA256_");
        assert!(both || line.starts_with("ARG CUE_SHA256_"), "{line}");
    }
    for tool in ["HELM", "CUE"] {
        assert!(["amd64", "arm64"].iter().all(|name| dockerfile.contains(&format!("\nARG {tool}_SHA256_{name}="))));
    }
}

#[test]
fn every_package_is_pinned_for_both_architectures() {
    let list = read("packages.txt");
    let lines: Vec<_> = list.lines().collect();
    assert!(lines.is_sorted(), "sort it with LC_ALL=C");
    let mut seen = Vec::new();
    for line in &lines {
        let (name, version) = line.split_once('=').unwrap();
        assert!(version.starts_with(|first: char| first.is_ascii_digit()) && !version.contains(' '), "{line}");
        assert!(!seen.contains(&name), "{name} twice");
        seen.push(name);
    }
    let script = read("packages.sh");
    let wanted = script.lines().find_map(|line| line.strip_prefix("WANTED=(")?.strip_suffix(')')).unwrap();
    for name in wanted.split(' ') {
        let pinned = |name: &str| seen.contains(&name);
        let each = || ["amd64", "arm64"].iter().all(|of| pinned(&format!("{name}:{of}")));
        assert!(pinned(name) || each(), "{name} is not in packages.txt");
    }
}
