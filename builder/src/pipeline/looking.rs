//! Where base images are looked up: what is configured, and what the engine itself uses.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::buildkit::{Address, mirrors};
use crate::config::Config;
use crate::registry::mirrors::Mirrors;
use crate::registry::{BaseImages, Registry};

/// Finds the engine's mirrors when they are needed first, and again as long as the engine doesn't tell them.
#[derive(Debug)]
pub struct Looking {
    registry: Arc<Registry>,
    set: Mirrors,
    engine: Address,
    found: Mutex<Option<Arc<BaseImages>>>,
}

// === impl Looking ===

impl Looking {
    /// With these settings; they have been checked.
    pub fn new(config: &Config, registry: Arc<Registry>) -> Self {
        let set = Mirrors::parse(&config.registry.mirrors).unwrap_or_default();
        Self { registry, set, engine: config.engine().address, found: Mutex::default() }
    }

    /// Finds nothing; for jobs that never ask.
    #[cfg(test)]
    pub(crate) fn nowhere(data_dir: &std::path::Path) -> Self {
        let config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
        let registry = Registry::open(&config.registry, data_dir).unwrap();
        Self::new(&config, Arc::new(registry))
    }

    /// What looks at base images.
    pub async fn get(&self) -> Result<Arc<BaseImages>, slipway_registry_client::RegistryError> {
        let mut found = self.found.lock().await;
        if let Some(found) = &*found {
            return Ok(found.clone());
        }
        let told = mirrors::discover(&self.engine).await;
        let complete = told.is_some();
        let engine = Mirrors::parse(&told.unwrap_or_default()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the engine has a mirror that is not understood");
            Mirrors::default()
        });
        let bases = Arc::new(BaseImages::new(self.registry.clone(), self.set.clone().or(engine))?);
        if complete {
            *found = Some(bases.clone());
        }
        Ok(bases)
    }
}
