//! Caches outside of the engine.
//!
//! What opens a cache that is in no registry comes from the caller, with the job's secrets, and is given to the engine with the
//! solve; without it nothing is asked for, since the engine would use what its own machine may.
//!
//! What is left in a registry is the namespace's own. What is taken from there is another matter: whoever wrote a cache says
//! what a step gave, and the engine keeps it for everybody whose steps are the same, as COPY and FROM of all namespaces are. So
//! a cache is taken only where an admin trusts all namespaces with that.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slipway_manifest::options::{Cache, CacheKind, Credential, SecretSource};
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::ImageRef;

pub(super) use self::local::LocalCache;
use super::Pipeline;
use super::failure::Failure;
use crate::buildkit::session::content::{Budget, Folder, Layout, Store};
use crate::buildkit::solve::CacheEntry;
use crate::buildkit::{self, Engine, Feature};
use crate::jobs;
use crate::jobs::spec::BuildRoots;
use crate::registry::sources::{authority, reaches_this_machine};

mod local;

/// Attributes of local ones that only the client needs.
const OF_THE_CLIENT: [&str; 3] = ["src", "dest", "tag"];

/// Which caches outside of the engine builds may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExternalCaches {
    /// They may be written, in the namespace's own repositories; none is taken.
    #[default]
    Write,
    /// They may be taken, too.
    Any,
}

/// The caches of one build.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) imports: Vec<CacheEntry>,
    pub(super) exports: Vec<CacheEntry>,
    /// Where exports go: the job needs the right to push there.
    pub(super) pushed: Vec<ImageRef>,
    /// What the session has of local ones.
    pub(super) stores: BTreeMap<String, Store>,
    /// Those that the client fetches.
    pub(super) local: Vec<LocalCache>,
}

impl Caches {
    /// A store that the entry names in this attribute.
    fn add_store(&mut self, entry: &mut CacheEntry, attribute: &str, store: Store) {
        let name = self.stores.len().to_string();
        entry.attrs.insert(attribute.to_owned(), name.clone());
        self.stores.insert(name, store);
    }

    /// Those to be taken of which this engine knows nothing are left out: the build is as good without. Which they were.
    pub(super) fn leave_out(&mut self, engine: &Engine) -> Vec<Feature> {
        let unknown = |entry: &CacheEntry| Some(Feature::Cache(entry.kind)).filter(|feature| engine.lacks(*feature));
        let left_out = self.imports.iter().filter_map(unknown).collect();
        self.imports.retain(|entry| unknown(entry).is_none());
        left_out
    }
}

/// What an engine has to have for such a cache. Those that keep images have those that are images.
pub(super) fn feature(cache: &Cache) -> Option<Feature> {
    match cache.kind {
        CacheKind::Registry | CacheKind::Inline => None,
        CacheKind::Local | CacheKind::S3 | CacheKind::Azblob | CacheKind::Gha => {
            Some(Feature::Cache(cache.kind.as_str()))
        }
    }
}

impl Pipeline {
    /// Whether caches are taken at all.
    pub(super) fn takes_caches(&self) -> bool {
        self.external_caches == ExternalCaches::Any
    }

    /// Whether nothing is made of it, as its client knows.
    pub(super) fn is_left_out(&self, cache: &Cache) -> bool {
        let missing = |credential: &Credential| credential.required && self.value(credential).is_none();
        cache.kind.is_left_out_without_credentials() && cache.kind.credentials().iter().any(missing)
    }

    fn value(&self, credential: &Credential) -> Option<&str> {
        let value = self.secrets.text(&SecretSource::Env(credential.variable.to_owned()));
        value.filter(|value| !value.is_empty())
    }

    /// Those of the build, by names that the engine understands.
    pub(super) fn caches(&self, build: &BuildPlan, roots: &BuildRoots) -> Result<Caches, Failure> {
        let mut caches = Caches::default();
        let options = &build.options;
        if self.takes_caches() {
            let mut layouts = roots.caches.iter().copied();
            for cache in &options.cache_from {
                let image = self.cache_image(build, cache)?;
                let Some(mut entry) = self.entry(build, cache, image.as_ref())? else { continue };
                if cache.kind == CacheKind::Local {
                    // Submitted when none was taken.
                    let Some(root) = layouts.next() else { continue };
                    let layout = Layout::new(root, self.blobs.clone());
                    caches.add_store(&mut entry, "src", Store::Layout(layout));
                }
                caches.imports.push(entry);
            }
        } else if !options.cache_from.is_empty() {
            let service = &build.service;
            self.events.warn_once(format!(
                "`{service}`: `cache_from` is left out: this service takes no caches from elsewhere (its admin can allow it: \
                 jobs.external_caches = \"any\")"
            ));
        }
        let budget = Arc::new(Budget::new(self.max_export_bytes));
        for (index, cache) in options.cache_to.iter().enumerate() {
            let image = self.cache_image(build, cache)?;
            if let Some(image) = &image {
                let refused = |source| Failure::Push { service: build.service.clone(), source: Box::new(source) };
                self.registry.allowed_push(&self.spec.namespace, self.spec.admin, image).map_err(refused)?;
                caches.pushed.push(image.clone());
            }
            let Some(mut entry) = self.entry(build, cache, image.as_ref())? else { continue };
            if image.is_some_and(|image| self.registry.client().is_plain_http(image.registry())) {
                entry.attrs.insert("registry.insecure".to_owned(), "true".to_owned());
            }
            if cache.kind == CacheKind::Local {
                let index = options.outputs.len() + index;
                let archive = jobs::exports::file(&self.exports, build.service.as_str(), index);
                // Another one for each attempt: the one before may still be writing.
                let blobs = archive.with_added_extension(buildkit::random_id());
                let folder = Arc::new(Folder::new(blobs, budget.clone()));
                caches.add_store(&mut entry, "dest", Store::Folder(folder.clone()));
                caches.local.push(LocalCache { index, tag: cache.tag().to_owned(), folder, archive });
            }
            caches.exports.push(entry);
        }
        Ok(caches)
    }

    fn cache_image(&self, build: &BuildPlan, cache: &Cache) -> Result<Option<ImageRef>, Failure> {
        let Some(reference) = &cache.reference else { return Ok(None) };
        let image = self.registry.image_ref(&self.spec.namespace, reference);
        image.map(Some).map_err(|error| Failure::Image(format!("service `{}`: its cache: {error}", build.service)))
    }

    /// As the engine gets it, with what opens it; nothing: it is left out.
    fn entry(&self, build: &BuildPlan, cache: &Cache, image: Option<&ImageRef>) -> Result<Option<CacheEntry>, Failure> {
        if self.is_left_out(cache) {
            return Ok(None);
        }
        let kind = cache.kind.as_str();
        let refused = |problem: String| Failure::Cache { service: build.service.clone(), kind, problem };
        let mut attrs: HashMap<_, _> =
            cache.attributes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if cache.kind == CacheKind::Local {
            attrs.retain(|name, _| !OF_THE_CLIENT.contains(&name.as_str()));
        }
        attrs.extend(image.map(|image| ("ref".to_owned(), image.to_string())));
        for credential in cache.kind.credentials() {
            match self.value(credential) {
                Some(value) => drop(attrs.insert(credential.attribute.to_owned(), value.to_owned())),
                None if credential.required => {
                    let variable = credential.variable;
                    return Err(refused(format!("the variable `{variable}` was not set where it was asked for")));
                }
                None => {}
            }
        }
        for url in Cache::URLS.iter().filter_map(|name| attrs.get(*name)) {
            let allowed = self.cache_hosts.iter().any(|host| Some(host.as_str()) == authority(url));
            if reaches_this_machine(url) && !allowed {
                return Err(refused(format!("`{url}` leads to the engine's own machine, or may")));
            }
        }
        Ok(Some(CacheEntry { kind, attrs }))
    }
}
