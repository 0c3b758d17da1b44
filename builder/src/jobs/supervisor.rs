//! Follows a running job to its end: its events move its row. The job's process may have been started by us or by a service
//! before us; either way the lock tells whether it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{JobDone, JobStatus};
use tokio::process::Child;

use super::event_log::EventLogReader;
use super::process::JobLock;
use super::state::{JobKind, JobState};
use super::{BATCH, FOLLOW, Jobs, JobsError, io};
use crate::store::db::jobs::{JobFailure, JobRow};

/// How often a process may die before its first command until we give up.
const MAX_ATTEMPTS: u32 = 3;
/// How often we look whether the process lives.
const ALIVE: Duration = Duration::from_millis(250);

/// What a job's events have told so far.
#[derive(Debug, Default)]
struct Seen {
    images: BTreeMap<String, String>,
    /// The last command that started.
    command: Option<String>,
    done: Option<JobDone>,
}

impl Jobs {
    pub(super) fn supervise(&self, row: JobRow, child: Option<Child>) {
        let jobs = self.clone();
        self.inner.tracker.spawn(async move {
            if let Some(mut child) = child {
                // Reaped when it ends; it lives on when we go.
                let reaping = jobs.inner.stop.now.clone();
                jobs.inner.tracker.spawn(async move { reaping.run_until_cancelled(child.wait()).await.map(drop) });
            }
            let id = row.id;
            if let Err(error) = jobs.follow(row).await {
                tracing::error!(job.id = %id, %error, "can't follow job {id}");
            }
            jobs.inner.wake.notify_one();
        });
    }

    async fn follow(&self, row: JobRow) -> Result<(), JobsError> {
        let dir = self.dir(row.id);
        let mut reader = EventLogReader::new(&dir.events(), 0);
        let mut seen = Seen::default();
        let mut lock = None;
        loop {
            let until = tokio::time::Instant::now() + ALIVE;
            loop {
                let events = reader.read(BATCH).map_err(io("read the event log"))?;
                let none = events.is_empty();
                events.into_iter().filter_map(|event| event.kind).for_each(|kind| seen.note(kind));
                if none && (lock.is_some() || tokio::time::Instant::now() > until) {
                    break;
                }
                if none {
                    let wait = self.inner.stop.now.run_until_cancelled(tokio::time::sleep(FOLLOW)).await;
                    if wait.is_none() {
                        return Ok(()); // The next service goes on here.
                    }
                }
            }
            // With the lock in our hands nobody writes any more, and the log was read once after that.
            match lock {
                Some(lock) => return self.ended(&row, seen, lock).await,
                None => lock = JobLock::try_take(&dir).map_err(io("lock the job"))?,
            }
        }
    }

    async fn ended(&self, row: &JobRow, seen: Seen, lock: JobLock) -> Result<(), JobsError> {
        if let Some(done) = seen.done {
            let state = match done.status() {
                JobStatus::Succeeded => JobState::Succeeded,
                JobStatus::Cancelled => JobState::Cancelled,
                JobStatus::Failed | JobStatus::Unspecified => JobState::Failed,
            };
            if state == JobState::Succeeded && row.kind == JobKind::Deploy {
                self.inner.db.set_environment(&row.namespace, &row.environment, row.id, &seen.images).await?;
            }
            let failure =
                done.error.map(|error| JobFailure { code: error.code, message: error.message, hint: error.hint });
            self.inner.db.finish_job(row.id, state, failure.as_ref()).await?;
            self.dir(row.id).forget_spec();
            return Ok(());
        }
        if super::process::is_cancelled(&self.dir(row.id)) {
            return self.end(row, JobState::Cancelled, None, lock).await;
        }
        let failure = if let Some(command) = seen.command {
            JobFailure {
                code: "outcome_unknown".to_owned(),
                message: format!("the job's process died while or after `{command}` ran"),
                hint: Some("see what the command left behind before you run it again".to_owned()),
            }
        } else if row.attempt < MAX_ATTEMPTS {
            tracing::warn!(job.id = %row.id, "the process of job {} died before its first command: trying again", row.id);
            self.inner.db.move_job(row.id, JobState::Running, JobState::Queued).await?;
            return Ok(());
        } else {
            JobFailure {
                code: "internal".to_owned(),
                message: format!("the job's process died {MAX_ATTEMPTS} times before its first command"),
                hint: None,
            }
        };
        self.end(row, JobState::Failed, Some(failure), lock).await
    }
}

impl Seen {
    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::BuildDone(built) => drop(self.images.insert(built.service, built.image)),
            Kind::BuildSkipped(skipped) => drop(self.images.insert(skipped.service, skipped.image)),
            Kind::CommandStarted(command) => self.command = Some(command.name),
            Kind::JobDone(done) => self.done = Some(done),
            _ => {}
        }
    }
}
