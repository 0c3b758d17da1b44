//! `--print`: the resolved plan as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    git_url::GitUrl,
    names::{ServiceName, default_image},
    plan::{BuildPlan, Command, CommandsPlan, Decision, DependencyPlan, Plan, Section},
};

/// The resolved plan as JSON: `{"services":[…]}` in build order, and `"dependencies":[…]` and `"commands":[…]` where it has some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedPlan {
    /// Other repositories, which are deployed first, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<PrintedDependency>,
    /// One entry an image.
    pub services: Vec<PrintedBuild>,
    /// One entry a section or test.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<PrintedCommands>,
}

/// One dependency of [`PrintedPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedDependency {
    /// The name of its environment.
    pub name: String,
    /// Its URL, without a user and a password.
    pub repository: String,
    /// A branch or a tag; null: the repository's own.
    pub branch: Option<String>,
    /// The path of its manifest; null: found as everywhere.
    pub manifest: Option<String>,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// Whether its deploy is waited for.
    pub wait: bool,
    /// How long it may take, in seconds.
    pub timeout_s: u64,
}

/// The commands of one section or test of [`PrintedPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedCommands {
    /// The section.
    pub section: Section,
    /// The test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The image they run in; null: the service's runner image, or this machine.
    pub image: Option<String>,
    /// The folder they run in, relative to the manifest's root.
    pub context: String,
    /// They run on the service.
    pub remote: bool,
    /// Why there.
    pub reason: String,
    /// In order.
    pub commands: Vec<Command>,
    /// Their variables, but for those of the images and of the service.
    pub env: BTreeMap<String, String>,
}

/// One image of [`PrintedPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedBuild {
    /// The service.
    pub name: ServiceName,
    /// The context, relative to the manifest's root.
    pub context: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments; what depends on images that are built first is still an expression.
    pub args: BTreeMap<String, String>,
    /// The image's name as written, or the default.
    pub image: String,
    /// The builds before.
    pub depends_on: Vec<ServiceName>,
    /// The platforms; empty: the engine's own.
    pub platforms: Vec<String>,
    /// What goes to BuildKit besides: texts as flags have them, by the flag's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Vec<String>>,
    /// Digest of the context, known offline.
    pub context_digest: Option<String>,
    /// Digest of everything that goes into the image; unknown while that depends on an image that isn't built.
    pub input_digest: Option<String>,
}

/// What the caller knows about one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digests {
    /// Digest of the context.
    pub context: Option<String>,
    /// Digest of everything that goes into the image.
    pub input: Option<String>,
}

impl PrintedPlan {
    /// The printed form of a plan.
    pub fn new(plan: &Plan, mut digests: impl FnMut(&BuildPlan) -> Digests) -> Self {
        let services = plan.builds.iter().map(|build| PrintedBuild::new(plan, build, digests(build))).collect();
        let dependencies = plan.dependencies.iter().map(PrintedDependency::from).collect();
        Self { dependencies, services, commands: Vec::new() }
    }

    /// The same with the plan's commands; of each a decision where they run.
    #[must_use]
    pub fn with_commands(mut self, plan: &Plan, decisions: &[Decision]) -> Self {
        let commands = plan.commands.iter().zip(decisions);
        self.commands = commands.map(|(commands, decision)| PrintedCommands::new(commands, decision)).collect();
        self
    }

    /// The same with all texts that come of expansion changed, such as by masks; `of_env` changes what commands find in their
    /// environment.
    #[must_use]
    pub fn masked(mut self, mask: impl Fn(&str) -> String, of_env: impl Fn(&str) -> String) -> Self {
        for service in &mut self.services {
            let options = service.options.values_mut().flatten();
            let texts = [&mut service.context, &mut service.dockerfile, &mut service.image].into_iter();
            let texts = texts.chain(&mut service.target).chain(service.args.values_mut()).chain(options);
            texts.for_each(|text| *text = mask(text));
        }
        for dependency in &mut self.dependencies {
            let texts = [&mut dependency.repository].into_iter().chain(&mut dependency.branch);
            texts.chain(&mut dependency.manifest).for_each(|text| *text = mask(text));
            dependency.variables.values_mut().for_each(|value| *value = of_env(value));
        }
        for commands in &mut self.commands {
            let texts = commands.commands.iter_mut().flat_map(|command| [&mut command.name, &mut command.command]);
            let texts = texts.chain(&mut commands.image).chain([&mut commands.context]);
            texts.for_each(|text| *text = mask(text));
            commands.env.values_mut().for_each(|value| *value = of_env(value));
        }
        self
    }
}

impl From<&DependencyPlan> for PrintedDependency {
    fn from(plan: &DependencyPlan) -> Self {
        let DependencyPlan { name, repository, branch, manifest, variables, wait, timeout_s, .. } = plan;
        let url = GitUrl::parse(repository);
        Self {
            name: name.clone(),
            repository: url.map_or_else(|_| repository.clone(), |url| url.without_credentials()),
            branch: branch.clone(),
            manifest: manifest.clone(),
            variables: variables.iter().cloned().collect(),
            wait: *wait,
            timeout_s: *timeout_s,
        }
    }
}

impl PrintedCommands {
    fn new(commands: &CommandsPlan, decision: &Decision) -> Self {
        Self {
            section: commands.section,
            test: commands.test.clone(),
            image: commands.image.as_ref().map(ToString::to_string).filter(|image| !image.is_empty()),
            context: commands.context.clone(),
            remote: decision.remote,
            reason: decision.reason.clone(),
            commands: commands.commands.clone(),
            env: commands.env.iter().cloned().collect(),
        }
    }
}

impl PrintedBuild {
    fn new(plan: &Plan, build: &BuildPlan, digests: Digests) -> Self {
        let mut args: BTreeMap<String, String> =
            build.args.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        args.extend(build.build_args.iter().cloned());
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, text) in build.options.to_pairs() {
            options.entry(key.to_string()).or_default().push(text);
        }
        Self {
            name: build.service.clone(),
            context: build.context.clone(),
            dockerfile: build.dockerfile.clone(),
            target: build.target.clone(),
            args,
            image: build
                .image
                .as_ref()
                .map(ToString::to_string)
                .filter(|image| !image.is_empty())
                .unwrap_or_else(|| default_image(&plan.name, &build.service)),
            depends_on: build.depends_on.clone(),
            platforms: build.platforms.clone(),
            options,
            context_digest: digests.context,
            input_digest: digests.input,
        }
    }
}
