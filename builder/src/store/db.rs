//! Facts in SQLite: one file per table, all writing through one pool.

pub mod environments;
pub mod jobs;
pub mod snapshots;
pub mod tenants;

use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

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
}

impl Db {
    /// Opens it under this data directory, made and migrated as needed.
    pub async fn open(data_dir: &Path) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join("slipway.db"))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool })
    }
}

impl Db {
    /// Makes everything that was written so far outlive a power cut: in WAL mode that is not so by itself.
    pub async fn checkpoint(&self) -> Result<(), DbError> {
        sqlx::query("pragma wal_checkpoint(full)").execute(&self.pool).await?;
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
