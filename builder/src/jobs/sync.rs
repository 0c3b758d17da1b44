//! From `syncing` to `queued`: submit, then the calls that make the job's roots complete.
//!
//! | module | does |
//! |---|---|
//! | `call` | one call: frames, checks, answers |
//! | `inbox` | from frames to the namespace's store |
//! | `inline` | small roots that came with the request |
//! | `sent` | what was sent for the job, in all calls |
//! | `progress` | the figures of `sync.progress` |
//! | `unpack` | frames as they were before they were compressed |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as SyncMutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use slipway_context::Digest;
use slipway_manifest::ServiceName;
use slipway_manifest::plan::Plan;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{JobBefore, JobQueued, SyncDone};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::ahead::{Ahead, Asked};
use super::before;
use super::event_log::EventLogWriter;
use super::process::JobLock;
use super::spec::{BuildRoots, JobSpec};
use super::state::JobState;
use super::{Jobs, JobsError, io};
use crate::auth::{Caller, JOB_USER};
use crate::environments::kept::Kept;
use crate::names::{JobId, Namespace};
use crate::pipeline::caches::ExternalCaches;
use crate::pipeline::logins;
use crate::pipeline::secrets::{Secrets, needed};
use crate::pipeline::variables::{Given, JobVariables};
use crate::registry::Logins;
use crate::seal::Key;
use crate::store::db::jobs::JobRow;
use crate::store::db::now_ms;
use crate::store::snapshots::snapshot_is_complete;
use crate::store::{Blobs, trees};
use crate::variables::Variables;

mod call;
mod inbox;
mod inline;
mod progress;
mod sent;
#[cfg(test)]
mod tests;
mod unpack;

pub use call::{Answer, MAX_DIGESTS, Message, SyncCall};
pub use inline::{InlineBlob, MAX_INLINE};
pub(super) use sent::sent_for;

/// How long the lock of a job is waited for.
const BUSY: Duration = Duration::from_secs(10);

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
    /// The working directories of the plan's commands, in its order.
    pub commands: Vec<Digest>,
    /// The values of the builds' secrets.
    pub secrets: Secrets,
    /// The caller's logins for registries.
    pub logins: Logins,
    /// What nobody is to see of the caller's variables.
    pub variables: JobVariables,
    /// It is refused rather than wait for another job that changes its environment.
    pub no_wait: bool,
    /// Milliseconds that its commands may take to end after TERM; none: the usual ones.
    pub grace_ms: Option<u32>,
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

/// What a service remembers of a job that is syncing. Lost with the service, and nothing is lost with it.
#[derive(Debug)]
pub(super) struct SyncSession {
    /// One commit at a time.
    committing: Mutex<()>,
    /// When the client was last heard of; nothing while we are at work for it.
    active: SyncMutex<Option<Instant>>,
    /// One call at a time.
    turn: Arc<Mutex<()>>,
    /// Ends the call that goes on.
    call: SyncMutex<CancellationToken>,
}

impl Default for SyncSession {
    fn default() -> Self {
        let (committing, turn, call) = (Mutex::default(), Arc::default(), SyncMutex::default());
        Self { committing, active: SyncMutex::new(Some(Instant::now())), turn, call }
    }
}

impl SyncSession {
    /// Since the client was last heard of.
    pub(super) fn idle(&self) -> Duration {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |active| active.elapsed())
    }

    /// Ends the call that goes on: the job has ended.
    pub(super) fn end(&self) {
        self.call.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }

    /// Ends the call that goes on, and gives what ends the next one.
    fn take_over(&self) -> CancellationToken {
        let next = CancellationToken::new();
        std::mem::replace(&mut *self.call.lock().unwrap_or_else(PoisonError::into_inner), next.clone()).cancel();
        next
    }

    /// The client is there, and it is its turn.
    fn touch(&self) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// It is ours.
    fn work(&self) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What the service lacks of a job's roots.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Contents and nodes; none: the job is queued.
    digests: Vec<Digest>,
    /// Bytes of the contents among them.
    bytes: u64,
    /// Bytes of those contents of the roots that were sent for this job.
    sent: u64,
}

impl Jobs {
    /// Makes the job's folder, with all that its process needs.
    fn create(&self, spec: &JobSpec, secrets: &Secrets) -> std::io::Result<()> {
        let key = Key::open(&self.inner.data_dir)?;
        let sealed = if secrets.is_empty() { None } else { Some(secrets.seal(&key, spec.job)?) };
        self.dir(spec.job).create(spec, &key, sealed.as_deref())
    }

    /// What the job gets of the service's variables.
    pub(super) async fn resolved(
        &self,
        caller: &Caller,
        namespace: &Namespace,
        has_commands: bool,
        mut variables: JobVariables,
    ) -> Result<JobVariables, JobsError> {
        if let Some(outer) = self.variables_of(caller)? {
            // What it passes on is masked as there.
            variables.inherit(&outer, has_commands);
            return Ok(variables);
        }
        let resolved = self.variables()?.resolve(&caller.user, namespace).await?.variables.into_iter();
        let given = resolved.map(|(name, found)| (name, Given { kind: found.kind, value: found.value }));
        variables.add(given.collect(), has_commands);
        Ok(variables)
    }

    /// What the job has that calls, or whose command does; nothing where it is no job.
    pub fn variables_of(&self, caller: &Caller) -> Result<Option<JobVariables>, JobsError> {
        let Some(job) = caller.user.strip_prefix(JOB_USER) else { return Ok(None) };
        let Ok(job) = job.parse::<JobId>() else { return Ok(Some(JobVariables::default())) };
        self.of_running(job).map(Some).map_err(io("read the variables of the job that calls"))
    }

    /// What a job that runs has of variables, with all else that its commands have and nobody is to see. Nothing of one that has
    /// ended.
    fn of_running(&self, job: JobId) -> std::io::Result<JobVariables> {
        let (dir, key) = (self.dir(job), Key::open(&self.inner.data_dir)?);
        let of = dir.variables()?.map(|sealed| JobVariables::unseal(&sealed, &key, job)).transpose();
        let mut of = of?.unwrap_or_default();
        of.mask(if_there(dir.token())?);
        let Some(spec) = if_there(dir.outline())? else { return Ok(of) };
        // As it was before the job, and as the job leaves it.
        for sealed in [dir.environment()?, dir.left()?].into_iter().flatten() {
            let kept = Kept::unseal(&sealed, &key, &spec.namespace, &spec.plan.name)?;
            of.mask(kept.secret_by_name().map(SecretString::from));
        }
        Ok(of)
    }

    fn variables(&self) -> Result<Variables, JobsError> {
        Variables::open(self.inner.db.clone(), &self.inner.data_dir).map_err(io("read the key of variables"))
    }

    /// The values that come with a request, and those that the service keeps.
    pub(super) async fn with_variables(
        &self,
        caller: &Caller,
        namespace: &Namespace,
        plan: &Plan,
        mut secrets: Secrets,
    ) -> Result<Secrets, JobsError> {
        let needed = needed(plan);
        if needed.is_empty() {
            return Ok(secrets);
        }
        let names = needed.iter().map(|needed| needed.variable.clone());
        let values = match self.variables_of(caller)? {
            // A job has what its commands have, and with its token they get no more.
            Some(outer) => {
                let value = |name: String| Some((name.clone(), outer.given(&name)?.value.clone()));
                names.filter_map(value).collect()
            }
            None => self.variables()?.values(&caller.user, namespace, names.collect()).await?,
        };
        if let Some(missing) = needed.iter().find(|needed| !needed.perhaps && !values.contains_key(&needed.variable)) {
            return Err(JobsError::Invalid(format!(
                "{}: there is no variable `{name}` of yours, of namespace {namespace} or of the admins: \
                 `slipway variable set --scope namespace --secret {name}=-` sets it",
                missing.by,
                name = missing.variable
            )));
        }
        secrets.add_variables(values);
        Ok(secrets)
    }

    fn keep(&self, logins: &Logins, variables: &JobVariables, job: JobId) -> std::io::Result<()> {
        let (key, dir) = (Key::open(&self.inner.data_dir)?, self.dir(job));
        if !logins.is_empty() {
            dir.keep_logins(&logins::seal(logins, &key, job)?)?;
        }
        if variables.is_empty() { Ok(()) } else { dir.keep_variables(&variables.seal(&key, job)?) }
    }

    /// Creates a job, or gives the one that the same request created.
    pub async fn submit(&self, caller: &Caller, submission: Submission) -> Result<Submitted, JobsError> {
        let Submission {
            request_id,
            namespace,
            plan,
            roots,
            inline,
            mut builds,
            context_roots,
            commands,
            secrets,
            logins,
            mut variables,
            no_wait,
            grace_ms,
        } = submission;
        if self.inner.config.external_caches == ExternalCaches::Write {
            // Nobody need send what is not taken.
            for roots in builds.values_mut() {
                roots.caches.clear();
            }
        }
        let logins = logins.elsewhere(self.inner.bases.registry());
        if caller.admin {
            self.inner.db.create_namespace(&namespace).await?;
        } else if !caller.may_use(&namespace) || !self.inner.db.has_namespace(&namespace).await? {
            return Err(JobsError::NoNamespace(namespace));
        }
        if request_id.is_empty() || request_id.len() > 128 {
            return Err(JobsError::Invalid("request_id: expected 1 to 128 characters".to_owned()));
        }
        plan.validate().map_err(|error| JobsError::Invalid(format!("plan: {error}")))?;
        let lineage = self.lineage(caller).await?;
        lineage.check(&namespace, &plan)?;
        let (parent, depth) = lineage.parent();
        let (mut ahead, mut secrets) = (Ahead::default(), secrets);
        if !self.inner.db.has_request(&caller.user, &namespace, &request_id).await? {
            if no_wait && let Some(first) = self.before(&namespace, &plan.name, plan.kind, None).await? {
                return Err(JobsError::EnvironmentBusy(first.into()));
            }
            secrets = self.with_variables(caller, &namespace, &plan, secrets).await?;
            variables = self.resolved(caller, &namespace, plan.runs_something(), variables).await?;
            let asked = Asked {
                plan: &plan,
                builds: &builds,
                context_roots: &context_roots,
                inline: &inline,
                secrets: &secrets,
                logins: &logins,
                explain: false,
            };
            ahead = self.look_ahead(caller, &namespace, asked).await?;
        }
        if !ahead.widen.is_empty() {
            return Ok(Submitted::Widen(ahead.widen));
        }
        let outlives = self.outlives(parent, &plan).map_err(io("read the plan of the job around this one"))?;
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
            parent,
            depth,
            outlives,
        };
        let spec = JobSpec {
            job: row.id,
            namespace: namespace.clone(),
            // The person, or what stands for one, whichever jobs are in between.
            owner: lineage.owner().unwrap_or(&caller.user).to_owned(),
            admin: caller.admin,
            plan,
            builds,
            skipped: ahead.skipped,
            commands,
            no_wait,
            grace_ms,
        };
        // The folder comes first: a row without one could never run.
        self.create(&spec, &secrets).map_err(io("write the job's specification"))?;
        let inserting = match self.keep(&logins, &variables, row.id) {
            Ok(()) => self.inner.db.insert_job(&row, &request_id).await.map_err(JobsError::from),
            Err(error) => Err(io("encrypt the caller's logins and variables")(error)),
        };
        if inserting.is_err() {
            // What nobody will run keeps no secrets.
            self.dir(row.id).forget_spec();
        }
        let (row, inserted) = inserting?;
        if !inserted {
            let unused = self.dir(spec.job);
            std::fs::remove_dir_all(unused.path()).map_err(io("remove an unused folder"))?;
        }
        if row.state != JobState::Syncing {
            return Ok(Submitted::Job { row: row.into(), missing_roots: Vec::new() });
        }
        // From here on its client can go away.
        self.session(row.id);
        if inserted && spec.has_nothing_to_do() {
            return Ok(Submitted::Job { row: self.end_skipped(row, &spec).await?.into(), missing_roots: Vec::new() });
        }
        // Of a job that an earlier call made, the earlier answer counts.
        let spec =
            if inserted { spec } else { self.dir(row.id).outline().map_err(io("read the job's specification"))? };
        let needed = spec.roots();
        let with_blobs: Vec<String> = inline.keys().cloned().collect();
        self.store_inline(&row, inline.into_values().flatten().collect()).await?;
        let mut missing = Vec::new();
        let blobs = self.blobs(&namespace)?;
        for (name, root) in roots.iter().filter(|(_, root)| needed.contains(root)) {
            if snapshot_is_complete(&self.inner.db, &blobs, &namespace, root).await?.is_none()
                && !(with_blobs.contains(name) && self.is_complete(&namespace, *root).await?)
            {
                missing.push(name.clone());
            }
        }
        if missing.is_empty() {
            if !self.commit(&row).await?.digests.is_empty() {
                // Something was lost just now: the sync finds out what.
                missing = roots.into_iter().filter(|(_, root)| needed.contains(root)).map(|(name, _)| name).collect();
            }
            let row = self.inner.db.job(row.id).await?.unwrap_or(row);
            return Ok(Submitted::Job { row: row.into(), missing_roots: missing });
        }
        Ok(Submitted::Job { row: row.into(), missing_roots: missing })
    }

    /// Checks that everything is there and queues the job; else tells what is missing. Once begun it comes to its end: a queued
    /// job has its events, whatever becomes of the call.
    pub(super) async fn commit(&self, row: &JobRow) -> Result<Lacking, JobsError> {
        let (jobs, row) = (self.clone(), row.clone());
        let committing = tokio::spawn(async move { jobs.commit_row(&row).await });
        committing.await.map_err(|error| io("check the roots")(error.into()))?
    }

    async fn commit_row(&self, row: &JobRow) -> Result<Lacking, JobsError> {
        let session = self.session(row.id);
        let _one = session.committing.lock().await;
        let dir = self.dir(row.id);
        let spec = dir.outline().map_err(io("read the job's specification"))?;
        let mut uploaded = sent::read(&dir).map_err(io("read what was sent"))?;
        let (mut files, mut bytes, mut lacking, mut complete) = (0, 0, Lacking::default(), Vec::new());
        // Until the job is queued, nothing that it needs is cleaned away.
        let _keep = self.keep_blobs(&row.namespace).await;
        let blobs = self.blobs(&row.namespace)?;
        for root in spec.roots() {
            let known = snapshot_is_complete(&self.inner.db, &blobs, &row.namespace, &root).await?;
            if let Some((known_files, known_bytes)) = known {
                files += known_files;
                bytes += known_bytes;
                continue;
            }
            let (began, blobs) = (now_ms(), blobs.clone());
            let check = move || trees::check(&blobs, &root);
            let checked =
                tokio::task::spawn_blocking(check).await.map_err(|error| io("check a tree")(error.into()))??;
            let (tree, missing) = (checked.tree, checked.missing);
            // Each content counts once, in the first tree that needs it.
            lacking.sent += tree.contents.keys().filter_map(|digest| uploaded.remove(digest)).sum::<u64>();
            lacking.bytes += missing.iter().filter_map(|digest| tree.contents.get(digest)).sum::<u64>();
            if missing.is_empty() {
                files += tree.files;
                bytes += tree.bytes;
                complete.push((root, tree.files, tree.bytes, began));
            }
            lacking.digests.extend(missing);
        }
        if !lacking.digests.is_empty() {
            lacking.digests.sort_unstable();
            lacking.digests.dedup();
            return Ok(lacking);
        }
        for (root, files, bytes, began) in complete {
            self.inner.db.add_snapshot(&row.namespace, &root, files, bytes, began).await?;
        }
        let Some(lock) = self.lock_syncing(row).await? else {
            return Ok(lacking);
        };
        if !self.inner.db.move_job(row.id, JobState::Syncing, JobState::Queued).await? {
            return Ok(lacking); // Cancelled meanwhile.
        }
        let position = self.inner.db.jobs_in(JobState::Queued).await?.len() as u32;
        let mut log = EventLogWriter::open(&dir.events(), &row.id.to_string()).map_err(io("open the event log"))?;
        let duration_ms = now_ms().saturating_sub(row.created).max(0) as u64;
        let sent_bytes = lacking.sent;
        let reused_bytes = bytes.saturating_sub(sent_bytes);
        let synced = SyncDone { files, bytes, sent_bytes, reused_bytes, duration_ms };
        log.append(Kind::SyncDone(synced)).map_err(io("write an event"))?;
        sent::remove(&dir);
        let first = self.before(&row.namespace, &row.environment, row.kind, Some(row)).await?;
        if let Some(first) = first.as_ref().filter(|_| spec.no_wait) {
            drop(log);
            let failure = before::refused(first);
            let queued = JobRow { state: JobState::Queued, ..row.clone() };
            self.end(&queued, JobState::Failed, Some(failure), lock).await?;
            return Ok(lacking);
        }
        let behind = first.map(|first| JobBefore {
            job: first.id.to_string(),
            kind: first.kind.as_str().to_owned(),
            environment: first.environment,
        });
        log.append(Kind::JobQueued(JobQueued { position, behind })).map_err(io("write an event"))?;
        drop((log, lock));
        self.syncs().remove(&row.id);
        self.inner.wake.notify_one();
        Ok(lacking)
    }

    /// The lock of a job that is still syncing, which others hold for moments only; nothing when it has gone on.
    pub(super) async fn lock_syncing(&self, row: &JobRow) -> Result<Option<JobLock>, JobsError> {
        let dir = self.dir(row.id);
        let began = Instant::now();
        loop {
            if let Some(lock) = JobLock::try_take(&dir).map_err(io("lock the job"))? {
                return Ok(Some(lock));
            }
            if self.inner.db.job(row.id).await?.is_none_or(|now| now.state != JobState::Syncing) {
                return Ok(None);
            }
            if began.elapsed() > BUSY {
                return Err(io("lock the job")(std::io::ErrorKind::TimedOut.into()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn session(&self, job: JobId) -> Arc<SyncSession> {
        self.syncs().entry(job).or_default().clone()
    }

    pub(super) fn blobs(&self, namespace: &Namespace) -> Result<Blobs, JobsError> {
        Blobs::open(&self.inner.data_dir, namespace).map_err(io("open the blob store"))
    }
}

fn if_there<T>(read: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn not_syncing(row: &JobRow) -> JobsError {
    JobsError::NotSyncing { job: row.id, state: row.state.as_str() }
}
