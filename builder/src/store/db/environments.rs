//! Environments: what was deployed, and what it left behind.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Db, DbError, now_ms};
use crate::jobs::state::{JobKind, parse_kind};
use crate::names::{JobId, Namespace};

/// The most that are listed.
const MAX_LISTED: u32 = 5000;

/// How an environment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentState {
    /// The last deploy succeeded.
    Deployed,
    /// The last deploy or destroy began to run commands, and did not succeed.
    Failed,
    /// The last destroy succeeded.
    Destroyed,
}

/// One environment.
#[derive(Debug, Clone)]
pub struct EnvironmentRow {
    /// Where it belongs.
    pub namespace: Namespace,
    /// The application's name.
    pub name: String,
    /// How it is.
    pub state: EnvironmentState,
    /// The job that changed it last.
    pub job: JobId,
    /// What that job did.
    pub kind: JobKind,
    /// Whose job it was.
    pub owner: String,
    /// When, in milliseconds since 1970.
    pub updated: i64,
    /// What is kept, encrypted.
    pub sealed: Option<Vec<u8>>,
}

/// What came of a wish to forget one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// It is forgotten.
    Yes,
    /// There is none.
    Unknown,
    /// A job changes it just now.
    Busy,
}

const COLUMNS: &str = "namespace, name, state, job, kind, owner, updated";

impl Db {
    /// Notes what a job made of an environment. Without anything sealed, what was kept before stays; of one that is destroyed,
    /// nothing does. It outlives a power cut when this returns.
    pub async fn set_environment(&self, row: &EnvironmentRow) -> Result<(), DbError> {
        sqlx::query(
            "insert into environments (namespace, name, state, job, kind, owner, updated, sealed)
             values (?, ?, ?, ?, ?, ?, ?, ?)
             on conflict (namespace, name) do update set state = excluded.state, job = excluded.job, kind = excluded.kind,
             owner = excluded.owner, updated = excluded.updated, sealed = case when excluded.state = 'destroyed' then null
             else coalesce(excluded.sealed, sealed) end",
        )
        .bind(row.namespace.as_str())
        .bind(&row.name)
        .bind(row.state.as_str())
        .bind(row.job.to_string())
        .bind(row.kind.as_str())
        .bind(&row.owner)
        .bind(row.updated)
        .bind(row.sealed.as_deref())
        .execute(&self.durable)
        .await?;
        Ok(())
    }

    /// One environment.
    pub async fn environment(&self, namespace: &Namespace, name: &str) -> Result<Option<EnvironmentRow>, DbError> {
        let query = format!("select {COLUMNS}, sealed from environments where namespace = ? and name = ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(namespace.as_str()).bind(name);
        query.fetch_optional(&self.pool).await?.as_ref().map(from_row).transpose()
    }

    /// Those of a namespace, by name, without what is kept.
    pub async fn environments(&self, namespace: &Namespace, destroyed: bool) -> Result<Vec<EnvironmentRow>, DbError> {
        let query = format!(
            "select {COLUMNS}, null as sealed from environments where namespace = ? and (? or state <> 'destroyed')
             order by name limit {MAX_LISTED}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(namespace.as_str()).bind(destroyed);
        query.fetch_all(&self.pool).await?.iter().map(from_row).collect()
    }

    /// Forgets one, unless a job changes it just now.
    pub async fn forget_environment(&self, namespace: &Namespace, name: &str) -> Result<Forgotten, DbError> {
        let mut transaction = self.pool.begin().await?;
        let forgotten = sqlx::query(
            "delete from environments where namespace = ?1 and name = ?2 and not exists
             (select 1 from jobs where state = 'running' and kind in ('deploy', 'destroy')
              and namespace = ?1 and environment = ?2)",
        );
        let forgotten = forgotten.bind(namespace.as_str()).bind(name).execute(&mut *transaction).await?.rows_affected();
        let there = sqlx::query("select 1 from environments where namespace = ? and name = ?");
        let there = there.bind(namespace.as_str()).bind(name).fetch_optional(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(match (forgotten > 0, there) {
            (true, _) => Forgotten::Yes,
            (false, None) => Forgotten::Unknown,
            (false, Some(_)) => Forgotten::Busy,
        })
    }
}

impl EnvironmentRow {
    /// What a job has made of an environment by now.
    pub fn of(job: &super::jobs::JobRow, state: EnvironmentState, sealed: Option<Vec<u8>>) -> Self {
        Self {
            namespace: job.namespace.clone(),
            name: job.environment.clone(),
            state,
            job: job.id,
            kind: job.kind,
            owner: job.owner.clone(),
            updated: now_ms(),
            sealed,
        }
    }
}

impl EnvironmentState {
    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::Destroyed => "destroyed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Deployed, Self::Failed, Self::Destroyed].into_iter().find(|state| state.as_str() == text)
    }
}

fn from_row(row: &SqliteRow) -> Result<EnvironmentRow, DbError> {
    let invalid = |what: &str, text: &str| DbError::Invalid(format!("an environment's {what} is `{text}`"));
    let namespace: String = row.try_get(0)?;
    let state: String = row.try_get(2)?;
    let job: String = row.try_get(3)?;
    let kind: String = row.try_get(4)?;
    Ok(EnvironmentRow {
        namespace: namespace.parse().map_err(|_| invalid("namespace", &namespace))?,
        name: row.try_get(1)?,
        state: EnvironmentState::parse(&state).ok_or_else(|| invalid("state", &state))?,
        job: job.parse().map_err(|_| invalid("job", &job))?,
        kind: parse_kind(&kind).ok_or_else(|| invalid("kind", &kind))?,
        owner: row.try_get(5)?,
        updated: row.try_get(6)?,
        sealed: row.try_get(7)?,
    })
}
