//! The manifest as it was written: every text that is expanded later knows its place.

mod dependency;
mod deploy;
mod external;
mod not_run;
mod up;

use crate::{names::ServiceName, options::OptionKey, problem::Place, suggest};
pub use dependency::ManifestDependency;
pub use deploy::{
    Compose, ComposeFile, Divert, DivertDriver, DivertHost, Endpoint, EndpointRule, Endpoints, VirtualService,
};
pub use external::{External, ExternalEndpoint};
pub use not_run::NotRun;
pub use up::{Dev, GlobalForward};

/// What an `okteto.yaml` says, checked but not expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The file as the caller named it.
    pub file: String,
    /// What is in the file, for messages that show its lines.
    pub source: String,
    /// `name`: the application; without it the caller uses the directory's name.
    pub name: Option<Text>,
    /// `build`, in the order of the file. No duplicates, no cycles, every dependency is here.
    pub build: Vec<Build>,
    /// `deploy`.
    pub deploy: Option<Deploy>,
    /// `destroy`.
    pub destroy: Option<CommandSection>,
    /// `test`, in the order of the file.
    pub tests: Vec<Test>,
    /// `dependencies`, in the order of the file.
    pub dependencies: Vec<ManifestDependency>,
    /// `external`, in the order of the file.
    pub external: Vec<External>,
    /// `dev`, in the order of the file.
    pub dev: Vec<Dev>,
    /// `forward`.
    pub forward: Vec<GlobalForward>,
    /// `icon`.
    pub icon: Option<Text>,
}

/// A text as written, before expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub value: String,
    /// Where it is.
    pub place: Place,
}

/// One image of the `build` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its key, sanitised.
    pub service: ServiceName,
    /// Where its key is.
    pub place: Place,
    /// `context`; default `.`.
    pub context: Option<Text>,
    /// `dockerfile`; default `Dockerfile`.
    pub dockerfile: Option<Text>,
    /// `image`: a reference or a comma-separated list of them.
    pub image: Option<Text>,
    /// `target`: the stage to build. Not expanded, as in Okteto.
    pub target: Option<Text>,
    /// `args`, sorted by name.
    pub args: Vec<BuildArg>,
    /// `depends_on`, as written.
    pub depends_on: Vec<Dependency>,
    /// `platforms`.
    pub platforms: Vec<Text>,
    /// `labels`, `annotations`, `extra_hosts`, …: each in the form that
    /// [`BuildOptions::set`](crate::options::BuildOptions::set) reads.
    pub options: Vec<(OptionKey, Text)>,
    /// `secrets`, in the order of the file.
    pub secrets: Vec<BuildSecret>,
}

/// One secret of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSecret {
    /// Its id.
    pub id: String,
    /// Where its key is.
    pub place: Place,
    /// Where its value is.
    pub source: BuildSecretSource,
    /// `rotates`: another value changes nothing.
    pub rotates: bool,
}

/// Where the value of a manifest's secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildSecretSource {
    /// `file`, a path.
    File(Text),
    /// `env`, the name of a variable.
    Env(Text),
    /// `variable`, the name of one that the service keeps.
    Variable(Text),
}

/// One build argument of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildArg {
    /// Its name.
    pub name: String,
    /// Its value; `None`: a list item without `=`, which takes the value of the variable of that name.
    pub value: Option<Text>,
    /// Where it is.
    pub place: Place,
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The service that is built before.
    pub service: ServiceName,
    /// Where it says so.
    pub place: Place,
}

/// The `deploy` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// What runs, and where.
    pub run: CommandSection,
    /// `compose`.
    pub compose: Option<Compose>,
    /// `endpoints`.
    pub endpoints: Option<Endpoints>,
    /// `divert`.
    pub divert: Option<Divert>,
}

/// What `deploy` and `destroy` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSection {
    /// Where its key is.
    pub place: Place,
    /// `image`: what the commands run in.
    pub image: Option<Text>,
    /// `context`: the folder the commands run in.
    pub context: Option<Text>,
    /// `remote`, where it says so.
    pub remote: Option<bool>,
    /// `commands`, or the section itself when it is a list.
    pub commands: Vec<ManifestCommand>,
}

/// One test of the `test` section. Its texts are expanded, but for its commands and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its key.
    pub name: String,
    /// Where its key is.
    pub place: Place,
    /// `image`: what the commands run in.
    pub image: Option<Text>,
    /// `context`: the folder that its commands run in.
    pub context: Option<Text>,
    /// `commands`; at least one.
    pub commands: Vec<ManifestCommand>,
    /// `depends_on`: the tests that run before it. Each is in this manifest, and there are no cycles.
    pub depends_on: Vec<Text>,
    /// `caches`: folders that the next run of the test finds again.
    pub caches: Vec<Text>,
    /// `artifacts`: what is brought back.
    pub artifacts: Vec<Artifact>,
    /// `hosts`: names that the commands find under an address.
    pub hosts: Vec<TestHost>,
    /// `skipIfNoFileChanges`.
    pub skip_if_no_file_changes: bool,
}

/// One entry of a test's `artifacts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What is taken, relative to the test's folder.
    pub path: Text,
    /// Where it goes, relative to the test's context; without it, where it was.
    pub destination: Option<Text>,
}

/// One entry of a test's `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestHost {
    /// The name.
    pub hostname: Text,
    /// The address.
    pub ip: Text,
}

/// One command as written: the shell expands it, not we.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestCommand {
    /// `name`, or the command itself.
    pub name: String,
    /// What the shell runs.
    pub command: String,
    /// Where it is.
    pub place: Place,
}

impl Manifest {
    /// The build of this service.
    pub fn build_of(&self, service: &str) -> Option<&Build> {
        self.build.iter().find(|build| build.service.as_str() == service)
    }

    /// Whether `deploy` would do anything: a section that says nothing counts.
    pub(crate) fn has_anything_to_deploy(&self) -> bool {
        let (deploy, others) = (self.deploy.is_some(), !self.dependencies.is_empty() || !self.external.is_empty());
        deploy || others || !self.build.is_empty()
    }

    /// The test of this name; else what may have been meant.
    pub fn test_of(&self, name: &str) -> Result<&Test, Option<String>> {
        let names = self.tests.iter().map(|test| test.name.as_str());
        self.tests.iter().find(|test| test.name == name).ok_or_else(|| suggest::hint(name, names))
    }
}
