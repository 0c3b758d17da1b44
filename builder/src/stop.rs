//! How the service is asked to stop.

use tokio_util::sync::CancellationToken;

/// How the service is asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Start no more jobs, and leave when those that run have ended.
    pub drain: CancellationToken,
    /// Leave now; jobs that run go on without us.
    pub now: CancellationToken,
}

/// SIGTERM or SIGINT: stop; a second one: now.
pub fn signals() -> anyhow::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = Stop::default();
    let stopped = stop.clone();
    tokio::spawn(async move {
        for token in [stopped.drain, stopped.now] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(stop)
}
