//! Follows a running job to its end: its events move its row. The job's process may have been started by us or by a service
//! before us; either way the lock tells whether it lives.

use std::time::{Duration, Instant};

use slipway_commands::GRACE;
use slipway_manifest::plan::Section;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{JobDone, JobStatus};
use tokio::process::Child;

use super::changes::Changes;
use super::event_log::EventLogReader;
use super::process::JobLock;
use super::state::{JobKind, JobState};
use super::{BATCH, Jobs, JobsError, io};
use crate::runner::abandoned;
use crate::store::db::environments::{EnvironmentRow, EnvironmentState};
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
    /// The last command that started.
    command: Option<String>,
    /// One that may change the job's own environment: what it depends on has jobs of its own.
    own_command: bool,
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
        self.settle_environment(row, state, seen.own_command).await?;
        let failure = done.error.map(|error| JobFailure { code: error.code, message: error.message, hint: error.hint });
        // First: after a crash in between, the log says again how it ended, and nothing more of the specification is asked for.
        self.dir(row.id).forget_spec();
        self.finish(row.id, state, failure.as_ref()).await
    }

    /// Notes what the job made of its environment. One that ended before its first command made nothing of it: what was
    /// deployed before is there. Said again after a crash it is the same, also without the job's files.
    async fn settle_environment(&self, row: &JobRow, ended: JobState, commands: bool) -> Result<(), JobsError> {
        let state = match (row.kind, ended) {
            (JobKind::Build | JobKind::Test, _) => return Ok(()),
            (JobKind::Deploy, JobState::Succeeded) => EnvironmentState::Deployed,
            (JobKind::Destroy, JobState::Succeeded) => EnvironmentState::Destroyed,
            _ if commands => EnvironmentState::Failed,
            _ => return Ok(()),
        };
        let db = &self.inner.db;
        // There was nothing to destroy that we know of.
        if row.kind == JobKind::Destroy && db.environment(&row.namespace, &row.environment).await?.is_none() {
            return Ok(());
        }
        let left = self.dir(row.id).left().map_err(io("read what the job left"))?;
        // The job's own copy is gone soon: by then this one outlives a power cut.
        Ok(db.set_environment(&EnvironmentRow::of(row, state, left)).await?)
    }

    /// The job's process is gone without a word.
    async fn died(&self, row: &JobRow, seen: Seen, lock: JobLock) -> Result<(), JobsError> {
        if seen.own_command {
            self.settle_environment(row, JobState::Failed, true).await?;
        }
        if seen.command.is_some() {
            // The runner's agent ends what ran when its channel is gone; until then the environment is not free.
            let grace = self.dir(row.id).outline().map_or(GRACE, |spec| spec.grace());
            tokio::time::sleep(abandoned(grace)).await;
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
            Kind::CommandStarted(command) => {
                self.own_command |= command.section != Section::Dependencies.as_str();
                self.command = Some(command.name);
            }
            Kind::JobDone(done) => self.done = Some(done),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_context::Digest;
    use slipway_proto::v1::CommandStarted;

    use super::*;
    use crate::jobs::cleaning::tests::Service;
    use crate::store::db::environments::Forgotten;

    /// A job that runs, and what it has left so far.
    async fn running(service: &Service, kind: JobKind, left: Option<&[u8]>) -> JobRow {
        let job = service.job(Digest::of(b"tree"), JobState::Running).await;
        let row = service.jobs.inner.db.job(job).await.unwrap().unwrap();
        if let Some(left) = left {
            service.jobs.dir(job).leave(left).unwrap();
        }
        JobRow { kind, ..row }
    }

    async fn environment(service: &Service, row: &JobRow) -> Option<(EnvironmentState, Option<Vec<u8>>)> {
        let found = service.jobs.inner.db.environment(&row.namespace, &row.environment).await.unwrap();
        found.map(|row| (row.state, row.sealed))
    }

    #[tokio::test]
    async fn what_a_deploy_left_is_noted_once_however_often_it_is_told() {
        let service = Service::start().await;
        let row = running(&service, JobKind::Deploy, Some(b"one")).await;
        let expected = Some((EnvironmentState::Deployed, Some(b"one".to_vec())));
        service.jobs.settle_environment(&row, JobState::Succeeded, true).await.unwrap();
        assert_eq!(environment(&service, &row).await, expected);
        // A crash between the job's files and its row.
        service.jobs.dir(row.id).forget_spec();
        assert_eq!(service.jobs.dir(row.id).left().unwrap(), None);
        service.jobs.settle_environment(&row, JobState::Succeeded, true).await.unwrap();
        assert_eq!(environment(&service, &row).await, expected);
    }

    #[tokio::test]
    async fn a_job_without_a_command_changes_nothing_and_a_failed_one_is_told() {
        let service = Service::start().await;
        let first = running(&service, JobKind::Deploy, Some(b"one")).await;
        for (row, commands) in [(&first, false), (&JobRow { kind: JobKind::Test, ..first.clone() }, true)] {
            service.jobs.settle_environment(row, JobState::Failed, commands).await.unwrap();
            assert_eq!(environment(&service, row).await, None);
        }
        service.jobs.settle_environment(&first, JobState::Succeeded, false).await.unwrap();
        let second = running(&service, JobKind::Deploy, Some(b"two")).await;
        service.jobs.settle_environment(&second, JobState::Cancelled, false).await.unwrap();
        assert_eq!(environment(&service, &second).await.unwrap(), (EnvironmentState::Deployed, Some(b"one".to_vec())));
        service.jobs.settle_environment(&second, JobState::Cancelled, true).await.unwrap();
        assert_eq!(environment(&service, &second).await.unwrap(), (EnvironmentState::Failed, Some(b"two".to_vec())));
    }

    #[tokio::test]
    async fn what_it_depends_on_is_not_its_own_environment() {
        let service = Service::start().await;
        let row = running(&service, JobKind::Deploy, Some(b"one")).await;
        service.jobs.settle_environment(&row, JobState::Succeeded, true).await.unwrap();
        let started = |section: &str| {
            let (section, name) = (section.to_owned(), "a command".to_owned());
            Kind::CommandStarted(CommandStarted { section, name, ..CommandStarted::default() })
        };
        let failed = || JobDone { status: JobStatus::Failed.into(), ..JobDone::default() };
        for (sections, expected) in [
            (&["dependencies"][..], EnvironmentState::Deployed),
            (&["dependencies", "deploy"], EnvironmentState::Failed),
        ] {
            let mut seen = Seen::default();
            for section in sections {
                seen.note(started(section));
            }
            service.jobs.done(&row, failed(), seen).await.unwrap();
            assert_eq!(environment(&service, &row).await.unwrap().0, expected);
        }
    }

    #[tokio::test]
    async fn a_destroy_ends_what_was_kept_and_a_failed_one_keeps_it() {
        let service = Service::start().await;
        let destroy = running(&service, JobKind::Destroy, None).await;
        service.jobs.settle_environment(&destroy, JobState::Succeeded, true).await.unwrap();
        assert_eq!(environment(&service, &destroy).await, None, "nothing was deployed");
        let deploy = running(&service, JobKind::Deploy, Some(b"one")).await;
        service.jobs.settle_environment(&deploy, JobState::Succeeded, true).await.unwrap();
        service.jobs.settle_environment(&destroy, JobState::Failed, true).await.unwrap();
        assert_eq!(environment(&service, &deploy).await.unwrap(), (EnvironmentState::Failed, Some(b"one".to_vec())));
        service.jobs.settle_environment(&destroy, JobState::Succeeded, true).await.unwrap();
        assert_eq!(environment(&service, &deploy).await.unwrap(), (EnvironmentState::Destroyed, None));

        let db = &service.jobs.inner.db;
        let forget = || db.forget_environment(&deploy.namespace, &deploy.environment);
        assert_eq!(forget().await.unwrap(), Forgotten::Busy, "its jobs run");
        for job in [&deploy, &destroy] {
            db.finish_job(job.id, JobState::Succeeded, None).await.unwrap();
        }
        assert_eq!(forget().await.unwrap(), Forgotten::Yes);
        assert_eq!(forget().await.unwrap(), Forgotten::Unknown);
    }

    #[tokio::test]
    async fn a_process_that_died_in_a_command_leaves_what_it_had_left() {
        let service = Service::start().await;
        let row = running(&service, JobKind::Deploy, Some(b"one")).await;
        let lock = JobLock::try_take(&service.jobs.dir(row.id)).unwrap().unwrap();
        let seen = Seen { command: Some("make".to_owned()), own_command: true, done: None };
        // It is noted before the runner's end is waited for.
        let noted = async {
            loop {
                match environment(&service, &row).await {
                    Some(found) => break found,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let found = tokio::select! {
            died = service.jobs.died(&row, seen, lock) => panic!("it did not wait: {died:?}"),
            found = noted => found,
        };
        assert_eq!(found, (EnvironmentState::Failed, Some(b"one".to_vec())));
    }
}
