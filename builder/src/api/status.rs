//! The one table from errors to gRPC statuses. Causes inside the service are logged, not sent.

use tonic::Status;

use crate::jobs::JobsError;
use crate::store::BlobError;
use crate::store::db::DbError;
use crate::store::trees::TreeError;
use crate::store::upload::UploadError;

/// What a client is told about a failed request.
pub(super) fn from_jobs(error: &JobsError) -> Status {
    match error {
        JobsError::NoJob(_) | JobsError::NoNamespace(_) => Status::not_found(error.to_string()),
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
        JobsError::Silent { .. } => Status::deadline_exceeded(error.to_string()),
        JobsError::NotSyncing { .. } | JobsError::TakenOver(_) => Status::failed_precondition(error.to_string()),
        JobsError::Db(error) => from_db(error),
        JobsError::Upload(UploadError::Blob(blob)) | JobsError::Blob(blob) if blob.is_disk_full() => {
            tracing::error!(error = %blob, "the disk is full");
            Status::resource_exhausted("the service's disk is full")
        }
        JobsError::Upload(UploadError::Blob(_))
        | JobsError::Tree(_)
        | JobsError::Snapshot(_)
        | JobsError::Blob(_)
        | JobsError::Io { .. } => internal(error),
    }
}

/// What a client is told when the database failed.
pub(super) fn from_db(error: &DbError) -> Status {
    internal(error)
}

/// Logs the cause and tells the client only that there is one.
pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "a request failed");
    Status::internal("internal error: see the service's log")
}
