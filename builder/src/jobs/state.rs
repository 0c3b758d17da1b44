//! What a job does and where it stands.

pub use slipway_manifest::plan::JobKind;

/// Where a job stands. `syncing → queued → running → succeeded | failed | cancelled`; each of the first three may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Its client is sending what is missing.
    Syncing,
    /// Complete, and waiting for its turn.
    Queued,
    /// A process of its own runs it.
    Running,
    /// Done.
    Succeeded,
    /// Done, and not well.
    Failed,
    /// Ended by request.
    Cancelled,
}

/// The kind with this word.
pub fn parse_kind(text: &str) -> Option<JobKind> {
    [JobKind::Build, JobKind::Deploy, JobKind::Destroy, JobKind::Test].into_iter().find(|kind| kind.as_str() == text)
}

/// Whether such a job changes the environment, so that only one at a time may run there.
pub fn changes_environment(kind: JobKind) -> bool {
    matches!(kind, JobKind::Deploy | JobKind::Destroy)
}

impl JobState {
    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Syncing, Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Whether nothing more happens.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}
