//! What git says of a project, in its plans.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A printed plan; the environment is this.
fn plan(dir: &Path, command: &str, env: &[(&str, &str)]) -> Value {
    let mut slipway = Command::new(env!("CARGO_BIN_EXE_slipway"));
    slipway.current_dir(dir).env_clear().env("HOME", dir.join("../home")).envs(env.iter().copied());
    let output = slipway.args([command, "--print"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn branch_commit_and_repository_are_those_of_the_work_tree() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("p");
    fs::create_dir(&dir).unwrap();
    let manifest = "build:\n  app:\n    context: .\n    args: {COMMIT: $OKTETO_GIT_COMMIT}\ndeploy: [x]\n";
    for (path, text) in [("okteto.yaml", manifest), ("Dockerfile", "FROM scratch\n"), ("a", "1")] {
        fs::write(dir.join(path), text).unwrap();
    }
    let commit = |env: &[(&str, &str)]| plan(&dir, "build", env)["services"][0]["args"]["COMMIT"].clone();
    assert_eq!(commit(&[]), "", "no repository");

    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["remote", "add", "origin", "git@git.example:me/shop.git"]);
    git(&dir, &["add", "."]);
    git(&dir, &["commit", "-q", "-m", "one"]);
    let sha = git(&dir, &["rev-parse", "HEAD"]);
    assert_eq!(commit(&[]), sha.as_str());
    assert_eq!(commit(&[("OKTETO_GIT_COMMIT", "of CI")]), "of CI");
    assert_eq!(commit(&[("OKTETO_GIT_COMMIT", "")]), sha.as_str());
    let env = plan(&dir, "deploy", &[("OKTETO_GIT_BRANCH", "of-ci"), ("OTHER", "x")])["commands"][0]["env"].clone();
    let expected = serde_json::json!({
        "GITHUB_REPOSITORY": "https://git.example/me/shop.git", "OKTETO_GIT_BRANCH": "of-ci", "OKTETO_GIT_COMMIT": sha,
    });
    assert_eq!(env, expected);

    // Changes are named by what they are: the same ones the same, wherever and whenever.
    let dirty = |text: &str| {
        fs::write(dir.join("a"), text).unwrap();
        commit(&[]).as_str().unwrap().to_owned()
    };
    let (two, three) = (dirty("2"), dirty("3"));
    assert!(two != three && dirty("2") == two, "{two} {three}");
    let digest = two.strip_prefix(&format!("{sha}-dirty-")).unwrap();
    assert!(digest.len() == 8 && digest.bytes().all(|digit| digit.is_ascii_hexdigit()), "{two}");
    assert_eq!(plan(&dir, "deploy", &[])["commands"][0]["env"]["OKTETO_GIT_COMMIT"], two.as_str());
    assert_eq!(dirty("1"), sha);
    fs::write(dir.join("untracked"), "").unwrap();
    assert!(commit(&[]).as_str().unwrap().contains("-dirty-"));
}
