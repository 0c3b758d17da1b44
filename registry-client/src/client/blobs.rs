//! Pushing and mounting blobs, over `oci-client`.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, Result as OciResult};
use oci_spec::distribution::Reference;
use reqwest::Method;

use super::transport::{Call, Transport};
use crate::auth::Auth;
use crate::ca::CaFile;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::{ImageRef, RegistryHost, RepositoryName};

/// What a call without a body may take.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// The slowest upload that isn't given up.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;

/// Blob calls to one repository, with credentials for it.
pub(super) struct Blobs {
    client: oci_client::Client,
    registry: RegistryHost,
    repository: RepositoryName,
}

// === impl Blobs ===

impl Blobs {
    /// Prepares calls to the image's repository; `scope` is all that they will need.
    pub(super) async fn new(
        transport: &Transport,
        image: &ImageRef,
        scope: String,
        auth: &Auth,
    ) -> Result<Self, RegistryError> {
        let call = Call {
            operation: "log in to push to",
            method: Method::GET,
            target: image.to_string(),
            host: image.registry(),
            path: String::new(),
            accept: None,
            scope,
            auth,
            body: None,
        };
        let auth = transport.authorize(&call).await?;
        let protocol = if transport.is_plain(image.registry()) { ClientProtocol::Http } else { ClientProtocol::Https };
        // One request per blob: a stream of chunks costs a round trip each, and registries differ in how they take them.
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            extra_root_certificates: transport.trusted().iter().map(CaFile::for_oci_client).collect(),
            connect_timeout: Some(Duration::from_secs(10)),
            user_agent: concat!("slipway/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = oci_client::Client::try_from(config).map_err(|error| blob_error("set up", image)(error))?;
        // The client keeps the first credentials it sees for a host; this one lives for one import or copy only.
        let reference = reference(image.registry(), image.repository());
        client.store_auth_if_needed(reference.resolve_registry(), &auth.for_oci_client()).await;
        Ok(Self { client, registry: image.registry().clone(), repository: image.repository().clone() })
    }

    /// Whether the repository has this blob.
    pub(super) async fn exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let image = self.reference();
        let call = self.client.blob_exists(&image, digest.as_str());
        self.bounded("look for blob", digest, CALL_TIMEOUT, call).await
    }

    /// Pushes a blob; the registry checks it against its digest.
    pub(super) async fn push<S>(&self, digest: &Digest, size: u64, content: S) -> Result<(), RegistryError>
    where
        S: Stream<Item = OciResult<Bytes>> + Send + 'static,
    {
        let image = self.reference();
        let call = self.client.push_blob_stream(&image, content, digest.as_str(), Some(size));
        let limit = CALL_TIMEOUT + Duration::from_secs(size / MIN_BYTES_PER_SECOND);
        self.bounded("push blob", digest, limit, call).await.map(drop)
    }

    /// Makes a blob of another repository of the same registry one of this repository, without moving its bytes.
    pub(super) async fn mount(&self, digest: &Digest, from: &RepositoryName) -> Result<(), RegistryError> {
        let (image, source) = (self.reference(), reference(&self.registry, from));
        let call = self.client.mount_blob(&image, &source, digest.as_str());
        self.bounded("mount blob", digest, CALL_TIMEOUT, call).await
    }

    async fn bounded<T>(
        &self,
        operation: &'static str,
        digest: &Digest,
        limit: Duration,
        call: impl Future<Output = OciResult<T>>,
    ) -> Result<T, RegistryError> {
        let target = format!("{}/{}@{digest}", self.registry, self.repository);
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(blob_error(operation, &target)(error)),
            Err(_) => Err(RegistryError::Timeout { operation, target, seconds: limit.as_secs() }),
        }
    }

    fn reference(&self) -> Reference {
        reference(&self.registry, &self.repository)
    }
}

fn reference(registry: &RegistryHost, repository: &RepositoryName) -> Reference {
    Reference::with_tag(registry.to_string(), repository.to_string(), "latest".to_owned())
}

fn blob_error(operation: &'static str, target: &impl ToString) -> impl FnOnce(OciDistributionError) -> RegistryError {
    let target = target.to_string();
    move |error| {
        let denied = match &error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. } => true,
            OciDistributionError::RequestError(source) => {
                source.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403))
            }
            _ => false,
        };
        if denied {
            return RegistryError::Denied { operation, target, message: String::new() };
        }
        RegistryError::Blob { operation, target, source: Box::new(error) }
    }
}
