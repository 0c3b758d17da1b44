//! The job's events, written by its process.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slipway_context::Digest;
use slipway_mask::Masks;
use slipway_proto::v1::Warning;
use slipway_proto::v1::event::Kind;
use tokio_util::sync::CancellationToken;

use crate::jobs::event_log::EventLogWriter;
use crate::names::JobId;

/// The most output that a job's log keeps: the disk is everybody's.
const MAX_OUTPUT: u64 = 1 << 30;

/// Writes events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    log: Arc<Mutex<EventLogWriter>>,
    cancel: CancellationToken,
    lost: Arc<Mutex<Option<std::io::Error>>>,
    /// Bytes of output so far.
    output: Arc<AtomicU64>,
    /// What need not be said again.
    said: Arc<Mutex<HashSet<Digest>>>,
    masks: Arc<Mutex<Masks>>,
}

impl Events {
    /// Goes on where the job's log ends. When an event can't be written, the job is cancelled: nobody would know what it does.
    pub fn open(dir: &Path, job: JobId, cancel: CancellationToken) -> std::io::Result<Self> {
        let log = EventLogWriter::open(dir, &job.to_string())?;
        Ok(Self {
            log: Arc::new(Mutex::new(log)),
            cancel,
            lost: Arc::default(),
            output: Arc::default(),
            said: Arc::default(),
            masks: Arc::default(),
        })
    }

    /// The same, where these are not to be seen in what people read.
    #[must_use]
    pub fn masking(self, masks: Masks) -> Self {
        Self { masks: Arc::new(Mutex::new(masks)), ..self }
    }

    /// What is not to be seen.
    pub fn masks(&self) -> Masks {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These values are not to be seen either, from now on.
    pub fn hide(&self, values: &[&str]) {
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        *masks = masks.and(values);
    }

    /// Writes one event down before it returns.
    pub fn emit(&self, kind: Kind) {
        // A failure ends the job: see `try_emit`.
        let _ = self.try_emit(kind);
    }

    /// The same for who must not go on without it.
    pub fn try_emit(&self, kind: Kind) -> std::io::Result<()> {
        let Some(kind) = self.bounded(kind) else { return Ok(()) };
        let kind = slipway_commands::masked(kind, &self.masks());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = log.append(kind) else { return Ok(()) };
        tracing::error!(%error, "can't write an event");
        let told = std::io::Error::new(error.kind(), format!("the job's event log can't be written: {error}"));
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.cancel.cancel();
        Err(told)
    }

    /// Leaves output out beyond the limit, and says so once.
    fn bounded(&self, kind: Kind) -> Option<Kind> {
        let bytes = match &kind {
            Kind::StepLog(log) => log.text.len() as u64,
            Kind::CommandLog(log) => log.text.len() as u64,
            _ => return Some(kind),
        };
        let before = self.output.fetch_add(bytes, Ordering::Relaxed);
        if before > MAX_OUTPUT {
            return None;
        }
        if before + bytes <= MAX_OUTPUT {
            return Some(kind);
        }
        let message = format!("the job has written more than {} MiB; the rest is not kept", MAX_OUTPUT >> 20);
        Some(Kind::Warning(Warning { message, place: None }))
    }

    /// Tells the user something.
    pub fn warn(&self, message: String) {
        self.emit(Kind::Warning(Warning { message, place: None }));
    }

    /// The same, but not what it has been told this way before: several builds may meet the same trouble.
    pub fn warn_once(&self, message: String) {
        self.warn_once_at(message, None);
    }

    /// The same with the place that it is about.
    pub fn warn_once_at(&self, message: String, place: Option<String>) {
        let digest = Digest::of(format!("{}\0{message}", place.as_deref().unwrap_or_default()).as_bytes());
        if self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(digest) {
            self.emit(Kind::Warning(Warning { message, place }));
        }
    }

    /// Why an event could not be written, if one could not.
    pub fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::event_log::EventLogReader;
    use slipway_proto::v1::{BuildDone, CommandLog, CommandStarted, JobDone, JobError, StepDone, StepStarted};

    #[test]
    fn output_is_bounded_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), JobId::new(), CancellationToken::new()).unwrap();
        let log = |text: &[u8]| Kind::CommandLog(CommandLog { text: text.to_vec(), ..CommandLog::default() });
        events.emit(log(b"kept"));
        events.output.store(MAX_OUTPUT - 1, Ordering::Relaxed);
        for _ in 0..3 {
            events.emit(log(b"too much"));
        }
        events.warn("still told".to_owned());
        events.warn_once("once".to_owned());
        events.warn_once("once".to_owned());
        events.warn_once_at("once".to_owned(), Some("Dockerfile:1".to_owned()));
        events.warn_once_at("once".to_owned(), Some("Dockerfile:1".to_owned()));
        let told = EventLogReader::new(dir.path(), 0).read(usize::MAX).unwrap();
        let warnings: Vec<_> = told.iter().filter(|event| matches!(event.kind, Some(Kind::Warning(_)))).collect();
        assert_eq!((told.len(), warnings.len()), (5, 4));
    }

    #[test]
    fn what_people_read_is_masked_and_names_are_true() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), JobId::new(), CancellationToken::new()).unwrap();
        let events = events.masking(Masks::of(["open sesame"]));
        let secret = || "say open sesame".to_owned();
        let (error, hint) = (Some(secret()), Some(secret()));
        events.emit(Kind::StepStarted(StepStarted { name: secret(), ..StepStarted::default() }));
        events.emit(Kind::StepDone(StepDone { name: secret(), error, ..StepDone::default() }));
        events.emit(Kind::CommandStarted(CommandStarted { name: secret(), ..CommandStarted::default() }));
        events.warn_once(secret());
        let error = Some(JobError { code: "failed".to_owned(), message: secret(), hint });
        events.emit(Kind::JobDone(JobDone { error, ..JobDone::default() }));
        events.emit(Kind::BuildDone(BuildDone { image: "r/open sesame".to_owned(), ..BuildDone::default() }));
        let told = EventLogReader::new(dir.path(), 0).read(usize::MAX).unwrap();
        assert_eq!(told.len(), 6);
        for event in &told[..5] {
            let text = format!("{event:?}");
            assert!(text.contains("say ***") && !text.contains("sesame"), "{text}");
        }
        assert!(format!("{:?}", told[5]).contains("r/open sesame"));
    }

    #[test]
    fn an_event_that_cannot_be_written_ends_the_job() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let events = Events::open(dir.path(), JobId::new(), cancel.clone()).unwrap();
        // The next segment has nowhere to go.
        events.log.lock().unwrap().fill_segment();
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(events.try_emit(Kind::Warning(Warning::default())).is_err());
        assert!(cancel.is_cancelled());
        assert!(events.lost().is_some());
    }
}
