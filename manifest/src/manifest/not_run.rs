//! Sections that are checked and that no job runs.

use std::fmt;

use super::Manifest;
use crate::{plan::JobKind, problem::Place};

/// A section that a job asks for and that is not run, since it is for a Kubernetes cluster. Displays as a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRun {
    /// Its keys, such as `deploy.compose`.
    pub section: &'static str,
    /// Where it is.
    pub place: Place,
}

impl Manifest {
    /// The sections that a job of this kind asks for and that are not run, in the order of the file. `dev` and `forward` are
    /// not among them: no job asks for them.
    pub fn not_run(&self, kind: JobKind) -> Vec<NotRun> {
        if kind != JobKind::Deploy {
            return Vec::new();
        }
        let cluster = |section, place| NotRun { section, place };
        let mut found = Vec::new();
        if let Some(deploy) = &self.deploy {
            let compose = deploy.compose.as_ref().filter(|compose| !compose.files.is_empty());
            found.extend(compose.map(|compose| cluster("deploy.compose", compose.place)));
            let endpoints = deploy.endpoints.as_ref().filter(|endpoints| !endpoints.endpoints.is_empty());
            found.extend(endpoints.map(|endpoints| cluster("deploy.endpoints", endpoints.place)));
            found.extend(deploy.divert.as_ref().map(|divert| cluster("deploy.divert", divert.place)));
        }
        found.sort_by_key(|not_run| not_run.place);
        found
    }
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` needs a cluster: it is checked and not run", self.section)
    }
}
