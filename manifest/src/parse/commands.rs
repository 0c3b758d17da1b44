//! Commands, and the section `destroy`, which has nothing else.

use super::fields::{self, Fields};
use crate::{
    manifest::{CommandSection, ManifestCommand},
    problem::Place,
    shape::{self, Object},
    yaml::{Entry, Node},
};

pub(super) fn read_destroy(entry: &Entry) -> CommandSection {
    section(entry.key_place, &entry.value, &shape::DESTROY)
}

/// A section that is a list of commands or a mapping.
pub(super) fn section(place: Place, node: &Node, shape: &'static Object) -> CommandSection {
    let Some(fields) = Fields::of(node, shape) else {
        return CommandSection { place, image: None, context: None, remote: None, commands: list(node.items()) };
    };
    CommandSection {
        place,
        image: fields.text("image"),
        context: fields.text("context"),
        remote: fields.boolean("remote"),
        commands: list(fields.items("commands")),
    }
}

pub(super) fn list(items: &[Node]) -> Vec<ManifestCommand> {
    items.iter().filter_map(command).collect()
}

fn command(node: &Node) -> Option<ManifestCommand> {
    let (name, command) = match Fields::of(node, &shape::COMMAND) {
        Some(fields) => (fields.text("name"), fields.text("command")),
        None => (None, fields::text(node)),
    };
    let command = command?;
    let name = name.map_or_else(|| command.value.clone(), |name| name.value);
    Some(ManifestCommand { name, command: command.value, place: node.place })
}
