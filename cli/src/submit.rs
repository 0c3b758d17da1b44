//! From a plan and its roots to a job that the service has in its queue.

use std::time::Duration;

use slipway_manifest::plan::{ArtifactPlan, BuildPlan, CommandsPlan, DependencyPlan, JobKind, Plan, TestOptions};
use slipway_proto::v1;
use slipway_proto::v1::{Job, KeyValue, MaskedValue, RegistryLogin, Root, SecretValue, SubmitRequest};
use uuid::Uuid;

use crate::client::{Client, LONG_CALL, Patience, ServiceError, timed};
use crate::exports::caches::LocalCaches;
use crate::roots::{BuildRoots, Roots, is_dockerfile};
use crate::ssh::Agents;
use crate::sync::Inline;

/// A plan, the trees that it reads, and which build reads which.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What to do.
    pub(crate) plan: Plan,
    /// The trees.
    pub(crate) roots: Roots,
    /// Of each build of the plan, in its order.
    pub(crate) builds: Vec<BuildRoots>,
    /// The working directories of the plan's commands, in its order.
    pub(crate) commands: Vec<String>,
    /// The values of the builds' secrets.
    pub(crate) secrets: Vec<SecretValue>,
    /// Values that nobody is to see in what people read of the job.
    pub(crate) masked: Vec<MaskedValue>,
    /// What the caller is logged in to, of the registries that the plan takes images from.
    pub(crate) logins: Vec<RegistryLogin>,
    /// The SSH agents that builds may use.
    pub(crate) agents: Agents,
    /// Where builds leave caches here.
    pub(crate) caches: LocalCaches,
    /// How it is to wait, and to end.
    pub(crate) terms: Terms,
}

/// How a job is to wait, and to end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// Be refused rather than wait for another job that changes the environment.
    pub(crate) no_wait: bool,
    /// How long commands may take to end after TERM; none: as usual.
    pub(crate) grace: Option<Duration>,
}

impl Prepared {
    /// The request that makes a job of this. `registry` is the service's own: it makes its tokens itself.
    pub(crate) fn request(&self, namespace: &str, registry: &str) -> SubmitRequest {
        let builds = self.plan.builds.iter().zip(&self.builds).map(|(plan, roots)| build(plan, roots)).collect();
        let commands = self.plan.commands.iter().zip(&self.commands).map(|(plan, root)| commands(plan, root)).collect();
        let kind = match self.plan.kind {
            JobKind::Build => v1::JobKind::Build,
            JobKind::Deploy => v1::JobKind::Deploy,
            JobKind::Destroy => v1::JobKind::Destroy,
            JobKind::Test => v1::JobKind::Test,
        };
        let dependencies = self.plan.dependencies.iter().map(dependency).collect();
        let plan = v1::Plan { kind: kind.into(), name: self.plan.name.clone(), dependencies, builds, commands };
        let mut inline = Inline::default();
        let roots = self.roots.trees().iter().map(|tree| Root {
            name: tree.name.clone(),
            digest: tree.scan.digest().as_bytes().to_vec(),
            inline: if is_dockerfile(tree) { inline.take(tree) } else { Vec::new() },
            narrowed_to: tree.only.clone(),
        });
        SubmitRequest {
            request_id: Uuid::now_v7().to_string(),
            namespace: namespace.to_owned(),
            plan: Some(plan),
            roots: roots.collect(),
            secrets: self.secrets.clone(),
            masked: self.masked.clone(),
            logins: self.logins.iter().filter(|login| login.host != registry).cloned().collect(),
            no_wait: self.terms.no_wait,
            grace_ms: self.terms.grace.map(|grace| grace.as_millis() as u32),
        }
    }
}

/// What the service makes of a request.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// A job, and the names of the roots that it lacks.
    Job(Box<Job>, Vec<String>),
    /// No job: these roots have to be complete.
    Widen(Vec<String>),
}

/// Creates the job. With the same request id a repeated call gives the same job, so a broken connection makes no second one.
pub(crate) async fn submit(client: &Client, request: &SubmitRequest) -> Result<Submitted, ServiceError> {
    let call = || {
        let (mut jobs, request) = (client.jobs(), timed(request.clone(), LONG_CALL));
        async move { jobs.submit(request).await }
    };
    let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    if !answer.widen_roots.is_empty() {
        return Ok(Submitted::Widen(answer.widen_roots));
    }
    let job = answer.job.filter(|job| !job.id.is_empty());
    let job = job.ok_or_else(|| client.malformed("a submitted job without an id"))?;
    Ok(Submitted::Job(Box::new(job), answer.missing_roots))
}

fn dependency(plan: &DependencyPlan) -> v1::DependencyPlan {
    v1::DependencyPlan {
        name: plan.name.clone(),
        repository: plan.repository.clone(),
        branch: plan.branch.clone(),
        manifest: plan.manifest.clone(),
        variables: plan.variables.iter().map(|(key, value)| key_value(key, value)).collect(),
        wait: plan.wait,
        timeout_s: plan.timeout_s,
        again: plan.again,
    }
}

fn build(plan: &BuildPlan, roots: &BuildRoots) -> v1::BuildPlan {
    let args = plan.args.iter().map(|(key, value)| key_value(key, value.source())).collect();
    let build_args = plan.build_args.iter().map(|(key, value)| key_value(key, value)).collect();
    let named_roots = roots.named.iter().map(|(name, root)| v1::NamedRoot { name: name.clone(), root: root.clone() });
    v1::BuildPlan {
        service: plan.service.as_str().to_owned(),
        context: plan.context.clone(),
        dockerfile: roots.file.clone(),
        target: plan.target.clone(),
        args,
        image: plan.image.as_ref().map(|image| image.source().to_owned()),
        depends_on: plan.depends_on.iter().map(|service| service.as_str().to_owned()).collect(),
        platforms: plan.platforms.clone(),
        no_cache: plan.no_cache,
        only_if_missing: plan.only_if_missing,
        context_root: roots.context.clone(),
        dockerfile_root: roots.dockerfile.clone(),
        build_args,
        no_skip: plan.no_skip,
        named_roots: named_roots.collect(),
        cache_roots: roots.caches.clone(),
        options: plan.options.to_pairs().iter().map(|(key, text)| key_value(key.as_str(), text)).collect(),
    }
}

fn commands(plan: &CommandsPlan, root: &str) -> v1::CommandsPlan {
    let command = |command: &slipway_manifest::plan::Command| v1::Command {
        name: command.name.clone(),
        command: command.command.clone(),
    };
    v1::CommandsPlan {
        section: plan.section.as_str().to_owned(),
        image: plan.image.as_ref().map(|image| image.source().to_owned()),
        commands: plan.commands.iter().map(command).collect(),
        env: plan.env.iter().map(|(key, value)| key_value(key, value)).collect(),
        root: root.to_owned(),
        context: plan.context.clone(),
        test: plan.test.clone(),
        keep_going: plan.keep_going,
        required: plan.required.clone(),
        testing: plan.test.as_ref().map(|_| testing(&plan.testing)),
    }
}

fn testing(options: &TestOptions) -> v1::TestOptions {
    let artifact = |artifact: &ArtifactPlan| v1::Artifact {
        path: artifact.path.clone(),
        destination: artifact.destination.clone(),
    };
    v1::TestOptions {
        depends_on: options.depends_on.clone(),
        artifacts: options.artifacts.iter().map(artifact).collect(),
        caches: options.caches.clone(),
        hosts: options.hosts.iter().map(ToString::to_string).collect(),
        skip_unchanged: options.skip_unchanged,
        no_cache: options.no_cache,
    }
}

fn key_value(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}
