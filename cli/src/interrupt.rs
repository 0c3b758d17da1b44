//! SIGINT and SIGTERM. Until a job is at stake they end the command at once; from then on the first is for whoever waits
//! for it, and the second ends the command.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::ExitStatus;

/// Signals that ask the command to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    claimed: Arc<AtomicBool>,
    received: watch::Receiver<bool>,
}

impl Interrupt {
    /// Catches the signals from now on.
    pub(crate) fn install() -> io::Result<Self> {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (sender, received) = watch::channel(false);
        let claimed = Arc::new(AtomicBool::new(false));
        let claim = Arc::clone(&claimed);
        // Not tracked: it lives as long as the process, and the second signal must end that whatever else is going on.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                if !claim.load(Ordering::SeqCst) || sender.send_replace(true) {
                    process::exit(ExitStatus::Interrupted as i32);
                }
            }
        });
        Ok(Self { claimed, received })
    }

    /// From now on the first signal does not end the process.
    pub(crate) fn claim(&self) {
        self.claimed.store(true, Ordering::SeqCst);
    }

    /// Comes back once a signal has been received.
    pub(crate) async fn received(&self) {
        let mut received = self.received.clone();
        // The sender lives as long as the process.
        if received.wait_for(|received| *received).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same, but that after so long it is as if a signal had been received.
    pub(crate) fn or_after(&self, limit: Duration) -> Self {
        let (sender, received) = watch::channel(false);
        let first = self.clone();
        tokio::spawn(async move {
            // Either way.
            let _ = tokio::time::timeout(limit, first.received()).await;
            sender.send_replace(true);
            sender.closed().await;
        });
        Self { claimed: Arc::clone(&self.claimed), received }
    }

    /// Whether a signal has been received.
    pub(crate) fn is_received(&self) -> bool {
        *self.received.borrow()
    }
}
