//! Repository names and tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ReferenceProblem;

/// A repository's path within its registry: components separated by `/`, none of which can be `..` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

// === impl RepositoryName ===

impl RepositoryName {
    /// The longest name that registries take.
    pub const MAX_LENGTH: usize = 255;

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component, if another one follows: the namespace that owns the repository.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(first, _)| first)
    }
}

impl FromStr for RepositoryName {
    type Err = ReferenceProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ReferenceProblem::NoRepository);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(ReferenceProblem::RepositoryLength(text.chars().count()));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceProblem::RepositoryCase);
        }
        match text.split('/').find(|component| !is_component(component)) {
            Some(component) => Err(ReferenceProblem::Component(component.to_owned())),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = ReferenceProblem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Tag ===

impl Tag {
    /// The tag of a reference that names none.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ReferenceProblem::Tag(text.to_owned())) }
    }
}

impl TryFrom<String> for Tag {
    type Error = ReferenceProblem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.split(alphanumeric).all(separator)
}
