//! Jobs whose parent has ended: they end too, but for a dependency that was not waited for.

use slipway_manifest::plan::{JobKind, Plan};

use super::state::JobState;
use super::{Jobs, JobsError, io, process};
use crate::names::JobId;
use crate::seal::Key;
use crate::store::db::jobs::{JobFailure, JobRow};

impl Jobs {
    /// Whether a job in this one goes on after it.
    pub(super) fn outlives(&self, parent: Option<JobId>, plan: &Plan) -> std::io::Result<bool> {
        let Some(parent) = parent.filter(|_| plan.kind == JobKind::Deploy) else { return Ok(false) };
        let key = Key::open(&self.inner.data_dir)?;
        let around = self.dir(parent).spec(&key)?.plan;
        Ok(around.dependencies.iter().any(|dependency| dependency.name == plan.name && !dependency.wait))
    }

    /// Ends the jobs whose parent has ended.
    pub(super) async fn end_orphans(&self) -> Result<(), JobsError> {
        for row in self.inner.db.orphans().await? {
            // The others can't help it.
            if let Err(error) = self.end_orphan(&row).await {
                tracing::error!(job.id = %row.id, %error, "can't end job {}, whose parent has ended", row.id);
            }
        }
        Ok(())
    }

    async fn end_orphan(&self, row: &JobRow) -> Result<(), JobsError> {
        let dir = self.dir(row.id);
        process::cancel(&dir, None).map_err(io("ask a job's process to end"))?;
        // A running one belongs to its process and its supervisor.
        if row.state != JobState::Running
            && let Some(lock) = process::JobLock::try_take(&dir).map_err(io("lock a job"))?
        {
            let failure = JobFailure {
                code: "parent_ended".to_owned(),
                message: "the job whose command submitted it has ended".to_owned(),
                hint: None,
            };
            self.end(row, JobState::Cancelled, Some(failure), lock).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use slipway_context::Digest;

    use super::*;
    use crate::jobs::cleaning::tests::Service;
    use crate::store::db::jobs;

    #[tokio::test]
    async fn a_job_ends_with_the_one_that_it_is_in() {
        let service = Service::start().await;
        let db = &service.jobs.inner.db;
        let parent = service.job(Digest::of(b"tree"), JobState::Running).await;
        let mut children = Vec::new();
        for (outlives, state) in [(false, JobState::Queued), (true, JobState::Queued), (false, JobState::Running)] {
            let row = JobRow { parent: Some(parent), outlives, ..jobs::tests::row(JobKind::Build, "app") };
            std::fs::create_dir_all(service.jobs.dir(row.id).path()).unwrap();
            db.insert_job(&row, &row.id.to_string()).await.unwrap();
            db.move_job(row.id, JobState::Syncing, state).await.unwrap();
            children.push(row.id);
        }
        let states = async || {
            let mut states = Vec::new();
            for child in &children {
                let asked = process::is_cancelled(&service.jobs.dir(*child));
                states.push((db.job(*child).await.unwrap().unwrap().state, asked));
            }
            states
        };
        let (queued, running) = (JobState::Queued, JobState::Running);
        service.jobs.end_orphans().await.unwrap();
        assert_eq!(states().await, [(queued, false), (queued, false), (running, false)]);
        db.finish_job(parent, JobState::Failed, None).await.unwrap();
        service.jobs.end_orphans().await.unwrap();
        assert_eq!(states().await, [(JobState::Cancelled, true), (queued, false), (running, true)]);
    }
}
