//! Caches in folders here that builds take steps' results from.

use std::path::Path;

use anyhow::Result;
use slipway_context::Digest;
use slipway_manifest::options::{Cache, CacheKind};
use slipway_manifest::plan::Plan;

use super::folder;
use crate::layout::Layout;
use crate::output;

/// More paths than the service lets a root be narrowed to.
const MAX_FILES: usize = 2000;

/// The plan without those that are not there, as the first build of a pipeline has none; of the others it is said what
/// exactly is taken. `root` is the manifest's.
pub(crate) fn resolve(mut plan: Plan, root: &Path) -> Plan {
    for build in &mut plan.builds {
        let service = &build.service;
        build.options.cache_from.retain_mut(|cache| {
            let Some(path) = cache.folder().filter(|_| cache.kind == CacheKind::Local) else { return true };
            match find(&Layout::new(folder(root, path)), cache) {
                Ok(digest) => {
                    cache.set_digest(&digest.to_string());
                    true
                }
                Err(problem) => {
                    output::warn(format_args!("a cache of service `{service}` is left out: {problem:#}"));
                    false
                }
            }
        });
    }
    plan
}

fn find(layout: &Layout, cache: &Cache) -> Result<Digest> {
    let digest = match cache.digest() {
        Some(digest) => digest.parse()?,
        None => layout.find(cache.tag())?,
    };
    layout.files(&digest)?;
    Ok(digest)
}

/// The folder, and the files in it that the cache needs; none: all.
pub(super) fn files(root: &Path, cache: &Cache) -> Option<(Layout, Vec<String>)> {
    let layout = Layout::new(folder(root, cache.folder().filter(|_| cache.kind == CacheKind::Local)?));
    let files = cache.digest().and_then(|digest| layout.files(&digest.parse().ok()?).ok());
    Some((layout, files.filter(|files| files.len() <= MAX_FILES).unwrap_or_default()))
}
