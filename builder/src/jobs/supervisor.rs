//! Follows a running job to its end: its events move its row. The job's process may have been started by us or by a service
//! before us; either way the lock tells whether it lives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{JobDone, JobStatus};
use tokio::process::Child;

use super::changes::Changes;
use super::event_log::EventLogReader;
use super::process::JobLock;
use super::state::{JobKind, JobState};
use super::{BATCH, Jobs, JobsError, io};
use crate::runner::ABANDONED;
use crate::store::db::jobs::{JobFailure, JobRow};

/// How often a process may die before its first command until we give up.
const MAX_ATTEMPTS: u32 = 3;
/// How long to wait after trouble with the disk or the database.
const AGAIN: Duration = Duration::from_secs(5);
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
            // Without a follower the job would hold its environment for ever.
            while let Err(error) = jobs.follow(row.clone()).await {
                tracing::error!(job.id = %row.id, %error, "can't follow job {}", row.id);
                if jobs.inner.stop.now.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                    break;
                }
            }
            jobs.inner.wake.notify_one();
        });
    }

    async fn follow(&self, row: JobRow) -> Result<(), JobsError> {
        let dir = self.dir(row.id);
        let mut reader = EventLogReader::new(&dir.events(), 0);
        let mut changes = Changes::of(dir.events());
        let mut seen = Seen::default();
        let mut lock = None;
        let mut tried = Instant::now();
        loop {
            let events = match reader.read(BATCH) {
                // What a writer left that died or failed; the next one cuts it off.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Vec::new(),
                events => events.map_err(io("read the event log"))?,
            };
            let none = events.is_empty();
            events.into_iter().filter_map(|event| event.kind).for_each(|kind| seen.note(kind));
            if let Some(done) = seen.done.take() {
                return self.done(&row, done, seen).await;
            }
            if !none {
                tokio::task::yield_now().await;
                continue;
            }
            // With the lock in our hands nobody writes any more, and the log was read once after that.
            if let Some(lock) = lock {
                return self.died(&row, seen, lock).await;
            }
            if tried.elapsed() > ALIVE {
                lock = JobLock::try_take(&dir).map_err(io("lock the job"))?;
                tried = Instant::now();
            } else if self.inner.stop.now.run_until_cancelled(changes.next(ALIVE)).await.is_none() {
                return Ok(()); // The next service goes on here.
            }
        }
    }

    /// The job's process has said how it ended; that is the last that it says.
    async fn done(&self, row: &JobRow, done: JobDone, seen: Seen) -> Result<(), JobsError> {
        let state = match done.status() {
            JobStatus::Succeeded => JobState::Succeeded,
            JobStatus::Cancelled => JobState::Cancelled,
            JobStatus::Failed | JobStatus::Unspecified => JobState::Failed,
        };
        if state == JobState::Succeeded && row.kind == JobKind::Deploy {
            self.inner.db.set_environment(&row.namespace, &row.environment, row.id, &seen.images).await?;
        }
        let failure = done.error.map(|error| JobFailure { code: error.code, message: error.message, hint: error.hint });
        // First: after a crash in between, the log says again how it ended, and nothing more of the specification is asked for.
        self.dir(row.id).forget_spec();
        self.finish(row.id, state, failure.as_ref()).await
    }

    /// The job's process is gone without a word.
    async fn died(&self, row: &JobRow, seen: Seen, lock: JobLock) -> Result<(), JobsError> {
        if super::process::is_cancelled(&self.dir(row.id)) {
            return self.end(row, JobState::Cancelled, None, lock).await;
        }
        let failure = if let Some(command) = seen.command {
            // The runner's agent ends what ran when its channel is gone; until then the environment is not free.
            tokio::time::sleep(ABANDONED).await;
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
