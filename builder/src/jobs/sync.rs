//! From `syncing` to `queued`: submit, find what is missing, upload, commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as SyncMutex;
use std::sync::PoisonError;
use std::time::Instant;

use slipway_context::Digest;
use slipway_manifest::ServiceName;
use slipway_manifest::plan::Plan;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{JobQueued, SyncDone};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::ahead::{Ahead, Asked};
use super::event_log::EventLogWriter;
use super::spec::{BuildRoots, JobSpec};
use super::state::JobState;
use super::{Jobs, JobsError, io};
use crate::auth::Caller;
use crate::names::{JobId, Namespace};
use crate::store::db::jobs::JobRow;
use crate::store::db::now_ms;
use crate::store::upload::Upload;
use crate::store::{Blobs, trees};

/// Digests in one question.
pub const MAX_DIGESTS: usize = 65_536;
/// Uploads of one job at a time.
const UPLOADS: usize = 4;
/// Missing blobs named by a commit.
const MAX_NAMED: usize = 1000;

/// Contents' bytes in one request.
pub const MAX_INLINE: usize = 256 << 10;

/// A blob of a small root; its digest is its name.
#[derive(Debug, Clone)]
pub struct InlineBlob {
    /// Its bytes.
    pub content: Vec<u8>,
    /// The file's modification time, whole seconds since 1970.
    pub seconds: i64,
}

/// A job as it was asked for.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Chosen by the client: the same again is the same job.
    pub request_id: String,
    /// Where it belongs.
    pub namespace: Namespace,
    /// What it does.
    pub plan: Plan,
    /// Its trees by the client's names for them.
    pub roots: BTreeMap<String, Digest>,
    /// Blobs of small roots, by the client's names for these.
    pub inline: BTreeMap<String, Vec<InlineBlob>>,
    /// The trees of every build.
    pub builds: BTreeMap<ServiceName, BuildRoots>,
    /// The client's name for the context of each build of the plan, in its order.
    pub context_roots: Vec<String>,
    /// The working directory of the commands.
    pub commands: Option<Digest>,
}

/// What came of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// A job.
    Job {
        /// As it is now.
        row: Box<JobRow>,
        /// The client's names of the roots that have to be sent.
        missing_roots: Vec<String>,
    },
    /// No job: these roots have to be complete.
    Widen(Vec<String>),
}

/// What a service remembers of a job that is syncing; lost with the service, and then only the figures suffer.
#[derive(Debug)]
pub(super) struct SyncSession {
    /// One commit at a time.
    committing: Mutex<()>,
    began: Instant,
    active: SyncMutex<Instant>,
    /// Uploads at a time.
    uploads: Semaphore,
    /// What was uploaded for the job, with sizes.
    uploaded: SyncMutex<BTreeMap<Digest, u64>>,
}

impl SyncSession {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            committing: Mutex::default(),
            began: now,
            active: SyncMutex::new(now),
            uploads: Semaphore::new(UPLOADS),
            uploaded: SyncMutex::default(),
        }
    }

    /// Since the client was last heard of.
    pub(super) fn idle(&self) -> std::time::Duration {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Bytes of those contents that were uploaded for this job; each is counted once, in the first tree that needs it.
    fn count_sent<'a>(&self, contents: impl Iterator<Item = &'a Digest>) -> u64 {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        contents.filter_map(|digest| uploaded.remove(digest)).sum()
    }

    fn touch(&self) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Jobs {
    /// Creates a job, or gives the one that the same request created.
    pub async fn submit(&self, caller: &Caller, submission: Submission) -> Result<Submitted, JobsError> {
        let Submission { request_id, namespace, plan, roots, inline, builds, context_roots, commands } = submission;
        if caller.admin {
            self.inner.db.create_namespace(&namespace).await?;
        } else if !caller.may_use(&namespace) || !self.inner.db.has_namespace(&namespace).await? {
            return Err(JobsError::NoNamespace(namespace));
        }
        if request_id.is_empty() || request_id.len() > 128 {
            return Err(JobsError::Invalid("request_id: expected 1 to 128 characters".to_owned()));
        }
        plan.validate().map_err(|error| JobsError::Invalid(format!("plan: {error}")))?;
        let mut ahead = Ahead::default();
        if !self.inner.db.has_request(&caller.user, &namespace, &request_id).await? {
            let asked = Asked { plan: &plan, builds: &builds, context_roots: &context_roots, inline: &inline };
            ahead = self.look_ahead(caller, &namespace, asked).await?;
        }
        if !ahead.widen.is_empty() {
            return Ok(Submitted::Widen(ahead.widen));
        }
        let row = JobRow {
            id: JobId::new(),
            namespace: namespace.clone(),
            owner: caller.user.clone(),
            kind: plan.kind,
            environment: plan.name.clone(),
            state: JobState::Syncing,
            failure: None,
            attempt: 0,
            created: now_ms(),
            started: None,
            finished: None,
        };
        let spec = JobSpec {
            job: row.id,
            namespace: namespace.clone(),
            owner: caller.user.clone(),
            admin: caller.admin,
            plan,
            builds,
            skipped: ahead.skipped,
            commands,
        };
        // The folder comes first: a row without one could never run.
        self.dir(row.id).create(&spec).map_err(io("write the job's specification"))?;
        let (row, inserted) = self.inner.db.insert_job(&row, &request_id).await?;
        if !inserted {
            let unused = self.dir(spec.job);
            std::fs::remove_dir_all(unused.path()).map_err(io("remove an unused folder"))?;
        }
        if row.state != JobState::Syncing {
            return Ok(Submitted::Job { row: row.into(), missing_roots: Vec::new() });
        }
        if inserted && spec.has_nothing_to_do() {
            return Ok(Submitted::Job { row: self.end_skipped(row, &spec).await?.into(), missing_roots: Vec::new() });
        }
        // Of a job that an earlier call made, the earlier answer counts.
        let spec = if inserted { spec } else { self.dir(row.id).spec().map_err(io("read the job's specification"))? };
        let needed = spec.roots();
        let mut missing = Vec::new();
        for (name, root) in roots.iter().filter(|(_, root)| needed.contains(root)) {
            if self.inner.db.snapshot(&namespace, root).await?.is_none() {
                missing.push(name.clone());
            }
        }
        self.session(row.id);
        if missing.is_empty() {
            self.commit_row(&row).await?;
            let row = self.inner.db.job(row.id).await?.unwrap_or(row);
            return Ok(Submitted::Job { row: row.into(), missing_roots: missing });
        }
        Ok(Submitted::Job { row: row.into(), missing_roots: missing })
    }

    /// Those of the digests that the job's namespace does not have.
    pub async fn find_missing(
        &self,
        caller: &Caller,
        job: &str,
        digests: Vec<Digest>,
    ) -> Result<Vec<Digest>, JobsError> {
        if digests.len() > MAX_DIGESTS {
            return Err(JobsError::Invalid(format!("more than {MAX_DIGESTS} digests in one request")));
        }
        let row = self.syncing(caller, job).await?;
        let blobs = self.blobs(&row.namespace)?;
        let find = move || digests.into_iter().filter(|digest| !blobs.has(digest)).collect();
        tokio::task::spawn_blocking(find).await.map_err(|error| io("look for blobs")(error.into()))
    }

    /// Stores a stream of frames, as they come; gives the number of blobs and their bytes.
    pub async fn upload(
        &self,
        caller: &Caller,
        job: &str,
        mut frames: mpsc::Receiver<Vec<u8>>,
    ) -> Result<(u64, u64), JobsError> {
        let row = self.syncing(caller, job).await?;
        let session = self.session(row.id);
        // Each holds a thread: one job's must not keep the others' from going on.
        let _turn = session.uploads.acquire().await.map_err(|error| io("store blobs")(std::io::Error::other(error)))?;
        let mut upload = Upload::new(self.blobs(&row.namespace)?);
        let touched = session.clone();
        let store = move || {
            while let Some(frame) = frames.blocking_recv() {
                touched.touch();
                upload.frame(&frame)?;
            }
            upload.finish()
        };
        let stored = tokio::task::spawn_blocking(store).await.map_err(|error| io("store blobs")(error.into()))??;
        let bytes = stored.iter().map(|(_, size)| size).sum();
        let blobs = stored.len() as u64;
        session.uploaded.lock().unwrap_or_else(PoisonError::into_inner).extend(stored);
        Ok((blobs, bytes))
    }

    /// Checks that everything is there and queues the job; else names what is missing.
    pub async fn commit(&self, caller: &Caller, job: &str) -> Result<Vec<Digest>, JobsError> {
        let row = self.get(caller, job).await?;
        match row.state {
            JobState::Syncing => self.commit_row(&row).await,
            // A repeated commit, whose first answer got lost.
            JobState::Queued | JobState::Running | JobState::Succeeded => Ok(Vec::new()),
            JobState::Failed | JobState::Cancelled => Err(not_syncing(&row)),
        }
    }

    async fn commit_row(&self, row: &JobRow) -> Result<Vec<Digest>, JobsError> {
        let session = self.session(row.id);
        let _one = session.committing.lock().await;
        let dir = self.dir(row.id);
        let spec = dir.spec().map_err(io("read the job's specification"))?;
        let (mut files, mut bytes, mut sent) = (0, 0, 0);
        for root in spec.roots() {
            if let Some((known_files, known_bytes)) = self.inner.db.snapshot(&row.namespace, &root).await? {
                files += known_files;
                bytes += known_bytes;
                continue;
            }
            let blobs = self.blobs(&row.namespace)?;
            let check = move || trees::check(&blobs, &root);
            let checked =
                tokio::task::spawn_blocking(check).await.map_err(|error| io("check a tree")(error.into()))??;
            if !checked.missing.is_empty() {
                return Ok(checked.missing.into_iter().take(MAX_NAMED).collect());
            }
            files += checked.tree.files;
            bytes += checked.tree.bytes;
            sent += session.count_sent(checked.tree.contents.keys());
            self.inner.db.add_snapshot(&row.namespace, &root, checked.tree.files, checked.tree.bytes).await?;
        }
        let Some(lock) = super::process::JobLock::try_take(&dir).map_err(io("lock the job"))? else {
            return Ok(Vec::new());
        };
        if !self.inner.db.move_job(row.id, JobState::Syncing, JobState::Queued).await? {
            return Ok(Vec::new()); // Cancelled meanwhile.
        }
        let position = self.inner.db.jobs_in(JobState::Queued).await?.len() as u32;
        let mut log = EventLogWriter::open(&dir.events(), &row.id.to_string()).map_err(io("open the event log"))?;
        let duration_ms = session.began.elapsed().as_millis() as u64;
        let reused_bytes = bytes.saturating_sub(sent);
        let synced = SyncDone { files, bytes, sent_bytes: sent, reused_bytes, duration_ms };
        log.append(Kind::SyncDone(synced)).map_err(io("write an event"))?;
        log.append(Kind::JobQueued(JobQueued { position })).map_err(io("write an event"))?;
        drop((log, lock));
        self.syncs().remove(&row.id);
        self.inner.wake.notify_one();
        Ok(Vec::new())
    }

    async fn syncing(&self, caller: &Caller, job: &str) -> Result<JobRow, JobsError> {
        let row = self.get(caller, job).await?;
        if row.state != JobState::Syncing {
            return Err(not_syncing(&row));
        }
        self.session(row.id).touch();
        Ok(row)
    }

    pub(super) fn session(&self, job: JobId) -> Arc<SyncSession> {
        self.syncs().entry(job).or_insert_with(|| Arc::new(SyncSession::new())).clone()
    }

    fn blobs(&self, namespace: &Namespace) -> Result<Blobs, JobsError> {
        Blobs::open(&self.inner.data_dir, namespace).map_err(io("open the blob store"))
    }
}

fn not_syncing(row: &JobRow) -> JobsError {
    JobsError::NotSyncing { job: row.id, state: row.state.as_str() }
}
