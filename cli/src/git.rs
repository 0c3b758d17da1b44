//! What git says of the project: branch, commit and where it comes from, for `OKTETO_GIT_BRANCH`, `OKTETO_GIT_COMMIT` and
//! `GITHUB_REPOSITORY`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_context::Section;
use slipway_manifest::git_url::GitUrl;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::environment::{GITHUB_REPOSITORY, OKTETO_GIT_BRANCH, OKTETO_GIT_COMMIT};
use crate::output;
use crate::project::Project;
use crate::roots::{Roots, okteto_rules};

/// How long git may take, as in Okteto.
const DEADLINE: Duration = Duration::from_secs(5);
/// The most bytes of an answer. Of what has changed the first line says enough.
const MAX_ANSWER: u64 = 64 << 10;
/// How many hexadecimal digits of the digest stand for changes that are in no commit.
const DIRTY_DIGITS: usize = 8;

/// What git knows of a folder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    branch: Option<String>,
    commit: Option<String>,
    /// Something is in no commit.
    dirty: bool,
}

/// What is wanted of git for this project, where nothing else says it; only what the manifest names, unless there are commands.
pub(crate) async fn variables(project: &Project, commands: bool) -> Vec<(String, String)> {
    let wanted = |name: &&str| {
        let mentioned = commands || project.manifest.source.contains(name);
        mentioned && project.variable(name).is_none_or(str::is_empty)
    };
    let wanted: Vec<&str> =
        [OKTETO_GIT_BRANCH, OKTETO_GIT_COMMIT, GITHUB_REPOSITORY].into_iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let root = if project.root.as_os_str().is_empty() { Path::new(".") } else { &project.root };
    let status = git(root, &["status", "--porcelain=v2", "--branch"]);
    let remote = git(root, &["config", "--get", "remote.origin.url"]);
    let (status, remote) = tokio::join!(status, remote);
    let known = status.as_deref().map(parse).unwrap_or_default();
    let repository = remote.and_then(|url| Some(GitUrl::parse(url.trim()).ok()?.to_https()));
    let mut commit = known.commit;
    if known.dirty && wanted.contains(&OKTETO_GIT_COMMIT) {
        // What can't be read may be nothing that is sent.
        commit = match digest(project, root.to_owned()).await {
            Ok(digest) => commit.map(|commit| format!("{commit}-dirty-{digest}")),
            Err(error) => {
                output::warn(format_args!(
                    "{OKTETO_GIT_COMMIT} is not set, since not all that changed can be read: {error:#}"
                ));
                None
            }
        };
    }
    let values = [(OKTETO_GIT_BRANCH, known.branch), (OKTETO_GIT_COMMIT, commit), (GITHUB_REPOSITORY, repository)];
    let values = values.into_iter().filter(|(name, _)| wanted.contains(name));
    values.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The first digits of the digest of what a deploy sends of the project: the same for the same files.
async fn digest(project: &Project, root: PathBuf) -> Result<String> {
    let tests: Vec<String> = project.manifest.tests.iter().map(|test| test.name.clone()).collect();
    let mut roots = Roots::new(project.scan_cache.clone());
    let scan = move || {
        let rules = okteto_rules(&root, Section::Deploy, &tests)?;
        roots.add("git".to_owned(), &root, &rules)?;
        Ok::<_, crate::error::Usage>(roots)
    };
    let roots = tokio::task::spawn_blocking(scan).await.context("scan")??;
    let tree = roots.tree("git").context("scan")?;
    Ok(tree.scan.digest().hex().chars().take(DIRTY_DIGITS).collect())
}

/// What git prints, as far as it is worth reading; nothing where it fails.
async fn git(root: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(args);
    // It only looks.
    command.env("GIT_OPTIONAL_LOCKS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let ask = async {
        let mut child = command.spawn()?;
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        let cut = answer.len() as u64 == MAX_ANSWER;
        // One that still writes ends with the pipe.
        let ended = child.wait().await?;
        Ok::<_, std::io::Error>((cut || ended.success()).then(|| String::from_utf8_lossy(&answer).into_owned()))
    };
    match tokio::time::timeout(DEADLINE, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::info!(%error, "git can't be asked");
            None
        }
        Err(_) => {
            output::warn(format_args!(
                "git did not answer within {} s: going on without branch and commit",
                DEADLINE.as_secs()
            ));
            None
        }
    }
}

/// Reads `git status --porcelain=v2 --branch`.
fn parse(status: &str) -> Known {
    let mut known = Known::default();
    for line in status.lines() {
        match line.strip_prefix("# ") {
            Some(header) => match header.split_once(' ') {
                // No commit yet; on no branch, as in CI.
                Some(("branch.oid", "(initial)") | ("branch.head", "(detached)")) => {}
                Some(("branch.oid", commit)) => known.commit = Some(commit.to_owned()),
                Some(("branch.head", branch)) => known.branch = Some(branch.to_owned()),
                _ => {}
            },
            None => known.dirty = true,
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(branch: Option<&str>, commit: Option<&str>, dirty: bool) -> Known {
        Known { branch: branch.map(str::to_owned), commit: commit.map(str::to_owned), dirty }
    }

    #[test]
    fn states_of_a_work_tree() {
        for (status, expected) in [
            ("# branch.oid abc\n# branch.head main\n", known(Some("main"), Some("abc"), false)),
            (
                "# branch.oid abc\n# branch.head a/b c\n# branch.upstream o/m\n? x\n",
                known(Some("a/b c"), Some("abc"), true),
            ),
            ("# branch.oid abc\n# branch.head (detached)\n1 .M N... x\n", known(None, Some("abc"), true)),
            ("# branch.oid (initial)\n# branch.head main\n", known(Some("main"), None, false)),
            ("", known(None, None, false)),
        ] {
            assert_eq!(parse(status), expected, "{status}");
        }
    }
}
