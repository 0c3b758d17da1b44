//! From `queued` to `running`: first come, first served, one job at a time per environment for those that change it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::spec::JobDir;
use super::state::{JobKind, JobState, changes_environment};
use super::{Jobs, JobsError, io, process};
use crate::auth;
use crate::names::{JobId, Namespace};
use crate::store::db::jobs::{JobFailure, JobRow};

/// How often everything is looked at, whether or not something called for it.
const TICK: Duration = Duration::from_secs(1);

impl Jobs {
    /// Takes over the jobs that an earlier service left, then starts jobs as their turns come, until shutdown. Running jobs
    /// go on without us.
    pub async fn run(&self) -> Result<(), JobsError> {
        for row in self.inner.db.jobs_in(JobState::Running).await? {
            self.supervise(row, None);
        }
        for row in self.inner.db.jobs_in(JobState::Syncing).await? {
            self.session(row.id);
        }
        loop {
            if let Err(error) = self.pass().await {
                tracing::error!(%error, "can't start jobs");
            }
            tokio::select! {
                () = self.inner.stop.drain.cancelled() => break,
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        self.drain().await;
        Ok(())
    }

    /// Removes folders of submissions that never became jobs: their specifications may hold values of `--var`. Only before
    /// anything can be submitted.
    pub async fn sweep(&self) -> Result<(), JobsError> {
        let Ok(entries) = std::fs::read_dir(self.inner.data_dir.join("jobs")) else { return Ok(()) };
        for entry in entries.flatten() {
            let Some(job) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if self.inner.db.job(job).await?.is_none() {
                std::fs::remove_dir_all(entry.path()).map_err(io("remove an unused folder"))?;
            }
        }
        Ok(())
    }

    /// Waits for the jobs that run, for so long and no longer; what still runs then goes on without us.
    async fn drain(&self) {
        self.inner.tracker.close();
        if !self.inner.tracker.is_empty() {
            tracing::info!(
                "waiting for the jobs that run, at most {} s; stop again to leave now",
                self.inner.config.drain_s
            );
        }
        tokio::select! {
            () = self.inner.tracker.wait() => {}
            () = self.inner.stop.now.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(self.inner.config.drain_s)) => {}
        }
        self.inner.stop.now.cancel();
        self.inner.tracker.wait().await;
    }

    async fn pass(&self) -> Result<(), JobsError> {
        self.end_abandoned().await;
        self.end_orphans().await?;
        let running = self.inner.db.jobs_in(JobState::Running).await?;
        let mut turns = Turns::new(self.inner.config.max_running, &running);
        for row in self.inner.db.jobs_in(JobState::Queued).await? {
            if !turns.comes(&row) {
                continue;
            }
            match self.start(&row).await {
                Ok(true) => turns.started(&row),
                Ok(false) => {}
                // Not the others' fault.
                Err(error) => tracing::error!(job.id = %row.id, %error, "can't start job {}", row.id),
            }
        }
        Ok(())
    }

    async fn start(&self, row: &JobRow) -> Result<bool, JobsError> {
        let dir = self.dir(row.id);
        let Some(lock) = process::JobLock::try_take(&dir).map_err(io("lock the job"))? else {
            return Ok(false); // Being committed or cancelled just now.
        };
        if process::is_cancelled(&dir) {
            self.end(row, JobState::Cancelled, None, lock).await?;
            return Ok(false);
        }
        let (token, secret) = auth::new_job_token(row.id, row.namespace.clone());
        self.inner.db.revoke_token(&token.id).await?; // Of an attempt before this one.
        self.inner.db.add_token(&token, &secret).await?;
        dir.write_token(&secret).map_err(io("write the job's token"))?;
        if !self.inner.db.move_job(row.id, JobState::Queued, JobState::Running).await? {
            return Ok(false);
        }
        let running = JobRow { state: JobState::Running, attempt: row.attempt + 1, ..row.clone() };
        // From now on nobody else changes the environment.
        if let Err(error) = self.give_environment(row, &dir).await {
            if !matches!(error, JobsError::Db(_)) {
                self.not_started(&running, lock, &error, "could not give the job what its environment keeps").await?;
                return Ok(false);
            }
            // That is the service's trouble, and no end for a job of which nothing has run.
            tracing::error!(job.id = %row.id, %error, "can't read what the environment of job {} keeps: it waits", row.id);
            if let Err(error) = self.inner.db.unstart_job(row.id).await {
                tracing::error!(job.id = %row.id, %error, "can't queue job {} again", row.id);
                // Nobody has the lock: who follows the job finds that out, and queues it.
                drop(lock);
                self.supervise(running, None);
            }
            return Ok(false);
        }
        match process::start(&dir, &self.inner.data_dir, &self.inner.process_args, lock) {
            Ok(child) => {
                self.supervise(running, Some(child));
                Ok(true)
            }
            Err(error) => {
                let lock = process::JobLock::try_take(&dir).map_err(io("lock the job"))?;
                if let Some(lock) = lock {
                    self.not_started(&running, lock, &error, "could not start a process for the job").await?;
                }
                Ok(false)
            }
        }
    }

    /// Ends a job whose process did not begin. The cause is for the service's log.
    async fn not_started(
        &self,
        running: &JobRow,
        lock: process::JobLock,
        error: &(dyn std::error::Error + Sync),
        what: &str,
    ) -> Result<(), JobsError> {
        tracing::error!(job.id = %running.id, %error, "{what} {}", running.id);
        let message = format!("the service {what}");
        let hint = Some("the service's log says why".to_owned());
        let failure = JobFailure { code: "internal".to_owned(), message, hint };
        self.end(running, JobState::Failed, Some(failure), lock).await
    }

    /// Gives a job what its environment keeps.
    async fn give_environment(&self, row: &JobRow, dir: &JobDir) -> Result<(), JobsError> {
        if row.kind == JobKind::Build {
            return Ok(());
        }
        let known = self.inner.db.environment(&row.namespace, &row.environment).await?;
        let sealed = known.and_then(|environment| environment.sealed);
        dir.give_environment(sealed.as_deref()).map_err(io("give the job what its environment keeps"))
    }

    /// Ends jobs whose clients went away before everything was sent.
    async fn end_abandoned(&self) {
        let limit = Duration::from_secs(self.inner.config.sync_timeout_s);
        let idle: Vec<_> =
            self.syncs().iter().filter(|(_, session)| session.idle() > limit).map(|(job, _)| *job).collect();
        for job in idle {
            if let Err(error) = self.end_one_abandoned(job, limit).await {
                tracing::error!(job.id = %job, %error, "can't end job {job}");
            }
        }
    }

    async fn end_one_abandoned(&self, job: JobId, limit: Duration) -> Result<(), JobsError> {
        let Some(row) = self.inner.db.job(job).await? else { return Ok(()) };
        if row.state != JobState::Syncing {
            self.syncs().remove(&job);
            return Ok(());
        }
        let lock = process::JobLock::try_take(&self.dir(job)).map_err(io("lock the job"))?;
        let Some(lock) = lock else { return Ok(()) };
        // Others were looked at meanwhile, and its client may have come back.
        let still = self.syncs().get(&job).is_some_and(|session| session.idle() > limit);
        if !still {
            return Ok(());
        }
        let failure = JobFailure {
            code: "client_gone".to_owned(),
            message: format!("the client went away before it had sent everything ({} s ago)", limit.as_secs()),
            hint: None,
        };
        self.end(&row, JobState::Failed, Some(failure), lock).await
    }
}

/// Whose turn it is, of jobs that are looked at in their order.
struct Turns {
    /// How many may run at each depth. A job that waits for one that it submitted itself must not take that one's place.
    limit: usize,
    running: BTreeMap<u32, usize>,
    /// Environments that somebody changes, or waits for.
    taken: HashSet<(Namespace, String)>,
}

impl Turns {
    fn new(limit: usize, running: &[JobRow]) -> Self {
        let mut turns = Self { limit, running: BTreeMap::new(), taken: HashSet::new() };
        for row in running {
            turns.started(row);
            if changes_environment(row.kind) {
                turns.taken.insert(environment(row));
            }
        }
        turns
    }

    fn comes(&mut self, row: &JobRow) -> bool {
        // First, so that it doesn't keep the environment from a job that one of those that run waits for.
        if self.running.get(&row.depth).is_some_and(|running| *running >= self.limit) {
            return false;
        }
        // Those behind the first one that waits for an environment wait too: the order is the order.
        !changes_environment(row.kind) || self.taken.insert(environment(row))
    }

    fn started(&mut self, row: &JobRow) {
        *self.running.entry(row.depth).or_default() += 1;
    }
}

fn environment(row: &JobRow) -> (Namespace, String) {
    (row.namespace.clone(), row.environment.clone())
}

#[cfg(test)]
mod tests {
    use slipway_context::Digest;

    use super::*;
    use crate::jobs::cleaning::tests::Service;
    use crate::store::db::jobs;

    fn deploy(environment: &str, depth: u32) -> JobRow {
        JobRow { depth, ..jobs::tests::row(JobKind::Deploy, environment) }
    }

    #[test]
    fn who_waits_for_a_job_of_its_own_does_not_take_its_place() {
        let come = |limit, running: &[JobRow], queued: &[JobRow]| {
            let mut turns = Turns::new(limit, running);
            let mut comes = |row: &JobRow| {
                let comes = turns.comes(row);
                if comes {
                    turns.started(row);
                }
                comes
            };
            queued.iter().map(&mut comes).collect::<Vec<_>>()
        };
        let shop = [deploy("shop", 0)];
        // Full, but for what the one that runs waits for; who came before that from outside waits, and keeps nothing from it.
        assert_eq!(come(1, &shop, &[deploy("api", 0), deploy("api", 1)]), [false, true]);
        assert_eq!(come(1, &shop, &[deploy("api", 1), deploy("db", 1), deploy("queue", 2)]), [true, false, true]);
        // With room, the order is the order: of one environment only the first.
        assert_eq!(come(9, &shop, &[deploy("api", 0), deploy("api", 1), deploy("shop", 0)]), [true, false, false]);
        assert_eq!(come(2, &[], &[deploy("a", 0), deploy("b", 0), deploy("c", 0)]), [true, true, false]);
        let build = JobRow { kind: JobKind::Build, ..deploy("shop", 0) };
        assert_eq!(come(2, &shop, &[build]), [true], "it changes nothing");
    }

    #[tokio::test]
    async fn a_job_waits_while_the_database_does_not_say_what_its_environment_keeps() {
        let service = Service::start().await;
        let job = service.job(Digest::of(b"tree"), JobState::Queued).await;
        let db = &service.jobs.inner.db;
        let row = async || db.job(job).await.unwrap().unwrap();
        db.execute("alter table environments rename to away").await;
        for _ in 0..4 {
            assert!(!service.jobs.start(&row().await).await.unwrap());
            assert_eq!((row().await.state, row().await.attempt), (JobState::Queued, 0));
        }
        db.execute("alter table away rename to environments").await;
        // Where its own folder can't take it, it never will.
        std::fs::create_dir(service.jobs.dir(job).path().join("environment.sealed")).unwrap();
        assert!(!service.jobs.start(&row().await).await.unwrap());
        let (state, failure) = (row().await.state, row().await.failure.unwrap());
        assert_eq!((state, failure.code.as_str()), (JobState::Failed, "internal"));
        assert_eq!(failure.message, "the service could not give the job what its environment keeps");
    }

    #[tokio::test]
    async fn a_client_that_has_come_back_meanwhile_is_not_gone() {
        let service = Service::start().await;
        let job = service.job(Digest::of(b"tree"), JobState::Syncing).await;
        let state = async || service.jobs.inner.db.job(job).await.unwrap().unwrap().state;
        // It was found to be idle, and was heard of since.
        service.jobs.session(job);
        service.jobs.end_one_abandoned(job, Duration::from_hours(1)).await.unwrap();
        assert_eq!(state().await, JobState::Syncing);
        service.jobs.end_one_abandoned(job, Duration::ZERO).await.unwrap();
        assert_eq!(state().await, JobState::Failed);
    }
}
