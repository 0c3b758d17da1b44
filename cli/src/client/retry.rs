//! When to try again, and when to give up.

use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant};

use tonic::{Code, Status};

/// Waits that grow from a fifth of a second to five.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);

    /// From the shortest wait.
    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LAST);
        wait
    }
}

/// How long a call is tried again while the connection fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(pub(crate) Duration);

impl Patience {
    /// For calls with a person waiting: a restart of the service takes less.
    pub(crate) const RESTART: Self = Self(Duration::from_mins(1));

    /// Calls until there is an answer, or the patience is at an end. Only for calls that do no harm when made twice.
    pub(crate) async fn call<T, F, Fut>(self, mut call: F) -> Result<T, Status>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let (start, mut backoff) = (Instant::now(), Backoff::new());
        loop {
            match call().await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    let wait = backoff.next();
                    if !is_transient(&status) || start.elapsed() + wait > self.0 {
                        return Err(status);
                    }
                    tracing::info!(%status, "call failed; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// Whether the connection failed, rather than the service said no.
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        // The service itself never answers `cancelled`: it is what tonic makes of its own deadline.
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => true,
        // What tonic makes of a connection that breaks in the middle of a call.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let mut backoff = Backoff::new();
        let waits: Vec<u128> = std::iter::repeat_with(|| backoff.next().as_millis()).take(8).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn only_the_connection_is_worth_another_try() {
        assert!(is_transient(&Status::unavailable("")));
        assert!(!is_transient(&Status::internal("broken")));
        assert!(!is_transient(&Status::permission_denied("")));
        let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let mut status = Status::unknown("h2");
        status.set_source(std::sync::Arc::new(cut));
        assert!(is_transient(&status));
    }
}
