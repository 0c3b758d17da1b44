//! The section `external`.

use std::collections::BTreeMap;

use super::fields::Fields;
use crate::{
    manifest::{External, ExternalEndpoint},
    problem::{Place, Report},
    shape,
    yaml::{Entry, Node},
};

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<External> {
    node.entries().iter().filter_map(|entry| external(entry, report)).collect()
}

fn external(entry: &Entry, report: &mut Report) -> Option<External> {
    let fields = Fields::of(&entry.value, &shape::EXTERNAL)?;
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut endpoints = Vec::new();
    for item in fields.items("endpoints") {
        let Some(fields) = Fields::of(item, &shape::EXTERNAL_ENDPOINT) else { continue };
        let Some(name) = fields.text("name") else { continue };
        if let Some(first) = seen.insert(name.value.clone(), name.place) {
            let message = format!(
                "`external.{}` has two endpoints named `{}`, the first on line {}",
                entry.key, name.value, first.line
            );
            report.error_with(name.place, message, Some("rename one of them"));
        }
        endpoints.push(ExternalEndpoint { name, url: fields.text("url") });
    }
    Some(External {
        name: entry.key.clone(),
        place: entry.key_place,
        icon: fields.text("icon"),
        notes: fields.text("notes"),
        endpoints,
    })
}
