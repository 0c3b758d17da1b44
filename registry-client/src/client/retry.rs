//! Trying again what a registry could not do just now, no sooner than it says.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use tokio::time::Instant;

use crate::error::RegistryError;

/// The wait before the second attempt; it doubles, and up to as much again is added by chance, so that clients that failed
/// together do not come back together.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// How long a call is tried again that fails for what may pass: 429, 502, 503 and 504, and connections that can't be made or
/// break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in all, at least one. Default 4.
    pub attempts: u32,
    /// No attempt begins later than so long after the first one: also where the registry itself asks for a longer wait
    /// (`Retry-After`). Default one minute.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 4, total: Duration::from_mins(1) }
    }
}

// === impl Patience ===

impl Patience {
    /// Runs a call until it succeeds, fails for good, or has failed often enough. Ends with its future.
    pub(super) async fn again<T, F: Future<Output = Result<T, RegistryError>>>(
        self,
        method: &Method,
        mut run: impl FnMut() -> F,
    ) -> Result<T, RegistryError> {
        let began = Instant::now();
        let waits = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT).with_jitter();
        let mut waits = waits.without_max_times().build();
        let mut attempt = 1;
        loop {
            let error = match run().await {
                Ok(value) => return Ok(value),
                Err(error) => error.after(attempt),
            };
            let wait = waits.next().unwrap_or(LONGEST_WAIT).max(asked_to_wait(&error));
            let late = began.elapsed().saturating_add(wait) > self.total;
            if attempt >= self.attempts || late || !may_pass(&error, method) {
                return Err(error);
            }
            tracing::info!(%error, wait_ms = wait.as_millis() as u64, "a registry's answer is asked for again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

/// What the answer says of when to come back (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // One that is past is now.
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default()),
    }
}

fn asked_to_wait(error: &RegistryError) -> Duration {
    match error {
        RegistryError::Status { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// Whether the same call may succeed later, and does nothing twice.
fn may_pass(error: &RegistryError, method: &Method) -> bool {
    match error {
        // It says that it has done nothing.
        RegistryError::Status { status, .. } => matches!(
            *status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        // What was removed already would be missing.
        RegistryError::Request { source, .. } => {
            method.is_idempotent()
                && *method != Method::DELETE
                && !source.is_redirect()
                && !source.is_builder()
                && !is_refused(source)
        }
        _ => false,
    }
}

/// Whether we may not go there at all (`reach`).
fn is_refused(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, retry_after: Option<u64>) -> RegistryError {
        RegistryError::Status {
            operation: "test",
            target: "x".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
            attempts: 1,
        }
    }

    /// How it ends, after how many attempts and seconds, when each attempt fails so.
    async fn tried(patience: Patience, status: u16, retry_after: Option<u64>) -> (u32, f64) {
        let (began, attempts) = (Instant::now(), std::cell::Cell::new(0));
        let run = || {
            attempts.set(attempts.get() + 1);
            std::future::ready(Err::<(), _>(failure(status, retry_after)))
        };
        let error = patience.again(&Method::GET, run).await.unwrap_err();
        let said = error.to_string();
        let many = format!("after {} attempts", attempts.get());
        assert_eq!(said.contains(&many), attempts.get() > 1, "{said}");
        (attempts.get(), began.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_have_an_end() {
        for status in [429, 502, 503, 504] {
            let (attempts, seconds) = tried(Patience::default(), status, None).await;
            assert_eq!(attempts, 4, "{status}");
            // A quarter, a half and a whole second, each up to doubled.
            assert!((1.75..3.6).contains(&seconds), "{status}: {seconds}");
        }
        for status in [400, 401, 404, 405, 500, 501] {
            assert_eq!(tried(Patience::default(), status, Some(1)).await.0, 1, "{status}");
        }
        let patient = Patience { attempts: u32::MAX, ..Patience::default() };
        let (attempts, seconds) = tried(patient, 503, None).await;
        assert!((6..12).contains(&attempts) && seconds <= 60.0, "{attempts} in {seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_registry_asks_for_is_waited_unless_it_is_too_long() {
        let (attempts, seconds) = tried(Patience::default(), 429, Some(10)).await;
        assert_eq!(attempts, 4);
        assert!((30.0..30.1).contains(&seconds), "{seconds}");
        let (attempts, seconds) = tried(Patience::default(), 429, Some(3600)).await;
        assert!(attempts == 1 && seconds < 0.1, "{attempts} in {seconds}");
        assert_eq!(tried(Patience::default(), 429, Some(u64::MAX)).await.0, 1);
    }

    #[test]
    fn both_forms_of_the_header_are_read() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(of(&soon).is_some_and(|wait| (98..=100).contains(&wait.as_secs())), "{soon}");
        assert_eq!(of("Fri, 01 Jan 2021 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
