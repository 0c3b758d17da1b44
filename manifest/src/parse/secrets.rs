//! `secrets` of one image: a mapping from ids to where the values are.

use super::fields::{self, Fields};
use crate::{
    manifest::{BuildSecret, BuildSecretSource},
    options::secret,
    problem::Report,
    yaml::{Entry, Kind, Node},
};

pub(super) fn read(node: &Node, name: &str, report: &mut Report) -> Vec<BuildSecret> {
    let Kind::Mapping(entries) = &node.kind else {
        let hint = "write `ID: PATH`, `ID: {file: PATH}` or `ID: {env: NAME}`";
        let message = format!("`{name}` must be a mapping of ids, not {}", node.describe());
        report.error_with(node.place, message, Some(hint));
        return Vec::new();
    };
    entries.iter().filter_map(|entry| one(entry, &format!("{name}.{}", entry.key), report)).collect()
}

fn one(entry: &Entry, name: &str, report: &mut Report) -> Option<BuildSecret> {
    if let Err(error) = secret::check_id(&entry.key) {
        report.error(entry.key_place, format!("`{name}`: {error}"));
        return None;
    }
    let secret = |source, rotates| BuildSecret { id: entry.key.clone(), place: entry.key_place, source, rotates };
    if let Kind::Scalar(_) = &entry.value.kind
        && !entry.value.is_null()
    {
        let path = fields::text(&entry.value, name, report)?;
        return Some(secret(BuildSecretSource::File(path), false));
    }
    if entry.value.is_null() {
        report
            .error(entry.key_place, format!("`{name}` is empty: give it a path, `{{file: PATH}}` or `{{env: NAME}}`"));
        return None;
    }
    let mut fields = Fields::of(&entry.value, name.to_owned(), report)?;
    let (file, env) = (fields.text("file", report), fields.text("env", report));
    let rotates = fields.boolean("rotates", report).unwrap_or_default();
    fields.finish(report);
    match (file, env) {
        (Some(path), None) => Some(secret(BuildSecretSource::File(path), rotates)),
        (None, Some(variable)) => Some(secret(BuildSecretSource::Env(variable), rotates)),
        _ => {
            report.error(entry.key_place, format!("`{name}` needs one of `file` and `env`"));
            None
        }
    }
}
