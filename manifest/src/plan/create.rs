//! Manifest, selection and variables to a plan.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    order::in_order,
    sections::Run,
    types::{BuildPlan, JobKind, Plan, Section},
};
use crate::{
    expand::Template,
    image_env::variable_names,
    manifest::{Build, BuildArg, BuildSecret, BuildSecretSource, Manifest, Text},
    names::{ServiceName, sanitise_application},
    options::{self, BuildOptions, ExtraHost, InvalidOption, OptionKey, Secret, SecretSource, check_platform},
    problem::{Place, Problem, Problems, Report},
    suggest,
    variables::{Variables, write_only_problem},
};

/// The knob that builds can see as an argument of the same name.
pub(super) const SMART_BUILDS: &str = "OKTETO_SMART_BUILDS_ENABLED";

/// Builds see it as an argument of the same name, as those of buildx do (reproducible-builds.org).
pub(super) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// With this argument BuildKit makes an index for one platform, too.
pub(super) const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// What `--export` brings to the caller.
const OTHER_FORMS: [&str; 4] = ["oci", "docker", "local", "tar"];

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The command.
    pub kind: JobKind,
    /// The application's name for a manifest without one: the directory's name.
    pub application: String,
    /// The services to build; empty: all.
    pub services: Vec<String>,
    /// Which of them.
    pub build: BuildMode,
    /// `--build-arg`, for every build; the last of a name counts.
    pub build_args: Vec<(String, String)>,
    /// `--target`, instead of the manifest's.
    pub target: Option<String>,
    /// `--platform`, instead of the manifest's.
    pub platforms: Vec<String>,
    /// `--label`, `--add-host` and their like, for every build, on top of the manifest's.
    pub options: Vec<(OptionKey, String)>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// The tests to run; empty: all.
    pub tests: Vec<String>,
    /// All commands run, whichever of them fail: `destroy --force`.
    pub keep_going: bool,
    /// Dependencies are deployed even if they are already: `deploy --dependencies`.
    pub dependencies: bool,
}

/// Which images are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildMode {
    /// All: `build`, `deploy --build`. Of `destroy` and `test`, all that they refer to.
    Always,
    /// Those that the registry does not have.
    IfMissing,
    /// None: `deploy --no-build`.
    Never,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `build` without a build section.
    #[error("{file}: there is no `build` section, so there is nothing to build")]
    NothingToBuild {
        /// The manifest.
        file: String,
    },
    /// `deploy` of a manifest that builds nothing, and has nothing that could be deployed.
    #[error(
        "{file}: there is nothing to deploy: it has neither images (`build`) nor commands (`deploy`), and no `dependencies` or `external`"
    )]
    NothingToDeploy {
        /// The manifest.
        file: String,
    },
    /// `test` without that section.
    #[error("{file}: there is no `{section}` section, so there is nothing to {section}")]
    NoSection {
        /// The manifest.
        file: String,
        /// The section.
        section: Section,
    },
    /// A service that the manifest does not have.
    #[error("there is no service `{}` in the `build` section of {file}{}", service.escape_debug(), hint_suffix(hint.as_ref()))]
    UnknownService {
        /// The manifest.
        file: String,
        /// The service.
        service: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A test that the manifest does not have.
    #[error("there is no test `{}` in {file}{}", test.escape_debug(), hint_suffix(hint.as_ref()))]
    UnknownTest {
        /// The manifest.
        file: String,
        /// The test.
        test: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A flag that makes no sense.
    #[error("--{key}: {source}")]
    Option {
        /// The flag.
        key: OptionKey,
        /// Why.
        source: InvalidOption,
    },
    /// Nothing in it could be part of an image's name.
    #[error("`{}` can't be the name of an application: it holds no letter and no digit", .0.escape_debug())]
    Application(String),
    /// A manifest that was not made by our parser.
    #[error("the `{section}` section's `depends_on` go round in a circle")]
    Cycle {
        /// The section.
        section: &'static str,
    },
    /// Texts that can't be expanded, with their places.
    #[error(transparent)]
    Problems(#[from] Problems),
}

fn hint_suffix(hint: Option<&String>) -> String {
    hint.map(|hint| format!(": {hint}")).unwrap_or_default()
}

impl Selection {
    /// All images, or those that are named.
    pub fn build(application: impl Into<String>, services: Vec<String>) -> Self {
        Self {
            kind: JobKind::Build,
            application: application.into(),
            services,
            build: BuildMode::Always,
            build_args: Vec::new(),
            target: None,
            platforms: Vec::new(),
            options: Vec::new(),
            no_cache: false,
            tests: Vec::new(),
            keep_going: false,
            dependencies: false,
        }
    }

    /// The deploy commands, after the images.
    pub fn deploy(application: impl Into<String>, build: BuildMode) -> Self {
        Self { kind: JobKind::Deploy, build, ..Self::build(application, Vec::new()) }
    }

    /// The destroy commands; before them the images that they refer to, where these are missing.
    pub fn destroy(application: impl Into<String>) -> Self {
        Self { kind: JobKind::Destroy, build: BuildMode::IfMissing, ..Self::build(application, Vec::new()) }
    }

    /// The tests of these names and those that they depend on; before them the images that they refer to, where these are
    /// missing.
    pub fn test(application: impl Into<String>, tests: Vec<String>) -> Self {
        Self { kind: JobKind::Test, tests, ..Self::destroy(application) }
    }
}

impl Plan {
    /// Makes a plan, with warnings about variables that aren't set.
    pub fn new(
        manifest: &Manifest,
        selection: &Selection,
        variables: &Variables,
    ) -> Result<(Self, Vec<Problem>), PlanError> {
        if selection.kind == JobKind::Build && manifest.build.is_empty() {
            return Err(PlanError::NothingToBuild { file: manifest.file.clone() });
        }
        let run = Run::of(manifest, selection)?;
        let order = if selection.build == BuildMode::Never {
            Vec::new()
        } else {
            let wanted = match selection.kind {
                JobKind::Build | JobKind::Deploy => wanted(manifest, selection)?,
                JobKind::Destroy | JobKind::Test => run.images(manifest, variables),
            };
            in_order(&manifest.build, &wanted).ok_or(PlanError::Cycle { section: "build" })?
        };

        let mut planner = Planner { variables, report: Report::new(&manifest.file), built: HashMap::new() };
        let name = manifest.name.as_ref().map(|name| planner.now(name)).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| selection.application.clone());
        let mut builds = Vec::with_capacity(order.len());
        for build in order {
            builds.push(planner.build(build, manifest, selection)?);
            for variable in variable_names(&build.service) {
                planner.built.insert(variable, build.service.clone());
            }
        }
        let commands = run.plan(&mut planner, manifest, selection);
        let dependencies = planner.dependencies(manifest, selection, &name);
        for part in manifest.not_run(selection.kind) {
            planner.report.warn(part.place, part.to_string());
        }
        let warnings = planner.report.finish()?;
        if !sanitise_application(&name).contains(|character: char| character != '-') {
            return Err(PlanError::Application(name));
        }
        Ok((Self { kind: selection.kind, name, dependencies, builds, commands, ssh: None }, warnings))
    }
}

/// The services that are asked for; all when none is named.
fn wanted<'m>(manifest: &'m Manifest, selection: &Selection) -> Result<BTreeSet<&'m str>, PlanError> {
    let all = || manifest.build.iter().map(|build| build.service.as_str());
    if selection.services.is_empty() {
        return Ok(all().collect());
    }
    let mut wanted = BTreeSet::new();
    for asked in &selection.services {
        // A key of the manifest is understood as it is written there, too.
        let name = ServiceName::sanitised(asked).ok();
        let build =
            name.and_then(|name| manifest.build_of(name.as_str())).ok_or_else(|| PlanError::UnknownService {
                file: manifest.file.clone(),
                service: asked.clone(),
                hint: suggest::hint(asked, all()),
            })?;
        wanted.insert(build.service.as_str());
    }
    Ok(wanted)
}

/// Expands a manifest's texts, and gathers what is wrong with them.
pub(super) struct Planner<'v> {
    pub(super) variables: &'v Variables,
    pub(super) report: Report,
    /// The variables of the images that come before, and whose they are.
    built: HashMap<String, ServiceName>,
}

impl Planner<'_> {
    fn build(&mut self, build: &Build, manifest: &Manifest, selection: &Selection) -> Result<BuildPlan, PlanError> {
        let needed = needed_by(build, manifest);
        let mut args: Vec<(String, Template)> =
            build.args.iter().filter_map(|arg| Some((arg.name.clone(), self.arg(arg, build, &needed)?))).collect();
        for given in [SMART_BUILDS, SOURCE_DATE_EPOCH] {
            if let Some(value) = self.variables.get(given).filter(|value| !value.is_empty())
                && !args.iter().any(|(name, _)| name == given)
            {
                args.push((given.to_owned(), Template::literal(value)));
            }
        }
        args.sort_by(|left, right| left.0.cmp(&right.0));
        let options = self.options(build, &selection.options)?;
        let platforms = self.platforms(build, selection);
        let has_arg = |name: &str| {
            args.iter().any(|(known, _)| known == name) || selection.build_args.iter().any(|(known, _)| known == name)
        };
        if let Err(error) = options.check(&platforms, has_arg(MULTI_PLATFORM)) {
            self.report.error(build.place, format!("service `{}`: {error}", build.service));
        }
        if options.export.rewrite_timestamp && !has_arg(SOURCE_DATE_EPOCH) {
            let message = format!("service `{}`: `rewrite-timestamp` needs `{SOURCE_DATE_EPOCH}`", build.service);
            self.report.warn(build.place, message);
        }
        let build_args: BTreeMap<String, String> = selection.build_args.iter().cloned().collect();
        Ok(BuildPlan {
            service: build.service.clone(),
            context: self.context(build),
            dockerfile: self.path(build.dockerfile.as_ref(), "dockerfile", "Dockerfile"),
            target: selection.target.clone().or_else(|| build.target.as_ref().map(|target| target.value.clone())),
            args,
            build_args: build_args.into_iter().collect(),
            image: build.image.as_ref().map(|image| self.later(image, Some((build, &needed)))),
            depends_on: build.depends_on.iter().map(|dependency| dependency.service.clone()).collect(),
            platforms,
            no_cache: selection.no_cache,
            // A cache that was asked for by hand is to be written, whatever the registry has.
            no_skip: self.variables.get(SMART_BUILDS).is_some_and(is_false)
                || options.always_builds()
                || selection.options.iter().any(|(key, _)| *key == OptionKey::CacheTo),
            options,
            only_if_missing: selection.build == BuildMode::IfMissing,
        })
    }

    /// The manifest's options, and over them those of the command line.
    fn options(&mut self, build: &Build, flags: &[(OptionKey, String)]) -> Result<BuildOptions, PlanError> {
        let mut options = BuildOptions::default();
        for (key, text) in &build.options {
            // What a variable that isn't set leaves empty is as if it weren't there.
            let expanded = self.now(text);
            if expanded.is_empty() {
                continue;
            }
            if *key == OptionKey::Export && self.refuse_other_forms(build, text, &expanded) {
                continue;
            }
            if let Err(error) = options.set(*key, &expanded) {
                let message = format!("`build.{}.{}`: {error}", build.service, key.manifest_key());
                self.report.error(text.place, message);
            }
            // What is built before was read from the text as it was written.
            let known = |service: &&ServiceName| build.depends_on.iter().any(|known| known.service == **service);
            if *key == OptionKey::Context
                && let Some(service) = options.service_contexts().find(|service| !known(service))
            {
                let message = format!("`{}`: `service:` can't come from a variable", text.value);
                self.report.error_with(text.place, message, Some(format!("write `service:{service}`")));
            }
        }
        for secret in &build.secrets {
            let (place, Some(source)) = (secret.place, self.secret_source(secret, build)) else { continue };
            let secret = Secret { id: secret.id.clone(), source, rotates: secret.rotates };
            if let Err(error) = options.set(OptionKey::Secret, &secret.to_string()) {
                self.report.error(place, format!("`build.{}.secrets.{}`: {error}", build.service, secret.id));
            }
        }
        // A host of the command line has no address of the manifest's.
        let hosts =
            flags.iter().filter(|(key, _)| *key == OptionKey::ExtraHost).filter_map(|(_, text)| text.parse().ok());
        let hosts: Vec<ExtraHost> = hosts.collect();
        options.extra_hosts.retain(|known| hosts.iter().all(|host| host.name != known.name));
        for (key, text) in flags {
            options.set(*key, text).map_err(|source| PlanError::Option { key: *key, source })?;
        }
        Ok(options)
    }

    /// Whether `export` is about anything but the image that is pushed.
    fn refuse_other_forms(&mut self, build: &Build, text: &Text, expanded: &str) -> bool {
        let kind = options::fields(expanded).filter(|(key, _)| *key == "type").last().map(|(_, kind)| kind);
        let Some(kind) = kind.filter(|kind| *kind != "image") else { return false };
        let service = &build.service;
        let message =
            format!("`build.{service}.export` is about the image that is pushed: `type=image`, not `type={kind}`");
        let hint = OTHER_FORMS.contains(&kind);
        let hint = hint.then(|| format!("`slipway build --export {expanded} {service}` brings that form of it"));
        self.report.error_with(text.place, message, hint);
        true
    }

    /// Where a secret's value is; a file's path is as the manifest has it, but for `~/` and variables.
    fn secret_source(&mut self, secret: &BuildSecret, build: &Build) -> Option<SecretSource> {
        let (text, source) = match &secret.source {
            BuildSecretSource::Env(text) => (text, SecretSource::env(&text.value)),
            BuildSecretSource::Variable(text) => (text, SecretSource::variable(&text.value)),
            BuildSecretSource::File(text) => {
                let path = self.now(text);
                let home = self.variables.get("HOME").filter(|home| !home.is_empty());
                let below = path.strip_prefix("~/").zip(home).map(|(below, home)| format!("{home}/{below}"));
                (text, SecretSource::file(&below.unwrap_or(path)))
            }
        };
        let named = |error| format!("`build.{}.secrets.{}`: {error}", build.service, secret.id);
        source.map_err(|error| self.report.error(text.place, named(error))).ok()
    }

    /// Each once, in the order given.
    fn platforms(&mut self, build: &Build, selection: &Selection) -> Vec<String> {
        let mut given = selection.platforms.clone();
        if given.is_empty() {
            for text in &build.platforms {
                let expanded = self.now(text);
                for platform in expanded.split(',').map(str::trim).filter(|platform| !platform.is_empty()) {
                    if let Err(error) = check_platform(platform) {
                        self.report.error(text.place, format!("`build.{}.platforms`: {error}", build.service));
                    }
                    given.push(platform.to_owned());
                }
            }
        }
        let mut seen = HashSet::new();
        given.retain(|platform| !platform.is_empty() && seen.insert(platform.clone()));
        given
    }

    /// A build argument; none for one that is taken from a variable that isn't set.
    fn arg(&mut self, arg: &BuildArg, build: &Build, needed: &BTreeSet<ServiceName>) -> Option<Template> {
        match &arg.value {
            Some(value) => Some(self.later(value, Some((build, needed)))),
            // The image's variable is added when it is known.
            None if self.built.contains_key(&arg.name) => None,
            None => {
                let write_only = self.variables.is_write_only(&arg.name).then(|| arg.name.clone());
                self.refuse_write_only(arg.place, write_only.into_iter().collect());
                self.variables.get(&arg.name).map(Template::literal)
            }
        }
    }

    /// A path: everything is expanded, and it must not be lost by that.
    fn context(&mut self, build: &Build) -> String {
        let context = self.path(build.context.as_ref(), "context", ".");
        if let (Some(text), Err(error)) = (&build.context, crate::options::named_context::remote(&context))
            && !context.is_empty()
        {
            self.report.error(text.place, format!("`build.{}.context`: {error}", build.service));
        }
        context
    }

    pub(super) fn path(&mut self, text: Option<&Text>, field: &str, default: &str) -> String {
        let Some(text) = text else { return default.to_owned() };
        let path = self.now(text);
        if path.is_empty() {
            let message = format!("`{field}` is `{}`, of which nothing is left after expansion", text.value);
            self.report.error_with(
                text.place,
                message,
                Some("set the variable, or give it a default: `${NAME:-path}`"),
            );
        }
        path
    }

    pub(super) fn now(&mut self, text: &Text) -> String {
        let write_only = RefCell::default();
        match crate::expand::expand(&text.value, &|name| self.variables.lookup_noting(name, &write_only)) {
            Ok(_) if self.refuse_write_only(text.place, write_only.take()) => text.value.clone(),
            Ok(expanded) => {
                self.warn_undefined(text, &expanded.undefined);
                expanded.text
            }
            Err(error) => {
                self.report.error(text.place, error.to_string());
                // Not empty, so that no second error comes of it.
                text.value.clone()
            }
        }
    }

    /// Expands all but the variables of images that come before.
    pub(super) fn later(&mut self, text: &Text, user: Option<(&Build, &BTreeSet<ServiceName>)>) -> Template {
        let later = |name: &str| self.built.contains_key(name);
        let write_only = RefCell::default();
        match Template::expand_now(&text.value, &|name| self.variables.lookup_noting(name, &write_only), &later) {
            Ok(_) if self.refuse_write_only(text.place, write_only.take()) => Template::default(),
            Ok((template, undefined)) => {
                self.warn_undefined(text, &undefined);
                if let Some((build, needed)) = user {
                    self.warn_undeclared(text, &template, build, needed);
                }
                template
            }
            Err(error) => {
                self.report.error(text.place, error.to_string());
                Template::default()
            }
        }
    }

    /// Whether there are any.
    pub(super) fn refuse_write_only(&mut self, place: Place, mut names: Vec<String>) -> bool {
        names.sort_unstable();
        names.dedup();
        for name in &names {
            let (message, hint) = write_only_problem(name);
            self.report.error_with(place, message, Some(hint));
        }
        !names.is_empty()
    }

    fn warn_undefined(&mut self, text: &Text, undefined: &[String]) {
        for name in undefined {
            self.report.warn(text.place, format!("variable `{name}` is not set and expands to nothing"));
        }
    }

    /// An image's variable is there only because of the order of the manifest.
    fn warn_undeclared(&mut self, text: &Text, template: &Template, build: &Build, needed: &BTreeSet<ServiceName>) {
        for name in template.variables() {
            if let Some(service) = self.built.get(&name).filter(|service| !needed.contains(*service)) {
                let message = format!("`{}` uses `{name}`: add `{service}` to its `depends_on`", build.service);
                self.report.warn(text.place, message);
            }
        }
    }
}

/// As Go's `strconv.ParseBool` reads it; what it can't read turns nothing off.
fn is_false(text: &str) -> bool {
    matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Everything that a build depends on, directly or not.
fn needed_by(build: &Build, manifest: &Manifest) -> BTreeSet<ServiceName> {
    let mut needed = BTreeSet::new();
    let mut open = vec![build];
    while let Some(build) = open.pop() {
        for dependency in &build.depends_on {
            if needed.insert(dependency.service.clone()) {
                open.extend(manifest.build_of(dependency.service.as_str()));
            }
        }
    }
    needed
}
