//! What changed of a build's inputs since it was built last.

use std::io;
use std::path::Path;
use std::time::Duration;

use slipway_context::Digest;
use slipway_manifest::ServiceName;
use slipway_mask::Masks;
use slipway_registry_client::ImageRef;
use tokio::sync::SemaphorePermit;

use super::ahead::{Asked, Question};
use super::sync::Submission;
use super::{Jobs, JobsError};
use crate::auth::Caller;
use crate::names::Namespace;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::input::NoDigest;
use crate::pipeline::input::pieces::{PieceChange, PieceKind, compare};
use crate::pipeline::records::{Record, Records};
use crate::pipeline::skip::{self, Skipped};
use crate::pipeline::variables::Hidden;
use crate::store::Blobs;

/// The largest Dockerfile that goes with an explanation, in bytes.
const MAX_DOCKERFILE: usize = 1 << 20;

/// Calls that are answered at a time: each asks registries much.
pub(super) const AT_A_TIME: usize = 4;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// One build, compared with the last one of its service.
#[derive(Debug)]
pub struct Explanation {
    /// The service.
    pub service: ServiceName,
    /// What it is compared with.
    pub last: Option<Last>,
    /// What changed besides the trees.
    pub changes: Vec<PieceChange>,
    /// The image, if it need not be built.
    pub skipped: Option<Skipped>,
    /// What is built first, where it depends on that whether this one is built.
    pub waits_for: Option<String>,
    /// Why it can't be skipped in any case.
    pub unknown: Option<String>,
}

/// The last build of a service.
#[derive(Debug)]
pub struct Last {
    /// As it was noted.
    pub record: Record,
    /// Its Dockerfile's text, where that is still kept.
    pub dockerfile: Option<String>,
}

/// What comes of asking.
#[derive(Debug)]
pub enum Explained {
    /// Of each build of the plan.
    Builds(Vec<Explanation>),
    /// These roots have to be complete.
    Widen(Vec<String>),
}

impl Jobs {
    /// Compares every build of what would be submitted with the last one of its service.
    pub async fn explain(&self, caller: &Caller, submission: Submission) -> Result<Explained, JobsError> {
        let namespace = submission.namespace;
        self.check_namespace(caller, &namespace).await?;
        let plan = &submission.plan;
        plan.validate().map_err(|error| JobsError::Invalid(format!("plan: {error}")))?;
        let secrets = self.with_variables(caller, &namespace, plan, submission.secrets).await?;
        let logins = submission.logins.elsewhere(self.inner.bases.registry());
        let asked = Asked {
            plan,
            builds: &submission.builds,
            context_roots: &submission.context_roots,
            inline: &submission.inline,
            secrets: &secrets,
            logins: &logins,
            explain: true,
        };
        let _turn = self.turn().await?;
        let ahead = self.look_ahead(caller, &namespace, asked).await?;
        if !ahead.widen.is_empty() {
            return Ok(Explained::Widen(ahead.widen));
        }
        if ahead.explained.len() != plan.builds.len() {
            return Err(JobsError::Busy("registries or engines can't be asked now"));
        }
        let variables = self.resolved(caller, &namespace, !plan.commands.is_empty(), submission.variables).await?;
        let hidden = Hidden { secrets: &secrets, logins: &logins, variables: &variables, token: None, keeping: None };
        let masks = hidden.masks(plan, &namespace, &caller.user);
        let explained = ahead.explained.into_iter().map(|explanation| explanation.masked(&masks));
        Ok(Explained::Builds(explained.collect()))
    }

    /// Waits for a turn to ask registries.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, JobsError> {
        let turn = tokio::time::timeout(PATIENCE, self.inner.explaining.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(JobsError::Busy("others are being told what changed"))
    }

    /// The contents of a namespace that the caller may use.
    pub async fn blobs_for(&self, caller: &Caller, namespace: &Namespace) -> Result<Blobs, JobsError> {
        self.check_namespace(caller, namespace).await?;
        self.blobs(namespace)
    }

    async fn check_namespace(&self, caller: &Caller, namespace: &Namespace) -> Result<(), JobsError> {
        let known = caller.may_use(namespace) && self.inner.db.has_namespace(namespace).await?;
        if known { Ok(()) } else { Err(JobsError::NoNamespace(namespace.clone())) }
    }
}

/// Compares one build. `name` is the image's first one, if it is known.
pub(super) async fn explain(
    question: &Question<'_>,
    skipped: Option<&Skipped>,
    name: Option<&ImageRef>,
    scope: &CacheScope,
    blobs: &Blobs,
    data_dir: &Path,
) -> Explanation {
    let service = question.build.service.clone();
    let (records, application) = (Records::new(data_dir, question.namespace), question.plan.name.clone());
    let of = service.clone();
    let record = tokio::task::spawn_blocking(move || records.read(&application, &of)).await;
    let record = record.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
        tracing::warn!(build.service = %service, %error, "can't read what `{service}` was built from");
        None
    });
    let inputs = question.inputs(question.dockerfile.unwrap_or_default());
    let pieces = inputs.pieces(question.bases, scope, name, question.user).await;
    let changes = record.as_ref().map(|record| compare(&record.pieces, &pieces)).unwrap_or_default();
    let unknown = match skipped {
        Some(_) => None,
        None => inputs.digest(question.bases).await.err(),
    };
    let (waits_for, unknown) = match unknown {
        Some(NoDigest::Pending(service)) => (Some(service.to_string()), None),
        Some(NoDigest::PendingImage { image, .. }) => (Some(image.to_string()), None),
        other => (None, other.map(|reason| reason.to_string())),
    };
    let last = record.map(|record| Last::new(record, |digest, limit| blobs.read_all(digest, limit).ok()));
    Explanation { service, last, changes, skipped: skipped.cloned(), waits_for, unknown }
}

// === impl Explanation ===

impl Explanation {
    /// Without values that nobody is to see; references stay true.
    fn masked(mut self, masks: &Masks) -> Self {
        let mask = |text: &mut String| *text = masks.text(text).into_owned();
        self.unknown.as_mut().map(mask);
        for change in &mut self.changes {
            change.unknown.as_mut().map(mask);
            if !matches!(change.kind, PieceKind::Image | PieceKind::Dependency) {
                change.before.as_mut().map(mask);
                change.after.as_mut().map(mask);
            }
        }
        self
    }
}

// === impl Last ===

impl Last {
    /// With the Dockerfile, by the name that it had then, of the blobs that `read` gives.
    fn new(record: Record, read: impl Fn(&Digest, u64) -> Option<Vec<u8>>) -> Self {
        let dockerfile = skip::dockerfile(record.file_name(), &record.roots.dockerfile, read);
        Self { dockerfile: dockerfile.filter(|text| text.len() <= MAX_DOCKERFILE), record }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use slipway_context::tree::{Directory, Entry, Node};

    use super::*;
    use crate::jobs::spec::BuildRoots;
    use crate::names::JobId;
    use crate::pipeline::input::pieces::{Piece, Value};

    #[test]
    fn a_dockerfile_is_found_by_the_name_that_it_had() {
        let text = b"FROM scratch\n".as_slice();
        let file = Node::File { digest: Digest::of(text), size: text.len() as u64, chunked: false };
        let entry = Entry { name: "old.Dockerfile".to_owned(), mode: 0o644, node: file };
        let folder = Directory::new(vec![entry]).unwrap();
        let blobs = BTreeMap::from([(folder.digest(), folder.encode()), (Digest::of(text), text.to_vec())]);
        let record = Record {
            job: JobId::new(),
            time: 1,
            image: String::new(),
            roots: BuildRoots::new(Digest::of(b"c"), Vec::new(), folder.digest()),
            pieces: vec![Piece {
                kind: PieceKind::Dockerfile,
                name: String::new(),
                value: Value::known("old.Dockerfile"),
            }],
        };
        let last = Last::new(record, |digest, _| blobs.get(digest).cloned());
        assert_eq!(last.dockerfile.as_deref(), Some("FROM scratch\n"));
    }
}
