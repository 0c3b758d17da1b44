//! The sections `deploy` and `destroy`.

use super::fields::{self, Fields};
use crate::{
    manifest::{CommandSection, Deploy, ManifestCommand},
    problem::Report,
    yaml::{Entry, Kind, Node},
};

pub(super) fn read(entry: &Entry, report: &mut Report) -> Option<Deploy> {
    let run = section(entry, report, |fields, report| {
        for key in ["compose", "endpoints", "divert"] {
            fields.not_yet(key, report);
        }
    })?;
    Some(Deploy { run })
}

pub(super) fn read_destroy(entry: &Entry, report: &mut Report) -> Option<CommandSection> {
    section(entry, report, |_, _| {})
}

/// A section that is a list of commands, or an object that `more` of the fields belong to.
fn section(
    entry: &Entry,
    report: &mut Report,
    more: impl FnOnce(&mut Fields<'_>, &mut Report),
) -> Option<CommandSection> {
    let (name, node) = (entry.key.as_str(), &entry.value);
    let mut section =
        CommandSection { place: entry.key_place, image: None, context: None, remote: None, commands: Vec::new() };
    match &node.kind {
        Kind::Sequence(items) => section.commands = commands(items, name, report),
        Kind::Mapping(_) => {
            let mut fields = Fields::of(node, name.to_owned(), report)?;
            section.image = fields.text("image", report);
            section.context = fields.text("context", report);
            section.remote = fields.boolean("remote", report);
            section.commands = commands_of(&mut fields, report);
            more(&mut fields, report);
            fields.finish(report);
        }
        Kind::Scalar(_) => not_a_list(node, name, report),
    }
    Some(section)
}

/// The field `commands`.
pub(super) fn commands_of(fields: &mut Fields<'_>, report: &mut Report) -> Vec<ManifestCommand> {
    let Some(entry) = fields.take("commands") else { return Vec::new() };
    let name = fields.name("commands");
    if let Kind::Sequence(items) = &entry.value.kind {
        return commands(items, &name, report);
    }
    not_a_list(&entry.value, &name, report);
    Vec::new()
}

fn not_a_list(node: &Node, name: &str, report: &mut Report) {
    let hint = "put `- ` before each command";
    report.error_with(node.place, format!("`{name}` must be a list of commands, not {}", node.describe()), Some(hint));
}

fn commands(items: &[Node], name: &str, report: &mut Report) -> Vec<ManifestCommand> {
    items.iter().enumerate().filter_map(|(index, item)| command(item, &format!("{name}[{index}]"), report)).collect()
}

fn command(node: &Node, path: &str, report: &mut Report) -> Option<ManifestCommand> {
    let (name, command) = if let Kind::Mapping(_) = node.kind {
        let mut fields = Fields::of(node, path.to_owned(), report)?;
        let name = fields.text("name", report);
        let command = fields.text("command", report);
        fields.finish(report);
        (name, command)
    } else {
        let hint = "a command with `: ` in it needs quotes around it";
        if matches!(node.kind, Kind::Sequence(_)) {
            report.error_with(node.place, format!("`{path}` must be a command, not a list"), Some(hint));
            return None;
        }
        (None, fields::text(node, path, report))
    };
    let Some(command) = command.filter(|command| !command.value.trim().is_empty()) else {
        let hint = matches!(node.kind, Kind::Mapping(_))
            .then_some("write `command: …`; a command with `: ` in it needs quotes around it");
        report.error_with(node.place, format!("`{path}` has no command"), hint);
        return None;
    };
    let name = name.map_or_else(|| command.value.clone(), |name| name.value);
    Some(ManifestCommand { name, command: command.value, place: node.place })
}
