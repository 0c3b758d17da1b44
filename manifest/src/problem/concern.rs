//! Whom a problem concerns: what is wrong in a section that a job doesn't use does not stop it.

use super::{Problem, Problems};
use crate::plan::JobKind;

/// Whom a problem stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Whoever reads the file.
    Everybody,
    /// Those who deploy.
    Deploy,
    /// Those who run tests.
    Test,
    /// `okteto up`, and so none of our jobs.
    Up,
}

/// A problem, and whom it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerned {
    /// The problem.
    pub problem: Problem,
    /// Whom it stops.
    pub concern: Concern,
}

impl Concern {
    pub(super) const COUNT: usize = 4;

    /// Whether it stops jobs of this kind.
    pub fn stops(self, kind: JobKind) -> bool {
        match self {
            Self::Everybody => true,
            Self::Deploy => kind == JobKind::Deploy,
            Self::Test => kind == JobKind::Test,
            Self::Up => false,
        }
    }

    /// Who is stopped, as messages name them.
    fn command(self) -> &'static str {
        match self {
            Self::Everybody => "slipway",
            Self::Deploy => "slipway deploy",
            Self::Test => "slipway test",
            Self::Up => "okteto up",
        }
    }
}

impl Concerned {
    /// For those whom it does not stop.
    fn into_warning(mut self) -> Problem {
        self.problem.message = format!("{}: `{}` will refuse it", self.problem.message, self.concern.command());
        self.problem
    }
}

/// The problems for jobs of these kinds: an error if one of them is stopped, or else warnings.
pub(crate) fn for_jobs(problems: Vec<Concerned>, kinds: &[JobKind]) -> Result<Vec<Problem>, Problems> {
    let stops = |problem: &Concerned| kinds.iter().any(|kind| problem.concern.stops(*kind));
    if !problems.iter().any(stops) {
        return Ok(problems.into_iter().map(Concerned::into_warning).collect());
    }
    Err(Problems(problems.into_iter().filter(stops).map(|problem| problem.problem).collect()))
}

/// All of them, as errors.
pub(crate) fn all(problems: Vec<Concerned>) -> Result<(), Problems> {
    if problems.is_empty() { Ok(()) } else { Err(super::problems(problems)) }
}
