//! The section `external`.

use std::collections::BTreeMap;

use super::fields::Fields;
use crate::{
    manifest::{External, ExternalEndpoint, Text},
    names::is_variable_name,
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
        // Okteto takes an empty name for one as good as others.
        let name = fields.text("name").unwrap_or_else(|| Text { value: String::new(), place: item.place });
        if let Some(first) = seen.insert(name.value.clone(), name.place) {
            let message = format!(
                "`external.{}` has two endpoints named `{}`, the first on line {}",
                entry.key, name.value, first.line
            );
            report.error_with(name.place, message, Some("rename one of them"));
        }
        endpoints.push(ExternalEndpoint { name, url: fields.text("url") });
    }
    let external = External {
        name: entry.key.clone(),
        place: entry.key_place,
        icon: fields.text("icon"),
        notes: fields.text("notes"),
        endpoints,
    };
    check_variables(&external, report);
    Some(external)
}

/// Commands find an endpoint by a variable: there must be one, and it must be the endpoint's own.
fn check_variables(external: &External, report: &mut Report) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    // What comes from a variable is not known yet.
    for name in external.endpoints.iter().map(|endpoint| &endpoint.name).filter(|name| !name.value.contains('$')) {
        let variable = external.variable(&name.value);
        let owner = format!("`external.{}`", external.name);
        if !is_variable_name(&variable) {
            let message =
                format!("{owner}: `{variable}`, which is to hold the URL of `{}`, can't be a variable", name.value);
            let hint = "name both with letters, digits, `-`, `_` and spaces";
            report.error_with(name.place, message, Some(hint));
        } else if name.value.is_empty() {
            let message = format!("{owner} has an endpoint without a name: its URL is in `{variable}`");
            report.warn_with(name.place, message, Some("write `name: …`"));
        } else if let Some(other) = seen.insert(variable.clone(), &name.value).filter(|other| *other != name.value) {
            let message = format!("{owner}: `{variable}` holds the URL of `{}`, and not that of `{other}`", name.value);
            report.warn_with(name.place, message, Some("rename one of them"));
        }
    }
}
