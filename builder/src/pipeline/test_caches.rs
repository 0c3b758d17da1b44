//! The folders that the next run of a test finds as this one left them: cache mounts of the engine.

use std::time::Duration;

use slipway_manifest::plan::CommandsPlan;

use super::Pipeline;
use crate::buildkit::Engine;
use crate::runner::{CacheFolder, RunnerError};

impl Pipeline {
    /// Those of the test's container. Another test, application or namespace has others, and so has a run at the same time.
    pub(super) fn test_caches(&self, plan: &CommandsPlan) -> Vec<CacheFolder> {
        let Some(owner) = self.owner_of_caches(plan) else { return Vec::new() };
        let folder = |path: &String| CacheFolder { id: format!("{owner}/{path}"), path: path.clone() };
        plan.testing.caches.iter().map(folder).collect()
    }

    /// With `--no-cache` nothing of earlier runs is in them.
    pub(super) async fn clear_test_caches(&self, engine: &Engine, plan: &CommandsPlan) -> Result<(), RunnerError> {
        let (Some(owner), true) = (self.owner_of_caches(plan), plan.testing.no_cache) else { return Ok(()) };
        let (removed, _) = engine.prune_cache_mounts(&owner, Duration::ZERO).await?;
        tracing::info!(removed, "cleared the caches of {}", plan.label());
        Ok(())
    }

    fn owner_of_caches(&self, plan: &CommandsPlan) -> Option<String> {
        let test = plan.test.as_ref().filter(|_| !plan.testing.caches.is_empty())?;
        Some(self.cache_scope.test_mounts(&self.spec.namespace, &self.spec.plan.name, test))
    }
}
