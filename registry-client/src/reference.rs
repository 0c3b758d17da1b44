//! Image references: `registry[:port]/repository[:tag][@digest]`.
//!
//! Parsing follows Docker's rules: the first component is a registry if it holds a dot or a colon or is `localhost`, anything
//! else is on Docker Hub, where a single component means `library/…`. What comes out is complete: displaying a reference
//! and parsing that again gives the same reference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

mod host;
mod repository;
#[cfg(test)]
mod tests;

pub use host::RegistryHost;
pub use repository::{RepositoryName, Tag};

/// A parsed, normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    registry: RegistryHost,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// A text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{reference}` is not an image reference: {problem}")]
pub struct InvalidReference {
    /// The text.
    pub reference: String,
    /// What is wrong with it.
    pub problem: ReferenceProblem,
}

/// What is wrong with a reference or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceProblem {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// A URL was given.
    #[error("it starts with a URL scheme; leave `{0}://` out")]
    Scheme(String),
    /// Blanks or control characters.
    #[error("it contains a space or control character")]
    Blank,
    /// The registry's host name.
    #[error("the registry host `{0}` is not a host name or address")]
    Host(String),
    /// The registry's port.
    #[error("the registry port `{0}` is not a number from 1 to 65535")]
    Port(String),
    /// There is a registry and nothing else.
    #[error("the repository name is missing")]
    NoRepository,
    /// The repository is too long.
    #[error("the repository name has {0} characters, more than {max}", max = RepositoryName::MAX_LENGTH)]
    RepositoryLength(usize),
    /// The repository has an upper-case letter.
    #[error("the repository name must be lower case")]
    RepositoryCase,
    /// A component of the repository is empty or has a character or separator that it may not have.
    #[error(
        "`{0}` is not a repository component: lower-case letters and digits, separated by one `.`, one or two `_`, or `-`"
    )]
    Component(String),
    /// The tag.
    #[error("the tag `{0}` is not up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`")]
    Tag(String),
    /// The digest's algorithm.
    #[error("the digest algorithm `{0}` is not supported; use sha256")]
    DigestAlgorithm(String),
    /// The digest's form.
    #[error("the digest is not `sha256:` and 64 lower-case hex digits")]
    DigestForm,
}

// === impl ImageRef ===

impl ImageRef {
    /// A reference without tag and digest.
    pub fn new(registry: RegistryHost, repository: RepositoryName) -> Self {
        Self { registry, repository, tag: None, digest: None }
    }

    /// The registry's host, with its port.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The tag, if one is named.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one is named.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository under this tag, without digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// The same reference, tag kept, pinned to this digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same image on another registry (a mirror).
    #[must_use]
    pub fn with_registry(&self, registry: RegistryHost) -> Self {
        Self { registry, ..self.clone() }
    }

    /// What stands for this image in a manifest URL: the digest, else the tag, else `latest`.
    pub fn manifest_reference(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag.as_str(),
            (None, None) => "latest",
        }
    }

    fn parse(text: &str) -> Result<Self, ReferenceProblem> {
        if text.is_empty() {
            return Err(ReferenceProblem::Empty);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ReferenceProblem::Scheme(scheme.to_owned()));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ReferenceProblem::Blank);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if RegistryHost::looks_like_one(first) => (first.parse()?, rest),
            _ => (RegistryHost::docker_hub(), name),
        };
        // A tag's colon comes after the last slash; repository components have none.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.parse()?)),
            _ => (rest, None),
        };
        if path.is_empty() {
            return Err(ReferenceProblem::NoRepository);
        }
        let repository = if registry.is_docker_hub() && !path.contains('/') {
            format!("library/{path}").parse()?
        } else {
            path.parse()?
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

impl FromStr for ImageRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).map_err(|problem| InvalidReference { reference: text.to_owned(), problem })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}
