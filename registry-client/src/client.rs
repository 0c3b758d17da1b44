//! The calls: digests, configurations, tags, copies and imports.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use reqwest::{Method, StatusCode};

use crate::auth::Auth;
use crate::ca::CaFile;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::{ImageRef, RegistryHost, RepositoryName, Tag};

mod archive;
mod blobs;
mod challenge;
mod copy;
mod import;
mod inspect;
mod reach;
mod retry;
mod transport;

pub use import::Imported;
pub use inspect::{Inspected, InspectedManifest};
pub use reach::is_public;
pub use retry::Patience;

use transport::{Call, Transport};

/// The largest manifest, index or configuration that is read; registries refuse larger manifests too.
pub(crate) const MANIFEST_LIMIT: usize = 4 << 20;
const READ_CONFIG: &str = "read configuration of";
const MAX_TAGS: usize = 20_000;
const TAGS_PER_PAGE: usize = 1000;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Index types first: a tag of a multi-platform image resolves to its index everywhere.
const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A client for any number of registries. It keeps no credentials and no tokens: each call brings its own. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    transport: Arc<Transport>,
}

/// Settings of a [`RegistryClient`].
#[derive(Debug, Clone, Default)]
pub struct RegistryClientBuilder {
    plain_http: HashSet<RegistryHost>,
    named: Option<HashSet<RegistryHost>>,
    trusted: Vec<CaFile>,
    patience: Patience,
}

/// What picks one image of a multi-platform index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, …; any if unset.
    pub variant: Option<String>,
}

/// A manifest or index as the registry holds it.
#[derive(Debug)]
struct RawManifest {
    digest: Digest,
    media_type: String,
    bytes: bytes::Bytes,
}

// === impl RegistryClientBuilder ===

impl RegistryClientBuilder {
    /// Talks plain HTTP to these registries, as it does to loopback ones; to all others it talks TLS.
    #[must_use]
    pub fn plain_http(mut self, hosts: impl IntoIterator<Item = RegistryHost>) -> Self {
        self.plain_http.extend(hosts);
        self
    }

    /// For requests that a user can cause: reads go to these hosts and to public addresses only, also where a registry names a
    /// token server or redirects, and through no proxy.
    #[must_use]
    pub fn public_or(mut self, hosts: impl IntoIterator<Item = RegistryHost>) -> Self {
        self.named.get_or_insert_default().extend(hosts);
        self
    }

    /// Trusts certificates that these sign, as it does those that the system's CAs do.
    #[must_use]
    pub fn trust(mut self, files: impl IntoIterator<Item = CaFile>) -> Self {
        self.trusted.extend(files);
        self
    }

    /// How long calls are tried again that may succeed later. For metadata: blobs are sent and mounted once.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The client.
    pub fn build(self) -> Result<RegistryClient, RegistryError> {
        let transport = Transport::new(self.plain_http, self.named, self.trusted, self.patience)?;
        Ok(RegistryClient { transport: Arc::new(transport) })
    }
}

// === impl RegistryClient ===

impl RegistryClient {
    /// A client with settings.
    pub fn builder() -> RegistryClientBuilder {
        RegistryClientBuilder::default()
    }

    /// Whether a registry is reached without TLS: loopback ones, and those that were named.
    pub fn is_plain_http(&self, host: &RegistryHost) -> bool {
        self.transport.is_plain(host)
    }

    /// The digest that an image's tag (or digest) resolves to; `None` if the registry doesn't have it.
    pub async fn resolve_digest(&self, image: &ImageRef, auth: &Auth) -> Result<Option<Digest>, RegistryError> {
        let call = manifest_call("resolve digest of", Method::HEAD, image, auth);
        let response = match self.transport.send_checked(&call).await {
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            // The few registries that don't do HEAD answer 405 or a bare 400.
            Err(RegistryError::Status { status: StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST, .. }) => {
                return Ok(self.manifest(image, auth).await?.map(|manifest| manifest.digest));
            }
            other => other?,
        };
        let header = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let Some(digest) = header.and_then(|text| text.parse::<Digest>().ok()) else {
            return Ok(self.manifest(image, auth).await?.map(|manifest| manifest.digest));
        };
        match image.digest() {
            Some(expected) if *expected != digest => Err(call.mismatch(expected.clone(), digest)),
            _ => Ok(Some(digest)),
        }
    }

    /// An image's configuration, of the given platform if the image has several; `None` if the registry has no such image.
    pub async fn config(
        &self,
        image: &ImageRef,
        platform: &Platform,
        auth: &Auth,
    ) -> Result<Option<ImageConfiguration>, RegistryError> {
        let malformed = |error| RegistryError::Protocol {
            operation: READ_CONFIG,
            target: image.to_string(),
            problem: format!("its configuration is malformed: {error}"),
        };
        let bytes = self.config_bytes(image, platform, auth).await?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(malformed)).transpose()
    }

    /// The same as it is stored, with what Docker keeps there beyond the OCI specification (`OnBuild`).
    pub async fn config_bytes(
        &self,
        image: &ImageRef,
        platform: &Platform,
        auth: &Auth,
    ) -> Result<Option<bytes::Bytes>, RegistryError> {
        let Some(mut raw) = self.manifest(image, auth).await? else {
            return Ok(None);
        };
        let protocol = |problem| RegistryError::Protocol { operation: READ_CONFIG, target: image.to_string(), problem };
        if raw.is_index() {
            let index: ImageIndex = raw.parse().map_err(protocol)?;
            let Some(chosen) = platform.choose(&index) else {
                let wanted = format!("{}/{}", platform.os, platform.architecture);
                return Err(protocol(format!("it has no image for {wanted}")));
            };
            let digest = chosen.parse().map_err(|problem| protocol(format!("its index is malformed: {problem}")))?;
            let Some(child) = self.manifest(&image.with_digest(digest), auth).await? else {
                return Err(protocol("its index names a manifest that is missing".to_owned()));
            };
            raw = child;
        }
        let manifest: ImageManifest = raw.parse().map_err(protocol)?;
        self.config_of(image, &manifest, auth).await.map(Some)
    }

    /// The configuration that a manifest names.
    async fn config_of(
        &self,
        image: &ImageRef,
        manifest: &ImageManifest,
        auth: &Auth,
    ) -> Result<bytes::Bytes, RegistryError> {
        let protocol = |problem| RegistryError::Protocol { operation: READ_CONFIG, target: image.to_string(), problem };
        let digest: Digest = manifest
            .config()
            .digest()
            .to_string()
            .parse()
            .map_err(|problem| protocol(format!("its manifest is malformed: {problem}")))?;
        let call = Call {
            path: format!("{}/blobs/{digest}", image.repository()),
            accept: None,
            ..manifest_call(READ_CONFIG, Method::GET, image, auth)
        };
        let bytes = self.transport.fetch(&call, MANIFEST_LIMIT).await?.bytes;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(call.mismatch(digest, actual));
        }
        Ok(bytes)
    }

    /// A repository's tags, as the registry orders them; none if there is no such repository.
    pub async fn list_tags(
        &self,
        registry: &RegistryHost,
        repository: &RepositoryName,
        auth: &Auth,
    ) -> Result<Vec<Tag>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            // Distribution writes null for a repository that lost its last tag.
            tags: Option<Vec<Tag>>,
        }
        let image = ImageRef::new(registry.clone(), repository.clone());
        let mut tags: Vec<Tag> = Vec::new();
        loop {
            let last = tags.last().map_or_else(String::new, |tag| format!("&last={tag}"));
            let call = Call {
                path: format!("{repository}/tags/list?n={TAGS_PER_PAGE}{last}"),
                accept: None,
                ..manifest_call("list tags of", Method::GET, &image, auth)
            };
            let answer = match self.transport.fetch(&call, MANIFEST_LIMIT).await {
                Err(RegistryError::NotFound { .. }) => return Ok(tags),
                other => other?,
            };
            let page: Page = serde_json::from_slice(&answer.bytes)
                .map_err(|error| call.protocol(format!("malformed list: {error}")))?;
            let page = page.tags.unwrap_or_default();
            // A page that doesn't move on would be asked for again and again.
            let done = page.is_empty() || page.last() == tags.last() || !answer.headers.contains_key("link");
            tags.extend(page);
            if done {
                return Ok(tags);
            }
            if tags.len() > MAX_TAGS {
                return Err(call.protocol(format!("more than {MAX_TAGS} tags")));
            }
        }
    }

    /// The repositories whose names begin so (`namespace/`), in the registry's order.
    pub async fn list_repositories(
        &self,
        registry: &RegistryHost,
        prefix: &str,
        auth: &Auth,
    ) -> Result<Vec<RepositoryName>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        // The list is sorted, so it is entered just before the first that may be meant, and left after the last.
        let (mut last, mut found, mut read) = (prefix.to_owned(), Vec::new(), 0);
        loop {
            let call = Call {
                operation: "list repositories of",
                method: Method::GET,
                target: registry.to_string(),
                host: registry,
                path: format!("_catalog?n={TAGS_PER_PAGE}&last={last}"),
                accept: None,
                scope: "registry:catalog:*".to_owned(),
                auth,
                body: None,
            };
            let answer = self.transport.fetch(&call, MANIFEST_LIMIT).await?;
            let page: Page = serde_json::from_slice(&answer.bytes)
                .map_err(|error| call.protocol(format!("malformed list: {error}")))?;
            let page = page.repositories.unwrap_or_default();
            let more = answer.headers.contains_key("link") && page.last().is_some_and(|name| *name > last);
            read += page.len();
            let done = !more || page.last().is_some_and(|name| !name.starts_with(prefix));
            last = page.last().cloned().unwrap_or_default();
            found.extend(page.iter().filter(|name| name.starts_with(prefix)).filter_map(|name| name.parse().ok()));
            if done {
                return Ok(found);
            }
            if read > MAX_TAGS {
                return Err(call.protocol(format!("more than {MAX_TAGS} repositories")));
            }
        }
    }

    async fn manifest(&self, image: &ImageRef, auth: &Auth) -> Result<Option<RawManifest>, RegistryError> {
        let call = manifest_call("read manifest of", Method::GET, image, auth);
        let answer = match self.transport.fetch(&call, MANIFEST_LIMIT).await {
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let digest = Digest::of(&answer.bytes);
        if let Some(expected) = image.digest()
            && *expected != digest
        {
            return Err(call.mismatch(expected.clone(), digest));
        }
        let header = answer.headers.get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = header.unwrap_or(OCI_MANIFEST).split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Some(RawManifest { digest, media_type, bytes: answer.bytes }))
    }

    /// Writes a manifest under the reference's digest or tag.
    async fn put_manifest(
        &self,
        image: &ImageRef,
        media_type: &str,
        bytes: bytes::Bytes,
        auth: &Auth,
    ) -> Result<(), RegistryError> {
        let call = Call {
            scope: format!("repository:{}:pull,push", image.repository()),
            body: Some((media_type, bytes)),
            ..manifest_call("push manifest of", Method::PUT, image, auth)
        };
        self.transport.send_checked(&call).await.map(drop)
    }
}

// === impl RawManifest ===

impl RawManifest {
    fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.bytes).map_err(|error| format!("its manifest is malformed: {error}"))
    }
}

// === impl Platform ===

impl Platform {
    /// The digest of the manifest for this platform.
    fn choose(&self, index: &ImageIndex) -> Option<String> {
        let matches = |descriptor: &&oci_spec::image::Descriptor| {
            descriptor.platform().as_ref().is_some_and(|platform| {
                platform.os().to_string() == self.os
                    && platform.architecture().to_string() == self.architecture
                    && (self.variant.is_none() || *platform.variant() == self.variant)
            })
        };
        index.manifests().iter().find(matches).map(|descriptor| descriptor.digest().to_string())
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

fn manifest_call<'a>(operation: &'static str, method: Method, image: &'a ImageRef, auth: &'a Auth) -> Call<'a> {
    Call {
        operation,
        method,
        target: image.to_string(),
        host: image.registry(),
        path: format!("{}/manifests/{}", image.repository(), image.manifest_reference()),
        accept: Some(ACCEPT_MANIFESTS),
        scope: format!("repository:{}:pull", image.repository()),
        auth,
        body: None,
    }
}

/// Blobs by digest, with their sizes: what a manifest needs besides itself.
type BlobSet = BTreeMap<Digest, u64>;
