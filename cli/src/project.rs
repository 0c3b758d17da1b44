//! The project in front of us: its manifest, and the variables that the manifest is expanded with.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use slipway_manifest::manifest::Text;
use slipway_manifest::plan::JobKind;
use slipway_manifest::print::PrintedPlan;
use slipway_manifest::variables::{looks_secret, parse_assignment, write_only_problem};
use slipway_manifest::{Manifest, Parsed, Place, Plan, Problem, Problems, Selection, Variables, discover, dotenv};
use slipway_mask::{Masks, TOO_SHORT};
use slipway_proto::v1::MaskedValue;
use tempfile::TempDir;

use crate::environment;
use crate::error::{BadManifest, Usage};
use crate::git;
use crate::output;
use crate::service_variables::ServiceVariables;
use crate::settings::Settings;

/// A project whose manifest has been read.
#[derive(Debug)]
pub(crate) struct Project {
    /// As written.
    pub(crate) manifest: Manifest,
    /// What the manifest's paths are relative to; empty for the working directory.
    pub(crate) root: PathBuf,
    /// The application's name where the manifest has none.
    pub(crate) application: String,
    /// Where scans remember what files held.
    pub(crate) scan_cache: Option<PathBuf>,
    /// Docker's configuration, which says what the caller is logged in to.
    pub(crate) docker_config: Option<PathBuf>,
    /// Whether contexts are narrowed to what their Dockerfiles use.
    pub(crate) narrow: bool,
    /// Whether SSH agents are looked for, and started.
    pub(crate) agents: bool,
    variables: Variables,
    /// What the service adds to them.
    service: ServiceVariables,
    /// Where the service says that the caller works.
    namespace: Option<String>,
    /// Holds a Dockerfile that came from standard input.
    _dockerfile: Option<TempDir>,
}

impl Project {
    /// Reads the manifest that the settings name, or the one of the working directory, and `.env`. `vars` are `--var`, `kinds`
    /// the jobs that it is read for.
    pub(crate) fn load(settings: &Settings, vars: &[String], kinds: &[JobKind]) -> Result<Self> {
        let (manifest, root) = read(settings, kinds)?;
        let application = directory_name(&root);
        Self::with(manifest, root, application, settings, vars)
    }

    /// A project of this manifest, whose paths are relative to `root`, with `.env` and `--var`.
    pub(crate) fn with(
        manifest: Manifest,
        root: PathBuf,
        application: String,
        settings: &Settings,
        vars: &[String],
    ) -> Result<Self> {
        let flags = vars.iter().map(|var| parse_assignment(var)).collect::<Result<Vec<_>, _>>();
        let flags = flags.and_then(|flags| Variables::default().with_flags(flags));
        let variables = flags.map_err(|error| Usage::new(format!("--var: {error}")))?;
        let known = settings.environment.vars().iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut variables = variables.with_environment(known);
        if let Some(url) = &settings.server {
            // What the service will say, whatever the shell believes.
            let own = [environment::OKTETO_CONTEXT, environment::OKTETO_URL];
            variables = variables.with_environment(own.map(|name| (name.to_owned(), url.to_string())));
        }
        if let Some((path, text)) = dotenv_file(&root)? {
            let dotenv = dotenv::parse(&text, &|name| variables.lookup(name));
            let dotenv = dotenv
                .map_err(|error| BadManifest(format!("{}:{}:1: {}", path.display(), error.line, error.message)))?;
            for (name, _) in dotenv.iter().filter(|(name, _)| environment::RESERVED.contains(&name.as_str())) {
                output::warn(format_args!("{}: commands get `{name}` from the service", path.display()));
            }
            variables = variables.with_dotenv(dotenv);
        }
        let (scan_cache, docker_config) = (settings.environment.scan_cache(), settings.environment.docker_config());
        let narrow = settings.narrow;
        Ok(Self {
            manifest,
            root,
            application,
            scan_cache,
            docker_config,
            narrow,
            agents: true,
            variables,
            service: ServiceVariables::default(),
            namespace: None,
            _dockerfile: None,
        })
    }

    /// The same under another name, where one is given: it is final, whatever the manifest says.
    pub(crate) fn named(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            // Not expanded again.
            self.manifest.name = Some(Text { value: name.replace('$', "$$"), place: Place::WHOLE });
        }
        self
    }

    /// The same, which needs this folder.
    pub(crate) fn keeping(self, dockerfile: Option<TempDir>) -> Self {
        Self { _dockerfile: dockerfile, ..self }
    }

    /// Adds the service's variables, below all others.
    pub(crate) fn add_service(&mut self, service: ServiceVariables) {
        let variables = std::mem::take(&mut self.variables).with_service(service.known.iter().cloned());
        self.variables = variables.with_write_only(service.write_only.iter().cloned());
        self.service = service;
    }

    /// Adds what git says of it, where nothing else does; only what the manifest names, unless there are `commands`.
    pub(crate) async fn with_git(mut self, commands: bool) -> Self {
        let found = git::variables(&self, commands).await;
        self.variables = std::mem::take(&mut self.variables).with_defaults(found);
        self
    }

    /// Whether the variable has a value that only the service knows.
    pub(crate) fn is_write_only(&self, name: &str) -> bool {
        self.variables.is_write_only(name)
    }

    /// What is not to be seen in what people read of a job, besides what the service knows of itself.
    pub(crate) fn to_mask(&self) -> Vec<MaskedValue> {
        let mut values = self.own_secrets();
        values.retain(|value| value.chars().count() > TOO_SHORT);
        values.sort_unstable();
        values.dedup();
        values.into_iter().map(|value| MaskedValue { value }).collect()
    }

    /// The caller's: nothing of the process environment but what the manifest names, since it goes to the service.
    fn own_secrets(&self) -> Vec<String> {
        let mentioned = self.variables.secrets_of_environment(&self.manifest.source).map(str::to_owned);
        self.variables.to_mask().into_iter().chain(mentioned).collect()
    }

    /// What is not to be seen of commands that run here.
    pub(crate) fn hidden(&self) -> Vec<String> {
        self.service.masked.iter().cloned().chain(self.own_secrets()).collect()
    }

    /// The names of the variables that only the service knows.
    pub(crate) fn write_only(&self) -> &[String] {
        &self.service.write_only
    }

    /// The plan as it is printed: of values of `--var`, which stand on the command line beside it, what they were expanded to is
    /// seen where their names don't look secret.
    pub(crate) fn masked(&self, plan: PrintedPlan) -> PrintedPlan {
        let args = plan.services.iter().flat_map(|service| &service.args);
        let args = args.chain(plan.dependencies.iter().flat_map(|dependency| &dependency.variables));
        let args: Vec<String> = args.filter(|(name, _)| looks_secret(name)).map(|(_, value)| value.clone()).collect();
        let hidden = self.hidden();
        let of_plan = self.service.masked.iter().chain(&args).map(String::as_str);
        let of_plan = of_plan.chain(self.variables.secret_by_name());
        let of_plan = of_plan.chain(self.variables.secrets_of_environment(&self.manifest.source));
        let (of_plan, of_commands) = (Masks::of(of_plan), Masks::of(hidden.iter().chain(&args).map(String::as_str)));
        plan.masked(|text| of_plan.text(text).into_owned(), |value| of_commands.text(value).into_owned())
    }

    /// The service's variables, for commands that run here: those that it lets a client know.
    pub(crate) fn service_variables(&self) -> BTreeMap<String, String> {
        self.service.known.iter().cloned().collect()
    }

    /// Whether the value of a variable is that of the process environment, and no `--var`.
    pub(crate) fn is_from_environment(&self, name: &str) -> bool {
        self.variables.is_from_environment(name)
    }

    /// The namespace that a plan is printed for, where nothing else says it.
    pub(crate) fn print_for(&mut self, namespace: String) {
        self.namespace = Some(namespace);
    }

    /// The plan for a selection, expanded. Warnings are printed.
    pub(crate) fn plan(&self, selection: &Selection, namespace: Option<&str>) -> Result<Plan> {
        let (plan, warnings) = self.plan_quietly(selection, namespace)?;
        print_warnings(&warnings);
        Ok(plan)
    }

    /// The same with its warnings, of which nobody has heard.
    pub(crate) fn plan_quietly(&self, selection: &Selection, namespace: Option<&str>) -> Result<(Plan, Vec<Problem>)> {
        let own = namespace
            .or(self.namespace.as_deref())
            .map(|namespace| (environment::OKTETO_NAMESPACE.to_owned(), namespace.to_owned()));
        let variables = self.variables.clone().with_environment(own);
        let (plan, warnings) = Plan::new(&self.manifest, selection, &variables).map_err(|error| match error {
            slipway_manifest::plan::PlanError::Problems(problems) => {
                bad_manifest(&problems, &self.manifest.source).into()
            }
            error => anyhow::Error::from(Usage::new(error.to_string())),
        })?;
        plan.validate().map_err(|error| Usage::new(format!("{}: {error}", self.manifest.file)))?;
        Ok((plan, warnings))
    }

    /// The application's name, as a plan has it.
    pub(crate) fn name(&self, namespace: &str) -> String {
        let own = (environment::OKTETO_NAMESPACE.to_owned(), namespace.to_owned());
        let variables = self.variables.clone().with_environment([own]);
        let expand = |name: &Text| slipway_manifest::expand::expand(&name.value, &|name| variables.lookup(name)).ok();
        let name = self.manifest.name.as_ref().and_then(expand).map(|expanded| expanded.text);
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| self.application.clone())
    }

    /// A text of the manifest that no plan has, expanded as a plan does. Warnings are printed.
    pub(crate) fn expand(&self, text: &Text) -> Result<String, BadManifest> {
        let problem = |message: String| Problem::new(&self.manifest.file, text.place, message);
        let bad = |message: String| BadManifest(problem(message).render(&self.manifest.source));
        let expanded = slipway_manifest::expand::expand(&text.value, &|name| self.variables.lookup(name));
        let expanded = expanded.map_err(|error| bad(error.to_string()))?;
        if let Some(name) = expanded.undefined.iter().find(|name| self.is_write_only(name)) {
            let (message, hint) = write_only_problem(name);
            return Err(BadManifest(problem(message).with_hint(Some(hint)).to_string()));
        }
        let warnings = expanded.undefined.iter();
        let warnings = warnings.map(|name| problem(format!("variable `{name}` is not set and expands to nothing")));
        print_warnings(&warnings.collect::<Vec<_>>());
        if expanded.text.is_empty() {
            return Err(bad(format!("of `{}` nothing is left after expansion", text.value)));
        }
        Ok(expanded.text)
    }

    /// The value of a variable, whichever layer it is from.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    /// Whether `OKTETO_FORCE_REMOTE` is true in any scope, the service's included: one that says false does not undo it.
    pub(crate) fn force_remote(&self) -> bool {
        self.service.force_remote || self.variables.is_true_anywhere(environment::OKTETO_FORCE_REMOTE)
    }

    /// `--build-arg` as name and value; a name alone takes the variable's value, and is left out where there is none.
    pub(crate) fn build_args(&self, args: &[String]) -> Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        for arg in args {
            match parse_assignment(arg) {
                Ok(pair) => pairs.push(pair),
                Err(_) if !arg.is_empty() && !arg.contains('=') => {
                    if self.is_write_only(arg) {
                        let (message, hint) = write_only_problem(arg);
                        return Err(Usage::new(format!("--build-arg {arg}: {message}")).hint(hint).into());
                    }
                    pairs.extend(self.variable(arg).map(|value| (arg.clone(), value.to_owned())));
                }
                Err(error) => return Err(Usage::new(format!("--build-arg: {error}")).into()),
            }
        }
        Ok(pairs)
    }
}

/// Reads and parses the manifest for jobs of these kinds; its warnings are printed.
pub(crate) fn read(settings: &Settings, kinds: &[JobKind]) -> Result<(Manifest, PathBuf)> {
    let file = ManifestFile::open(settings)?;
    let parsed = file.parse().and_then(|parsed| parsed.for_jobs(kinds));
    let (manifest, warnings) = parsed.map_err(|problems| bad_manifest(&problems, &file.text))?;
    print_warnings(&warnings);
    Ok((manifest, file.root))
}

/// A manifest that has been read and not parsed.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    /// As messages name it.
    pub(crate) name: String,
    /// What its paths are relative to.
    pub(crate) root: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

impl ManifestFile {
    /// The manifest that the settings name, or the one of the working directory.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let (path, root) = if let Some(file) = &settings.file {
            (file.clone(), discover::root_of(file).to_owned())
        } else {
            let found = discover::require(Path::new("."));
            let found = found.map_err(|error| Usage::new(error.to_string()).hint(error.hint()))?;
            (tidy(&found.path), PathBuf::new())
        };
        let failed = |error| Usage::new(format!("read manifest {}: {error}", path.display()));
        let mut text = Vec::new();
        // One byte more than is allowed is enough for the parser to say that it is too much.
        let most = slipway_manifest::MAX_BYTES as u64 + 1;
        fs::File::open(&path).and_then(|file| file.take(most).read_to_end(&mut text)).map_err(failed)?;
        let name = path.display().to_string();
        let text = String::from_utf8(text).map_err(|error| {
            let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            BadManifest(format!("{name}:{line}:{column}: the manifest is not UTF-8"))
        })?;
        Ok(Self { name, root, text })
    }

    /// The manifest, or everything that is wrong with it.
    pub(crate) fn parse(&self) -> Result<Parsed, Problems> {
        Manifest::parse(&self.text, &self.name)
    }
}

/// A path without the `.` that say nothing.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let path: PathBuf = path.components().collect();
    match path.strip_prefix(".") {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_owned(),
        _ => path,
    }
}

/// All problems, each with its line.
pub(crate) fn bad_manifest(problems: &Problems, text: &str) -> BadManifest {
    BadManifest(problems.render(text))
}

fn print_warnings(warnings: &[Problem]) {
    for warning in warnings {
        let hint = warning.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        output::diagnose(format!("{}: warning: {}{hint}\n", warning.location(), warning.message).as_bytes());
    }
}

/// `.env` beside the manifest, else in the working directory.
fn dotenv_file(root: &Path) -> Result<Option<(PathBuf, String)>> {
    for path in [root.join(".env"), PathBuf::from(".env")] {
        match fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes);
                let text = text.map_err(|_| BadManifest(format!("{}:1:1: the file is not UTF-8", path.display())))?;
                return Ok(Some((path, text)));
            }
            // A folder of that name is somebody's virtual environment.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
            Err(error) => {
                return Err(error).with_context(|| Usage::new(format!("read {}", path.display())));
            }
        }
    }
    Ok(None)
}

pub(crate) fn directory_name(root: &Path) -> String {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let full = fs::canonicalize(root).unwrap_or_default();
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
