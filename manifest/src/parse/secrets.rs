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
        let hint = "write `ID: PATH`, `ID: {file: PATH}`, `ID: {env: NAME}` or `ID: {variable: NAME}`";
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
        let fix = "give it a path, `{file: PATH}`, `{env: NAME}` or `{variable: NAME}`";
        report.error(entry.key_place, format!("`{name}` is empty: {fix}"));
        return None;
    }
    let mut fields = Fields::of(&entry.value, name.to_owned(), report)?;
    let (file, env) = (fields.text("file", report), fields.text("env", report));
    let variable = fields.text("variable", report);
    let rotates = fields.boolean("rotates", report).unwrap_or_default();
    fields.finish(report);
    match (file, env, variable) {
        (Some(path), None, None) => Some(secret(BuildSecretSource::File(path), rotates)),
        (None, Some(variable), None) => Some(secret(BuildSecretSource::Env(variable), rotates)),
        (None, None, Some(variable)) => Some(secret(BuildSecretSource::Variable(variable), rotates)),
        _ => {
            report.error(entry.key_place, format!("`{name}` needs one of `file`, `env` and `variable`"));
            None
        }
    }
}
