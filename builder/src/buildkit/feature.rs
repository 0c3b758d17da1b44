//! What not every engine can do, and how one is asked for it.
//!
//! A Solve whose frontend nobody knows ends before anything is solved. What BuildKit looks at before the frontend (exporters,
//! then caches, then attestations: `control/control.go`) ends it earlier where it is not known, and the message says which it
//! was. It has been so since BuildKit 0.10 at least, also for what the versions since then have learnt.

use std::collections::HashMap;
use std::fmt;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, Exporter, SolveRequest};

use super::random_id;

/// A name of a frontend, an exporter and an attestation that no engine knows.
const NOBODYS: &str = "slipway-question";

/// What a build may need of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Caches of this type. Who knows how to write one knows how to read it.
    Cache(&'static str),
    /// The exporter of this name.
    Exporter(&'static str),
    /// Several exporters in one build (BuildKit 0.13).
    SeveralExporters,
    /// Provenance and bills of materials (BuildKit 0.11).
    Attestations,
}

/// As the end of "the engine knows no …".
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(kind) => write!(f, "caches of type `{kind}`"),
            Self::Exporter(kind) => write!(f, "exports of type `{kind}`"),
            Self::SeveralExporters => f.write_str("exports in several forms at once"),
            Self::Attestations => f.write_str("attestations"),
        }
    }
}

impl Feature {
    /// What to do where no engine has it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Cache(_) => {
                "this engine knows no caches of that type: leave it out, or have an admin add a buildkitd (or resume one that is drained), which does"
            }
            Self::Exporter(_) => {
                "this engine knows no exports of that type: leave it out, or have an admin add a buildkitd (or resume one that is drained), which does"
            }
            Self::SeveralExporters => {
                "leave out what is to be brought to you, or have an admin add a newer engine (or resume one that is drained): BuildKit has this since 0.13"
            }
            Self::Attestations => {
                "leave provenance and SBOM out, or have an admin add a newer engine (or resume one that is drained): BuildKit has them since 0.11"
            }
        }
    }

    /// A Solve that fails at once, in one way or another.
    pub(super) fn question(self) -> SolveRequest {
        let mut question = SolveRequest {
            r#ref: random_id(),
            frontend: NOBODYS.to_owned(),
            // It is in nobody's history.
            internal: true,
            ..SolveRequest::default()
        };
        match self {
            Self::Cache(kind) => {
                let entry = CacheOptionsEntry { r#type: kind.to_owned(), attrs: refused_attributes(kind) };
                question.cache = Some(CacheOptions { exports: vec![entry], ..CacheOptions::default() });
            }
            Self::Exporter(kind) => {
                question.exporters = vec![exporter(kind)];
                // What engines before 0.13 read.
                kind.clone_into(&mut question.exporter_deprecated);
            }
            // Engines before 0.13 don't read it.
            Self::SeveralExporters => question.exporters = vec![exporter(NOBODYS)],
            Self::Attestations => {
                question.frontend_attrs = HashMap::from([(format!("attest:{NOBODYS}"), String::new())]);
            }
        }
        question
    }

    /// What the message of the failure says: whether it has it, unless it is about something else.
    pub(super) fn answer(self, message: &str) -> Option<bool> {
        let came_to_the_frontend = message.contains(&format!("invalid frontend: {NOBODYS}"));
        let (known, unknown) = match self {
            Self::Cache(kind) => (
                // It refuses its attributes.
                came_to_the_frontend || message.contains(&format!("failed to configure {kind} cache exporter")),
                message.contains(&format!("unknown cache exporter: \"{kind}\"")),
            ),
            Self::Exporter(kind) => (came_to_the_frontend, message.contains(&no_exporter(kind))),
            Self::SeveralExporters => (message.contains(&no_exporter(NOBODYS)), came_to_the_frontend),
            Self::Attestations => (message.contains("unknown attestation type"), came_to_the_frontend),
        };
        (known || unknown).then_some(known)
    }
}

/// With these a cache can't be configured: in place of some of those that are left out, an engine would take what its own
/// environment has, and look for the container in Azure at once, or make it.
fn refused_attributes(kind: &str) -> HashMap<String, String> {
    match kind {
        "azblob" => HashMap::from([("account_url".to_owned(), "%".to_owned())]),
        _ => HashMap::new(),
    }
}

fn exporter(kind: &str) -> Exporter {
    Exporter { r#type: kind.to_owned(), attrs: HashMap::new() }
}

fn no_exporter(kind: &str) -> String {
    format!("exporter \"{kind}\" could not be found")
}

#[cfg(test)]
pub(crate) mod tests;
