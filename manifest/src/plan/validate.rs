//! The service trusts no plan that it is sent.

use std::collections::BTreeSet;

use super::{
    complete::split_images,
    create::{MULTI_PLATFORM, SOURCE_DATE_EPOCH},
    types::{BuildPlan, CommandsPlan, DependencyPlan, JobKind, Plan, Section},
};
use crate::{
    expand::Template,
    git_url::GitUrl,
    names::{ServiceName, is_variable_name, sanitise_application},
    options::{MAX_SECRET, NamedContext, check_platform},
    parse::{MAX_BUILDS, is_arg_name},
    reference,
    variables::RESERVED,
};

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// Too much of something.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: String,
        /// How much there may be.
        limit: usize,
    },
    /// The application's name.
    #[error("`{}` can't be the name of an application", .0.escape_debug())]
    Application(String),
    /// A service twice.
    #[error("service `{0}` is in the plan twice")]
    Duplicate(ServiceName),
    /// A dependency that is not built before.
    #[error("`{service}` depends on `{dependency}`, which does not come before it")]
    Order {
        /// The build.
        service: ServiceName,
        /// What it depends on.
        dependency: ServiceName,
    },
    /// A field of a build or of the commands.
    #[error("{field} of `{owner}` is invalid: {reason}")]
    Field {
        /// The service or section.
        owner: String,
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A plan that does not fit its kind.
    #[error("a {kind} job can't have {what}")]
    Kind {
        /// The plan's kind.
        kind: JobKind,
        /// What it has or lacks.
        what: &'static str,
    },
}

/// BuildKit would take arguments with this prefix for attestations.
const ATTESTATIONS: &str = "BUILDKIT_ATTEST_";
const MAX_ENTRIES: usize = 1000;
const MAX_IMAGES: usize = 32;
/// Linux takes no longer argument or variable.
const MAX_VALUE: usize = 128 * 1024;
const MAX_PATH: usize = 4096;
/// As many as a manifest can have.
const MAX_TESTS: usize = 256;
const MAX_TEST_NAME: usize = 255;
/// As many as a manifest can have.
const MAX_DEPENDENCIES: usize = 64;
/// All of them as JSON: no program can be started with a variable that is much larger.
const MAX_DEPENDENCY_BYTES: usize = 96 * 1024;
const MAX_TIMEOUT_S: u64 = 24 * 3600;
const MAX_TOTAL: usize = 8 * 1024 * 1024;

impl Plan {
    /// Checks everything that later steps rely on.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        if !printable_name(&self.name) {
            return Err(InvalidPlan::Application(self.name.chars().take(100).collect()));
        }
        limit("the number of builds", self.builds.len(), MAX_BUILDS)?;
        let mut total = 0;
        self.check_dependencies(&mut total)?;
        let mut before: BTreeSet<&ServiceName> = BTreeSet::new();
        for build in &self.builds {
            for dependency in &build.depends_on {
                if !before.contains(dependency) {
                    return Err(InvalidPlan::Order { service: build.service.clone(), dependency: dependency.clone() });
                }
            }
            if !before.insert(&build.service) {
                return Err(InvalidPlan::Duplicate(build.service.clone()));
            }
            check_build(build, &mut total)?;
        }
        self.check_kind()?;
        if let Some(ssh) = &self.ssh {
            limit("the size of known_hosts in bytes", ssh.known_hosts.len(), MAX_SECRET)?;
            total += ssh.known_hosts.len();
        }
        for commands in &self.commands {
            check_commands(commands, &mut total)?;
        }
        limit("the plan's size in bytes", total, MAX_TOTAL)
    }

    fn check_dependencies(&self, total: &mut usize) -> Result<(), InvalidPlan> {
        let known = matches!(self.kind, JobKind::Build | JobKind::Deploy);
        if !self.dependencies.is_empty() && !known {
            return Err(InvalidPlan::Kind { kind: self.kind, what: "dependencies" });
        }
        limit("the number of dependencies", self.dependencies.len(), MAX_DEPENDENCIES)?;
        // Those that differ only in what images and variables can't be named by would share these.
        let mut names = BTreeSet::from([sanitise_application(&self.name)]);
        for dependency in &self.dependencies {
            if !printable_name(&dependency.name) || !names.insert(sanitise_application(&dependency.name)) {
                let shown: String = dependency.name.escape_debug().take(100).collect();
                let reason = "it is no name of an environment, or another one's or the application's own";
                return Err(InvalidPlan::Field { owner: shown, field: "name", reason: reason.to_owned() });
            }
            check_dependency(dependency, total)?;
        }
        // As it gets into the environment of a command.
        let json = serde_json::to_string(&self.dependencies).map_or(0, |json| json.len());
        limit("the size of the dependencies in bytes", json, MAX_DEPENDENCY_BYTES)
    }

    fn check_kind(&self) -> Result<(), InvalidPlan> {
        let wrong = |what| Err(InvalidPlan::Kind { kind: self.kind, what });
        let section = match (self.kind, self.commands.as_slice()) {
            (JobKind::Build, [_, ..]) => return wrong("commands"),
            (JobKind::Build, []) if self.builds.is_empty() && self.dependencies.is_empty() => {
                return wrong("no builds");
            }
            // What is deployed may be images alone, and an environment ends without a command, too.
            (JobKind::Build | JobKind::Deploy | JobKind::Destroy, []) => return Ok(()),
            (JobKind::Test, []) => return wrong("no commands"),
            (JobKind::Deploy, [_]) => Section::Deploy,
            (JobKind::Destroy, [_]) => Section::Destroy,
            (JobKind::Deploy | JobKind::Destroy, _) => return wrong("commands of several sections"),
            (JobKind::Test, _) => Section::Test,
        };
        limit("the number of tests", self.commands.len(), MAX_TESTS)?;
        let mut tests = BTreeSet::new();
        for commands in &self.commands {
            if commands.section != section {
                return wrong("another section's commands");
            }
            match &commands.test {
                None if section == Section::Test => return wrong("a test without a name"),
                Some(_) if section != Section::Test => return wrong("tests"),
                Some(test) if !tests.insert(test) => return wrong("a test twice"),
                _ => {}
            }
            if section != Section::Test && !commands.testing.is_empty() {
                return wrong("what only tests have");
            }
            let before = |name: &str| Some(name) != commands.test.as_deref() && tests.iter().any(|test| *test == name);
            commands.testing.check(before).map_err(|(field, reason)| {
                let owner = commands.test.clone().unwrap_or_default();
                InvalidPlan::Field { owner, field, reason }
            })?;
        }
        Ok(())
    }
}

/// Whether an application or an environment can be named so.
fn printable_name(name: &str) -> bool {
    let printable = !name.chars().any(char::is_control) && name.len() <= 255;
    printable && sanitise_application(name).contains(|character: char| character != '-')
}

fn check_dependency(dependency: &DependencyPlan, total: &mut usize) -> Result<(), InvalidPlan> {
    let field = |field, reason: String| InvalidPlan::Field { owner: dependency.name.clone(), field, reason };
    let DependencyPlan { repository, branch, manifest, variables, timeout_s, .. } = dependency;
    plain(repository, MAX_PATH).map_err(|reason| field("repository", reason))?;
    GitUrl::parse(repository).map_err(|error| field("repository", error.to_string()))?;
    for (name, text) in [("branch", branch), ("manifest", manifest)] {
        let Some(text) = text else { continue };
        plain(text, MAX_PATH).map_err(|reason| field(name, reason))?;
        if text.starts_with('-') {
            return Err(field(name, "it begins with `-`".to_owned()));
        }
    }
    if !(1..=MAX_TIMEOUT_S).contains(timeout_s) {
        return Err(field("timeout", format!("it is not between 1 s and {MAX_TIMEOUT_S} s")));
    }
    *total += check_variables(variables).map_err(|reason| field("variables", reason))?;
    Ok(())
}

/// Variables for commands, and the bytes of all of them.
fn check_variables(variables: &[(String, String)]) -> Result<usize, String> {
    let (mut names, mut bytes) = (BTreeSet::new(), 0);
    for (name, value) in variables {
        if !is_variable_name(name) || RESERVED.contains(&name.as_str()) || !names.insert(name) {
            return Err(format!("`{}` can't be set", name.escape_debug()));
        }
        value_ok(value).map_err(|reason| format!("`{name}` {reason}"))?;
        bytes += name.len() + value.len();
    }
    Ok(bytes)
}

fn check_build(build: &BuildPlan, total: &mut usize) -> Result<(), InvalidPlan> {
    let field = |field, reason: String| InvalidPlan::Field { owner: build.service.to_string(), field, reason };
    let plain = |name, text: &str, max| plain(text, max).map_err(|reason| field(name, reason));
    plain("context", &build.context, MAX_PATH)?;
    crate::options::named_context::remote(&build.context).map_err(|error| field("context", error.to_string()))?;
    plain("dockerfile", &build.dockerfile, MAX_PATH)?;
    if let Some(target) = &build.target {
        plain("target", target, 256)?;
    }
    limit("the number of build arguments", build.args.len() + build.build_args.len(), MAX_ENTRIES)?;
    limit("the number of dependencies", build.depends_on.len(), MAX_BUILDS)?;
    limit("the number of platforms", build.platforms.len(), MAX_IMAGES)?;
    for platform in &build.platforms {
        check_platform(platform).map_err(|error| field("platforms", error.to_string()))?;
    }
    let manifest = build.args.iter().map(|(name, value)| (name, value.source()));
    let flags = build.build_args.iter().map(|(name, value)| (name, value.as_str()));
    for (name, value) in manifest.chain(flags) {
        if !is_arg_name(name) {
            return Err(field("args", format!("`{}` can't be a name", name.escape_debug())));
        }
        if name.starts_with(ATTESTATIONS) {
            return Err(field("args", format!("`{name}` counts for nothing here: `provenance` and `sbom` do")));
        }
        value_ok(value).map_err(|reason| field("args", format!("`{name}` {reason}")))?;
        *total += name.len() + value.len();
    }
    let has_arg = |name: &str| {
        build.args.iter().any(|(known, _)| known == name) || build.build_args.iter().any(|(known, _)| known == name)
    };
    let checked = build.options.check(&build.platforms, has_arg(MULTI_PLATFORM));
    checked.map_err(|error| field("options", error.to_string()))?;
    let epochs = build.args.iter().filter_map(|(name, value)| Some((name, value.complete()?)));
    let epochs = epochs.chain(build.build_args.iter().map(|(name, value)| (name, value.clone())));
    for (_, epoch) in epochs.filter(|(name, _)| *name == SOURCE_DATE_EPOCH) {
        if !epoch.is_empty() && epoch.parse::<u64>().is_err() {
            let reason = format!("`{SOURCE_DATE_EPOCH}` is `{}`, not seconds since 1970", epoch.escape_debug());
            return Err(field("args", reason));
        }
    }
    for (name, context) in &build.options.contexts {
        if let NamedContext::Service(service) = context
            && !build.depends_on.contains(service)
        {
            let reason = format!("`{name}={context}`: only the manifest (`additional_contexts`) can name a service");
            return Err(field("contexts", reason));
        }
    }
    for (name, value) in &build.args {
        value.check().map_err(|error| field("args", format!("`{name}`: {error}")))?;
    }
    if let Some(image) = &build.image {
        image_ok(image).map_err(|reason| field("image", reason))?;
        *total += image.source().len();
    }
    // Each was checked when it was read; all of them together were not.
    *total += build.options.to_pairs().iter().map(|(_, text)| text.len()).sum::<usize>();
    *total += build.context.len() + build.dockerfile.len();
    Ok(())
}

fn check_commands(commands: &CommandsPlan, total: &mut usize) -> Result<(), InvalidPlan> {
    let field = |field, reason: String| InvalidPlan::Field { owner: commands.section.to_string(), field, reason };
    if let Some(test) = &commands.test {
        plain(test, MAX_TEST_NAME).map_err(|reason| field("test", reason))?;
    }
    plain(&commands.context, MAX_PATH).map_err(|reason| field("context", reason))?;
    limit("the number of commands", commands.commands.len(), MAX_ENTRIES)?;
    limit("the number of variables", commands.env.len(), MAX_ENTRIES)?;
    if let Some(image) = &commands.image {
        image_ok(image).map_err(|reason| field("image", reason))?;
    }
    for command in &commands.commands {
        if command.command.trim().is_empty() {
            return Err(field("commands", "a command is empty".to_owned()));
        }
        for text in [&command.name, &command.command] {
            value_ok(text).map_err(|reason| field("commands", format!("a command {reason}")))?;
            *total += text.len();
        }
    }
    *total += commands.testing.size();
    *total += check_variables(&commands.env).map_err(|reason| field("env", reason))?;
    limit("the number of required variables", commands.required.len(), MAX_ENTRIES)?;
    match commands.required.iter().find(|name| !is_variable_name(name)) {
        Some(name) => Err(field("required", format!("`{}` is no variable's name", name.escape_debug()))),
        None => Ok(()),
    }
}

fn limit(what: &str, found: usize, limit: usize) -> Result<(), InvalidPlan> {
    if found > limit { Err(InvalidPlan::Limit { what: what.to_owned(), limit }) } else { Ok(()) }
}

/// A text of one line that is not empty.
fn plain(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > max {
        return Err(format!("it is longer than {max} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character".to_owned());
    }
    Ok(())
}

fn value_ok(value: &str) -> Result<(), String> {
    if value.len() > MAX_VALUE {
        return Err(format!("is longer than {MAX_VALUE} bytes"));
    }
    if value.contains('\0') {
        return Err("holds a NUL character".to_owned());
    }
    Ok(())
}

/// References that are known now must look like some; the others are checked when they are completed.
fn image_ok(image: &Template) -> Result<(), String> {
    if image.source().len() > MAX_PATH {
        return Err(format!("it is longer than {MAX_PATH} bytes"));
    }
    image.check().map_err(|error| error.to_string())?;
    let Some(text) = image.complete() else { return Ok(()) };
    let references = split_images(&text);
    if references.len() > MAX_IMAGES {
        return Err(format!("more than {MAX_IMAGES} references"));
    }
    references.iter().try_for_each(|one| reference::parse(one).map(|_| ())).map_err(|error| error.to_string())
}
