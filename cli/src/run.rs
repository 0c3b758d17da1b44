//! A job on the service: prepare, submit, sync, and show it until it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_commands::GRACE;
use slipway_manifest::plan::BuildPlan;
use slipway_manifest::print::Digests;
use slipway_manifest::variables::looks_secret;
use slipway_manifest::{ImageEnv, Plan, ServiceName};
use slipway_proto::v1::{GetJobRequest, Job, MaskedValue};

use crate::artifacts::Places;
use crate::client::{Client, SHORT_CALL, ServiceError, timed};
use crate::error::{ExitStatus, Interrupted, Usage};
use crate::exports::Exports;
use crate::exports::caches::{LocalCaches, leave_out};
use crate::follow::{self, Followed, OnInterrupt, follow};
use crate::git_logins;
use crate::interrupt::Interrupt;
use crate::logins;
use crate::metadata;
use crate::output::{self, Screen};
use crate::project::Project;
use crate::roots::{Roots, caches};
use crate::secrets;
use crate::session::Session;
use crate::settings::Settings;
use crate::ssh::{self, Agents};
use crate::submit::{self, Prepared, Submitted};
use crate::sync::{Blobs, Memory, SyncError, sync};
use crate::whole_file;

/// How long a sync may take to end after its job.
const REMEMBER: Duration = Duration::from_secs(5);

/// What to do with a job once the service has all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    /// Print its id and leave.
    pub(crate) detach: bool,
    /// Where to write the images' variables.
    pub(crate) env_file: Option<&'a Path>,
    /// Where to write what is known of the images.
    pub(crate) metadata_file: Option<&'a Path>,
    /// What is brought here of the images.
    pub(crate) exports: Option<&'a Exports>,
    /// Something comes after it, and has an end of its own to show.
    pub(crate) goes_on: bool,
}

impl Ending<'_> {
    /// Writes the images' variables, if that is asked for.
    pub(crate) fn write_env_file(&self, env: &ImageEnv) -> Result<()> {
        self.env_file.map_or(Ok(()), |path| write_env_file(path, env))
    }
}

/// Finds and scans everything that a plan reads. Blocks, on a thread of the runtime's that may.
pub(crate) fn prepare(project: &Project, mut plan: Plan) -> Result<Prepared> {
    let runtime = tokio::runtime::Handle::current();
    runtime.block_on(git_logins::add(&mut plan.dependencies, "git"));
    let roots = Roots::new(project.scan_cache.clone());
    let (secrets, mut masked) = (secrets::values(&plan, project)?, project.to_mask());
    let args = plan.builds.iter().flat_map(|build| &build.build_args).filter(|(name, _)| looks_secret(name));
    masked.extend(args.map(|(_, value)| MaskedValue { value: value.clone() }));
    let agents = if project.agents { Agents::of(&plan, project)? } else { Agents::default() };
    let prepared = prepare_with(if project.narrow { roots } else { roots.whole() }, project, plan)?;
    let registries = logins::of_plan(&prepared.plan, &prepared.builds, &prepared.roots);
    let finding = logins::find(registries, project.docker_config.as_deref());
    let logins = runtime.block_on(finding);
    let caches = LocalCaches::of(&prepared.plan, &project.root);
    Ok(Prepared { secrets, masked, logins, agents, caches, ..prepared })
}

/// The same with whole contexts, and without the values of secrets and logins.
pub(crate) fn prepare_whole(project: &Project, plan: Plan) -> Result<Prepared> {
    prepare_with(Roots::new(project.scan_cache.clone()).whole(), project, plan)
}

/// The digest of each build's context, for the printed plan.
pub(crate) fn context_digests(prepared: &Prepared) -> impl FnMut(&BuildPlan) -> Digests {
    let mut builds = prepared.builds.iter();
    move |_| Digests {
        context: builds
            .next()
            .and_then(|roots| prepared.roots.tree(&roots.context))
            .map(|tree| tree.scan.digest().to_string()),
        // Nobody but the service can complete it, and its API doesn't give it yet.
        input: None,
    }
}

fn prepare_with(mut roots: Roots, project: &Project, plan: Plan) -> Result<Prepared> {
    let plan = caches::resolve(plan, &project.root);
    let mut builds = Vec::with_capacity(plan.builds.len());
    for (index, build) in plan.builds.iter().enumerate() {
        builds.push(roots.add_build(&project.root, build, &plan.builds[..index])?);
    }
    let tests: Vec<String> = project.manifest.tests.iter().map(|test| test.name.clone()).collect();
    let commands = plan.commands.iter().map(|plan| roots.add_commands(&project.root, plan, &tests));
    let commands = commands.collect::<Result<_, _>>()?;
    let (secrets, masked, logins, agents, caches, terms) = Default::default();
    Ok(Prepared { plan, roots, builds, commands, secrets, masked, logins, agents, caches, terms })
}

/// Makes a job of what was prepared.
pub(crate) async fn run(
    settings: &Settings,
    session: &Session,
    prepared: Prepared,
    ending: Ending<'_>,
    interrupt: &Interrupt,
) -> Result<ExitStatus> {
    images(settings, session, prepared, ending, interrupt).await.map(|(status, _)| status)
}

/// The same, with the variables of the images that it built or found.
pub(crate) async fn images(
    settings: &Settings,
    session: &Session,
    mut prepared: Prepared,
    ending: Ending<'_>,
    interrupt: &Interrupt,
) -> Result<(ExitStatus, ImageEnv)> {
    let client = &session.client;
    if ending.detach && !prepared.agents.is_empty() {
        let without = "--detach leaves nobody here whose SSH agent could be used";
        if ssh::needs_us(&prepared.plan) {
            return Err(Usage::new(without).into());
        }
        output::warn(format_args!("{without}: where one has to be built, a step that uses it fails"));
    }
    if ending.detach {
        leave_out(&mut prepared.plan);
        prepared.caches = LocalCaches::default();
    }
    prepared.caches.create()?;
    interrupt.claim();
    let (job, missing) = tokio::select! {
        submitted = submit_widened(client, &session.namespace, &mut prepared, interrupt) => submitted?,
        () = late(interrupt) => {
            output::note("left before the service answered; if it made a job, `slipway job list` shows it and `slipway job cancel` ends it");
            return Err(Interrupted.into());
        }
    };
    let job = job.id;
    let (agents, caches) = (std::mem::take(&mut prepared.agents), std::mem::take(&mut prepared.caches));
    let _serving = agents.serve(client, &job);
    let memory = Memory::new(settings.environment.cache_dir(), client.url(), &session.namespace);
    let (mut blobs, mut there) = (Blobs::default(), Blobs::default());
    for tree in prepared.roots.trees() {
        if missing.contains(&tree.name) { &mut blobs } else { &mut there }.add(tree);
    }
    let places = Places::of(&prepared);
    let order: Vec<ServiceName> = prepared.plan.builds.iter().map(|build| build.service.clone()).collect();
    let grace = prepared.terms.grace.unwrap_or(GRACE);
    drop(prepared);
    // What the service has already, it will still have when a little of it has changed.
    let remembering = tokio::task::spawn_blocking({
        let memory = memory.clone();
        move || memory.save_new(there)
    });
    let syncing =
        async { if missing.is_empty() { Ok(()) } else { sync(client, &job, blobs, &memory, settings.bar).await } };
    let to_stdout = ending.exports.is_some_and(Exports::go_to_stdout);
    let screen = Screen::new(settings.show).off_stdout(to_stdout).without_progress(settings.bar);
    let screen = screen.without_success(ending.goes_on);
    let following = Box::pin(follow(client, &job, 0, Some(screen), interrupt, OnInterrupt::Cancel(grace)));
    let followed = if ending.detach {
        let synced = tokio::select! {
            synced = syncing => synced,
            // The job is cancelled below, where its end is also waited for.
            () = interrupt.received() => Ok(()),
        };
        if let Err(error) = synced {
            abandon(client, &job, error).await?;
        } else if !interrupt.is_received() {
            output::note(format_args!("the job goes on without you; `slipway job attach {job}` shows it"));
            output::print(format_args!("{job}\n"))?;
            return Ok((ExitStatus::Done, ImageEnv::default()));
        }
        following.await?
    } else {
        tokio::pin!(following);
        let mut syncing = Box::pin(syncing);
        // Its events come while its roots are sent. A job that ends meanwhile needs none.
        let synced = tokio::select! {
            followed = &mut following => Err(followed?),
            synced = &mut syncing => Ok(synced),
            () = interrupt.received() => Ok(Ok(())),
        };
        match synced {
            Err(followed) => {
                if followed.status() == ExitStatus::Done {
                    // It had all of them, so the sync has only that to hear and to remember. Nothing else depends on it.
                    let remembered = tokio::time::timeout(REMEMBER, syncing);
                    tokio::select! { _ = remembered => {} () = interrupt.received() => {} }
                }
                followed
            }
            Ok(synced) => {
                drop(syncing);
                if let Err(error) = synced {
                    abandon(client, &job, error).await?;
                }
                following.await?
            }
        }
    };
    let _ = remembering.await;
    let status = followed.status();
    if !followed.interrupted {
        let fetching = async {
            let exported = match ending.exports {
                Some(exports) => exports.fetch(client, &job, &followed.exports).await,
                None => Ok(()),
            };
            // Also where something else could not be taken.
            let brought = caches.fetch(client, &job, &followed.exports).await;
            // Of a job that failed as well.
            let artifacts = places.fetch(client, &job, &followed.artifacts).await;
            exported.and(brought).and(artifacts)
        };
        tokio::select! {
            fetched = fetching => fetched?,
            () = interrupt.received() => return Err(Interrupted.into()),
        }
    }
    let env = image_env(&followed, &order)?;
    if status == ExitStatus::Done {
        ending.write_env_file(&env)?;
        if let Some(path) = ending.metadata_file {
            let text = metadata::text(&followed.images)?;
            whole_file::write(path, text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok((status, env))
}

/// Submits; again with whole contexts, where a build may use more of them than its Dockerfile tells.
async fn submit_widened(
    client: &Client,
    namespace: &str,
    prepared: &mut Prepared,
    interrupt: &Interrupt,
) -> Result<(Job, Vec<String>)> {
    for _ in 0..=prepared.roots.trees().len() {
        match submit::submit(client, &prepared.request(namespace, client.registry())).await? {
            Submitted::Job(job, missing) => return Ok((*job, missing)),
            Submitted::Widen(names) => {
                tracing::info!(roots = names.join(", "), "scanning again, without narrowing");
                let mut roots = std::mem::take(&mut prepared.roots);
                let widening = tokio::task::spawn_blocking(move || roots.widen(&names).map(|()| roots));
                prepared.roots = tokio::select! {
                    widened = widening => widened.context("scan")??,
                    // There is no job yet to be cancelled, and nobody waits for the scan's end.
                    () = interrupt.received() => return Err(Interrupted.into()),
                };
            }
        }
    }
    Err(client.malformed("it wants complete what is complete").into())
}

/// Some time after a signal: what was asked of the service may still come to its end, and tell us what to cancel.
async fn late(interrupt: &Interrupt) {
    interrupt.received().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// A sync that failed: says why, and leaves no job behind that waits for it. Nothing is wrong when the job has ended: its
/// events say more than the refused sync does.
async fn abandon(client: &Client, job: &str, error: SyncError) -> Result<()> {
    if let SyncError::Service(error @ ServiceError::Unreachable { .. }) = error {
        // The job can't be cancelled either; without its client it ends by itself.
        return Err(error.into());
    }
    let answer = client.jobs().get(timed(GetJobRequest { job: job.to_owned() }, SHORT_CALL)).await;
    let state = answer.map(|answer| answer.into_inner().state());
    if state.is_ok_and(follow::is_over) {
        tracing::info!(%error, "the sync ended");
        return Ok(());
    }
    if let Err(error) = follow::cancel(client, job, None).await {
        tracing::warn!(%error, job, "could not cancel the job");
    }
    match error {
        SyncError::Service(error) => Err(error.into()),
        error => Err(error.into()),
    }
}

/// The variables of a job's images, in the plan's order: builds end in any.
fn image_env(followed: &Followed, order: &[ServiceName]) -> Result<ImageEnv> {
    let mut env = ImageEnv::default();
    for service in order {
        let made = followed.images.iter().find(|made| made.service == service.as_str());
        let Some(made) = made else { continue };
        env.extend(service, &made.image).with_context(|| format!("read the reference of the image of {service}"))?;
    }
    Ok(env)
}

/// Writes `OKTETO_BUILD_*`: complete or not at all.
pub(crate) fn write_env_file(path: &Path, env: &ImageEnv) -> Result<()> {
    let text = env.to_dotenv().context("write variables")?;
    whole_file::write(path, text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Prepares a project; with several things wrong, those of the project come before those of the connection. `plan` gets the
/// namespace that the manifest is expanded for.
pub(crate) async fn prepare_for(
    settings: &Settings,
    project: &Arc<Project>,
    session: Result<Session>,
    plan: impl FnOnce(&Project, &str) -> Result<Plan>,
) -> Result<(Prepared, Session)> {
    let namespace = match (&session, settings.namespace.as_deref()) {
        (Ok(session), _) => session.namespace.as_str(),
        (Err(_), Some(namespace)) => namespace,
        (Err(_), None) => return Err(session.err().unwrap_or_else(|| anyhow::anyhow!("no namespace"))),
    };
    let plan = plan(project, namespace)?;
    let project = Arc::clone(project);
    let prepared = tokio::task::spawn_blocking(move || prepare(&project, plan)).await.context("scan")??;
    Ok((prepared, session?))
}
