//! The builds of a job: each as soon as what it waits for is done, some at a time.
//!
//! A build that fails takes with it only those that wait for it. The others go on, and what they made stands.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::ImageRef;

use super::Pipeline;
use super::failure::Failure;
use super::input::Before;

/// An image by its digest, and the names that it was given.
pub(super) type Made = (ImageRef, Vec<ImageRef>);

/// Where a build stands.
#[derive(Debug)]
enum State {
    Waiting,
    Running,
    Made(Made),
    /// It failed, or what it waited for did.
    Lost,
}

impl Pipeline {
    /// Makes all images of the plan; gives their variables, in the plan's order.
    pub(super) async fn build_all(&self) -> Result<ImageEnv, Failure> {
        let (builds, needs) = (&self.spec.plan.builds, self.needs());
        let any = builds.iter().any(|build| build.options.no_push);
        let known = if any { self.known_needs() } else { Vec::new() };
        for (build, needs) in builds.iter().zip(&known) {
            if let Some(used) = needs.iter().map(|index| &builds[*index]).find(|used| used.options.no_push) {
                return Err(Failure::NotPushed { user: build.service.clone(), used: used.service.clone() });
            }
        }
        let mut states: Vec<State> = builds.iter().map(|_| State::Waiting).collect();
        let (mut running, mut failed) = (FuturesUnordered::new(), None::<Failure>);
        loop {
            // In the plan's order, so that of two that are lost the reason comes first.
            for (index, build) in builds.iter().enumerate() {
                // What couldn't be reached for so long would be waited for by each of them in turn.
                if self.cancel.is_cancelled() || failed.as_ref().is_some_and(Failure::is_transient) {
                    break;
                }
                if !matches!(states[index], State::Waiting) {
                    continue;
                }
                let needed = || needs[index].iter().map(|needed| (&builds[*needed], &states[*needed]));
                if let Some((lost, _)) = needed().find(|(_, state)| matches!(state, State::Lost)) {
                    self.events.warn(format!("`{}` is not built: it needs `{}`", build.service, lost.service));
                    states[index] = State::Lost;
                } else if running.len() < self.max_builds && needed().all(|(_, state)| matches!(state, State::Made(_)))
                {
                    let before = before(needed())?;
                    states[index] = State::Running;
                    running.push(async move { (index, self.build_one(build, &before).await) });
                }
            }
            let Some((index, result)) = running.next().await else { break };
            states[index] = match result {
                Ok(made) => State::Made(made),
                Err(failure) => {
                    // The job's end tells one failure, and only then.
                    let more = !running.is_empty() || states.iter().any(|state| matches!(state, State::Waiting));
                    if (more || failed.is_some()) && !self.cancel.is_cancelled() {
                        self.events.warn_once(failure.to_string());
                    }
                    failed.get_or_insert(failure);
                    State::Lost
                }
            };
        }
        match failed {
            Some(failure) => Err(failure),
            None if states.iter().all(|state| matches!(state, State::Made(_))) => {
                Ok(before(builds.iter().zip(&states))?.env)
            }
            // Nothing else stops it.
            None => Err(Failure::Cancelled),
        }
    }

    async fn build_one(&self, build: &BuildPlan, before: &Before) -> Result<Made, Failure> {
        let found = self.unless_cancelled(self.again(|| Box::pin(self.found(build, before)))).await??;
        if let Some(found) = found {
            return Ok(found);
        }
        self.again(|| Box::pin(self.build_somewhere(build, before))).await
    }
}

/// What these have made.
fn before<'b>(builds: impl Iterator<Item = (&'b BuildPlan, &'b State)>) -> Result<Before, Failure> {
    let mut before = Before::default();
    for (build, state) in builds {
        if let State::Made((image, names)) = state {
            before.add(&build.service, image, names.clone()).map_err(Failure::internal)?;
        }
    }
    Ok(before)
}
