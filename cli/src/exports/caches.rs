//! Caches that builds leave in folders here.

use std::path::Path;

use anyhow::{Context as _, Result};
use slipway_manifest::options::CacheKind;
use slipway_manifest::plan::Plan;
use slipway_proto::v1::BuildExported;

use super::fetch::fetch_export;
use crate::client::Client;
use crate::error::Usage;
use crate::layout::Layout;
use crate::output;
use crate::roots::folder;

/// As the service names what it is.
const KIND: &str = "cache";

/// Where they go.
#[derive(Debug, Default)]
pub(crate) struct LocalCaches(Vec<(String, u32, Layout)>);

impl LocalCaches {
    /// Those of the plan; `root` is the manifest's.
    pub(crate) fn of(plan: &Plan, root: &Path) -> Self {
        let mut caches = Vec::new();
        for build in &plan.builds {
            // As the service numbers the results of a build.
            for (index, cache) in (build.options.outputs.len()..).zip(&build.options.cache_to) {
                let Some(path) = cache.folder().filter(|_| cache.kind == CacheKind::Local) else { continue };
                caches.push((build.service.to_string(), index as u32, Layout::new(folder(root, path))));
            }
        }
        Self(caches)
    }

    /// Makes their folders: no build need take its time to find that one can't be.
    pub(crate) fn create(&self) -> Result<(), Usage> {
        self.0.iter().try_for_each(|(service, _, layout)| {
            let dir = layout.dir().display();
            layout.create().map_err(|error| Usage::new(format!("the cache of `{service}` in {dir}: {error}")))
        })
    }

    /// Brings what builds have left.
    pub(crate) async fn fetch(self, client: &Client, job: &str, exported: &[BuildExported]) -> Result<()> {
        for (service, index, layout) in self.0 {
            let is_it =
                |export: &&BuildExported| export.kind == KIND && (&export.service, export.index) == (&service, index);
            let Some(export) = exported.iter().find(is_it) else { continue };
            let dir = layout.dir().display().to_string();
            fetch_export(client, job, export, move |archive| layout.add(archive))
                .await
                .with_context(|| format!("bring the cache of {service} to {dir}"))?;
            output::note(format_args!("cache of `{service}` to {dir}: {}", output::size(export.bytes)));
        }
        Ok(())
    }
}

/// Takes them out of the plan: nobody is here to fetch them.
pub(crate) fn leave_out(plan: &mut Plan) {
    for build in &mut plan.builds {
        let before = build.options.cache_to.len();
        build.options.cache_to.retain(|cache| cache.kind != CacheKind::Local);
        if build.options.cache_to.len() < before {
            output::warn(format_args!(
                "--detach leaves nobody here to take the local cache of `{}`: it is left out",
                build.service
            ));
        }
    }
}
