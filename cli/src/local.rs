//! Commands on this machine, as they would run in the service's runner: by the same agent, which is this program, too.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use slipway_commands::dependency::GIT_AUTH;
use slipway_commands::{
    Failed, GRACE, NOT_ALL_MASKED, Place, Required, RunError, Service, Sink, Story, hello, room, sparing,
};
use slipway_manifest::plan::CommandsPlan;
use slipway_manifest::variables::looks_secret;
use slipway_manifest::{ImageEnv, Plan};
use slipway_mask::Masks;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{Event, JobDone, JobError, JobStarted, JobStatus, Warning};
use slipway_runner_agent::{Hello, Limits, ToAgent};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use self::channel::Agent;
use crate::environment::{self as variables, Environment};
use crate::error::{ExitStatus, Usage};
use crate::interrupt::Interrupt;
use crate::output::Screen;
use crate::project::Project;
use crate::roots;
use crate::session::Session;
use crate::settings::Settings;

mod channel;

/// What stands for a job and an engine that the service knows nothing of.
const LOCAL: &str = "local";
/// How long the agent may take to go once nothing is left of what it started.
const LEAVE: Duration = Duration::from_secs(5);

/// Commands that run here.
#[derive(Debug)]
pub(crate) struct Local {
    /// The environment's name.
    pub(crate) name: String,
    /// Of each section, with the folder that they run in.
    commands: Vec<(CommandsPlan, PathBuf)>,
    /// The service's variables, below all others.
    variables: BTreeMap<String, String>,
    /// What is not to be seen of what they write.
    hidden: Vec<String>,
    /// What is no secret, whatever its value: the services of the manifest.
    services: Vec<String>,
    /// Variables of the service's that they can't have.
    left_out: Vec<String>,
    /// Variables that they name and only the service knows.
    missing: Vec<String>,
    /// Why here.
    reason: String,
    /// This is a runner: nothing is wrong with running them here.
    in_runner: bool,
    /// How long they may take to end after TERM.
    pub(crate) grace: Duration,
}

/// What commands are told of the service.
pub(crate) async fn service(session: &Session, settings: &Settings) -> Result<Service> {
    let client = &session.client;
    Ok(Service {
        url: client.url().to_owned(),
        registry: client.registry().to_owned(),
        namespace: session.namespace.clone(),
        user: client.who_am_i().await?.user,
        token: settings.token.clone().unwrap_or_default(),
    })
}

impl Local {
    /// The commands of a plan. `reason` says why they run here, `in_runner` whether this is a runner.
    pub(crate) fn new(project: &Project, plan: &mut Plan, reason: String, in_runner: bool) -> Result<Self, Usage> {
        let mut commands = Vec::new();
        for mut section in std::mem::take(&mut plan.commands) {
            // The caller's environment, which commands have here, counts more than `.env`.
            section.env.retain(|(name, _)| !project.is_from_environment(name));
            let what = format_args!("the context of {}", section.label());
            let folder = roots::directory(&project.root, &section.context, what)?;
            let found = std::fs::canonicalize(&folder);
            let found = found.map_err(|error| Usage::new(format!("{}: {error}", folder.display())))?;
            commands.push((section, found));
        }
        let texts =
            || commands.iter().flat_map(|(section, _)| &section.commands).map(|command| command.command.as_str());
        let mut missing = project.write_only().to_vec();
        missing.retain(|name| {
            texts().any(|text| text.contains(&format!("${name}")) || text.contains(&format!("${{{name}")))
        });
        let known = project.service_variables();
        let known = known.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (variables, left_out) = room::fitting(known.filter(|(name, _)| !name.starts_with(GIT_AUTH)));
        let services = project.manifest.build.iter().map(|build| build.service.to_string()).collect();
        let (name, hidden) = (plan.name.clone(), project.hidden());
        Ok(Self { name, commands, variables, hidden, services, left_out, missing, reason, in_runner, grace: GRACE })
    }

    /// Adds what their environment keeps, below everything else.
    pub(crate) fn add_kept(&mut self, kept: BTreeMap<String, String>) {
        let secret = kept.iter().filter(|(name, _)| looks_secret(name));
        self.hidden.extend(secret.map(|(_, value)| value.clone()));
        for (name, value) in kept {
            self.variables.entry(name).or_insert(value);
        }
    }

    /// Runs them to their end, and shows what they do as the service's events do.
    pub(crate) async fn run(
        &self,
        images: &ImageEnv,
        service: Option<Service>,
        settings: &Settings,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus> {
        interrupt.claim();
        let token = service.as_ref().map(|service| service.token.expose_secret());
        let place = service.iter().flat_map(|service| [service.namespace.as_str(), &service.user]);
        let masks = sparing(&self.name, self.services.iter().map(String::as_str).chain(place));
        let masks = masks.and(self.hidden.iter().map(String::as_str).chain(token));
        anyhow::ensure!(!masks.is_blind(), "secret values can't be masked in what commands print: none was started");
        let events = Events::new(Screen::new(settings.show), masks);
        events.emit(Kind::JobStarted(JobStarted { engine: LOCAL.to_owned() }));
        if events.masks().gaps().plain > 0 {
            events.emit(Kind::Warning(Warning { message: NOT_ALL_MASKED.to_owned(), place: None }));
        }
        let running = self.run_all(images, service.as_ref(), &settings.environment, &events);
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = interrupt.received() => {
                events.cancel.cancel();
                running.await
            }
        };
        if let Some(error) = events.lost() {
            return Err(error).context("show what commands do");
        }
        let (status, done) = match ended {
            Ok(()) => (ExitStatus::Done, done(JobStatus::Succeeded, None)),
            Err(Ended::Cancelled) => (ExitStatus::Interrupted, done(JobStatus::Cancelled, None)),
            Err(ended) => (ExitStatus::Failed, done(JobStatus::Failed, Some(ended.error()))),
        };
        events.emit(Kind::JobDone(done));
        events.finish()?;
        Ok(status)
    }

    async fn run_all(
        &self,
        images: &ImageEnv,
        service: Option<&Service>,
        environment: &Environment,
        events: &Events,
    ) -> Result<(), Ended> {
        let all = self.commands.iter().filter(|(commands, _)| !commands.commands.is_empty());
        for (number, (commands, cwd)) in all.enumerate() {
            let mut story = Story::new(events, commands);
            if number == 0 && !self.in_runner {
                story.warn(format!(
                    "commands run on this machine, since {}. That is deprecated: `remote: true` in the manifest, --remote or \
                     OKTETO_FORCE_REMOTE=true run them on the service",
                    self.reason
                ));
            }
            self.left_out.iter().filter(|_| number == 0).for_each(|message| story.warn(message.clone()));
            for name in self.missing.iter().filter(|_| number == 0) {
                story.warn(format!(
                    "commands on this machine don't get `{name}`: it is write-only, and never leaves the service"
                ));
            }
            let mut env = self.variables.clone();
            env.extend(environment.vars().clone());
            env.extend(slipway_commands::environment(&self.name, commands, images, service, false));
            let shell = [shell(environment), "-c"].map(str::to_owned).to_vec();
            run(
                commands,
                Place { shell, cwd: cwd.clone(), env, grace: self.grace.into(), limits: Limits::default() },
                &mut story,
                &events.cancel,
            )
            .await?;
        }
        Ok(())
    }
}

/// Runs the commands of one section by an agent of their own.
async fn run(
    commands: &CommandsPlan,
    place: Place,
    story: &mut Story<'_, Events>,
    cancel: &CancellationToken,
) -> Result<(), Ended> {
    let mut agent = start_agent().map_err(|error| Ended::not_started(format!("start the agent: {error}")))?;
    let greeting = Hello { limits: place.limits, ..Hello::new(place.grace.own()) };
    hello(&mut agent, greeting).await.map_err(Ended::not_started)?;
    let result = slipway_commands::run(&mut agent, commands, place, story, cancel).await;
    story.end_output();
    let _ = slipway_commands::Channel::send(&mut agent, ToAgent::Finish).await;
    agent.leave(LEAVE).await;
    let label = commands.label();
    match result {
        Ok(None) => Ok(()),
        Ok(Some(failed)) => Err(Ended::Failed { label, failed: Box::new(failed) }),
        Err(RunError::Cancelled) => Err(Ended::Cancelled),
        Err(RunError::NotStarted(message)) => Err(Ended::NotStarted(message)),
        Err(RunError::Required(required)) => Err(Ended::Required(required)),
        Err(error) => {
            let (index, name) = story.current();
            let number = index + 1;
            Err(Ended::Unknown(format!("the agent was lost while {label} command {number} ran ({name}): {error}")))
        }
    }
}

fn start_agent() -> io::Result<Agent> {
    let mut command = Command::new(std::env::current_exe()?);
    // What it has to say of itself is of its channel's end, which we see.
    command.arg("run-agent").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    Agent::new(command.spawn()?)
}

/// The shell of the commands, as Okteto has it where it runs them.
fn shell(environment: &Environment) -> &'static str {
    let path = environment.get(variables::PATH).unwrap_or_default();
    if std::env::split_paths(path).any(|folder| folder.join("bash").is_file()) { "bash" } else { "sh" }
}

/// Why commands did not come to a good end.
#[derive(Debug)]
enum Ended {
    Cancelled,
    NotStarted(String),
    /// Something that runs elsewhere has no URL.
    Required(Required),
    Failed {
        label: String,
        failed: Box<Failed>,
    },
    Unknown(String),
}

impl Ended {
    fn not_started(error: impl std::fmt::Display) -> Self {
        Self::NotStarted(format!("{error}"))
    }

    /// With the codes of the service's jobs.
    fn error(self) -> JobError {
        let hint = if let Self::Required(required) = &self { Some(required.hint()) } else { None };
        let (code, message) = match self {
            Self::Cancelled => ("cancelled", "cancelled".to_owned()),
            Self::NotStarted(message) => ("runner_failed", message),
            Self::Required(required) => (Required::CODE, required.to_string()),
            Self::Failed { label, failed } => ("command_failed", failed.message(&label)),
            Self::Unknown(message) => ("outcome_unknown", message),
        };
        JobError { code: code.to_owned(), message, hint }
    }
}

fn done(status: JobStatus, error: Option<JobError>) -> JobDone {
    JobDone { status: status.into(), error }
}

/// Shows events as they come.
struct Events {
    shown: Mutex<Shown>,
    seq: AtomicU64,
    cancel: CancellationToken,
    masks: Mutex<Masks>,
}

struct Shown {
    screen: Screen,
    lost: Option<io::Error>,
}

impl Events {
    fn new(screen: Screen, masks: Masks) -> Self {
        let shown = Mutex::new(Shown { screen, lost: None });
        Self { shown, seq: AtomicU64::new(1), cancel: CancellationToken::new(), masks: Mutex::new(masks) }
    }

    fn lost(&self) -> Option<io::Error> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).lost.take()
    }

    fn finish(&self) -> io::Result<()> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).screen.finish()
    }
}

impl Sink for Events {
    fn emit(&self, kind: Kind) {
        // A failure ends the commands: see `try_emit`.
        let _ = self.try_emit(kind);
    }

    fn try_emit(&self, kind: Kind) -> io::Result<()> {
        let kind = slipway_commands::masked(kind, &self.masks());
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        let event = Event { seq, time: Some(SystemTime::now().into()), job: LOCAL.to_owned(), kind: Some(kind) };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = shown.screen.show(&[event]) else { return Ok(()) };
        // Nobody reads any more: what nobody sees does not go on.
        self.cancel.cancel();
        let told = io::Error::new(error.kind(), error.to_string());
        shown.lost.get_or_insert(error);
        Err(told)
    }

    fn masks(&self) -> Masks {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hide(&self, values: &[&str]) {
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        *masks = masks.and(values);
    }
}
