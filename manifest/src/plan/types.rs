//! The plan's types; stored and sent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{stored, test_options::TestOptions};
use crate::{expand::Template, git_url::GitUrl, names::ServiceName, options::BuildOptions, variables::looks_secret};

/// What a job does, expanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which command was given.
    pub kind: JobKind,
    /// The application's name, as written.
    pub name: String,
    /// Other repositories that are deployed before everything else, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<DependencyPlan>,
    /// In build order: a build depends only on those before it.
    pub builds: Vec<BuildPlan>,
    /// The commands that run after the builds, in this order: one entry for `deploy` and `destroy`, one for each test.
    #[serde(deserialize_with = "stored::list")]
    pub commands: Vec<CommandsPlan>,
}

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Images only.
    Build,
    /// Images that are missing, then the deploy commands.
    Deploy,
    /// The destroy commands.
    Destroy,
    /// Test containers.
    Test,
}

impl Plan {
    /// A plan of nothing, for who fills it in.
    pub fn empty(kind: JobKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), dependencies: Vec::new(), builds: Vec::new(), commands: Vec::new() }
    }

    /// Whether there is anything in it besides builds.
    pub fn runs_something(&self) -> bool {
        !self.commands.is_empty() || !self.dependencies.is_empty()
    }
}

/// Another repository, which is cloned and deployed first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyPlan {
    /// The name of its environment.
    pub name: String,
    /// Its URL, as git takes it; may hold a user and a password.
    pub repository: String,
    /// A branch or a tag; none: the repository's own.
    pub branch: Option<String>,
    /// The path of its manifest; none: found as everywhere.
    pub manifest: Option<String>,
    /// `--var` for it, sorted by name.
    pub variables: Vec<(String, String)>,
    /// Whether its deploy has to succeed before anything else happens.
    pub wait: bool,
    /// How long it may take, in seconds.
    pub timeout_s: u64,
    /// Deployed even if it is already (`deploy --dependencies`).
    #[serde(default)]
    pub again: bool,
}

/// The section of the manifest that commands come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// `deploy`.
    Deploy,
    /// `destroy`.
    Destroy,
    /// `test`.
    Test,
    /// `dependencies`, whose commands are the service's own.
    Dependencies,
}

/// One image to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// Its name in the manifest.
    pub service: ServiceName,
    /// The context, relative to the manifest's root.
    pub context: String,
    /// The Dockerfile, relative to the context or, where it is not there, to the manifest's root.
    pub dockerfile: String,
    /// The stage to build.
    pub target: Option<String>,
    /// The manifest's build arguments, sorted by name; see [`BuildPlan::complete_args`].
    pub args: Vec<(String, Template)>,
    /// Those of `--build-arg`, sorted by name: final, and stronger than everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_args: Vec<(String, String)>,
    /// What the manifest says the image is named; see [`BuildPlan::images`].
    pub image: Option<Template>,
    /// The builds that come before this one.
    pub depends_on: Vec<ServiceName>,
    /// `--platform`; empty: the engine's own.
    pub platforms: Vec<String>,
    /// What goes to BuildKit as it is.
    #[serde(default)]
    pub options: BuildOptions,
    /// `--no-cache`.
    pub no_cache: bool,
    /// Built even if the registry has an image with the same input digest: `--no-cache`, or
    /// `OKTETO_SMART_BUILDS_ENABLED=false`.
    #[serde(default)]
    pub no_skip: bool,
    /// Nothing is built where the registry has the image already, whatever is in it.
    #[serde(default)]
    pub only_if_missing: bool,
}

/// Commands of one section, or of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandsPlan {
    /// Where they come from.
    pub section: Section,
    /// The test's name, in the section `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The image they run in; without it the service's runner image.
    pub image: Option<Template>,
    /// The folder they run in, relative to the manifest's root.
    pub context: String,
    /// What the manifest says about running remotely.
    pub remote: Option<bool>,
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// Variables for the commands, sorted by name: `.env` and `--var`.
    pub env: Vec<(String, String)>,
    /// All commands run, whichever of them fail (`destroy --force`).
    #[serde(default)]
    pub keep_going: bool,
    /// Variables that must have a value in the end, which the commands may have left in `$OKTETO_ENV`: the URLs of `external`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// What only tests have.
    #[serde(default, skip_serializing_if = "TestOptions::is_empty")]
    pub testing: TestOptions,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What it is called in logs: its `name`, or its text.
    pub name: String,
    /// What the shell runs; nothing in it is expanded before.
    pub command: String,
}

impl DependencyPlan {
    /// What nobody is to see of it: passwords, and variables whose names look secret.
    pub fn secrets(&self) -> impl Iterator<Item = String> {
        let login = GitUrl::parse(&self.repository).ok().and_then(|url| url.credentials());
        // A user alone is a token, as is one with this password, which everybody knows.
        let is_token = |password: &str| password.is_empty() || password == "x-oauth-basic";
        let login = login.map(|(user, password)| if is_token(&password) { user } else { password });
        let variables = self.variables.iter().filter(|(name, _)| looks_secret(name));
        login.into_iter().chain(variables.map(|(_, value)| value.clone()))
    }
}

impl CommandsPlan {
    /// What messages call them: `deploy`, or test `unit`.
    pub fn label(&self) -> String {
        label(self.section, self.test.as_deref())
    }
}

/// What messages call a section's commands: `deploy`, or test `unit`.
pub fn label(section: Section, test: Option<&str>) -> String {
    test.map_or_else(|| section.to_string(), |test| format!("{section} `{test}`"))
}

impl JobKind {
    /// The word of the command line and of `job show`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Deploy => "deploy",
            Self::Destroy => "destroy",
            Self::Test => "test",
        }
    }
}

impl Section {
    /// The key in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Destroy => "destroy",
            Self::Test => "test",
            Self::Dependencies => "dependencies",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
