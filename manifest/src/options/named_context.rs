//! Named contexts: what a Dockerfile finds under a name in `FROM`, `COPY --from` and `--mount from=`, as
//! `docker buildx build --build-context` has them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidOption;
use crate::{names::ServiceName, reference};

const MAX_PATH: usize = 4096;
const IMAGE: &str = "docker-image://";
/// Compose's word, and that of bake.
const SERVICE: [&str; 2] = ["service:", "target:"];
/// BuildKit reads Dockerfiles with what it finds under these names: a context must not take their place.
const FRONTENDS: [&str; 2] = ["docker/dockerfile", "dockerfile.v0"];
/// Names that BuildKit gives another meaning.
const RESERVED: [&str; 3] = ["scratch", "context", "dockerfile"];
/// What BuildKit fetches by itself (`util/gitutil/git_ref.go`).
const REMOTE: [&str; 4] = ["https://", "http://", "git://", "github.com/"];

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NamedContext {
    /// An image, by its reference.
    Image(String),
    /// The image of a service of the same manifest, which is built before.
    Service(ServiceName),
    /// What the engine fetches: the URL of a git repository or of an archive.
    Remote(String),
    /// A folder of the client's.
    Directory(String),
}

impl FromStr for NamedContext {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        if text.is_empty() || text.len() > MAX_PATH || text.contains(char::is_control) {
            return Err(InvalidOption(format!("`{}` is no context", text.escape_debug())));
        }
        if let Some(image) = text.strip_prefix(IMAGE) {
            reference::parse(image).map_err(|error| InvalidOption(error.to_string()))?;
            return Ok(Self::Image(image.to_owned()));
        }
        if let Some(service) = SERVICE.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            return ServiceName::sanitised(service)
                .map(Self::Service)
                .map_err(|error| InvalidOption(error.to_string()));
        }
        if let Some(rest) = REMOTE.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
                return Err(InvalidOption::new("a URL with a user or a password would be in the job's log"));
            }
            return Ok(Self::Remote(text.to_owned()));
        }
        if text.starts_with("git@") {
            return Err(InvalidOption::new(
                "git over ssh is not supported: write `https://…`, or clone in a RUN step with `--mount=type=ssh`",
            ));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(InvalidOption(format!(
                "`{}://` is not supported: `docker-image://`, `service:`, the URL of a git repository or a folder",
                scheme.escape_debug()
            ))),
            None => Ok(Self::Directory(text.to_owned())),
        }
    }
}

impl fmt::Display for NamedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "{IMAGE}{image}"),
            Self::Service(service) => write!(f, "{}{service}", SERVICE[0]),
            Self::Remote(text) | Self::Directory(text) => f.write_str(text),
        }
    }
}

impl From<NamedContext> for String {
    fn from(context: NamedContext) -> Self {
        context.to_string()
    }
}

impl TryFrom<String> for NamedContext {
    type Error = InvalidOption;

    fn try_from(text: String) -> Result<Self, InvalidOption> {
        text.parse()
    }
}

/// What the engine fetches as a build's context, if that is no folder of the client's.
pub(crate) fn remote(context: &str) -> Result<Option<&str>, InvalidOption> {
    match context.parse()? {
        NamedContext::Directory(_) => Ok(None),
        NamedContext::Remote(_) => Ok(Some(context)),
        NamedContext::Image(_) | NamedContext::Service(_) => {
            Err(InvalidOption(format!("`{}` can only be a named context", context.escape_debug())))
        }
    }
}

/// `NAME=CONTEXT`.
pub(super) fn parse(text: &str) -> Result<(String, NamedContext), InvalidOption> {
    let (name, context) = text.split_once('=').ok_or_else(|| InvalidOption::new("write NAME=CONTEXT"))?;
    // As `FROM` has it. `::` would begin a platform.
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-:@".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(good) || name.contains("::") {
        return Err(InvalidOption(format!(
            "`{}` can't be the name of a context: it is as an image's or a stage's, in small letters",
            name.escape_debug()
        )));
    }
    let name = familiar_name(name);
    if RESERVED.contains(&name.as_str()) || FRONTENDS.iter().any(|frontend| name.starts_with(frontend)) {
        return Err(InvalidOption(format!("`{name}` can't be the name of a context: it is BuildKit's own")));
    }
    Ok((name, context.parse()?))
}

/// A name as BuildKit looks it up among the named contexts: as people write it, without Docker Hub's parts and `:latest`
/// (`frontend/dockerui/namedcontext.go`; `reference.FamiliarString`).
pub fn familiar_name(name: &str) -> String {
    let hub = ["docker.io/", "index.docker.io/"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let other = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let path = match (hub, name.split_once('/')) {
        (None, Some((first, _))) if other(first) => name,
        (hub, _) => {
            let path = hub.unwrap_or(name);
            path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(path)
        }
    };
    path.strip_suffix(":latest").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for (text, written) in [
            ("base=docker-image://debian:12", "docker-image://debian:12"),
            ("base=service:Api", "service:api"),
            ("base=target:api", "service:api"),
            ("src=https://example.com/a.git#main:sub", "https://example.com/a.git#main:sub"),
            ("src=github.com/org/repo.git#v1", "github.com/org/repo.git#v1"),
            ("src=../lib", "../lib"),
            ("docker.io/library/alpine:3=a=b", "a=b"),
        ] {
            let (_, context) = parse(text).unwrap();
            assert_eq!(context.to_string(), written, "{text}");
            assert_eq!(written.parse::<NamedContext>().unwrap(), context);
        }
    }

    #[test]
    fn names_are_those_that_buildkit_looks_up() {
        for (given, name) in [
            ("alpine", "alpine"),
            ("alpine:latest", "alpine"),
            ("docker.io/library/alpine:3", "alpine:3"),
            ("index.docker.io/library/alpine:latest", "alpine"),
            ("library/alpine", "alpine"),
            ("docker.io/team/app:1", "team/app:1"),
            ("reg.example/library/alpine:latest", "reg.example/library/alpine"),
            ("localhost/x:1", "localhost/x:1"),
            ("okteto.dev/base:latest", "okteto.dev/base"),
        ] {
            assert_eq!(familiar_name(given), name, "{given}");
            assert_eq!(parse(&format!("{given}=x")).unwrap().0, name);
        }
    }

    #[test]
    fn what_would_reach_further_is_refused() {
        for (text, problem) in [
            ("base", "NAME=CONTEXT"),
            ("=x", "name of a context"),
            ("Base=x", "in small letters"),
            ("a::linux/amd64=x", "name of a context"),
            ("docker/dockerfile:1=x", "BuildKit's own"),
            ("docker.io/docker/dockerfile=x", "BuildKit's own"),
            ("dockerfile.v0=x", "BuildKit's own"),
            ("scratch=x", "BuildKit's own"),
            ("context=x", "BuildKit's own"),
            ("a=https://me:word@example.com/a.git", "in the job's log"),
            ("a=https://token@example.com", "in the job's log"),
            ("a=", "is no context"),
            ("a=oci-layout://x", "`oci-layout://` is not supported"),
            ("a=docker-image://A B", "invalid image reference"),
            ("a=git@example.com:a.git", "over ssh"),
            ("a=ssh://git@example.com/a.git", "`ssh://` is not supported"),
            ("a=x\ny", "is no context"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
