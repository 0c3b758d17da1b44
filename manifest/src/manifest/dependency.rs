//! `dependencies`.

use std::time::Duration;

use super::{BuildArg, Text};
use crate::problem::Place;

/// Another repository, whose manifest is deployed first. Its texts are expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDependency {
    /// Its key, or the repository's name where it is in a list.
    pub name: String,
    /// Where its key is.
    pub place: Place,
    /// `repository`.
    pub repository: Text,
    /// `manifest`, a path in the repository.
    pub manifest: Option<Text>,
    /// `branch`, or a tag.
    pub branch: Option<Text>,
    /// `variables`, sorted by name; without a value: that of the variable of the same name.
    pub variables: Vec<BuildArg>,
    /// `wait`.
    pub wait: bool,
    /// `timeout`.
    pub timeout: Option<Duration>,
}
