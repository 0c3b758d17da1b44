//! The job's events, written by its process.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_proto::v1::Warning;
use slipway_proto::v1::event::Kind;
use tokio_util::sync::CancellationToken;

use crate::jobs::event_log::EventLogWriter;
use crate::names::JobId;

/// Writes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    log: Arc<Mutex<EventLogWriter>>,
    cancel: CancellationToken,
    lost: Arc<Mutex<Option<std::io::Error>>>,
}

impl Events {
    /// Goes on where the job's log ends. When an event can't be written, the job is cancelled: nobody would know what it does.
    pub fn open(dir: &Path, job: JobId, cancel: CancellationToken) -> std::io::Result<Self> {
        let log = EventLogWriter::open(dir, &job.to_string())?;
        Ok(Self { log: Arc::new(Mutex::new(log)), cancel, lost: Arc::default() })
    }

    /// Writes one event down before it returns.
    pub fn emit(&self, kind: Kind) {
        // A failure ends the job: see `try_emit`.
        let _ = self.try_emit(kind);
    }

    /// The same for who must not go on without it.
    pub fn try_emit(&self, kind: Kind) -> std::io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = log.append(kind) else { return Ok(()) };
        tracing::error!(%error, "can't write an event");
        let told = std::io::Error::new(error.kind(), format!("the job's event log can't be written: {error}"));
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.cancel.cancel();
        Err(told)
    }

    /// Tells the user something.
    pub fn warn(&self, message: String) {
        self.emit(Kind::Warning(Warning { message, place: None }));
    }

    /// Why an event could not be written, if one could not.
    pub fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ToString::to_string)
    }
}
