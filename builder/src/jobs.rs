//! Jobs: accept, queue, run, watch, cancel, recover.
//!
//! A job's row says where it stands, its folder holds its specification and its event log. The service runs no job itself:
//! it starts a process for each, follows its events, and can go away and come back meanwhile.
//!
//! | module | does |
//! |---|---|
//! | [`state`] | kinds and states |
//! | [`spec`] | the job's folder and what its process needs to know |
//! | [`event_log`] | the events on disk |
//! | [`agents`] | SSH agents of callers, while these are there |
//! | [`exports`] | archives that wait for their caller |
//! | [`explain`] | what changed since a service was built last |
//! | `lineage` | jobs that commands and dependencies of other jobs submit |
//! | `orphans` | those whose parent has ended |
//! | `before` | which job another has to wait for |
//! | `ahead` | what is known before a job begins: images that are there, contexts that are too narrow |
//! | [`sync`] | submit, and the sync of the roots: from `syncing` to `queued` |
//! | [`scheduler`] | from `queued` to `running`: whose turn it is |
//! | [`process`] | the process of a job: start, lock, cancel |
//! | `cleaning` | which blobs nobody needs any more |
//! | `supervisor` | follows a running job to its end, also one that an earlier service started |

pub mod agents;
mod ahead;
mod before;
mod changes;
mod cleaning;
pub mod event_log;
pub mod explain;
pub mod exports;
mod lineage;
mod orphans;
pub mod process;
pub mod scheduler;
pub mod spec;
pub mod state;
mod supervisor;
pub mod sync;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{Event, JobDone, JobError, JobStatus};
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, Semaphore};
use tokio_util::task::TaskTracker;

use self::changes::Changes;
use self::cleaning::Pending;
use self::event_log::{EventLogReader, EventLogWriter};
use self::process::JobLock;
use self::spec::JobDir;
use self::state::JobState;
use self::sync::SyncSession;
use crate::auth::Caller;
use crate::names::{JobId, Namespace};
use crate::pipeline::caches::ExternalCaches;
use crate::pipeline::frontend::Frontends;
use crate::pipeline::looking::Looking;
use crate::stop::Stop;
use crate::store::db::DbError;
use crate::store::db::jobs::{JobFailure, JobRow};
use crate::store::snapshots::SnapshotError;
use crate::store::trees::TreeError;
use crate::store::upload::UploadError;
use crate::store::{self, BlobError, Db};
use crate::variables::VariableError;

/// Bytes of events in one batch.
const BATCH: usize = 256 << 10;

/// `[jobs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Jobs that run at a time. Default 8.
    pub max_running: usize,
    /// Builds of one job that run at a time. Default 4.
    pub max_builds: usize,
    /// Which frontends may build a Dockerfile: `official` or `any`. Default `official`.
    pub frontends: Frontends,
    /// Which caches outside of the engine builds may use: `write` or `any`. Default `write`.
    pub external_caches: ExternalCaches,
    /// Hosts (`host:port`) of caches that are allowed although they are on an engine's own machine. A list, or a text with commas.
    /// Default: none.
    #[serde(deserialize_with = "crate::config::list")]
    pub cache_hosts: Vec<String>,
    /// Bytes of one archive that a build sends back to its caller (`--export`, `--load`). Default 16 GiB.
    pub max_export_bytes: u64,
    /// Bytes of the artifacts of one test. Default 1 GiB.
    pub max_artifact_bytes: u64,
    /// Tests of one job that run at a time. Default 4.
    pub max_tests: usize,
    /// Seconds after which a job whose client has gone away before everything was sent ends as `client_gone`. Default 300.
    pub sync_timeout_s: u64,
    /// Seconds that a service which is told to stop waits for the jobs that run. Afterwards they go on without it. Default 60.
    pub drain_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_running: 8,
            max_builds: 4,
            frontends: Frontends::Official,
            external_caches: ExternalCaches::Write,
            cache_hosts: Vec::new(),
            max_export_bytes: 16 << 30,
            max_artifact_bytes: 1 << 30,
            max_tests: 4,
            sync_timeout_s: 300,
            drain_s: 60,
        }
    }
}

/// Why a request about a job can't be met.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// There is no such job, or it is none of the caller's business.
    #[error("no job {0}")]
    NoJob(String),
    /// There is no such namespace, or it is none of the caller's business.
    #[error("no namespace {0}, or no right to use it")]
    NoNamespace(Namespace),
    /// An archive that isn't there.
    #[error("job {job} has no such archive of `{service}`, or not any more")]
    NoExport {
        /// The job.
        job: String,
        /// Whose image it was.
        service: String,
    },
    /// Artifacts that aren't there.
    #[error("job {job} has no artifacts of test `{test}`, or not any more")]
    NoArtifacts {
        /// The job.
        job: String,
        /// The test.
        test: String,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It can't be met now.
    #[error("{0}: try again")]
    Busy(&'static str),
    /// It would have to wait for this job, and is not to.
    #[error("{}", before::busy(.0))]
    EnvironmentBusy(Box<JobRow>),
    /// The job is past that.
    #[error("job {job} is {state}, not syncing")]
    NotSyncing {
        /// The job.
        job: JobId,
        /// Where it stands.
        state: &'static str,
    },
    /// Its client has come back on another connection.
    #[error("another call goes on with the sync of job {0}")]
    TakenOver(JobId),
    /// The client said nothing.
    #[error("the client of job {job} has sent nothing for {seconds} s")]
    Silent {
        /// The job.
        job: JobId,
        /// For how long.
        seconds: u64,
    },
    /// Nothing more is taken before some of what was uploaded has become a tree, or is given up.
    #[error(
        "namespace {namespace} has {bytes} bytes of uploads that no complete context needs, and {limit} are allowed: wait \
         until its other syncs have ended, or cancel their jobs (`slipway job list`). A larger context needs a higher \
         store.namespace_max_pending_bytes in the service's configuration"
    )]
    TooMuchPending {
        /// Where.
        namespace: Namespace,
        /// How much there is.
        bytes: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The upload is wrong.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A tree that was sent is wrong.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It can't be told whether a tree is complete.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A variable that the service keeps can't be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// A blob can't be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The disk failed.
    #[error("{operation}: {source}")]
    Io {
        /// What we did.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> JobsError {
    move |source| JobsError::Io { operation, source }
}

/// All jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    data_dir: PathBuf,
    config: Config,
    store: store::Config,
    bases: Looking,
    /// Arguments that make a `slipwayd` read the configuration that we read.
    process_args: Vec<std::ffi::OsString>,
    syncs: Mutex<HashMap<JobId, Arc<SyncSession>>>,
    /// Held shared by commits, alone by the sweep of a namespace's blobs.
    sweeps: Mutex<HashMap<Namespace, Arc<RwLock<()>>>>,
    /// What was uploaded and is part of no tree yet.
    pending: Mutex<HashMap<Namespace, Arc<Pending>>>,
    /// SSH agents of callers.
    agents: agents::Agents,
    /// Those whose turn it is to be told what changed.
    explaining: Semaphore,
    /// Something may be able to start.
    wake: Notify,
    /// The row of a job that has ended says so.
    ended: Arc<Notify>,
    tracker: TaskTracker,
    stop: Stop,
}

impl Jobs {
    /// Over this database and data directory; [`Jobs::run`] makes them move.
    pub fn new(
        db: Db,
        data_dir: PathBuf,
        config: Config,
        store: store::Config,
        bases: Looking,
        process_args: Vec<std::ffi::OsString>,
        stop: Stop,
    ) -> Self {
        let (syncs, sweeps, pending) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (wake, ended, tracker) = (Notify::new(), Arc::default(), TaskTracker::new());
        Self {
            inner: Arc::new(Inner {
                db,
                data_dir,
                config,
                store,
                bases,
                process_args,
                syncs,
                sweeps,
                pending,
                agents: agents::Agents::default(),
                explaining: Semaphore::new(explain::AT_A_TIME),
                wake,
                ended,
                tracker,
                stop,
            }),
        }
    }

    /// The job, for a caller who may see it.
    pub async fn get(&self, caller: &Caller, job: &str) -> Result<JobRow, JobsError> {
        let no_job = || JobsError::NoJob(job.to_owned());
        let id: JobId = job.parse().map_err(|_| no_job())?;
        let row = self.inner.db.job(id).await?.ok_or_else(no_job)?;
        if caller.may_use(&row.namespace) { Ok(row) } else { Err(no_job()) }
    }

    /// The newest jobs that the caller may see, newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        namespace: Option<Namespace>,
        limit: u32,
    ) -> Result<Vec<JobRow>, JobsError> {
        let limit = if limit == 0 { 50 } else { limit.min(500) };
        let chosen = match namespace {
            Some(namespace) if !caller.may_use(&namespace) => return Err(JobsError::NoNamespace(namespace)),
            Some(namespace) => Some(vec![namespace]),
            None if caller.admin => None,
            None => Some(caller.namespaces.clone()),
        };
        Ok(self.inner.db.list_jobs(chosen.as_deref(), limit).await?)
    }

    /// Asks the job to end, its commands within this grace period or its own, and gives it as it is now: one that did not run
    /// yet has ended.
    pub async fn cancel(&self, caller: &Caller, job: &str, grace: Option<Duration>) -> Result<JobRow, JobsError> {
        let row = self.get(caller, job).await?;
        if !row.state.is_final() {
            let dir = self.dir(row.id);
            process::cancel(&dir, grace).map_err(io("ask the job's process to end"))?;
            // A running job belongs to its process and its supervisor, which see the request by themselves.
            if row.state != JobState::Running
                && let Some(lock) = JobLock::try_take(&dir).map_err(io("lock the job"))?
            {
                self.end(&row, JobState::Cancelled, None, lock).await?;
            }
        }
        self.inner.wake.notify_one();
        self.get(caller, job).await
    }

    /// The job's events after a number, in batches; with `follow` until it has ended.
    pub fn watch(&self, job: JobId, after_seq: u64, follow: bool) -> Watch {
        let events = self.dir(job).events();
        Watch {
            reader: EventLogReader::new(&events, after_seq),
            changes: Changes::of(events),
            asked: None,
            db: self.inner.db.clone(),
            row_ended: self.inner.ended.clone(),
            job,
            follow,
            ended: false,
        }
    }

    fn dir(&self, job: JobId) -> JobDir {
        JobDir::new(&self.inner.data_dir, job)
    }

    /// As long as this is held, no blob of the namespace is cleaned away.
    async fn keep_blobs(&self, namespace: &Namespace) -> OwnedRwLockReadGuard<()> {
        self.sweep_lock(namespace).read_owned().await
    }

    fn sweep_lock(&self, namespace: &Namespace) -> Arc<RwLock<()>> {
        let mut sweeps = self.inner.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps.entry(namespace.clone()).or_default().clone()
    }

    fn syncs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<SyncSession>>> {
        self.inner.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the row of a job whose log says that it has ended.
    async fn finish(&self, job: JobId, state: JobState, failure: Option<&JobFailure>) -> Result<(), JobsError> {
        self.inner.db.finish_job(job, state, failure).await?;
        self.inner.ended.notify_waiters();
        Ok(())
    }

    /// Writes the last event and the row of a job that no process runs.
    async fn end(
        &self,
        row: &JobRow,
        state: JobState,
        failure: Option<JobFailure>,
        _lock: JobLock,
    ) -> Result<(), JobsError> {
        if self.inner.db.job(row.id).await?.is_none_or(|now| now.state != row.state) {
            return Ok(()); // It has moved on.
        }
        let dir = self.dir(row.id);
        let mut log = EventLogWriter::open(&dir.events(), &row.id.to_string()).map_err(io("open the event log"))?;
        log.append(Kind::JobDone(job_done(state, failure.clone()))).map_err(io("write an event"))?;
        self.finish(row.id, state, failure.as_ref()).await?;
        if let Some(session) = self.syncs().remove(&row.id) {
            session.end();
        }
        dir.forget_spec();
        Ok(())
    }
}

/// The event that ends a job.
pub fn job_done(state: JobState, failure: Option<JobFailure>) -> JobDone {
    let status = match state {
        JobState::Succeeded => JobStatus::Succeeded,
        JobState::Cancelled => JobStatus::Cancelled,
        _ => JobStatus::Failed,
    };
    let error = failure.map(|JobFailure { code, message, hint }| JobError { code, message, hint });
    JobDone { status: status.into(), error }
}

/// A job's events as they come.
#[derive(Debug)]
pub struct Watch {
    reader: EventLogReader,
    changes: Changes,
    /// When the row was read last.
    asked: Option<Instant>,
    db: Db,
    row_ended: Arc<Notify>,
    job: JobId,
    follow: bool,
    ended: bool,
}

impl Watch {
    /// The next events; none after the last one.
    pub async fn next(&mut self) -> Result<Vec<Event>, JobsError> {
        /// Between two readings of the row.
        const ROW_EVERY: Duration = Duration::from_secs(1);
        let mut over = !self.follow;
        while !self.ended {
            let events = self.reader.read(BATCH).map_err(io("read the event log"))?;
            if !events.is_empty() {
                self.ended = events.iter().any(|event| matches!(event.kind, Some(Kind::JobDone(_))));
                if self.ended {
                    self.settle().await?;
                }
                return Ok(events);
            }
            if over {
                self.ended = true;
                break;
            }
            // The log is written before the row: what ended before this question is in the next reading.
            if self.asked.is_none_or(|at| at.elapsed() >= ROW_EVERY) {
                self.asked = Some(Instant::now());
                over = self.db.job(self.job).await?.is_none_or(|row| row.state.is_final());
            }
            if !over {
                self.changes.next(ROW_EVERY).await;
            }
        }
        Ok(Vec::new())
    }

    /// Who hears that the job has ended must not find it running when they ask. The row follows the log at once, unless the
    /// service is in trouble.
    async fn settle(&self) -> Result<(), JobsError> {
        let patience = Instant::now() + Duration::from_secs(1);
        loop {
            let ended = self.row_ended.notified();
            // From here on it hears of it.
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            let over = self.db.job(self.job).await?.is_none_or(|row| row.state.is_final());
            if over || tokio::time::timeout_at(patience.into(), ended).await.is_err() {
                return Ok(());
            }
        }
    }
}
