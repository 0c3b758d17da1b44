//! `secrets` of one image: a mapping from ids to where the values are.

use super::fields::{self, Fields};
use crate::{
    manifest::{BuildSecret, BuildSecretSource},
    options::secret,
    problem::Report,
    shape,
    yaml::{Entry, Node},
};

pub(super) fn read(node: &Node, name: &str, report: &mut Report) -> Vec<BuildSecret> {
    node.entries().iter().filter_map(|entry| one(entry, name, report)).collect()
}

fn one(entry: &Entry, name: &str, report: &mut Report) -> Option<BuildSecret> {
    if let Err(error) = secret::check_id(&entry.key) {
        report.error(entry.key_place, format!("`{name}.{}`: {error}", entry.key));
        return None;
    }
    let secret = |source, rotates| BuildSecret { id: entry.key.clone(), place: entry.key_place, source, rotates };
    let Some(fields) = Fields::of(&entry.value, &shape::SECRET) else {
        return Some(secret(BuildSecretSource::File(fields::text(&entry.value)?), false));
    };
    let rotates = fields.boolean("rotates").unwrap_or_default();
    let source = match (fields.text("file"), fields.text("env"), fields.text("variable")) {
        (Some(path), None, None) => BuildSecretSource::File(path),
        (None, Some(variable), None) => BuildSecretSource::Env(variable),
        (None, None, Some(variable)) => BuildSecretSource::Variable(variable),
        // None, or too many: the shape says so.
        _ => return None,
    };
    Some(secret(source, rotates))
}
