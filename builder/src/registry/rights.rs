//! What a caller or a job may do in the registry, and how much of what it asks for that is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slipway_registry_client::RepositoryName;

use crate::names::Namespace;

/// More than any client asks for at once; the rest isn't granted.
const MAX_SCOPES: usize = 100;

/// Something one does to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove manifests.
    Delete,
}

/// Actions on one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The repository.
    pub repository: RepositoryName,
    /// What may be done to it, each once.
    pub actions: Vec<Action>,
}

/// Rights in the registry. Plain data: a job's process gets its own and mints tokens within them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// May do everything.
    all: bool,
    /// Namespaces to read and write.
    write: BTreeSet<Namespace>,
    /// Namespaces to read.
    read: BTreeSet<Namespace>,
    /// Repositories to read and push to, wherever they are.
    push: BTreeSet<RepositoryName>,
    /// Whether a request to push may also pull from other repositories; see [`Rights::with_mounts`].
    mounts: bool,
}

// === impl Action ===

impl Action {
    /// As the token protocol calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "pull" => Some(Self::Pull),
            "push" => Some(Self::Push),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

// === impl Access ===

impl Access {
    /// Pull only.
    pub fn pull(repository: RepositoryName) -> Self {
        Self { repository, actions: vec![Action::Pull] }
    }

    /// Pull and push.
    pub fn push(repository: RepositoryName) -> Self {
        Self { repository, actions: vec![Action::Pull, Action::Push] }
    }
}

// === impl Rights ===

impl Rights {
    /// A user's: everything in their namespaces, and to pull from the global one.
    pub fn user(namespaces: impl IntoIterator<Item = Namespace>, global: &Namespace) -> Self {
        Self {
            all: false,
            write: namespaces.into_iter().collect(),
            read: BTreeSet::from([global.clone()]),
            push: BTreeSet::new(),
            mounts: false,
        }
    }

    /// An admin's: everything everywhere.
    pub fn admin() -> Self {
        Self { all: true, write: BTreeSet::new(), read: BTreeSet::new(), push: BTreeSet::new(), mounts: false }
    }

    /// A job's: to pull from its namespace and the global one, and to push to exactly these repositories. What may be in
    /// that list is the caller's to check, with [`Rights::allow`] of the job's owner.
    pub fn job(namespace: &Namespace, global: &Namespace, push: impl IntoIterator<Item = RepositoryName>) -> Self {
        Self {
            all: false,
            write: BTreeSet::new(),
            read: BTreeSet::from([namespace.clone(), global.clone()]),
            push: push.into_iter().collect(),
            mounts: false,
        }
    }

    /// For an engine that shares the layers of all namespaces and, when it pushes one that it knows from another repository,
    /// asks the registry to mount it from there: one request for push to a repository of ours and pull of the other. BuildKit
    /// before 0.14 ends the build when that is not granted. It has the layer's bytes already, by a digest that is in this
    /// job's own result; a request to pull alone, as for a FROM, is judged as ever.
    #[must_use]
    pub fn with_mounts(self) -> Self {
        Self { mounts: true, ..self }
    }

    /// Whether this is allowed. A repository outside any namespace (one component) is nobody's but an admin's.
    pub fn allow(&self, repository: &RepositoryName, action: Action) -> bool {
        let among = |namespaces: &BTreeSet<Namespace>| {
            repository.namespace().is_some_and(|owner| namespaces.iter().any(|namespace| namespace.as_str() == owner))
        };
        self.all
            || among(&self.write)
            || (action == Action::Pull && among(&self.read))
            || (action != Action::Delete && self.push.contains(repository))
    }

    /// The part of the requested scopes (`repository:<name>:<action>,…`) that is allowed. As the token protocol has it,
    /// what isn't allowed, isn't understood or isn't about a repository (the catalogue) is left out without an error.
    pub fn grant(&self, scopes: &[impl AsRef<str>]) -> Vec<Access> {
        let mut granted: BTreeMap<RepositoryName, BTreeSet<Action>> = BTreeMap::new();
        // Some clients send several scopes in one parameter.
        let scopes = scopes.iter().flat_map(|scope| scope.as_ref().split(' ')).filter(|scope| !scope.is_empty());
        let asked: Vec<(RepositoryName, Vec<Action>)> = scopes.take(MAX_SCOPES).filter_map(parse_scope).collect();
        let pushes = asked
            .iter()
            .any(|(repository, actions)| actions.contains(&Action::Push) && self.allow(repository, Action::Push));
        let mounts = |action| self.mounts && pushes && action == Action::Pull;
        for (repository, actions) in asked {
            for action in actions.into_iter().filter(|action| self.allow(&repository, *action) || mounts(*action)) {
                granted.entry(repository.clone()).or_default().insert(action);
            }
        }
        granted
            .into_iter()
            .map(|(repository, actions)| Access { repository, actions: actions.into_iter().collect() })
            .collect()
    }
}

fn parse_scope(scope: &str) -> Option<(RepositoryName, Vec<Action>)> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    Some((name.parse().ok()?, actions.split(',').filter_map(Action::parse).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        name.parse().expect("namespace")
    }

    fn shown(rights: &Rights, scopes: &[&str]) -> Vec<String> {
        rights.grant(scopes).iter().map(|access| format!("{} {:?}", access.repository, access.actions)).collect()
    }

    #[test]
    fn a_user_gets_their_namespaces_and_reads_the_global_one() {
        let rights = Rights::user([namespace("dev")], &namespace("okteto"));
        for (scope, expected) in [
            ("repository:dev/app:pull,push", &["dev/app [Pull, Push]"][..]),
            ("repository:dev/a/b:push,delete", &["dev/a/b [Push, Delete]"]),
            ("repository:okteto/runner:pull,push", &["okteto/runner [Pull]"]),
            ("repository:team-b/app:pull", &[]),
            ("repository:dev:pull", &[]),
            ("repository:dev/:pull", &[]),
            ("repository:dev2/app:pull", &[]),
            ("repository:dev/../team-b/app:pull", &[]),
            ("repository:/dev/app:pull", &[]),
            ("repository:Dev/app:pull", &[]),
            ("repository:dev/app:*", &[]),
            ("repository:dev/app:", &[]),
            ("repository:dev/app", &[]),
            ("repository(plugin):dev/app:pull", &[]),
            ("repository:host:5000/dev/app:pull", &[]),
            ("registry:catalog:*", &[]),
            ("", &[]),
            (":::", &[]),
            (
                "repository:dev/b:pull repository:dev/a:push repository:dev/b:push,pull",
                &["dev/a [Push]", "dev/b [Pull, Push]"],
            ),
        ] {
            assert_eq!(shown(&rights, &[scope]), expected, "{scope}");
        }
        let several = ["repository:dev/app:pull,push", "repository:team-b/app:pull", "repository:okteto/base:pull"];
        assert_eq!(shown(&rights, &several), ["dev/app [Pull, Push]", "okteto/base [Pull]"]);
    }

    #[test]
    fn an_admin_gets_every_repository_but_no_catalogue() {
        let scopes = ["repository:okteto/runner:pull,push,delete", "repository:solo:pull", "registry:catalog:*"];
        assert_eq!(shown(&Rights::admin(), &scopes), ["okteto/runner [Pull, Push, Delete]", "solo [Pull]"]);
    }

    #[test]
    fn a_mount_is_a_push_to_ones_own_that_also_pulls() {
        let app: RepositoryName = "dev/app".parse().expect("repository");
        let rights = Rights::job(&namespace("dev"), &namespace("okteto"), [app]);
        let (own, other) = ("repository:dev/app:pull,push", "repository:team-b/app:pull");
        assert_eq!(shown(&rights, &[own, other]), ["dev/app [Pull, Push]"]);
        let rights = rights.with_mounts();
        assert_eq!(shown(&rights, &[own, other]), ["dev/app [Pull, Push]", "team-b/app [Pull]"]);
        assert!(shown(&rights, &[other]).is_empty());
        assert!(shown(&rights, &["repository:team-b/app:pull,push"]).is_empty());
        assert_eq!(shown(&rights, &["repository:dev/app:pull", other]), ["dev/app [Pull]"]);
    }

    #[test]
    fn a_job_pushes_to_its_own_images_only() {
        let app: RepositoryName = "dev/app".parse().expect("repository");
        let rights = Rights::job(&namespace("dev"), &namespace("okteto"), [app]);
        let scopes = [
            "repository:dev/app:pull,push,delete",
            "repository:dev/other:pull,push",
            "repository:okteto/runner:pull,push",
            "repository:team-b/app:pull,push",
        ];
        assert_eq!(shown(&rights, &scopes), ["dev/app [Pull, Push]", "dev/other [Pull]", "okteto/runner [Pull]"]);
        let sent = serde_json::to_string(&rights).expect("serialize");
        assert_eq!(serde_json::from_str::<Rights>(&sent).expect("deserialize"), rights);
    }

    #[test]
    fn too_many_scopes_are_cut() {
        let scopes: Vec<String> = (0..500).map(|i| format!("repository:x/a{i}:pull")).collect();
        assert_eq!(Rights::admin().grant(&scopes).len(), MAX_SCOPES);
    }
}
