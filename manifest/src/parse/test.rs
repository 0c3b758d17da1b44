//! The `test` section.

use std::net::IpAddr;

use super::{
    deploy,
    fields::{self, Fields},
    options,
};
use crate::{
    manifest::{Artifact, Test, TestHost, Text},
    problem::Report,
    yaml::{Entry, Kind, Node},
};

/// Tests of one manifest.
const MAX_TESTS: usize = 256;

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Test> {
    let Kind::Mapping(entries) = &node.kind else {
        let hint = "name each test: `test:`, then `  unit:`, then `    commands:`";
        report.error_with(node.place, format!("`test` must be a mapping, not {}", node.describe()), Some(hint));
        return Vec::new();
    };
    if let Some(entry) = entries.get(MAX_TESTS) {
        report.error(entry.key_place, format!("`test` has more than {MAX_TESTS} tests"));
    }
    entries.iter().take(MAX_TESTS).filter_map(|entry| test(entry, report)).collect()
}

fn test(entry: &Entry, report: &mut Report) -> Option<Test> {
    let path = format!("test.{}", entry.key);
    if entry.value.is_null() {
        report.error_with(entry.key_place, format!("`{path}` is empty"), Some("give it `commands:`, a list"));
        return None;
    }
    let mut fields = Fields::of(&entry.value, path.clone(), report)?;
    let has_commands = fields.has("commands");
    let test = Test {
        name: entry.key.clone(),
        place: entry.key_place,
        image: fields.text("image", report),
        context: fields.text("context", report),
        commands: deploy::commands_of(&mut fields, report),
        depends_on: texts(&mut fields, "depends_on", report),
        caches: texts(&mut fields, "caches", report),
        artifacts: artifacts(&mut fields, report),
        hosts: hosts(&mut fields, report),
        skip_if_no_file_changes: fields.boolean("skipIfNoFileChanges", report).unwrap_or_default(),
    };
    fields.finish(report);
    if !has_commands || (test.commands.is_empty() && !report.has_errors()) {
        report.error_with(entry.key_place, format!("`{path}` has no commands"), Some("a test has at least one"));
    }
    Some(test)
}

fn texts(fields: &mut Fields<'_>, key: &'static str, report: &mut Report) -> Vec<Text> {
    let Some(entry) = fields.take(key) else { return Vec::new() };
    let mut texts = options::list(&entry.value, &fields.name(key), report);
    texts.retain(|text| !text.value.is_empty());
    texts
}

/// The items of a field that must be a list.
fn items<'n>(fields: &mut Fields<'n>, key: &'static str, report: &mut Report) -> &'n [Node] {
    let Some(entry) = fields.take(key) else { return &[] };
    if let Kind::Sequence(items) = &entry.value.kind {
        return items;
    }
    let message = format!("`{}` must be a list, not {}", fields.name(key), entry.value.describe());
    report.error_with(entry.value.place, message, Some("put `- ` before each entry"));
    &[]
}

/// Paths, or `{path, destination}`.
fn artifacts(fields: &mut Fields<'_>, report: &mut Report) -> Vec<Artifact> {
    let name = fields.name("artifacts");
    let items = items(fields, "artifacts", report).iter().enumerate();
    let artifact = |(index, item): (usize, &Node)| {
        let path = format!("{name}[{index}]");
        let mut artifact = match &item.kind {
            Kind::Mapping(_) => {
                let mut fields = Fields::of(item, path.clone(), report)?;
                let (path, destination) = (fields.text("path", report), fields.text("destination", report));
                fields.finish(report);
                path.map(|path| Artifact { path, destination })
            }
            _ => Some(Artifact { path: fields::text(item, &path, report)?, destination: None }),
        };
        artifact = artifact.filter(|artifact| !artifact.path.value.is_empty());
        if artifact.is_none() {
            report.error(item.place, format!("`{path}` has no path"));
        }
        artifact
    };
    items.filter_map(artifact).collect()
}

/// `NAME:ADDRESS`, divided at the first colon, or `{hostname, ip}`.
fn hosts(fields: &mut Fields<'_>, report: &mut Report) -> Vec<TestHost> {
    let name = fields.name("hosts");
    let items = items(fields, "hosts", report).iter().enumerate();
    let host = |(index, item): (usize, &Node)| {
        let path = format!("{name}[{index}]");
        let (hostname, ip) = if let Kind::Mapping(_) = item.kind {
            let mut fields = Fields::of(item, path.clone(), report)?;
            let both = (fields.text("hostname", report), fields.text("ip", report));
            fields.finish(report);
            both
        } else {
            let text = fields::text(item, &path, report)?;
            let part = |value: &str| {
                let value = value.trim().to_owned();
                (!value.is_empty()).then_some(Text { value, place: text.place })
            };
            text.value.split_once(':').map(|(name, ip)| (part(name), part(ip))).unwrap_or_default()
        };
        let (Some(hostname), Some(ip)) = (hostname, ip) else {
            let hint = "write `name:address`, or `hostname:` and `ip:`";
            report.error_with(item.place, format!("`{path}` must have a name and an address"), Some(hint));
            return None;
        };
        // What comes from a variable is checked when it is expanded.
        if !ip.value.contains('$') && ip.value.parse::<IpAddr>().is_err() {
            report.error(ip.place, format!("`{}` in `{path}` is not an IP address", ip.value));
        }
        Some(TestHost { hostname, ip })
    };
    items.filter_map(host).collect()
}
