//! The `deploy` section.

use super::fields::{self, Fields};
use crate::{
    manifest::{Deploy, ManifestCommand},
    problem::{Place, Report},
    yaml::{Kind, Node},
};

pub(super) fn read(place: Place, node: &Node, report: &mut Report) -> Option<Deploy> {
    let mut deploy = Deploy { place, image: None, context: None, remote: None, commands: Vec::new() };
    match &node.kind {
        Kind::Sequence(items) => deploy.commands = commands(items, "deploy", report),
        Kind::Mapping(_) => {
            let mut fields = Fields::of(node, "deploy".to_owned(), report)?;
            deploy.image = fields.text("image", report);
            deploy.context = fields.text("context", report);
            deploy.remote = fields.boolean("remote", report);
            if let Some(entry) = fields.take("commands") {
                match &entry.value.kind {
                    Kind::Sequence(items) => deploy.commands = commands(items, "deploy.commands", report),
                    _ => not_a_list(&entry.value, "deploy.commands", report),
                }
            }
            for key in ["compose", "endpoints", "divert"] {
                fields.not_yet(key, report);
            }
            fields.finish(report);
        }
        Kind::Scalar(_) => not_a_list(node, "deploy", report),
    }
    Some(deploy)
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
