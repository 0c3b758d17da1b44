//! The `build` section.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fields::{self, Fields},
    options, secrets,
};
use crate::{
    manifest::{Build, BuildArg, Dependency, Text},
    names::ServiceName,
    problem::{Place, Report},
    yaml::{Entry, Kind, Node},
};

/// Services of one manifest, and builds of one plan.
pub(crate) const MAX_BUILDS: usize = 256;

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Build> {
    let Kind::Mapping(entries) = &node.kind else {
        let hint = "name each image: `build:`, then `  app:`, then `    context: .`";
        report.error_with(node.place, format!("`build` must be a mapping, not {}", node.describe()), Some(hint));
        return Vec::new();
    };
    if let Some(entry) = entries.get(MAX_BUILDS) {
        report.error(entry.key_place, format!("`build` has more than {MAX_BUILDS} services"));
    }
    let mut builds: Vec<Build> = Vec::new();
    let mut keys: BTreeMap<ServiceName, (&str, Place)> = BTreeMap::new();
    for entry in entries.iter().take(MAX_BUILDS) {
        let service = match ServiceName::sanitised(&entry.key) {
            Ok(service) => service,
            Err(error) => {
                report.error(entry.key_place, error.to_string());
                continue;
            }
        };
        if let Some((first, place)) = keys.get(&service) {
            let message =
                format!("services `{first}` (line {}) and `{}` are both named `{service}`", place.line, entry.key);
            report.error_with(entry.key_place, message, Some("rename one of them"));
            continue;
        }
        if service.as_str() != entry.key {
            report.warn(entry.key_place, format!("service `{}` is named `{service}`", entry.key));
        }
        keys.insert(service.clone(), (&entry.key, entry.key_place));
        if let Some(build) = service_build(service, entry, report) {
            builds.push(build);
        }
    }
    builds
}

fn service_build(service: ServiceName, entry: &Entry, report: &mut Report) -> Option<Build> {
    let path = format!("build.{}", entry.key);
    let mut build = Build {
        service,
        place: entry.key_place,
        context: None,
        dockerfile: None,
        image: None,
        target: None,
        args: Vec::new(),
        depends_on: Vec::new(),
        platforms: Vec::new(),
        options: Vec::new(),
        secrets: Vec::new(),
    };
    match &entry.value.kind {
        _ if entry.value.is_null() => {
            let hint = "give it a folder (`context: .`), or write `{}` for the defaults";
            report.error_with(entry.key_place, format!("`{path}` is empty"), Some(hint));
        }
        Kind::Scalar(_) => {
            build.context = fields::text(&entry.value, &path, report).filter(|text| !text.value.is_empty());
        }
        _ => {
            let mut fields = Fields::of(&entry.value, path, report)?;
            build.context = fields.text("context", report);
            build.dockerfile = fields.text("dockerfile", report);
            build.image = fields.text("image", report);
            build.target = fields.text("target", report);
            if let Some(entry) = fields.take("args") {
                build.args = args(&entry.value, &fields.name("args"), report);
            }
            if let Some(entry) = fields.take("depends_on") {
                build.depends_on = depends_on(&entry.value, &fields.name("depends_on"), report);
            }
            options::read(&mut build, &mut fields, report);
            if let Some(entry) = fields.take("secrets") {
                build.secrets = secrets::read(&entry.value, &fields.name("secrets"), report);
            }
            fields.finish(report);
        }
    }
    Some(build)
}

fn args(node: &Node, name: &str, report: &mut Report) -> Vec<BuildArg> {
    let mut args: Vec<BuildArg> = Vec::new();
    match &node.kind {
        Kind::Mapping(entries) => {
            for entry in entries {
                let value = fields::text(&entry.value, &format!("{name}.{}", entry.key), report);
                // What has no text was an error already.
                let Some(value) = value else { continue };
                args.push(BuildArg { name: entry.key.clone(), value: Some(value), place: entry.key_place });
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                let Some(text) = fields::text(item, name, report) else { continue };
                args.push(match text.value.split_once('=') {
                    Some((name, value)) => {
                        let value = Text { value: value.to_owned(), place: text.place };
                        BuildArg { name: name.to_owned(), value: Some(value), place: text.place }
                    }
                    None => BuildArg { name: text.value, value: None, place: text.place },
                });
            }
        }
        Kind::Scalar(_) => {
            let message = format!("`{name}` must be a mapping or a list of `NAME=value`, not {}", node.describe());
            report.error(node.place, message);
        }
    }
    for arg in &args {
        if arg.name.is_empty() {
            report.error(arg.place, format!("an argument in `{name}` has no name"));
        } else if !is_arg_name(&arg.name) {
            report.error(arg.place, format!("`{}` can't be the name of a build argument", arg.name.escape_debug()));
        }
    }
    // Sorted, and of a name given twice the last one counts, as in Okteto.
    let sorted: BTreeMap<String, BuildArg> = args.into_iter().map(|arg| (arg.name.clone(), arg)).collect();
    sorted.into_values().collect()
}

/// Whether `--build-arg NAME=value` can carry this name.
pub(crate) fn is_arg_name(name: &str) -> bool {
    let bad = |character: char| character == '=' || character.is_whitespace() || character.is_control();
    !name.is_empty() && name.len() <= 256 && !name.contains(bad)
}

fn depends_on(node: &Node, name: &str, report: &mut Report) -> Vec<Dependency> {
    let one = std::slice::from_ref(node);
    let items = match &node.kind {
        Kind::Scalar(_) => one,
        Kind::Sequence(items) => items,
        Kind::Mapping(_) => {
            report.error(node.place, format!("`{name}` must be a service or a list of services, not a mapping"));
            &[]
        }
    };
    let mut seen = BTreeSet::new();
    let mut dependencies: Vec<Dependency> = Vec::new();
    for item in items {
        let Some(text) = fields::text(item, name, report) else { continue };
        match ServiceName::sanitised(&text.value) {
            Ok(service) if !seen.insert(service.clone()) => {}
            Ok(service) => dependencies.push(Dependency { service, place: text.place }),
            Err(error) => report.error(text.place, error.to_string()),
        }
    }
    dependencies
}
