//! Which variables have which value, at one place of a Dockerfile.

use std::collections::BTreeMap;

use super::expand::{Unresolved, Value, expand};

/// Variables of the global scope, or of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Without a value: hidden.
    values: BTreeMap<String, Option<String>>,
    /// Those that the image keeps: set by ENV.
    image: BTreeMap<String, Option<String>>,
    /// There may be others, of a base image.
    open: bool,
    /// What a copy costs, in bytes at most.
    size: usize,
}

/// What a variable costs, its name and value aside.
const VARIABLE: usize = 100;

/// Set by `BuildKit` before the first line; those of the engine's own platform can't be known.
const HIDDEN: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

// === impl Scope ===

impl Scope {
    /// Before the first line.
    pub(super) fn global(platform: Option<&str>, args: &BTreeMap<String, Option<String>>) -> Self {
        let mut values: BTreeMap<String, Option<String>> =
            HIDDEN.into_iter().map(|name| (name.to_owned(), None)).collect();
        // Only the spellings that have no other.
        let known = platform.and_then(|platform| match platform {
            "linux/amd64" => Some("amd64"),
            "linux/arm64" => Some("arm64"),
            _ => None,
        });
        if let (Some(platform), Some(arch)) = (platform, known) {
            for (name, value) in [("TARGETPLATFORM", platform), ("TARGETOS", "linux"), ("TARGETARCH", arch)] {
                values.insert(name.to_owned(), Some(value.to_owned()));
            }
        }
        for (name, value) in &mut values {
            if let Some(given) = args.get(name) {
                value.clone_from(given);
            }
        }
        Self { values, ..Self::default() }
    }

    /// At the start of a stage from an image that we can't look into, or from nothing.
    pub(super) fn of_image(scratch: bool) -> Self {
        let path = ("PATH".to_owned(), None);
        Self { values: BTreeMap::from([path.clone()]), image: BTreeMap::from([path]), open: !scratch, size: 0 }
    }

    /// At the start of a stage from another one.
    pub(super) fn inherited(&self) -> Self {
        let mut next = self.clone();
        if self.open {
            // What ARG had set is set again by the image's environment, if that has it.
            for (name, value) in &mut next.values {
                if !self.image.contains_key(name) {
                    *value = None;
                }
            }
        }
        next.values.extend(self.image.clone());
        next
    }

    pub(super) fn lookup(&self, name: &str) -> Value {
        match self.values.get(name) {
            Some(Some(value)) => Value::Set(value.clone()),
            Some(None) => Value::Hidden,
            None if self.open => Value::Hidden,
            None => Value::Unset,
        }
    }

    pub(super) fn expand(&self, word: &str, escape: char) -> Result<String, Unresolved> {
        expand(word, escape, &|name| self.lookup(name))
    }

    /// What a copy costs.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// By ARG.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.size += VARIABLE + name.len() + value.as_ref().map_or(0, String::len);
        self.values.insert(name.to_owned(), value);
    }

    /// By ENV.
    pub(super) fn set_env(&mut self, name: &str, value: Option<String>) {
        self.size += VARIABLE + name.len() + value.as_ref().map_or(0, String::len);
        self.image.insert(name.to_owned(), value.clone());
        self.set(name, value);
    }

    /// Anything may have been set.
    pub(super) fn forget(&mut self) {
        self.open = true;
        self.image.clear();
        self.values.clear();
        self.size = 0;
    }
}
