//! `NAME=value`, in a mapping or in a list.

use std::collections::BTreeMap;

use super::fields;
use crate::{
    manifest::{BuildArg, Text},
    yaml::Node,
};

/// The pairs in the order of the file. In a list, one without `=` has no value.
pub(super) fn read(node: &Node) -> Vec<BuildArg> {
    let mut pairs: Vec<BuildArg> = Vec::new();
    for entry in node.entries() {
        // What has no text was an error already.
        if let Some(value) = fields::text(&entry.value) {
            pairs.push(BuildArg { name: entry.key.clone(), value: Some(value), place: entry.key_place });
        }
    }
    for text in node.items().iter().filter_map(fields::text) {
        pairs.push(match text.value.split_once('=') {
            Some((name, value)) => {
                let value = Text { value: value.to_owned(), place: text.place };
                BuildArg { name: name.to_owned(), value: Some(value), place: text.place }
            }
            None => BuildArg { name: text.value, value: None, place: text.place },
        });
    }
    pairs
}

/// Sorted by name; of a name given twice the last one counts, as in Okteto.
pub(super) fn sorted(pairs: Vec<BuildArg>) -> Vec<BuildArg> {
    let sorted: BTreeMap<String, BuildArg> = pairs.into_iter().map(|pair| (pair.name.clone(), pair)).collect();
    sorted.into_values().collect()
}

/// As name and value, sorted; what has no value is left out.
pub(super) fn known(node: &Node) -> Vec<(String, Text)> {
    sorted(read(node)).into_iter().filter_map(|pair| Some((pair.name, pair.value?))).collect()
}
