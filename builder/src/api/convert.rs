//! Between the API's types and ours. Nothing past this file holds an `Option` that protobuf invented.

use std::collections::BTreeMap;

use secrecy::SecretString;
use slipway_commands::MAX_GRACE;
use slipway_context::Digest;
use slipway_context::dockerfile::ContextPaths;
use slipway_manifest::expand::Template;
use slipway_manifest::options::{CacheKind, InvalidOption, NamedContext};
use slipway_manifest::plan::{
    ArtifactPlan, BuildPlan, Command, CommandsPlan, DependencyPlan, JobKind, Plan, Section, SshAccess, TestOptions,
};
use slipway_manifest::{BuildOptions, ServiceName};
use slipway_proto::v1 as api;
use slipway_registry_client::RegistryHost;
use tonic::Status;

use crate::jobs::spec::BuildRoots;
use crate::jobs::state::JobState;
use crate::jobs::sync::{InlineBlob, MAX_INLINE, Submission};
use crate::names::Namespace;
use crate::pipeline::secrets::Secrets;
use crate::pipeline::variables::JobVariables;
use crate::registry::{Login, Logins};
use crate::store::db::jobs::JobRow;

/// Paths that a root is narrowed to.
const MAX_NARROWED: usize = 2000;
/// Options of a build, and the bytes of all of them.
const MAX_OPTIONS: usize = 2000;
const MAX_OPTION_BYTES: usize = 1 << 20;

/// What is wrong with a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidMessage {
    field: String,
    problem: String,
}

impl From<InvalidMessage> for Status {
    fn from(error: InvalidMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn invalid(field: impl Into<String>, problem: impl std::fmt::Display) -> InvalidMessage {
    InvalidMessage { field: field.into(), problem: problem.to_string() }
}

/// A SHA-256 digest: 32 bytes.
pub(super) fn digest(field: &str, bytes: &[u8]) -> Result<Digest, InvalidMessage> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| invalid(field, "expected 32 bytes of SHA-256"))
}

/// A namespace's name.
pub(super) fn namespace(text: &str) -> Result<Namespace, InvalidMessage> {
    text.parse().map_err(|error| invalid("namespace", error))
}

/// A time, from milliseconds since 1970.
pub(super) fn time(ms: i64) -> prost_types::Timestamp {
    let nanos = (ms.rem_euclid(1000) * 1_000_000) as i32;
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos }
}

impl TryFrom<api::SubmitRequest> for Submission {
    type Error = InvalidMessage;

    fn try_from(request: api::SubmitRequest) -> Result<Self, InvalidMessage> {
        let (mut roots, mut inline, mut inline_bytes) = (BTreeMap::new(), BTreeMap::new(), 0);
        let mut narrowed = BTreeMap::new();
        for root in request.roots {
            inline_bytes += root.inline.iter().map(|blob| blob.content.len()).sum::<usize>();
            if inline_bytes > MAX_INLINE {
                return Err(invalid("roots", format!("more than {MAX_INLINE} bytes of blobs in the request itself")));
            }
            check_narrowed(&root)?;
            let blobs = root.inline.into_iter().map(|blob| InlineBlob { content: blob.content, seconds: blob.seconds });
            let blobs: Vec<_> = blobs.collect();
            if !blobs.is_empty() {
                inline.insert(root.name.clone(), blobs);
            }
            narrowed.insert(root.name.clone(), root.narrowed_to);
            let at = digest(&format!("roots `{}`", root.name), &root.digest)?;
            if roots.insert(root.name.clone(), at).is_some() {
                return Err(invalid("roots", format!("`{}` is there twice", root.name)));
            }
        }
        let find = |field: String, name: &str| {
            roots.get(name).copied().ok_or_else(|| invalid(field, format!("no root is named `{name}`")))
        };
        let plan = request.plan.ok_or_else(|| invalid("plan", "missing"))?;
        let mut builds = BTreeMap::new();
        for build in &plan.builds {
            let place = |name: &str| format!("plan.builds `{}`.{name}", build.service);
            let context = find(place("context_root"), &build.context_root)?;
            let dockerfile = find(place("dockerfile_root"), &build.dockerfile_root)?;
            let narrowed_to = narrowed.get(&build.context_root).cloned().unwrap_or_default();
            let mut roots = BuildRoots::new(context, narrowed_to, dockerfile);
            for api::NamedRoot { name, root } in &build.named_roots {
                if narrowed.get(root).is_some_and(|paths| !paths.is_empty()) {
                    return Err(invalid(place("named_roots"), "named contexts need complete roots"));
                }
                roots.named.insert(name.clone(), find(place("named_roots"), root)?);
            }
            for root in &build.cache_roots {
                roots.caches.push(find(place("cache_roots"), root)?);
            }
            builds.insert(service(&build.service)?, roots);
        }
        let mut commands = Vec::new();
        for api::CommandsPlan { root, .. } in &plan.commands {
            if narrowed.get(root).is_some_and(|paths| !paths.is_empty()) {
                return Err(invalid("plan.commands.root", "commands need a complete root"));
            }
            commands.push(find("plan.commands.root".to_owned(), root)?);
        }
        let context_roots = plan.builds.iter().map(|build| build.context_root.clone()).collect();
        let plan = plan_from(plan)?;
        check_roots(&plan, &builds)?;
        Ok(Self {
            request_id: request.request_id,
            namespace: namespace(&request.namespace)?,
            context_roots,
            secrets: secrets(request.secrets, &plan)?,
            logins: logins(request.logins)?,
            variables: masked(request.masked)?,
            no_wait: request.no_wait,
            grace_ms: grace(request.grace_ms)?,
            plan,
            roots,
            inline,
            builds,
            commands,
        })
    }
}

/// Of named contexts, just the folders have trees; and any may be an image with triggers, for which everything is sent. Of
/// caches, those that are read from folders.
fn check_roots(plan: &Plan, builds: &BTreeMap<ServiceName, BuildRoots>) -> Result<(), InvalidMessage> {
    for build in &plan.builds {
        let place = |field| format!("plan.builds `{}`.{field}", build.service);
        let Some(roots) = builds.get(&build.service) else { continue };
        let contexts = &build.options.contexts;
        let folders = contexts.iter().filter(|(_, context)| matches!(context, NamedContext::Directory(_)));
        if !folders.map(|(name, _)| name).eq(roots.named.keys()) {
            return Err(invalid(place("named_roots"), "expected a root for each named context that is a folder"));
        }
        let mut local = build.options.cache_from.iter().filter(|cache| cache.kind == CacheKind::Local);
        if local.clone().count() != roots.caches.len() {
            return Err(invalid(place("cache_roots"), "expected a root for each cache of `type=local` that is read"));
        }
        if let Some(cache) = local.find(|cache| cache.digest().is_none()) {
            return Err(invalid(place("options `cache-from`"), format!("`{cache}` lacks `digest=sha256:…`")));
        }
        if !contexts.is_empty() && !roots.narrowed_to.is_empty() {
            return Err(invalid(place("context_root"), "a build with named contexts needs a complete root"));
        }
    }
    Ok(())
}

fn secrets(values: Vec<api::SecretValue>, plan: &Plan) -> Result<Secrets, InvalidMessage> {
    let value = |value: api::SecretValue| Ok((value.source.parse()?, value.value));
    let values: Result<Vec<_>, InvalidOption> = values.into_iter().map(value).collect();
    Secrets::new(values.map_err(|error| invalid("secrets", error))?, plan).map_err(|error| invalid("secrets", error))
}

fn logins(logins: Vec<api::RegistryLogin>) -> Result<Logins, InvalidMessage> {
    let login = |login: api::RegistryLogin| {
        let host = login.host.parse::<RegistryHost>().map_err(|error| invalid("logins", error))?;
        let (kind, secret) = (login.kind(), SecretString::from(login.secret));
        let login = match kind {
            api::LoginKind::Password => Login::Password { username: login.username, password: secret },
            api::LoginKind::IdentityToken => Login::Identity(secret),
            api::LoginKind::RegistryToken => Login::Token(secret),
            api::LoginKind::Unspecified => return Err(invalid("logins", format!("`{host}`: its kind is unknown"))),
        };
        Ok((host, login))
    };
    let logins: Vec<_> = logins.into_iter().map(login).collect::<Result<_, _>>()?;
    Logins::new(logins).map_err(|error| invalid("logins", error))
}

fn masked(values: Vec<api::MaskedValue>) -> Result<JobVariables, InvalidMessage> {
    let values = values.into_iter().map(|masked| masked.value).collect();
    JobVariables::masking(values).map_err(|error| invalid("masked", error))
}

pub(super) fn grace(ms: Option<u32>) -> Result<Option<u32>, InvalidMessage> {
    match ms {
        Some(ms) if u128::from(ms) > MAX_GRACE.as_millis() => {
            Err(invalid("grace_ms", format!("more than {}", MAX_GRACE.as_millis())))
        }
        ms => Ok(ms),
    }
}

/// Paths as `BuildKit` would ask for them.
fn check_narrowed(root: &api::Root) -> Result<(), InvalidMessage> {
    let place = || format!("roots `{}`.narrowed_to", root.name);
    if root.narrowed_to.len() > MAX_NARROWED {
        return Err(invalid(place(), format!("more than {MAX_NARROWED} paths")));
    }
    match root.narrowed_to.iter().find(|path| !ContextPaths::is_clean(path)) {
        Some(path) => Err(invalid(place(), format!("{path:?} is no clean relative path"))),
        None => Ok(()),
    }
}

fn service(name: &str) -> Result<ServiceName, InvalidMessage> {
    ServiceName::new(name).map_err(|error| invalid("plan.builds.service", error))
}

fn pairs(values: Vec<api::KeyValue>) -> Vec<(String, String)> {
    values.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

fn plan_from(plan: api::Plan) -> Result<Plan, InvalidMessage> {
    let kind = match plan.kind() {
        api::JobKind::Build => JobKind::Build,
        api::JobKind::Deploy => JobKind::Deploy,
        api::JobKind::Destroy => JobKind::Destroy,
        api::JobKind::Test => JobKind::Test,
        api::JobKind::Unspecified => return Err(invalid("plan.kind", "unknown")),
    };
    let builds = plan.builds.into_iter().map(build_from).collect::<Result<_, _>>()?;
    let commands = plan.commands.into_iter().map(commands_from).collect::<Result<_, _>>()?;
    let dependencies = plan.dependencies.into_iter().map(dependency_from).collect();
    let ssh = plan.ssh.map(ssh_from).transpose()?;
    Ok(Plan { kind, name: plan.name, dependencies, builds, commands, ssh })
}

fn ssh_from(ssh: api::SshAccess) -> Result<SshAccess, InvalidMessage> {
    let agent = ssh.agent.parse().map_err(|error: InvalidOption| invalid("plan.ssh.agent", error))?;
    Ok(SshAccess { agent, known_hosts: ssh.known_hosts })
}

fn dependency_from(dependency: api::DependencyPlan) -> DependencyPlan {
    DependencyPlan {
        name: dependency.name,
        repository: dependency.repository,
        branch: dependency.branch,
        manifest: dependency.manifest,
        variables: pairs(dependency.variables),
        wait: dependency.wait,
        timeout_s: dependency.timeout_s,
        again: dependency.again,
    }
}

fn build_from(build: api::BuildPlan) -> Result<BuildPlan, InvalidMessage> {
    let options = options(&build)?;
    let args = pairs(build.args).into_iter().map(|(name, value)| (name, Template::from_source(&value)));
    Ok(BuildPlan {
        service: service(&build.service)?,
        context: build.context,
        dockerfile: build.dockerfile,
        target: build.target,
        args: args.collect(),
        build_args: pairs(build.build_args),
        image: build.image.map(|image| Template::from_source(&image)),
        depends_on: build.depends_on.iter().map(|name| service(name)).collect::<Result<_, _>>()?,
        platforms: build.platforms,
        no_skip: build.no_skip || build.no_cache || options.always_builds(),
        options,
        no_cache: build.no_cache,
        only_if_missing: build.only_if_missing,
    })
}

fn options(build: &api::BuildPlan) -> Result<BuildOptions, InvalidMessage> {
    let bytes: usize = build.options.iter().map(|option| option.value.len()).sum();
    if build.options.len() > MAX_OPTIONS || bytes > MAX_OPTION_BYTES {
        let problem = format!("more than {MAX_OPTIONS}, or more than {MAX_OPTION_BYTES} bytes of them");
        return Err(invalid(format!("plan.builds `{}`.options", build.service), problem));
    }
    let mut options = BuildOptions::default();
    for api::KeyValue { key, value } in &build.options {
        let set = key.parse().and_then(|key| options.set(key, value));
        set.map_err(|error| invalid(format!("plan.builds `{}`.options `{key}`", build.service), error))?;
    }
    Ok(options)
}

fn commands_from(commands: api::CommandsPlan) -> Result<CommandsPlan, InvalidMessage> {
    let section = match commands.section.as_str() {
        "deploy" => Section::Deploy,
        "destroy" => Section::Destroy,
        "test" => Section::Test,
        other => return Err(invalid("plan.commands.section", format!("`{other}` is none"))),
    };
    let list = commands.commands.into_iter().map(|command| Command { name: command.name, command: command.command });
    Ok(CommandsPlan {
        section,
        test: commands.test,
        image: commands.image.map(|image| Template::from_source(&image)),
        context: commands.context,
        remote: None,
        commands: list.collect(),
        env: pairs(commands.env),
        keep_going: commands.keep_going,
        required: commands.required,
        testing: commands.testing.map(testing).transpose()?.unwrap_or_default(),
    })
}

fn testing(options: api::TestOptions) -> Result<TestOptions, InvalidMessage> {
    let artifacts = options.artifacts.into_iter();
    let hosts = options.hosts.iter().map(|host| host.parse());
    let hosts: Result<_, InvalidOption> = hosts.collect();
    Ok(TestOptions {
        depends_on: options.depends_on,
        artifacts: artifacts.map(|api::Artifact { path, destination }| ArtifactPlan { path, destination }).collect(),
        caches: options.caches,
        hosts: hosts.map_err(|error| invalid("plan.commands.testing.hosts", error))?,
        skip_unchanged: options.skip_unchanged,
        no_cache: options.no_cache,
    })
}

impl From<JobRow> for api::Job {
    fn from(row: JobRow) -> Self {
        let kind = match row.kind {
            JobKind::Build => api::JobKind::Build,
            JobKind::Deploy => api::JobKind::Deploy,
            JobKind::Destroy => api::JobKind::Destroy,
            JobKind::Test => api::JobKind::Test,
        };
        let state = match row.state {
            JobState::Syncing => api::JobState::Syncing,
            JobState::Queued => api::JobState::Queued,
            JobState::Running => api::JobState::Running,
            JobState::Succeeded => api::JobState::Succeeded,
            JobState::Failed => api::JobState::Failed,
            JobState::Cancelled => api::JobState::Cancelled,
        };
        let error = row.failure.map(|failure| api::JobError {
            code: failure.code,
            message: failure.message,
            hint: failure.hint,
        });
        Self {
            id: row.id.to_string(),
            kind: kind.into(),
            namespace: row.namespace.to_string(),
            environment: row.environment,
            state: state.into(),
            error,
            owner: row.owner,
            created: Some(time(row.created)),
            started: row.started.map(time),
            finished: row.finished.map(time),
            parent: row.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_a_registry_and_what_kind_it_is() {
        let login = |host: &str, kind: api::LoginKind| api::RegistryLogin {
            host: host.to_owned(),
            username: "me".to_owned(),
            secret: "hunter2".to_owned(),
            kind: kind.into(),
        };
        let kinds = [api::LoginKind::Password, api::LoginKind::IdentityToken, api::LoginKind::RegistryToken];
        let hosts = ["a.example", "b.example:5000", "docker.io"];
        let all = logins(hosts.into_iter().zip(kinds).map(|(host, kind)| login(host, kind)).collect()).unwrap();
        let read: Vec<_> = all.iter().map(|(host, login)| (host.as_str(), login)).collect();
        assert!(
            matches!(
                read[..],
                [
                    ("a.example", Login::Password { .. }),
                    ("b.example:5000", Login::Identity(_)),
                    ("docker.io", Login::Token(_))
                ]
            ),
            "{read:?}"
        );
        for bad in [
            login("a.example", api::LoginKind::Unspecified),
            login("https://a.example", api::LoginKind::Password),
            login("", api::LoginKind::Password),
        ] {
            let error = logins(vec![bad]).unwrap_err().to_string();
            assert!(error.starts_with("logins: ") && !error.contains("hunter2"), "{error}");
        }
    }
}
