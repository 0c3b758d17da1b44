//! `git clone`, with what opens the repository.

use std::path::Path;

use anyhow::{Context as _, Result};
use slipway_commands::dependency::{DEPENDENCIES, GIT_AUTH};
use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::DependencyPlan;
use tokio::process::Command;

use crate::environment::Environment;
use crate::error::Usage;
use crate::output;

/// The user that goes with such a token, as with BuildKit.
const TOKEN_USER: &str = "x-access-token";
/// Names the caller's SSH agent.
pub(super) const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// Answers git's question with what is in its environment.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$SLIPWAY_GIT_USER\" \
                      \"$SLIPWAY_GIT_PASSWORD\"; }; f";

/// Clones a repository and its submodules. What opens it is in git's environment: on no command line, and in no file. Submodules
/// get nothing of it: whoever wrote the repository says where they are, and could have them brought who may not read them.
pub(super) async fn clone(dependency: &DependencyPlan, environment: &Environment, folder: &Path) -> Result<()> {
    let url = GitUrl::parse(&dependency.repository).map_err(|error| Usage::new(error.to_string()))?;
    let mut logins = logins(&url, environment).into_iter().peekable();
    while let Some(login) = logins.next() {
        if clone_with(login, &url, dependency, environment, folder).await? {
            break;
        }
        if logins.peek().is_none() {
            return Err(not_cloned(dependency, &url).into());
        }
        output::note(format_args!("{} can't be cloned so: trying it in another way", dependency.name));
    }
    if folder.join(".gitmodules").exists() {
        let mut command = git_without_agent(environment);
        command.arg("-C").arg(folder).args(["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]);
        if !command.status().await.context("run git")?.success() {
            let error = Usage::new(format!("the submodules of {} can't be cloned", dependency.name));
            return Err(error.hint("they are fetched without credentials, so they have to be public").into());
        }
    }
    Ok(())
}

/// Whether it was cloned with this login, or without one.
async fn clone_with(
    login: Option<(String, String)>,
    url: &GitUrl,
    dependency: &DependencyPlan,
    environment: &Environment,
    folder: &Path,
) -> Result<bool> {
    let address = if login.is_some() && !url.is_http() { url.to_https() } else { url.without_credentials() };
    let mut command = git(environment);
    if let Some((user, password)) = login {
        // Only for that host, and instead of all other helpers.
        let protocol = if url.is_http() { url.protocol() } else { "https" };
        let helper = format!("credential.{protocol}://{}.helper", url.https_host());
        for (index, (key, value)) in [("credential.helper", ""), (helper.as_str(), HELPER)].into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.env("GIT_CONFIG_COUNT", "2");
        command.env("SLIPWAY_GIT_USER", user).env("SLIPWAY_GIT_PASSWORD", password);
    }
    command.args(["clone", "--quiet", "--depth=1"]);
    if let Some(branch) = &dependency.branch {
        command.arg(format!("--branch={branch}"));
    }
    command.arg("--").arg(&address).arg(folder);
    Ok(command.status().await.context("run git")?.success())
}

fn not_cloned(dependency: &DependencyPlan, url: &GitUrl) -> Usage {
    let name = format!("{GIT_AUTH}{}", part(url.https_host()));
    let error = Usage::new(format!("{} can't be cloned from {}", dependency.name, url.without_credentials()));
    error.hint(format!(
        "for a private repository, log in with git where you call slipway, or set a token for the namespace: `slipway \
         variable set --scope namespace --secret {name}=-`"
    ))
}

/// Git without secrets, and without anybody to ask.
fn git(environment: &Environment) -> Command {
    let mut command = Command::new("git");
    command.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git").env("GIT_TERMINAL_PROMPT", "0").kill_on_drop(true);
    for name in environment.vars().keys().filter(|name| name.starts_with(GIT_AUTH)) {
        command.env_remove(name);
    }
    command.env_remove(DEPENDENCIES);
    command
}

/// The same without the caller's SSH agent: whoever wrote the repository says what it would open.
fn git_without_agent(environment: &Environment) -> Command {
    let mut command = git(environment);
    command.env_remove(SSH_AUTH_SOCK);
    command
}

/// What may open it, in the order in which it is tried: what its URL holds, which the caller's git may have put there; the
/// namespace's token for the host, where nobody can listen; nothing, as for public ones and over ssh.
fn logins(url: &GitUrl, environment: &Environment) -> Vec<Option<(String, String)>> {
    // A token may stand where a user does.
    let own = url.credentials().map(
        |(user, password)| {
            if password.is_empty() { (TOKEN_USER.to_owned(), user) } else { (user, password) }
        },
    );
    let host = url.https_host();
    let token = environment.get(&format!("{GIT_AUTH}{}", part(host))).filter(|_| !url.is_in_the_clear());
    let token = token.map(|token| (TOKEN_USER.to_owned(), token.to_owned()));
    let mut logins: Vec<_> = own.into_iter().chain(token).map(Some).collect();
    logins.dedup();
    logins.push(None);
    logins
}

/// A host in a variable's name: `GITHUB_COM`. No two hosts share one, but for their ports.
fn part(host: &str) -> String {
    let mut part = String::new();
    for character in host.chars() {
        match character {
            '-' => part.push_str("__"),
            character if character.is_ascii_alphanumeric() => part.push(character.to_ascii_uppercase()),
            _ => part.push('_'),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_get_nothing_of_what_opens_repositories() {
        let environment = Environment::from([("GIT_AUTH_TOKEN_A", "x"), (DEPENDENCIES, "[]"), (SSH_AUTH_SOCK, "/a")]);
        let command = git_without_agent(&environment);
        let removed: Vec<_> = command.as_std().get_envs().filter(|(_, value)| value.is_none()).collect();
        let removed: Vec<_> = removed.into_iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(removed, ["GIT_AUTH_TOKEN_A", DEPENDENCIES, SSH_AUTH_SOCK]);
    }

    #[test]
    fn a_token_is_for_its_host_and_goes_nowhere_in_the_clear() {
        let names = ["GIT_AUTH_TOKEN_GIT_EXAMPLE_8443", "GIT_AUTH_TOKEN_GIT_EXAMPLE", "GIT_AUTH_TOKEN_127_0_0_1_80"];
        let environment = Environment::from(names.map(|name| (name, name)));
        let logins = |url: &str| logins(&GitUrl::parse(url).unwrap(), &environment);
        let token = |name: &str| vec![Some((TOKEN_USER.to_owned(), name.to_owned())), None];
        assert_eq!(logins("https://git.example:8443/a"), token(names[0]));
        assert_eq!(logins("https://git.example/a"), token(names[1]));
        assert_eq!(logins("git@git.example:a"), token(names[1]), "over https then");
        assert_eq!(logins("ssh://git@git.example:2222/a"), token(names[1]));
        assert_eq!(logins("http://127.0.0.1:80/a"), token(names[2]));
        for url in ["https://other.example/a", "https://git-example/a", "http://git.example/a", "git://git.example/a"] {
            assert_eq!(logins(url), [None], "{url}");
        }
        let [own, name] =
            [("me", "pw"), (TOKEN_USER, names[1])].map(|(user, pw)| Some((user.to_owned(), pw.to_owned())));
        assert_eq!(logins("https://me:pw@git.example/a"), [own, name, None]);
        assert_eq!(logins("https://token@other.example/a"), token("token"));
        assert_ne!(part("git-corp.com"), part("git.corp.com"));
    }
}
