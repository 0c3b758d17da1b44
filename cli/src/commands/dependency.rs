//! `slipway deploy-dependency`: what the service runs in the runner for each of a manifest's `dependencies`.
//!
//! It clones the repository, and then becomes another process, in which nothing is left of what opened it: whoever wrote the
//! repository says there what is read and sent.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use slipway_commands::dependency::{DEPENDENCIES, GIT_AUTH};
use slipway_manifest::Selection;
use slipway_manifest::dotenv::write_dotenv;
use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::{self, BuildMode, DependencyPlan};
use slipway_proto::v1::{
    EnvironmentState, GetJobRequest, Job, JobKind, JobState, ListJobsRequest, ShowEnvironmentResponse,
};

use super::environment;
use crate::args::{DependencyArgs, JobArgs, PlaceArgs};
use crate::client::{Patience, SHORT_CALL, timed};
use crate::environment::{Environment, OKTETO_NAME};
use crate::error::{ExitStatus, Interrupted, Usage};
use crate::follow::is_over;
use crate::interrupt::Interrupt;
use crate::output;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::session::Session;
use crate::settings::Settings;

mod clone;

/// Where variables for the commands that follow are left.
const OKTETO_ENV: &str = "OKTETO_ENV";
/// What begins the names of the variables that other dependencies have left.
const OF_OTHERS: &str = "OKTETO_DEPENDENCY_";
/// How often a deploy of somebody else's is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Clones it and deploys it with a job of its own, unless it is deployed; its variables go to `$OKTETO_ENV`.
pub(crate) async fn run(args: &DependencyArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let began = Instant::now();
    let json = settings.environment.get(DEPENDENCIES);
    let json = json.ok_or_else(|| Usage::new(format!("{DEPENDENCIES} is not set: the service sets it")))?;
    // The parse error could quote a secret.
    let mut all: Vec<DependencyPlan> =
        serde_json::from_str(json).map_err(|_| Usage::new(format!("{DEPENDENCIES} holds no dependencies")))?;
    if args.index >= all.len() {
        bail!("{DEPENDENCIES} holds {} dependencies", all.len());
    }
    let dependency = all.swap_remove(args.index);
    let limit = Duration::from_secs(dependency.timeout_s);
    interrupt.claim();
    let interrupt = interrupt.or_after(limit);
    let ended = match &args.clone {
        None => fetch(&dependency, settings, &interrupt, began).await,
        Some(clone) => {
            let ended = deploy(&dependency, clone, settings, &interrupt).await;
            // The next one is not to find it.
            let removed = std::fs::remove_dir_all(clone);
            ended.and_then(|status| removed.context("remove the clone").map(|()| status))
        }
    };
    let done = matches!(ended, Ok(ExitStatus::Done));
    if !done && interrupt.is_received() && began.elapsed() >= limit {
        return Err(Usage::new(format!("{} was not deployed in time", dependency.name))
            .hint(format!("`timeout` in `dependencies.{}` gives it longer", dependency.name))
            .into());
    }
    ended
}

/// Until there is a clone; then this process goes on as one without secrets.
async fn fetch(
    dependency: &DependencyPlan,
    settings: &Settings,
    interrupt: &Interrupt,
    began: Instant,
) -> Result<ExitStatus> {
    let name = &dependency.name;
    let session = Session::open(settings).await?;
    if !dependency.again {
        tokio::select! {
            under_way = settled(&session, dependency) => if under_way? {
                output::note(format_args!("{name} is being deployed by another job"));
                return Ok(ExitStatus::Done);
            },
            () = interrupt.received() => return Err(Interrupted.into()),
        }
        if let Some(kept) = environment::find(&session, name).await?.filter(is_deployed) {
            output::note(format_args!("{name} is deployed already; `slipway deploy --dependencies` deploys it again"));
            leave(settings, &variables(name, &kept))?;
            return Ok(ExitStatus::Done);
        }
    }
    // It is removed by the process that this one becomes.
    let folder = tempfile::tempdir().context("make a folder for the clone")?.keep().join("clone");
    tokio::select! {
        cloned = clone::clone(dependency, &settings.environment, &folder) => cloned?,
        () = interrupt.received() => return Err(Interrupted.into()),
    }
    go_on(dependency, &settings.environment, &folder, began)
}

/// Becomes a process without secrets, and so comes back with an error only.
fn go_on(dependency: &DependencyPlan, environment: &Environment, clone: &Path, began: Instant) -> Result<ExitStatus> {
    let repository = GitUrl::parse(&dependency.repository)?.without_credentials();
    let timeout_s = dependency.timeout_s.saturating_sub(began.elapsed().as_secs()).max(1);
    let dependency = DependencyPlan { repository, timeout_s, ..dependency.clone() };
    let mut environment = environment.without(&[DEPENDENCIES, OF_OTHERS, GIT_AUTH, clone::SSH_AUTH_SOCK]);
    environment.set(DEPENDENCIES, &serde_json::to_string(&[&dependency])?);
    environment.set(OKTETO_NAME, &dependency.name);
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["deploy-dependency", "0", "--clone"]).arg(clone).env_clear().envs(environment.vars());
    Err(command.exec()).context("go on with the clone")
}

/// Deploys what was cloned.
async fn deploy(
    dependency: &DependencyPlan,
    clone: &Path,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    let name = &dependency.name;
    // Paths of its manifest are relative to it, and so is where that is looked for.
    std::env::set_current_dir(clone).context("enter the clone")?;
    let environment = settings.environment.without(&[DEPENDENCIES]);
    let file = dependency.manifest.as_ref().map(PathBuf::from);
    let inner = Settings { file_flag: file.is_some(), file, environment, ..settings.clone() };
    let vars: Vec<String> = dependency.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut project = Project::load(&inner, &vars, &[plan::JobKind::Deploy])?.named(Some(name)).with_git(true).await;
    // The caller's agent is for clones, and not for what the repository's builds would ask of it.
    project.agents = false;
    if let Some(deploy) = &mut project.manifest.deploy {
        // Here is no place for its commands, whatever it says.
        deploy.run.remote = Some(true);
    }
    let session = Session::for_project(&inner, &mut project).await?;
    // An image of another version may be there.
    let mut selection = Selection::deploy(project.application.clone(), BuildMode::Always);
    selection.dependencies = dependency.again;
    let (place, job) = (PlaceArgs { remote: Some(true) }, JobArgs { detach: !dependency.wait, ..JobArgs::default() });
    let request = Request::new(selection, &place, &job);
    let project = Arc::new(project);
    let status = sections::run(&project, Some(Ok(session.clone())), request, &inner, interrupt).await?;
    if status == ExitStatus::Done && dependency.wait {
        // The environment is noted after the job has said that it is done, and before it is over.
        tokio::select! {
            settled = settled(&session, dependency) => drop(settled?),
            () = interrupt.received() => return Err(Interrupted.into()),
        }
        let kept = environment::find(&session, name).await?;
        leave(settings, &variables(name, &kept.context("what was deployed can't be found")?))?;
    }
    Ok(status)
}

/// Waits for a job that deploys it; `true`: there is one, and it need not be waited for. One that waits itself, perhaps for the
/// place of the job that this is for, is not waited for: where it comes first, the next one will be behind it.
async fn settled(session: &Session, dependency: &DependencyPlan) -> Result<bool> {
    let client = &session.client;
    let request = ListJobsRequest { namespace: session.namespace.clone(), limit: 500 };
    let call = || {
        let (mut jobs, request) = (client.jobs(), timed(request.clone(), SHORT_CALL));
        async move { jobs.list(request).await }
    };
    let jobs = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?.jobs;
    let deploys = |job: &&Job| job.environment == dependency.name && job.kind() == JobKind::Deploy;
    let mut running = jobs.iter().filter(deploys).filter(|job| job.state() == JobState::Running);
    let Some(other) = running.next() else { return Ok(false) };
    if !dependency.wait {
        return Ok(true);
    }
    output::note(format_args!("{} is being deployed by job {}: waiting for that", dependency.name, other.id));
    loop {
        tokio::time::sleep(LOOK).await;
        let call = || {
            let request = GetJobRequest { job: other.id.clone() };
            let (mut jobs, request) = (client.jobs(), timed(request, SHORT_CALL));
            async move { jobs.get(request).await }
        };
        if is_over(Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?.state()) {
            return Ok(false);
        }
    }
}

/// Whether its last deploy went well.
pub(crate) fn is_deployed(kept: &ShowEnvironmentResponse) -> bool {
    kept.environment.as_ref().is_some_and(|environment| environment.state() == EnvironmentState::Deployed)
}

/// What an application that depends on it gets of it: `OKTETO_DEPENDENCY_<NAME>_VARIABLE_*` and `_BUILD_*`.
pub(crate) fn variables(name: &str, kept: &ShowEnvironmentResponse) -> BTreeMap<String, String> {
    let name = slipway_manifest::names::sanitise_application(name).replace('-', "_").to_ascii_uppercase();
    let images = environment::images(kept);
    let images = images.iter().filter_map(|(variable, value)| {
        Some((format!("OKTETO_DEPENDENCY_{name}_{}", variable.strip_prefix("OKTETO_")?), value.to_owned()))
    });
    let own = kept.variables.iter().filter_map(|variable| {
        Some((format!("OKTETO_DEPENDENCY_{name}_VARIABLE_{}", variable.name), variable.value.clone()?))
    });
    images.chain(own).collect()
}

fn leave(settings: &Settings, variables: &BTreeMap<String, String>) -> Result<()> {
    let Some(path) = settings.environment.get(OKTETO_ENV) else { return Ok(()) };
    let text = write_dotenv(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let mut file = OpenOptions::new().append(true).create(true).open(path).context("open $OKTETO_ENV")?;
    file.write_all(text.as_bytes()).context("write $OKTETO_ENV")
}

#[cfg(test)]
mod tests {
    use slipway_proto::v1::{EnvironmentImage, EnvironmentVariable};

    use super::*;

    #[test]
    fn variables_are_named_after_the_dependency() {
        let kept = ShowEnvironmentResponse {
            images: vec![EnvironmentImage { service: "my-api".to_owned(), image: "r/dev/x@sha256:1".to_owned() }],
            variables: vec![
                EnvironmentVariable { name: "Url".to_owned(), value: Some("a\nb".to_owned()) },
                EnvironmentVariable { name: "UNSEEN".to_owned(), value: None },
            ],
            ..ShowEnvironmentResponse::default()
        };
        let found = variables("My movies_2", &kept);
        let found: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        assert_eq!(
            found,
            [
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_IMAGE=\"r/dev/x@sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_REGISTRY=\"r\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_REPOSITORY=\"dev/x\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_SHA=\"okteto@sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_TAG=\"sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_VARIABLE_Url=\"a\\nb\"",
            ]
        );
    }
}
