//! `ImageService`.

use slipway_proto::v1 as api;
use slipway_proto::v1::image_service_server::ImageService;
use slipway_registry_client::Tag;
use tonic::{Request, Response, Status};

use super::convert::namespace;
use super::status::internal;
use super::{State, open};
use crate::registry::Action;

/// References in one request.
const MAX_IMAGES: usize = 1000;

pub(super) struct Images(pub(super) State);

#[tonic::async_trait]
impl ImageService for Images {
    async fn resolve(
        &self,
        request: Request<api::ResolveImagesRequest>,
    ) -> Result<Response<api::ResolveImagesResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = namespace(&request.namespace)?;
        if !caller.may_use(&namespace) {
            return Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")));
        }
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
            // Only our registry's images of the caller's own namespace and the global one: nothing else is ours to tell.
            let owner = image.repository().namespace();
            let visible = registry.holds(&image)
                && (owner == Some(namespace.as_str()) || owner == Some(registry.global_namespace().as_str()));
            let digest = if visible {
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
}
