//! What the caller is logged in to (`docker login`), for the registries that a job takes images from.
//!
//! As buildx has them: from `config.json` in `DOCKER_CONFIG` or `~/.docker`, and from the credential helpers that it names. Only
//! logins that a job of this plan can need are read and sent. Without one the job goes on: the image may be public.
//!
//! The crate `docker_credential` would read the same files; it waits for helpers without an end, takes any amount of output, and
//! knows neither registry tokens nor user and password beside each other.

use std::path::Path;

use slipway_proto::v1::{LoginKind, RegistryLogin};
use tokio::task::JoinSet;

use crate::output;

mod config;
mod helper;
mod hosts;

pub(crate) use hosts::of_plan;

use config::{Config, Source};

/// Docker Hub in references.
const DOCKER_HUB: &str = "docker.io";
/// Registries that one job can be logged in to.
const MAX_LOGINS: usize = 100;

/// The logins for these registries, as far as there are any; what can't be read is warned about. Runs helpers.
pub(crate) async fn find(hosts: Vec<String>, config: Option<&Path>) -> Vec<RegistryLogin> {
    let Some(path) = config.filter(|_| !hosts.is_empty()) else { return Vec::new() };
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(problem) => {
            let (path, hosts) = (path.display(), hosts.join(", "));
            output::warn(format_args!("{path}: {problem}: going on without your logins for {hosts}"));
            return Vec::new();
        }
    };
    let (mut logins, mut asking) = (Vec::new(), JoinSet::new());
    for host in hosts.into_iter().take(MAX_LOGINS) {
        match config.source(&host) {
            Source::None => {}
            Source::File(Ok(login)) => logins.push(login.of(host)),
            Source::File(Err(problem)) => not_used(&host, &format!("{}: {problem}", path.display())),
            Source::Helper { name, key } => {
                asking.spawn(async move {
                    let answer = helper::get(&name, &key).await;
                    (host, name, answer)
                });
            }
        }
    }
    while let Some(answered) = asking.join_next().await {
        match answered {
            Ok((host, _, Ok(Some(login)))) => logins.push(login.of(host)),
            Ok((_, _, Ok(None))) => {}
            Ok((host, name, Err(problem))) => not_used(&host, &format!("{}{name}: {problem}", helper::PREFIX)),
            Err(error) => tracing::warn!(%error, "a credential helper's answer is lost"),
        }
    }
    logins.sort_by(|one, other| one.host.cmp(&other.host));
    logins
}

fn not_used(host: &str, why: &str) {
    output::warn(format_args!("{why}: going on without your login for {host}"));
}

/// What opens a registry. No `Debug`: its value is nobody's to see.
struct Login {
    username: String,
    secret: String,
    kind: LoginKind,
}

impl Login {
    fn of(self, host: String) -> RegistryLogin {
        RegistryLogin { host, username: self.username, secret: self.secret, kind: self.kind.into() }
    }

    fn identity(token: String) -> Self {
        Self { username: String::new(), secret: token, kind: LoginKind::IdentityToken }
    }
}

#[cfg(test)]
mod tests;
