//! The `build` section.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fields::{self, Fields},
    options, pairs, secrets,
};
use crate::{
    manifest::{Build, BuildArg, Dependency},
    names::ServiceName,
    problem::{Place, Report},
    shape,
    yaml::{Entry, Node},
};

/// Services of one manifest, and builds of one plan.
pub(crate) const MAX_BUILDS: usize = 256;

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Build> {
    let entries = node.entries();
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
        builds.push(service_build(service, entry, report));
    }
    warn_of_equal_images(&builds, report);
    builds
}

/// Two services whose images have one name: it is that of whichever is built last. As written; variables may be anything.
fn warn_of_equal_images(builds: &[Build], report: &mut Report) {
    let mut seen: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for build in builds {
        let Some(image) = &build.image else { continue };
        for name in image.value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if let Some(other) = seen.insert(name, &build.service).filter(|other| **other != build.service) {
                let message = format!(
                    "`{other}` and `{}` have one `image`, `{name}`: each takes it from the other",
                    build.service
                );
                report.warn_with(image.place, message, Some("name one of them otherwise"));
            }
        }
    }
}

fn service_build(service: ServiceName, entry: &Entry, report: &mut Report) -> Build {
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
    if let Some(fields) = Fields::of(&entry.value, &shape::BUILD) {
        build.context = fields.text("context");
        build.dockerfile = fields.text("dockerfile");
        build.image = fields.text("image");
        build.target = fields.text("target");
        if let Some(node) = fields.get("args") {
            build.args = args(node, &format!("{path}.args"), report);
        }
        if let Some(node) = fields.get("depends_on") {
            build.depends_on = depends_on(node, report);
        }
        options::read(&mut build, fields);
        if let Some(node) = fields.get("secrets") {
            build.secrets = secrets::read(node, &format!("{path}.secrets"), report);
        }
    } else {
        build.context = fields::text(&entry.value).filter(|text| !text.value.is_empty());
    }
    build
}

fn args(node: &Node, name: &str, report: &mut Report) -> Vec<BuildArg> {
    let args = pairs::read(node);
    for arg in &args {
        if arg.name.is_empty() {
            report.error(arg.place, format!("an argument in `{name}` has no name"));
        } else if !is_arg_name(&arg.name) {
            report.error(arg.place, format!("`{}` can't be the name of a build argument", arg.name.escape_debug()));
        }
    }
    pairs::sorted(args)
}

/// Whether `--build-arg NAME=value` can carry this name.
pub(crate) fn is_arg_name(name: &str) -> bool {
    let bad = |character: char| character == '=' || character.is_whitespace() || character.is_control();
    !name.is_empty() && name.len() <= 256 && !name.contains(bad)
}

fn depends_on(node: &Node, report: &mut Report) -> Vec<Dependency> {
    let mut seen = BTreeSet::new();
    let mut dependencies: Vec<Dependency> = Vec::new();
    for text in fields::texts(node) {
        match ServiceName::sanitised(&text.value) {
            Ok(service) if !seen.insert(service.clone()) => {}
            Ok(service) => dependencies.push(Dependency { service, place: text.place }),
            Err(error) => report.error(text.place, error.to_string()),
        }
    }
    dependencies
}
