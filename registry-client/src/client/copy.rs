//! Giving an image another name on the same registry: manifests are written again, blobs are mounted.

use std::collections::{BTreeMap, HashSet};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::blobs::Blobs;
use super::{BlobSet, RawManifest, RegistryClient};
use crate::auth::Auth;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::{ImageRef, Tag};

const MAX_MANIFESTS: usize = 1000;

/// Collects an image's manifests, children first, and their blobs.
struct Walk<'a> {
    client: &'a RegistryClient,
    from: &'a ImageRef,
    auth: &'a Auth,
    manifests: Vec<Digest>,
    blobs: BlobSet,
}

impl RegistryClient {
    /// Gives an image one more tag in its repository.
    pub async fn tag(&self, image: &ImageRef, tag: &Tag, auth: &Auth) -> Result<Digest, RegistryError> {
        self.copy(image, &image.with_tag(tag.clone()), auth).await
    }

    /// Makes `to` name the same image as `from`, on the same registry. `auth` must allow pulling from the one and pushing to
    /// the other. No layer is moved.
    pub async fn copy(&self, from: &ImageRef, to: &ImageRef, auth: &Auth) -> Result<Digest, RegistryError> {
        if from.registry() != to.registry() {
            return Err(RegistryError::CopyAcross { from: from.to_string(), to: to.to_string() });
        }
        let Some(root) = self.manifest(from, auth).await? else {
            return Err(RegistryError::NotFound { operation: "copy", target: from.to_string() });
        };
        if from.repository() != to.repository() {
            self.copy_contents(from, to, &root, auth).await?;
        }
        let digest = root.digest;
        let reference = match to.tag() {
            Some(tag) => to.with_tag(tag.clone()),
            None => to.with_digest(digest.clone()),
        };
        self.put_manifest(&reference, &root.media_type, root.bytes, auth).await?;
        Ok(digest)
    }

    /// Everything below the image's own manifest.
    async fn copy_contents(
        &self,
        from: &ImageRef,
        to: &ImageRef,
        root: &RawManifest,
        auth: &Auth,
    ) -> Result<(), RegistryError> {
        let mut walk = Walk { client: self, from, auth, manifests: Vec::new(), blobs: BTreeMap::new() };
        walk.run(root).await?;
        let scope = format!("repository:{}:pull,push repository:{}:pull", to.repository(), from.repository());
        let blobs = Blobs::new(&self.transport, to, scope, auth).await?;
        for digest in walk.blobs.keys() {
            if !blobs.exists(digest).await? {
                blobs.mount(digest, from.repository()).await?;
            }
        }
        // Read again rather than kept: an index may have many, each of some size.
        for digest in walk.manifests {
            let raw = walk_manifest(self, from, &digest, auth).await?;
            self.put_manifest(&to.with_digest(digest), &raw.media_type, raw.bytes, auth).await?;
        }
        Ok(())
    }
}

// === impl Walk ===

impl Walk<'_> {
    /// Parents are noted before their children, each time they are met: of the reverse, the first mention of each counts.
    async fn run(&mut self, root: &RawManifest) -> Result<(), RegistryError> {
        let mut next = self.open(root)?;
        while let Some(digest) = next.pop() {
            if self.manifests.len() >= MAX_MANIFESTS {
                return Err(self.malformed(format!("more than {MAX_MANIFESTS} manifests")));
            }
            let raw = walk_manifest(self.client, self.from, &digest, self.auth).await?;
            next.extend(self.open(&raw)?);
            self.manifests.push(digest);
        }
        self.manifests.reverse();
        let mut seen = HashSet::new();
        self.manifests.retain(|digest| seen.insert(digest.clone()));
        Ok(())
    }

    /// Notes a manifest's blobs, or gives an index's children.
    fn open(&mut self, raw: &RawManifest) -> Result<Vec<Digest>, RegistryError> {
        if raw.is_index() {
            let index: ImageIndex = raw.parse().map_err(|problem| self.malformed(problem))?;
            return index.manifests().iter().map(|child| self.digest(child)).collect();
        }
        let manifest: ImageManifest = raw.parse().map_err(|problem| self.malformed(problem))?;
        for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
            if blob.urls().as_ref().is_none_or(Vec::is_empty) {
                self.blobs.insert(self.digest(blob)?, blob.size());
            }
        }
        Ok(Vec::new())
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, RegistryError> {
        let text = descriptor.digest().to_string();
        text.parse().map_err(|problem| self.malformed(format!("`{text}`: {problem}")))
    }

    fn malformed(&self, problem: String) -> RegistryError {
        RegistryError::Protocol { operation: "copy", target: self.from.to_string(), problem }
    }
}

async fn walk_manifest(
    client: &RegistryClient,
    from: &ImageRef,
    digest: &Digest,
    auth: &Auth,
) -> Result<RawManifest, RegistryError> {
    let image = from.with_digest(digest.clone());
    client
        .manifest(&image, auth)
        .await?
        .ok_or_else(|| RegistryError::NotFound { operation: "copy", target: image.to_string() })
}
