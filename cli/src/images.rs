//! The images of a plan as the registry has them now.

use anyhow::{Context as _, Result};
use slipway_manifest::plan::BuildPlan;
use slipway_manifest::{ImageEnv, Plan, ServiceName};
use slipway_proto::v1::{ResolveImagesRequest, ResolvedImage};

use crate::client::{LONG_CALL, Patience, timed};
use crate::error::Usage;
use crate::session::Session;

/// Which images there are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The variables of those that exist.
    pub(crate) env: ImageEnv,
    /// Services without an image, and the reference that was looked for.
    pub(crate) missing: Vec<(ServiceName, String)>,
}

/// Looks for the images of all builds of a plan.
pub(crate) async fn find(session: &Session, plan: &Plan) -> Result<Found> {
    let mut found = Found::default();
    let mut rest: &[BuildPlan] = &plan.builds;
    // One request for as many as can be named at once: a name may depend on an image before it, but hardly any does.
    while !rest.is_empty() {
        let ready = rest.iter().position(|build| !is_named(build)).unwrap_or(rest.len()).max(1);
        let (now, later) = rest.split_at(ready);
        let mut names = Vec::with_capacity(now.len());
        for build in now {
            let images = build.images(&plan.name, &found.env);
            let images = images.map_err(|error| Usage::new(format!("image of `{}`: {error}", build.service)))?;
            names.extend(images.into_iter().next());
        }
        let resolved = resolve(session, names.clone()).await?;
        for ((build, name), image) in now.iter().zip(names).zip(resolved) {
            if image.digest.is_empty() {
                found.missing.push((build.service.clone(), name));
            } else {
                let image = pinned(&image.image, &image.digest);
                found.env.extend(&build.service, &image).context("read an image's reference")?;
            }
        }
        rest = later;
    }
    Ok(found)
}

fn is_named(build: &BuildPlan) -> bool {
    build.image.as_ref().is_none_or(|image| image.complete().is_some())
}

async fn resolve(session: &Session, images: Vec<String>) -> Result<Vec<ResolvedImage>> {
    let client = &session.client;
    let count = images.len();
    let request = ResolveImagesRequest { namespace: session.namespace.clone(), images };
    let call = || {
        let (mut images, request) = (client.images(), timed(request.clone(), LONG_CALL));
        async move { images.resolve(request).await }
    };
    let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    if answer.images.len() != count {
        return Err(client.malformed("not one answer for each image").into());
    }
    Ok(answer.images)
}

/// A reference by digest alone, as the variables hold it: `host:1/a/b:tag` becomes `host:1/a/b@sha256:…`.
fn pinned(image: &str, digest: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name.get(last..).and_then(|last| last.find(':')).map_or(name.len(), |colon| last + colon);
    format!("{}@{digest}", name.get(..end).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_reference_has_no_tag() {
        for (image, name) in [
            ("h:1/a/b:t", "h:1/a/b"),
            ("h:1/a/b", "h:1/a/b"),
            ("h/a:t@sha256:1", "h/a"),
            ("localhost:5000/x", "localhost:5000/x"),
        ] {
            assert_eq!(pinned(image, "sha256:2"), format!("{name}@sha256:2"));
        }
    }
}
