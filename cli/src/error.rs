//! What can go wrong, and the exit status that says so: the only table from errors to statuses.

use std::io;
use std::process::ExitCode;

use crate::client::ServiceError;

/// How the command ends; scripts depend on these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Done.
    Done = 0,
    /// The job failed (or was cancelled by somebody else), or something broke on this side in the middle of the work.
    Failed = 1,
    /// Bad usage, or a bad manifest.
    Usage = 2,
    /// The service can't be reached, or refuses.
    Service = 3,
    /// Interrupted by a signal.
    Interrupted = 130,
    /// Nobody reads standard output any more: what a shell reports for a program that SIGPIPE ended.
    BrokenPipe = 141,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// The caller has to change something: an argument, the environment, the manifest or a file that it names.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Usage {
    message: String,
    hint: Option<String>,
}

impl Usage {
    /// An error that the message explains completely.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same, with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The command was interrupted, and has already said so.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Errors of a manifest, already in the form `FILE:LINE:COL: message`, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadManifest(pub(crate) String);

/// An error and its causes in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The exit status for an error, and whether there is anything to say about it.
pub(crate) fn status(error: &anyhow::Error) -> ExitStatus {
    for cause in error.chain() {
        if cause.is::<Usage>() || cause.is::<BadManifest>() {
            return ExitStatus::Usage;
        }
        if cause.is::<Interrupted>() {
            return ExitStatus::Interrupted;
        }
        if let Some(error) = cause.downcast_ref::<ServiceError>() {
            return match error {
                ServiceError::Invalid { .. } => ExitStatus::Usage,
                _ => ExitStatus::Service,
            };
        }
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitStatus::BrokenPipe;
        }
    }
    ExitStatus::Failed
}

/// What to print for an error: `error: …` with its causes, and a hint where there is one. Nothing for an error that was
/// already reported or that nobody can read.
pub(crate) fn report(error: &anyhow::Error) -> Option<String> {
    if matches!(status(error), ExitStatus::Interrupted | ExitStatus::BrokenPipe) {
        return None;
    }
    if let Some(BadManifest(problems)) = error.downcast_ref() {
        return Some(problems.trim_end().to_owned());
    }
    let mut text = format!("error: {error:#}");
    let hint = error.chain().find_map(|cause| {
        let usage = cause.downcast_ref::<Usage>().and_then(|usage| usage.hint.clone());
        usage.or_else(|| cause.downcast_ref::<ServiceError>().and_then(ServiceError::hint))
    });
    if let Some(hint) = hint {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_status_survives_context() {
        let usage: anyhow::Error = Usage::new("no").hint("do this").into();
        let usage = Err::<(), _>(usage).context("read it").unwrap_err();
        assert_eq!(status(&usage), ExitStatus::Usage);
        assert_eq!(report(&usage).unwrap(), "error: read it: no\nhint: do this");
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("write");
        assert_eq!(status(&pipe), ExitStatus::BrokenPipe);
        assert_eq!(report(&pipe), None);
        assert_eq!(status(&anyhow::anyhow!("x")), ExitStatus::Failed);
    }
}
