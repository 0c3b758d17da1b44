//! THE flow of a job, in the job's own process: deploy what the plan depends on, build what it names, then run its commands.
//!
//! ```text
//! snapshot ── plan ──► order ──► each build, when those that it waits for are done: ──► ImageEnv ──► commands
//!               │                skip or build ──► image                                                ▲
//!               │                   ▲                │                                                  │
//!               │                   └ OKTETO_BUILD_* ┘                                                  │
//!               └──► dependencies, first ── OKTETO_DEPENDENCY_* ────────────────────────────────────────┘
//! ```

mod artifacts;
mod attributes;
pub mod cache_mounts;
pub mod cache_scope;
pub mod caches;
mod clipped;
pub mod commands;
mod contexts;
mod dependencies;
pub mod engines;
pub mod events;
pub mod failure;
pub mod frontend;
mod held_keys;
pub mod image;
pub mod input;
pub mod keeping;
mod locks;
pub mod logins;
pub mod looking;
mod missing;
mod order;
pub mod records;
pub mod secrets;
pub mod skip;
mod stages;
mod test_caches;
mod test_records;
mod test_runs;
mod test_skip;
pub mod variables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::cache_scope::CacheScope;
use self::caches::ExternalCaches;
use self::engines::Engines;
use self::events::Events;
use self::failure::Failure;
use self::frontend::Frontends;
use self::keeping::Keeping;
use self::looking::Looking;
use self::secrets::Secrets;
use self::variables::JobVariables;
use crate::jobs::spec::JobSpec;
use crate::limits::SectionLimits;
use crate::registry::{Logins, Registry};
use crate::runner::{access, network};
use crate::store::Blobs;

/// How long what fails again and again is tried again.
const PATIENCE: Duration = Duration::from_mins(2);
/// What went well for so long and then failed is a trouble of its own, and begins anew.
const WENT_WELL: Duration = Duration::from_secs(30);
/// How often it may.
const MAX_TROUBLES: u32 = 5;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a job's process has besides the job.
#[derive(Debug)]
pub struct Pipeline {
    /// The job.
    pub spec: JobSpec,
    /// The namespace's contents.
    pub blobs: Blobs,
    /// Where images go.
    pub registry: Arc<Registry>,
    /// Finds what looks at what builds start from.
    pub looking: Looking,
    /// The engines.
    pub engines: Engines,
    /// Builds that run at a time.
    pub max_builds: usize,
    /// Which frontends may build a Dockerfile.
    pub frontends: Frontends,
    /// Which caches outside of the engine builds may use.
    pub external_caches: ExternalCaches,
    /// Hosts of caches that are allowed although they are on an engine's own machine.
    pub cache_hosts: Vec<String>,
    /// Where the locks are that jobs share.
    pub locks: PathBuf,
    /// Keeps what namespaces have in the engine's caches apart.
    pub cache_scope: CacheScope,
    /// The values of its builds' secrets.
    pub secrets: Secrets,
    /// What opens other registries to it.
    pub logins: Logins,
    /// What its environment keeps.
    pub keeping: Keeping,
    /// The service's variables for its commands.
    pub variables: JobVariables,
    /// Whether it was told that the engine cuts output.
    pub clipped: AtomicBool,
    /// The service's folder, where it can be reached by jobs.
    pub data_dir: PathBuf,
    /// Where archives for the job's caller go.
    pub exports: PathBuf,
    /// The most bytes of one.
    pub max_export_bytes: u64,
    /// The most bytes of a test's artifacts.
    pub max_artifact_bytes: u64,
    /// How long its commands may take to end, where whoever cancels it says so.
    pub asked_grace: watch::Receiver<Option<Duration>>,
    /// Tests that run at a time.
    pub max_tests: usize,
    /// Where the job's events go.
    pub events: Events,
    /// The image of commands that name none.
    pub runner_image: String,
    /// The runner's agent.
    pub agent: PathBuf,
    /// What a section's commands may use.
    pub limits: SectionLimits,
    /// What its commands may use besides the service.
    pub access: access::Config,
    /// Where they may connect to.
    pub network: network::Rules,
    /// The service, as clients reach it.
    pub public_url: String,
    /// The job's own token for it.
    pub token: SecretString,
    /// Loopback ports inside the runner, and where they lead.
    pub forwards: BTreeMap<u16, SocketAddr>,
    /// Ends the job.
    pub cancel: CancellationToken,
}

impl Pipeline {
    /// Runs the job to its end.
    pub async fn run(&self) -> Result<(), Failure> {
        let dependencies = self.deploy_dependencies().await?;
        self.keeping.depend(&dependencies);
        let images = self.build_all().await?;
        let all = self.spec.plan.commands.iter().zip(&self.spec.commands);
        let all = all.filter(|(commands, _)| !commands.commands.is_empty());
        let all: Vec<_> = all.map(|(commands, root)| (commands, *root)).collect();
        if all.is_empty() {
            return self.keeping.begin(&images, None).map_err(Failure::internal);
        }
        self.run_sections(&all, &images, &dependencies).await
    }

    /// What it gives, unless the job is cancelled first: then it goes no further. Not for what has an end of its own.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.cancel.run_until_cancelled(work).await.ok_or(Failure::Cancelled)
    }

    /// Tries what may succeed another time, for a while: an engine that restarts, a connection that broke.
    async fn again<T, F: Future<Output = Result<T, Failure>>>(&self, run: impl Fn() -> F) -> Result<T, Failure> {
        let (mut failing_since, mut troubles) = (None::<Instant>, 0);
        let mut wait = FIRST_WAIT;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            let began = Instant::now();
            let failure = match run().await {
                Err(failure) if failure.is_transient() => failure,
                result => return result,
            };
            if began.elapsed() > WENT_WELL || failing_since.is_none() {
                (failing_since, wait, troubles) = (Some(Instant::now()), FIRST_WAIT, troubles + 1);
            }
            if troubles > MAX_TROUBLES || failing_since.is_some_and(|since| since.elapsed() > PATIENCE) {
                return Err(failure);
            }
            let message = failure.cause();
            self.events.warn_once(format!("{message}; trying again"));
            if self.cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Err(Failure::Cancelled);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}
