//! The `test` section.

use std::net::IpAddr;

use super::{
    commands,
    fields::{self, Fields},
};
use crate::{
    manifest::{Artifact, Test, TestHost, Text},
    problem::Report,
    shape,
    yaml::{Entry, Node},
};

/// Tests of one manifest.
const MAX_TESTS: usize = 256;

pub(super) fn read(node: &Node, report: &mut Report) -> Vec<Test> {
    if let Some(entry) = node.entries().get(MAX_TESTS) {
        report.error(entry.key_place, format!("`test` has more than {MAX_TESTS} tests"));
    }
    node.entries().iter().take(MAX_TESTS).filter_map(|entry| test(entry, report)).collect()
}

fn test(entry: &Entry, report: &mut Report) -> Option<Test> {
    let fields = Fields::of(&entry.value, &shape::TEST)?;
    let name = format!("test.{}", entry.key);
    let texts = |key| {
        let mut texts = fields.texts(key);
        texts.retain(|text| !text.value.is_empty());
        texts
    };
    Some(Test {
        name: entry.key.clone(),
        place: entry.key_place,
        image: fields.text("image"),
        context: fields.text("context"),
        commands: commands::list(fields.items("commands")),
        depends_on: texts("depends_on"),
        caches: texts("caches"),
        artifacts: fields.items("artifacts").iter().filter_map(artifact).collect(),
        hosts: fields.items("hosts").iter().enumerate().filter_map(|host| self::host(host, &name, report)).collect(),
        skip_if_no_file_changes: fields.boolean("skipIfNoFileChanges").unwrap_or_default(),
    })
}

/// A path, or `{path, destination}`.
fn artifact(node: &Node) -> Option<Artifact> {
    let Some(fields) = Fields::of(node, &shape::ARTIFACT) else {
        return Some(Artifact { path: fields::text(node)?, destination: None });
    };
    Some(Artifact { path: fields.text("path")?, destination: fields.text("destination") })
}

/// `NAME:ADDRESS`, or `{hostname, ip}`.
fn host((index, node): (usize, &Node), owner: &str, report: &mut Report) -> Option<TestHost> {
    let (hostname, ip) = if let Some(fields) = Fields::of(node, &shape::HOST) {
        (fields.text("hostname")?, fields.text("ip")?)
    } else {
        let text = fields::text(node)?;
        let part = |value: &str| Text { value: value.trim().to_owned(), place: text.place };
        let Some((hostname, ip)) = divided(&text.value) else {
            if text.value.contains('$') {
                let hint = "write `name:address`; either can be a variable";
                let message = format!("`{}` in `{owner}.hosts[{index}]` has no `:`", text.value);
                report.error_with(text.place, message, Some(hint));
            }
            return None;
        };
        (part(hostname), part(ip))
    };
    // What comes from a variable is checked when it is expanded.
    if !ip.value.contains('$') && ip.value.parse::<IpAddr>().is_err() {
        let message = format!("`{}` in `{owner}.hosts[{index}]` is not an IP address", ip.value.escape_debug());
        report.error(ip.place, message);
    }
    Some(TestHost { hostname, ip })
}

/// At the first colon that is not inside `${…}`.
fn divided(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if previous == '$' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
        previous = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::divided;

    #[test]
    fn hosts_are_divided_outside_of_expressions() {
        for (text, expected) in [
            ("db:10.0.0.1", Some(("db", "10.0.0.1"))),
            ("six:::1", Some(("six", "::1"))),
            ("${N:-db}:${IP:-10.0.0.1}", Some(("${N:-db}", "${IP:-10.0.0.1}"))),
            ("$HOST", None),
            ("${A:-b", None),
        ] {
            assert_eq!(divided(text), expected, "{text}");
        }
    }
}
