//! Options of one image: names and forms are those of the Compose Build Specification.

use super::fields::{self, Fields};
use crate::{
    manifest::{Build, Dependency, Text},
    options::{NamedContext, OptionKey},
    shape,
    yaml::{Entry, Kind, Node, Scalar, ScalarKind},
};

pub(super) fn read(build: &mut Build, fields: Fields<'_>) {
    for key in [
        OptionKey::Label,
        OptionKey::Annotation,
        OptionKey::ExtraHost,
        OptionKey::Ulimit,
        OptionKey::Context,
        OptionKey::Ssh,
    ] {
        if let Some(node) = fields.get(key.manifest_key()) {
            let texts = assignments(key, node);
            build.options.extend(texts.into_iter().map(|text| (key, text)));
        }
    }
    for key in [OptionKey::Network, OptionKey::ShmSize, OptionKey::Export] {
        build.options.extend(fields.text(key.manifest_key()).map(|text| (key, text)));
    }
    for key in [OptionKey::Pull, OptionKey::Provenance, OptionKey::Sbom] {
        build.options.extend(fields.get(key.manifest_key()).and_then(switch).map(|text| (key, text)));
    }
    // Compose's name is taken, too.
    let caches =
        [("cache_from", OptionKey::CacheFrom), ("export_cache", OptionKey::CacheTo), ("cache_to", OptionKey::CacheTo)];
    for (name, key) in caches {
        build.options.extend(fields.texts(name).into_iter().map(|text| (key, text)));
    }
    let filter = fields.texts(OptionKey::NoCacheFilter.manifest_key());
    build.options.extend(filter.into_iter().map(|text| (OptionKey::NoCacheFilter, text)));
    for dependency in services(&build.options) {
        if build.depends_on.iter().all(|known| known.service != dependency.service) {
            build.depends_on.push(dependency);
        }
    }
    build.platforms = fields.texts("platforms");
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
fn switch(node: &Node) -> Option<Text> {
    match node.kind {
        Kind::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) => {
            Some(Text { value: value.to_string(), place: node.place })
        }
        _ => fields::text(node),
    }
}

/// `NAME=value` texts, from a list of them or from a mapping.
fn assignments(key: OptionKey, node: &Node) -> Vec<Text> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().filter_map(fields::text).collect(),
        Kind::Mapping(entries) => entries.iter().flat_map(|entry| assignment(key, entry)).collect(),
        Kind::Scalar(_) => Vec::new(),
    }
}

/// One entry: a text, a host's addresses, or a limit's `{soft: …, hard: …}`.
fn assignment(key: OptionKey, entry: &Entry) -> Vec<Text> {
    let values = match &entry.value.kind {
        Kind::Sequence(items) if key == OptionKey::ExtraHost => items.iter().filter_map(fields::text).collect(),
        Kind::Mapping(_) if key == OptionKey::Ulimit => limits(&entry.value).into_iter().collect(),
        _ => Vec::from_iter(fields::text(&entry.value)),
    };
    let text = |value: Text| Text { value: format!("{}={}", entry.key, value.value), place: value.place };
    values.into_iter().map(text).collect()
}

/// `{soft: 1024, hard: 2048}`, of `ulimits`.
fn limits(node: &Node) -> Option<Text> {
    let fields = Fields::of(node, &shape::ULIMIT)?;
    let soft = fields.text("soft")?;
    let hard = fields.text("hard").map_or_else(|| soft.value.clone(), |hard| hard.value);
    Some(Text { value: format!("{}:{hard}", soft.value), place: node.place })
}
