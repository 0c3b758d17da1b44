//! The section `dependencies`.

use std::collections::BTreeMap;

use super::{
    fields::{self, Fields},
    pairs,
};
use crate::{
    manifest::{ManifestDependency, Text},
    names::is_variable_name,
    problem::{Place, Report},
    shape,
    variables::RESERVED,
    yaml::{Entry, Kind, Node},
};

/// Dependencies of one manifest.
const MAX_DEPENDENCIES: usize = 64;

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<ManifestDependency> {
    let dependencies = match &node.kind {
        Kind::Sequence(items) => listed(items, report),
        _ => node.entries().iter().filter_map(|entry| named(entry, report)).collect(),
    };
    if let Some(dependency) = dependencies.get(MAX_DEPENDENCIES) {
        report.error(dependency.place, format!("`dependencies` has more than {MAX_DEPENDENCIES} repositories"));
    }
    for dependency in &dependencies {
        check(dependency, report);
    }
    dependencies
}

/// Repositories in a list are named as their URLs end; of two of a name the later counts, as in Okteto.
fn listed(items: &[Node], report: &mut Report) -> Vec<ManifestDependency> {
    let mut by_name: BTreeMap<String, Place> = BTreeMap::new();
    let mut dependencies: Vec<ManifestDependency> = Vec::new();
    for url in items.iter().filter_map(fields::text).filter(|url| !url.value.trim().is_empty()) {
        if dependencies.len() > MAX_DEPENDENCIES {
            break;
        }
        let name = repository_name(&url.value).to_owned();
        if let Some(first) = by_name.insert(name.clone(), url.place) {
            let message = format!("this replaces the repository of line {}, which is named `{name}`, too", first.line);
            report.warn_with(url.place, message, Some("name both: `dependencies:`, then `  one: URL`"));
            dependencies.retain(|known| known.name != name);
        }
        dependencies.push(plain(name, url.place, url));
    }
    dependencies
}

fn named(entry: &Entry, report: &mut Report) -> Option<ManifestDependency> {
    let Some(fields) = Fields::of(&entry.value, &shape::DEPENDENCY) else {
        let url = fields::text(&entry.value).filter(|url| !url.value.trim().is_empty())?;
        return Some(plain(entry.key.clone(), entry.key_place, url));
    };
    let mut dependency = plain(entry.key.clone(), entry.key_place, fields.text("repository")?);
    dependency.manifest = fields.text("manifest");
    dependency.branch = fields.text("branch");
    dependency.wait = fields.boolean("wait").unwrap_or_default();
    if let Some(text) = fields.text("timeout") {
        // 0 is the default, as in Okteto.
        dependency.timeout = shape::duration(&text.value).filter(|timeout| !timeout.is_zero());
        if text.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`dependencies.{}.timeout` has no unit: it is taken for seconds", entry.key);
            report.warn_with(text.place, message, Some(format!("write `{}s`", text.value)));
        }
    }
    if let Some(variables) = fields.get("variables") {
        dependency.variables = pairs::sorted(pairs::read(variables));
    }
    Some(dependency)
}

fn plain(name: String, place: Place, repository: Text) -> ManifestDependency {
    ManifestDependency {
        name,
        place,
        repository,
        manifest: None,
        branch: None,
        variables: Vec::new(),
        wait: false,
        timeout: None,
    }
}

fn check(dependency: &ManifestDependency, report: &mut Report) {
    let name = &dependency.name;
    if name.trim().is_empty() {
        report.error_with(dependency.place, "a dependency has no name", Some("write `name: URL`"));
    }
    let texts = [("repository", Some(&dependency.repository)), ("branch", dependency.branch.as_ref())];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
        // Git would take it for an option.
        if text.value.starts_with('-') || text.value.contains(char::is_control) {
            let message = format!("`{}` can't be the {key} of `dependencies.{name}`", text.value.escape_debug());
            report.error(text.place, message);
        }
    }
    for variable in &dependency.variables {
        if RESERVED.contains(&variable.name.as_str()) {
            let message = format!("`{}` in `dependencies.{name}.variables` is set by the service", variable.name);
            report.error(variable.place, message);
        } else if !variable.name.contains('$') && !is_variable_name(&variable.name) {
            let variable_name = variable.name.escape_debug();
            let message =
                format!("`{variable_name}` in `dependencies.{name}.variables` can't be the name of a variable");
            let hint = "letters, digits and `_`, no digit first: no shell could use another";
            report.error_with(variable.place, message, Some(hint));
        }
    }
}

/// What a repository is called by the end of its URL.
fn repository_name(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let name = url.rsplit(['/', ':']).next().unwrap_or(url);
    name.strip_suffix(".git").filter(|name| !name.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::repository_name;

    #[test]
    fn names_of_repositories() {
        for (url, name) in [
            ("https://github.com/a/movies", "movies"),
            ("https://github.com/a/movies.git", "movies"),
            ("https://github.com/a/movies/", "movies"),
            ("git@github.com:a/movies.git", "movies"),
            ("git@github.com:movies.git", "movies"),
            ("movies", "movies"),
            (".git", ".git"),
            ("", ""),
        ] {
            assert_eq!(repository_name(url), name, "{url}");
        }
    }
}
