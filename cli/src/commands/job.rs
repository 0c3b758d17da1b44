//! `slipway job …`

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{GetJobRequest, Job, JobError, JobKind, JobState, ListJobsRequest};

use crate::args::JobCommand;
use crate::artifacts::Places;
use crate::client::{Client, SHORT_CALL, timed};
use crate::error::ExitStatus;
use crate::follow::{self, OnInterrupt, follow};
use crate::interrupt::Interrupt;
use crate::output::{self, Screen, Table};
use crate::settings::{Output, Settings};
use crate::watch::Watch;

/// A job as `job show --output json` gives it.
#[derive(Debug, Serialize)]
struct View<'a> {
    job: &'a str,
    kind: &'static str,
    namespace: &'a str,
    environment: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JobError>,
    owner: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
}

impl<'a> From<&'a Job> for View<'a> {
    fn from(job: &'a Job) -> Self {
        Self {
            job: &job.id,
            kind: kind(job.kind()),
            namespace: &job.namespace,
            environment: &job.environment,
            state: state(job.state()),
            error: job.error.as_ref(),
            owner: &job.owner,
            parent: &job.parent,
            created: output::time(job.created.as_ref()),
            started: output::time(job.started.as_ref()),
            finished: output::time(job.finished.as_ref()),
        }
    }
}

/// Works with jobs.
pub(crate) async fn run(command: JobCommand, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let client = Client::connect(settings).await?;
    match command {
        JobCommand::Artifacts { job, tests, to } => artifacts(&client, &job, &tests, &to).await,
        JobCommand::List { limit } => list(&client, limit, settings).await,
        JobCommand::Show { job } => show(&client, job, settings).await,
        JobCommand::Logs { job, follow, after } => logs(&client, &job, follow, after, settings).await,
        JobCommand::Wait { job } => {
            let followed = follow(&client, &job, 0, None, interrupt, OnInterrupt::Leave).await?;
            if let Some(error) = followed.done.as_ref().and_then(|done| done.error.as_ref()) {
                output::diagnose(output::job_error(error).as_bytes());
            }
            Ok(followed.status())
        }
        JobCommand::Cancel { job, grace } => cancel(&client, &job, grace, settings).await,
        JobCommand::Attach { job } => {
            let screen = Screen::new(settings.show);
            Ok(follow(&client, &job, 0, Some(screen), interrupt, OnInterrupt::Leave).await?.status())
        }
    }
}

async fn list(client: &Client, limit: u32, settings: &Settings) -> Result<ExitStatus> {
    let namespace = settings.namespace.clone().unwrap_or_default();
    let answer = client.jobs().list(timed(ListJobsRequest { namespace, limit }, SHORT_CALL)).await;
    let jobs = answer.map_err(|status| client.error(&status))?.into_inner().jobs;
    if settings.output == Output::Json {
        for job in &jobs {
            output::print_json(&View::from(job))?;
        }
        return Ok(ExitStatus::Done);
    }
    let mut table = Table::new(["JOB", "KIND", "NAMESPACE", "ENVIRONMENT", "STATE", "CREATED", "OWNER"]);
    for job in &jobs {
        let view = View::from(job);
        let created = view.created.unwrap_or_default();
        table.row(
            [view.job, view.kind, view.namespace, view.environment, view.state, &created, view.owner]
                .map(str::to_owned),
        );
    }
    output::print(table)?;
    Ok(ExitStatus::Done)
}

async fn show(client: &Client, job: String, settings: &Settings) -> Result<ExitStatus> {
    let answer = client.jobs().get(timed(GetJobRequest { job }, SHORT_CALL)).await;
    let job = answer.map_err(|status| client.error(&status))?.into_inner();
    let view = View::from(&job);
    if settings.output == Output::Json {
        output::print_json(&view)?;
        return Ok(ExitStatus::Done);
    }
    let mut text = format!(
        "job          {}\nkind         {}\nnamespace    {}\nenvironment  {}\nstate        {}\nowner        {}\n",
        view.job, view.kind, view.namespace, view.environment, view.state, view.owner
    );
    if !view.parent.is_empty() {
        text.extend([format!("parent       {}\n", view.parent)]);
    }
    for (name, time) in [("created", view.created), ("started", view.started), ("finished", view.finished)] {
        if let Some(time) = time {
            text.extend([format!("{name:11}  {time}\n")]);
        }
    }
    if let Some(error) = view.error {
        text.push_str(&output::job_error(error));
    }
    output::print(text)?;
    Ok(ExitStatus::Done)
}

async fn logs(client: &Client, job: &str, follow: bool, after: u64, settings: &Settings) -> Result<ExitStatus> {
    let mut watch = Watch::new(client, job, after, follow);
    let mut screen = Screen::new(settings.show);
    while let Some(events) = watch.next().await? {
        screen.show(&events)?;
    }
    screen.finish()?;
    Ok(ExitStatus::Done)
}

async fn cancel(client: &Client, job: &str, grace: Option<Duration>, settings: &Settings) -> Result<ExitStatus> {
    if grace.is_some() {
        client.require("grace", "--grace")?;
    }
    let answer = follow::cancel(client, job, grace).await?;
    if settings.output == Output::Json {
        output::print_json(&View::from(&answer))?;
        return Ok(ExitStatus::Done);
    }
    match answer.state() {
        ended @ (JobState::Succeeded | JobState::Failed | JobState::Cancelled) => {
            output::note(format_args!("job {job} has ended: {}", state(ended)));
        }
        _ => output::note(format_args!("asked job {job} to end")),
    }
    Ok(ExitStatus::Done)
}

async fn artifacts(client: &Client, job: &str, tests: &[String], to: &Path) -> Result<ExitStatus> {
    let mut watch = Watch::new(client, job, 0, false);
    let mut exported = Vec::new();
    while let Some(events) = watch.next().await? {
        exported.extend(events.into_iter().filter_map(|event| match event.kind {
            Some(Kind::ArtifactsExported(exported)) => Some(exported),
            _ => None,
        }));
    }
    exported.retain(|exported| tests.is_empty() || tests.contains(&exported.test));
    let lacks = |test: &&String| exported.iter().all(|exported| exported.test != **test);
    if let Some(test) = tests.iter().find(lacks) {
        anyhow::bail!("job {job} has no artifacts of test `{test}`");
    }
    if exported.is_empty() {
        output::note(format_args!("job {job} has no artifacts"));
    }
    Places::together(&exported, to).fetch(client, job, &exported).await?;
    Ok(ExitStatus::Done)
}

fn kind(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Build => "build",
        JobKind::Deploy => "deploy",
        JobKind::Destroy => "destroy",
        JobKind::Test => "test",
        JobKind::Unspecified => "unknown",
    }
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Syncing => "syncing",
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Unspecified => "unknown",
    }
}
