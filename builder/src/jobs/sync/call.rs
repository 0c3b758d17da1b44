//! One call of the sync: frames in, answers out, until everything is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_context::Digest;
use slipway_proto::v1::event::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::progress::Progress;
use super::sent::Sent;
use super::{Jobs, JobsError, Lacking, SyncSession, io, not_syncing};
use crate::auth::Caller;
use crate::jobs::event_log::EventLogWriter;
use crate::jobs::process::{self, JobLock};
use crate::jobs::state::JobState;
use crate::store::db::jobs::JobRow;

/// Digests in one answer.
pub const MAX_DIGESTS: usize = 16_384;

/// A client that pauses for so long may not come back: what it sent is sealed, so that others find it.
const PAUSE: Duration = Duration::from_millis(200);
/// The most that a crash takes from a client that doesn't pause.
const UNSEALED: Duration = Duration::from_secs(2);

/// How long a client may take to read an answer.
const DEAF: Duration = Duration::from_secs(30);

/// What a client says after it has named its job.
#[derive(Debug)]
pub enum Message {
    /// A compressed frame of records.
    Zstd(Vec<u8>),
    /// The same, not compressed.
    Raw(Vec<u8>),
    /// What else is missing?
    Check,
}

/// What it is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Contents' bytes that this call has received.
    Stored(u64),
    /// What is missing, or a part of it.
    Missing {
        /// At most [`MAX_DIGESTS`].
        digests: Vec<Digest>,
        /// Whether it is the last part.
        last: bool,
    },
    /// Everything is there, and the job is queued: the call is over.
    Committed,
}

/// A call that has begun.
#[derive(Debug)]
pub struct SyncCall {
    jobs: Jobs,
    row: JobRow,
    session: Arc<SyncSession>,
    /// Ends the call from outside: another one took over, or the job has ended.
    over: CancellationToken,
    scanned: u64,
}

impl Jobs {
    /// Begins a call; one of the same job that still goes on is ended: its client is here now.
    pub async fn open_sync(&self, caller: &Caller, job: &str, scanned: u64) -> Result<SyncCall, JobsError> {
        let row = self.get(caller, job).await?;
        if matches!(row.state, JobState::Failed | JobState::Cancelled) {
            return Err(not_syncing(&row));
        }
        let session = if row.state == JobState::Syncing { self.session(row.id) } else { Arc::default() };
        session.touch();
        let over = session.take_over();
        Ok(SyncCall { jobs: self.clone(), row, session, over, scanned })
    }

    /// Writes an event of a job that is still syncing. Whoever asked it to end meanwhile found us in the way.
    pub(super) async fn tell(&self, row: &JobRow, kind: Kind) -> Result<(), JobsError> {
        let dir = self.dir(row.id);
        let Some(lock) = JobLock::try_take(&dir).map_err(io("lock the job"))? else { return Ok(()) };
        if self.inner.db.job(row.id).await?.is_some_and(|now| now.state == JobState::Syncing) {
            let log = EventLogWriter::open(&dir.events(), &row.id.to_string());
            log.and_then(|mut log| log.append(kind)).map_err(io("write an event"))?;
        }
        drop(lock);
        if process::is_cancelled(&dir)
            && let Some(lock) = JobLock::try_take(&dir).map_err(io("lock the job"))?
        {
            self.end(row, JobState::Cancelled, None, lock).await?;
        }
        Ok(())
    }
}

impl SyncCall {
    /// Serves the client until everything is there, it leaves, or the call is ended. What it sent stays in any case.
    pub async fn run(
        self,
        mut messages: mpsc::Receiver<Message>,
        answers: &mpsc::Sender<Result<Answer, JobsError>>,
    ) -> Result<(), JobsError> {
        if self.row.state != JobState::Syncing {
            // The answer of a call before this one got lost.
            let _ = answers.send(Ok(Answer::Committed)).await;
            return Ok(());
        }
        let served = tokio::select! {
            biased;
            served = self.serve(&mut messages, answers) => served,
            () = self.over.cancelled() => match self.jobs.inner.db.job(self.row.id).await? {
                Some(row) if row.state != JobState::Syncing => Err(not_syncing(&row)),
                _ => Err(JobsError::TakenOver(self.row.id)),
            },
        };
        // Whatever we were at: now it is the client's turn to come back.
        self.session.touch();
        served
    }

    async fn serve(
        &self,
        messages: &mut mpsc::Receiver<Message>,
        answers: &mpsc::Sender<Result<Answer, JobsError>>,
    ) -> Result<(), JobsError> {
        // The one before us may still be storing its last frame.
        let turn = self.session.turn.clone().lock_owned().await;
        let sent = Sent::open(&self.jobs.dir(self.row.id)).map_err(io("note what was sent"))?;
        let namespace = &self.row.namespace;
        let mut inbox = Inbox::new(self.jobs.blobs(namespace)?, sent, self.jobs.pending(namespace), turn);
        let mut progress = Progress::new(self.scanned, Instant::now());
        let (limit, mut stored) = (Duration::from_secs(self.jobs.inner.config.sync_timeout_s), 0);
        // Since when something has been waiting for its seal.
        let mut unsealed: Option<Instant> = None;
        // Whether the client was too busy to hear what is stored: it may be waiting for just that.
        let mut owed = false;
        loop {
            self.session.touch();
            let patience = if unsealed.is_some() || owed { PAUSE } else { limit };
            let message = match tokio::time::timeout(patience, messages.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) => return at_work(inbox, Inbox::seal).await.map(drop),
                Err(_) if owed => {
                    owed = answers.try_send(Ok(Answer::Stored(stored))).is_err();
                    continue;
                }
                Err(_) if unsealed.is_some() => {
                    (inbox, ()) = at_work(inbox, Inbox::seal_complete).await?;
                    unsealed = None;
                    continue;
                }
                Err(_) => return Err(JobsError::Silent { job: self.row.id, seconds: limit.as_secs() }),
            };
            self.session.work();
            if !matches!(message, Message::Check) {
                self.jobs.admit(namespace).await?;
                let bytes;
                (inbox, bytes) = at_work(inbox, move |inbox| inbox.frame(&message)).await?;
                if unsealed.get_or_insert_with(Instant::now).elapsed() > UNSEALED {
                    (inbox, ()) = at_work(inbox, Inbox::seal_complete).await?;
                    unsealed = None;
                }
                if let Some(event) = progress.received(bytes - stored, Instant::now()) {
                    let (jobs, row) = (self.jobs.clone(), self.row.clone());
                    // As below: it may end the job.
                    let telling = tokio::spawn(async move { jobs.tell(&row, Kind::SyncProgress(event)).await });
                    telling.await.map_err(|error| io("tell the progress")(error.into()))??;
                }
                stored = bytes;
                owed = answers.try_send(Ok(Answer::Stored(stored))).is_err();
                continue;
            }
            (inbox, ()) = at_work(inbox, Inbox::seal).await?;
            unsealed = None;
            let lacking = self.commit().await?;
            progress.checked(lacking.sent, lacking.bytes, Instant::now());
            if answer(answers, lacking.digests).await {
                return Ok(());
            }
        }
    }

    /// Looks for what is missing; queues the job when nothing is.
    async fn commit(&self) -> Result<Lacking, JobsError> {
        let lacking = self.jobs.commit(&self.row).await?;
        if lacking.digests.is_empty()
            && let Some(row) = self.jobs.inner.db.job(self.row.id).await?
            && matches!(row.state, JobState::Failed | JobState::Cancelled)
        {
            return Err(not_syncing(&row));
        }
        Ok(lacking)
    }
}

/// Answers a check. `true`: there is nothing more to say.
async fn answer(answers: &mpsc::Sender<Result<Answer, JobsError>>, missing: Vec<Digest>) -> bool {
    if missing.is_empty() {
        let _ = tokio::time::timeout(DEAF, answers.send(Ok(Answer::Committed))).await;
        return true;
    }
    let mut parts = missing.chunks(MAX_DIGESTS).peekable();
    while let Some(part) = parts.next() {
        let part = Answer::Missing { digests: part.to_vec(), last: parts.peek().is_none() };
        if !matches!(tokio::time::timeout(DEAF, answers.send(Ok(part))).await, Ok(Ok(()))) {
            return true; // Nobody is there any more, or listens.
        }
    }
    false
}

/// Lets a thread that may block work on the inbox.
async fn at_work<T: Send + 'static>(
    mut inbox: Inbox,
    work: impl FnOnce(&mut Inbox) -> Result<T, JobsError> + Send + 'static,
) -> Result<(Inbox, T), JobsError> {
    let worked = tokio::task::spawn_blocking(move || work(&mut inbox).map(|result| (inbox, result))).await;
    worked.map_err(|error| io("store blobs")(error.into()))?
}
