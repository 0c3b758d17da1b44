//! The one table from errors to gRPC statuses. Causes inside the service are logged, not sent.

use std::error::Error;
use std::io::{self, ErrorKind};

use tonic::Status;

use crate::environments::EnvironmentError;
use crate::jobs::JobsError;
use crate::store::BlobError;
use crate::store::db::DbError;
use crate::store::trees::TreeError;
use crate::store::upload::UploadError;
use crate::variables::VariableError;

/// What a client is told about a failed request.
pub(super) fn from_jobs(error: &JobsError) -> Status {
    match error {
        JobsError::Variable(error) => from_variables(error),
        JobsError::NoJob(_)
        | JobsError::NoNamespace(_)
        | JobsError::NoExport { .. }
        | JobsError::NoArtifacts { .. } => Status::not_found(error.to_string()),
        // It was well when it left: a client proves what it reads. Another try is worth it.
        JobsError::Upload(
            UploadError::Frame(_)
            | UploadError::Truncated
            | UploadError::Blob(BlobError::Damaged { .. } | BlobError::Size { .. }),
        ) => Status::data_loss(error.to_string()),
        JobsError::Invalid(_)
        | JobsError::Upload(UploadError::FrameSize(_))
        | JobsError::Tree(TreeError::Invalid(_) | TreeError::Blob(BlobError::Size { .. })) => {
            Status::invalid_argument(error.to_string())
        }
        JobsError::TooMuchPending { .. } => Status::resource_exhausted(error.to_string()),
        JobsError::Busy(_) => Status::unavailable(error.to_string()),
        JobsError::Silent { .. } => Status::deadline_exceeded(error.to_string()),
        JobsError::NotSyncing { .. } | JobsError::TakenOver(_) | JobsError::EnvironmentBusy(_) => {
            Status::failed_precondition(error.to_string())
        }
        JobsError::Db(error) => from_db(error),
        JobsError::Upload(UploadError::Blob(_))
        | JobsError::Tree(_)
        | JobsError::Snapshot(_)
        | JobsError::Blob(_)
        | JobsError::Io { .. } => internal(error),
    }
}

/// What a client is told about a variable that can't be set or read.
pub(super) fn from_variables(error: &VariableError) -> Status {
    match error {
        VariableError::Name(_)
        | VariableError::Reserved(_)
        | VariableError::TooLarge(_)
        | VariableError::NotText(_) => Status::invalid_argument(error.to_string()),
        VariableError::TooMany { .. } | VariableError::AllTooLarge { .. } => {
            Status::resource_exhausted(error.to_string())
        }
        VariableError::Db(error) => from_db(error),
        VariableError::Seal { .. } => internal(error),
    }
}

/// What a client is told about an environment that can't be shown or forgotten.
pub(super) fn from_environments(error: &EnvironmentError) -> Status {
    match error {
        EnvironmentError::Unknown { .. } => Status::not_found(error.to_string()),
        EnvironmentError::Busy { .. } => Status::failed_precondition(error.to_string()),
        EnvironmentError::Db(error) => from_db(error),
        EnvironmentError::Sealed { .. } => internal(error),
    }
}

/// What a client is told when the database failed.
pub(super) fn from_db(error: &DbError) -> Status {
    internal(error)
}

/// Logs the cause and tells the client only that there is one; a full disk is something that an admin has to hear of.
pub(super) fn internal(error: &(dyn Error + 'static)) -> Status {
    tracing::error!(error, "a request failed");
    if is_disk_full(error) {
        Status::resource_exhausted("the service's disk is full")
    } else {
        Status::internal("internal error: see the service's log")
    }
}

/// Whether something failed for want of room, whatever it was.
fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    /// `SQLITE_FULL` (SQLite, result codes).
    const SQLITE_FULL: &str = "13";
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let full = matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge));
        let code = error
            .downcast_ref::<sqlx::Error>()
            .and_then(sqlx::Error::as_database_error)
            .and_then(sqlx::error::DatabaseError::code);
        full || code.is_some_and(|code| code == SQLITE_FULL)
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::jobs::io as failed_to;

    #[test]
    fn what_may_go_well_later_is_worth_another_try() {
        let busy = from_jobs(&JobsError::Busy("registries can't be asked now"));
        assert_eq!((busy.code(), busy.message()), (Code::Unavailable, "registries can't be asked now: try again"));
    }

    #[tokio::test]
    async fn a_full_disk_is_said_whatever_needed_room() {
        let file = failed_to("write")(ErrorKind::StorageFull.into());
        let full = from_jobs(&file);
        assert_eq!((full.code(), full.message()), (Code::ResourceExhausted, "the service's disk is full"));
        let other = from_jobs(&failed_to("write")(ErrorKind::PermissionDenied.into()));
        assert_eq!(other.code(), Code::Internal);

        let mut database = <sqlx::SqliteConnection as sqlx::Connection>::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("pragma max_page_count = 2; create table t (x)").execute(&mut database).await.unwrap();
        let query = sqlx::query("insert into t values (zeroblob(100000))");
        let error = DbError::from(query.execute(&mut database).await.unwrap_err());
        assert_eq!(from_db(&error).code(), Code::ResourceExhausted, "{error}");
    }
}
