//! Why a build that failed lacks something: the rule that leaves a file out of the context, the tags that an image has.

use std::path::Path;

use slipway_context::tree::{Directory, MAX_ENCODED, Node};
use slipway_context::{Digest, Rules};
use slipway_manifest::plan::BuildPlan;

use super::Pipeline;
use super::failure::Failure;
use super::skip::{TAG_PREFIX, file_name};
use crate::buildkit;
use crate::jobs::spec::BuildRoots;
use crate::registry::BaseImages;
use crate::store::Blobs;

const DOCKERIGNORE: &str = ".dockerignore";
/// The largest ignore file that is looked into, in bytes.
const MAX_IGNORE: u64 = 1 << 20;

impl Pipeline {
    /// A build that failed, with what can be found out about it.
    pub(super) async fn build_failed(
        &self,
        build: &BuildPlan,
        roots: &BuildRoots,
        bases: &BaseImages,
        source: buildkit::Error,
        tail: String,
    ) -> Failure {
        let message = source.to_string();
        let hint = match ignored(&message, build, roots, &self.blobs) {
            None => self.cancel.run_until_cancelled(self.tags(&message, bases)).await.flatten(),
            known => known,
        };
        let (tail, hint) = (tail.into_boxed_str(), hint.map(String::into_boxed_str));
        Failure::Build { service: build.service.clone(), source, tail, hint }
    }

    /// For a base image that is not there: the tags that are most like its own.
    async fn tags(&self, message: &str, bases: &BaseImages) -> Option<String> {
        let name = missing_image(message)?;
        let image = bases.reference(&self.spec.namespace, name).ok()?;
        let tag = image.tag()?;
        let near = bases.nearest_tags(&self.spec.namespace, &image, TAG_PREFIX).await?;
        let repository = image.repository();
        // Then it is something else that failed.
        if near.contains(tag) || near.is_empty() && !message.contains("not found") {
            return None;
        }
        if near.is_empty() {
            return Some(format!("`{repository}` has no tag at all on {}: is its name right?", image.registry()));
        }
        let near: Vec<_> = near.iter().map(|tag| format!("`{tag}`")).collect();
        Some(format!("`{repository}` has no tag `{tag}`; it has {}", near.join(", ")))
    }
}

/// For the failure of a COPY or ADD from the context: which line of which ignore file leaves its source out, if one does.
fn ignored(message: &str, build: &BuildPlan, roots: &BuildRoots, blobs: &Blobs) -> Option<String> {
    let path = missing_path(message)?;
    let own = format!("{}{DOCKERIGNORE}", file_name(build));
    let (name, text) = match file(blobs, &roots.dockerfile, &own) {
        Some(text) => (own, text),
        None => (DOCKERIGNORE.to_owned(), file(blobs, &roots.context, DOCKERIGNORE)?),
    };
    let rules = Rules::from_text(Path::new(&name), &text).ok()?;
    // What lies below a folder that is missing is named by the instruction.
    let below = format!("{path}/");
    let words = marked(message).flat_map(str::split_whitespace).map(|word| word.trim_start_matches(['.', '/']));
    let mut paths = std::iter::once(path).chain(words.filter(|word| word.starts_with(&below)));
    let (path, (pattern, file, line)) = paths.find_map(|path| Some((path, rules.ignoring(path)?)))?;
    Some(format!("`{path}` is left out by `{pattern}` ({}:{line}): `!{path}` after it lets it in", file.display()))
}

/// The path, relative to the context, of which `BuildKit` says that it is not there (`cache/contenthash/checksum.go`). Not
/// where the excerpt in front of the message says that it comes from another stage or image.
fn missing_path(message: &str) -> Option<&str> {
    if marked(message).any(|line| line.contains("from=")) {
        return None;
    }
    let (_, said) = message.split_once("failed to calculate checksum of ref ")?;
    let path = match said.split_once(": \"/") {
        Some((_, path)) => path.split_once("\": not found")?.0,
        // Engines before v0.14 name the first folder that is missing, and where they looked.
        None => said.split_once("buildkit-mount")?.1.split_once('/')?.1.split_once(": ")?.0,
    };
    Some(path.trim_end_matches('/')).filter(|path| !path.is_empty())
}

/// The image that `BuildKit` can't find: an engine that doesn't find it on a mirror says what happened at its registry, which
/// need not be that it isn't there.
fn missing_image(message: &str) -> Option<&str> {
    let (_, said) = message.split_once("failed to resolve source metadata for ")?;
    said.split_once(": ").map(|(image, _)| image)
}

/// The lines of the Dockerfile that failed, as the excerpt in front of the message marks them.
fn marked(message: &str) -> impl Iterator<Item = &str> {
    message.lines().filter_map(|line| line.split_once("| >>> ").map(|(_, line)| line))
}

/// A small file at the top of a tree.
fn file(blobs: &Blobs, root: &Digest, name: &str) -> Option<Vec<u8>> {
    let directory = Directory::decode(&blobs.read_all(root, MAX_ENCODED as u64).ok()?).ok()?;
    let Node::File { digest, chunked: false, .. } = &directory.get(name)?.node else { return None };
    blobs.read_all(digest, MAX_IGNORE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_read_from_what_the_engine_says() {
        let said =
            "failed to resolve source metadata for 127.0.0.1:7701/dev/base:2: 127.0.0.1:7701/dev/base:2: not found";
        assert_eq!(missing_image(said), Some("127.0.0.1:7701/dev/base:2"));
        assert_eq!(missing_image("failed to solve: x: not found"), None);
    }

    #[test]
    fn the_path_is_read_from_what_the_engine_says() {
        let said = "Dockerfile:2\n   1 |     FROM x\n   2 | >>> COPY dist/app /\nfailed to compute cache key: failed to calculate \
                    checksum of ref 6a::b7: \"/dist/app\": not found";
        assert_eq!(missing_path(said), Some("dist/app"));
        assert_eq!(missing_path(&said.replace("COPY ", "COPY --from=build ")), None);
        assert_eq!(missing_path(&said.replace("COPY ", "RUN --mount=type=bind,from=build,target=/d ")), None);
        let old = "failed to calculate checksum of ref r7::vr: failed to walk /var/lib/buildkit-mount390/dist: lstat \
                   /var/lib/buildkit-mount390/dist: no such file or directory";
        assert_eq!(missing_path(old), Some("dist"));
        assert_eq!(missing_path("failed to solve: \"/x\": not found"), None);
        assert_eq!(missing_path("failed to calculate checksum of ref a: something else"), None);
    }
}
