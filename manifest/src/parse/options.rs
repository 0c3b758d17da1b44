//! Options of one image: names and forms are those of the Compose Build Specification.

use super::fields::{self, Fields};
use crate::{
    manifest::{Build, Dependency, Text},
    options::{NamedContext, OptionKey},
    problem::Report,
    yaml::{Entry, Kind, Node, Scalar, ScalarKind},
};

pub(super) fn read(build: &mut Build, fields: &mut Fields<'_>, report: &mut Report) {
    for key in [
        OptionKey::Label,
        OptionKey::Annotation,
        OptionKey::ExtraHost,
        OptionKey::Ulimit,
        OptionKey::Context,
        OptionKey::Ssh,
    ] {
        let name = key.manifest_key();
        if let Some(entry) = fields.take(name) {
            let texts = assignments(key, &entry.value, &fields.name(name), report);
            build.options.extend(texts.into_iter().map(|text| (key, text)));
        }
    }
    for key in [OptionKey::Network, OptionKey::ShmSize, OptionKey::Export] {
        build.options.extend(fields.text(key.manifest_key(), report).map(|text| (key, text)));
    }
    for key in [OptionKey::Pull, OptionKey::Provenance, OptionKey::Sbom] {
        let name = key.manifest_key();
        if let Some(entry) = fields.take(name) {
            build.options.extend(switch(&entry.value, &fields.name(name), report).map(|text| (key, text)));
        }
    }
    // Compose's name is taken, too.
    let caches =
        [("cache_from", OptionKey::CacheFrom), ("export_cache", OptionKey::CacheTo), ("cache_to", OptionKey::CacheTo)];
    for (name, key) in caches {
        if let Some(entry) = fields.take(name) {
            let texts = list(&entry.value, &fields.name(name), report);
            build.options.extend(texts.into_iter().map(|text| (key, text)));
        }
    }
    if let Some(entry) = fields.take("no_cache_filter") {
        let texts = list(&entry.value, &fields.name("no_cache_filter"), report);
        build.options.extend(texts.into_iter().map(|text| (OptionKey::NoCacheFilter, text)));
    }
    for dependency in services(&build.options) {
        if build.depends_on.iter().all(|known| known.service != dependency.service) {
            build.depends_on.push(dependency);
        }
    }
    if let Some(entry) = fields.take("platforms") {
        build.platforms = list(&entry.value, &fields.name("platforms"), report);
    }
}

/// The services whose images are named contexts: they are built before.
fn services(options: &[(OptionKey, Text)]) -> Vec<Dependency> {
    let contexts = options.iter().filter(|(key, _)| *key == OptionKey::Context);
    let services = contexts.filter_map(|(_, text)| match text.value.split_once('=')?.1.parse().ok()? {
        NamedContext::Service(service) => Some(Dependency { service, place: text.place }),
        _ => None,
    });
    services.collect()
}

/// A boolean, however YAML lets one write it, or a text.
fn switch(node: &Node, name: &str, report: &mut Report) -> Option<Text> {
    match node.kind {
        Kind::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) => {
            Some(Text { value: value.to_string(), place: node.place })
        }
        _ => fields::text(node, name, report),
    }
}

/// A text, or a list of them.
pub(super) fn list(node: &Node, name: &str, report: &mut Report) -> Vec<Text> {
    let items = match &node.kind {
        Kind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|item| fields::text(item, name, report)).collect()
}

/// `NAME=value` texts, from a list of them or from a mapping.
fn assignments(key: OptionKey, node: &Node, name: &str, report: &mut Report) -> Vec<Text> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().filter_map(|item| fields::text(item, name, report)).collect(),
        Kind::Mapping(entries) => entries.iter().flat_map(|entry| assignment(key, entry, name, report)).collect(),
        Kind::Scalar(_) => {
            let message = format!("`{name}` must be a mapping or a list of `NAME=value`, not {}", node.describe());
            report.error(node.place, message);
            Vec::new()
        }
    }
}

/// One entry: a text, a host's addresses, or a limit's `{soft: …, hard: …}`.
fn assignment(key: OptionKey, entry: &Entry, name: &str, report: &mut Report) -> Vec<Text> {
    let path = format!("{name}.{}", entry.key);
    let values = match &entry.value.kind {
        Kind::Sequence(items) if key == OptionKey::ExtraHost => {
            items.iter().filter_map(|item| fields::text(item, &path, report)).collect()
        }
        Kind::Mapping(_) if key == OptionKey::Ulimit => limits(&entry.value, path, report).into_iter().collect(),
        _ => Vec::from_iter(fields::text(&entry.value, &path, report)),
    };
    let text = |value: Text| Text { value: format!("{}={}", entry.key, value.value), place: value.place };
    values.into_iter().map(text).collect()
}

/// `{soft: 1024, hard: 2048}`, of `ulimits`.
fn limits(node: &Node, path: String, report: &mut Report) -> Option<Text> {
    let mut fields = Fields::of(node, path, report)?;
    let (soft, hard) = (fields.text("soft", report), fields.text("hard", report));
    let name = fields.name("soft");
    fields.finish(report);
    let Some(soft) = soft else {
        report.error(node.place, format!("`{name}` is missing"));
        return None;
    };
    let hard = hard.map_or_else(|| soft.value.clone(), |hard| hard.value);
    Some(Text { value: format!("{}:{hard}", soft.value), place: node.place })
}
