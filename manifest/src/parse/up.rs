//! The sections `dev` and `forward`, which only `okteto up` uses: what is wrong with them stops no job.

use std::collections::BTreeMap;

use super::{
    fields::{self, Fields},
    pairs,
};
use crate::{
    manifest::{Dev, GlobalForward, Text},
    names::sanitise_key,
    problem::{Place, Report},
    shape,
    yaml::{Entry, Node},
};

pub(super) fn devs(node: &Node, report: &mut Report) -> Vec<Dev> {
    let mut devs: Vec<Dev> = Vec::new();
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for entry in node.entries() {
        let name = sanitise_key(&entry.key);
        if let Some(first) = names.insert(name.clone(), entry.key_place) {
            let message = format!("`dev.{}` is named `{name}`, as is the one of line {}", entry.key, first.line);
            report.error_with(entry.key_place, message, Some("rename one of them"));
        } else if name != entry.key {
            report.warn(entry.key_place, format!("`dev.{}` is named `{name}`", entry.key));
        }
        if let Some(fields) = Fields::of(&entry.value, &shape::DEV) {
            container(entry, &name, fields, report);
        }
        devs.push(Dev { name, place: entry.key_place });
    }
    devs
}

fn container(entry: &Entry, key: &str, fields: Fields<'_>, report: &mut Report) {
    let path = format!("dev.{}", entry.key);
    for service in fields.items("services") {
        let Some(service) = Fields::of(service, &shape::DEV_SERVICE) else { continue };
        let folders = service.get("sync").map(folders).unwrap_or_default();
        if let Some(workdir) = service.text("workdir").filter(|_| folders.is_empty()) {
            let message = format!("a service in `{path}` has `workdir` and no `sync`");
            report.error_with(workdir.place, message, Some("write `sync:`, then `- .:/the/workdir`"));
        }
        remote_paths(service, report);
    }
    remote_paths(fields, report);
    if let Some(replicas) = fields.get("replicas") {
        report.error_with(
            replicas.place,
            format!("`{path}.replicas`: only `services` have replicas"),
            Some("leave it out"),
        );
    }
    let name = fields.text("name").filter(|name| !name.value.contains('$'));
    let (name, place) = name.map_or_else(|| (key.to_owned(), entry.key_place), |name| (name.value, name.place));
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(good) || name.starts_with('-') || name.ends_with('-') {
        report.error(place, format!("`{name}` can't be the name of a deployment"));
    }
    if let Some(security) = fields.get("securityContext")
        && security.get("runAsUser").and_then(Node::int) == Some(0)
        && is(security, "runAsNonRoot", true)
    {
        report.error(security.place, "user 0 is root, and `runAsNonRoot` forbids it");
    }
    if let Some(volume) = fields.get("persistentVolume")
        && is(volume, "enabled", false)
        && let Some(needs) = ["services", "volumes"].into_iter().find(|key| !fields.items(key).is_empty())
    {
        report.error(volume.place, format!("`{needs}` needs the persistent volume"));
    }
    let mut files: BTreeMap<String, Place> = BTreeMap::new();
    for secret in
        fields.texts("secrets").iter().filter(|secret| secret.value.contains(':') && !secret.value.contains('$'))
    {
        let Some(remote) = secret.value.split(':').find(|part| part.starts_with('/')) else {
            report.error(secret.place, "a secret's remote path must begin with `/`");
            continue;
        };
        let name = remote.rsplit('/').next().unwrap_or(remote).to_owned();
        if files.insert(name.clone(), secret.place).is_some() {
            report.error(secret.place, format!("two secrets end in `{name}`"));
        }
    }
}

/// Paths in the container: from its root on, and not its root.
fn remote_paths(fields: Fields<'_>, report: &mut Report) {
    let mut paths = fields.get("sync").map(folders).unwrap_or_default();
    if fields.may_have("externalVolumes") {
        paths.extend(fields.texts("externalVolumes"));
    }
    // What is not of the form has been reported.
    paths.retain(|text| matches!(text.value.split(':').count(), 2 | 3));
    paths.extend(fields.texts("volumes"));
    for text in paths {
        let path = text.value.rsplit(':').next().unwrap_or_default();
        if !path.contains('$') && (!path.starts_with('/') || path == "/") {
            report.error(text.place, "a path in the container must begin with `/`, and not be `/`");
        }
    }
}

fn folders(sync: &Node) -> Vec<Text> {
    let items = Fields::of(sync, &shape::SYNC).map_or_else(|| sync.items(), |fields| fields.items("folders"));
    items.iter().filter_map(fields::text).collect()
}

fn is(node: &Node, key: &str, value: bool) -> bool {
    use crate::yaml::{Kind, Scalar, ScalarKind};
    node.get(key).is_some_and(
        |node| matches!(node.kind, Kind::Scalar(Scalar { kind: ScalarKind::Bool(found), .. }) if found == value),
    )
}

pub(super) fn forwards(node: &Node, report: &mut Report) -> Vec<GlobalForward> {
    node.items().iter().filter_map(|item| forward(item, report)).collect()
}

fn forward(node: &Node, report: &mut Report) -> Option<GlobalForward> {
    let mut sanitised = |text: &str| {
        let name = sanitise_key(text);
        if name != text {
            report.warn(node.place, format!("service `{text}` is named `{name}`"));
        }
        name
    };
    if let Some(fields) = Fields::of(node, &shape::GLOBAL_FORWARD) {
        return Some(GlobalForward {
            local: fields.int("localPort")?,
            remote: fields.int("remotePort")?,
            service: fields.text("name").map(|name| sanitised(&name.value)),
            labels: fields.get("labels").map(pairs::known).unwrap_or_default(),
        });
    }
    let text = fields::text(node)?.value;
    let [local, service, remote] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (Ok(local), Ok(remote)) = (local.parse(), remote.parse()) else { return None };
    Some(GlobalForward { local, remote, service: Some(sanitised(service)), labels: Vec::new() })
}
