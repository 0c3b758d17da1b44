//! Why a service is built again: its inputs beside those of its last build, and the steps that they reach.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::Serialize;
use slipway_context::dockerfile::Step;
use slipway_context::tree::{Change, ChangeKind};
use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::{ExplainResponse, Explanation, InputChange, InputKind, LastBuild};

use self::steps::{Dockerfiles, steps};
use crate::client::{LONG_CALL, Patience, timed};
use crate::error::Usage;
use crate::output;
use crate::roots::BuildRoots;
use crate::session::Session;
use crate::submit::Prepared;

mod steps;
mod text;
mod trees;

/// What is known of one service.
#[derive(Debug, Serialize)]
struct Explained {
    service: String,
    /// The build that it is compared with.
    last: Option<Last>,
    /// Why there is nothing to build.
    skipped: Option<String>,
    /// What is built first, where it depends on that whether this is built.
    waits_for: Option<String>,
    /// Why it can't be skipped in any case.
    never_skipped: Option<String>,
    files: Vec<File>,
    /// Whether `files` has all of them.
    files_complete: bool,
    /// Why it has not.
    #[serde(skip)]
    files_lack: Option<&'static str>,
    /// The Dockerfile can use other paths than then: `files` are of those that both can use.
    paths_changed: bool,
    inputs: Vec<Changed>,
    steps: Option<Vec<Rerun>>,
    /// Whether no other step is known to be possible.
    steps_complete: bool,
    /// Why there are no `steps`.
    steps_unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct Last {
    job: String,
    time: Option<String>,
    image: String,
}

#[derive(Debug, Serialize)]
struct File {
    /// The named context that it is in; none: the build's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    path: String,
    change: &'static str,
}

#[derive(Debug, Serialize)]
struct Changed {
    kind: &'static str,
    name: String,
    before: Option<String>,
    after: Option<String>,
    /// Why it is not known whether it changed.
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rerun {
    line: usize,
    stage: Option<String>,
    step: String,
    reason: String,
}

/// Compares every build of the plan that was asked for with the last one of its service, and prints that.
pub(crate) async fn explain(session: &Session, mut prepared: Prepared, services: &[String], json: bool) -> Result<()> {
    let answer = ask(session, &mut prepared).await?;
    let client = &session.client;
    if answer.builds.len() != prepared.plan.builds.len() {
        return Err(client.malformed("not one explanation for each build").into());
    }
    let mut texts = Vec::new();
    for ((build, roots), explanation) in prepared.plan.builds.iter().zip(&prepared.builds).zip(answer.builds) {
        if !services.is_empty() && !services.iter().any(|service| service == build.service.as_str()) {
            continue;
        }
        let explained = one(session, &prepared, build, roots, explanation).await?;
        if json {
            output::print_json(&explained)?;
        } else {
            texts.push(explained.to_string());
        }
    }
    if !json {
        output::print(texts.join("\n"))?;
    }
    Ok(())
}

/// Asks; again with whole contexts, where a build may use more of them than its Dockerfile tells.
async fn ask(session: &Session, prepared: &mut Prepared) -> Result<ExplainResponse> {
    let client = &session.client;
    for _ in 0..=prepared.roots.trees().len() {
        let request = prepared.request(&session.namespace, client.registry());
        let call = || {
            let (mut builds, request) = (client.builds(), timed(request.clone(), LONG_CALL));
            async move { builds.explain(request).await }
        };
        let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
        if answer.widen_roots.is_empty() {
            return Ok(answer);
        }
        let mut roots = std::mem::take(&mut prepared.roots);
        let widening = tokio::task::spawn_blocking(move || roots.widen(&answer.widen_roots).map(|()| roots));
        prepared.roots = widening.await.context("scan")??;
    }
    Err(client.malformed("it wants complete what is complete").into())
}

async fn one(
    session: &Session,
    prepared: &Prepared,
    build: &BuildPlan,
    roots: &BuildRoots,
    explanation: Explanation,
) -> Result<Explained> {
    let Explanation { service, last, changes, image, reason, unknown, waits_for } = explanation;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let mut explained = Explained {
        service,
        last: last.as_ref().map(Last::from),
        skipped: image.map(|_| reason),
        waits_for: given(waits_for),
        never_skipped: given(unknown),
        files: Vec::new(),
        files_complete: true,
        files_lack: None,
        paths_changed: false,
        inputs: changes.iter().map(Changed::from).collect(),
        steps: None,
        steps_complete: false,
        steps_unknown: None,
    };
    let Some(last) = last else { return Ok(explained) };
    let (mut images, mut files): (BTreeSet<String>, Vec<Change>) = Default::default();
    for (context, name, before) in contexts(roots, &last) {
        let tree = prepared.roots.tree(name).ok_or_else(|| Usage::new(format!("`{name}` was not scanned")))?;
        let mut found = trees::compare(session, &before, &tree.scan).await?;
        if context.is_none() {
            explained.paths_changed = trees::keep_common(&mut found.changes, &last.narrowed_to, &tree.only);
        }
        explained.files_complete &= found.lacks.is_none();
        explained.files_lack = explained.files_lack.or(found.lacks);
        explained.files.extend(found.changes.iter().map(|change| File::new(context.clone(), change)));
        match context {
            Some(context) => images.extend((!found.changes.is_empty()).then_some(context)),
            None => files = found.changes,
        }
    }
    let dockerfiles = Dockerfiles::new(prepared, roots, &last);
    let dockerfiles = dockerfiles.ok_or_else(|| Usage::new(format!("`{}` was not scanned", roots.dockerfile)))?;
    let renamed = changes.iter().any(|change| change.kind() == InputKind::Dockerfile);
    explained.inputs.extend(dockerfiles.changed(renamed));
    match steps(prepared, build, &dockerfiles, &files, &changes, images) {
        Ok(steps) => {
            explained.steps = Some(steps.into_iter().map(Rerun::from).collect());
            explained.steps_complete = explained.is_known();
        }
        Err(reason) => explained.steps_unknown = Some(reason),
    }
    Ok(explained)
}

/// The trees of a build with those of its last one: the named context's name, the root's name, and what was there.
fn contexts<'r>(roots: &'r BuildRoots, last: &LastBuild) -> Vec<(Option<String>, &'r str, Vec<u8>)> {
    let mut contexts = vec![(None, roots.context.as_str(), last.context_root.clone())];
    for (name, root) in &roots.named {
        // One that was not there is told as an input.
        if let Some(before) = last.named_roots.iter().find(|before| before.name == *name) {
            contexts.push((Some(name.clone()), root.as_str(), before.root.clone()));
        }
    }
    contexts
}

// === impl Explained ===

impl Explained {
    /// Whether all is known that may have changed.
    fn is_known(&self) -> bool {
        self.files_complete
            && self.waits_for.is_none()
            && self.never_skipped.is_none()
            && self.inputs.iter().all(|input| input.unknown.is_none())
    }
}

impl From<&LastBuild> for Last {
    fn from(last: &LastBuild) -> Self {
        Self { job: last.job.clone(), time: output::time(last.time.as_ref()), image: last.image.clone() }
    }
}

impl File {
    fn new(context: Option<String>, change: &Change) -> Self {
        let path = if change.folder { format!("{}/", change.path) } else { change.path.clone() };
        let change = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
            ChangeKind::Mode => "mode",
        };
        Self { context, path, change }
    }
}

impl From<&InputChange> for Changed {
    fn from(change: &InputChange) -> Self {
        let kind = match change.kind() {
            InputKind::Argument => "argument",
            InputKind::Secret => "secret",
            InputKind::Image => "image",
            InputKind::Dependency => "dependency",
            InputKind::Context => "context",
            InputKind::Platform => "platform",
            InputKind::Target => "target",
            InputKind::Option => "option",
            InputKind::Dockerfile => "dockerfile",
            InputKind::Mounts => "mounts",
            InputKind::Agents => "agents",
            InputKind::Unspecified => "other",
        };
        let InputChange { name, before, after, unknown, .. } = change.clone();
        Self { kind, name, before, after, unknown }
    }
}

impl From<Step> for Rerun {
    fn from(step: Step) -> Self {
        let Step { line, stage, text, why } = step;
        Self { line, stage, step: text, reason: why.to_string() }
    }
}
