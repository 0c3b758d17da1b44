//! One job at a time changes an environment: which one another has to wait for.

use super::state::{JobKind, JobState, changes_environment};
use super::{Jobs, JobsError};
use crate::names::Namespace;
use crate::store::db::jobs::{JobFailure, JobRow};

impl Jobs {
    /// The job that has to end before another one can change this environment; `own` is that other one, once it is in the queue.
    pub(super) async fn before(
        &self,
        namespace: &Namespace,
        environment: &str,
        kind: JobKind,
        own: Option<&JobRow>,
    ) -> Result<Option<JobRow>, JobsError> {
        if !changes_environment(kind) {
            return Ok(None);
        }
        let rows = self.inner.db.unfinished_jobs(namespace).await?;
        let rows = rows.into_iter().filter(|row| row.environment == environment && changes_environment(row.kind));
        Ok(last_before(rows, own))
    }
}

/// The last one in the queue before `own`, else the one that runs.
fn last_before(rows: impl Iterator<Item = JobRow>, own: Option<&JobRow>) -> Option<JobRow> {
    let place = |row: &JobRow| (row.created, row.id.to_string());
    let waits = |row: &JobRow| match row.state {
        JobState::Running => true,
        JobState::Queued => own.is_none_or(|own| place(row) < place(own)),
        _ => false,
    };
    let mine = |row: &JobRow| own.is_some_and(|own| own.id == row.id);
    rows.filter(|row| waits(row) && !mine(row)).max_by_key(|row| (row.state == JobState::Queued, place(row)))
}

/// What is said of an environment that this job changes, or waits to.
pub(super) fn busy(row: &JobRow) -> String {
    let JobRow { id, kind, environment, .. } = row;
    let does = if row.state == JobState::Running { "changes it" } else { "is to change it" };
    format!("the environment `{environment}` is busy: job {id} ({kind} of {environment}) {does}")
}

/// How a job ends that would have to wait for this one, and is not to.
pub(super) fn refused(row: &JobRow) -> JobFailure {
    JobFailure {
        code: "environment_busy".to_owned(),
        message: busy(row),
        hint: Some("without --wait=false it waits for its turn".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::jobs;

    fn row(state: JobState, created: i64) -> JobRow {
        JobRow { state, created, ..jobs::tests::row(JobKind::Deploy, "shop") }
    }

    #[test]
    fn the_nearest_in_the_queue_comes_before_the_one_that_runs() {
        let [running, first, own, later] =
            [(JobState::Running, 9), (JobState::Queued, 1), (JobState::Queued, 2), (JobState::Queued, 3)]
                .map(|(state, created)| row(state, created));
        let syncing = row(JobState::Syncing, 0);
        let found = |rows: &[&JobRow], own: Option<&JobRow>| {
            last_before(rows.iter().map(|row| (*row).clone()), own).map(|row| row.id)
        };
        assert_eq!(found(&[&running, &first, &own, &later, &syncing], Some(&own)), Some(first.id));
        assert_eq!(found(&[&own, &running, &later], Some(&own)), Some(running.id));
        assert_eq!(found(&[&own, &later, &syncing], Some(&own)), None, "those behind it don't count");
        assert_eq!(found(&[&running, &first, &later], None), Some(later.id), "who comes now is behind all of them");
        let refused = refused(&running);
        assert_eq!(
            refused.message,
            format!("the environment `shop` is busy: job {} (deploy of shop) changes it", running.id)
        );
    }
}
