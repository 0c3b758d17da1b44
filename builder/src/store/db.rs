//! Facts in SQLite: one file per table, all writing through one pool.

pub mod environments;
pub mod jobs;
pub mod snapshots;
pub mod tenants;
pub mod variables;

use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// How long others are waited for that are in the way.
const BUSY: Duration = Duration::from_secs(10);

/// What the database said.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A query failed.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A migration failed.
    #[error("database: migrate: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds what we never wrote.
    #[error("database: {0}")]
    Invalid(String),
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: SqlitePool,
    /// What is written through it outlives a power cut as soon as it is written, and with it all that was written before. That
    /// takes the disk's time.
    durable: SqlitePool,
}

impl Db {
    /// Opens it under this data directory, made and migrated as needed.
    pub async fn open(data_dir: &Path) -> Result<Self, DbError> {
        Self::open_waiting(data_dir, BUSY).await
    }

    /// The same, waiting so long for others that are in the way.
    async fn open_waiting(data_dir: &Path, busy: Duration) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join("slipway.db"))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(busy);
        let durable = options.clone().synchronous(SqliteSynchronous::Full);
        let durable = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(durable);
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool, durable })
    }
}

impl Db {
    /// Makes everything that was written so far outlive a power cut: in WAL mode that is not so by itself. `false`: somebody
    /// was in the way all the time, and it may not be so.
    pub async fn checkpoint(&self) -> Result<bool, DbError> {
        // Being busy is no error, but the first column of a row.
        let busy: i64 = sqlx::query_scalar("pragma wal_checkpoint(full)").fetch_one(&self.pool).await?;
        Ok(busy == 0)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Db {
        /// Waits for nobody.
        pub(crate) async fn open_impatient(data_dir: &Path) -> Self {
            Self::open_waiting(data_dir, Duration::ZERO).await.unwrap()
        }

        /// As long as this isn't dropped, nothing that is written from now on comes to its place in the database.
        pub(crate) async fn hold_back(&self) -> sqlx::Transaction<'static, sqlx::Sqlite> {
            let mut transaction = self.pool.begin().await.unwrap();
            sqlx::query("select count(*) from jobs").fetch_one(&mut *transaction).await.unwrap();
            transaction
        }

        /// Does this, whatever comes of it.
        pub(crate) async fn execute(&self, sql: &'static str) {
            sqlx::query(sql).execute(&self.pool).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_kept_with_an_environment_is_on_the_disk_when_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).await.unwrap();
        let synced = async |pool: &SqlitePool| {
            sqlx::query_scalar::<_, i64>("select synchronous from pragma_synchronous").fetch_one(pool).await.unwrap()
        };
        // `pragma synchronous`: 1 leaves the log of changes to the system, 2 has it on the disk.
        assert_eq!((synced(&db.pool).await, synced(&db.durable).await), (1, 2));
        let row = environments::EnvironmentRow {
            namespace: "dev".parse().unwrap(),
            name: "shop".to_owned(),
            state: environments::EnvironmentState::Deployed,
            job: crate::names::JobId::new(),
            kind: crate::jobs::state::JobKind::Deploy,
            owner: "ann".to_owned(),
            updated: now_ms(),
            sealed: Some(b"kept".to_vec()),
        };
        db.create_namespace(&row.namespace).await.unwrap();
        // It goes through the connection that has it on the disk, not through one of these.
        let others: Vec<_> = futures::future::try_join_all((0..8).map(|_| db.pool.acquire())).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), db.set_environment(&row)).await.unwrap().unwrap();
        drop(others);
        assert!(db.environment(&row.namespace, "shop").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_checkpoint_that_somebody_is_in_the_way_of_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open_impatient(dir.path()).await;
        assert!(db.checkpoint().await.unwrap());
        let before = db.hold_back().await;
        db.create_namespace(&"dev".parse().unwrap()).await.unwrap();
        assert!(!db.checkpoint().await.unwrap());
        drop(before);
        while !db.checkpoint().await.unwrap() {}
    }
}
