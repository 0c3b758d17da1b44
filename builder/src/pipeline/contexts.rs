//! Named contexts of a build: where BuildKit finds what the Dockerfile names.

use std::fmt::Display;

use slipway_manifest::options::NamedContext;
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::ImageRef;

use super::input::Before;

/// Where a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An image: one of a registry, or by digest that of a build before.
    Image(ImageRef),
    /// What the engine fetches.
    Remote(String),
    /// A tree of the session.
    Local,
}

/// The places of a build's named contexts, by name; `reference` resolves an image's name. Fails with what can't be resolved.
pub(super) fn resolve<E: Display>(
    build: &BuildPlan,
    before: &Before,
    reference: impl Fn(&str) -> Result<ImageRef, E>,
) -> Result<Vec<(String, Place)>, String> {
    let contexts = build.options.contexts.iter();
    contexts.map(|(name, context)| Ok((name.clone(), place(name, context, before, &reference)?))).collect()
}

/// The place of one of them.
pub(super) fn place<E: Display>(
    name: &str,
    context: &NamedContext,
    before: &Before,
    reference: impl Fn(&str) -> Result<ImageRef, E>,
) -> Result<Place, String> {
    Ok(match context {
        NamedContext::Image(image) => Place::Image(reference(image).map_err(|error| format!("{image}: {error}"))?),
        NamedContext::Service(service) => Place::Image(
            before.pinned(service).cloned().ok_or_else(|| format!("`{name}` is `{service}`, which is not built"))?,
        ),
        NamedContext::Remote(url) => Place::Remote(url.clone()),
        NamedContext::Directory(_) => Place::Local,
    })
}

/// Attributes of the frontend (`BuildKit`, `frontend/dockerui/namedcontext.go`).
pub(super) fn attributes(places: Vec<(String, Place)>) -> impl Iterator<Item = (String, String)> {
    places.into_iter().map(|(name, place)| {
        let value = match place {
            Place::Image(image) => format!("docker-image://{image}"),
            // As a context's own name it is understood; here what stands before a colon has to be a protocol.
            Place::Remote(url) if url.starts_with("github.com/") => format!("https://{url}"),
            Place::Remote(url) => url,
            Place::Local => format!("local:{}", local_name(&name)),
        };
        (format!("context:{name}"), value)
    })
}

/// What the session calls a named context's tree: none of its own directories is called so.
pub(super) fn local_name(name: &str) -> String {
    format!("named-{name}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use slipway_manifest::ServiceName;
    use slipway_manifest::options::OptionKey;

    use super::*;
    use crate::pipeline::input::tests::plain_build;

    #[test]
    fn each_kind_is_found_where_it_is() {
        let mut build = plain_build("app");
        for text in [
            "a=docker-image://x:1",
            "b=service:base",
            "c=https://git.example/c.git",
            "d=../lib",
            "e=github.com/o/r.git#v1",
        ] {
            build.options.set(OptionKey::Context, text).unwrap();
        }
        let reference = |name: &str| format!("reg.example/dev/{name}").parse::<ImageRef>();
        let unbuilt = resolve(&build, &Before::default(), reference).unwrap_err();
        assert!(unbuilt.contains("`base`"), "{unbuilt}");
        let mut before = Before::default();
        let pinned: ImageRef = format!("reg.example/dev/base@sha256:{}", "1".repeat(64)).parse().unwrap();
        before.add(&ServiceName::new("base").unwrap(), &pinned, Vec::new()).unwrap();
        let found: BTreeMap<_, _> = attributes(resolve(&build, &before, reference).unwrap()).collect();
        let expected = [
            ("context:a", "docker-image://reg.example/dev/x:1"),
            ("context:b", &format!("docker-image://{pinned}")),
            ("context:c", "https://git.example/c.git"),
            ("context:d", "local:named-d"),
            ("context:e", "https://github.com/o/r.git#v1"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
