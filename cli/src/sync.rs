//! Sends the service the blobs that it does not have, and nothing else.
//!
//! | module | does |
//! |---|---|
//! | `plan` | what is sent next |
//! | `memory` | what the service acknowledged last |
//! | `call` | one connection's worth of it: read, compress, send, listen |
//! | `blobs` | the roots' nodes and contents |
//! | `read`, `frames` | reading and checking contents, packing records |
//! | `compress`, `pace` | the level, and how much may be under way, by what the link takes |
//! | `inline` | small roots that go with the request |
//! | `bar` | the bar on a terminal |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;

use crate::client::{Backoff, Client, LONG_CALL, Patience, ServiceError, is_transient};
use crate::output;

mod bar;
mod blobs;
mod call;
mod compress;
mod frames;
mod inline;
mod memory;
mod pace;
mod plan;
mod read;

use bar::Bar;
pub(crate) use blobs::Blobs;
use call::{Calls, Stop};
use compress::Level;
pub(crate) use inline::Inline;
pub(crate) use memory::Memory;
use pace::Pace;
use plan::Plan;

/// Tries in a row that bring nothing new to the service before we give up.
const FRUITLESS: u32 = 6;
/// How long a service that does not answer is waited for: a restart takes less.
const PATIENCE: Duration = Patience::RESTART.0;

/// Why a sync did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// A file is not what it was when the context was read.
    #[error("`{path}` changed while it was being sent: nothing was built; run the command again")]
    Changed { path: PathBuf },
    /// A file can't be read any more.
    #[error("read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    /// A bug of ours.
    #[error("a thread of the sync failed")]
    Panicked(#[source] tokio::task::JoinError),
    /// The service asks for a blob that the job's roots don't hold.
    #[error("the service asks for blob {digest}, which this job does not have")]
    Unknown { digest: String },
    /// The service goes on asking for what was sent.
    #[error("the service still lacks {count} blobs after {FRUITLESS} tries")]
    Fruitless { count: usize },
    /// The service can't be reached, or refuses.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Makes the service's copy of a job's roots complete, and queues the job. `bar`: show one on a terminal.
pub(crate) async fn sync(
    client: &Client,
    job: &str,
    blobs: Blobs,
    memory: &Memory,
    bar: bool,
) -> Result<(), SyncError> {
    let blobs = Arc::new(blobs);
    let plan = Plan::new(Arc::clone(&blobs));
    let mut calls = Calls {
        client,
        job,
        blobs,
        plan,
        level: Arc::new(Level::default()),
        bar: Bar::new(bar),
        pace: Pace::default(),
    };
    let mut first = calls.plan.guess(&memory.load(&calls.blobs));
    let mut outage = Outage::default();
    loop {
        let (called, listened) = calls.call(std::mem::take(&mut first)).await;
        let status = match called {
            Ok(()) => break,
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Cut(status)) => status,
        };
        calls.plan.cut();
        if listened {
            outage = Outage::default();
        }
        tracing::info!(%status, "the sync was cut; going on with what is missing");
        let Some(wait) = outage.next() else { return Err(client.error(&status).into()) };
        if !std::mem::replace(&mut outage.told, true) {
            output::note(format_args!("lost the connection to {}; going on with the sync", client.url()));
        }
        tokio::time::sleep(wait).await;
    }
    let (memory, blobs) = (memory.clone(), Arc::clone(&calls.blobs));
    drop(calls);
    tokio::task::spawn_blocking(move || memory.save(&blobs)).await.map_err(SyncError::Panicked)
}

/// A service that is not there.
#[derive(Debug)]
struct Outage {
    since: Instant,
    tries: u32,
    backoff: Backoff,
    told: bool,
}

impl Default for Outage {
    fn default() -> Self {
        Self { since: Instant::now(), tries: 0, backoff: Backoff::new(), told: false }
    }
}

impl Outage {
    /// How long to wait before the next try; nothing when enough was tried.
    fn next(&mut self) -> Option<Duration> {
        self.tries += 1;
        (self.tries < FRUITLESS || self.since.elapsed() < PATIENCE).then(|| self.backoff.next())
    }
}
