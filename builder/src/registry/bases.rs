//! What base images are now: their digests and ONBUILD triggers, from where the engine gets them.
//!
//! Digests are asked for each time: a tag that was pushed again a second ago is another image. What hangs on a digest never
//! changes and is remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_registry_client::{
    Auth, Digest, ImageRef, InvalidReference, Patience, Platform, RegistryClient, RegistryError, Tag,
};

use super::mirrors::Mirrors;
use super::{AccessError, Action, Logins, Registry};
use crate::names::Namespace;

/// For all base images of a build together.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Of each question: what is not known after that is built.
const PATIENCE: Patience = Patience { attempts: 2, total: Duration::from_secs(2) };
/// Tags that are worth naming instead of one that isn't there.
const NEAREST: usize = 5;
/// Configurations remembered.
const REMEMBERED: usize = 10_000;

/// Looks at base images.
#[derive(Debug)]
pub struct BaseImages {
    registry: Arc<Registry>,
    mirrors: Mirrors,
    /// For everything but our registry: a Dockerfile says where it goes, so that only what somebody has named and what is
    /// public is reached.
    client: RegistryClient,
    /// What the caller of one job may see besides; none for what all jobs share.
    logins: Logins,
    triggers: Mutex<HashMap<(Digest, String), bool>>,
}

/// Why nothing can be said about a base image.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] InvalidReference),
    /// Somebody else's.
    #[error("`{0}` is not looked at")]
    Refused(ImageRef),
    /// The engine may take it from elsewhere.
    #[error("where the engine takes `{0}` from is not known: it has not told its mirrors")]
    Mirrors(ImageRef),
    /// It isn't there.
    #[error("no registry has `{0}`")]
    Missing(ImageRef),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No token.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Its configuration is none.
    #[error("`{image}`: its configuration is malformed: {problem}")]
    Config {
        /// The image.
        image: ImageRef,
        /// What is wrong.
        problem: String,
    },
    /// It took too long.
    #[error("no answer about base images within {} s", DEADLINE.as_secs())]
    TooSlow,
}

/// A base image as it is now.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its digest; of the index, if it has one.
    pub digest: Digest,
    /// Where it was found.
    place: Place,
}

/// Where an image may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    image: ImageRef,
    whose: Whose,
}

/// Whose registry a place is, and so as whom it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Ours, which we have a right to.
    Ours,
    /// The one that the image names: as the caller, who may have a login there.
    Named,
    /// A mirror: as anybody may.
    Mirror,
}

/// The part of an image's configuration that we need (Docker image specification).
#[derive(serde::Deserialize)]
struct ImageConfig {
    config: Option<ContainerConfig>,
}

#[derive(serde::Deserialize)]
struct ContainerConfig {
    #[serde(rename = "OnBuild")]
    on_build: Option<Vec<String>>,
}

// === impl BaseImages ===

impl BaseImages {
    /// Over this registry, others through these mirrors.
    pub fn new(registry: Arc<Registry>, mirrors: Mirrors) -> Result<Self, RegistryError> {
        let plain = || registry.plain_http().iter().cloned().chain(mirrors.plain_http());
        let named = mirrors.hosts().chain(plain());
        let trusted = registry.trusted().iter().cloned();
        let client =
            RegistryClient::builder().plain_http(plain()).public_or(named).trust(trusted).patience(PATIENCE).build()?;
        Ok(Self { registry, mirrors, client, logins: Logins::default(), triggers: Mutex::default() })
    }

    /// The same for a job with these logins. What it learns with them stays its own.
    #[must_use]
    pub fn for_caller(self: Arc<Self>, logins: &Logins) -> Arc<Self> {
        if logins.is_empty() {
            return self;
        }
        let (registry, mirrors, client) = (self.registry.clone(), self.mirrors.clone(), self.client.clone());
        Arc::new(Self { registry, mirrors, client, logins: logins.clone(), triggers: Mutex::default() })
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The full reference that a name in a Dockerfile of this namespace means.
    pub fn reference(&self, namespace: &Namespace, name: &str) -> Result<ImageRef, InvalidReference> {
        let image = self.registry.image_ref(namespace, name)?;
        let plain = image.tag().is_none() && image.digest().is_none();
        Ok(if plain { image.with_tag(Tag::latest()) } else { image })
    }

    /// What the image is now, for a job of this namespace.
    pub async fn find(&self, namespace: &Namespace, image: &ImageRef) -> Result<Base, BaseError> {
        let mut failed = None;
        for place in self.places(namespace, image)? {
            let (client, auth) = self.access(&place)?;
            match client.resolve_digest(&place.image, &auth).await {
                Ok(Some(digest)) => return Ok(Base { digest, place }),
                Ok(None) => {}
                // As the engine: the next one may have it.
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or_else(|| BaseError::Missing(image.clone()), BaseError::Registry))
    }

    /// The tags that are most like an image's own, where it may be, without those that begin so; none where nobody can say.
    pub async fn nearest_tags(&self, namespace: &Namespace, image: &ImageRef, without: &str) -> Option<Vec<Tag>> {
        let wanted = image.tag()?.to_string();
        let asking = async {
            let (mut tags, mut answered) = (Vec::new(), false);
            for place in self.places(namespace, image).ok()? {
                let (client, auth) = self.access(&place).ok()?;
                let image = &place.image;
                if let Ok(found) = client.list_tags(image.registry(), image.repository(), &auth).await {
                    answered = true;
                    tags.extend(found.into_iter().filter(|tag| !tag.as_str().starts_with(without)));
                }
            }
            answered.then_some(tags)
        };
        let mut tags = tokio::time::timeout(DEADLINE, asking).await.ok()??;
        tags.sort_by_cached_key(|tag| (strsim::osa_distance(tag.as_str(), &wanted), tag.to_string()));
        tags.dedup();
        tags.truncate(NEAREST);
        Some(tags)
    }

    /// Whether builds that start from it run steps that its own Dockerfile named.
    pub async fn has_triggers(&self, base: &Base, platform: &Platform) -> Result<bool, BaseError> {
        let variant = platform.variant.as_deref().unwrap_or_default();
        let key = (base.digest.clone(), format!("{}/{}/{variant}", platform.os, platform.architecture));
        if let Some(known) = self.triggers.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*known);
        }
        let image = base.place.image.with_digest(base.digest.clone());
        let (client, auth) = self.access(&base.place)?;
        let bytes = client.config_bytes(&image, platform, &auth).await?;
        let bytes = bytes.ok_or_else(|| BaseError::Missing(image.clone()))?;
        let config: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|error| BaseError::Config { image, problem: error.to_string() })?;
        let triggers = config.config.and_then(|config| config.on_build).is_some_and(|triggers| !triggers.is_empty());
        let mut known = self.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, triggers);
        Ok(triggers)
    }

    /// Who asks there, and as whom. Credentials are for our registry under its own name, never for a mirror of another one,
    /// even if that is the same server: there everybody would be given what is one namespace's.
    fn access(&self, place: &Place) -> Result<(&RegistryClient, Auth), AccessError> {
        Ok(match place.whose {
            Whose::Ours => (self.registry.client(), self.registry.client_auth(&place.image, &[Action::Pull])?),
            Whose::Named => (&self.client, self.logins.auth(&place.image)),
            Whose::Mirror => (&self.client, Auth::Anonymous),
        })
    }

    /// Where the image may be, in the engine's order.
    fn places(&self, namespace: &Namespace, image: &ImageRef) -> Result<Vec<Place>, BaseError> {
        if self.registry.holds(image) {
            let owner = image.repository().namespace();
            let ours = [namespace.as_str(), self.registry.global_namespace().as_str()];
            return if owner.is_some_and(|owner| ours.contains(&owner)) {
                Ok(vec![Place { image: image.clone(), whose: Whose::Ours }])
            } else {
                Err(BaseError::Refused(image.clone()))
            };
        }
        let mirrors = self.mirrors.places(image).ok_or_else(|| BaseError::Mirrors(image.clone()))?;
        let mirrors = mirrors.into_iter().map(|image| Place { image, whose: Whose::Mirror });
        Ok(mirrors.chain([Place { image: image.clone(), whose: Whose::Named }]).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests;
