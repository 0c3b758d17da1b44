//! What an image is, and its end.

use std::fmt::Display;

use oci_spec::image::{ImageIndex, ImageManifest};
use reqwest::{Method, StatusCode};

use super::{DOCKER_LIST, OCI_INDEX, RawManifest, RegistryClient, manifest_call};
use crate::auth::Auth;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::ImageRef;

/// More than any index names.
const MAX_MANIFESTS: usize = 200;
const OPERATION: &str = "inspect";
/// What BuildKit puts on the descriptor of an attestation (`docs/attestations/attestation-storage.md`): that it is one, and the
/// digest of the manifest that it is about.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// What it puts on the descriptor of each statement: what that says, as a URL (in-toto attestation specification, `predicateType`).
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// An image as the registry has it.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Of its manifest or index.
    pub digest: Digest,
    /// Of the same.
    pub media_type: String,
    /// One, or those of the index in its order.
    pub manifests: Vec<InspectedManifest>,
}

/// One manifest.
#[derive(Debug, Clone)]
pub struct InspectedManifest {
    /// Its digest.
    pub digest: Digest,
    /// `os/architecture[/variant]`; none where nobody says it.
    pub platform: Option<String>,
    /// Bytes of its configuration and layers.
    pub size: u64,
    /// The number of its layers.
    pub layers: usize,
    /// It attests to another one, and is no image.
    pub attestation: Option<Attestation>,
    /// The image's configuration, JSON as it is stored; none of an attestation.
    pub config: Option<bytes::Bytes>,
}

/// Statements about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The digest of the image's manifest, as the index says it; empty where it doesn't.
    pub of: String,
    /// What each statement is, such as `https://slsa.dev/provenance/v1`; those that don't say it are left out.
    pub predicate_types: Vec<String>,
}

impl RegistryClient {
    /// What the image is; `None` if the registry has none.
    pub async fn inspect(&self, image: &ImageRef, auth: &Auth) -> Result<Option<Inspected>, RegistryError> {
        let Some(root) = self.manifest(image, auth).await? else { return Ok(None) };
        let protocol = |problem| RegistryError::Protocol { operation: OPERATION, target: image.to_string(), problem };
        let mut manifests = Vec::new();
        if root.is_index() {
            let index: ImageIndex = root.parse().map_err(protocol)?;
            if index.manifests().len() > MAX_MANIFESTS {
                return Err(protocol(format!("its index names more than {MAX_MANIFESTS} manifests")));
            }
            for descriptor in index.manifests() {
                let digest =
                    descriptor.digest().to_string().parse().map_err(|problem| protocol(format!("{problem}")))?;
                let annotations = descriptor.annotations().as_ref();
                let attestation = annotations.filter(|annotations| annotations.contains_key(REFERENCE_TYPE));
                let attests_to =
                    attestation.map(|annotations| annotations.get(REFERENCE_DIGEST).cloned().unwrap_or_default());
                let platform = descriptor
                    .platform()
                    .as_ref()
                    .filter(|_| attests_to.is_none())
                    .map(|platform| written(platform.os(), platform.architecture(), platform.variant().as_deref()));
                let Some(raw) = self.manifest(&image.with_digest(digest), auth).await? else {
                    return Err(protocol("its index names a manifest that is missing".to_owned()));
                };
                manifests.push(self.inspect_manifest(image, &raw, platform, attests_to, auth).await?);
            }
        } else {
            manifests.push(self.inspect_manifest(image, &root, None, None, auth).await?);
        }
        Ok(Some(Inspected { digest: root.digest, media_type: root.media_type, manifests }))
    }

    async fn inspect_manifest(
        &self,
        image: &ImageRef,
        raw: &RawManifest,
        platform: Option<String>,
        attests_to: Option<String>,
        auth: &Auth,
    ) -> Result<InspectedManifest, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Config {
            os: Option<String>,
            architecture: Option<String>,
            variant: Option<String>,
        }
        let protocol = |problem| RegistryError::Protocol { operation: OPERATION, target: image.to_string(), problem };
        let manifest: ImageManifest = raw.parse().map_err(protocol)?;
        let size =
            manifest.config().size() + manifest.layers().iter().map(oci_spec::image::Descriptor::size).sum::<u64>();
        let config = match attests_to {
            Some(_) => None,
            None => Some(self.config_of(image, &manifest, auth).await?),
        };
        let statements = manifest.layers().iter();
        let predicate_types =
            || statements.filter_map(|layer| layer.annotations().as_ref()?.get(PREDICATE_TYPE).cloned()).collect();
        let attestation = attests_to.map(|of| Attestation { of, predicate_types: predicate_types() });
        let of_config = || {
            let config: Config = serde_json::from_slice(config.as_deref()?).ok()?;
            Some(written(&config.os?, &config.architecture?, config.variant.as_deref()))
        };
        let platform = platform.or_else(of_config);
        let layers = manifest.layers().len();
        Ok(InspectedManifest { digest: raw.digest.clone(), platform, size, layers, attestation, config })
    }

    /// Removes an image: with a digest, the manifest and all tags that name it; else the tag alone, which not every registry
    /// does: false where it doesn't.
    pub async fn delete(&self, image: &ImageRef, auth: &Auth) -> Result<bool, RegistryError> {
        let mut call = manifest_call("delete", Method::DELETE, image, auth);
        call.scope = format!("repository:{}:pull,delete", image.repository());
        match self.transport.send_checked(&call).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Status {
                status: StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED,
                ..
            }) if image.digest().is_none() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A platform as Dockerfiles name it.
fn written(os: impl Display, architecture: impl Display, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

impl Inspected {
    /// Whether it is an index.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }
}
