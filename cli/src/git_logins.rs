//! What the caller's git knows of the hosts of dependencies, which the service clones: `git credential fill`
//! (`git help credential`). Without an answer the clone is tried all the same: the repository may be public, or the namespace
//! has a token for it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::DependencyPlan;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// How long git and its helpers may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// The most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Puts user and password into the URLs that have none and that git has some for; those over ssh become https then.
pub(crate) async fn add(dependencies: &mut [DependencyPlan], git: &str) {
    let mut known = BTreeMap::new();
    for dependency in dependencies {
        let Ok(url) = GitUrl::parse(&dependency.repository) else { continue };
        // Nothing goes where others can listen.
        if url.protocol() == "git" || url.is_in_the_clear() || url.credentials().is_some() {
            continue;
        }
        // Over ssh nobody there could get in. Most hosts have their repositories over https, too.
        let url = if url.is_http() { Some(url) } else { GitUrl::parse(&url.to_https()).ok() };
        let Some(url) = url else { continue };
        // Helpers may be told the path, too, and answer differently; git asks without it, unless it is configured so.
        let place = (url.protocol().to_owned(), url.host().to_owned());
        let login = match known.get(&place) {
            Some(login) => login,
            None => known.entry(place).or_insert(fill(&url, git).await),
        };
        if let Some((user, password)) = login {
            dependency.repository = url.with_credentials(user, password);
        }
    }
}

async fn fill(url: &GitUrl, git: &str) -> Option<(String, String)> {
    match tokio::time::timeout(DEADLINE, ask(url, git)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::info!(%error, host = url.host(), "git has no credentials");
            None
        }
        Err(_) => {
            tracing::warn!(host = url.host(), "git does not say whether it has credentials");
            None
        }
    }
}

async fn ask(url: &GitUrl, git: &str) -> std::io::Result<Option<(String, String)>> {
    let mut command = Command::new(git);
    command.args(["-c", "credential.interactive=false", "credential", "fill"]);
    // It asks helpers, and nobody else: an empty name is no program that could ask a person. Nor does Git Credential Manager.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "").env("SSH_ASKPASS", "");
    command.env("GCM_INTERACTIVE", "never").env("GCM_GUI_PROMPT", "false");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let question = format!("protocol={}\nhost={}\n\n", url.protocol(), url.host());
        stdin.write_all(question.as_bytes()).await?;
    }
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    }
    if !child.wait().await?.success() {
        return Ok(None);
    }
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(field("username").zip(field("password")).map(|(user, password)| (user.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn dependency(repository: &str) -> DependencyPlan {
        DependencyPlan {
            name: "a".to_owned(),
            repository: repository.to_owned(),
            branch: None,
            manifest: None,
            variables: Vec::new(),
            wait: false,
            timeout_s: 1,
            again: false,
        }
    }

    /// A git that knows one host, and writes down what it is asked.
    fn git(dir: &Path) -> String {
        let path = dir.join("git");
        let text = "#!/bin/sh\nq=$(cat); echo \"$GIT_TERMINAL_PROMPT[$GIT_ASKPASS]$q\" >> \"${0%/*}/asked\"\n\
                    case $q in *known.example*) echo username=me; echo 'password=p@ss/w';; *) exit 128;; esac\n";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn hosts_without_a_login_are_asked_for_over_https_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let urls = [
            "https://known.example/a",
            "https://known.example/b",
            "https://me:x@known.example/c",
            "git@known.example:d.git",
            "ssh://git@other.example:22/f",
            "git://known.example/g",
            "http://known.example/h",
            "https://other.example/e",
        ];
        let mut dependencies = urls.map(dependency);
        add(&mut dependencies, &git(dir.path())).await;
        let found = dependencies.map(|dependency| dependency.repository);
        let expected = [
            "https://me:p%40ss%2Fw@known.example/a",
            "https://me:p%40ss%2Fw@known.example/b",
            "https://me:x@known.example/c",
            "https://me:p%40ss%2Fw@known.example/d.git",
            "ssh://git@other.example:22/f",
            "git://known.example/g",
            "http://known.example/h",
            "https://other.example/e",
        ];
        assert_eq!(found, expected);
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(asked, "0[]protocol=https\nhost=known.example\n0[]protocol=https\nhost=other.example\n");
    }

    #[tokio::test]
    async fn no_git_is_no_login() {
        let mut dependencies = [dependency("https://known.example/a")];
        add(&mut dependencies, "/nonexistent/git").await;
        assert_eq!(dependencies[0].repository, "https://known.example/a");
    }
}
