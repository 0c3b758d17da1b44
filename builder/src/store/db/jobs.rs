//! Jobs: who asked for what, and where they stand.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Db, DbError, now_ms};
use crate::jobs::state::{JobKind, JobState, parse_kind};
use crate::names::{JobId, Namespace};

/// Why a job ended as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure {
    /// A stable word for scripts.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do about it, when we know.
    pub hint: Option<String>,
}

/// A job's row.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Where it belongs.
    pub namespace: Namespace,
    /// The user who submitted it.
    pub owner: String,
    /// What it does.
    pub kind: JobKind,
    /// The application's name.
    pub environment: String,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// How often it has been started.
    pub attempt: u32,
    /// Milliseconds since 1970.
    pub created: i64,
    /// Milliseconds since 1970.
    pub started: Option<i64>,
    /// Milliseconds since 1970.
    pub finished: Option<i64>,
    /// The job whose command or dependency this one is.
    pub parent: Option<JobId>,
    /// How many jobs it is in.
    pub depth: u32,
    /// Whether it goes on when that has ended.
    pub outlives: bool,
}

const COLUMNS: &str = "id, namespace, owner, kind, environment, state, error_code, error_message, error_hint, attempt, \
                       created, started, finished, parent_job, depth, outlives";

impl Db {
    /// Inserts a job, unless the same owner's same request made one: then that one.
    pub async fn insert_job(&self, job: &JobRow, request_id: &str) -> Result<(JobRow, bool), DbError> {
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(
            "insert into jobs (id, namespace, request_id, owner, kind, environment, state, created, parent_job, depth,
             outlives)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (owner, namespace, request_id) do nothing",
        )
        .bind(job.id.to_string())
        .bind(job.namespace.as_str())
        .bind(request_id)
        .bind(&job.owner)
        .bind(job.kind.as_str())
        .bind(&job.environment)
        .bind(job.state.as_str())
        .bind(job.created)
        .bind(job.parent.map(|parent| parent.to_string()))
        .bind(job.depth)
        .bind(job.outlives)
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            > 0;
        let query = format!("select {COLUMNS} from jobs where owner = ? and namespace = ? and request_id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(&job.owner)
            .bind(job.namespace.as_str())
            .bind(request_id)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((from_row(&row)?, inserted))
    }

    /// Whether the owner's request has made a job before.
    pub async fn has_request(&self, owner: &str, namespace: &Namespace, request_id: &str) -> Result<bool, DbError> {
        let query = "select 1 from jobs where owner = ? and namespace = ? and request_id = ?";
        let query = sqlx::query(query).bind(owner).bind(namespace.as_str()).bind(request_id);
        Ok(query.fetch_optional(&self.pool).await?.is_some())
    }

    /// The job with this id.
    pub async fn job(&self, id: JobId) -> Result<Option<JobRow>, DbError> {
        let query = format!("select {COLUMNS} from jobs where id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(from_row).transpose()
    }

    /// The newest jobs of these namespaces (of all when there are none to choose from), newest first.
    pub async fn list_jobs(&self, namespaces: Option<&[Namespace]>, limit: u32) -> Result<Vec<JobRow>, DbError> {
        let filter = match namespaces {
            None => "1".to_owned(),
            Some(names) => format!("namespace in ({})", vec!["?"; names.len()].join(",")),
        };
        let query = format!("select {COLUMNS} from jobs where {filter} order by created desc, id desc limit ?");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(query));
        for namespace in namespaces.unwrap_or_default() {
            query = query.bind(namespace.as_str());
        }
        query.bind(limit).fetch_all(&self.pool).await?.iter().map(from_row).collect()
    }

    /// All jobs in one state, oldest first.
    pub async fn jobs_in(&self, state: JobState) -> Result<Vec<JobRow>, DbError> {
        let query = format!("select {COLUMNS} from jobs where state = ? order by created, id");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(state.as_str())
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(from_row)
            .collect()
    }

    /// The namespace's jobs that haven't ended, as they are at one moment.
    pub async fn unfinished_jobs(&self, namespace: &Namespace) -> Result<Vec<JobRow>, DbError> {
        let query =
            format!("select {COLUMNS} from jobs where namespace = ? and state in ('syncing', 'queued', 'running')");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(namespace.as_str())
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(from_row)
            .collect()
    }

    /// Jobs that haven't ended although the one that they are in has, and that don't outlive it.
    pub async fn orphans(&self) -> Result<Vec<JobRow>, DbError> {
        const UNFINISHED: &str = "state in ('syncing', 'queued', 'running')";
        let query = format!(
            "select {COLUMNS} from jobs where {UNFINISHED} and parent_job is not null and not outlives
             and parent_job not in (select id from jobs where {UNFINISHED})"
        );
        sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.pool).await?.iter().map(from_row).collect()
    }

    /// Moves a job from one state to another; `false` when it was not (or no longer) in the first.
    pub async fn move_job(&self, id: JobId, from: JobState, to: JobState) -> Result<bool, DbError> {
        let running = to == JobState::Running;
        let done = sqlx::query(
            "update jobs set state = ?, started = case when ? then ? else started end,
             attempt = attempt + case when ? then 1 else 0 end where id = ? and state = ?",
        )
        .bind(to.as_str())
        .bind(running)
        .bind(now_ms())
        .bind(running)
        .bind(id.to_string())
        .bind(from.as_str())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes the start of a job back: nothing came of it, and it is none of its attempts.
    pub async fn unstart_job(&self, id: JobId) -> Result<(), DbError> {
        let query = "update jobs set state = 'queued', attempt = attempt - 1 where id = ? and state = 'running'";
        sqlx::query(query).bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// Ends a job; `false` when it had ended before.
    pub async fn finish_job(&self, id: JobId, state: JobState, failure: Option<&JobFailure>) -> Result<bool, DbError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query(
            "update jobs set state = ?, error_code = ?, error_message = ?, error_hint = ?, finished = ?
             where id = ? and state in ('syncing', 'queued', 'running')",
        )
        .bind(state.as_str())
        .bind(failure.map(|failure| &failure.code))
        .bind(failure.map(|failure| &failure.message))
        .bind(failure.and_then(|failure| failure.hint.as_ref()))
        .bind(now_ms())
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
        for table in ["delete from job_secrets where job = ?", "delete from tokens where id = ?"] {
            sqlx::query(table).bind(id.to_string()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

fn from_row(row: &SqliteRow) -> Result<JobRow, DbError> {
    let invalid = |what: &str, text: &str| DbError::Invalid(format!("a job's {what} is `{text}`"));
    let id: String = row.try_get(0)?;
    let namespace: String = row.try_get(1)?;
    let kind: String = row.try_get(3)?;
    let state: String = row.try_get(5)?;
    let code: Option<String> = row.try_get(6)?;
    let message: Option<String> = row.try_get(7)?;
    let hint: Option<String> = row.try_get(8)?;
    let parent: Option<String> = row.try_get(13)?;
    Ok(JobRow {
        id: id.parse().map_err(|_| invalid("id", &id))?,
        namespace: namespace.parse().map_err(|_| invalid("namespace", &namespace))?,
        owner: row.try_get(2)?,
        kind: parse_kind(&kind).ok_or_else(|| invalid("kind", &kind))?,
        environment: row.try_get(4)?,
        state: JobState::parse(&state).ok_or_else(|| invalid("state", &state))?,
        failure: code.map(|code| JobFailure { code, message: message.unwrap_or_default(), hint }),
        attempt: row.try_get(9)?,
        created: row.try_get(10)?,
        started: row.try_get(11)?,
        finished: row.try_get(12)?,
        parent: parent.map(|id| id.parse().map_err(|_| invalid("parent", &id))).transpose()?,
        depth: row.try_get(14)?,
        outlives: row.try_get(15)?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A job in the namespace `dev`, as it was submitted.
    pub(crate) fn row(kind: JobKind, environment: &str) -> JobRow {
        JobRow {
            id: JobId::new(),
            namespace: "dev".parse().unwrap(),
            owner: "me".to_owned(),
            kind,
            environment: environment.to_owned(),
            state: JobState::Syncing,
            failure: None,
            attempt: 0,
            created: now_ms(),
            started: None,
            finished: None,
            parent: None,
            depth: 0,
            outlives: false,
        }
    }
}
