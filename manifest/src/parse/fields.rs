//! The keys of one mapping, taken one by one; what is left over is unknown.

use crate::{
    manifest::Text,
    problem::Report,
    suggest,
    yaml::{Entry, Kind, Node, Scalar, ScalarKind},
};

/// The entries of a mapping that nobody has asked for yet.
pub(super) struct Fields<'n> {
    /// The mapping's place in the manifest, such as `build.app`; empty at the top.
    path: String,
    entries: Vec<&'n Entry>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of a node that must be a mapping.
    pub(super) fn of(node: &'n Node, path: String, report: &mut Report) -> Option<Self> {
        let Kind::Mapping(entries) = &node.kind else {
            let what = if path.is_empty() { "the manifest".to_owned() } else { format!("`{path}`") };
            report.error(node.place, format!("{what} must be a mapping, not {}", node.describe()));
            return None;
        };
        Some(Self { path, entries: entries.iter().collect(), known: Vec::new() })
    }

    /// The entry of a key; `None` where it is absent or null, which means the same to Okteto's parser.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(index);
        (!entry.value.is_null()).then_some(entry)
    }

    /// Whether there is such a key that nobody has taken, with any value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// A field that holds one text. An empty one counts as absent, as in Okteto.
    pub(super) fn text(&mut self, key: &'static str, report: &mut Report) -> Option<Text> {
        let entry = self.take(key)?;
        text(&entry.value, &self.name(key), report).filter(|text| !text.value.is_empty())
    }

    /// A field that holds a boolean.
    pub(super) fn boolean(&mut self, key: &'static str, report: &mut Report) -> Option<bool> {
        let entry = self.take(key)?;
        if let Kind::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) = entry.value.kind {
            return Some(value);
        }
        let hint = match &entry.value.kind {
            Kind::Scalar(scalar) if matches!(ScalarKind::of_plain(&scalar.text), ScalarKind::Bool(_)) => {
                Some(format!("write {} without quotes", scalar.text))
            }
            _ => None,
        };
        let message = format!("`{}` must be true or false, not {}", self.name(key), entry.value.describe());
        report.error_with(entry.value.place, message, hint);
        None
    }

    /// A field that is accepted and does nothing yet.
    pub(super) fn not_yet(&mut self, key: &'static str, report: &mut Report) {
        self.known.push(key);
        if let Some(index) = self.entries.iter().position(|entry| entry.key == key) {
            let entry = self.entries.remove(index);
            report.warn(entry.key_place, format!("`{}` is not supported yet and is ignored", self.name(key)));
        }
    }

    /// Every key that is left is unknown.
    pub(super) fn finish(self, report: &mut Report) {
        for entry in &self.entries {
            if report.is_full() {
                return;
            }
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let key: String = entry.key.chars().take(100).collect();
            let hint = suggest::hint(&entry.key, self.known.iter().copied());
            report.error_with(entry.key_place, format!("unknown key `{key}`{place}"), hint);
        }
    }

    /// A key's full name, for messages.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// One text: any scalar, as it was written; null is the empty text.
pub(super) fn text(node: &Node, name: &str, report: &mut Report) -> Option<Text> {
    match &node.kind {
        Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }) => Some(Text { value: String::new(), place: node.place }),
        Kind::Scalar(scalar) => Some(Text { value: scalar.text.clone(), place: node.place }),
        _ => {
            report.error(node.place, format!("`{name}` must be a string, not {}", node.describe()));
            None
        }
    }
}
