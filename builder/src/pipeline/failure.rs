//! Why a job did not succeed: the one table of failures, their codes and hints.

use slipway_commands::{Failed, Required};
use slipway_manifest::ServiceName;
use slipway_manifest::plan::{BuildPlan, CompleteError};
use slipway_runner_agent::Exceeded;

use crate::buildkit::{self, Address, Engine, Feature};
use crate::jobs::state::JobState;
use crate::limits;
use crate::registry::PushRefused;
use crate::runner::RunnerError;
use crate::store::db::jobs::JobFailure;

#[cfg(test)]
mod tests;

/// Why a job did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody asked it to end.
    #[error("cancelled")]
    Cancelled,
    /// The engine can't be used.
    #[error("{0}")]
    Engine(#[from] buildkit::Error),
    /// An image could not be built.
    #[error("build of service `{service}` failed: {source}{}", last_lines(tail))]
    Build {
        /// Which.
        service: ServiceName,
        /// Why.
        source: buildkit::Error,
        /// The end of the output of the step that failed.
        tail: Box<str>,
        /// What may be done about it, when more is known than the message says.
        hint: Option<Box<str>>,
    },
    /// What a build asks for can't be.
    #[error("service `{service}`: {source}")]
    Plan {
        /// Which.
        service: ServiceName,
        /// Why.
        source: Box<CompleteError>,
    },
    /// An image's name is none.
    #[error("{0}")]
    Image(String),
    /// An image may not be pushed there.
    #[error("service `{service}`: {source}")]
    Push {
        /// Which.
        service: ServiceName,
        /// Why.
        source: Box<PushRefused>,
    },
    /// A Dockerfile wants to be read by an image that may not.
    #[error("build of service `{service}` failed: the frontend `{frontend}` is not allowed")]
    Frontend {
        /// Which.
        service: ServiceName,
        /// The image.
        frontend: String,
    },
    /// A secret's file could not be read by the client, or its variable is not set; nobody knew that it would be needed.
    #[error("build of service `{service}` failed: {problem}")]
    Secret {
        /// Which.
        service: ServiceName,
        /// What is missing.
        problem: String,
    },
    /// A cache outside of the engine that can't be used.
    #[error("service `{service}`: its cache of type `{kind}`: {problem}")]
    Cache {
        /// Which.
        service: ServiceName,
        /// Of which type.
        kind: &'static str,
        /// Why.
        problem: String,
    },
    /// What the engine left of a cache can't be made ready for its caller.
    #[error("service `{service}`: make an archive of its local cache: {source}")]
    CacheArchive {
        /// Which.
        service: ServiceName,
        /// Why.
        source: std::io::Error,
    },
    /// A variable that the service keeps is no SSH key, or there is no agent for it.
    #[error("build of service `{service}` failed: SSH agent `{id}`: {message}")]
    SshKey {
        /// Which.
        service: ServiceName,
        /// The agent's id.
        id: String,
        /// Why.
        message: String,
    },
    /// Something that runs elsewhere has no URL.
    #[error(transparent)]
    Required(Required),
    /// The engine did not send what the caller asked for.
    #[error(
        "service `{service}`: the engine made no `{kind}` archive: it is too old to export in several forms at once"
    )]
    Export {
        /// Which.
        service: ServiceName,
        /// The exporter.
        kind: &'static str,
    },
    /// No engine that takes builds has what this one needs.
    #[error("service `{service}`: engine {engine} ({version}) knows no {feature}")]
    Lacks {
        /// Which.
        service: ServiceName,
        /// The engine that would have built it.
        engine: Box<Address>,
        /// What that is.
        version: Box<str>,
        /// What is missing.
        feature: Feature,
    },
    /// A build uses an image that was not to be pushed.
    #[error("service `{user}` uses the image of `{used}`, which is not pushed")]
    NotPushed {
        /// Who uses it.
        user: ServiceName,
        /// Whose image it is.
        used: ServiceName,
    },
    /// A context lacks what the build wants.
    #[error("build of service `{service}` failed: {message}")]
    Context {
        /// Which.
        service: ServiceName,
        /// What is missing, and what to do.
        message: String,
    },
    /// An image that was there when the job was submitted is not any more.
    #[error("service `{service}`: the registry had `{image}` when the job was submitted, and has it no more")]
    Gone {
        /// Which.
        service: ServiceName,
        /// Its image.
        image: String,
    },
    /// The registry did not answer well.
    #[error("registry: {0}")]
    Registry(String),
    /// The runner could not be brought up, or was lost before any command.
    #[error("{0}")]
    Runner(Box<RunnerError>),
    /// A command failed.
    #[error("{}", failed.message(label))]
    Command {
        /// What its section is called.
        label: String,
        /// Which, and how.
        failed: Box<Failed>,
    },
    /// The section used more than it may.
    #[error("{label} command {} was ended, since the section is over {}: {name}", index + 1, limits::said(exceeded))]
    Limit {
        /// What its section is called.
        label: String,
        /// From 0.
        index: u32,
        /// The command.
        name: String,
        /// Whose limit it is.
        namespace: String,
        /// Which.
        exceeded: Exceeded,
    },
    /// The runner was lost while a command ran.
    #[error("the runner was lost while {label} command {} ran ({name}): {source}", index + 1)]
    OutcomeUnknown {
        /// What its section is called.
        label: String,
        /// From 0.
        index: u32,
        /// The command.
        name: String,
        /// What happened.
        source: Box<RunnerError>,
    },
    /// Our fault.
    #[error("internal error: {0}")]
    Internal(String),
}

fn last_lines(tail: &str) -> String {
    if tail.trim().is_empty() { String::new() } else { format!("\nits last output:\n{}", tail.trim_end()) }
}

impl Failure {
    /// Something that should not happen.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// What this engine lacks, and every other one.
    pub(super) fn lacks(build: &BuildPlan, engine: &Engine, feature: Feature) -> Self {
        let (service, engine, version) =
            (build.service.clone(), Box::new(engine.address().clone()), engine.version().into_boxed_str());
        Self::Lacks { service, engine, version, feature }
    }

    /// Without the output.
    pub fn cause(&self) -> String {
        match self {
            Self::Build { service, source, .. } => format!("build of service `{service}` failed: {source}"),
            _ => self.to_string(),
        }
    }

    /// Whether trying again may help. Never after a command has started.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(source) | Self::Build { source, .. } => source.is_transient(),
            Self::Runner(source) => source.is_transient(),
            Self::Registry(_) => true,
            _ => false,
        }
    }

    /// How the job ends.
    pub fn end(&self) -> (JobState, Option<JobFailure>) {
        let (code, hint) = match self {
            Self::Cancelled
            | Self::Engine(buildkit::Error::Cancelled)
            | Self::Build { source: buildkit::Error::Cancelled, .. } => return (JobState::Cancelled, None),
            Self::Engine(_) => ("engine_unavailable", None),
            Self::Build { source: buildkit::Error::Solve(_), tail, hint, .. } => (
                "build_failed",
                hint.as_deref()
                    .map(str::to_owned)
                    .or_else(|| no_emulator(tail))
                    .or_else(|| no_room(&self.cause(), tail))
                    .or_else(|| no_secret(&self.cause()))
                    .or_else(|| build_hint(&self.cause())),
            ),
            Self::Build { .. } => ("engine_lost", None),
            Self::Cache { problem, .. } if problem.contains("engine's own machine") => (
                "invalid_plan",
                Some("an admin can allow it: `jobs.cache_hosts` in the service's configuration".to_owned()),
            ),
            Self::Plan { .. } | Self::Image(_) | Self::Cache { .. } => ("invalid_plan", None),
            Self::Push { .. } => ("push_refused", None),
            Self::Frontend { .. } => (
                "build_failed",
                Some(
                    "`docker/dockerfile` is allowed; an admin who trusts all namespaces with each other's caches can \
                     allow any (`jobs.frontends = \"any\"`)"
                        .to_owned(),
                ),
            ),
            Self::Lacks { feature, .. } => ("build_failed", Some(feature.hint().to_owned())),
            Self::NotPushed { user, .. } => (
                "invalid_plan",
                Some(format!("name the services that need no pushing: `slipway build --push=false {user}`")),
            ),
            Self::Context { .. }
            | Self::Secret { .. }
            | Self::SshKey { .. }
            | Self::Export { .. }
            | Self::CacheArchive { .. } => ("build_failed", None),
            Self::Gone { .. } => ("image_gone", Some("run it again: the image is built then".to_owned())),
            Self::Registry(_) => ("registry_unavailable", None),
            Self::Runner(source) if matches!(**source, RunnerError::NoShell { .. }) => (
                "runner_failed",
                Some("name an image with a shell, such as the debug variant of a distroless one".to_owned()),
            ),
            Self::Runner(_) => ("runner_failed", build_hint(&self.to_string())),
            Self::Command { .. } => ("command_failed", None),
            Self::Limit { namespace, exceeded, .. } => ("limit_exceeded", Some(limits::hint(exceeded, namespace))),
            Self::OutcomeUnknown { .. } => {
                ("outcome_unknown", Some("see what the command left behind before you run it again".to_owned()))
            }
            Self::Required(required) => (Required::CODE, Some(required.hint())),
            Self::Internal(_) => ("internal", None),
        };
        (JobState::Failed, Some(JobFailure { code: code.to_owned(), message: self.to_string(), hint }))
    }
}

/// For a step whose last words are those of a machine that can't run its program.
fn no_emulator(tail: &str) -> Option<String> {
    tail.trim_end().ends_with("exec format error").then(|| {
        "the program is for another platform, and the engine has no emulator for it: `docker run --privileged --rm \
         tonistiigi/binfmt --install all` on its machine installs them"
            .to_owned()
    })
}

/// For an engine whose disk is full, or a step that has filled what it has.
fn no_room(message: &str, tail: &str) -> Option<String> {
    // BuildKit writes it as Go does, programs as libc does. What this service writes ends with a number of Rust's.
    let is_full = |line: &&str| line.to_ascii_lowercase().contains("no space left on device");
    let of_the_engine = |line: &&str| is_full(line) && !line.contains("os error");
    let line = said(message).find(of_the_engine).or_else(|| tail.lines().find(is_full))?;
    let hint = if line.contains("/dev/shm") {
        "what a step has there is memory: `slipway build --shm-size 1g`, or `shm_size: 1g` in the manifest, gives it more"
    } else {
        "the engine's disk is full, or a tmpfs mount of the step: `slipway cache prune --all` removes what your namespace's cache mounts hold; an admin can \
         remove other caches there (`buildctl prune`, `docker builder prune`), and have the engine keep less (its garbage \
         collection)"
    };
    Some(hint.to_owned())
}

/// For a step that requires a secret which nobody gave.
fn no_secret(message: &str) -> Option<String> {
    let said = said(message).find(|line| line.contains("secret "))?;
    let (_, said) = said.split_once("secret ")?;
    let id = said.strip_suffix(": not found").or_else(|| said.split_once(": not found").map(|(id, _)| id))?;
    let given = format!("`slipway build --secret id={id},src=PATH`, or `secrets: {{{id}: PATH}}` in the manifest");
    (!id.is_empty() && !id.contains([' ', '"', '/'])).then(|| format!("give it a value: {given}"))
}

/// Whether a registry did not give an image, as it wants to know who asks or knows it (containerd, `remotes/docker`).
fn wants_login(message: &str) -> bool {
    let images = ["failed to resolve source metadata", "failed to fetch", "failed to copy", "pull access denied"];
    said(message).any(|line| is_refused(line) && images.iter().any(|word| line.contains(word)))
}

/// The same for an image or a cache that it did not take, or a token that opens a repository for that.
fn may_not_push(message: &str) -> bool {
    let pushed =
        ["failed to push", "error writing layer blob", "error writing manifest blob", "error writing config blob"];
    // Of a URL: `scope=repository:a/b:pull,push`.
    let tokens = ["failed to fetch anonymous token", "failed to fetch oauth token"];
    let is_token = |line: &str| line.contains("pull%2Cpush") && tokens.iter().any(|word| line.contains(word));
    said(message).any(|line| {
        let is_push = pushed.iter().any(|word| line.contains(word)) || is_token(line);
        // The registry's own code for it, at the end or in front of its words.
        let is_code = |code: &str| line.ends_with(code) || line.contains(&format!("{code}: "));
        is_push && (is_refused(line) || is_code(": denied") || is_code(": unauthorized"))
    })
}

fn is_refused(line: &str) -> bool {
    let refused = ["401 Unauthorized", "403 Forbidden", "authorization failed", "no basic auth credentials"];
    refused.iter().any(|word| line.contains(word))
}

/// Without the lines of the Dockerfile in front.
fn said(message: &str) -> impl Iterator<Item = &str> {
    message.lines().filter(|line| !line.contains(" | "))
}

fn build_hint(message: &str) -> Option<String> {
    let hint = if message.contains("no SSH agent `") {
        "give it one while you wait for the build: `slipway build --ssh default`, or `ssh: [default]` in the manifest"
    } else if message.contains("denied by policy") && message.contains("git://") {
        "what an engine fetches with an SSH agent would be everybody's, and its own host is out of reach: clone in a RUN step \
         with `--mount=type=ssh`"
    } else if message.contains("denied by policy") {
        "a build may use images of its own namespace and of the global one only"
    } else if message.contains("failed to calculate checksum") || message.contains("not found: not found") {
        "is the file in the context, and not excluded by an ignore file? `slipway files --for build:<service>` lists what is sent"
    } else if message.contains("unknown cache exporter") || message.contains("unknown cache importer") {
        "this engine knows no caches of that type: leave it out, or have an admin add a buildkitd, which does"
    } else if message.contains("is damaged: its content") {
        "the service's disk has lost it: run the command again, and it is sent anew"
    } else if message.contains("no match for platform in manifest") {
        "the base image is not there for that platform"
    } else if message.contains("failed to resolve source metadata for docker.io/docker/dockerfile") {
        "`# syntax=` names an image that the engine can't get; without that line the engine's own frontend is taken"
    } else if may_not_push(message) {
        "the service pushes with its own account, not with your logins: an admin can see to it that the account \
         (`registry.username`) may push there, and that the repository is there if the registry makes none by itself; of the \
         service's own registry, that the clocks of service and engine agree"
    } else if wants_login(message) {
        "its registry gives it to those it knows only: `docker login` there on your machine, and build again: your logins go \
         along"
    } else if message.contains("failed to resolve source metadata") {
        "is the image's name right, and can the engine reach its registry?"
    } else {
        return None;
    };
    Some(hint.to_owned())
}
