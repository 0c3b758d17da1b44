//! Shows a job until it ends, and takes care of Ctrl-C.

use std::future::{Future, pending};
use std::time::Duration;

use anyhow::Result;
use slipway_commands::GRACE;
use slipway_proto::v1::{
    ArtifactsExported, BuildDone, BuildExported, BuildSkipped, CancelJobRequest, Event, JobDone, JobState, JobStatus,
    event::Kind,
};

use crate::client::{Client, Patience, SHORT_CALL, timed};
use crate::error::ExitStatus;
use crate::interrupt::Interrupt;
use crate::output::{self, Screen};
use crate::watch::Watch;

/// What a cancelled job may take beyond what its commands may, before we stop watching it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a job ends that is not to wait for another one, and would have to.
const BUSY: &str = "environment_busy";

/// What a first Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// The job is ours: it ends too. Its commands may take so long for that.
    Cancel(Duration),
    /// We only looked on.
    Leave,
}

/// Whether nothing more happens to a job in this state.
pub(crate) fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}

/// An image that a job made, or found.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) service: String,
    /// The full reference, digest included.
    pub(crate) image: String,
    pub(crate) digest: String,
    pub(crate) names: Vec<String>,
    pub(crate) config_digest: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) size: Option<u64>,
}

impl From<BuildDone> for Made {
    fn from(build: BuildDone) -> Self {
        Self {
            service: build.service,
            image: build.image,
            digest: build.digest,
            names: build.names,
            config_digest: build.config_digest,
            media_type: build.media_type,
            size: build.size,
        }
    }
}

impl From<BuildSkipped> for Made {
    fn from(build: BuildSkipped) -> Self {
        Self {
            service: build.service,
            image: build.image,
            digest: build.digest,
            names: build.names,
            config_digest: None,
            media_type: None,
            size: None,
        }
    }
}

/// How watching ended.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The job's end, if it came.
    pub(crate) done: Option<JobDone>,
    /// A signal ended the watching, or the job.
    pub(crate) interrupted: bool,
    /// Each image built or skipped, in the order of the events.
    pub(crate) images: Vec<Made>,
    /// Archives that can be fetched.
    pub(crate) exports: Vec<BuildExported>,
    /// Artifacts of tests that can be fetched.
    pub(crate) artifacts: Vec<ArtifactsExported>,
}

impl Followed {
    /// As the job ended; a cancelled job has not done its work, whoever cancelled it.
    pub(crate) fn status(&self) -> ExitStatus {
        if self.interrupted {
            return ExitStatus::Interrupted;
        }
        // It was refused, if late: another job came first.
        if self.done.as_ref().and_then(|done| done.error.as_ref()).is_some_and(|error| error.code == BUSY) {
            return ExitStatus::Service;
        }
        match self.done.as_ref().map(JobDone::status) {
            Some(JobStatus::Succeeded) => ExitStatus::Done,
            _ => ExitStatus::Failed,
        }
    }
}

/// Shows a job's events (on no screen: only waits) until job.done.
pub(crate) async fn follow(
    client: &Client,
    job: &str,
    after: u64,
    mut screen: Option<Screen>,
    interrupt: &Interrupt,
    on_interrupt: OnInterrupt,
) -> Result<Followed> {
    interrupt.claim();
    let mut watch = Watch::new(client, job, after, true);
    let mut followed = Followed::default();
    let mut deadline: Deadline = Box::pin(pending());
    loop {
        let events = tokio::select! {
            events = watch.next() => events.inspect_err(|_| {
                output::note(format_args!("lost sight of job {job}; `slipway job attach {job}` looks for it"));
            })?,
            () = interrupt.received(), if !followed.interrupted => {
                followed.interrupted = true;
                let OnInterrupt::Cancel(grace) = on_interrupt else {
                    output::note(format_args!("left job {job} running; `slipway job attach {job}` comes back to it"));
                    break;
                };
                cancel_in_background(client, job);
                deadline = Box::pin(tokio::time::sleep(grace + PATIENCE));
                continue;
            }
            () = &mut deadline => {
                output::note(format_args!("job {job} has not ended yet; `slipway job show {job}` says when it has"));
                break;
            }
        };
        let Some(events) = events else { break };
        if let Some(screen) = &mut screen {
            screen.show(&events)?;
        }
        followed.take(events);
    }
    if let Some(screen) = &mut screen {
        screen.finish()?;
    }
    Ok(followed)
}

type Deadline = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Followed {
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event.kind {
                Some(Kind::BuildDone(build)) => self.images.push(build.into()),
                Some(Kind::BuildSkipped(build)) => self.images.push(build.into()),
                Some(Kind::BuildExported(export)) => self.exports.push(export),
                Some(Kind::ArtifactsExported(exported)) => self.artifacts.push(exported),
                Some(Kind::JobDone(done)) => self.done = Some(done),
                _ => {}
            }
        }
    }
}

/// Cancels without keeping the watch waiting: the job's last events come over it.
fn cancel_in_background(client: &Client, job: &str) {
    output::note(format_args!("cancelling job {job}; Ctrl-C again leaves at once"));
    let (client, job) = (client.clone(), job.to_owned());
    tokio::spawn(async move {
        if let Err(error) = cancel(&client, &job, None).await {
            output::warn(format_args!("could not cancel job {job}: {error}"));
        }
    });
}

/// Asks the service to end a job, its commands within this grace period or its own.
pub(crate) async fn cancel(
    client: &Client,
    job: &str,
    grace: Option<Duration>,
) -> Result<slipway_proto::v1::Job, crate::client::ServiceError> {
    let grace_ms = grace.map(|grace| grace.as_millis() as u32);
    let request = CancelJobRequest { job: job.to_owned(), grace_ms };
    let call = || {
        let (mut jobs, request) = (client.jobs(), timed(request.clone(), SHORT_CALL));
        async move { jobs.cancel(request).await }
    };
    Patience(GRACE + PATIENCE).call(call).await.map_err(|status| client.error(&status))
}
