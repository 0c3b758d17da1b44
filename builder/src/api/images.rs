//! `ImageService`.

use futures::{StreamExt as _, TryStreamExt as _};
use slipway_proto::v1 as api;
use slipway_proto::v1::image_service_server::ImageService;
use slipway_registry_client::{Auth, Digest, ImageRef, RegistryError, Tag};
use tonic::{Request, Response, Status};

use super::convert::namespace;
use super::status::internal;
use super::{State, open};
use crate::auth::Caller;
use crate::names::Namespace;
use crate::pipeline::skip::{TAG_PREFIX, pinned};
use crate::registry::Action;

/// References in one request.
const MAX_IMAGES: usize = 1000;
/// Tags in one list.
const MAX_LISTED: usize = 5000;
/// Questions to the registry at a time.
const AT_A_TIME: usize = 8;

pub(super) struct Images(pub(super) State);

#[tonic::async_trait]
impl ImageService for Images {
    async fn resolve(
        &self,
        request: Request<api::ResolveImagesRequest>,
    ) -> Result<Response<api::ResolveImagesResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = own(&caller, &request.namespace)?;
        if request.images.len() > MAX_IMAGES {
            return Err(Status::invalid_argument(format!("more than {MAX_IMAGES} images")));
        }
        let registry = &self.0.registry;
        let mut images = Vec::with_capacity(request.images.len());
        for text in &request.images {
            let image =
                registry.image_ref(&namespace, text).map_err(|error| Status::invalid_argument(error.to_string()))?;
            let image =
                if image.tag().is_none() && image.digest().is_none() { image.with_tag(Tag::latest()) } else { image };
            let digest = if self.visible(&namespace, &image).is_ok() {
                let auth = registry.client_auth(&image, &[Action::Pull]).map_err(|error| internal(&error))?;
                registry.client().resolve_digest(&image, &auth).await.map_err(|error| internal(&error))?
            } else {
                None
            };
            let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
            images.push(api::ResolvedImage { image: image.to_string(), digest });
        }
        Ok(Response::new(api::ResolveImagesResponse { images }))
    }

    async fn list(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> Result<Response<api::ListImagesResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = own(&caller, &request.namespace)?;
        let registry = &self.0.registry;
        let repositories = if request.repository.is_empty() {
            let names = registry.repositories(&namespace).await.map_err(|error| internal(&error))?;
            names.ok_or_else(|| {
                Status::failed_precondition(
                    "an external registry lists no repositories: name one (`image list REPOSITORY`)",
                )
            })?
        } else {
            let image = registry.repository(&namespace, &request.repository);
            vec![image.map_err(|error| Status::invalid_argument(error.to_string()))?]
        };
        let mut names = Vec::new();
        for repository in repositories {
            self.visible(&namespace, &repository)?;
            let auth = registry.client_auth(&repository, &[Action::Pull]).map_err(|error| internal(&error))?;
            let tags = registry.client().list_tags(repository.registry(), repository.repository(), &auth).await;
            let mut tags = tags.map_err(|error| internal(&error))?;
            tags.retain(|tag| request.all || !tag.as_str().starts_with(TAG_PREFIX));
            tags.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
            names.extend(tags.into_iter().map(|tag| (repository.with_tag(tag), auth.clone())));
            if names.len() > MAX_LISTED {
                let message = format!("more than {MAX_LISTED} tags: name a repository (`image list REPOSITORY`)");
                return Err(Status::resource_exhausted(message));
            }
        }
        let resolve = |(image, auth): (ImageRef, Auth)| async move {
            let digest = registry.client().resolve_digest(&image, &auth).await?;
            let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
            Ok(api::ResolvedImage { image: image.to_string(), digest })
        };
        let images = futures::stream::iter(names.into_iter().map(resolve)).buffered(AT_A_TIME);
        let mut images: Vec<_> = images.try_collect().await.map_err(|error: RegistryError| internal(&error))?;
        // Some may have gone meanwhile.
        images.retain(|image| !image.digest.is_empty());
        Ok(Response::new(api::ListImagesResponse { images }))
    }

    async fn show(&self, request: Request<api::ShowImageRequest>) -> Result<Response<api::ShowImageResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = own(&caller, &request.namespace)?;
        let image = self.image(&namespace, &request.image)?;
        let registry = &self.0.registry;
        let auth = registry.client_auth(&image, &[Action::Pull]).map_err(|error| internal(&error))?;
        let found = registry.client().inspect(&image, &auth).await.map_err(|error| internal(&error))?;
        let found = found.ok_or_else(|| no_image(&image))?;
        let manifests = found.manifests.into_iter().map(|manifest| {
            let attestation = manifest.attestation.is_some();
            let (attests_to, predicate_types) =
                manifest.attestation.map(|found| (found.of, found.predicate_types)).unwrap_or_default();
            api::ImageManifest {
                digest: manifest.digest.to_string(),
                platform: manifest.platform.unwrap_or_default(),
                size: manifest.size,
                layers: u32::try_from(manifest.layers).unwrap_or(u32::MAX),
                attestation,
                config: manifest.config.map(|config| config.to_vec()).unwrap_or_default(),
                attests_to,
                predicate_types,
            }
        });
        Ok(Response::new(api::ShowImageResponse {
            image: image.to_string(),
            digest: found.digest.to_string(),
            media_type: found.media_type,
            manifests: manifests.collect(),
        }))
    }

    async fn delete(
        &self,
        request: Request<api::DeleteImageRequest>,
    ) -> Result<Response<api::DeleteImageResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = own(&caller, &request.namespace)?;
        let image = self.image(&namespace, &request.image)?;
        let registry = &self.0.registry;
        let allowed = registry.allowed_push(&namespace, caller.admin, &image);
        allowed.map_err(|error| Status::permission_denied(error.to_string()))?;
        let auth = registry.client_auth(&image, &[Action::Pull, Action::Delete]).map_err(|error| internal(&error))?;
        let client = registry.client();
        let digest = client.resolve_digest(&image, &auth).await.map_err(|error| internal(&error))?;
        let digest = digest.ok_or_else(|| no_image(&image))?;
        if image.digest().is_none() {
            let others = self.other_names(&image, &digest, &auth).await.map_err(|error| internal(&error))?;
            if let Some(first) = others.first() {
                let untagged = client.delete(&image, &auth).await.map_err(|error| internal(&error))?;
                if untagged {
                    return Ok(Response::new(api::DeleteImageResponse { image: image.to_string() }));
                }
                return Err(Status::failed_precondition(format!(
                    "it is also `{first}`{}, and the registry removes no single tag: `{}` removes it with all its tags",
                    if others.len() > 1 { " and others" } else { "" },
                    pinned(&image, digest)
                )));
            }
        }
        let image = pinned(&image, digest);
        client.delete(&image, &auth).await.map_err(|error| internal(&error))?;
        Ok(Response::new(api::DeleteImageResponse { image: image.to_string() }))
    }
}

impl Images {
    /// Only our registry's images of the caller's own namespace and the global one: nothing else is ours to tell.
    fn visible(&self, namespace: &Namespace, image: &ImageRef) -> Result<(), Status> {
        let (registry, owner) = (&self.0.registry, image.repository().namespace());
        let ours = owner == Some(namespace.as_str()) || owner == Some(registry.global_namespace().as_str());
        if registry.holds(image) && ours { Ok(()) } else { Err(no_image(image)) }
    }

    fn image(&self, namespace: &Namespace, text: &str) -> Result<ImageRef, Status> {
        let image = self.0.registry.image_ref(namespace, text);
        let image = image.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.visible(namespace, &image)?;
        Ok(if image.tag().is_none() && image.digest().is_none() { image.with_tag(Tag::latest()) } else { image })
    }

    /// Other tags of an image, but for those that the service keeps for itself.
    async fn other_names(&self, image: &ImageRef, digest: &Digest, auth: &Auth) -> Result<Vec<Tag>, RegistryError> {
        let client = self.0.registry.client();
        let mut tags = client.list_tags(image.registry(), image.repository(), auth).await?;
        tags.retain(|tag| image.tag() != Some(tag) && !tag.as_str().starts_with(TAG_PREFIX));
        let resolve = |tag: Tag| async move {
            let found = client.resolve_digest(&image.with_tag(tag.clone()), auth).await?;
            Ok::<_, RegistryError>((tag, found))
        };
        let found: Vec<_> =
            futures::stream::iter(tags.into_iter().map(resolve)).buffered(AT_A_TIME).try_collect().await?;
        Ok(found.into_iter().filter(|(_, found)| found.as_ref() == Some(digest)).map(|(tag, _)| tag).collect())
    }
}

fn no_image(image: &ImageRef) -> Status {
    Status::not_found(format!("there is no image {image}"))
}

fn own(caller: &Caller, name: &str) -> Result<Namespace, Status> {
    let namespace = namespace(name)?;
    if caller.may_use(&namespace) {
        return Ok(namespace);
    }
    Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")))
}
