//! YAML as yaml.v2 reads it, as a tree in which every node knows its place.
//!
//! `granit-parser` (the event parser beneath `serde-saphyr`) gives the events; deserialising through serde would lose the
//! places of keys and stop at the first problem, and a manifest's author wants all of them at once.

mod continuation;
mod hints;
mod load;
mod node;
mod number;

pub(crate) use load::load;
pub(crate) use node::{Entry, Kind, Node, Scalar, ScalarKind};

/// The largest file that is read.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Collections inside collections, aliases followed.
pub(crate) const MAX_DEPTH: usize = 64;
/// Nodes of a file with its aliases expanded.
pub(crate) const MAX_NODES: usize = 100_000;
/// Text of a file with its aliases expanded.
pub(crate) const MAX_TEXT: usize = 8 * 1024 * 1024;
