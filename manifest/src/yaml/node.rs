//! The tree.

use super::number;
use crate::problem::Place;

/// A value and where it starts.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) weight: Weight,
}

/// What the node is with everything in it; aliases count each time they are used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    pub(crate) nodes: usize,
    pub(crate) text: usize,
    pub(crate) depth: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: ScalarKind,
}

/// What yaml.v2 takes a scalar for. Where a manifest wants a string it takes what was written, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

impl Node {
    /// The value of a key, for a mapping that has it; `None` also where it is null, which means the same.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    /// The entries of a mapping; of anything else none.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; of anything else none.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The integer that yaml.v2 would decode: one without quotes, also where it is written as a float.
    pub(crate) fn int(&self) -> Option<i64> {
        match &self.kind {
            Kind::Scalar(Scalar { kind: ScalarKind::Int(value), .. }) => Some(*value),
            Kind::Scalar(Scalar { kind: ScalarKind::Float(value), .. }) => number::whole(*value),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }))
    }

    /// What the node is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }) => "nothing",
            Kind::Scalar(Scalar { kind: ScalarKind::Bool(_), .. }) => "a boolean",
            Kind::Scalar(Scalar { kind: ScalarKind::Int(_) | ScalarKind::Float(_), .. }) => "a number",
            Kind::Scalar(Scalar { kind: ScalarKind::Text, .. }) => "a string",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

impl ScalarKind {
    /// By the table of yaml.v2 (YAML 1.1), for a scalar without quotes and without a tag.
    pub(crate) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Self::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Self::Bool(false),
            _ if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => Self::Text,
            _ => {
                number::int(text).map(Self::Int).or_else(|| number::float(text).map(Self::Float)).unwrap_or(Self::Text)
            }
        }
    }
}
