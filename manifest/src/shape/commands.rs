//! Commands, and the section that has nothing else.

use super::{Choice, Field, Kind, Object, Rule, field};

const QUOTES: &str = "a command with `: ` in it needs quotes around it";

/// What a list of commands is, for messages.
pub(super) const LIST_OF_COMMANDS: &str = "a list of commands";
/// What is often forgotten.
pub(super) const DASHES: &str = "put `- ` before each command";

pub(crate) static COMMAND: Object = Object {
    name: "command",
    doc: "A command with a name. A text instead of the mapping is the command.",
    fields: &COMMAND_FIELDS,
    rule: Rule::Any,
};

static COMMAND_FIELDS: [Field; 2] = [
    field("name", Kind::Text, "What logs call it; default the command itself."),
    field("command", Kind::Text, "What the shell runs. Nothing in it is expanded before.")
        .required()
        .hint("write `command: …`; a command with `: ` in it needs quotes around it"),
];

/// An entry of `commands`.
pub(super) static COMMAND_OR_TEXT: Choice =
    Choice { what: "a command", kinds: &[Kind::Filled("command"), Kind::Object(&COMMAND)], hint: Some(QUOTES) };

/// `commands` of a section.
pub(super) static COMMANDS: Choice =
    Choice { what: LIST_OF_COMMANDS, kinds: &[Kind::List(&Kind::OneOf(&COMMAND_OR_TEXT))], hint: Some(DASHES) };

pub(super) const IMAGE: Field = field(
    "image",
    Kind::Text,
    "The image that the commands run in, as its user, with a shell in it; default the service's runner \
     image. Expanded, also with the variables of images built before.",
);
pub(super) const CONTEXT: Field =
    field("context", Kind::Text, "The folder that the commands run in, and that is sent; default `.`. Expanded.");
pub(super) const REMOTE: Field = field(
    "remote",
    Kind::Bool,
    "Where the commands run: `true`, on the service; `false`, where `slipway` runs, unless there is an `image`.",
);

/// The section as it may be written.
pub(super) static DESTROY_SECTION: Choice = Choice {
    what: LIST_OF_COMMANDS,
    kinds: &[Kind::List(&Kind::OneOf(&COMMAND_OR_TEXT)), Kind::Object(&DESTROY)],
    hint: Some(DASHES),
};

pub(crate) static DESTROY: Object =
    Object { name: "destroy", doc: "What removes what `deploy` made.", fields: &DESTROY_FIELDS, rule: Rule::Any };

static DESTROY_FIELDS: [Field; 4] =
    [field("commands", Kind::OneOf(&COMMANDS), "The commands, in order."), IMAGE, CONTEXT, REMOTE];
