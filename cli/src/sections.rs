//! What `deploy`, `destroy` and `test` have in common: what is built before, where the commands run, and there they run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use slipway_commands::GRACE;
use slipway_manifest::expand::Template;
use slipway_manifest::manifest::Test;
use slipway_manifest::plan::{Asked, CommandsPlan, Decision, JobKind, TestOptions, remote_decision};
use slipway_manifest::{ImageEnv, Plan, Selection};

use crate::args::{JobArgs, PlaceArgs, TurnArgs};
use crate::commands::{dependency, environment as environment_command};
use crate::environment;
use crate::error::{ExitStatus, Usage};
use crate::images;
use crate::interrupt::Interrupt;
use crate::local::{self, Local};
use crate::output;
use crate::project::Project;
use crate::roots;
use crate::run::{self, Ending};
use crate::session::Session;
use crate::settings::Settings;
use crate::ssh;
use crate::submit::{Prepared, Terms};

mod print;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What to plan.
    pub(crate) selection: Selection,
    /// `--remote`.
    pub(crate) remote: Option<bool>,
    /// Nothing is built: an image that is missing is an error.
    pub(crate) no_build: bool,
    /// Where to write the images' variables.
    pub(crate) env_file: Option<&'a Path>,
    /// Print the job's id and leave.
    pub(crate) detach: bool,
    /// How the job is to wait, and to end.
    pub(crate) terms: Terms,
    /// `--ssh`.
    pub(crate) ssh: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// What these arguments ask for.
    pub(crate) fn new(selection: Selection, place: &PlaceArgs, job: &'a JobArgs) -> Self {
        let terms = Terms { no_wait: false, grace: job.grace };
        Self {
            selection,
            remote: place.remote,
            no_build: false,
            env_file: None,
            detach: job.detach,
            terms,
            ssh: job.ssh.as_deref(),
        }
    }

    /// The same; `turn` says whether to wait.
    pub(crate) fn taking(mut self, turn: &TurnArgs) -> Self {
        self.terms.no_wait = turn.no_wait();
        self
    }
}

/// Does what was asked for; without a session, only prints the plan.
pub(crate) async fn run(
    project: &Arc<Project>,
    session: Option<Result<Session>>,
    request: Request<'_>,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let Some(session) = session else {
        return print::print(project, &request, settings).await;
    };
    let asked = asked(project, &request, settings);
    let ending = Ending {
        detach: request.detach,
        env_file: request.env_file,
        metadata_file: None,
        exports: None,
        goes_on: false,
    };
    if settings.server.is_none() {
        // What needs nobody else needs no service either.
        let plan = project.plan(&request.selection, None)?;
        let (plan, local) = split(project, plan, asked, &request)?;
        let nothing = plan.builds.is_empty() && plan.dependencies.is_empty();
        if let Some(local) = local.filter(|_| nothing) {
            ending.write_env_file(&ImageEnv::default())?;
            return local.run(&ImageEnv::default(), None, settings, interrupt).await;
        }
        if plan.kind == JobKind::Destroy && plan.commands.is_empty() && nothing {
            output::note("there is no command to run, and no service that could know of the environment");
            return Ok(ExitStatus::Done);
        }
        session?;
        anyhow::bail!("there is no service");
    }
    let mut local = None;
    let mut take = |plan: Plan| {
        let (mut plan, here) = split(project, plan, asked, &request)?;
        local = here;
        if local.is_none() || !plan.dependencies.is_empty() {
            plan.ssh = request.ssh.map(|flag| ssh::access(flag, project)).transpose()?;
        } else if request.ssh.is_some() {
            output::note("the commands run on this machine, and have what is here: --ssh changes nothing");
        }
        Ok::<_, anyhow::Error>(plan)
    };
    let (mut prepared, session) = if request.no_build {
        let session = session?;
        let plan = project.plan(&request.selection, Some(&session.namespace))?;
        let plan = take(without_builds(&session, plan, ending.env_file).await?)?;
        let project = Arc::clone(project);
        (tokio::task::spawn_blocking(move || run::prepare(&project, plan)).await.context("scan")??, session)
    } else {
        let plan = |project: &Project, namespace: &str| take(project.plan(&request.selection, Some(namespace))?);
        run::prepare_for(settings, project, session, plan).await?
    };
    let ending = Ending { env_file: ending.env_file.filter(|_| !request.no_build), ..ending };
    check_service(&session, &prepared.plan)?;
    prepared.terms = request.terms;
    if request.terms.no_wait || request.terms.grace.is_some() {
        session.client.require("grace", "--wait=false and --grace")?;
    }
    if prepared.plan.ssh.is_some() {
        session.client.require("ssh", "--ssh")?;
    }
    let dependencies = dependency_names(&prepared.plan);
    let Some(local) = local else {
        return run::run(settings, &session, prepared, ending, interrupt).await;
    };
    let ending = Ending { goes_on: true, ..ending };
    let Some(images) = built(settings, &session, prepared, ending, interrupt).await? else {
        return Ok(if interrupt.is_received() { ExitStatus::Interrupted } else { ExitStatus::Failed });
    };
    let service = local::service(&session, settings).await?;
    let mut local = local;
    let destroys = request.selection.kind == JobKind::Destroy;
    if let Some(kept) = environment_command::find(&session, &local.name).await? {
        local.add_kept(environment_command::variables(&kept, destroys));
    }
    for name in dependencies {
        if let Some(kept) = environment_command::find(&session, &name).await?.filter(dependency::is_deployed) {
            local.add_kept(dependency::variables(&name, &kept));
        }
    }
    let status = local.run(&images, Some(service), settings, interrupt).await?;
    if destroys && status == ExitStatus::Done {
        environment_command::is_destroyed(&session, &local.name).await?;
    }
    Ok(status)
}

/// Finds what is wrong with what comes later, before anything is done for it.
pub(crate) fn check(
    project: &Project,
    selection: &Selection,
    session: Option<&Session>,
    settings: &Settings,
) -> Result<()> {
    let namespace = session.map(|session| session.namespace.as_str()).or(settings.namespace.as_deref());
    let plan = project.plan_quietly(selection, namespace)?.0;
    for commands in &plan.commands {
        let what = format_args!("the context of {}", commands.label());
        roots::directory(&project.root, &commands.context, what)?;
    }
    session.map_or(Ok(()), |session| check_service(session, &plan))
}

/// The test of that name.
pub(crate) fn test_of<'p>(project: &'p Project, name: &str) -> Result<&'p Test, Usage> {
    let manifest = &project.manifest;
    manifest.test_of(name).map_err(|hint| {
        let names = || manifest.tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>().join(", ");
        let error = Usage::new(format!("there is no test `{name}` in {}", manifest.file));
        if manifest.tests.is_empty() {
            error
        } else {
            error.hint(hint.unwrap_or_else(|| format!("known here: {}", names())))
        }
    })
}

fn asked(project: &Project, request: &Request<'_>, settings: &Settings) -> Asked {
    let force = project.force_remote();
    Asked { flag: request.remote, force, in_runner: settings.environment.is_true(environment::OKTETO_DEPLOY_REMOTE) }
}

/// The service's part of a plan, and what runs here, if anything does. Of several sections (the tests) all are remote.
fn split(project: &Project, mut plan: Plan, asked: Asked, request: &Request<'_>) -> Result<(Plan, Option<Local>)> {
    let decisions: Vec<Decision> = plan.commands.iter().map(|commands| remote_decision(commands, asked)).collect();
    let Some(decision) = decisions.into_iter().find(|decision| !decision.remote || decision.forced) else {
        return Ok((plan, None));
    };
    if decision.forced {
        output::note(format_args!("the commands run on the service: {}", decision.reason));
        return Ok((plan, None));
    }
    if request.detach || request.terms.no_wait {
        let flag = if request.detach { "--detach" } else { "--wait=false" };
        let message = format!("{flag}: the commands run on this machine, since {}", decision.reason);
        return Err(Usage::new(message).hint("--remote runs them on the service").into());
    }
    let mut local = Local::new(project, &mut plan, decision.reason, asked.in_runner)?;
    local.grace = request.terms.grace.unwrap_or(GRACE);
    plan.kind = JobKind::Build;
    Ok((plan, Some(local)))
}

/// A service that knows deploys only would take several tests for one section.
fn check_service(session: &Session, plan: &Plan) -> Result<()> {
    let new = |commands: &CommandsPlan| commands.keep_going || commands.test.is_some();
    if plan.kind == JobKind::Destroy || plan.commands.iter().any(new) {
        session.client.require("sections", &format!("`{}`", plan.kind))?;
    }
    if !plan.dependencies.is_empty() {
        session.client.require("dependencies", "`dependencies`")?;
    }
    if plan.commands.iter().any(|commands| !commands.required.is_empty()) {
        session.client.require("dependencies", "`external`")?;
    }
    // The order of tests is theirs as it always was.
    let is_new = |testing: &TestOptions| !TestOptions { depends_on: Vec::new(), ..testing.clone() }.is_empty();
    if plan.commands.iter().any(|commands| is_new(&commands.testing)) {
        session
            .client
            .require("test-options", "`artifacts`, `caches`, `hosts`, `skipIfNoFileChanges` and --no-cache of tests")?;
    }
    Ok(())
}

fn dependency_names(plan: &Plan) -> Vec<String> {
    plan.dependencies.iter().map(|dependency| dependency.name.clone()).collect()
}

/// Builds the images on the service, and gives their variables; none: it did not succeed.
async fn built(
    settings: &Settings,
    session: &Session,
    prepared: Prepared,
    ending: Ending<'_>,
    interrupt: &Interrupt,
) -> Result<Option<ImageEnv>> {
    if prepared.plan.builds.is_empty() && prepared.plan.dependencies.is_empty() {
        ending.write_env_file(&ImageEnv::default())?;
        return Ok(Some(ImageEnv::default()));
    }
    let (status, images) = run::images(settings, session, prepared, ending, interrupt).await?;
    Ok((status == ExitStatus::Done).then_some(images))
}

/// The plan with the images that are there, and nothing to build.
async fn without_builds(session: &Session, mut plan: Plan, env_file: Option<&Path>) -> Result<Plan> {
    let found = images::find(session, &plan).await?;
    if let Some((service, image)) = found.missing.first() {
        let message = format!("--no-build: the image of `{service}`, {image}, is not there");
        return Err(Usage::new(message).hint("deploy without --no-build, or `slipway build` first").into());
    }
    plan.builds = Vec::new();
    for commands in &mut plan.commands {
        let image = commands.complete_image(&found.env).map_err(|error| Usage::new(error.to_string()))?;
        commands.image = image.as_deref().map(Template::literal);
        let mut env: BTreeMap<String, String> = commands.env.drain(..).collect();
        env.extend(found.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        commands.env = env.into_iter().collect();
    }
    if let Some(path) = env_file {
        run::write_env_file(path, &found.env)?;
    }
    Ok(plan)
}
