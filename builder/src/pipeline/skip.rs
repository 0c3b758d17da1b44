//! Whether a build is needed at all, and how one that was done is found again.
//!
//! The registry itself remembers: an image's input digest is a tag beside its others, `slipway-<first 40 digits>`, in the
//! repository of its first name. So every service over the same registry finds it, it goes where the image goes, and there
//! is nothing that could disagree with the registry. A namespace's digests hold its name, so that none profits from
//! another's.

use slipway_context::Digest;
use slipway_context::tree::{Directory, MAX_ENCODED, Node};
use slipway_manifest::ServiceName;
use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::BuildSkipped;
use slipway_proto::v1::event::Kind;
use slipway_registry_client::{Digest as ImageDigest, ImageRef, RegistryError, Tag};

use super::input::{Found, InputDigest, Inputs};
use crate::names::Namespace;
use crate::registry::bases::BaseImages;
use crate::registry::{AccessError, Action, PushRefused, Registry};

/// What the tags begin with that name an input digest.
pub const TAG_PREFIX: &str = "slipway-";
/// Digits of the digest in the tag: 160 bits.
const TAG_DIGITS: usize = 40;
/// The largest Dockerfile, as the client has it.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// An image that need not be built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// By digest.
    pub image: ImageRef,
    /// For people.
    pub reason: String,
}

/// Why nothing is done where any image of the name will do.
pub const IS_THERE: &str = "the registry has the image";

/// What is to be done.
#[derive(Debug)]
pub enum Decision {
    /// Nothing: this image is it, which is remembered under this digest.
    Skip(Skipped, Found),
    /// Build, from just these base images; and remember the image under this digest, if there is one.
    Build(Option<Found>),
}

/// Why the registry could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No token.
    #[error(transparent)]
    Access(#[from] AccessError),
}

// === impl Skipped ===

impl Skipped {
    /// What a job says about it.
    pub fn event(&self, service: &ServiceName, names: &[ImageRef]) -> Kind {
        Kind::BuildSkipped(BuildSkipped {
            service: service.to_string(),
            reason: self.reason.clone(),
            image: self.image.to_string(),
            digest: self.image.digest().map(ToString::to_string).unwrap_or_default(),
            names: names.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Whether the image has to be built. `names` are those that it is to have.
pub async fn decide(bases: &BaseImages, inputs: &Inputs<'_>, names: &[ImageRef]) -> Decision {
    let service = &inputs.build.service;
    let found = match inputs.digest(bases).await {
        Ok(found) => found,
        Err(reason) => {
            tracing::info!(build.service = %service, %reason, "`{service}` can't be skipped");
            return Decision::Build(None);
        }
    };
    if inputs.build.no_skip {
        return Decision::Build(Some(found));
    }
    match find(bases.registry(), &found.digest, names).await {
        Ok(Some(image)) => {
            let reason = format!("nothing changed: same inputs as {}", tag(&found.digest));
            Decision::Skip(Skipped { image, reason }, found)
        }
        Ok(None) => Decision::Build(Some(found)),
        Err(error) => {
            tracing::warn!(build.service = %service, %error, "can't ask the registry whether `{service}` can be skipped");
            Decision::Build(Some(found))
        }
    }
}

/// The image as it is under its first name.
pub async fn existing(registry: &Registry, name: &ImageRef) -> Result<Option<ImageRef>, AskError> {
    let auth = registry.client_auth(name, &[Action::Pull])?;
    Ok(registry.client().resolve_digest(name, &auth).await?.map(|digest| pinned(name, digest)))
}

/// The image of these inputs, if the registry has it.
async fn find(registry: &Registry, digest: &InputDigest, names: &[ImageRef]) -> Result<Option<ImageRef>, AskError> {
    let Some(first) = names.first() else { return Ok(None) };
    existing(registry, &first.with_tag(tag(digest))).await
}

/// Gives an image that was found the names that the build is to have. Once the job is accepted, not before: a user who is told
/// to submit again has not asked for anything yet.
pub async fn set_names(
    registry: &Registry,
    build: &BuildPlan,
    image: &ImageRef,
    names: &[ImageRef],
) -> Result<(), AskError> {
    for name in names {
        if !has_name(registry, build, image, name).await? {
            registry.client().copy(image, name, &registry.copy_auth(image, name)?).await?;
        }
    }
    Ok(())
}

/// Whether the image has the name, or needs it not; only asks.
pub async fn has_name(
    registry: &Registry,
    build: &BuildPlan,
    image: &ImageRef,
    name: &ImageRef,
) -> Result<bool, AskError> {
    let there = existing(registry, name).await?;
    let there = there.as_ref().and_then(ImageRef::digest);
    // Where any image of the name will do, the one that is there does.
    Ok(there == image.digest() || build.only_if_missing && there.is_some())
}

/// Remembers an image that was built, unless what it was built from has changed meanwhile. Nothing depends on it.
pub async fn remember(bases: &BaseImages, inputs: &Inputs<'_>, before: InputDigest, image: &ImageRef) {
    let service = &inputs.build.service;
    match inputs.digest(bases).await {
        Ok(after) if after.digest == before => {}
        _ => {
            tracing::info!(build.service = %service, "what `{service}` starts from changed while it was built");
            return;
        }
    }
    let tagged = async {
        let auth = bases.registry().client_auth(image, &[Action::Pull, Action::Push])?;
        Ok::<_, AskError>(bases.registry().client().tag(image, &tag(&before), &auth).await?)
    };
    if let Err(error) = tagged.await {
        tracing::warn!(build.service = %service, %error, "can't remember the image of `{service}`: it will be built again");
    }
}

/// Where the image is pushed; every name must be one that a job of this namespace may push to.
pub fn names(
    registry: &Registry,
    namespace: &Namespace,
    admin: bool,
    names: &[String],
) -> Result<Vec<ImageRef>, NameError> {
    let resolve = |name: &String| {
        let image = registry.image_ref(namespace, name).map_err(|error| NameError::Image(error.to_string()))?;
        registry.allowed_push(namespace, admin, &image).map_err(|source| NameError::Push(Box::new(source)))?;
        Ok(if image.tag().is_none() { image.with_tag(Tag::latest()) } else { image })
    };
    names.iter().map(resolve).collect()
}

/// Why an image can't have a name.
#[derive(Debug)]
pub enum NameError {
    /// It is none.
    Image(String),
    /// It may not be pushed.
    Push(Box<PushRefused>),
}

/// The image by its digest alone: what the variables name.
pub fn pinned(image: &ImageRef, digest: ImageDigest) -> ImageRef {
    ImageRef::new(image.registry().clone(), image.repository().clone()).with_digest(digest)
}

/// The text of the Dockerfile of that name, from a tree whose blobs `read` gives; none where it can't be had.
pub fn dockerfile(name: &str, root: &Digest, read: impl Fn(&Digest, u64) -> Option<Vec<u8>>) -> Option<String> {
    let directory = Directory::decode(&read(root, MAX_ENCODED as u64)?).ok()?;
    // As BuildKit does it.
    let entry = directory.get(name).or_else(|| directory.get("dockerfile").filter(|_| name == "Dockerfile"))?;
    let Node::File { digest, chunked: false, .. } = &entry.node else { return None };
    String::from_utf8(read(digest, MAX_DOCKERFILE)?).ok()
}

/// The Dockerfile's name in its tree.
pub fn file_name(build: &BuildPlan) -> &str {
    let path = std::path::Path::new(&build.dockerfile);
    path.file_name().and_then(|name| name.to_str()).unwrap_or("Dockerfile")
}

#[expect(clippy::expect_used, reason = "letters, digits and a hyphen: always a tag")]
fn tag(digest: &InputDigest) -> Tag {
    format!("{TAG_PREFIX}{}", &digest.hex()[..TAG_DIGITS]).parse().expect("a tag")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use slipway_manifest::plan::{JobKind, Plan};

    use super::*;
    use crate::jobs::spec::BuildRoots;
    use crate::pipeline::input::Before;
    use crate::pipeline::input::tests::plain_build;
    use crate::registry::Config;
    use crate::registry::bases::tests::Server;
    use crate::registry::mirrors::Mirrors;

    #[tokio::test]
    async fn to_decide_changes_nothing_in_the_registry() {
        let server = Server::start().await;
        let config = Config { listen: server.host.parse().unwrap(), ..Config::default() };
        let dir = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
        let bases = BaseImages::new(registry, Mirrors::parse(&BTreeMap::new()).unwrap()).unwrap();
        let build = plain_build("app");
        let plan = Plan { builds: vec![build.clone()], ..Plan::empty(JobKind::Build, "app") };
        let root = Digest::of(b"root");
        let roots = BuildRoots::new(root, Vec::new(), root);
        let (namespace, before, platform) = ("dev".parse().unwrap(), Before::default(), Some("linux/amd64"));
        let (namespace, plan, build, roots, before) = (&namespace, &plan, &build, &roots, &before);
        let (dockerfile, secrets) = ("FROM scratch\n", [].as_slice());
        let inputs = Inputs { namespace, plan, build, roots, dockerfile, platform, before, secrets };
        let name: ImageRef = format!("{}/dev/app:1", server.host).parse().unwrap();
        let decision = decide(&bases, &inputs, std::slice::from_ref(&name)).await;
        let Decision::Skip(skipped, _) = decision else { panic!("{decision:?}") };
        let asked = server.asked();
        assert!(asked.iter().all(|asked| asked.starts_with("HEAD /v2/dev/app/manifests/slipway-")), "{asked:?}");
        // The name is another image's until it is set.
        assert!(
            set_names(bases.registry(), build, &skipped.image, &[name]).await.is_err(),
            "this server takes nothing"
        );
        assert!(server.asked().iter().any(|asked| !asked.starts_with("HEAD ")));
    }
}
